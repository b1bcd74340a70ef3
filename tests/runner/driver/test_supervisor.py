"""Short histories of the supervisor: events in, decisions out."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioimage_py.runner.driver.supervisor import (
    BARREN_ENDS,
    FIRST_BLOCKS,
    GUILTY_ENDS,
    Decision,
    Finish,
    Open,
    Reissue,
    SetAside,
    StageRules,
    Start,
    Stop,
    Supervisor,
)
from bioimage_py.runner.ledger.events import BatchEnded, BlocksDone, Event, GroupFailed, Reissued, Retry, WorkerEnded


def rules(n_blocks: int = 100, n_batches: int = 10, retries: int = 1, max_failures: int = 10) -> StageRules:
    return StageRules(n_blocks, n_batches, retries, max_failures)


def begun(*stages: StageRules, num_workers: int = 2) -> Supervisor:
    supervisor = Supervisor(list(stages), num_workers)
    supervisor.begin()
    return supervisor


def failed(group: int, *, attempt: int = 0, cause: str = "ValueError at f:1", worker: str = "w0", **more: Any) -> Event:
    return GroupFailed(worker, more.get("stage", 0), group, more.get("blocks", (group,)), attempt, cause)


def done(count: int = 1, stage: int = 0) -> Event:
    return BlocksDone(stage, count)


def ended(stage: int = 0) -> Event:
    return BatchEnded("w0", stage)


def replay(supervisor: Supervisor, *events: Event) -> list[Decision]:
    return [decision for event in events for decision in supervisor.handle(event)]


def test_stages_open_one_after_the_other_and_the_run_finishes() -> None:
    supervisor = Supervisor([rules(n_batches=2), rules(1, 1)], 2)
    assert supervisor.begin() == [Open(0), Start(2)]
    assert replay(supervisor, done(50), ended()) == []
    assert replay(supervisor, done(50), ended()) == [Open(1)]
    assert replay(supervisor, done(1, 1), ended(1)) == [Finish()]
    assert supervisor.over


def test_stages_without_blocks_are_passed_over() -> None:
    supervisor = Supervisor([rules(0, 0), rules(1, 1), rules(0, 0)], 1)
    assert supervisor.begin() == [Open(1), Start(1)]
    assert replay(supervisor, ended(1)) == [Finish()]
    assert Supervisor([rules(0, 0)], 0).begin() == [Finish()]
    assert Supervisor([], 0).begin() == [Finish()]


def test_a_failed_group_is_retried_elsewhere_then_set_aside_and_the_run_goes_on() -> None:
    supervisor = begun(rules(n_batches=1))
    assert replay(supervisor, done(5), failed(7)) == [Retry(0, 7, (7,), 1, "w0")]
    assert replay(supervisor, ended()) == [], "the retry is still open"
    assert replay(supervisor, failed(7, attempt=1, worker="w1")) == [SetAside(0, (7,))]
    assert replay(supervisor, ended()) == [Stop("blocks failed")]


def test_one_worker_gets_its_own_retries() -> None:
    supervisor = begun(rules(), num_workers=1)
    assert replay(supervisor, done(), failed(7)) == [Retry(0, 7, (7,), 1, None)]


def test_a_retry_that_works_leaves_no_trace() -> None:
    supervisor = begun(rules(n_batches=1))
    events = [done(5), failed(7), ended(), done(1), ended()]
    assert replay(supervisor, *events)[-1] == Finish()


def test_no_retry_where_blocks_may_not_be_repeated() -> None:
    supervisor = begun(rules(retries=0))
    assert replay(supervisor, done(), failed(7)) == [SetAside(0, (7,))]


def test_a_later_stage_never_opens_over_failed_blocks() -> None:
    supervisor = begun(rules(n_batches=1, retries=0), rules())
    decisions = replay(supervisor, done(5), failed(7), ended())
    assert decisions == [SetAside(0, (7,)), Stop("blocks failed")]


def test_the_same_failure_on_the_first_blocks_stops_the_run() -> None:
    supervisor = begun(rules())
    decisions = replay(supervisor, *(failed(group) for group in range(FIRST_BLOCKS)))
    assert decisions[-1] == Stop("the first blocks all failed in the same way")
    assert replay(supervisor, done(), failed(9), ended()) == [], "nothing is decided once the run is over"


@pytest.mark.parametrize(
    "events",
    [
        [failed(0), failed(0, attempt=0), failed(1)],
        [failed(0), failed(1, cause="KeyError at g:2"), failed(2)],
        [done(), failed(0), failed(1), failed(2)],
        [failed(0, blocks=tuple(range(64)))],
    ],
    ids=["one group twice", "another cause", "a success before", "many blocks of one group"],
)
def test_bad_luck_does_not_stop_the_run(events: list[Event]) -> None:
    assert not any(isinstance(decision, Stop) for decision in replay(begun(rules()), *events))


def test_a_run_of_one_block_gets_its_retry() -> None:
    assert replay(begun(rules(1, 1)), failed(0)) == [Retry(0, 0, (0,), 1, "w0")]


def test_two_blocks_that_fail_alike_are_all_there_is() -> None:
    assert replay(begun(rules(2, 2)), failed(0), failed(1))[-1] == Stop("the first blocks all failed in the same way")


def test_too_many_failures_stop_the_run() -> None:
    supervisor = begun(rules(retries=0, max_failures=3))
    decisions = replay(supervisor, done(50), *(failed(group, cause=str(group)) for group in range(3)))
    assert not any(isinstance(decision, Stop) for decision in decisions)
    assert replay(supervisor, failed(3)) == [SetAside(0, (3,)), Stop("more than 3 blocks failed")]


def test_a_crash_or_a_worker_that_cannot_start_stops_the_run_with_its_reason() -> None:
    for kind in ("crashed", "cannot start"):
        decisions = replay(begun(rules()), WorkerEnded("w1", kind, "no module named foo"))
        assert decisions == [Stop(f"worker w1 {kind}: no module named foo")]


def test_a_killed_worker_is_replaced_and_its_work_done_again() -> None:
    supervisor = begun(rules(n_batches=1))
    assert replay(supervisor, WorkerEnded("w0", "killed", held=True, running=4)) == [Reissue("w0"), Start(1)]
    assert replay(supervisor, Reissued(3)) == []
    assert replay(supervisor, ended(), ended()) == []
    assert replay(supervisor, ended()) == [Finish()]


def test_a_killed_worker_that_left_nothing_undone_may_end_the_stage() -> None:
    supervisor = begun(rules(n_batches=1))
    replay(supervisor, WorkerEnded("w0", "killed", held=True))
    assert replay(supervisor, Reissued(0)) == [Finish()]


def test_a_block_that_ends_worker_after_worker_is_set_aside() -> None:
    supervisor = begun(rules(n_batches=1))
    for turn in range(GUILTY_ENDS - 1):
        end = WorkerEnded(f"w{turn}", "killed", "signal 11", held=True, running=4)
        assert replay(supervisor, end, Reissued(1)) == [Reissue(f"w{turn}"), Start(1)]
    aside, reissue, start = replay(supervisor, WorkerEnded("w9", "killed", "signal 11", held=True, running=4))
    assert isinstance(aside, SetAside)
    assert aside.blocks == (4,)
    assert "3 workers ended while they ran this block, the last one killed: signal 11" in aside.why
    assert (reissue, start) == (Reissue("w9", 4), Start(1))
    assert replay(supervisor, Reissued(1), ended()) == [Stop("blocks failed")]


def test_a_guilty_block_counts_as_a_failure() -> None:
    supervisor = begun(rules(max_failures=0))
    ends = [WorkerEnded(f"w{turn}", "killed", held=True, running=4) for turn in range(GUILTY_ENDS)]
    assert replay(supervisor, *ends)[-1] == Stop("more than 0 blocks failed")


def test_workers_that_die_before_they_do_anything_stop_the_run() -> None:
    supervisor = begun(rules())
    ends = [WorkerEnded(f"w{turn}", "killed", "signal 9") for turn in range(BARREN_ENDS)]
    assert replay(supervisor, *ends)[-1] == Stop("3 workers in a row ended before they did anything: signal 9")


def test_workers_that_did_something_before_are_not_barren() -> None:
    supervisor = begun(rules())
    ends = [WorkerEnded(f"w{turn}", "killed", "signal 9", began=True) for turn in range(2 * BARREN_ENDS)]
    assert replay(supervisor, *ends) == [Start(1)] * len(ends)


def test_a_full_disk_stops_the_run_at_once() -> None:
    event = GroupFailed("w0", 0, 7, (7,), 0, "OSError at f:1", "no space left on /data")
    assert replay(begun(rules()), done(50), event) == [Stop("no space left on /data")]


def test_memory_kills_reduce_the_workers_but_never_to_none() -> None:
    supervisor = begun(rules())
    assert replay(supervisor, WorkerEnded("w0", "memory", held=True), Reissued(1)) == [Reissue("w0")]
    assert replay(supervisor, WorkerEnded("w1", "memory", held=True)) == [Reissue("w1"), Start(1)]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=3),
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_every_history_ends_and_forgets_no_block(
    shape: list[tuple[int, int]], num_workers: int, retries: int, max_failures: int, rng: random.Random
) -> None:
    """Play worker: run open batches in any order, blocks failing at random, until the supervisor says it is over."""
    stages = [rules(n, n, retries, max_failures) for n, _ in shape]
    supervisor = Supervisor(stages, num_workers)
    queue: list[tuple[int, int, int]] = []
    outcome: dict[tuple[int, int], str] = {}
    last: list[Stop | Finish] = []

    def take(decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Open):
                assert not queue, "a stage opens when the one before is through"
                queue.extend((decision.stage, block, 0) for block in range(stages[decision.stage].n_blocks))
            elif isinstance(decision, Retry):
                assert decision.attempt <= retries
                queue.extend((decision.stage, block, decision.attempt) for block in decision.blocks)
            elif isinstance(decision, SetAside):
                outcome.update({(decision.stage, block): "aside" for block in decision.blocks})
            elif isinstance(decision, Stop | Finish):
                last.append(decision)
                queue.clear()

    take(supervisor.begin())
    while queue and not supervisor.over:
        stage, block, attempt = queue.pop(rng.randrange(len(queue)))
        if rng.randrange(4) < shape[stage][1]:
            take(supervisor.handle(failed(block, stage=stage, attempt=attempt, cause=str(rng.randrange(2)))))
        else:
            outcome[stage, block] = "done"
            take(supervisor.handle(done(1, stage)))
        take(supervisor.handle(ended(stage)))
    assert supervisor.over, "the run hangs"
    assert len(last) == 1
    whole = {(stage, block): "done" for stage, (n, _) in enumerate(shape) for block in range(n)}
    assert (outcome == whole) or isinstance(last[0], Stop)
