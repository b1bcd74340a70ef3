"""What code does and names, without what changes when a line is added: its instructions, globals and imports."""

from __future__ import annotations

import bisect
import dis
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_SILENT = {"EXTENDED_ARG", "NOP", "CACHE", "RESUME"}
_BY_NAME = {*dis.hasname, *dis.haslocal, *dis.hasfree, *dis.hascompare}
_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_OF_THE_TEXT = {"__doc__", "__firstlineno__", "__static_attributes__"}
"""What the body of a class stores of its source text."""


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
        told.append(("except", (*span, entry.depth, entry.lasti)))
    return told


def _argument(instruction: dis.Instruction, offsets: list[int]) -> Any:
    if instruction.opcode in dis.hasconst:
        return instruction.argval
    if instruction.opcode in _JUMPS:
        return bisect.bisect_left(offsets, instruction.argval)
    return instruction.argrepr if instruction.opcode in _BY_NAME else (instruction.arg, instruction.argrepr)


@dataclass
class Uses:
    """What a function names: globals, attributes of anything, and modules that it imports when it runs."""

    names: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    imports: set[tuple[str, int]] = field(default_factory=set)


def uses_of(code: types.CodeType) -> Uses:
    """What a function and the functions in it name."""
    uses = Uses()
    for part in _nested(code):
        before: list[dis.Instruction] = []
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
                uses.names.add(instruction.argval)
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM", "LOAD_SUPER_ATTR"):
                uses.attributes.add(instruction.argval)
            elif instruction.opname == "IMPORT_NAME":
                levels = [one.argval for one in before[-2:] if isinstance(one.argval, int)]
                uses.imports.add((instruction.argval, levels[0] if levels else 0))
                uses.attributes.update(instruction.argval.split(".")[1:])
            if instruction.opname not in _SILENT:
                before.append(instruction)
    return uses


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)
