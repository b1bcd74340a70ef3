"""Draw the picture of napari in docs/looking.md, in the environment and on the screen of `make test-napari`.

PYTHONPATH=. xvfb-run -a -s "-screen 0 1600x1200x24" .venv/napari/bin/python docs/build_napari.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import napari
from qtpy.QtTest import QTest

import bioimage_py as bp

PICTURE = Path(__file__).with_name("pictures") / "napari.png"


def main() -> None:
    """Open a volume, smooth and label it by the steps of the widget, and draw the window."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        image = Path(made) / "neurites.ome.zarr"
        bp.workflows.convert(bp.sample.neurites((64, 256, 320), seed=3).raw, image, pyramid=True)
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1400, 860)
        viewer.open([str(image)], plugin="bioimage-blocks")
        _, form = viewer.window.add_plugin_dock_widget("bioimage-blocks", "Run an operation")
        form.operation.value = "smooth"
        form._values["sigma"].value = "1"
        form.add_step()
        form.operation.value = "label"
        form._values["threshold"].value = "150"
        form.output.value = str(Path(made) / "out.zarr/labels")
        form.add_step()
        form.run()
        while not form.start.enabled:
            QTest.qWait(50)
        form.list.choices, form.message.value = ["1. smooth", "2. label → out.zarr/labels"], "label: out.zarr/labels"
        viewer.dims.set_point(0, 32 * viewer.layers[0].scale[0])
        QTest.qWait(1500)
        viewer.screenshot(path=str(PICTURE), canvas_only=False, flash=False)
        viewer.close()


if __name__ == "__main__":
    main()
