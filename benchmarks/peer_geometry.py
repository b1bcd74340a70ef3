"""The calls of the drop-in promise that look at arrays through views, and transform them (see `peer_calls.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from peer_case import Case
from peer_data import cells, hills, noise, stored

Part = Callable[[str], Any]

TURN = [[0.9, -0.3, 0.1, 2.53], [0.25, 0.8, 0.05, 1.27], [-0.1, 0.2, 1.1, 0.51], [0, 0, 0, 1]]
INSIDE = (slice(2, 6), slice(3, 8), slice(2, 9))
"""A region for which all places of `TURN` lie well within the data."""
FLAT = np.array([[0.9, -0.3, 2.5], [0.25, 0.8, 1.25], [0, 0, 1]])


def _double(block: np.ndarray) -> np.ndarray:
    return block.astype("float32") * 2


def _sum_of_neighbours(block: np.ndarray) -> np.ndarray:
    wide = np.pad(block.astype("int64"), 1)
    return wide[2:, 1:-1, 1:-1] + wide[:-2, 1:-1, 1:-1]


def _plus_start(block: np.ndarray, roi: tuple[slice, ...]) -> np.ndarray:
    return block.astype("int64") + roi[0].start


def wrapper_cases() -> Iterator[Case]:
    """Section 4: sources made of sources."""
    boxes = {"all": (), "box": (slice(3, 9), slice(4, 20), slice(1, 17))}
    views: dict[str, Callable[[Any], Any]] = {
        "SimpleTransformationSource": lambda w: w.SimpleTransformationSource(noise(), _double),
        "SimpleTransformationSource dtype": lambda w: w.SimpleTransformationSource(noise(), _double, dtype="float32"),
        "SimpleTransformationWithHaloSource": lambda w: w.SimpleTransformationWithHaloSource(
            noise(), _sum_of_neighbours, (1, 1, 1), dtype="int64"
        ),
        "TransformationSource": lambda w: w.TransformationSource(noise(), _plus_start, dtype="int64"),
        "MultiTransformationSource": lambda w: w.MultiTransformationSource(np.add, noise(100), noise(100, seed=7)),
        "ThresholdSource": lambda w: w.ThresholdSource(noise(), 100),
        "ThresholdSource less": lambda w: w.ThresholdSource(noise(), 100, np.less),
        "PadSource": lambda w: w.PadSource(noise(), (2, 3, 4)),
        "PadSource reflect": lambda w: w.PadSource(noise(), (2, 3, 4), "reflect"),
        "ExpandDimsSource": lambda w: w.ExpandDimsSource(noise(shape=(20, 24)), 1),
    }
    for name, make in views.items():
        for where, box in boxes.items():
            yield Case(
                f"wrapper.{name} {where}",
                lambda p, _, make=make, box=box: _shown(make(p("wrapper")), box),
            )
    for shape in ((6, 10, 12), (24, 20, 8)):
        for order in (0, 1):
            yield Case(
                f"wrapper.ResizedSource {shape} order {order}",
                lambda p, _, shape=shape, order=order: _shown(p("wrapper").ResizedSource(hills(), shape, order=order)),
            )
    affine: dict[str, dict[str, Any]] = {
        "matrix": {"affine_matrix": np.array(TURN)},
        "scale": {"scale": [0.5, 0.5, 0.5]},
        "translation": {"translation": [1.0, 2.0, -1.0]},
        "rotation about axis 0": {"rotation": [20.0, 0.0, 0.0]},
        "rotation about axis 2": {"rotation": [0.0, 0.0, 20.0], "translation": [4.0, 2.0, 3.0]},
    }
    for name, how in affine.items():
        for order in (0, 1):
            yield Case(
                f"wrapper.AffineSource {name} order {order}",
                lambda p, _, how=how, order=order: p("wrapper").AffineSource(hills("float32"), order=order, **how)[
                    INSIDE
                ],
                1e-3,
            )
    yield Case(
        "wrapper.AffineSource labels",
        lambda p, _: p("wrapper").AffineSource(cells("uint32"), affine_matrix=np.array(TURN))[INSIDE],
    )
    yield Case(
        "wrapper.AffineSource at the border",
        lambda p, _: p("wrapper").AffineSource(hills("float32"), translation=[0.5, 0.5, 0.5], order=1)[8:],
        1e-3,
    )
    yield Case("wrapper.AffineSource nothing", lambda p, _: p("wrapper").AffineSource(noise()))
    yield Case("wrapper.PadSource beyond", lambda p, _: p("wrapper").PadSource(noise(), (9, 9, 9))[18:])
    yield Case("wrapper in a copy", lambda p, f: _copied(p, f))
    yield Case("wrapper_from_spec", lambda p, f: _reopened(p, f))


def _shown(view: Any, box: tuple[slice, ...] = ()) -> Any:
    return view.shape, str(view.dtype), view.writable, view[box] if box and view.ndim == len(box) else view[:]


def _copied(p: Part, folder: Path) -> Any:
    view = p("wrapper").AffineSource(stored(folder, "input", hills()), affine_matrix=np.array(TURN))
    return p("").copy(view, block_shape=(6, 10, 8), num_workers=2)[INSIDE]


def _reopened(p: Part, folder: Path) -> Any:
    view = p("wrapper").ThresholdSource(stored(folder, "input", noise()), 100)
    spec = view.to_spec()
    return spec.kind, p("sources").from_spec(spec)[2:5, 3]


def transformation_cases() -> Iterator[Case]:
    """Section 12: matrices, coordinates and transformed regions."""
    matrices: dict[str, dict[str, Any]] = {
        "scale": {"scale": [2.0, 3.0]},
        "scale of three": {"scale": [2.0, 3.0, 0.5], "translation": [1.0, 2.0, 3.0]},
        "rotation": {"rotation": [30.0], "translation": [4.0, 5.0]},
        "rotation about axis 0": {"rotation": [30.0, 0.0, 0.0]},
        "rotation about axis 1": {"rotation": [0.0, 30.0, 0.0]},
        "rotation about axis 2": {"rotation": [0.0, 0.0, 30.0]},
        "rotation about axes 0 and 2": {"rotation": [20.0, 0.0, 30.0]},
        "rotation about all axes": {"rotation": [10.0, 20.0, 30.0]},
        "scale and rotation": {"scale": [2.0, 3.0], "rotation": [30.0]},
        "shear": {"scale": [1.0, 1.0], "shear": [10.0]},
        "shear of three": {"shear": [10.0, 20.0, 30.0]},
        "nothing": {},
        "lengths that differ": {"scale": [1.0, 2.0, 3.0], "translation": [1.0, 2.0]},
    }
    for name, how in matrices.items():
        yield Case(
            f"compute_affine_matrix {name}",
            lambda p, _, how=how: p("transformation").compute_affine_matrix(**how) + 0.0,
            1e-9,
        )
    yield Case("transform_coordinate", lambda p, _: p("transformation").transform_coordinate((1.5, 2), FLAT), 1e-9)
    yield Case(
        "transform_roi_with_affine",
        lambda p, _: p("transformation").transform_roi_with_affine((0, 2), (4, 9), FLAT),
        1e-9,
    )
    for order in range(6):
        yield Case(
            f"transform_subvolume_affine order {order}",
            lambda p, _, order=order: p("transformation").transform_subvolume_affine(
                hills("float32"), np.array(TURN), INSIDE, order
            ),
            1e-3,
        )
        yield Case(
            f"transform_subvolume_coordinates order {order}",
            lambda p, _, order=order: p("transformation").transform_subvolume_coordinates(
                hills("float32"), _places(), order, 7
            ),
            1e-3,
        )
    yield Case(
        "transform_subvolume_affine labels",
        lambda p, _: p("transformation").transform_subvolume_affine(cells("uint32"), np.array(TURN), INSIDE),
    )
    yield Case(
        "transform_subvolume_affine integers",
        lambda p, _: p("transformation").transform_subvolume_affine(noise(), np.array(TURN), INSIDE, 1),
    )
    yield Case(
        "transform_subvolume_affine large ids",
        lambda p, _: p("transformation").transform_subvolume_affine(
            cells() + np.uint64(2**60), np.eye(4), (slice(2, 6),) * 3
        ),
    )
    yield Case(
        "transform_subvolume_affine before the start",
        lambda p, _: p("transformation").transform_subvolume_affine(
            noise(), np.eye(4), (slice(-2, 3), slice(0, 4), slice(0, 4)), 0, 9
        ),
    )
    yield Case(
        "transform_subvolume_affine sigma",
        lambda p, _: p("transformation").transform_subvolume_affine(
            hills("float32"), np.eye(4), (slice(4, 6), slice(8, 11), slice(8, 12)), 1, 0, (0.5, 0.75, 0.5)
        ),
        0.5,
    )
    yield Case(
        "transform_subvolume_affine half a voxel beyond",
        lambda p, _: p("transformation").transform_subvolume_affine(
            noise(), np.eye(4) + np.array([[0, 0, 0, 0.4]] + [[0.0] * 4] * 3), (slice(9, 12), slice(0, 4), slice(0, 4))
        ),
    )
    yield Case(
        "transform_subvolume_coordinates of another shape",
        lambda p, _: p("transformation").transform_subvolume_coordinates(noise(), _places()[:2]),
    )


def _places() -> np.ndarray:
    """Places well within the data, multiples of a quarter of a voxel."""
    shape = (3, 4, 5)
    wiggle = noise(9, "float64", (3, *shape)) / 4
    return np.indices(shape) * np.array([1.5, 2, 2.5]).reshape(3, 1, 1, 1) + 3 + wiggle
