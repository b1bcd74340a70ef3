"""What workers claim: every group once, in order, in batches that fall in size."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bioimage_py.blocks import Grid, Groups, Lattice
from bioimage_py.runner import RunnerConfig
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.planning.id_sets import Ranges
from bioimage_py.runner.planning.work_list import Units, cut_batches

GROUPS = st.builds(
    lambda size, block, step, offset: Groups.of(Grid((size,), (block,)), (Lattice(step, offset),)),
    st.integers(1, 200),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(0, 19),
)


@given(GROUPS, st.data())
def test_units_of_some_blocks_are_their_groups(groups: Groups, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, groups.grid.n_blocks - 1), unique=True))
    units = Units.select(groups.grid.n_blocks, groups, ids)
    members = [units.blocks(unit) for unit in range(units.n_groups)]
    assert all(members), "no unit is empty"
    assert sorted(itertools.chain(*members)) == sorted(ids)
    of = [set(groups.of_blocks(np.array(blocks)).tolist()) for blocks in members]
    assert all(len(group) == 1 for group in of)
    assert of == sorted(of, key=min)
    assert len(set().union(*of)) == len(of), "no group is split"
    some = np.array(data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else [], np.int64)
    expected = {unit for unit, blocks in enumerate(members) if set(blocks) & set(some.tolist())}
    assert set(units.groups_of(some).tolist()) == expected


@given(GROUPS)
def test_units_of_all_blocks_cost_no_list(groups: Groups) -> None:
    units = Units.select(groups.grid.n_blocks, groups, None)
    assert (units.ids, units.n_groups) == (None, groups.n_groups)
    assert [units.blocks(unit) for unit in range(units.n_groups)] == [groups.blocks(g) for g in range(groups.n_groups)]
    ids = np.arange(groups.grid.n_blocks)
    assert units.groups_of(ids).tolist() == list(range(groups.n_groups))


def test_items_need_no_grid_and_may_repeat() -> None:
    units = Units.select(4, None, [3, -2, 3, 7])
    assert [units.blocks(unit) for unit in range(units.n_groups)] == [[-2], [3, 3], [7]]
    assert Units.select(0, None, []).n_groups == 0


@given(st.integers(0, 3000), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_batches_cover_every_group_once_in_falling_sizes(n: int, num_workers: int, tasks: int, some: bool) -> None:
    how = Execution(num_workers=num_workers, job_config=RunnerConfig(tasks_per_worker=tasks))
    picked = Ranges.of(np.arange(n, dtype=np.int64)[::3]) if some else None
    batches = cut_batches(0, n, how, picked)
    units = Units(n)
    covered = [group for batch in batches for group, _ in batch.groups(units)]
    assert covered == list(range(n) if picked is None else picked)
    sizes = [sum(1 for _ in batch.groups(units)) for batch in batches]
    assert sizes == sorted(sizes, reverse=True)
    assert [batch.key for batch in batches] == [(0, index) for index in range(len(batches))]
    if len(covered) >= num_workers * tasks:
        assert len(batches) >= num_workers * tasks, "every worker gets as many as it was promised"
    assert len(batches) <= max(num_workers * tasks, 2 * num_workers * (3 + int(n).bit_length()))
