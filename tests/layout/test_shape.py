"""The shape of the package: no circle of imports, no string that names nothing, no crowded folder."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Mapping, Set
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from bioimage_py.io.formats import format_named, supported_formats
from bioimage_py.sources.spec import load_qualified

from .package_graph import ROOT, Named, imports, module_of, named

BY_NAME = {
    # a backend is chosen by its name, here and in a run.json
    "bioimage_py.backends.base": {
        "bioimage_py.backends.batch.backend",
        "bioimage_py.backends.hosted.dask",
        "bioimage_py.backends.hosted.executor",
        "bioimage_py.backends.local",
        "bioimage_py.backends.slurm.backend",
        "bioimage_py.backends.subprocess",
    },
    # the code of another process
    "bioimage_py.backends.hosted.task": {"bioimage_py.runner.worker.process", "bioimage_py.runner.worker.remote"},
    "bioimage_py.backends.slurm.site_check": {"bioimage_py.runner.worker.process"},
    "bioimage_py.backends.jobs.submission": {"bioimage_py.runner.control.attach"},
    "bioimage_py.backends.subprocess": {"bioimage_py.runner.worker.process"},
    # a report is drawn by what draws
    "bioimage_py.runner.driver.report": {"bioimage_py.viz.run_figure"},
    # a picture of a source is drawn by what draws
    "bioimage_py.sources.base": {"bioimage_py.viz.thumbnail"},
    # what is given as a path is opened by its format
    "bioimage_py.sources.file": {"bioimage_py.io.datasets"},
    # a kind of source is opened by whoever has registered it, also from above
    "bioimage_py.sources.registry": {
        "bioimage_py.io.image_files.dicom.source",
        "bioimage_py.projects.remote.arrays.draft_source",
        "bioimage_py.projects.remote.arrays.served",
        "bioimage_py.sample.neurites",
        "bioimage_py.sources.array",
        "bioimage_py.sources.file",
        "bioimage_py.sources.precomputed.cloudvolume",
        "bioimage_py.sources.precomputed.tensorstore_source",
        "bioimage_py.sources.webknossos.source",
        "bioimage_py.wrapper.base",
    },
    # a pickled source names a function beside the spec
    "bioimage_py.sources.spec": {"bioimage_py.sources.registry"},
    # a word of command lines, by which workers are known
    "bioimage_py.system.processes": {"bioimage_py.runner.worker.process"},
}
"""Strings that name what imports them: the name is data, so these are no imports. All others count as imports."""

MOST_FILES = 15
"""In a folder, besides ``__init__.py``."""

NO_MODULE = {"bioimage_py.debug"}
"""Keys that look like a module."""


@cache
def strings() -> tuple[Named, ...]:
    return tuple(one for one in named() if one.name not in NO_MODULE)


@cache
def graph() -> dict[str, Set[str]]:
    """What each module imports, also by a string.

    Not counted are names of a package's own parts (it is there before they are), and of the module itself.
    """
    known: dict[str, set[str]] = {module: set(found) for module, found in imports().items()}
    for one in strings():
        target = module_of(one.name)
        related = f"{one.module}.".startswith(f"{target}.") or f"{target}.".startswith(f"{one.module}.")
        if one.is_import and not related and target not in BY_NAME.get(one.module, ()):
            known[one.module].add(target)
    return dict(known)


def circle(edges: Mapping[str, Set[str]]) -> list[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])[::-1]
    return []


def siblings(package: str) -> dict[str, Set[str]]:
    """What the parts of a package import of each other, with all that is in them."""

    def part(module: str) -> str:
        return module[len(package) + 1 :].partition(".")[0]

    found: dict[str, set[str]] = {}
    for module, targets in graph().items():
        if module.startswith(f"{package}."):
            inside = {part(target) for target in targets if target.startswith(f"{package}.")}
            found.setdefault(part(module), set()).update(inside - {part(module)})
    return dict(found)


PACKAGES = sorted(".".join(path.relative_to(ROOT.parent).parent.parts) for path in ROOT.rglob("__init__.py"))


def test_no_circle_between_modules() -> None:
    assert circle(graph()) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_between_the_parts_of(package: str) -> None:
    assert circle(siblings(package)) == []


def test_a_circle_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_names_that_are_data_are_all_there() -> None:
    found: dict[str, set[str]] = {}
    for one in strings():
        if module_of(one.name) in BY_NAME.get(one.module, ()):
            found.setdefault(one.module, set()).add(module_of(one.name))
    assert found == BY_NAME


def is_there(name: str) -> bool:
    module = module_of(name)
    found = importlib.import_module(module)
    for part in name.replace(":", ".").split(".")[module.count(".") + 1 :]:
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def test_names_in_strings_are_found() -> None:
    assert "bioimage_py.sources.file:open_source" in {one.name for one in strings()}


@pytest.mark.parametrize("part", sorted(path.stem for path in ROOT.iterdir() if path.stem != "__pycache__"))
def test_strings_name_what_is_there(part: str) -> None:
    names = {one.name for one in strings() if [*one.module.split("."), "__init__"][1] == part}
    assert [name for name in sorted(names) if not is_there(name)] == []


@pytest.mark.parametrize("name", supported_formats())
def test_functions_of_a_format_are_there(name: str) -> None:
    said = [value for value in vars(format_named(name)).values() if isinstance(value, str) and ":" in value]
    assert said
    for value in said:
        load_qualified(value)


@pytest.mark.parametrize("folder", [ROOT, Path(__file__).parents[1]], ids=["package", "tests"])
def test_no_folder_is_crowded(folder: Path) -> None:
    files = Counter(path.parent for path in folder.rglob("*.py") if path.name != "__init__.py")
    assert {str(path.relative_to(folder)): n for path, n in files.items() if n > MOST_FILES} == {}


@pytest.mark.parametrize("page", sorted((ROOT.parent / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_pages_name_files_that_are_there(page: Path) -> None:
    """Of the package or the repository, or that it saves; the diffs of docs/changing.md name what is not there yet."""
    told = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    saved = set(re.findall(r"<!-- (?:file|saved as): (\S+) -->", told))
    names = re.findall(r"`((?:bioimage_py/|benchmarks/|tests/|\w+/)?[\w/]*\w\.py)`", told)
    places = (ROOT, ROOT / "runner", ROOT.parent, *ROOT.rglob("*/"))
    assert [name for name in names if name not in saved and not any((place / name).is_file() for place in places)] == []
