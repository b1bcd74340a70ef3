"""Which tests start processes or servers, as their text says: `make quick` leaves them out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

_STARTS = re.compile(
    r"subprocess|Popen|sys\.executable|multiprocessing|ProcessPool|os\.fork|slurm|cluster|in_child"
    r"|http\.server|HTTPServer|serving|web_server|s3_endpoint"
)
HERE = Path(__file__).parent
_FIXTURES = {"s3", "web_server"}
FOLDERS = {"backends", "bench", "testing"}
"""Of these all do."""


@cache
def starting(path: Path) -> frozenset[str]:
    """Names of the functions and classes of a module that start something, or use one of its names that does."""
    source = path.read_text()
    if not _STARTS.search(source):
        return frozenset()
    lines = [re.sub(r"(^|\s)# .*", "", line) for line in source.splitlines()]
    texts = {name: _text(node, lines) for node in ast.parse(source).body for name in _names(node)}
    found = {name for name, text in texts.items() if _STARTS.search(text)}
    while True:
        uses = re.compile(rf"\b({'|'.join(map(re.escape, found))})\b") if found else None
        more = {name for name, text in texts.items() if uses is not None and uses.search(text)} - found
        if not more:
            return frozenset(found)
        found |= more


def starts(path: Path, names: list[str], fixtures: list[str]) -> bool:
    """Whether a test starts processes or servers, by its folder, the names of it and its class, and its fixtures."""
    told = not _FIXTURES.isdisjoint(fixtures) or path.relative_to(HERE).parts[0] in FOLDERS or "processes" in names[-1]
    return told or not starting(path).isdisjoint([*names, *fixtures])


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _text(node: ast.stmt, lines: list[str]) -> str:
    first = min(part.lineno for part in (node, *getattr(node, "decorator_list", ())))
    return "\n".join(lines[first - 1 : node.end_lineno])
