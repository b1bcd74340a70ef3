"""The widget: any operation on a layer, on any backend, with progress; the result is a layer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, Label, LineEdit, ProgressBar, PushButton, SpinBox
from napari.qt.threading import thread_worker
from qtpy.QtCore import QTimer

from ..catalogue.operations import Operation, declared
from ..catalogue.parameters import Parameter
from ..cli.made.commands import name_of
from ..cli.made.values import value_of
from ..errors import BioimageError, ParameterError
from ..sources import Source
from ..system.threads import usable_cores
from .reading import is_shown, layers_of
from .writing import source_of

_LOOK_MILLISECONDS = 400


class OperationWidget(Container):  # type: ignore[misc]
    """Choose an operation, its layers and parameters, and run it.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: Any) -> None:
        self._viewer = napari_viewer
        self._operations = {name_of(one): one for one in declared() if usable(one)}
        self.operation = ComboBox(label="operation", choices=sorted(self._operations), value="smooth")
        self.form = Container(labels=True)
        self.output = LineEdit(label="output", tooltip="out.zarr/data; left empty: a scratch file")
        self.backend = ComboBox(label="backend", choices=["local", "subprocess", "slurm"])
        self.workers = SpinBox(label="workers", value=usable_cores(), min=1, max=4096)
        self.start = PushButton(text="Run")
        self.progress = ProgressBar(label="progress", min=0, max=1, value=0)
        self.message = Label(value="")
        self._inputs: dict[str, ComboBox] = {}
        self._values: dict[str, Any] = {}
        parts = [self.operation, self.form, self.output, self.backend, self.workers, self.start, self.progress]
        super().__init__(widgets=[*parts, self.message], labels=True)
        self._timer = QTimer()
        self._timer.setInterval(_LOOK_MILLISECONDS)
        self._timer.timeout.connect(self._look)
        self._target = ""
        self.operation.changed.connect(self._fill)
        self.start.changed.connect(self.run)
        self._viewer.layers.events.inserted.connect(self._refresh)
        self._viewer.layers.events.removed.connect(self._refresh)
        self._fill()

    @property
    def chosen(self) -> Operation:
        """The operation."""
        return self._operations[self.operation.value]

    def _fill(self, *_: Any) -> None:
        """A row for each parameter."""
        self.form.clear()
        self._inputs, self._values = {}, {}
        for parameter in self.chosen.parameters:
            if parameter.name in self.chosen.declaration.outputs:
                continue
            if parameter.kind in ("source", "number or source") and parameter.required:
                row = self._inputs[parameter.name] = ComboBox(label=parameter.name, choices=self._layers())
            elif (row := _row(parameter)) is not None:
                self._values[parameter.name] = row
            else:
                continue
            row.tooltip = parameter.sentence
            self.form.append(row)

    def _layers(self) -> list[str]:
        return [layer.name for layer in self._viewer.layers if type(layer).__name__ in ("Image", "Labels")]

    def _refresh(self, *_: Any) -> None:
        for box in self._inputs.values():
            before = box.value
            box.choices = self._layers()
            if before in box.choices:
                box.value = before

    def call(self) -> dict[str, Any]:
        """Arguments of the call, as they are filled in.

        Raises
        ------
        ParameterError
            A layer or a value is missing.
        """
        given: dict[str, Any] = {}
        for name, box in self._inputs.items():
            if box.value is None:
                raise ParameterError(f"{name}: there is no layer", remedy="open an image")
            given[name] = _source(self._viewer.layers[box.value])
        for parameter in self.chosen.parameters:
            row = self._values.get(parameter.name)
            if row is None or row.value in ("", None):
                if row is not None and parameter.required:
                    raise ParameterError(f"{parameter.name} is empty", remedy=parameter.sentence)
                continue
            value = row.value
            given[parameter.name] = value_of(parameter, value) if isinstance(value, str) else value
        self._target = self.output.value or os.path.join(tempfile.mkdtemp(prefix="bioimage_py-"), "out.zarr/data")
        if self.chosen.output is not None:
            given[self.chosen.output.name] = self._target
        return given

    def run(self, *_: Any) -> Any:
        """Run it in a thread; returns that, which tests wait for."""
        import click

        try:
            given = self.call()
        except (BioimageError, click.BadParameter) as error:
            self.message.value = str(error)
            return None
        self.start.enabled, self.message.value, self.progress.value = False, "running", 0
        chosen = self.chosen
        settings = {"job_type": self.backend.value, "num_workers": self.workers.value, "progress": False}

        @thread_worker  # type: ignore[untyped-decorator]
        def work() -> Any:
            return chosen.call(**given, **settings)

        worker = work()
        worker.returned.connect(self._returned)
        worker.errored.connect(self._errored)
        worker.finished.connect(self._finished)
        self._timer.start()
        worker.start()
        return worker

    def _look(self) -> None:
        """Show how far the run is, as its folder tells."""
        from ..runner.control.inspect import find_runs

        place = os.path.dirname(self._target.partition(".zarr")[0]) or "."
        for run in find_runs([place])[-1:]:
            self.progress.max = max(1, sum(stage.blocks for stage in run.stages))
            self.progress.value = min(self.progress.max, sum(stage.done for stage in run.stages))

    def _returned(self, result: Any) -> None:
        name = self.operation.value
        if isinstance(result, Source) and is_shown(result):
            for data, told, kind in layers_of(name, [result]):
                getattr(self._viewer, f"add_{kind}")(data, **told)
            self.message.value = f"{name}: {self._target}"
        else:
            self.message.value = f"{name}: {result}"[:500]
        self.progress.value = self.progress.max

    def _errored(self, error: BaseException) -> None:
        self.message.value = f"{type(error).__name__}: {error}"[:500]

    def _finished(self) -> None:
        self._timer.stop()
        self.start.enabled = True


def usable(operation: Operation) -> bool:
    """Whether a form can hold all that an operation needs."""
    known: Sequence[str] = ("source", "number or source", "flag", "choice", "value", "region", "path")
    return all(not one.required or one.kind in known for one in operation.parameters)


def _row(parameter: Parameter) -> Any:
    default = parameter.default
    if parameter.kind == "flag":
        return CheckBox(label=parameter.name, value=bool(default) if not parameter.required else False)
    if parameter.kind == "choice":
        choices = list(parameter.choices) if parameter.required or default is not None else ["", *parameter.choices]
        value = choices[0] if parameter.required or default is None else str(default)
        return ComboBox(label=parameter.name, choices=choices, value=value)
    if parameter.kind in ("callable", "table", "source"):
        return None
    shown = "" if parameter.required or default is None else _typed(default)
    return LineEdit(label=parameter.name, value=shown)


def _typed(value: Any) -> str:
    """A default as one would type it."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _source(layer: Any) -> Source:
    """What a layer shows, with its axes as they are shown."""
    meta = {name: list(getattr(layer, name, ())) for name in ("scale", "translate", "axis_labels", "units")}
    return source_of(layer.data, {**meta, "multiscale": layer.multiscale})
