"""What a parameter takes, read from a function's signature and from its text (the numpydoc section Parameters)."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["source", "number or source", "flag", "choice", "callable", "region", "table", "path", "value"]
_HEAD = re.compile(r"^(?P<names>\w+(?:, \w+)*)(?: : (?P<type>.+))?$")
_SEE = re.compile(r"(?:[Aa]s (?:for|of)|See) `(\w+)`")
_SET = re.compile(r"\{(?P<choices>[^}]*)\}")
_TABLE = re.compile(r"mapping|array_like|DataFrame|\(edges,\)")


@dataclass(frozen=True)
class Parameter:
    """A parameter of an operation.

    Parameters
    ----------
    name : str
    type : str
        As its text has it: ``"float or sequence of float, optional"``.
    text : str
        What is said of it.
    default : object
        `required` where there is none.
    """

    name: str
    type: str
    text: str
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is inspect.Parameter.empty

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it may have, where these are listed."""
        found = _SET.search(self.type)
        return () if found is None else tuple(one.strip(" \"'") for one in found["choices"].split(","))

    @property
    def kind(self) -> Kind:
        """What one gives for it."""
        told = self.type.partition(", default")[0].removesuffix(", optional")
        if self.choices:
            return "choice"
        if "mapping" in told or "DataFrame" in told:
            return "table"
        if "source-like" in told:
            return "number or source" if "number" in told else "source"
        if "callable" in told:
            return "callable"
        if told == "bool":
            return "flag"
        if "slice" in told:
            return "region"
        if _TABLE.search(told):
            return "table"
        return "path" if "path" in told else "value"

    @property
    def many(self) -> bool:
        """Whether a single value has to stand in a sequence of one."""
        return self.type.startswith("sequence")

    @property
    def sentence(self) -> str:
        """The first sentence of what is said of it, or its first part where that is long."""
        text = " ".join(self.text.replace("`", "").split())
        first = re.split(r"(?<=[\w)\"'])\. |(?<=\.\))\s", text)[0].rstrip(".")
        part = re.split(r"[;:] |, (?:see|by|which|such)\b| \(", first)[0]
        return part if len(part) > _SHORT and len(first) > _LONG else first


_LONG, _SHORT = 80, 24


def parameters_of(call: Callable[..., Any], leave_out: Collection[str] = ()) -> tuple[Parameter, ...]:
    """The parameters of a function, in their order.

    What a text only refers to ("As for `median`.") is looked up there, a function of the same module.
    """
    told = _told(call)
    found = []
    for name, parameter in inspect.signature(call).parameters.items():
        if name not in leave_out:
            kind, text = told.get(name, ("", ""))
            found.append(Parameter(name, kind, text, parameter.default))
    return tuple(found)


def _told(call: Callable[..., Any]) -> dict[str, tuple[str, str]]:
    """Type and text by parameter."""
    told: dict[str, tuple[str, str]] = {}
    names: list[str] = []
    for line in _section(inspect.getdoc(call) or ""):
        if (head := _HEAD.match(line)) is not None:
            names = head["names"].split(", ")
            told |= dict.fromkeys(names, (head["type"] or "", ""))
        else:
            told |= {name: (told[name][0], f"{told[name][1]} {line.strip()}".strip()) for name in names}
    for name, (kind, text) in list(told.items()):
        if not kind and (see := _SEE.search(text)) is not None:
            other = _neighbour(call, see[1])
            told[name] = (kind, text) if other is None else _told(other).get(name, (kind, text))
    return told


def _neighbour(call: Callable[..., Any], name: str) -> Callable[..., Any] | None:
    """Another function of its module, or of the package that this is in."""
    module = call.__module__
    for place in (module, module.rpartition(".")[0]):
        other: Callable[..., Any] | None = getattr(sys.modules[place], name, None)
        if callable(other) and other is not call:
            return other
    return None


def _section(text: str) -> list[str]:
    """Lines of the section Parameters."""
    _, _, rest = text.partition("\nParameters\n----------\n")
    return re.split(r"\n\n\S[^\n]*\n---+\n", rest)[0].splitlines()
