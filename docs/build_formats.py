"""Write the table of formats into docs/files.md, from the registry: `python docs/build_formats.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from bioimage_py.io.formats import format_named
from bioimage_py.io.table import Format

PAGE = Path(__file__).with_name("files.md")
BEGIN, END = "<!-- table of formats: docs/build_formats.py writes it -->\n", "<!-- end of the table -->\n"
HEAD = (
    "format",
    "endings",
    "read",
    "told by content",
    "several images",
    "levels",
    "metadata",
    "written",
    "options",
    "needs",
)


def table(names: list[str]) -> str:
    """Return the table as Markdown."""
    rows = [HEAD, tuple("---" for _ in HEAD), *(row(format_named(name)) for name in names)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def row(entry: Format) -> tuple[str, ...]:
    """Return what the registry says of one format."""
    endings = ", ".join(f"`{ending}`" if ending else "a folder" for ending in entry.extensions)
    if entry.inside is not None:
        endings = f"a folder with `{entry.inside[0]}`"
    several = "by key" if entry.container else "by number" if entry.keys else "frames" if entry.frames else ""
    written = "whole, or array by array" if entry.create else "whole" if entry.write else ""
    options = ", ".join(f"`{name}`" for name in entry.options)
    marks = ["yes" if there else "" for there in (entry.magic, entry.levels, entry.details)]
    return (entry.name, endings, "yes", marks[0], several, marks[1], marks[2], written, options, entry.requires)


def updated(page: str, names: list[str]) -> str:
    """Return the text of the page with the table of today."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table(names) + END + rest.partition(END)[2]


def built_in() -> list[str]:
    """Return the names of the formats of the package, without those that were registered since."""
    import subprocess

    code = "from bioimage_py.io.formats import supported_formats; print(*supported_formats())"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(), built_in()))
