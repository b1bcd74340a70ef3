"""Objects measured block by block, against numpy and scikit-image on the whole array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import marching_cubes, mesh_surface_area, regionprops_table

from bioimage_py.errors import DtypeError, FormatError, MissingDependencyError, ParameterError, ShapeError
from bioimage_py.io import create_array
from bioimage_py.morphology import morphology, regionprops
from bioimage_py.morphology.measures import measuring_blocks
from bioimage_py.sources.axes import Axis

from . import volumes

QUIET: dict[str, Any] = {"progress": False}


def table_of(labels: np.ndarray) -> pd.DataFrame:
    names = ["z", "y", "x"][-labels.ndim :]
    rows = []
    for one in np.unique(labels[labels != 0]).tolist():
        at = np.argwhere(labels == one)
        row: dict[str, Any] = {"label": one, "size": len(at)}
        row |= {f"com_{name}": at[:, axis].mean() for axis, name in enumerate(names)}
        row |= {f"bb_min_{name}": at[:, axis].min() for axis, name in enumerate(names)}
        row |= {f"bb_max_{name}": at[:, axis].max() + 1 for axis, name in enumerate(names)}
        rows.append({key: int(value) if key in ("label", "size") else value for key, value in row.items()})
    return pd.DataFrame(rows)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert len(found) == len(expected)
    for name in expected:
        assert [int(x) for x in found[name]] == list(expected[name]) if name == "label" else True
        if name != "label":
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_morphology_is_exact(data: st.DataObject) -> None:
    labels = data.draw(volumes.labels())
    mask = np.random.default_rng(1).random(labels.shape) < 0.7 if data.draw(st.booleans()) else None
    roi = data.draw(volumes.regions(labels.shape)) if data.draw(st.booleans()) else None
    inside = np.zeros(labels.shape, bool)
    inside[roi or ...] = True
    inside &= True if mask is None else mask
    expected = table_of(np.where(inside, labels, np.zeros(1, labels.dtype)))
    where = {"block_shape": data.draw(volumes.blocks(labels.ndim)), "mask": mask, "roi": roi}
    same(morphology(labels, num_workers=data.draw(st.sampled_from([1, 3])), **where, **QUIET), expected)
    if mask is None and roi is None:
        assert morphology(labels).equals(morphology(labels, **where, **QUIET))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_regionprops_is_that_of_scikit_image(data: st.DataObject) -> None:
    labels = data.draw(volumes.labels())
    small = np.unique(labels, return_inverse=True)[1].reshape(labels.shape) + int(labels.all())
    rng = np.random.default_rng(2)
    dtype = data.draw(st.sampled_from(["u1", "f4", "i2", "f8"]))
    image = (rng.normal(size=labels.shape) * 40).astype("i2").clip(0).astype(dtype)
    spacing = data.draw(st.sampled_from([(1.0,) * labels.ndim, (2.5, 1.0, 0.3)[-labels.ndim :]]))
    found = regionprops(
        labels,
        resolution=spacing,
        intensity_image=image,
        percentiles=(0, 30, 100),
        compute_surface=labels.ndim == 3,
        block_shape=data.draw(volumes.blocks(labels.ndim)),
        **QUIET,
    )
    names = ("label", "area", "extent", "equivalent_diameter_area", "axis_major_length", "centroid")
    values = ("intensity_mean", "intensity_min", "intensity_max", "intensity_std")
    expected = regionprops_table(small, image.astype("f8"), properties=(*names, *values), spacing=spacing)
    assert len(found) == len(expected["label"])
    for name, column in expected.items():
        ours = {f"centroid-{axis}": f"centroid_{'zyx'[axis - labels.ndim]}" for axis in range(3)}.get(name, name)
        if name != "label":
            np.testing.assert_allclose(found[ours].astype(float), column, rtol=1e-6, atol=1e-6)
    for row, one in found.iterrows():
        own = small == expected["label"][row]
        assert one["intensity_sum"] == image[own].astype("f8").sum()
        np.testing.assert_allclose(one["intensity_percentile_30"], np.percentile(image[own], 30), rtol=1e-6)
        if labels.ndim == 3:
            vertices, faces, *_ = marching_cubes(np.pad(own, 1).astype(float), 0.5, spacing=spacing)
            np.testing.assert_allclose(one["surface_area"], mesh_surface_area(vertices, faces), rtol=1e-5)


def test_axis_lengths_are_those_of_an_ellipsoid() -> None:
    z, y, x = np.indices((21, 31, 41)) - np.array([10, 15, 20])[:, None, None, None]
    found = regionprops(
        ((z / 6) ** 2 + (y / 11) ** 2 + (x / 17) ** 2 <= 1).astype("u1"), block_shape=(8, 8, 8), **QUIET
    )
    np.testing.assert_allclose(found[["axis_major_length", "axis_minor_length"]].iloc[0], [34, 12], rtol=0.02)


def test_far_from_the_origin_nothing_is_lost() -> None:
    """Second moments of a small object in a long volume, in one block and in many."""
    labels = np.zeros((1, 3 * 10**6), "u1")
    labels[0, -40:-10] = 1
    for block in (None, (1, 10**6), (1, 2999975)):
        found = regionprops(labels, block_shape=block, **QUIET)
        np.testing.assert_allclose(found["axis_major_length"], 4 * np.sqrt((30**2 - 1) / 12), rtol=1e-12)


def test_channels_and_their_columns() -> None:
    labels = np.array([[1, 1, 0], [2, 2, 2]])
    image = np.arange(12, dtype="u2").reshape(2, 2, 3)
    whole = regionprops(labels, intensity_image=image, block_shape=(1, 2), **QUIET)
    listed = regionprops(labels, intensity_image=[image[0], image[1]], block_shape=(2, 2), **QUIET)
    assert whole.equals(listed)
    assert whole["intensity_mean-1"].tolist() == [6.5, 10.0]
    with pytest.raises(ShapeError):
        regionprops(labels, intensity_image=image[:, :, :2])


def test_nan_makes_its_object_nan_and_no_other() -> None:
    labels, image = np.array([[1, 1], [2, 2]]), np.array([[np.nan, 1.0], [3.0, 4.0]])
    found = regionprops(labels, intensity_image=image, percentiles=50, block_shape=(2, 1), **QUIET)
    names = [name for name in found if name.startswith("intensity")]
    assert found.loc[0, names].isna().all()
    assert found.loc[1, names].notna().all()


def test_times_are_apart_and_named(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 4), "u8")
    labels[0, 1, 1], labels[2, 2, 1:3] = 2**64 - 1, 2**64 - 1
    axes = (Axis("t", "time"), Axis("y", "space", "micrometer", 2.0, 10.0), Axis("x", "space", "micrometer", 0.5))
    stored = create_array(tmp_path / "a.zarr", "a", shape=labels.shape, dtype="u8", chunks=(1, 2, 2), axes=axes)
    stored[...] = labels
    found = morphology(stored, **QUIET)
    assert found["t"].tolist() == [0, 2]
    assert [int(x) for x in found["label"]] == [2**64 - 1] * 2
    assert found["size"].tolist() == [1, 2]
    physical = regionprops(stored, physical=True, **QUIET)
    assert physical["area"].tolist() == [1.0, 2.0]
    assert physical["centroid_y"].tolist() == [12.0, 14.0]
    assert physical.attrs["units"] == "micrometer"
    assert morphology(stored, axes="tyx", **QUIET)["size"].tolist() == [3]


def test_surfaces_of_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in slabs of a voxel or two."""
    labels = np.random.default_rng(0).integers(0, 4, (3, 6, 7, 8)).astype("u2")
    axes = (Axis("t", "time"), Axis("z"), Axis("y"), Axis("x"))
    stored = create_array(tmp_path / "a.zarr", "a", shape=labels.shape, dtype="u2", chunks=(2, 3, 3, 4), axes=axes)
    stored[...] = labels
    expected = pd.concat([regionprops(one, compute_surface=True, intensity_image=one * 3) for one in labels])
    for size in (2**18, 60):
        monkeypatch.setattr(measuring_blocks, "_SLAB_VOXELS", size)
        image = np.array(labels * 3)
        found = regionprops(stored, compute_surface=True, intensity_image=image, block_shape=(2, 3, 3, 4), **QUIET)
        assert found.pop("t").tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        np.testing.assert_allclose(found.to_numpy(float), expected.to_numpy(float), rtol=1e-9)


def test_table_of_the_peer_form_and_files(tmp_path: Path) -> None:
    labels = np.array([[5, 5, 0, 9], [3, 3, 3, 9]], "u4")
    table = morphology(labels)
    some = table[table["label"] != 5].iloc[::-1]
    assert regionprops(labels, some, verbose=False)["label"].tolist() == [9, 3]
    table.to_csv(tmp_path / "t.csv")
    found = regionprops(labels, tmp_path / "t.csv", output_path=tmp_path / "out.csv", item_ids=[2], verbose=False)
    assert found["label"].tolist() == [9]
    assert pd.read_csv(tmp_path / "out.csv")["n_voxels"].tolist() == [2]
    with pytest.raises(ParameterError, match="do not occur"):
        regionprops(labels, pd.DataFrame({"label": [4]}))
    with pytest.raises(FormatError):
        regionprops(labels, output_path=tmp_path / "out.doc")


def test_a_library_that_is_missing_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"(?s)openpyxl.*bioimage-blocks\[tables\]"):
        regionprops(np.ones((2, 2), int), output_path=tmp_path / "a.xlsx")


@pytest.mark.parametrize("ending", ["csv", "parquet", "xlsx"])
def test_ids_survive_a_file(ending: str, tmp_path: Path) -> None:
    labels = np.array([[2**64 - 1, 2**64 - 1, 2**53 + 1]], "u8")
    regionprops(labels, output_path=tmp_path / f"t.{ending}", **QUIET)
    found = regionprops(labels, tmp_path / f"t.{ending}", **QUIET)
    assert [int(one) for one in found["label"]] == [2**53 + 1, 2**64 - 1]
    assert [path.name for path in tmp_path.iterdir()] == [f"t.{ending}"]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0, 2), (4, 4)])
def test_nothing_there(shape: tuple[int, ...]) -> None:
    for found in (morphology(np.zeros(shape, "u2"), **QUIET), regionprops(np.zeros(shape, "u2"), **QUIET)):
        assert len(found) == 0
        assert "label" in found


def test_bad_input() -> None:
    with pytest.raises(DtypeError):
        morphology(np.ones((3, 3)))
    for wrong in (
        {"resolution": (1, 2, 3)},
        {"resolution": 0},
        {"percentiles": [101]},
        {"compute_surface": True},
        {"item_ids": [0]},
    ):
        with pytest.raises(ParameterError):
            regionprops(np.ones((3, 3), int), **wrong)


@pytest.mark.parametrize(
    ("values", "percentile", "expected"),
    [
        ((1, np.inf), 100, np.inf),
        ((1, np.inf), 0, 1),
        ((1, 2, np.inf), 50, 2),
        ((1, np.inf), 50, np.inf),
        ((-np.inf, 1, 2), 0, -np.inf),
        ((-np.inf, 1, 2), 25, -np.inf),
        ((-np.inf, np.inf), 50, np.nan),
        ((np.inf, np.inf), 30, np.inf),
        ((np.nan, np.inf), 30, np.nan),
    ],
)
def test_percentiles_of_infinite_values(values: tuple[float, ...], percentile: int, expected: float) -> None:
    image = np.array(values, np.float32)
    found = regionprops(np.ones(len(values), "u1"), intensity_image=image, percentiles=(percentile,), **QUIET)
    np.testing.assert_equal(found[f"intensity_percentile_{percentile}"][0], expected)
