"""Every Python snippet of the README and of docs/*.md runs, on made data, and has the types that it shows.

A page's snippets run one after the other, in one namespace. What cannot run here is marked in the page:
``<!-- not run: why -->`` above the snippet.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py import lazy

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPET = re.compile(r"(?:<!-- (?P<mark>[^\n]*) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
LAZY = ["", ".io", ".runner", ".segmentation", ".sources", ".workflows"]

# What stands before the first snippet of a page.
BEFORE = {
    "runs.md": 'import bioimage_py as bp\nraw = bp.open_source("volume.zarr", "raw")\n',
    "slurm.md": 'import bioimage_py as bp\nraw = bp.open_source("volume.zarr", "raw")\n',
    "projects.md": "import bioimage_py as bp\n",
}
# Between the first snippet of docs/projects.md and the others, which speak of a layer and its data.
AFTER_FIRST = {"projects.md": 'layer = image.labelmap_layers["cells"]\nchanged = np.zeros((24, 24, 24), "u1")\n'}


def snippets(page: Path) -> list[tuple[int, str]]:
    """Line and code of the snippets that run."""
    text = page.read_text()
    found = [match for match in SNIPPET.finditer(text) if not match["mark"]]
    codes = [(text[: match.start("code")].count("\n"), match["code"]) for match in found]
    codes[1:1] = [(0, AFTER_FIRST[page.name])] if page.name in AFTER_FIRST else []
    return [(0, BEFORE[page.name]), *codes] if codes and page.name in BEFORE else codes


WITH_CODE = [page for page in PAGES if snippets(page)]


def test_marks_give_reasons() -> None:
    marks = [match["mark"] for page in PAGES for match in SNIPPET.finditer(page.read_text()) if match["mark"]]
    assert all(re.fullmatch(r"not run: [^-]+", mark) for mark in marks), marks
    assert len(WITH_CODE) >= 5
    assert len(marks) <= 5


def make_data() -> None:
    """What the snippets open, in the current folder."""
    raw = np.zeros((24, 24, 24), "u1")
    raw[4:12, 4:12, 4:20] = 200
    bp.copy(raw, "volume.zarr/raw")
    bp.copy((raw == 0).astype("f4"), "volume.zarr/boundaries")
    bp.copy(raw > 100, "cells.zarr/mask")


def make_sources() -> None:
    """What docs/sources.md opens beside that."""
    h5py, cloudvolume, wk = (pytest.importorskip(name) for name in ("h5py", "cloudvolume", "webknossos"))
    raw = bp.open_source("volume.zarr", "raw")[...]
    with h5py.File("volume.h5", "w") as file:
        file["raw"] = raw
    channels = (bp.sources.Axis("c", "channel"), *(bp.sources.Axis(name) for name in "zyx"))
    colors = bp.io.create_array("volume.zarr", "colors", shape=(2, *raw.shape), dtype="u1", axes=channels)
    colors[...] = np.stack([raw, raw])
    space = channels[1:]
    for place, key in (
        ("image.ome.zarr", ""),
        ("image.ome.zarr", "labels/cells"),
        ("plate.zarr", "0"),
        ("plate.zarr", "1"),
    ):
        levels = [f"scale{n}" for n in range(3)]
        for n, level in enumerate(levels):
            array = bp.io.create_array(
                place, f"{key}/{level}".strip("/"), shape=raw[:: 2**n, :: 2**n, :: 2**n].shape, dtype="u1"
            )
            array[...] = raw[:: 2**n, :: 2**n, :: 2**n]
        bp.io.write_multiscales(place, key, levels=[(level, space) for level in levels], label="labels" in key)
    import zarr

    zarr.open_group("plate.zarr", mode="a").attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    info = cloudvolume.CloudVolume.create_new_info(
        1, "image", "uint8", "raw", [8, 8, 40], [0, 0, 0], [24, 24, 24], [8, 8, 8]
    )
    for name, kind in (("em", "uint8"), ("labels", "uint64")):
        made = cloudvolume.CloudVolume(f"file://{os.getcwd()}/{name}", info={**info, "data_type": kind}, progress=False)
        made.commit_info()
    bp.copy(raw, bp.open_cloudvolume(f"file://{os.getcwd()}/em"))
    dataset = wk.Dataset("data/brain", voxel_size=(1, 1, 1))
    box = wk.BoundingBox((0, 0, 0), (24, 24, 24))
    for name, kind, dtype in (("color", "color", "uint8"), ("cells", "segmentation", "uint64")):
        dataset.add_layer(name, kind, dtype=dtype, bounding_box=box, data_format="zarr3").add_mag(
            2, chunk_shape=8, shard_shape=8
        )


def make_projects() -> None:
    """What docs/projects.md imports."""
    tifffile = pytest.importorskip("tifffile")
    Path("scans/patient/study/series").mkdir(parents=True)
    tifffile.imwrite("scans/patient/study/series/a.tif", np.zeros((4, 8, 8), "u1"))


def make_files() -> None:
    """What docs/files.md reads."""
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("tifffile")
    raw = bp.open_source("volume.zarr", "raw")[...]
    bp.imwrite("stack.tif", raw)
    bp.imwrite("two.tif", [raw, raw])
    bp.imwrite("slide.ome.tif", raw, pyramid=2)
    with h5py.File("many.h5", "w") as file:
        file["raw"], file["labels"] = raw, raw > 100


def make_network() -> None:
    """The network of docs/inference.md."""
    pytest.importorskip("onnx")
    from .inference.networks import network

    network(Path("net.onnx"))


MAKE = {"inference.md": make_network, "files.md": make_files, "sources.md": make_sources, "projects.md": make_projects}


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", str(tmp_path / "runs"))
    monkeypatch.setenv("BIOIMAGE_PY_CONFIG", str(tmp_path / "config.toml"))
    make_data()
    MAKE.get(page.name, lambda: None)()
    places = {"s3://bucket/em": f"file://{tmp_path}/em", "file:///data/labels": f"file://{tmp_path}/labels"}
    if page.name != "README.md":  # workers take a second to start; there they do once
        places |= {'"slurm"': '"local"', '"subprocess"': '"local"'}
    namespace: dict[str, object] = {"__name__": "snippets"}
    for line, code in snippets(page):
        for shown, here in places.items():
            code = code.replace(shown, here)
        exec(compile("\n" * line + code, str(page), "exec"), namespace)


def test_snippets_have_types(tmp_path: Path) -> None:
    """Checked strictly, but for functions of the reader's own; with the cache that `make lint` has filled."""
    files = []
    for page in WITH_CODE:
        files.append(tmp_path / f"{page.stem.lower()}_snippets.py")
        code = "\n".join(code for _, code in snippets(page))
        untyped = code.replace("import webknossos as wk", "from typing import Any\n\nwk: Any = ...")  # it has no types
        files[-1].write_text(f"# mypy: allow-untyped-defs, allow-untyped-calls, allow-redefinition\n{untyped}")
    files.append(tmp_path / "names.py")
    files[-1].write_text(
        "import bioimage_py as bp\n"
        'reveal_type(bp.open_source("a.zarr"))\n'
        'reveal_type(bp.open_cloudvolume("a"))\n'
        'reveal_type(bp.open_webknossos("a"))\n'
        'reveal_type(bp.sources.open_source("a.zarr"))\n'
        'reveal_type(bp.io.create_array("a", "b", shape=(1,), dtype="u1"))\n'
        "reveal_type(bp.SlurmConfig())\n"
        "bp.no_such_name\n"
        "bp.io.no_such_name\n"
    )
    command = [sys.executable, "-m", "mypy", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    told = [line.rpartition("/")[2] for line in done.stdout.splitlines()]
    assert [line for line in told if "_snippets.py" in line] == [], done.stdout + done.stderr
    kinds = [re.sub(r".*\.", "", line.split('"')[1]) for line in told if "Revealed" in line]
    assert kinds == ["FileSource", "CloudVolumeSource", "WebKnossosSource", "FileSource", "FileSource", "SlurmConfig"]
    assert sum("no_such_name" in line for line in told) == 2


_SITE = """
import inspect, sys
from pathlib import Path
import build_api, pdoc.doc, pdoc.render

modules = build_api.public_modules()
build_api.show_keywords(modules)
pdoc.render.configure(docformat="numpy", template_directory=build_api.DOCS / "templates")
for name in build_api.PAGES:
    build_api.write_page(name, Path(sys.argv[1]))
for name in sys.argv[2:]:
    where, _, function = name.rpartition(".")
    owner = sys.modules.get(where) or getattr(sys.modules[where.rpartition(".")[0]], where.rpartition(".")[2])
    shown = pdoc.doc.Function(where, function, vars(owner)[function], (where, function))
    print(name, [*shown.signature.parameters], shown.signature, shown.decorators)
"""
SHOWN = (
    "copy",
    "evaluation.contingency_table",
    "filters.gaussian_smoothing",
    "inference.predict",
    "operations.add",
    "projects.Project.apply",
    "pyramid",
    "segmentation.label",
    "segmentation.watershed",
    "stats.max",
    "workflows.segment",
)


def test_the_site_shows_keywords_and_pages(tmp_path: Path) -> None:
    where = {**os.environ, "PYTHONPATH": str(ROOT / "docs")}
    names = [f"bioimage_py.{name}" for name in SHOWN]
    command = [sys.executable, "-W", "ignore", "-c", _SITE, str(tmp_path), *names]
    done = subprocess.run(command, env=where, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "RunKeywords" not in done.stdout
    assert "@operation" not in done.stdout
    lines = done.stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == names
    assert [line for line in lines if "'job_type'" not in line or "num_workers: int = 1" not in line] == []
    pages = {page.name for page in tmp_path.iterdir()}
    assert {"index.html", "SECURITY.html", *(f"{page.stem}.html" for page in PAGES[1:])} == pages
    for page in tmp_path.iterdir():
        links = re.findall(r'href="([^":#]+)[^":]*"', page.read_text())
        assert {link for link in links if not link.startswith("bioimage_py")} <= pages, page


@pytest.mark.parametrize("name", LAZY)
def test_lazy_names_are_those_of_type_checkers(name: str) -> None:
    """What a package exports, what it lists, what it imports for type checkers and what it gives are the same."""
    import importlib

    package = importlib.import_module(f"bioimage_py{name}")
    tree = ast.parse(Path(str(package.__file__)).read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    shown = {alias.asname or alias.name for node in checked.body for alias in node.names}  # type: ignore[attr-defined]
    assert set(package.__all__) == set(dir(package))
    assert shown <= set(package.__all__)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
    eager = {alias.name for node in imports for alias in node.names} | {"__version__"}
    assert set(package.__all__) <= shown | eager
    for export in package.__all__:
        assert getattr(package, export) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018
    assert lazy.names_of(package.__name__, {})[1]() == dir(package)
