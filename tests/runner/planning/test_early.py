"""Stages whose blocks begin early: nothing is read before it was written, nothing is left, the bits are the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import RegionError, RunnerError
from bioimage_py.runner.driver.supervisor import Finish, Open, StageRules, Stop, Supervisor
from bioimage_py.runner.execute import Prepared
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.ledger.events import BatchEnded, BlocksDone, GroupFailed, Released
from bioimage_py.runner.planning.build import Where, blocks_stage
from bioimage_py.runner.planning.early import Early
from bioimage_py.runner.planning.id_sets import Ranges
from bioimage_py.runner.planning.stage import Plan, Stage
from bioimage_py.runner.together import reports_of, together
from bioimage_py.sources import as_source
from bioimage_py.wrapper import RoiSource


class Sum:
    """Adds up what is in reach."""

    def __init__(self, halo: int) -> None:
        self.halo = halo

    def whole(self, data: Any) -> Any:
        out = np.zeros_like(data)
        padded = np.pad(data, self.halo)
        for shift in np.ndindex((2 * self.halo + 1,) * data.ndim):
            out += padded[tuple(slice(s, s + n) for s, n in zip(shift, data.shape, strict=True))]
        return out

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        inner = self.whole(inputs[0][bp.to_roi(block.outer_block)])[bp.to_roi(block.inner_block_local)]
        outputs[0][bp.to_roi(block.inner_block)] = inner


@st.composite
def stages(draw: Any) -> tuple[list[Stage], tuple[int, ...], list[int]]:
    shape = tuple(draw(st.lists(st.integers(0, 13), min_size=1, max_size=3)))
    before = as_source(np.zeros(shape, np.int64))
    made, halos = [], []
    for number in range(draw(st.integers(2, 4))):
        halos.append(draw(st.integers(0, 3)))
        out = as_source(np.zeros(shape, np.int64))
        block = tuple(draw(st.integers(1, 6)) for _ in shape)
        stage = blocks_stage(Sum(halos[-1]), [before], [out], Where(block), halo=halos[-1], reads_outputs=False)
        made.append(Stage(**{**vars(stage), "name": str(number), "early": number > 0}))
        before = out
    return made, shape, halos


def groups_meet(reader: Stage, group: int, writer: Stage, other: int) -> bool:
    (a, b), (c, d) = reader.units.box(group), writer.units.box(other)
    halo = reader.halo or (0,) * len(a)
    return all(x - h < z and w < y + h for x, y, w, z, h in zip(a, b, c, d, halo, strict=True))


@given(stages(), st.randoms(use_true_random=False))
def test_a_group_is_free_exactly_when_what_it_reads_is_written(given: Any, rng: random.Random) -> None:
    made, _, _ = given
    plan = Plan("x", tuple(made), Execution(num_workers=2))
    done: list[set[int]] = [set() for _ in made]
    early = Early(plan, lambda stage: Ranges([(0, made[stage].units.n_groups)]))
    queue = [(0, group) for group in range(made[0].units.n_groups)]
    for stage in range(1, len(made)):
        queue += [(stage, group) for group in early.begin(stage, Ranges())]
    taken = set(queue)
    assert len(taken) == len(queue)
    while queue:
        stage, group = queue.pop(rng.randrange(len(queue)))
        if stage:
            needed = range(made[stage - 1].units.n_groups)
            needs = {other for other in needed if groups_meet(made[stage], group, made[stage - 1], other)}
            assert needs <= done[stage - 1]
        done[stage].add(group)
        ids = np.array(made[stage].units.blocks(group), np.int64)
        early.done(stage, ids, lambda groups: Ranges())
        for batch in early.take(plan.execution, few=bool(rng.randrange(2)) or not queue):
            fresh = {(batch.stage, group) for group in batch.ranges}
            assert not fresh & taken
            taken |= fresh
            queue += sorted(fresh)
    assert [len(one) for one in done] == [stage.units.n_groups for stage in made]


@given(stages(), st.integers(1, 3))
def test_early_stages_in_memory_have_the_bits_of_one_after_the_other(given: Any, workers: int) -> None:
    made, shape, halos = given
    made[0].inputs[0][...] = expected = np.arange(np.prod(shape)).reshape(shape)
    calls = [Prepared(stage.name, (stage,), Execution(num_workers=workers, progress=False)) for stage in made]
    report = together(calls)(None, lambda report: None)
    for halo in halos:
        expected = Sum(halo).whole(expected)
    np.testing.assert_array_equal(made[-1].outputs[0][...], expected)
    reports = reports_of(report, calls)
    assert [one.n_blocks for one in reports] == [stage.units.n_blocks for stage in made]


@pytest.mark.parametrize("views", ["input", "output", "both"])
def test_views_of_a_part_are_followed(tmp_path: Path, views: str) -> None:
    raw = np.arange(400).reshape(20, 20)
    middle = bp.io.create_array(tmp_path / "m.zarr", "", shape=(20, 20), dtype="i8", chunks=(4, 4))
    box = (slice(4, 20), slice(0, 12))
    written = RoiSource(middle, box) if views != "input" else middle
    read = RoiSource(middle, box) if views != "output" else middle
    first_in = raw[box] if views != "input" else raw
    end = bp.io.create_array(tmp_path / "e.zarr", "", shape=read.shape, dtype="i8", chunks=(4, 4))
    stages = [
        blocks_stage(Sum(1), [as_source(first_in)], [written], Where(4), halo=1, name="a", reads_outputs=False),
        blocks_stage(Sum(2), [read], [end], Where((3, 4)), halo=2, name="b", reads_outputs=False),
    ]
    run = together([Prepared(s.name, (s,), Execution(num_workers=3, progress=False)) for s in stages])
    run(None, lambda report: None)
    whole = np.zeros((20, 20), np.int64)
    whole[box if views != "input" else ...] = Sum(1).whole(first_in)
    np.testing.assert_array_equal(end[...], Sum(2).whole(whole[box] if views != "output" else whole))


def reads_all(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    outputs[0][bp.to_roi(block)] = inputs[0][...].sum()


def test_a_block_that_reads_more_than_its_box_is_an_error() -> None:
    raw, middle, end = (as_source(np.ones((12, 12), np.int64)) for _ in range(3))
    stages = [
        blocks_stage(Sum(0), [raw], [middle], Where(4), halo=0, name="a", reads_outputs=False),
        blocks_stage(reads_all, [middle], [end], Where(4), name="b", reads_outputs=False),
    ]
    run = together([Prepared(s.name, (s,), Execution(progress=False)) for s in stages])
    with pytest.raises(RunnerError, match="may read") as error:
        run(None, lambda report: None)
    assert isinstance(error.value.__cause__, RegionError)


def rules(n: int, batches: int, *, early: bool = False, retries: int = 0) -> StageRules:
    return StageRules(n, batches, retries, 10, early)


def test_early_stages_are_open_together_and_end_when_all_is_released() -> None:
    supervisor = Supervisor([rules(2, 2), rules(2, 0, early=True), rules(1, 1)], 1)
    assert supervisor.begin()[:2] == [Open(0), Open(1)]
    for _ in range(2):
        supervisor.handle(Released(1))
        assert supervisor.handle(BlocksDone(0, 1)) == []
        assert supervisor.handle(BatchEnded("w", 0)) == []
    assert supervisor.handle(BatchEnded("w", 1)) == []
    assert supervisor.handle(BatchEnded("w", 1)) == [Open(2)]
    assert supervisor.handle(BatchEnded("w", 2)) == [Finish()]


def test_a_block_that_is_set_aside_ends_the_chain_when_nothing_more_can_begin() -> None:
    supervisor = Supervisor([rules(5, 2), rules(5, 0, early=True)], 1)
    supervisor.begin()
    supervisor.handle(BlocksDone(0, 1))
    supervisor.handle(GroupFailed("w", 0, 3, (3,), 0, "bug"))
    supervisor.handle(Released(1))
    assert supervisor.handle(BatchEnded("w", 0)) == []
    assert supervisor.handle(BatchEnded("w", 0)) == []
    assert supervisor.handle(BatchEnded("w", 1)) == [Stop("blocks failed")]


def test_failures_of_one_stage_are_not_counted_for_another() -> None:
    supervisor = Supervisor([rules(9, 3), rules(9, 0, early=True)], 1)
    supervisor.begin()
    supervisor.handle(BlocksDone(0, 3))
    for group in range(2):
        assert not any(isinstance(d, Stop) for d in supervisor.handle(GroupFailed("w", 1, group, (group,), 0, "bug")))
    assert Stop("the first blocks all failed in the same way") in supervisor.handle(
        GroupFailed("w", 1, 2, (2,), 0, "bug")
    )


def test_a_driver_that_leaves_blocks_says_so() -> None:
    raw, middle, end = (as_source(np.ones((8, 8), np.int64)) for _ in range(3))
    stages = [
        blocks_stage(Sum(0), [raw], [middle], Where(4), halo=0, name="a", reads_outputs=False),
        blocks_stage(Sum(0), [middle], [end], Where(4), halo=0, name="b", reads_outputs=False),
    ]
    run = together([Prepared(s.name, (s,), Execution(progress=False)) for s in stages])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Early, "take", lambda self, how, few: [])
        with pytest.raises(RunnerError, match="inputs have not all been written"):
            run(None, lambda report: None)
