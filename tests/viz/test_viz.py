"""Overview pictures."""

from __future__ import annotations

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import DtypeError, RegionError, ShapeError
from bioimage_py.sources import Axis, Source
from bioimage_py.viz import label_colors, overview


class Counting(Source):
    """An array that counts the voxels read."""

    def __init__(self, array, axes):
        self.array_ = array
        self.axes_ = axes
        self.voxels = 0

    @property
    def shape(self):
        return self.array_.shape

    @property
    def dtype(self):
        return self.array_.dtype

    @property
    def axes(self):
        return self.axes_

    def _getitem(self, roi):
        self.voxels += np.prod([part.stop - part.start for part in roi])
        return self.array_[roi].copy()


def _image(path):
    from matplotlib.image import imread

    return imread(path)


def test_colors_are_fixed_distinct_and_black_for_zero():
    labels = np.array([[0, 1], [2, 2**63 + 7]], np.uint64)
    colors = label_colors(labels)
    assert colors.shape == (2, 2, 3)
    assert colors.dtype == np.uint8
    assert not colors[0, 0].any()
    np.testing.assert_array_equal(label_colors(np.array([2], np.int32))[0], colors[1, 0])
    many = label_colors(np.arange(1, 200))
    assert len(np.unique(many, axis=0)) > 190
    assert (many.max(axis=1) > 100).all()


@pytest.mark.slow
def test_overview_reads_the_planes_only(tmp_path):
    volume = bp.sample.neurites((20, 60, 80), seed=1)
    axes = volume.raw.axes
    raw, labels = Counting(volume.raw[...], axes), Counting(volume.labels[...], axes)
    path = overview(raw, labels, labels, path=tmp_path / "deep" / "overview.png", title="a title")
    planes = 60 * 80 + 20 * 80 + 20 * 60
    assert raw.voxels == planes
    assert labels.voxels <= 3 * planes
    picture = _image(path)
    assert picture.ndim == 3
    assert min(picture.shape[:2]) > 300


@pytest.mark.slow
def test_overview_is_drawn_to_scale(tmp_path):
    shape = (10, 30, 30)
    labels = np.zeros(shape, np.uint32)
    raw = np.zeros(shape, np.uint8)
    sizes = {}
    for z in (1.0, 6.0):
        axes = tuple(Axis(n, unit="micrometer", scale=s) for n, s in zip("zyx", (z, 1.0, 1.0), strict=True))
        path = overview(Counting(raw, axes), labels, path=tmp_path / f"{z}.png")
        sizes[z] = _image(path).shape
    # Ten sections of six micrometres are twice as wide as thirty pixels, of one a third.
    assert sizes[6.0][0] == sizes[1.0][0]
    assert sizes[6.0][1] > 1.8 * sizes[1.0][1]


@pytest.mark.slow
def test_segmentation_and_boundaries_are_in_the_picture(tmp_path):
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[:, :8] = 3
    path = overview(np.full(labels.shape, 100, np.float32), labels, path=tmp_path / "o.png")
    found = {tuple(color) for color in np.rint(_image(path)[..., :3] * 255).astype(int).reshape(-1, 3)}
    assert tuple(label_colors(np.array([3]))[0].tolist()) in found
    assert (255, 214, 0) in found


def test_large_planes_are_cropped_around_the_position(tmp_path):
    raw = Counting(np.zeros((4, 300, 300), np.uint8), bp.as_source(np.zeros((4, 300, 300))).axes)
    overview(raw, np.zeros((4, 300, 300), np.uint8), path=tmp_path / "o.png", size=100, position=(0, 299, 0))
    assert raw.voxels == 100 * 100 + 2 * 4 * 100


def test_bad_input_is_named(tmp_path):
    raw, labels = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    path = tmp_path / "o.png"
    with pytest.raises(ShapeError, match=r"ground truth has the shape \(4, 5, 7\), the image \(4, 5, 6\)"):
        overview(raw, labels, np.zeros((4, 5, 7), int), path=path)
    with pytest.raises(ShapeError, match="three axes"):
        overview(raw[0], labels[0], path=path)
    with pytest.raises(DtypeError, match="segmentation is float32"):
        overview(raw, labels.astype(np.float32), path=path)
    with pytest.raises(RegionError, match="outside the volume"):
        overview(raw, labels, path=path, position=(4, 0, 0))
    with pytest.raises(TypeError, match="open_source"):
        overview("raw.zarr", labels, path=path)
    assert not path.exists()
