"""Every snippet of the README and of docs/*.md runs as it stands, and has the types that it shows.

A page runs in a folder where docs/example_data.md has run before, which is all that it takes from elsewhere.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bioimage_py import lazy

from ..backends.slurm_fake import fake_slurm
from .snippets import DATA, PAGES, ROOT, Snippet, here, in_a_shell, run_page, snippets

LAZY = ["", ".io", ".runner", ".segmentation", ".sources", ".workflows"]
SHOWN = ("text", "diff", "toml", "json", "{toctree}", "{include} ../CHANGELOG.md", "{include} ../CONTRIBUTING.md")
SHOWN += ("{include} ../SECURITY.md",)
"""Languages of what is only looked at."""
TYPED_HERE = re.compile(r"^(\$ )?(bioimage-py|pip|make|python|git) ", re.MULTILINE)
NOT_RUN = {"it asks a server", "it asks servers", "it goes on without whoever started it", "it installs"}
NOT_RUN |= {"it waits for Ctrl-C"}
NOT_RUN |= {"it measures for minutes", "it needs a cluster", "it speaks of the job above", "it makes .venv"}
NOT_RUN |= {"it is for the file of your shell", "it needs a file of a microscope", "my_format is yours"}
RECIPES = ROOT / "CONTRIBUTING.md"
"""It is tried in a copy of the repository."""
RUN = [page for page in PAGES if page not in (DATA, RECIPES) and any(snippet.runs for snippet in snippets(page))]


def all_snippets() -> list[Snippet]:
    return [snippet for page in PAGES for snippet in snippets(page)]


def test_every_block_of_code_runs_or_says_why_not() -> None:
    for snippet in all_snippets():
        where = f"{snippet.page.name}:{snippet.line}"
        assert snippet.language in ("python", "bash", *SHOWN), f"{where}: ```{snippet.language}: name a language"
        reason = snippet.mark.removeprefix("not run: ")
        assert reason in NOT_RUN or snippet.file or snippet.changes or not snippet.mark, f"{where}: {snippet.mark}"
    assert sum(snippet.runs for snippet in all_snippets()) > 100
    assert len(RUN) >= 20


def test_commands_are_blocks_that_run() -> None:
    """Under another language only what a session printed, with its prompt."""
    hidden = [s for s in all_snippets() if s.language in ("text", "") and TYPED_HERE.search(s.code)]
    assert [f"{s.page.name}:{s.line}" for s in hidden if not s.code.startswith("$ ")] == []


def test_pages_say_where_their_files_come_from() -> None:
    """Who reads a page of the guide finds the way to the files that it opens."""
    opens = re.compile(r"[\"'](volume\.(zarr|h5)|cells\.zarr|net\.onnx|stack\.tif)")
    for page in RUN:
        if any(opens.search(snippet.code) for snippet in snippets(page) if snippet.runs):
            assert DATA.name in page.read_text(), f"{page.name}: link to docs/example_data.md"


@pytest.fixture(scope="session")
def example_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which docs/example_data.md has run."""
    for library in ("h5py", "cloudvolume", "webknossos", "onnx", "tifffile"):
        pytest.importorskip(library)
    folder = tmp_path_factory.mktemp("example_data")
    before = os.getcwd()
    os.chdir(folder)
    try:
        run_page(DATA, {}, here)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files of the examples where the page tells of them; nothing else is seen."""
    if DATA.name in request.getfixturevalue("page").read_text():
        shutil.copytree(request.getfixturevalue("example_data"), tmp_path / "files")
    else:
        (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path / "files")
    monkeypatch.syspath_prepend(str(tmp_path / "files"))
    for name, value in (("RUN_ROOT", "runs"), ("CONFIG", "config.toml"), ("CACHE", "cache")):
        monkeypatch.setenv(f"BIOIMAGE_PY_{name}", str(tmp_path / value))
    return tmp_path / "files"


def remote(folder: Path) -> dict[str, str]:
    """What stands for places that are not here."""
    return {"s3://bucket/em": f"file://{folder}/em", "file:///data/labels": f"file://{folder}/labels"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_snippets_run(page: Path, folder: Path) -> None:
    local = {'"slurm"': '"local"', '"subprocess"': '"local"'}  # workers take a second to start; test-long starts them
    run_page(page, {**remote(folder), **local} if page.name != "README.md" else remote(folder), here)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_snippets_run_as_they_stand(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With worker processes, with jobs of a cluster that is this host, and with a shell."""
    programs = fake_slurm.install(folder.parent / "cluster")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder.parent / "cluster"))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    run_page(page, remote(folder), in_a_shell)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_recipes_of_contributing_work_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is made, each line added, each command typed, in a copy of what the repository holds."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run_page(tmp_path / RECIPES.name, {".venv/bin/python": f"{sys.executable} -P"}, in_a_shell)
    style = [sys.executable, "-m", "ruff"]
    for check in (["check", "--quiet", "bioimage_py"], ["format", "--check", "--quiet", "bioimage_py"]):
        subprocess.run([*style, *check], check=True)
    parts = [part for name in ("backends", "filters", "sources") for part in ("-p", f"bioimage_py.{name}")]
    subprocess.run([sys.executable, "-P", "-m", "mypy", *parts], check=True)


def test_snippets_have_types(tmp_path: Path) -> None:
    """Checked strictly, but for functions of the reader's own; with the cache that `make lint` has filled."""
    files = []
    for page in (DATA, *RUN):
        files.append(tmp_path / f"{page.stem.lower()}_snippets.py")
        code = "\n".join(snippet.code for snippet in snippets(page) if snippet.runs and snippet.language == "python")
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
