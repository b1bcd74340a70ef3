"""Workers run what the driver has imported: those of a pool go with its modules, and files that differ are named."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import ParameterError, ResumeConflict, RunnerError
from bioimage_py.runner.execute import resume_run
from bioimage_py.runner.identity.imports import _Imported

HELPER = "def number():\n    return 1\n"
MODULE = """
import os
import functools
import {helper}

PROCESS = os.getpid()
SCALE = 1
CACHE = {{}}
COUNT = 0

def kept(function):
    @functools.wraps(function)
    def inner(*arguments):
        return function(*arguments)
    return inner

class Adding:
    unit = 1

    @classmethod
    def amount(cls):
        return {helper}.number() * SCALE * cls.unit

@kept
def add(block, inputs, outputs, mask, most={most}):
    global COUNT
    COUNT += 1
    CACHE[PROCESS] = COUNT
    roi = tuple(map(slice, block.begin, block.end))
    if block.begin[0] >= most:
        raise RuntimeError("far")
    outputs[0][roi] = inputs[0][roi] + Adding.amount()
"""
Edit = Callable[..., None]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, Edit]]:
    """Two modules that are imported from files, and how to change a text in one and load it again."""
    names = [f"{part}_of_{tmp_path.name}" for part in ("adding", "helping")]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name, text in zip(names, (MODULE.format(helper=names[1], most=99), HELPER), strict=True):
        (tmp_path / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    modules = {name: importlib.import_module(name) for name in names}

    def edit(module: Any, old: str, new: str, *, reload: bool = True) -> None:
        text = Path(module.__file__).read_text()
        assert old in text
        Path(module.__file__).write_text(text.replace(old, new))
        if reload:
            importlib.reload(module)

    yield modules[names[0]], modules[names[1]], edit
    for name in names:
        sys.modules.pop(name, None)


def run(adding: Any, folder: Path, **settings: Any) -> set[int]:
    """Values of an output that was made by the module's function."""
    data = zarr.create_array(folder / "in.zarr", shape=(8, 8), chunks=(4, 4), dtype="i4", overwrite=True)
    out = zarr.create_array(folder / "out.zarr", shape=(8, 8), chunks=(4, 4), dtype="i4", overwrite=True)
    bp.map_blocks(adding.add, [data], [out], block_shape=(4, 4), progress=False, **{"resume": "never", **settings})
    return set(np.unique(out[:]).tolist())


def test_workers_of_a_pool_have_the_modules_of_the_driver(code: tuple[Any, Any, Edit], tmp_path: Path) -> None:
    adding, helping, edit = code
    with bp.execution("subprocess", num_workers=1):
        assert run(adding, tmp_path) == {1}
        run(adding, tmp_path, job_type="local")  # fills the driver's cache and counts there: that is no other code
        assert run(adding, tmp_path) == {1}
        edit(helping, "return 1", "return 20")
        edit(adding, "* SCALE", "* SCALE + new()")
        edit(adding, "class Adding", "def new():\n    return 300\n\nclass Adding")
        assert run(adding, tmp_path) == {320}

        edit(helping, "return 20", "return 21", reload=False)
        adding.SCALE = 2  # the workers' file says 1
        with pytest.raises(RunnerError, match="is not what the driver has imported") as caught:
            run(adding, tmp_path)
        assert f"{helping.__name__}.number of {helping.__file__}" in str(caught.value)
        assert f"{adding.__name__}.Adding of {adding.__file__}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 1", "SCALE = 2"),
        ("unit = 1", "unit = 2"),
        ("most=99", "most=98"),
        ("* SCALE", "+ SCALE"),
        ("return function(*arguments)", "function(*arguments)"),
        ("COUNT += 1", "COUNT += 2"),
        ('"far"', '"near"'),
        ("    @classmethod\n", "    @classmethod\n    @kept\n"),
    ],
)
def test_what_a_file_says_counts(code: tuple[Any, Any, Edit], old: str, new: str) -> None:
    adding, _, edit = code
    before = [_Imported(getattr(adding, name)).of(getattr(adding, name)) for name in ("add", "Adding", "kept")]
    before.append(_Imported(adding.Adding.amount.__func__).of(adding.Adding.amount.__func__))
    edit(adding, old, new)
    after = [_Imported(getattr(adding, name)).of(getattr(adding, name)) for name in ("add", "Adding", "kept")]
    after.append(_Imported(adding.Adding.amount.__func__).of(adding.Adding.amount.__func__))
    assert before != after


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("PROCESS = os.getpid()", "PROCESS = 2 * os.getpid()"),
        ("CACHE = {}", "CACHE = {1: 2}"),
        ("COUNT = 0", "COUNT = 5"),
        ("class Adding:", "# a comment\n\nclass Adding:"),
        ("most=99", "most=int(os.getpid())"),
    ],
)
def test_what_differs_between_processes_does_not(code: tuple[Any, Any, Edit], old: str, new: str) -> None:
    adding, _, edit = code
    if "most" in old:
        edit(adding, old, "most=int(os.getpid() + 1)")
        old = "most=int(os.getpid() + 1)"
    before = [_Imported(getattr(adding, name)).of(getattr(adding, name)) for name in ("add", "Adding")]
    edit(adding, old, new)
    assert [_Imported(getattr(adding, name)).of(getattr(adding, name)) for name in ("add", "Adding")] == before


def test_a_run_is_not_resumed_with_other_code(code: tuple[Any, Any, Edit], tmp_path: Path) -> None:
    adding, helping, edit = code
    edit(adding, "most=99", "most=4")
    with pytest.raises(RunnerError, match="far") as failed:
        run(adding, tmp_path, retries=0, max_failures=99)
    edit(helping, "return 1", "return 2")
    edit(adding, "most=4", "most=99")
    with pytest.raises(ResumeConflict, match=rf"{helping.__name__}\.number of") as caught:
        resume_run(str(failed.value.tmp_folder))
    assert str(failed.value.tmp_folder) in caught.value.remedy
    edit(helping, "return 2", "return 1")
    with pytest.raises(ResumeConflict, match=rf"{adding.__name__}\.add of"):
        resume_run(str(failed.value.tmp_folder))


def generating(block: Any, inputs: Any, outputs: Any, mask: Any) -> Any:
    yield


async def waiting(block: Any, inputs: Any, outputs: Any, mask: Any) -> None: ...


async def both(block: Any, inputs: Any, outputs: Any, mask: Any) -> Any:
    yield


class Called:
    def __init__(self, result: Any = None) -> None:
        self.result = result

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> Any:
        return self.result(block, inputs, outputs, mask)

    async def wait(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None: ...


class Generating(Called):
    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> Any:
        yield


class Plain(Generating):
    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][tuple(map(slice, block.begin, block.end))] = 1


def partially(function: Any) -> Any:
    import functools

    return functools.partial(functools.partial(function), mask=None)


NEVER = [generating, waiting, both, Generating(), Called().wait, partially(waiting), partially(Generating())]


@pytest.mark.parametrize("function", NEVER)
@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_a_function_that_would_not_run_is_refused(function: Any, job_type: str) -> None:
    data = np.zeros((4, 4))
    with pytest.raises(ParameterError, match="calling it would not run it"):
        bp.map_blocks(function, [data], [data], block_shape=2, job_type=job_type)


@pytest.mark.parametrize("role", ["setup", "reduce"])
def test_what_comes_with_a_function_is_not_one_that_would_not_run(role: str) -> None:
    data = np.zeros((4, 4))

    async def later(*arguments: Any) -> None: ...

    roles: dict[str, Any] = {role: later}
    with pytest.raises(ParameterError, match="calling it would not run it"):
        bp.map_blocks(lambda *a, **k: 1, [data], block_shape=2, has_return_val=True, **roles)


def late(*arguments: Any) -> Any:
    return (number for number in arguments)


@pytest.mark.parametrize("result", [generating, waiting, both, lambda *a: map(abs, a), late], ids=lambda f: f.__name__)
def test_a_block_that_returns_what_has_not_run_has_failed(result: Any) -> None:
    data = np.zeros((4, 4))
    with pytest.raises(RunnerError, match="which has not run") as caught:
        bp.map_blocks(Called(result), [data], [data], block_shape=2)
    assert caught.value.failed_block_ids == [0, 1, 2, 3]


def test_one_that_overrides_such_a_function_runs() -> None:
    data = np.zeros((4, 4))
    bp.map_blocks(Plain(), [data], [data], block_shape=2)
    assert data.all()
