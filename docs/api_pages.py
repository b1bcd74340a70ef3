"""The pages of the API: one for each public module, with an entry for each public name."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

LAZY = "Public names are imported on first use"
"""How a paragraph begins that is for authors only."""
NAMES = Path(__file__).parents[1] / "tests" / "layout" / "public_names.txt"


@functools.cache
def listed() -> dict[str, list[str]]:
    """Return the public modules and their names, as tests/layout/public_names.txt lists them."""
    lines = NAMES.read_text().replace("\n    ", " ").splitlines()
    return {module: names.split() for module, _, names in (line.partition(":") for line in lines)}


def modules() -> list[ModuleType]:
    """Return the public modules."""
    return [importlib.import_module(name) for name in listed()]


def members(module: ModuleType) -> dict[str, object]:
    """Return what a module exports, by name, without the modules below it."""
    names = {*listed()[module.__name__], *getattr(module, "__all__", ())}
    found = {name: getattr(module, name) for name in sorted(names) if not name.startswith("_")}
    return {name: value for name, value in found.items() if not inspect.ismodule(value)}


def homes(public: list[ModuleType]) -> dict[int, str]:
    """Return for each exported object, by its identity, the module whose page describes it."""
    places: dict[int, list[str]] = {}
    defined: dict[int, str] = {}
    for module in public:
        for value in members(module).values():
            places.setdefault(id(value), []).append(module.__name__)
            defined[id(value)] = str(getattr(value, "__module__", ""))
    # where it is defined, else the most special place: `open_source` is one of `sources` rather than of the package
    return {
        key: max(names, key=lambda name: (f"{defined[key]}.".startswith(f"{name}."), len(name)))
        for key, names in places.items()
    }


def fold_keywords(public: list[ModuleType]) -> None:
    """Let operations show their own parameters and ``**run``: their docstrings list the keywords that all share."""
    values = [value for module in public for value in members(module).values()]
    values += [member for value in values if inspect.isclass(value) for member in vars(value).values()]
    for function in filter(inspect.isroutine, values):
        inner = inspect.unwrap(function)
        if not isinstance(inner, FunctionType) or "RunKeywords" not in str(inner.__annotations__.get("run", "")):
            continue
        signature = inspect.signature(inner)
        own = [p.replace(annotation=p.empty) if name == "run" else p for name, p in signature.parameters.items()]
        inner.__annotations__.pop("run")  # its type is of use to editors only
        function.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]


def first_line(value: object) -> str:
    """Return the first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def entry(module: str, name: str, value: object) -> Iterator[str]:
    """Yield the lines of a name that is described on this page."""
    kind = "function" if inspect.isroutine(value) else "class" if inspect.isclass(value) else "data"
    yield f".. auto{kind}:: {module}::{name}"
    if kind == "class":
        yield "   :members:"
    yield ""


def page(module: ModuleType, homes: dict[int, str]) -> str:
    """Return the page of a module."""
    name = module.__name__
    told = [part for part in (inspect.getdoc(module) or "").split("\n\n") if not part.startswith(LAZY)]
    lines = [name, "=" * len(name), "", "\n\n".join(told), "", ".. list-table::", "   :class: names", ""]
    own = {}
    anchors = []
    for member, value in members(module).items():
        home = homes[id(value)]
        if home == name:
            own[member] = value
        else:
            anchors += [f".. py:data:: {name}.{member}", "   :no-typesetting:", ""]
        lines += [f"   * - :py:obj:`~{home}.{member}`", f"     - {first_line(value) if callable(value) else ''}"]
    lines += ["", *anchors]
    for member, value in own.items():
        lines += entry(name, member, value)
    return "\n".join(lines) + "\n"


def write(folder: Path) -> None:
    """Write the pages, and leave those alone that are as they should be."""
    public = modules()
    fold_keywords(public)
    described = homes(public)
    folder.mkdir(exist_ok=True)
    pages = {f"{module.__name__}.rst": page(module, described) for module in public}
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
