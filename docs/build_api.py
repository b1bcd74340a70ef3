"""Build the pages of the API: `python docs/build_api.py OUTPUT_FOLDER`; `build_site.py` does so for the site."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import typing
from pathlib import Path
from types import FunctionType

import pdoc
import pdoc.doc
import pdoc.render
import pdoc.render_helpers

import bioimage_py
from bioimage_py.engine.job import RunKeywords

DOCS = Path(__file__).parent


def public_modules() -> list[object]:
    """The modules that the package exports; their names are put into them, because pdoc does not look at lazy ones."""
    modules: list[object] = [bioimage_py]
    for name in bioimage_py.__all__:
        getattr(bioimage_py, name)
        if f"{bioimage_py.__name__}.{name}" in sys.modules:
            modules.append(importlib.import_module(f"{bioimage_py.__name__}.{name}"))
    for module in modules:
        for name in getattr(module, "__all__", ()):
            setattr(module, name, getattr(module, name))
    return modules


def show_keywords(modules: list[object]) -> None:
    """Let functions show the keywords of a run one by one, as they take them, with their types."""
    types = typing.get_type_hints(RunKeywords)
    values = [value for module in modules for value in vars(module).values()]
    values += [member for value in values if inspect.isclass(value) for member in vars(value).values()]
    for function in filter(inspect.isroutine, values):
        inner = inspect.unwrap(function)
        if not isinstance(inner, FunctionType) or "RunKeywords" not in str(inner.__annotations__.get("run", "")):
            continue
        signature = inspect.signature(function)
        typed = [
            p.replace(annotation=types[name]) if name in types and p.annotation is p.empty else p
            for name, p in signature.parameters.items()
        ]
        inner.__signature__ = signature.replace(parameters=typed)  # type: ignore[attr-defined]
    decorators = pdoc.doc.Function.decorators.func
    shown = functools.cached_property(lambda self: [d for d in decorators(self) if not d.startswith("@operation")])
    shown.__set_name__(pdoc.doc.Function, "decorators")
    pdoc.doc.Function.decorators = shown


def main() -> None:
    """Write the pages."""
    show_keywords(public_modules())
    pdoc.render.configure(docformat="numpy", template_directory=DOCS / "templates", show_source=False)
    output = Path(sys.argv[1])
    pdoc.pdoc(bioimage_py.__name__, output_directory=output)
    print(f"{output / 'index.html'}")


if __name__ == "__main__":
    main()
