"""The plugin in a real napari without a screen: `make test-napari` installs it in an environment of its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

napari = pytest.importorskip("napari")

import bioimage_py as bp  # noqa: E402
from bioimage_py.cli.made.commands import name_of  # noqa: E402
from bioimage_py.napari_plugin.reading import LazyArray, get_reader, layers_of  # noqa: E402
from bioimage_py.napari_plugin.widget import OperationWidget, _source, usable  # noqa: E402
from bioimage_py.napari_plugin.writing import write_labels  # noqa: E402
from bioimage_py.sources import Axis, as_source  # noqa: E402
from bioimage_py.wrapper import AxesSource  # noqa: E402

SHAPE = (12, 40, 48)
ZYX = [Axis(name, "space", "micrometer", scale, 3.0) for name, scale in zip("zyx", (2.0, 0.5, 0.5), strict=True)]


@pytest.fixture
def viewer() -> Iterator[Any]:
    made = napari.Viewer(show=False)
    yield made
    made.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An OME-Zarr image with a pyramid, and labels."""
    volume = bp.sample.neurites((24, 160, 192), seed=2)
    bp.workflows.convert(AxesSource(volume.raw, ZYX), tmp_path / "a.ome.zarr", pyramid=True)
    bp.copy(AxesSource(volume.labels, ZYX), str(tmp_path / "b.zarr/labels"), progress=False)
    return tmp_path


def wait_for(condition: Any) -> None:
    from qtpy.QtTest import QTest

    for _ in range(6000):
        if condition():
            return
        QTest.qWait(10)
    raise AssertionError("waited too long")


def test_the_manifest_is_known_to_napari() -> None:
    from npe2 import PluginManager

    manager = PluginManager()
    manager.discover()
    manifest = manager.get_manifest("bioimage-blocks")
    assert manifest.display_name == "bioimage_py"
    assert [one.display_name for one in manifest.contributions.widgets] == ["Run an operation"]
    for command in manifest.contributions.commands:
        module, _, name = str(command.python_name).partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_images_and_labels_are_opened_as_such(viewer: Any, image: Path) -> None:
    viewer.open([str(image / "a.ome.zarr")], plugin="bioimage-blocks")
    viewer.open([str(image / "b.zarr/labels")], plugin="bioimage-blocks")
    raw, labels = viewer.layers
    assert (type(raw).__name__, type(labels).__name__) == ("Image", "Labels")
    assert raw.multiscale
    np.testing.assert_allclose(raw.scale, [2, 0.5, 0.5])
    np.testing.assert_allclose(raw.translate, [3, 3, 3])
    assert raw.axis_labels == ("z", "y", "x")
    assert {str(unit) for unit in raw.units} == {"micrometer"}
    assert raw.contrast_limits[0] < raw.contrast_limits[1]
    expected = bp.open_source(image / "b.zarr", "labels")[5]
    np.testing.assert_array_equal(np.asarray(labels.data[5]), expected)


def test_what_is_shown_is_read_and_no_more(viewer: Any) -> None:
    class Counted:
        shape, dtype, chunks = (2000, 4000, 4000), np.dtype("u1"), (1, 512, 512)
        read = 0

        def __getitem__(self, index: Any) -> np.ndarray:
            found = np.zeros([part.stop - part.start for part in index], "u1")
            Counted.read += found.size
            return found

    viewer.add_image(LazyArray(as_source(Counted())), contrast_limits=(0, 255))
    assert 0 < Counted.read < 10 * 4000 * 4000


@pytest.mark.parametrize("dtype", ["?", "u1", ">u2", "i4", "u8", "f4", ">f8"])
def test_all_types_are_shown(viewer: Any, tmp_path: Path, dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 2, (4, 8, 8)).astype(dtype)
    bp.copy(array, str(tmp_path / "a.zarr/raw"), progress=False)
    (layer,) = viewer.open([str(tmp_path / "a.zarr/raw")], plugin="bioimage-blocks")
    np.testing.assert_array_equal(np.asarray(layer.data[1]), array[1])


def test_channels_are_layers(viewer: Any, tmp_path: Path) -> None:
    array = np.arange(3 * 4 * 8 * 8, dtype="u2").reshape(3, 4, 8, 8)
    axes = [Axis("c", "channel"), *ZYX]
    bp.workflows.convert(AxesSource(array, axes), tmp_path / "c.ome.zarr")
    layers = viewer.open([str(tmp_path / "c.ome.zarr")], plugin="bioimage-blocks")
    assert [layer.colormap.name for layer in layers] == ["magenta", "green", "cyan"]
    np.testing.assert_array_equal(np.asarray(layers[2].data[1]), array[2, 1])


def test_what_is_no_volume_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no volume")
    assert get_reader(str(tmp_path / "a.txt")) is None
    assert get_reader(str(tmp_path / "none.zarr")) is None


def test_layers_are_written_with_scale_and_units(viewer: Any, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 9, SHAPE).astype("u4")
    placed = {"scale": (2, 0.5, 0.5), "translate": (1, 2, 3), "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
    layer = viewer.add_labels(array, **placed)
    path = str(tmp_path / "out.ome.zarr")
    assert layer.save(path, plugin="bioimage-blocks") == [path]
    found = bp.open_source(path)
    np.testing.assert_array_equal(found[...], array)
    assert [(one.name, one.scale, one.offset) for one in found.axes] == [("z", 2, 1), ("y", 0.5, 2), ("x", 0.5, 3)]
    assert {one.unit for one in found.axes} == {"micrometer"}
    write_labels(path, array + 1, {"name": "again"})
    np.testing.assert_array_equal(bp.open_source(path)[...], array + 1)


def test_coarser_levels_of_labels_have_their_ids(viewer: Any, tmp_path: Path) -> None:
    ids = np.random.default_rng(0).choice(np.array([0, 2**53 + 1, 2**64 - 5], "u8"), (8, 160, 160))
    path = str(tmp_path / "out.ome.zarr")
    viewer.add_labels(ids).save(path, plugin="bioimage-blocks")
    levels = [bp.open_source(path, key)[...] for key in ("0", "1")]
    np.testing.assert_array_equal(levels[0], ids)
    assert set(np.unique(levels[1])) == set(np.unique(ids))
    image = str(tmp_path / "image.ome.zarr")
    viewer.add_image(ids.astype("u4") % 1000).save(image, plugin="bioimage-blocks")
    assert len(np.unique(bp.open_source(image, "1")[...])) > 3  # means


@pytest.mark.parametrize(
    ("axes", "scale", "units"),
    [
        ([Axis("t", "time", "second", 2.0, 1.0), *ZYX], [2, 2, 0.5, 0.5], ["second", *["micrometer"] * 3]),
        ([Axis("z", "space", "foo", 0.0), *ZYX[1:]], [1, 0.5, 0.5], ["pixel", *["micrometer"] * 2]),
        ([Axis("z", "space", "micron", -2.0, 7.0), *ZYX[1:]], [-2, 0.5, 0.5], ["micrometer"] * 3),
        ([Axis("c", "channel", None, 3.0, 5.0), *ZYX], [1, 2, 0.5, 0.5], ["pixel", *["micrometer"] * 3]),
        ([Axis("angle", "other", "degree", 3.0), *ZYX], [3, 2, 0.5, 0.5], ["degree", *["micrometer"] * 3]),
    ],
)
def test_axes_of_all_kinds(viewer: Any, tmp_path: Path, axes: list[Axis], scale: list[float], units: list[str]) -> None:
    array = np.arange(8 * 4 * 6 * 6, dtype="u1").reshape((8, 4, 6, 6) if len(axes) == 4 else (32, 6, 6))
    ((data, told, _),) = layers_of("a", [AxesSource(array, axes)])
    layer = viewer.add_image(data, **told)
    np.testing.assert_allclose(layer.scale, scale)
    assert [str(unit) for unit in layer.units] == units
    shown = _source(layer)
    assert shown.axes == tuple(axes)  # what napari has no place for is not lost
    np.testing.assert_array_equal(shown[...], array)
    layer.scale = [9.0] * len(axes)
    assert [one.scale for one in _source(layer).axes] == [9.0] * len(axes)


def test_new_data_of_a_layer_are_what_is_meant(viewer: Any, image: Path) -> None:
    (layer,) = viewer.open([str(image / "b.zarr/labels")], plugin="bioimage-blocks")
    changed = np.full(layer.data.shape, 7, "u8")
    layer.data = changed
    np.testing.assert_array_equal(_source(layer)[...], changed)
    path = str(image / "c.ome.zarr")
    layer.save(path, plugin="bioimage-blocks")
    assert (bp.open_source(path)[...] == 7).all()


def test_lines_and_complex_numbers_are_left_to_others(tmp_path: Path) -> None:
    bp.copy(np.zeros(9, "u1"), str(tmp_path / "a.zarr/line"), progress=False)
    bp.copy(np.zeros((4, 4), "c8"), str(tmp_path / "a.zarr/complex"), progress=False)
    assert get_reader(str(tmp_path / "a.zarr/line")) is None
    assert get_reader(str(tmp_path / "a.zarr/complex")) is None


class TestWidget:
    @pytest.fixture
    def widget(self, viewer: Any, image: Path) -> OperationWidget:
        viewer.open([str(image / "a.ome.zarr")], plugin="bioimage-blocks")
        _, made = viewer.window.add_plugin_dock_widget("bioimage-blocks", "Run an operation")
        return made

    def test_every_operation_has_its_form(self, widget: OperationWidget) -> None:
        for name in widget.operation.choices:
            widget.operation.value = name
            assert len(widget.form) >= 1

    @pytest.mark.parametrize("backend", ["local", "subprocess"])
    def test_the_result_is_a_layer(self, viewer: Any, widget: OperationWidget, image: Path, backend: str) -> None:
        widget.operation.value = "smooth"
        widget._values["sigma"].value = "1,2,2"
        widget.output.value = str(image / "out.zarr/smooth")
        widget.backend.value, widget.workers.value = backend, 2
        widget.run()
        wait_for(lambda: len(viewer.layers) == 2 and widget.start.enabled)
        expected = bp.filters.gaussian_smoothing(bp.open_source(image / "a.ome.zarr"), (1, 2, 2), progress=False)
        np.testing.assert_allclose(np.asarray(viewer.layers[1].data), expected, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(viewer.layers[1].scale, [2, 0.5, 0.5])
        assert widget.progress.value == widget.progress.max

    @pytest.mark.parametrize("backend", ["local", "subprocess"])
    def test_of_one_channel(self, viewer: Any, widget: OperationWidget, image: Path, backend: str) -> None:
        array = np.random.default_rng(0).integers(0, 200, (2, 4, 16, 16)).astype("u1")
        bp.workflows.convert(AxesSource(array, [Axis("c", "channel"), *ZYX]), image / "c.ome.zarr")
        viewer.open([str(image / "c.ome.zarr")], plugin="bioimage-blocks")
        widget.operation.value = "max"
        widget._inputs["input"].value = viewer.layers[-1].name
        widget.backend.value = backend
        widget.run()
        wait_for(lambda: widget.start.enabled)
        assert widget.message.value == f"max: {array[1].max()}"

    @pytest.mark.parametrize("backend", ["local", "subprocess"])
    def test_steps_are_a_pipeline(self, viewer: Any, widget: OperationWidget, image: Path, backend: str) -> None:
        widget.operation.value = "smooth"
        widget._values["sigma"].value = "1"
        widget.add_step()
        assert widget._inputs["input"].value == "step 1: smooth"
        widget.operation.value = "label"
        assert widget._inputs["input"].value == "step 1: smooth"
        widget._values["threshold"].value = "120"
        widget.output.value = str(image / "out.zarr/labels")
        widget.add_step()
        widget.operation.value = "max"
        widget.add_step()
        assert list(widget.list.choices)[1] == f"2. label → {image}/out.zarr/labels"
        assert widget.start.text == "Run 3 steps"
        widget.backend.value, widget.workers.value = backend, 2
        widget.run()
        wait_for(lambda: widget.start.enabled)
        smooth = bp.filters.gaussian_smoothing(bp.open_source(image / "a.ome.zarr"), 1.0, progress=False)
        expected = bp.segmentation.label(smooth, threshold=120, progress=False)
        assert [type(layer).__name__ for layer in viewer.layers] == ["Image", "Labels"]
        np.testing.assert_array_equal(np.asarray(viewer.layers[1].data), expected)
        assert f"max: {expected.max()}" in widget.message.value
        assert widget.progress.value == widget.progress.max == 300

    def test_steps_that_are_removed_take_what_needs_them_along(self, viewer: Any, widget: OperationWidget) -> None:
        for name in ("smooth", "max", "median"):
            widget.operation.value = name
            first = widget._inputs["input"]
            first.value = first.choices[0] if name == "median" else first.value
            row = {"smooth": "sigma", "median": "size"}.get(name)
            if row:
                widget._values[row].value = "3"
            widget.add_step()
        assert [str(step) for step in widget.steps] == ["smooth", "max", "median"]
        widget.list.value = [widget.list.choices[0]]
        widget.drop_steps()
        assert [str(step) for step in widget.steps] == ["median"]
        widget.drop_steps()
        assert widget.start.text == "Run"

    def test_a_pipeline_that_fails_goes_on(self, viewer: Any, widget: OperationWidget, image: Path) -> None:
        widget.operation.value = "smooth"
        widget._values["sigma"].value = "1"
        widget.output.value = str(image / "s.zarr/smooth")
        widget.add_step()
        widget.operation.value = "median"
        widget._values["size"].value = "-3"
        widget.output.value = str(image / "out.zarr/median")
        widget.add_step()
        widget.run()
        wait_for(lambda: widget.start.enabled)
        assert "Error" in widget.message.value
        widget.drop_steps() if not widget.list.value else None
        assert bp.open_source(image / "s.zarr/smooth").shape == bp.open_source(image / "a.ome.zarr").shape

    def test_a_number_is_told(self, viewer: Any, widget: OperationWidget) -> None:
        widget.operation.value = "max"
        widget.run()
        wait_for(lambda: widget.start.enabled)
        assert widget.message.value.startswith("max: ")

    def test_errors_are_told(self, viewer: Any, widget: OperationWidget) -> None:
        widget.operation.value = "smooth"
        widget._values["sigma"].value = ""
        assert widget.run() is None
        assert "sigma is empty" in widget.message.value
        widget._values["sigma"].value = "-1"
        widget.run()
        wait_for(lambda: widget.start.enabled)
        assert "sigma" in widget.message.value

    def test_a_picture(self, viewer: Any, widget: OperationWidget, tmp_path: Path) -> None:
        picture = viewer.screenshot(path=str(tmp_path / "a.png"), canvas_only=False, flash=False)
        assert picture.std() > 10


def test_forms_hold_most_operations() -> None:
    from bioimage_py.catalogue.operations import declared

    names = {name_of(one) for one in declared() if usable(one)}
    assert {"smooth", "median", "label", "size-filter", "watershed", "pyramid"} <= names
    assert len(names) > 60
