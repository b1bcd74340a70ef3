"""Write the table of operations into docs/operations.md, from what they declare: `python docs/build_operations.py`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bioimage_py
from bioimage_py.engine.declaration import Declaration

PAGE = Path(__file__).with_name("operations.md")
BEGIN, END = "<!-- table of operations: docs/build_operations.py writes it -->\n", "<!-- end of the table -->\n"
HEAD = ("operation", "relation to the whole array", "halo", "memory", "kernel")


def declared() -> Iterator[tuple[str, Declaration]]:
    """Yield name and declaration of every public operation that has one, those of the package itself first."""
    names = sorted(bioimage_py.__all__)
    modules = [name for name in names if (Path(bioimage_py.__file__).parent / name / "__init__.py").is_file()]
    for prefix in ("", *modules):
        module: Any = importlib.import_module(f"{bioimage_py.__name__}.{prefix}".rstrip("."))
        for name in sorted(getattr(module, "__all__", ())):
            found = None if name in modules else getattr(getattr(module, name), "declaration", None)
            if found is not None:
                yield f"{prefix}.{name}".lstrip("."), found


def table() -> str:
    """Return the table as Markdown; operations that declare the same share a row."""
    rows: dict[tuple[str, Declaration], list[str]] = {}
    for name, told in declared():
        rows.setdefault((name.rpartition(".")[0], told), []).append(f"`{name}`")
    cells = [HEAD, tuple("---" for _ in HEAD)]
    for (_, told), names in rows.items():
        cells.append((", ".join(names), told.relation, told.halo, f"{told.memory:g}", told.kernel))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def updated(page: str) -> str:
    """Return the text of the page with the table of today."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
