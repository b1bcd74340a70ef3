"""What a run promises before it begins, and whether it keeps to it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.engine import mapping, stages
from bioimage_py.errors import MemoryBudgetError
from bioimage_py.io import create_array
from bioimage_py.runner import RunReport, map_blocks

MEBI = 2**20


def array(folder: Path, name: str, dtype: str, chunks: Any, shards: Any = None, *, shape: Any = (64, 64, 64)) -> Any:
    return create_array(folder / "v.zarr", name, shape=shape, dtype=dtype, chunks=chunks, shards=shards)


def files_below(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


# --- plan=True -----------------------------------------------------------------------------------------------------


def test_a_plan_says_what_a_run_would_do_and_touches_nothing(tmp_path: Path) -> None:
    raw = array(tmp_path, "raw", "u1", (16, 16, 16))
    out = array(tmp_path, "out", "f4", (8, 8, 8), (32, 32, 32))
    before = files_below(tmp_path)
    plan = bp.filters.gaussian_smoothing(raw, 1.0, out, block_shape=32, num_workers=3, memory=2**30, plan=True)
    assert files_below(tmp_path) == before
    assert (plan.name, plan.num_workers, plan.budget_bytes) == ("gaussian_smoothing", 3, 2**30)
    (stage,) = plan.stages
    assert (stage.n_blocks, stage.n_groups, stage.block_shape) == (8, 8, (32, 32, 32))
    assert stage.bytes_written == 64**3 * 4
    assert stage.files_written == 8, "a shard is a file"
    assert stage.bytes_read > 64**3, "halos are read twice"
    assert stage.block_bytes > 32**3 * 5
    assert plan.promised_bytes >= 3 * stage.block_bytes
    text = str(plan)
    assert "gaussian_smoothing: 8 blocks of (32, 32, 32) in 8 groups" in text
    assert "writes 1 MiB in 8 files" in text
    assert "3 workers" in text
    assert "1024 MiB allowed" in text


def test_plans_of_regions_blocks_reductions_and_stages(tmp_path: Path) -> None:
    raw, out = array(tmp_path, "raw", "u2", (16, 16, 16)), array(tmp_path, "out", "u8", (16, 16, 16))
    half = bp.copy(raw, out, roi=(slice(0, 32),), block_shape=16, plan=True).stages[0]
    assert (half.n_blocks, half.bytes_written, half.files_written) == (32, 32 * 64 * 64 * 8, 32)
    some = bp.copy(raw, out, block_ids=[3, 5], block_shape=16, plan=True).stages[0]
    assert (some.n_blocks, some.bytes_read) == (2, 2 * 16**3 * 2)
    (mean,) = bp.stats.mean(raw, block_shape=32, plan=True).stages
    assert (mean.n_blocks, mean.bytes_written, mean.files_written) == (8, 0, 0)
    label = bp.segmentation.label(raw, out, block_shape=32, plan=True)
    assert [(stage.name, stage.n_blocks) for stage in label.stages] == [("components", 8), ("merge", 1), ("write", 8)]
    assert [stage.bytes_written for stage in label.stages] == [0, 0, 64**3 * 8]
    blocks = map_blocks(lambda b, i, o, m: 1 / 0, [raw], [out], block_shape=32, plan=True)
    assert blocks.stages[0].n_blocks == 8
    assert not np.asarray(out).any()


def test_worker_processes_are_promised_more_than_threads(tmp_path: Path) -> None:
    raw, out = array(tmp_path, "raw", "u1", (16,) * 3), array(tmp_path, "out", "u1", (16,) * 3)
    threads = bp.copy(raw, out, num_workers=2, block_shape=32, plan=True)
    processes = bp.copy(raw, out, num_workers=2, block_shape=32, job_type="subprocess", plan=True)
    assert processes.promised_bytes > threads.promised_bytes + 2 * 50 * MEBI


def test_a_plan_makes_no_output(tmp_path: Path) -> None:
    raw = array(tmp_path, "raw", "u1", (16,) * 3)
    plan = bp.copy(raw, str(tmp_path / "new.zarr/x"), block_shape=32, plan=True)
    assert plan.stages[0].bytes_written == 64**3
    assert not (tmp_path / "new.zarr").exists()


# --- the budget ----------------------------------------------------------------------------------------------------

OPERATIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "copy": (bp.copy, "u1"),
    "gaussian": (lambda raw, out, **how: bp.filters.gaussian_smoothing(raw, 2.0, out, **how), "f4"),
    "label": (lambda raw, out, **how: bp.segmentation.label(raw, out, threshold=150, **how), "u8"),
}
LAYOUTS = {
    "equal": ((16, 16, 16), (16, 16, 16), None),
    "other": ((24, 24, 24), (16, 16, 16), None),
    "shards": ((32, 32, 32), (8, 8, 8), (32, 32, 32)),
    "across": ((64, 64, 4), (4, 64, 64), None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_run_beyond_the_budget_is_refused_with_a_call_that_fits(operation: str, layout: str, tmp_path: Path) -> None:
    call, dtype = OPERATIONS[operation]
    chunks, out_chunks, out_shards = LAYOUTS[layout]
    raw = array(tmp_path, "raw", "u1", chunks)
    raw[...] = np.random.default_rng(1).integers(0, 255, raw.shape)
    remedies = set()
    for budget in (100_000, 700_000, 2_500_000):
        out = array(tmp_path, f"out {budget}", dtype, out_chunks, out_shards)
        how: dict[str, Any] = {"num_workers": 2, "memory": budget, "progress": False}
        if call(raw, out, **how, plan=True).promised_bytes <= budget:
            continue
        with pytest.raises(MemoryBudgetError, match="the budget is") as error:
            call(raw, out, **how)
        assert not np.asarray(out).any(), "refused before the first block"
        name, _, value = error.value.remedy.partition("=")
        call(raw, out, **{**how, name: ast.literal_eval(value)})
        assert np.asarray(out).any()
        remedies.add(name)
    assert remedies, "none of the budgets was too small: the test shows nothing"


def test_the_error_says_which_stage_and_what_fits(tmp_path: Path) -> None:
    raw = array(tmp_path, "raw", "u1", (16,) * 3)
    out = array(tmp_path, "out", "u8", (16,) * 3)
    with pytest.raises(MemoryBudgetError) as error:
        bp.segmentation.label(raw, out, block_shape=64, num_workers=2, memory=4 * MEBI)
    assert "label needs about" in str(error.value)
    assert "stage 'write'" in str(error.value)
    assert "(64, 64, 64)" in str(error.value)
    assert "the budget is 4 MiB" in str(error.value)
    assert error.value.remedy.startswith("block_shape=(")
    with pytest.raises(MemoryBudgetError) as error:
        bp.copy(raw, out, block_shape=16, num_workers=4, memory=120_000)
    assert error.value.remedy == "num_workers=2"
    with pytest.raises(MemoryBudgetError) as error:
        bp.copy(raw, out, block_shape=16, num_workers=4, memory=1000)
    assert error.value.remedy.startswith("memory=")


# --- measured ------------------------------------------------------------------------------------------------------


def predict(raw: Any, out: Any, **how: Any) -> Any:
    return bp.inference.predict(raw, lambda batch: batch, out, tile=32, overlap=8, **how)


MEASURED: dict[str, tuple[Callable[..., Any], str, str]] = {
    "predict u1": (predict, "u1", "u1"),
    "predict f4": (predict, "f4", "f4"),
    "copy": (bp.copy, "u4", "u8"),
    "gaussian": (lambda raw, out, **how: bp.filters.gaussian_smoothing(raw, 1.5, out, **how), "f4", "f4"),
    "label": (lambda raw, out, **how: bp.segmentation.label(raw, out, threshold=0.9, **how), "f4", "u8"),
    "labels": (lambda raw, out, **how: bp.segmentation.label(raw, out, multi_label=True, **how), "u4", "u4"),
}


@pytest.mark.parametrize("operation", MEASURED)
def test_the_promise_is_near_what_is_measured(
    operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call, from_dtype, to_dtype = MEASURED[operation]
    shape = (192, 96, 96)
    raw = array(tmp_path, "raw", from_dtype, (32,) * 3, shape=shape)
    squares = np.add.outer(np.arange(192) // 8, np.add.outer(np.arange(96) // 8, np.arange(96) // 8)) % 7
    raw[...] = squares.astype(from_dtype)
    out = array(tmp_path, "out", to_dtype, (32,) * 3, shape=shape)
    reports: list[RunReport] = []
    run = mapping.execute
    for module in (mapping, stages):
        monkeypatch.setattr(module, "execute", lambda *a, **k: (reports.append(run(*a, **k)), reports[-1])[1])
    call(raw, out, block_shape=96, job_type="subprocess", num_workers=2, progress=False)
    (report,) = reports
    promised = report.promised_bytes / 2
    assert len(report.worker_peaks) == 2
    for peak in report.worker_peaks.values():
        with capsys.disabled():
            print(f"\n{operation}: promised {promised / MEBI:.0f} MiB, measured {peak / MEBI:.0f} MiB", end="")
        assert 0.3 * promised <= peak <= 1.5 * promised
    marks = [size for stage in report.stages for _, size, _ in stage.memory]
    assert marks
    assert max(marks) <= max(report.worker_peaks.values())


@pytest.mark.parametrize("margin", [3, 10_000])
def test_a_halo_ends_with_the_volume(margin):
    raw = np.zeros((12, 8, 8), "u1")
    plan = bp.map_blocks(_pass_on, [raw], [np.zeros_like(raw)], block_shape=4, halo=margin, plan=True)
    (stage,) = plan.stages
    sizes = [min(4 + 2 * margin, size) for size in raw.shape]
    assert stage.block_bytes <= 20 * (np.prod(sizes) + 64)
    assert stage.bytes_read <= raw.size * 12


def _pass_on(block, inputs, outputs, mask):
    raise AssertionError("only planned")
