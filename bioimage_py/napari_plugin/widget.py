"""The widget: any operation on a layer, or several as a pipeline, on any backend, with progress; results are layers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, Label, LineEdit, ProgressBar, PushButton, Select, SpinBox
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
from .steps import Result, Step, folder_of, run_steps
from .writing import source_of

_LOOK_MILLISECONDS = 400
_PARTS = 100
"""Of the progress of one step."""


class OperationWidget(Container):  # type: ignore[misc]
    """Choose an operation, its layers and parameters, and run it; or add it to the steps of a pipeline, and run these.

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
        self.add, self.drop = PushButton(text="Add as a step"), PushButton(text="Remove steps")
        self.list = Select(label="steps", choices=[], tooltip="Run makes these one after the other; choose to remove")
        self.list.max_height = 90
        self.start = PushButton(text="Run")
        self.progress = ProgressBar(label="progress", min=0, max=1, value=0)
        self.message = Label(value="")
        self._inputs: dict[str, ComboBox] = {}
        self._values: dict[str, Any] = {}
        self.steps: list[Step] = []
        self._running: list[Step] = []
        self._done = 0
        steps = Container(layout="horizontal", widgets=[self.add, self.drop], labels=False)
        parts = [self.operation, self.form, self.output, steps, self.list, self.backend, self.workers, self.start]
        super().__init__(widgets=[*parts, self.progress, self.message], labels=True)
        self._timer = QTimer()
        self._timer.setInterval(_LOOK_MILLISECONDS)
        self._timer.timeout.connect(self._look)
        self._target = ""
        self.operation.changed.connect(self._fill)
        self.start.changed.connect(self.run)
        self.add.changed.connect(self.add_step)
        self.drop.changed.connect(self.drop_steps)
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
                if made := self._results():
                    row.value = made[-1]  # steps follow one another, mostly
            elif (row := _row(parameter)) is not None:
                self._values[parameter.name] = row
            else:
                continue
            row.tooltip = parameter.sentence
            self.form.append(row)

    def _layers(self) -> list[str]:
        shown = [layer.name for layer in self._viewer.layers if type(layer).__name__ in ("Image", "Labels")]
        return [*shown, *self._results()]

    def _results(self) -> list[str]:
        """What steps make, as it is called in the list."""
        return [f"step {n}: {name_of(step.operation)}" for n, step in enumerate(self.steps, 1) if step.makes_array]

    def _refresh(self, *_: Any) -> None:
        for box in self._inputs.values():
            before = box.value
            box.choices = self._layers()
            if before in box.choices:
                box.value = before
        self.list.choices = [f"{number}. {step}" for number, step in enumerate(self.steps, 1)]
        self.start.text = f"Run {len(self.steps)} steps" if self.steps else "Run"

    def step(self) -> Step:
        """The call that is filled in.

        Raises
        ------
        ParameterError
            A layer or a value is missing.
        """
        given: dict[str, Any] = {}
        results = {name: int(name.split()[1].rstrip(":")) - 1 for name in self._results()}
        for name, box in self._inputs.items():
            if box.value is None:
                raise ParameterError(f"{name}: there is no layer", remedy="open an image")
            made = results.get(box.value) if box.value not in self._viewer.layers else None
            given[name] = _source(self._viewer.layers[box.value]) if made is None else Result(made)
        for parameter in self.chosen.parameters:
            row = self._values.get(parameter.name)
            if row is None or row.value in ("", None):
                if row is not None and parameter.required:
                    raise ParameterError(f"{parameter.name} is empty", remedy=parameter.sentence)
                continue
            value = row.value
            given[parameter.name] = value_of(parameter, value) if isinstance(value, str) else value
        return Step(self.chosen, given, self.output.value)

    def add_step(self, *_: Any) -> None:
        """Put what is filled in at the end of the steps; the next one takes its result."""
        if (step := self._filled()) is None:
            return
        self.steps.append(step)
        self.output.value = ""
        self._refresh()
        self._fill()
        self.message.value = f"{len(self.steps)} steps"

    def drop_steps(self, *_: Any) -> None:
        """Remove the steps that are chosen in the list, and those that take their results; all where none is."""
        chosen = {int(name.partition(".")[0]) - 1 for name in self.list.value} or set(range(len(self.steps)))
        kept: dict[int, int] = {}
        steps: list[Step] = []
        for number, step in enumerate(self.steps):
            needs = [value.step for value in step.given.values() if isinstance(value, Result)]
            if number in chosen or any(one not in kept for one in needs):
                continue
            kept[number] = len(steps)
            given = {n: Result(kept[v.step]) if isinstance(v, Result) else v for n, v in step.given.items()}
            steps.append(replace(step, given=given))
        self.steps = steps
        self._refresh()

    def _filled(self) -> Step | None:
        """The call that is filled in; None where it says what is missing."""
        import click

        try:
            return self.step()
        except (BioimageError, click.BadParameter) as error:
            self.message.value = str(error)
            return None

    def run(self, *_: Any) -> Any:
        """Run the steps, or without any what is filled in, in a thread; returns that, which tests wait for."""
        steps = list(self.steps)
        if not steps:
            if (filled := self._filled()) is None:
                return None
            steps = [filled]
        last = steps[-1]
        target = last.output or os.path.join(tempfile.mkdtemp(prefix="bioimage_py-"), "out.zarr/data")
        if last.needs_output:
            steps[-1] = replace(last, output=target)
        self.start.enabled, self.message.value, self.progress.value = False, "running", 0
        self._running, self._done, self._target = steps, 0, target
        self.progress.max = _PARTS * len(steps)
        settings = {"job_type": self.backend.value, "num_workers": self.workers.value, "progress": False}

        def done(number: int) -> None:
            self._done = number

        @thread_worker  # type: ignore[untyped-decorator]
        def work() -> Any:
            return run_steps(steps, folder_of(target), done=done, **settings)

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
        part = 0.0
        for run in find_runs([place])[-1:]:
            blocks = sum(stage.blocks for stage in run.stages)
            part = sum(stage.done for stage in run.stages) / max(1, blocks)
        self.progress.value = min(self.progress.max, int(_PARTS * (self._done + part)))

    def _returned(self, results: list[Any]) -> None:
        told = []
        for number, (step, result) in enumerate(zip(self._running, results, strict=True), 1):
            name = name_of(step.operation)
            if isinstance(result, Source) and step.output and is_shown(result):
                for data, shown, kind in layers_of(name, [result]):
                    getattr(self._viewer, f"add_{kind}")(data, **shown)
            if step.output and isinstance(result, Source):
                told.append(f"{name}: {step.output}")
            elif not step.makes_array or number == len(results):
                told.append(f"{name}: {result}"[:500])
        self.message.value = "\n".join(told)
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
