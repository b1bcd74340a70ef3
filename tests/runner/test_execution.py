"""`Execution`: one value that says how to run, and the `with` block that sets it for many calls."""

from __future__ import annotations

import inspect
import json
import threading
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.engine.job import Job, RunKeywords
from bioimage_py.errors import ConfigError
from bioimage_py.runner.execution import Execution, current_execution, execution


def test_defaults_are_one_local_worker() -> None:
    how = Execution()
    assert (how.job_type, how.num_workers, how.retries, how.casting, how.progress) == ("local", 1, 1, "checked", True)
    assert current_execution() == how
    with pytest.raises(FrozenInstanceError):
        how.num_workers = 2  # type: ignore[misc]


def test_job_type_is_read_in_any_case() -> None:
    assert Execution("LOCAL").job_type == "local"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_workers": 0}, "num_workers=0 is below 1"),
        ({"num_workers": -1}, "num_workers=-1 is below 1"),
        ({"num_workers": 2.5}, "num_workers=2.5 is not a whole number"),
        ({"num_workers": None}, "num_workers=None is not a whole number"),
        ({"num_workers": True}, "num_workers=True is not a whole number"),
        ({"retries": -1}, "retries=-1 is below 0"),
        ({"max_failures": -1}, "max_failures=-1 is below 0"),
        ({"memory": 0}, "memory=0 is below 1"),
        ({"memory": "4G"}, "memory='4G' is not a whole number"),
        ({"job_type": None}, "job_type None is not a name"),
        ({"casting": "safe"}, "casting='safe' is neither"),
        ({"durability": "disk"}, 'durability=\'disk\' is neither "process" nor "node"'),
        ({"resume": 3}, "resume=3 is neither"),
        ({"block_timeout": 0}, "block_timeout=0 is not a number of seconds above 0"),
        ({"block_timeout": "1h"}, "block_timeout='1h' is not a number"),
    ],
)
def test_bad_settings(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as error:
        Execution(**settings)
    assert isinstance(error.value, ValueError)
    assert error.value.remedy


def test_numbers_of_numpy_become_plain_ones() -> None:
    how = Execution(num_workers=np.int64(2), max_failures=np.int32(3))
    assert type(how.num_workers) is type(how.max_failures) is int
    report = bp.map_blocks(
        lambda block, inputs, outputs, mask: None, [np.zeros(4)], block_shape=2, num_workers=np.int64(2)
    )
    assert json.loads(report.to_json())["num_workers"] == 2


def test_updated_changes_some_fields_and_names_unknown_ones() -> None:
    how = Execution(num_workers=3).updated({"retries": 4})
    assert (how.num_workers, how.retries) == (3, 4)
    with pytest.raises(ConfigError, match=r"unknown execution setting\(s\) \['workers'\]; known are .*'num_workers'"):
        how.updated({"workers": 2})


def test_blocks_nest_and_end() -> None:
    with execution("local", 4, retries=0) as outer:
        assert outer == current_execution() == Execution("local", 4, retries=0)
        with execution(num_workers=2):
            assert current_execution() == Execution("local", 2, retries=0)
        with execution(Execution(progress=False), num_workers=3):
            assert current_execution() == Execution(num_workers=3, progress=False)
        assert current_execution() == outer
    assert current_execution() == Execution()


def test_a_block_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError), execution(num_workers=2):
        raise KeyError
    assert current_execution() == Execution()
    with pytest.raises(ConfigError, match="below 1"), execution(num_workers=0):
        pytest.fail("not reached")
    assert current_execution() == Execution()


def test_a_block_holds_for_its_thread_only() -> None:
    seen: list[Execution] = []
    with execution(num_workers=5):
        thread = threading.Thread(target=lambda: seen.append(current_execution()))
        thread.start()
        thread.join()
    assert seen == [Execution()]


def test_operations_and_map_blocks_take_it() -> None:
    names: set[str] = set()

    def remember(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        names.add(threading.current_thread().name)
        barrier.wait(20)

    barrier = threading.Barrier(3)
    with bp.execution(num_workers=3):
        assert bp.map_blocks(remember, [np.zeros(6)], block_shape=2).num_workers == 3
    assert len(names) == 3
    barrier = threading.Barrier(1)
    assert bp.map_blocks(remember, [np.zeros(6)], block_shape=2, execution=Execution(num_workers=2)).num_workers == 2
    assert bp.map_blocks(remember, [np.zeros(6)], block_shape=2).num_workers == 1


def test_every_field_but_the_version_of_a_function_is_a_keyword_of_operations() -> None:
    settings = {field.name: field.default for field in fields(Execution) if field.name != "version"}
    where = {field.name: field.default for field in fields(Job) if field.name != "execution"}
    engine = {**where, "resume_from": None, "execution": None}
    assert set(RunKeywords.__annotations__) == {*settings, *engine}
    shown = inspect.signature(bp.filters.gaussian_smoothing).parameters
    assert {name: shown[name].default for name in (*settings, *engine)} == {**settings, **engine}
    assert ", ".join(settings) in " ".join((bp.filters.gaussian_smoothing.__doc__ or "").split())
