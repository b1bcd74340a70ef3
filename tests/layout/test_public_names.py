"""Public names and saved specs outlive moves of files."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest
import zarr

import bioimage_py
from bioimage_py import SourceSpec, from_spec
from bioimage_py.backends.base import ENTRY_POINTS as BACKENDS
from bioimage_py.sources.registry import ENTRY_POINTS as SOURCES

PUBLIC = {
    module: names.split()
    for module, names in (
        line.split(":")
        for line in Path(__file__).with_name("public_names.txt").read_text().replace("\n    ", " ").splitlines()
    )
}
"""What can be imported from where: may grow, and shrinks only where the change log says so."""

VOXELS = np.arange(24, dtype="u1").reshape(4, 6)
AXES = [
    {"name": "z", "kind": "space", "unit": "micrometer", "scale": 1.0, "offset": 0.0},
    {"name": "y", "kind": "space", "unit": None, "scale": 1.0, "offset": 0.0},
]
SAVED = {
    "bioimage_py.projects.images:AxesSource": ({"axes": AXES}, VOXELS),
    "bioimage_py.wrapper.cast:CastSource": ({"dtype": "<f4", "casting": "checked"}, VOXELS.astype("f4")),
    "bioimage_py.wrapper.roi:RoiSource": (
        {"roi": [{"__slice__": [1, 3, None]}, {"__slice__": [None, None, None]}], "squeeze": False},
        VOXELS[1:3],
    ),
    "bioimage_py.wrapper.resample:AffineSource": (
        {
            "shape": [2, 3],
            "affine_matrix": [[2.0, 0.0, 1.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]],
            "order": 0,
            "fill_value": 0,
            "anti_aliasing": False,
        },
        VOXELS[1::2, ::2],
    ),
    "bioimage_py.wrapper.resample:ResizedSource": (
        {"shape": [2, 2], "order": 0, "anti_aliasing": False},
        VOXELS[1::2, 1::3],
    ),
    "bioimage_py.wrapper.transform:SimpleTransformationSource": (
        {"transformation": {"__callable__": "numpy:sqrt"}},
        np.sqrt(VOXELS),
    ),
    "bioimage_py.wrapper.transform:ThresholdSource": (
        {"threshold": 5, "operator": {"__callable__": "numpy:greater"}},
        VOXELS > 5,
    ),
    "bioimage_py.wrapper.view:AxesSource": ({"axes": AXES}, VOXELS),
    "bioimage_py.wrapper.view:TransposeSource": ({"order": [1, 0]}, VOXELS.T),
}
"""Class of a wrapper -> parameters in a spec that version 0.1.0 has saved, and the voxels."""


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_there(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in PUBLIC[module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("module", [name for name in PUBLIC if hasattr(importlib.import_module(name), "__all__")])
def test_public_names_are_told(module: str) -> None:
    assert set(PUBLIC[module]) <= set(importlib.import_module(module).__all__)


def test_no_module_takes_the_place_of_a_lazy_name() -> None:
    """An import of the module would put it under the name, before or after the name was asked for."""
    package = Path(bioimage_py.__file__).parent
    taken = []
    for init in package.rglob("__init__.py"):
        modules = {path.stem for path in init.parent.glob("*.py")} | {path.name for path in init.parent.glob("*/")}
        calls = (one for one in ast.walk(ast.parse(init.read_text())) if isinstance(one, ast.Call))
        for call in calls:
            if (
                isinstance(call, ast.Call)
                and ast.unparse(call.func) == "names_of"
                and isinstance(call.args[1], ast.Dict)
            ):
                names = {ast.literal_eval(key) for key in call.args[1].keys if key is not None}
                taken += [f"{init.relative_to(package)}: {name}" for name in names & modules]
    assert taken == []


def test_groups_of_entry_points() -> None:
    assert (SOURCES, BACKENDS) == ("bioimage_py.sources", "bioimage_py.backends")


@pytest.mark.parametrize("cls", SAVED)
def test_a_saved_spec_opens(cls: str, tmp_path: Path) -> None:
    params, expected = SAVED[cls]
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 6), dtype="u1", chunks=(2, 3))[:] = VOXELS
    saved = {
        "kind": "wrapper",
        "path": None,
        "internal_path": None,
        "params": {**params, "class": {"__callable__": cls}},
        "wrapped": {
            "kind": "file",
            "path": str(tmp_path / "a.zarr"),
            "internal_path": "",
            "params": {"format": "zarr", "mode": "r"},
            "wrapped": None,
            "version": 1,
        },
        "version": 1,
    }
    source = from_spec(SourceSpec.from_json(saved))
    np.testing.assert_array_equal(source[:], expected)
    if "axes" in params:
        assert [axis.name for axis in source.axes] == ["z", "y"]
        assert source.axes[0].unit == "micrometer"
