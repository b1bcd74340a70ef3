"""Write the table of operations into docs/operations.md, from what they declare: `python docs/build_operations.py`."""

from __future__ import annotations

from pathlib import Path

from bioimage_py.catalogue.operations import declared
from bioimage_py.engine.declaration import Declaration

PAGE = Path(__file__).with_name("operations.md")
BEGIN, END = "<!-- table of operations: docs/build_operations.py writes it -->\n", "<!-- end of the table -->\n"
HEAD = ("operation", "relation to the whole array", "halo", "memory", "kernel")


def table() -> str:
    """Return the table as Markdown; operations that declare the same share a row."""
    rows: dict[tuple[str, Declaration], list[str]] = {}
    for one in declared():
        rows.setdefault((one.package, one.declaration), []).append(f"`{one.full_name}`")
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
