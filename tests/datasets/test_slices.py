"""Planes and frames: where they lie, what they hold, and that no more than their chunks is read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.datasets import Annotation, DatasetError, Resource, SlicedVolumeDataset, VideoDataset, VolumeDataset
from bioimage_py.datasets.annotations import masks
from bioimage_py.errors import ParameterError
from bioimage_py.projects import Project
from bioimage_py.sources.array import ArraySource

SHAPE = (40, 50, 60)
VOXELS = np.random.default_rng(0).integers(0, 2**16, SHAPE, dtype=np.uint16)


class Counting(ArraySource):
    """An array in chunks that counts those that are read."""

    def __init__(self, array: np.ndarray, chunks: tuple[int, ...]) -> None:
        super().__init__(array)
        self._chunks, self.read_chunks = chunks, set()

    @property
    def chunks(self) -> tuple[int, ...]:
        return self._chunks

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        spans = [range(part.start // c, -(-part.stop // c)) for part, c in zip(roi, self._chunks, strict=True)]
        self.read_chunks |= {(a, b, c) for a in spans[0] for b in spans[1] for c in spans[2]}
        return super()._getitem(roi)


def rotated() -> np.ndarray:
    """D runs to the left, H up, W to the back, each tilted by 10 degrees; spacing 3, 1, 1."""
    tilt = np.radians(10)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    directions = np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]], float)  # rows x, y, z; columns D, H, W
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions @ np.diag([3, 1, 1])
    affine[:3, 3] = 100, -50, 7
    return affine


def world(affine: np.ndarray, index: tuple[int, ...]) -> np.ndarray:
    return (affine @ [*index, 1])[:3]


@pytest.mark.parametrize(("name", "axis"), [("axial", 1), ("coronal", 2), ("sagittal", 0)])
@pytest.mark.parametrize("orientation", [None, "RAS"])
def test_names_mean_anatomy_with_an_affine(name: str, axis: int, orientation: str | None) -> None:
    affine = rotated()
    mark = Annotation.segmentation("a", VOXELS > 60000)
    data = VolumeDataset(resources=[Resource(VOXELS, "v", affine=affine, annotations=[mark])])
    planes = data.slice(name, orientation=orientation)
    assert len(planes) == SHAPE[axis]
    for number in (0, 7, SHAPE[axis] - 1):
        item = planes[number]
        image, about = item["image"][0], item["metainfo"]
        assert np.array_equal(item["segmentations"]["unknown"][0], image > 60000)
        rows, columns = image.shape
        back = np.linalg.inv(affine)
        for row, column in ((0, 0), (3, rows - 9 if rows < columns else 5), (rows - 1, columns - 1)):
            at = back @ [*world(about["affine"], (0, row, column)), 1]
            voxel = np.round(at[:3]).astype(int)
            assert np.allclose(at[:3], voxel, atol=1e-6)
            assert VOXELS[tuple(voxel)] == image[row, column]
            assert voxel[axis] == about["index"]
        assert sorted(about["spacing"]) == pytest.approx([1, 1, 3])
        if orientation:  # towards right, front, up
            steps = about["affine"][:3, 1:3]
            assert (steps[np.abs(steps).argmax(axis=0), [0, 1]] > 0).all()
    if orientation:
        first, last = (world(planes[i]["metainfo"]["affine"], (0, 0, 0)) for i in (0, -1))
        towards = {"axial": 2, "coronal": 1, "sagittal": 0}[name]
        assert last[towards] > first[towards]


@pytest.mark.parametrize(("axis", "number"), [("axial", 0), ("coronal", 1), ("sagittal", 2), (0, 0), (1, 1), (2, 2)])
def test_planes_without_an_affine_are_those_of_the_array(axis: object, number: int) -> None:
    other = np.zeros((3, 4, 5), np.uint16)
    planes = VolumeDataset(resources=[Resource(VOXELS, "v"), Resource(other, "w")]).slice(axis)
    assert len(planes) == SHAPE[number] + other.shape[number]
    assert np.array_equal(planes[7]["image"][0], VOXELS.take(7, number))
    assert planes[7]["metainfo"]["orientation"] == "array"
    assert planes[SHAPE[number]]["metainfo"]["name"] == "w"
    direct = SlicedVolumeDataset(resources=[Resource(VOXELS, "v")], slice_axis=axis)
    assert np.array_equal(direct[7]["image"], planes[7]["image"])


def test_steps_and_empty_planes() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[5:8, 1, 1] = mask[20, 3, 3] = True  # one box is around both
    data = VolumeDataset(resources=[Resource(VOXELS, annotations=[Annotation.segmentation("a", mask)])])
    planes = data.slice("axial", empty="drop")
    assert [item["metainfo"]["index"] for item in planes] == [5, 6, 7, 20]
    assert len(data.slice("axial", step=7)) == 6
    assert data.slice("axial")[10]["segmentations"] == {}


def test_a_plane_reads_only_its_chunks() -> None:
    counting = Counting(VOXELS, (16, 16, 16))
    planes = VolumeDataset(resources=[Resource(counting, "v")]).slice("coronal")
    assert counting.read_chunks == set()
    planes[20]
    assert counting.read_chunks == {(a, 1, c) for a in range(3) for c in range(4)}


def test_a_mask_of_a_plane_reads_only_its_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project("planes", tmp_path / "p")
    project.add_labelmap_layer("cells").add_annotation("a", 1)
    descriptor = project.add_descriptor(VOXELS, "v")
    descriptor.labelmap_layers["cells"].save_new_data((VOXELS > 2**15).astype("u1"))
    planes = VolumeDataset(project.path).slice("axial")
    regions = []
    inner = masks.read_ordered
    monkeypatch.setattr(masks, "read_ordered", lambda s, o, r: regions.append(r) or inner(s, o, r))
    item = planes[3]
    assert np.array_equal(item["segmentations"]["unknown"][0], VOXELS[3] > 2**15)
    assert regions == [(slice(3, 4), slice(0, 50), slice(0, 60))]


def test_a_video_of_a_project(tmp_path: Path) -> None:
    project = Project("film", tmp_path / "p")
    film = VOXELS[:5]
    project.add_labelmap_layer("cells").add_annotation("a", 1)
    descriptor = project.add_descriptor(film, "film", axes=("t", "y", "x"))
    descriptor.labelmap_layers["cells"].save_new_data((film[0] > 2**15).astype("u1"))
    frames = VideoDataset(project.path).frame_by_frame()
    assert len(frames) == 5
    assert np.array_equal(frames[4]["image"][0], film[4])
    assert np.array_equal(frames[4]["segmentations"]["unknown"][0], film[0] > 2**15)  # it holds for all times
    with pytest.raises(DatasetError, match="t of 5"):
        VolumeDataset(project.path)[0]


@pytest.mark.parametrize("axis", ["top", 3, 1.5, -1, None, True])
def test_axes_that_are_none(axis: object) -> None:
    with pytest.raises(ParameterError, match=r"There is no axis") as caught:
        VolumeDataset(resources=[VOXELS]).slice(axis)
    assert "sagittal" in caught.value.remedy


@pytest.mark.parametrize("options", [{"step": 0}, {"step": 1.5}, {"empty": "maybe"}, {"orientation": "LPI"}])
def test_options_that_are_none(options: dict) -> None:
    with pytest.raises(ParameterError):
        VolumeDataset(resources=[VOXELS]).slice(**options)


def test_a_million_planes_are_numbers() -> None:
    class Tall(ArraySource):
        shape = (100_000, 2, 2)

    tall = [Resource(Tall(np.zeros((1, 2, 2), "u1")), id=str(i), axes="zyx") for i in range(10)]
    data = VolumeDataset(resources=tall)
    tracemalloc.start()
    planes = data.slice()
    parts = planes.split(a=0.5, b=0.5, seed=0)
    some = planes.subset(np.arange(0, 10**6, 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(planes), len(parts["a"]), len(some)) == (10**6, 500_000, 500_000)
    assert peak < 150e6


def test_every_kind_reads_the_same(tmp_path: Path) -> None:
    bp.copy(VOXELS, tmp_path / "v.zarr/raw", job_type="local", progress=False)
    path = tmp_path / "v.zarr/raw"
    data = VolumeDataset(resources=[str(path), Resource(path, id="other"), VOXELS, bp.open_source(path)])
    assert all(np.array_equal(item["image"][0], VOXELS) for item in data)


def test_a_label_map_is_not_looked_through_for_a_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project("planes", tmp_path / "p")
    layer = project.add_labelmap_layer("cells")
    for value, name in enumerate("abc", 1):
        layer.add_annotation(name, value)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3, 4, 5], labels[9] = 1, 3
    project.add_descriptor(VOXELS, "v").labelmap_layers["cells"].save_new_data(labels)
    planes = VolumeDataset(project.path).slice("axial")
    with monkeypatch.context() as patch:
        patch.setattr("bioimage_py.datasets.resources.layers.label_index", None)
        assert [planes[at]["seg_labels"].get("unknown", np.zeros(0)).tolist() for at in (3, 4, 9)] == [[1], [], [3]]
        assert VolumeDataset(project.path)[0]["seg_labels"]["unknown"].tolist() == [1, 3]
    assert [ann.identifier for ann in planes.get_annotations(0)] == ["a", "c"]


def test_volumes_have_the_affine_of_their_file(tmp_path: Path) -> None:
    """Turned, of another order of axes, and of anisotropic voxels; planes lie where the file says."""
    nibabel = pytest.importorskip("nibabel")
    voxels = np.random.default_rng(0).integers(0, 99, (6, 7, 8)).astype("i2")  # x, y, z of the file
    turn = np.eye(4)
    turn[:3, :3] = np.array([[0.1, 0, -3], [1, 0.1, 0], [0, 2, 0.1]])  # its axes run to the front, up, to the left
    turn[:3, 3] = [5, -7, 11]
    nibabel.save(nibabel.Nifti1Image(voxels, turn), tmp_path / "a.nii")
    data = VolumeDataset(resources=[tmp_path / "a.nii"])
    np.testing.assert_allclose(data[0]["metainfo"]["affine"], turn[:, [2, 1, 0, 3]], rtol=1e-6)
    for name, axis in (("axial", 1), ("coronal", 0), ("sagittal", 2)):
        sliced = data.slice(name)
        assert len(sliced) == voxels.shape[axis]
        np.testing.assert_array_equal(sliced[3]["image"][0], voxels.take(3, axis).T)
        at = [4, 5, 4]
        at[axis] = 3
        row, column = (at[other] for other in (2, 1, 0) if other != axis)
        world = sliced[3]["metainfo"]["affine"] @ [0, row, column, 1]
        np.testing.assert_allclose(world, turn @ [*at, 1], rtol=1e-6)
    given = VolumeDataset(resources=[Resource(tmp_path / "a.nii", affine=np.eye(4))])
    assert given[0]["metainfo"]["affine"].tolist() == np.eye(4).tolist()
