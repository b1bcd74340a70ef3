"""What imports what in the package, and which modules its strings name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import grimp

import bioimage_py

ROOT = Path(bioimage_py.__file__).parent
_NAME = re.compile(r"(?<![\w.])bioimage_py(?:\.\w+)+(?::\w+)?")
_IMPORTS = re.compile(r"(?:(?:.*; )?(?:from|import) )?(bioimage_py[\w.]*)(?::\w+)?(?: import .*)?")


class Named(NamedTuple):
    """A name of this package in a string."""

    module: str  # that has the string
    line: int
    name: str  # "bioimage_py.stats.max", "bioimage_py.sources.file:open_source"
    is_import: bool  # the string is a module, or code that imports one; else a text for the user


@cache
def imports() -> dict[str, frozenset[str]]:
    """What each module imports at run time, also inside of functions; imports for type checkers are left out."""
    graph = grimp.build_graph("bioimage_py", exclude_type_checking_imports=True, cache_dir=None)
    return {module: frozenset(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def named() -> Iterator[Named]:
    """All names of modules of this package, and of what they hold, in strings that are no docstrings."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text())
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
                whole = _IMPORTS.fullmatch(node.value) is not None
                for name in _NAME.findall(node.value):
                    yield Named(module, node.lineno, name, whole)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "names_of":
                yield from _lazy(module, node)


def _lazy(package: str, call: ast.Call) -> Iterator[Named]:
    """The rows of a package's table of names that are imported when they are asked for."""
    for name, place in ast.literal_eval(call.args[1]).items():
        above = len(place) - len(place.lstrip(".")) - 1
        base = ".".join(package.split(".")[: package.count(".") + 1 - above])
        yield Named(package, call.lineno, f"{base}.{place.lstrip('.')}:{name}", True)


def module_of(name: str) -> str:
    """The module that a name lies in: the longest part of it that is one."""
    parts = name.partition(":")[0].split(".")
    return next(".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in imports())
