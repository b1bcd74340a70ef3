"""What to run: a value that says everything about a run before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...sources.base import Source
from ..execution import Execution
from .work_list import Units


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Parameters
    ----------
    name : str
    kind : {"blocks", "items", "once"}
        ``blocks`` calls ``function(block, inputs, outputs, mask)``, ``items`` calls ``function(index)``, ``once``
        calls ``function(earlier)`` a single time.
    function : callable
        Gets ``context=`` as well where ``setup`` is given.
    units : Units
        What is claimed.
    inputs, outputs : tuple of Source
    mask : Source, optional
    halo : tuple of int, optional
    returns : {"none", "each", "fold"}
        What becomes of the values: nothing, kept by id, or folded with ``merge``.
    merge : callable, optional
    setup : callable, optional
        ``setup(earlier)`` is called once a process; its value is the function's ``context``.
    cache_bytes : int
        Decoded-chunk cache of the inputs that no worker of the stage writes.
    ahead : tuple of int
        Which inputs are read one block ahead.
    memory_factor : float
        Peak bytes of the function over the bytes of the blocks that it reads and writes.
    in_place : bool
        An output is also an input.
    reads_outputs : bool
        The function may read what it writes.
    undo : bool
        Units are kept before they are written, and read from.
    holds_gil : bool
        Most of the function's time is spent in a kernel that lets no other thread of its process run.
    early : bool
        A group of its blocks begins as soon as those groups of the stages in front that write what it reads are done;
        else the stage begins when the one in front has ended.
    mapped : bool
        Large arrays in its values become files of their own, of which later stages read only the parts that they need.
    """

    name: str
    kind: Literal["blocks", "items", "once"]
    function: Callable[..., Any]
    units: Units
    inputs: tuple[Source, ...] = ()
    outputs: tuple[Source, ...] = ()
    mask: Source | None = None
    halo: tuple[int, ...] | None = None
    returns: Literal["none", "each", "fold"] = "none"
    merge: Callable[[Any, Any], Any] | None = None
    setup: Callable[[Any], Any] | None = None
    cache_bytes: int = 0
    ahead: tuple[int, ...] = ()
    memory_factor: float = 3.0
    in_place: bool = False
    reads_outputs: bool = False
    undo: bool = False
    holds_gil: bool = False
    early: bool = False
    mapped: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether a block gives the same result when it is run again."""
        return self.undo or not (self.in_place or self.reads_outputs)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Inputs, outputs and mask."""
        return (*self.inputs, *self.outputs, *(() if self.mask is None else (self.mask,)))

    def over(self, read: Callable[[Source], Source], written: Callable[[Source], Source]) -> Stage:
        """The stage with others in the place of what it reads (inputs and mask), and of what it writes."""
        mask = None if self.mask is None else read(self.mask)
        return replace(self, inputs=tuple(map(read, self.inputs)), mask=mask, outputs=tuple(map(written, self.outputs)))

    def where(self, block_id: int) -> str:
        """Absolute region of a block, for messages."""
        if self.kind != "blocks" or self.units.groups is None:
            return ""
        return self.units.groups.grid[block_id].where()


@dataclass(frozen=True)
class Plan:
    """A run before it starts: its stages and how to execute them.

    ``handed`` are the outputs that are copied in from scratch arrays at the end (see `single_writer`).
    """

    name: str
    stages: tuple[Stage, ...]
    execution: Execution
    handed: tuple[Any, ...] = ()

    def chain(self, stage: int) -> range:
        """The stages that run at the same time as one: from the last one that waits for all before it."""
        first, past = stage, stage + 1
        while self.stages[first].early and first:
            first -= 1
        while past < len(self.stages) and self.stages[past].early:
            past += 1
        return range(first, past)

    @property
    def widest(self) -> int:
        """Groups that could be run at the same time at most."""
        chains = {self.chain(index) for index in range(len(self.stages))}
        return max((sum(self.stages[index].units.n_groups for index in chain) for chain in chains), default=0)

    def part_of_a_larger_one(self) -> Plan:
        """The plan where its blocks are some of a larger run's, whose other ones may be done already."""
        shared = (replace(stage, units=replace(stage.units, shared=True)) for stage in self.stages)
        return replace(self, stages=tuple(shared))
