"""Write the tables of formats into docs/files.md: `python docs/build_formats.py`.

The first one is the registry; the second is what comes back of an image that is written in each format.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bioimage_py.io.v3 as iio
from bioimage_py.errors import BioimageError
from bioimage_py.io.formats import format_named
from bioimage_py.io.image_files.writing import factor
from bioimage_py.io.table import Format
from bioimage_py.sources.axes import Axis

PAGE = Path(__file__).with_name("files.md")
BEGIN, END = "<!-- table of formats: docs/build_formats.py writes it -->\n", "<!-- end of the table -->\n"
KEPT, KEPT_END = "<!-- table of what is kept: docs/build_formats.py writes it -->\n", "<!-- end of what is kept -->\n"
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


class Trial(NamedTuple):
    """An image that is written to see what of it comes back.

    Parameters
    ----------
    axes : str
    told : mapping
        What `imwrite` is told.
    look : callable
        Takes the path, and returns what the table says.
    """

    axes: str
    told: Mapping[str, Any]
    look: Callable[[Path], str]

    def __call__(self, path: Path, options: Mapping[str, Any]) -> str:
        """Return the cell of the table; that of a picture for formats that hold no more."""
        for axes, dtype in ((self.axes, "u1"), (self.axes, "u2"), (self.axes[-2:], "u1")):
            shape = [SIZES[name] for name in axes]
            image = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
            told = {name: value(axes) if callable(value) else value for name, value in self.told.items()}
            try:
                report = iio.imwrite(path, image, report=True, **{"axes": axes, **told}, **options)
            except BioimageError:
                continue
            return self.look(path) or ("" if report.lost else SILENT)
        return ""


def _scale(path: Path) -> str:
    found = (iio.improps(path).spacing or (None,))[-2:]
    return "yes" if found == (0.5, 0.5) else ""


def _unit(path: Path) -> str:
    told = iio.improps(path)
    unit, size = (told.unit or (None,))[-1], (told.spacing or (None,))[-1]
    by = factor("micrometer", unit) if unit else None
    same = by is not None and size is not None and abs(size - 0.5 * by) < 1e-4 * size
    return "" if not same else "yes" if unit == "micrometer" else f"as {unit}"


def _offset(path: Path) -> str:
    with iio.imopen(path, "r") as file:
        return "yes" if file.source().axes[-1].offset == 3 else ""


def _time(path: Path) -> str:
    return "yes" if iio.improps(path).time_step == 1.5 else ""


def _channels(path: Path) -> str:
    return "yes" if iio.improps(path).channel_names == ("DAPI", "GFP") else ""


def _labels(path: Path) -> str:
    return "yes" if iio.improps(path).is_label else ""


def _metadata(path: Path) -> str:
    return "yes" if iio.immeta(path).get("of mine") == METADATA["of mine"] else ""


SIZES = {"t": 2, "c": 2, "z": 2, "y": 16, "x": 24}
SILENT = "lost without a word"
METADATA: dict[str, Any] = {"of mine": {"id": 2**64, "steps": [1, None, "ß"]}}
TRIALS = {
    "scale": Trial("zyx", {"scale": 0.5}, _scale),
    "with its unit": Trial("zyx", {"scale": 0.5, "unit": "micrometer"}, _unit),
    "offset": Trial("zyx", {"axes": lambda axes: [Axis(name, "space", None, 1.0, 3.0) for name in axes]}, _offset),
    "time step": Trial("tyx", {"scale": {"t": 1.5}, "unit": {"t": "second"}}, _time),
    "names of channels": Trial("cyx", {"channel_names": ["DAPI", "GFP"]}, _channels),
    "labels": Trial("zyx", {"labels": True}, _labels),
    "`metadata=`": Trial("zyx", {"metadata": METADATA}, _metadata),
}
WAYS: dict[str, Sequence[tuple[str, str, Mapping[str, Any]]]] = {
    "zarr": [("zarr", ".zarr", {}), ("OME-Zarr", ".ome.zarr", {})],
    "tif": [("OME-TIFF", ".ome.tif", {}), *[(f"tif, `{n}`", ".tif", {"flavor": n}) for n in ("imagej", "plain")]],
    "npy": [("npy", ".npy", {}), ("npz", ".npz", {})],
}


def kept(names: Sequence[str]) -> str:
    """Return the table of what comes back, as Markdown."""
    rows = [("format", *TRIALS), tuple("---" for _ in (1, *TRIALS))]
    nothing: list[str] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for entry in map(format_named, names):
            ways = WAYS.get(entry.name, [(entry.name, entry.extensions[0], {})] if entry.extensions else [])
            for number, (shown, ending, options) in enumerate(ways if entry.write else []):
                places = [Path(folder) / f"{entry.name}{number}-{n}{ending}" for n in range(len(TRIALS))]
                cells = [trial(place, options) for trial, place in zip(TRIALS.values(), places, strict=True)]
                if any(cells):
                    rows.append((shown, *cells))
                else:
                    nothing.append(shown)
    rows.append((", ".join(nothing), *[""] * len(TRIALS)))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def updated(page: str, names: list[str]) -> str:
    """Return the text of the page with the tables of today."""
    for begin, end, content in ((BEGIN, END, table(names)), (KEPT, KEPT_END, kept(names))):
        before, _, rest = page.partition(begin)
        page = before + begin + content + end + rest.partition(end)[2]
    return page


def built_in() -> list[str]:
    """Return the names of the formats of the package, without those that were registered since."""
    import subprocess

    code = "from bioimage_py.io.formats import supported_formats; print(*supported_formats())"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(), built_in()))
