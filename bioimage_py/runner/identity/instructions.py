"""What code does and names, without what changes when a line is added: its instructions, globals and imports."""

from __future__ import annotations

import bisect
import dis
import functools
import itertools
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_SILENT = {"EXTENDED_ARG", "NOP", "CACHE", "RESUME"}
_BY_NAME = {*dis.hasname, *dis.haslocal, *dis.hasfree, *dis.hascompare}
_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_OF_THE_TEXT = {"__doc__", "__firstlineno__", "__static_attributes__"}
"""What the body of a class stores of its source text."""


@functools.lru_cache(1024)
def instructions_of(code: types.CodeType) -> list[tuple[str, Any]]:
    """Operations with what they work on: constants by value, jumps by the number of the instruction they lead to.

    Docstrings, which are constants that nothing loads, positions and line numbers are not among them.
    """
    kept: list[dis.Instruction] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME" and instruction.argval in _OF_THE_TEXT:
            kept.pop()
        elif instruction.opname not in _SILENT:
            kept.append(instruction)
    offsets = [instruction.offset for instruction in kept]
    told: list[tuple[str, Any]] = [(one.opname, _argument(one, offsets)) for one in kept]
    for entry in dis.Bytecode(code).exception_entries:  # type: ignore[attr-defined] # the stubs do not know it
        span = [bisect.bisect_left(offsets, offset) for offset in (entry.start, entry.end, entry.target)]
        told.append(("except", f"{span} {entry.depth} {entry.lasti}"))
    return told


def _argument(instruction: dis.Instruction, offsets: list[int]) -> Any:
    if instruction.opcode in dis.hasconst:
        return instruction.argval
    if instruction.opcode in _JUMPS:
        return bisect.bisect_left(offsets, instruction.argval)
    return instruction.argrepr if instruction.opcode in _BY_NAME else f"{instruction.arg} {instruction.argrepr}"


_MAKES_CODE = {"eval", "exec", "globals", "__import__", "import_module"}
_LOOKS_BY_NAME = {"getattr", "vars", "dir", "attrgetter", "__dict__"}


@dataclass
class Uses:
    """What a function names: globals, attributes of anything, modules that it imports when it runs, what it stores.

    ``any_attribute``: it may look up attributes that it does not name. ``hidden``: what it may reach the rest with.
    """

    names: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    imports: set[tuple[str, int]] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)

    @property
    def any_attribute(self) -> bool:
        """Whether attributes may be looked up by names that are computed."""
        return not _LOOKS_BY_NAME.isdisjoint(self.names | self.attributes)

    @property
    def hidden(self) -> str:
        """A function of those that make code or find globals as they run; empty where none is named."""
        return min(_MAKES_CODE & (self.names | self.attributes), default="")


@functools.lru_cache(1024)
def uses_of(code: types.CodeType) -> Uses:
    """What a function and the functions in it name."""
    uses = Uses()
    for part in _nested(code):
        before: list[dis.Instruction] = []
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_CLASSDEREF"):
                uses.names.add(instruction.argval)
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM", "LOAD_SUPER_ATTR"):
                uses.attributes.add(instruction.argval)
            elif instruction.opname in ("STORE_GLOBAL", "STORE_ATTR"):
                uses.stored.add(instruction.argval)
            elif instruction.opname == "IMPORT_NAME":
                levels = [one.argval for one in before[-2:] if isinstance(one.argval, int)]
                uses.imports.add((instruction.argval, levels[0] if levels else 0))
                uses.attributes.update(instruction.argval.split(".")[1:])
            if instruction.opname not in _SILENT:
                before.append(instruction)
    return uses


@functools.lru_cache(64)
def literals_of(code: types.CodeType, scope: str) -> set[str]:
    """Names that a module ("<module>") or a class of it stores once, with a value that is written there."""
    stored: list[str] = []
    written: set[str] = set()
    for part in (part for part in _nested(code) if part.co_qualname == scope):
        for before, instruction in itertools.pairwise(dis.get_instructions(part)):
            if instruction.opname == "STORE_NAME":
                stored.append(instruction.argval)
                if before.opcode in dis.hasconst:
                    written.add(instruction.argval)
    return {name for name in written if stored.count(name) == 1}


@functools.lru_cache(64)
def constants_of(code: types.CodeType) -> set[str]:
    """How the constants of a module's code are written."""
    return {repr(one) for part in _nested(code) for one in part.co_consts}


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)
