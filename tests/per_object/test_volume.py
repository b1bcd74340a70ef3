"""Where the voxels of a region lie in the world, by the axes or by a given size of a voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ParameterError
from bioimage_py.per_object.volume import place_of
from bioimage_py.sources.axes import Axis
from bioimage_py.wrapper import RoiSource

from ..mesh.reading import read

SHAPE = (12, 10, 14)
BOX = np.s_[3:11, 2:9, 4:13]


def labels() -> np.ndarray:
    made = np.zeros(SHAPE, np.uint8)
    made[5:9, 4:7, 6:11] = 1
    return made


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("sampling", [None, 2.0, (4.0, 3.0, 0.5)])
def test_a_region_lies_where_it_does_in_the_whole(tmp_path: Path, sampling: Any, view: bool) -> None:
    how: dict[str, Any] = {"format": "ply", "sampling": sampling, "block_shape": 5, "progress": False}
    bp.mesh.surfaces(labels(), tmp_path / "whole", **how)
    if view:
        inner = RoiSource(RoiSource(labels()[None], np.s_[0, 1:]), np.s_[0, 2:10, 2:9, 4:13], squeeze=True)
        bp.mesh.surfaces(inner, tmp_path / "part", **how)
    else:
        bp.mesh.surfaces(labels(), tmp_path / "part", roi=BOX, **how)
    whole, part = (read(tmp_path / name / "1.ply")[0] for name in ("whole", "part"))
    np.testing.assert_allclose(part[np.lexsort(part.T)], whole[np.lexsort(whole.T)], atol=1e-5)
    lines = {"format": "swc", "sampling": sampling, "progress": False}
    bp.skeleton.trace(labels(), tmp_path / "lines", **lines)
    bp.skeleton.trace(labels(), tmp_path / "lines of a part", roi=BOX, **lines)
    one, other = ((tmp_path / name / "1.swc").read_text() for name in ("lines", "lines of a part"))
    assert one == other


def test_a_sampling_settles_units_that_differ() -> None:
    axes = [Axis("z", unit="nanometer", scale=40.0, offset=80.0), *(Axis(name, unit="pixel") for name in "yx")]
    with pytest.raises(ParameterError, match="units"):
        place_of(axes, None)
    place = place_of(axes, (40.0, 4.0, 4.0), (2, 0, 1))
    assert (place.scale, place.offset, place.unit) == ((4.0, 4.0, 40.0), (4.0, 0.0, 80.0), None)
