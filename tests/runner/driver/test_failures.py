"""Functions and calls that fail: what is retried, when a run stops, and what its error says."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ConfigError, ParameterError, RegionError, RunnerError
from bioimage_py.runner import get_runner, map_blocks

from ...helpers import Flaky, block_id, nothing

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

LOCAL = get_runner("local")


def test_one_bad_block_costs_no_other_block() -> None:
    function = Flaky({13}, always=True)
    with pytest.raises(RunnerError) as error:
        LOCAL.run(function, [np.zeros((100, 4))], block_shape=(2, 4), num_workers=2, name="job")
    assert set(function.calls) == set(range(50))
    assert error.value.failed_block_ids == [13]
    assert error.value.tmp_folder is None
    text = str(error.value)
    assert "1 block(s) failed in 'job' of 50 (0 not run)" in text
    assert "13 [26:28, 0:4]" in text
    assert "ValueError: block 13 is bad" in text
    assert "in __call__" in text
    assert 'raise self.error(f"block {block.id} is bad")' in text
    assert "block_ids=error.failed_block_ids" in error.value.remedy
    cause = error.value.__cause__
    assert isinstance(cause, ValueError)
    assert cause.__traceback__ is not None


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_retry_finishes_the_run_and_goes_to_another_worker(num_workers: int) -> None:
    function = Flaky({3, 30}, always=False)
    values = LOCAL.run(function, [np.zeros(100)], block_shape=2, num_workers=num_workers, has_return_val=True)
    assert values == list(range(50))
    assert function.calls[3] == function.calls[30] == 2
    if num_workers == 2:
        assert len(set(function.workers[30])) == 2


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_counted(retries: int) -> None:
    function = Flaky({7}, always=True)
    with pytest.raises(RunnerError, match="block 7 is bad"):
        map_blocks(function, [np.zeros(20)], block_shape=2, retries=retries, num_workers=2)
    assert function.calls[7] == retries + 1
    assert set(function.calls) == set(range(10))


def test_a_bug_stops_the_run_at_once() -> None:
    function = Flaky(set(range(400)), always=True)
    with pytest.raises(RunnerError, match="the first blocks all failed in the same way") as error:
        LOCAL.run(function, [np.zeros(800)], block_shape=2, num_workers=2)
    assert len(function.calls) < 100
    assert error.value.failed_block_ids == list(range(400)), "blocks that were not run have no result either"
    assert "not run" in str(error.value)


def test_three_bad_blocks_among_good_ones_are_no_bug() -> None:
    function = Flaky({20, 21, 22}, always=True)
    with pytest.raises(RunnerError) as error:
        LOCAL.run(function, [np.zeros(800)], block_shape=2, num_workers=1)
    assert error.value.failed_block_ids == [20, 21, 22]
    assert len(function.calls) == 400


def test_max_failures_stops_the_run() -> None:
    function = Flaky(set(range(50, 400)), always=True)
    with pytest.raises(RunnerError, match="more than 5 blocks failed"):
        map_blocks(function, [np.zeros(800)], block_shape=2, retries=0, max_failures=5)
    assert len(function.calls) < 200


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_no_exception_of_a_function_ends_the_caller(error: type[BaseException]) -> None:
    function = Flaky({4}, always=True, error=error)
    with pytest.raises(RunnerError, match=f"{error.__name__}: block 4 is bad") as failure:
        LOCAL.run(function, [np.zeros(40)], block_shape=2, num_workers=2)
    assert isinstance(failure.value.__cause__, error)
    assert set(function.calls) == set(range(20))


@pytest.mark.slow
def test_failures_do_not_hold_the_arrays_of_their_blocks() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        region = inputs[0][bp.to_roi(block)]
        alive.append(weakref.ref(region))
        try:
            region.reshape(7, -1)
        except ValueError as error:
            raise KeyError(block.id) from error

    with pytest.raises(RunnerError) as error:
        map_blocks(function, [np.zeros(40)], block_shape=4, max_failures=100)
    gc.collect()
    assert [ref() for ref in alive if ref() is not None] == []
    assert "cannot reshape array of size 4" in str(error.value), "the text of the whole chain stays"


def test_an_exception_that_cannot_be_printed_is_reported_all_the_same() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(RunnerError, match="Silent: <exception str"):
        LOCAL.run(Flaky({0}, always=True, error=Silent), [np.zeros(4)], block_shape=2)


def test_functions_that_cannot_be_called_are_refused_before_the_first_block() -> None:
    data = [np.zeros(4)]
    with pytest.raises(ParameterError, match=r"few\(.*cannot be called with \(block, inputs, outputs, mask\)"):
        LOCAL.run(few, data)
    with pytest.raises(ParameterError, match="the function is a int"):
        LOCAL.run(3, data)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="context"):
        map_blocks(nothing, data, setup=dict)
    with pytest.raises(ParameterError, match=r"cannot be called with \(index\)"):
        LOCAL.map(nothing, 3)


def few(block: Any, inputs: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([99], r"block_ids \[99\] are not in 0\.\.3"),
        ([-1], r"block_ids \[-1\] are not in"),
        ([1.7], "block_ids must be whole numbers"),
        ([2, 0, 2], r"block_ids \[2\] are given more than once"),
        (3, "block_ids must be whole numbers"),
    ],
)
def test_bad_block_ids(ids: Any, text: str) -> None:
    with pytest.raises(RegionError, match=text):
        LOCAL.run(block_id, [np.zeros(8)], block_shape=2, block_ids=ids, has_return_val=True)


def test_what_threads_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="'local' cannot end a block after block_timeout=1 seconds") as error:
        map_blocks(nothing, [np.zeros(4)], block_timeout=1)
    assert error.value.remedy == 'job_type="subprocess"'
    for call in (
        lambda: LOCAL.map(lambda i: i, 3, resume_from="folder"),
        lambda: bp.copy(np.zeros(4), resume_from="folder"),
    ):
        with pytest.raises(ConfigError, match="keeps no run folder to resume from"):
            call()


def test_resume_from_and_ids_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="resume_from and block_ids exclude each other"):
        LOCAL.run(nothing, [np.zeros(4)], resume_from="folder", block_ids=[0])
