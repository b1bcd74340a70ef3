"""What a worker does for `distance_transform`: some axes of a block, whose lines are whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import Block, BlockWithHalo, to_roi
from ...blocks.boxes import within
from ...sources import Source
from .distance_lines import Metric, first_axis, next_axis

Array = npt.NDArray[Any]
Traces = dict[int, Array]
"""By axis of the array: the index at which the nearest background lies."""


@dataclass(frozen=True)
class Distances:
    """Squared distances along some axes.

    Parameters
    ----------
    metric : Metric
    along : tuple of int
        Axes of the array that the metric has sizes of.
    trace : bool
        Also where the nearest background lies.
    within : float, optional
        Distance beyond which nothing matters.
    """

    metric: Metric
    along: tuple[int, ...]
    trace: bool = False
    within: float | None = None

    def of_foreground(self, foreground: Array, axes: Sequence[int]) -> tuple[Array, Traces]:
        """Squared distances to background along some axes, the last one first."""
        if not self.trace and self._compiled(foreground, axes):
            return self._by_edt(foreground, axes), {}
        last = axes[-1]
        squared, nearest = first_axis(foreground, last, self.metric, self.along.index(last))
        traces: Traces = {last: nearest} if self.trace else {}
        for axis in reversed(axes[:-1]):
            squared, traces = self.along_axis(squared, traces, axis)
        return squared, traces

    def along_axis(self, squared: Array, traces: Traces, axis: int) -> tuple[Array, Traces]:
        """Squared distances along one axis more."""
        which = self.along.index(axis)
        reach = self.metric.reach(which, self.within)
        squared, origin = next_axis(squared, axis, self.metric, which, reach, trace=self.trace)
        if origin is None:
            return squared, {}
        nothing = squared >= self.metric.far
        found = {other: np.take_along_axis(trace, origin, axis) for other, trace in traces.items()}
        found[axis] = np.where(nothing, np.int32(-1), origin)
        for other in traces:
            found[other][nothing] = -1
        return squared, found

    def lengths(self, squared: Array) -> Array:
        """Distances; none is beyond `within`."""
        found = self.metric.lengths(squared)
        return found if self.within is None else np.minimum(found, np.float32(self.within))

    def indices(self, squared: Array, traces: Traces) -> Array:
        """Where the nearest background lies, a channel an axis; -1 where there is none."""
        found = np.stack([traces[axis] for axis in self.along])
        if self.within is not None:
            found[:, self.metric.lengths(squared) > np.float32(self.within)] = -1
        return found

    def _compiled(self, foreground: Array, axes: Sequence[int]) -> bool:
        """Whether float32, in which the library `edt` computes, holds every squared distance exactly."""
        steps = [self.metric.step(self.along.index(axis)) for axis in axes]
        farthest = sum((step * foreground.shape[axis]) ** 2 for step, axis in zip(steps, axes, strict=True))
        return self.metric.whole and farthest < 2**24 and len(axes) <= 3

    def _by_edt(self, foreground: Array, axes: Sequence[int]) -> Array:
        import edt

        steps = tuple(float(self.metric.step(self.along.index(axis))) for axis in axes)
        apart = [axis for axis in range(foreground.ndim) if axis not in axes]
        order = [*apart, *axes]
        moved = foreground.transpose(order)
        result = np.empty(moved.shape, self.metric.dtype)
        for index in np.ndindex(moved.shape[: len(apart)]):
            one = np.ascontiguousarray(moved[index])
            found = edt.edtsq(one, anisotropy=steps if len(steps) > 1 else steps[0], black_border=False, parallel=1)
            if one.all():
                found = np.full(one.shape, self.metric.far)
            result[index] = found
        return result.transpose(np.argsort(order))


@dataclass(frozen=True)
class FirstAxes:
    """The first stage: foreground along some axes; its outputs are the squares, and the index along each of them."""

    kernel: Distances
    axes: tuple[int, ...]

    def __call__(
        self, block: Block | BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Any
    ) -> None:
        """Run one block."""
        inner, outer = _boxes(block)
        squared, traces = self.kernel.of_foreground(inputs[0].view(outer) != 0, self.axes)
        part = within(inner, outer)
        for output, values in zip(outputs, (squared, *(traces[axis] for axis in sorted(traces))), strict=True):
            output[inner] = values[part]


@dataclass(frozen=True)
class NextAxis:
    """A later stage: one axis more, of squares and indices."""

    kernel: Distances
    axis: int
    done: tuple[int, ...]

    def __call__(
        self, block: Block | BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Any
    ) -> None:
        """Run one block."""
        inner, outer = _boxes(block)
        squared, traces = self.run(inputs, outer)
        part = within(inner, outer)
        for output, values in zip(outputs, (squared, *(traces[axis] for axis in sorted(traces))), strict=True):
            output[inner] = values[part]

    def run(self, inputs: Sequence[Source], outer: tuple[slice, ...]) -> tuple[Array, Traces]:
        """Squares and indices of a box."""
        squared = inputs[0].view(outer)
        traces = {axis: source.view(outer) for axis, source in zip(sorted(self.done), inputs[1:], strict=True)}
        return self.kernel.along_axis(squared, traces, self.axis)


@dataclass(frozen=True)
class LastAxis:
    """The last stage: lengths, and indices in one array; ``stage`` is None where the foreground is the input."""

    kernel: Distances
    stage: NextAxis | None
    distances: bool
    indices: bool

    def __call__(
        self, block: Block | BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Any
    ) -> None:
        """Run one block."""
        inner, outer = _boxes(block)
        if self.stage is None:
            squared, traces = self.kernel.of_foreground(inputs[0].view(outer) != 0, self.kernel.along)
        else:
            squared, traces = self.stage.run(inputs, outer)
        part = within(inner, outer)
        squared, traces = squared[part], {axis: trace[part] for axis, trace in traces.items()}
        if self.distances:
            outputs[0][inner] = self.kernel.lengths(squared)
        if self.indices:
            begins = [slice_.start for slice_ in outer] if self.stage is None else [0] * len(outer)
            shifted = {axis: np.where(t < 0, t, t + np.int32(begins[axis])) for axis, t in traces.items()}
            outputs[-1][(slice(None), *inner)] = self.kernel.indices(squared, shifted)


def _boxes(block: Block | BlockWithHalo) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What a block writes, and what it reads."""
    if isinstance(block, BlockWithHalo):
        return to_roi(block.inner_block), to_roi(block.outer_block)
    return to_roi(block), to_roi(block)
