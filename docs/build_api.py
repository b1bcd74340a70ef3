"""Build the site, the pages of docs/ and the API: `python docs/build_api.py OUTPUT_FOLDER`."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
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
PAGES = {
    "index": DOCS.parent / "README.md",
    "SECURITY": DOCS.parent / "SECURITY.md",
    **{page.stem: page for page in sorted(DOCS.glob("*.md"))},
}
_LINK = re.compile(r'href="(?:docs/|\.\./)?([\w-]+)\.md(#[^"]*)?"')


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


def write_page(name: str, output: Path) -> None:
    """Write a page of the guide, with its links to the others."""
    headings = [(f"{key}.html", re.search(r"^# (.*)", path.read_text(), re.M)[1]) for key, path in PAGES.items()]  # type: ignore[index]
    body = str(pdoc.render_helpers.to_html(PAGES[name].read_text()))
    body = _LINK.sub(lambda match: f'href="{match[1]}.html{match[2] or ""}"' if match[1] in PAGES else match[0], body)
    template = pdoc.render.env.get_template("page.html.jinja2")
    (output / f"{name}.html").write_text(
        template.render(title=dict(headings)[f"{name}.html"], pages=headings, body=body)
    )


def main() -> None:
    """Write the pages."""
    show_keywords(public_modules())
    pdoc.render.configure(docformat="numpy", template_directory=DOCS / "templates", show_source=False)
    output = Path(sys.argv[1])
    pdoc.pdoc(bioimage_py.__name__, output_directory=output)
    for name in PAGES:
        write_page(name, output)
    print(f"{output / 'index.html'}")


if __name__ == "__main__":
    main()
