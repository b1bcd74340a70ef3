"""What is changed decides what is run again: exactly the calls that depend on it, and each is told why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp

from . import script

CALLS = ("gaussian_smoothing", "label", "multiply", "plus", "add", "max")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the script has come to its end."""
    folder = tmp_path_factory.mktemp("done")
    script.begin(folder)
    pipeline, most = script.run(folder)
    assert [call.action for call in pipeline.explain()] == ["run"] * 6
    assert most == script.expected()[1]
    return folder


@pytest.fixture
def again(done: Path, tmp_path: Path) -> Path:
    """The same, made for one test: a copy would have other inodes."""
    script.begin(tmp_path)
    script.run(tmp_path)
    return tmp_path


def actions(pipeline: Any) -> dict[str, str]:
    return {call.name: call.action for call in pipeline.explain()}


def ran(pipeline: Any) -> set[str]:
    return {name for name, action in actions(pipeline).items() if action != "skipped"}


def correct(folder: Path, **settings: Any) -> None:
    np.testing.assert_array_equal(bp.open_source(folder / "plus.zarr")[...], script.expected(**settings)[0])


def test_nothing_is_run_again(done: Path) -> None:
    pipeline, most = script.run(done)
    assert ran(pipeline) == set()
    assert most == script.expected()[1]
    assert all(call.reason == "nothing has changed since" for call in pipeline.explain())
    assert not (done / "script.run" / "scratch").exists()
    correct(done)


def rewrite_input(folder: Path) -> None:
    bp.open_source(folder / "raw.zarr", "x", mode="r+")[...] = script.data()


def rewrite_one_chunk_of_input(folder: Path) -> None:
    bp.open_source(folder / "raw.zarr", "x", mode="r+")[:8, :8] = script.data()[:8, :8]


def delete_input_and_make_it_again(folder: Path) -> None:
    shutil.rmtree(folder / "raw.zarr")
    script.begin(folder)


def delete_labels(folder: Path) -> None:
    shutil.rmtree(folder / "labels.zarr")


def delete_counts(folder: Path) -> None:
    shutil.rmtree(folder / "counts.zarr")


def overwrite_counts(folder: Path) -> None:
    array: Any = zarr.open_array(folder / "counts.zarr", mode="r+")
    array[0, 0] = 77


def overwrite_last_chunk_of_counts(folder: Path) -> None:
    array: Any = zarr.open_array(folder / "counts.zarr", mode="r+")
    array[-1, -1] = 77


def overwrite_labels(folder: Path) -> None:
    array: Any = zarr.open_array(folder / "labels.zarr", mode="r+")
    array[3, 3] = 5


def delete_a_chunk_of_labels(folder: Path) -> None:
    next(path for path in (folder / "labels.zarr" / "c").rglob("*") if path.is_file()).unlink()


def delete_plus(folder: Path) -> None:
    shutil.rmtree(folder / "plus.zarr")


def forget_records(folder: Path) -> None:
    shutil.rmtree(folder / "script.run")


def damage_a_record(folder: Path) -> None:
    (path,) = (folder / "script.run" / "calls").glob("*-label.json")
    path.write_text("{")


def damage_a_value(folder: Path) -> None:
    (path,) = (folder / "script.run" / "calls").glob("*-max.value")
    path.write_bytes(path.read_bytes()[:20])


def touch_nothing(folder: Path) -> None:
    pass


def move_counts_back_and_forth(folder: Path) -> None:
    (folder / "counts.zarr").rename(folder / "elsewhere")
    (folder / "elsewhere").rename(folder / "counts.zarr")


LATER = {"plus", "add", "max"}
EDITS: list[tuple[Callable[[Path], None], dict[str, Any], set[str]]] = [
    (touch_nothing, {}, set()),
    (move_counts_back_and_forth, {}, set()),
    (rewrite_input, {}, set(CALLS)),
    (rewrite_one_chunk_of_input, {}, set(CALLS)),
    (delete_input_and_make_it_again, {}, set(CALLS)),
    (delete_labels, {}, {"gaussian_smoothing", "label", "multiply", *LATER}),
    (delete_a_chunk_of_labels, {}, {"gaussian_smoothing", "label", "multiply", *LATER}),
    (overwrite_labels, {}, {"gaussian_smoothing", "label", "multiply", *LATER}),
    (delete_counts, {}, {"multiply", *LATER}),
    (overwrite_counts, {}, {"multiply", *LATER}),
    (overwrite_last_chunk_of_counts, {}, {"multiply", *LATER}),
    (delete_plus, {}, LATER),
    (damage_a_value, {}, {"max"}),
    (damage_a_record, {}, {"gaussian_smoothing", "label", "multiply", *LATER}),
    (forget_records, {}, set(CALLS)),
    (touch_nothing, {"sigma": 1.5}, set(CALLS)),
    (touch_nothing, {"threshold": 110.0}, {"gaussian_smoothing", "label", "multiply", *LATER}),
    (touch_nothing, {"out": "elsewhere.zarr"}, {"multiply", *LATER}),
    (touch_nothing, {"num_workers": 1}, set()),
    (touch_nothing, {"retries": 0}, set()),
]


@pytest.mark.parametrize(("edit", "settings", "wanted"), EDITS, ids=lambda part: getattr(part, "__name__", None))
def test_an_edit_runs_what_depends_on_it(
    again: Path, edit: Callable[[Path], None], settings: dict[str, Any], wanted: set[str]
) -> None:
    edit(again)
    pipeline, most = script.run(again, **settings)
    assert ran(pipeline) == wanted
    how = {name: value for name, value in settings.items() if name in ("sigma", "threshold")}
    assert most == script.expected(**how)[1]
    correct(again, **how)
    assert not (again / "script.run" / "scratch").exists()
    pipeline, _ = script.run(again, **settings)
    assert ran(pipeline) == set(), "once more, nothing is left to do"


def test_the_body_of_a_function(again: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        roi = bp.to_roi(block)
        outputs[0][roi] = inputs[0][roi] + 30

    monkeypatch.setattr(script, "plus", other)
    pipeline, most = script.run(again)
    assert ran(pipeline) == LATER
    assert "plus.function" in pipeline.explain()[3].reason
    assert most == script.expected()[1] + 27


def test_a_helper_that_a_function_calls(again: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(values: Any) -> Any:
        return values + 5

    monkeypatch.setattr(script, "ADDED", other)
    pipeline, most = script.run(again)
    assert ran(pipeline) == LATER
    assert most == script.expected()[1] + 2


def test_the_version_of_the_package(again: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioimage_py.pipelines.call.__version__", "99")
    pipeline, _ = script.run(again)
    assert ran(pipeline) == set(CALLS)
    assert "package" in pipeline.explain()[0].reason
    correct(again)
