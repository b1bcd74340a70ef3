"""Scratch arrays, what is refused, and what a pipeline's folder is trusted with."""

from __future__ import annotations

import os
import pickle
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import AccessError, ConfigError, ParameterError, PipelineError, RunningError, StorageError

HOW: dict[str, Any] = {"block_shape": 8, "progress": False}


@pytest.fixture
def raw(tmp_path: Path) -> Any:
    array = bp.io.create_array(tmp_path / "raw.zarr", "x", shape=(16, 16), dtype="u1", chunks=(8, 8))
    array[...] = np.arange(256).reshape(16, 16) % 100
    return array


def names(pipeline: Any) -> list[tuple[str, str]]:
    return [(call.name, call.action) for call in pipeline.explain()]


def test_a_scratch_array_that_is_looked_at_is_made_again(tmp_path: Path, raw: Any) -> None:
    for actions in (["run"], ["run again"]):
        with bp.pipeline(tmp_path / "p") as p:
            more = bp.operations.add(raw, 1, p.scratch("more"), **HOW)
            if actions == ["run again"]:
                assert names(p) == [("add", "skipped")]
                assert not (tmp_path / "p" / "scratch").exists()
            np.testing.assert_array_equal(more[2:5], raw[2:5] + 1)
        assert [action for _, action in names(p)] == actions


def test_a_scratch_array_is_removed_early_and_made_again_for_a_later_reader(tmp_path: Path, raw: Any) -> None:
    with bp.pipeline(tmp_path / "p") as p:
        more = bp.operations.add(raw, 1, p.scratch("more"), **HOW)
        bp.operations.multiply(more, 2, tmp_path / "a.zarr", **HOW)
        p.remove("more")
        assert not list((tmp_path / "p" / "scratch").glob("*"))
    with bp.pipeline(tmp_path / "p") as p:
        more = bp.operations.add(raw, 1, p.scratch("more"), **HOW)
        bp.operations.multiply(more, 2, tmp_path / "a.zarr", **HOW)
        bp.operations.multiply(more, 3, tmp_path / "b.zarr", casting="unsafe", **HOW)
    assert names(p) == [("add", "run again"), ("multiply", "skipped"), ("multiply", "run")]
    np.testing.assert_array_equal(bp.open_source(tmp_path / "b.zarr")[...], ((raw[...] + 1) * 3).astype("u1"))
    with bp.pipeline(tmp_path / "p") as p:
        more = bp.operations.add(raw, 1, p.scratch("more"), **HOW)
        bp.operations.multiply(more, 2, tmp_path / "a.zarr", **HOW)
        bp.operations.multiply(more, 3, tmp_path / "b.zarr", casting="unsafe", **HOW)
    assert {action for _, action in names(p)} == {"skipped"}


def test_scratch_stays_after_an_error_and_where_it_is_kept(tmp_path: Path, raw: Any) -> None:
    with pytest.raises(ZeroDivisionError), bp.pipeline(tmp_path / "p") as p:  # noqa: PT012 - the block is the script
        bp.operations.add(raw, 1, p.scratch("more"), **HOW)
        raise ZeroDivisionError
    assert (tmp_path / "p" / "scratch" / "more.zarr").exists()
    with bp.pipeline(tmp_path / "p", keep=True) as p:
        bp.operations.add(raw, 1, p.scratch("more"), **HOW)
    assert names(p) == [("add", "skipped")]
    assert (tmp_path / "p" / "scratch" / "more.zarr").exists()


def test_a_budget_for_scratch_is_kept_before_the_first_block(tmp_path: Path, raw: Any) -> None:
    with pytest.raises(PipelineError, match="scratch_bytes=100"), bp.pipeline(tmp_path / "p", scratch_bytes=100) as p:
        bp.operations.add(raw, 1, p.scratch("more"), **HOW)
    assert not (tmp_path / "p" / "scratch").exists()


@pytest.mark.parametrize("name", ["", ".x", "a/b", "..", 3])
def test_a_scratch_array_has_a_name(tmp_path: Path, name: Any) -> None:
    with bp.pipeline(tmp_path / "p") as p, pytest.raises(ParameterError, match="no name of an array"):
        p.scratch(name)


def test_names_of_scratch_arrays_are_given_once(tmp_path: Path) -> None:
    with bp.pipeline(tmp_path / "p") as p:
        p.scratch("a")
        with pytest.raises(ParameterError, match="has an array 'a' already"):
            p.scratch("a")


def test_what_a_script_writes_itself_is_seen(tmp_path: Path, raw: Any) -> None:
    def run(value: int) -> Any:
        with bp.pipeline(tmp_path / "p") as p:
            more = bp.operations.add(raw, 1, tmp_path / "a.zarr", **HOW)
            more[0, 0] = value
            bp.operations.multiply(more, 2, tmp_path / "b.zarr", **HOW)
        return p

    run(50)
    again = run(60)
    assert names(again)[1] == ("multiply", "run")
    assert bp.open_source(tmp_path / "b.zarr")[0, 0] == 120


def test_data_that_a_later_call_has_changed_in_place_cannot_be_read_anew(tmp_path: Path, raw: Any) -> None:
    def run(factor: int) -> Any:
        with bp.pipeline(tmp_path / "p") as p:
            bp.operations.multiply(raw, factor, tmp_path / "b.zarr", **HOW)
            bp.operations.add(raw, 1, raw, **HOW)
        return p

    before = raw[...]
    run(1)
    assert names(run(1)) == [("multiply", "skipped"), ("add", "skipped")]
    np.testing.assert_array_equal(raw[...], before + 1)
    with pytest.raises(PipelineError, match=r"raw.zarr/x was changed in place by a later call"):
        run(2)
    np.testing.assert_array_equal(raw[...], before + 1)


def test_an_intermediate_result_that_was_changed_in_place_is_made_again(tmp_path: Path, raw: Any) -> None:
    def run(factor: int) -> Any:
        with bp.pipeline(tmp_path / "p") as p:
            more = bp.operations.add(raw, 1, tmp_path / "a.zarr", **HOW)
            bp.operations.multiply(more, factor, tmp_path / "b.zarr", **HOW)
            bp.operations.add(more, 5, more, **HOW)
        return p

    run(1)
    again = run(2)
    np.testing.assert_array_equal(bp.open_source(tmp_path / "b.zarr")[...], (raw[...] + 1) * 2)
    np.testing.assert_array_equal(bp.open_source(tmp_path / "a.zarr")[...], raw[...] + 6)
    assert names(again) == [("add", "run again"), ("multiply", "run"), ("add", "run")]
    assert {action for _, action in names(run(2))} == {"skipped"}


def test_what_was_changed_in_place_is_not_changed_again_by_a_function_that_cannot_be_compared(
    tmp_path: Path, raw: Any
) -> None:
    lock = threading.Lock()

    def more(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        with lock:
            outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1

    before = raw[...]
    with bp.pipeline(tmp_path / "p"):
        bp.map_blocks(more, [raw], [raw], **HOW)
    with pytest.raises(PipelineError, match="was changed in place"), bp.pipeline(tmp_path / "p"):
        bp.map_blocks(more, [raw], [raw], **HOW)
    np.testing.assert_array_equal(raw[...], before + 1)


def test_a_change_in_place_that_was_left_out_for_once_is_not_made_twice(tmp_path: Path, raw: Any) -> None:
    before = raw[...]
    for changes in (True, False, True):
        with bp.pipeline(tmp_path / "p"):
            bp.stats.max(raw, **HOW)
            if changes:
                bp.operations.add(raw, 1, raw, **HOW)
    np.testing.assert_array_equal(raw[...], before + 1)


def test_a_scratch_array_that_was_half_removed_is_removed(tmp_path: Path, raw: Any) -> None:
    with bp.pipeline(tmp_path / "p") as p:
        bp.operations.add(raw, 1, p.scratch("more"), **HOW)
    part = tmp_path / "p" / "scratch" / "more.zarr"
    bp.io.create_array(part, "", shape=(16, 16), dtype="u1", chunks=(8, 8))
    with bp.pipeline(tmp_path / "p") as p:
        more = bp.operations.add(raw, 1, p.scratch("more"), **HOW)
        np.testing.assert_array_equal(more[...], raw[...] + 1)


def test_a_numpy_output_is_made_every_time(tmp_path: Path, raw: Any) -> None:
    for _ in range(2):
        with bp.pipeline(tmp_path / "p") as p:
            result = bp.operations.add(raw, 1, **HOW)
        np.testing.assert_array_equal(result, raw[...] + 1)
        (call,) = p.explain()
        assert (call.action, call.reason) == ("run", "its output is in memory")


def test_a_pipeline_in_another_process_is_waited_for(tmp_path: Path) -> None:
    with (
        bp.pipeline(tmp_path / "p"),
        pytest.raises(RunningError, match="another process is working in"),
        bp.pipeline(tmp_path / "p"),
    ):
        pass


def test_calls_are_not_detached_by_themselves(tmp_path: Path, raw: Any) -> None:
    with bp.pipeline(tmp_path / "p"), pytest.raises(ConfigError, match="cannot be detached by itself"):
        bp.operations.add(raw, 1, tmp_path / "a.zarr", detach=True, **HOW)


class Planted:
    """Somebody else's code."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_a_folder_that_others_can_write_is_not_opened(tmp_path: Path, raw: Any) -> None:
    folder = tmp_path / "p"
    with bp.pipeline(folder):
        bp.stats.max(raw, **HOW)
    (value,) = (folder / "calls").glob("*.value")
    value.write_bytes(pickle.dumps(Planted(tmp_path / "planted")))
    folder.chmod(0o777)
    with pytest.raises(AccessError, match="can be written by"), bp.pipeline(folder):
        bp.stats.max(raw, **HOW)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99, "script": ""}', '{"format": 1}', "{" * 9999])
def test_a_folder_that_is_damaged_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "pipeline.json").write_text(text)
    with pytest.raises(StorageError, match=r"pipeline.json cannot be read"), bp.pipeline(tmp_path / "p"):
        pass


def test_a_report_shows_a_bar_for_each_call(tmp_path: Path, raw: Any) -> None:
    with bp.pipeline(tmp_path / "p") as p:
        bp.operations.add(raw, 1, tmp_path / "<a>.zarr", **HOW)
        bp.stats.max(raw, **HOW)
        p.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page[: page.index("<h2>")].count("<rect ") == 2
    assert "<a>" not in page
    assert "&lt;a&gt;.zarr" in page


@pytest.mark.parametrize("left", ["another shape", "another type", "other chunks", "half made"])
@pytest.mark.parametrize("how", ["path", "created"])
def test_a_scratch_array_that_does_not_fit_is_made_anew(tmp_path: Path, raw: Any, left: str, how: str) -> None:
    with pytest.raises(ZeroDivisionError), bp.pipeline(tmp_path / "p") as p:  # noqa: PT012 - the block is the script
        path = p.scratch("more")
        if left == "half made":
            path.mkdir(parents=True)
            (path / "zarr.json.__lock").touch()
        else:
            shape, kind, chunks = {
                "another shape": ((9, 9), "u1", (8, 8)),
                "another type": ((16, 16), "f4", (8, 8)),
                "other chunks": ((16, 16), "u1", (4, 4)),
            }[left]
            bp.operations.add(np.zeros(shape, kind), 1, path, chunks=chunks, **HOW)
        raise ZeroDivisionError
    with bp.pipeline(tmp_path / "p") as p:
        path = p.scratch("more")
        if how == "created":
            output = bp.io.create_array(path, shape=(16, 16), dtype="u1", chunks=(8, 8))
            bp.operations.add(raw, 1, output, **HOW)
        else:
            output = bp.operations.add(raw, 1, path, chunks=(8, 8), **HOW)
        np.testing.assert_array_equal(output[...], raw[...] + 1)
        assert output.shape == (16, 16)
    with bp.pipeline(tmp_path / "p", plan=True) as p:
        bp.operations.add(raw, 1, p.scratch("more"), chunks=(8, 8), **HOW)
    assert p.plan().calls[0].done


def test_a_scratch_array_of_a_call_that_was_edited_after_a_failure_is_made_anew(tmp_path: Path, raw: Any) -> None:
    def fails(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id == 3:
            raise ValueError
        outputs[0][bp.to_roi(block)] = 7

    def works(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1

    for function in (fails, works):
        with (
            pytest.raises(bp.errors.RunnerError) if function is fails else nullcontext(),
            bp.pipeline(tmp_path / "p") as p,
        ):
            output = bp.io.create_array(p.scratch("more"), shape=(16, 16), dtype="u1", chunks=(8, 8))
            bp.map_blocks(function, [raw], [output], block_shape=8, name="more", progress=False)
            np.testing.assert_array_equal(output[...], raw[...] + 1)


def test_the_report_draws_arrays_and_calls(tmp_path: Path, raw: Any) -> None:
    with bp.pipeline(tmp_path / "p") as p:
        more = bp.operations.add(raw, 1, p.scratch("more"), **HOW)
        double = bp.operations.multiply(more, 1, tmp_path / "<&>.zarr", **HOW)
        bp.operations.greater(double, more, tmp_path / "more.zarr", **HOW)
        bp.operations.add(double, 1, double, **HOW)
        assert bp.operations.add(raw, 1, **HOW).shape == raw.shape, "what is in memory has no place in it"
    p.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    drawn = ElementTree.fromstring(page[page.index('<svg xmlns="') : page.index("<h2>Calls")])
    space = "{http://www.w3.org/2000/svg}"
    titles = [node.findtext(f"{space}title") or "" for node in drawn.iter(f"{space}g")]
    assert [title.partition(",")[0] for title in titles if ", " in title] == [
        "add",
        "multiply",
        "greater",
        "add",
    ]
    assert titles.count(str(tmp_path / "<&>.zarr")) == 2, "before and after it was changed in place"
    assert len(list(drawn.iter(f"{space}path"))) == 9
    boxes = [(float(box.get("x", 0)), float(box.get("y", 0))) for box in drawn.iter(f"{space}rect")]
    assert len(set(boxes)) == len(boxes), "none lies on another"
