"""Commands made of operations: every one runs its own example on real files, and does what Python does."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.catalogue.operations import Operation, declared, find
from bioimage_py.catalogue.parameters import parameters_of
from bioimage_py.cli import main
from bioimage_py.cli.examples import nested
from bioimage_py.cli.made.commands import OperationCommand, command_of, name_of
from bioimage_py.cli.made.results import jsonable
from bioimage_py.cli.made.values import literal, value_of
from bioimage_py.engine.declaration import Declaration
from bioimage_py.engine.operation import operation

OPERATIONS = {one.full_name: one for one in declared()}
SHAPE = (10, 16, 18)
WORK = """
import numpy as np

def filter_function(labels, mask=None):
    return np.where(labels % 2, labels, 0)

def segmentation_function(tile, tile_id):
    return (tile > 100).astype("uint64")

def network(batch):
    return batch * 2
"""
MORE = {
    "filters.difference_of_gaussians": {"--low-sigma": "1"},
    "graph.lifted_multicut": {"graph": "lifted.zarr", "--costs": "lifted.npy"},
    "inference.predict": {"--model": "work.py:network", "--tile": "8"},
    "segmentation.relabel": {"--labeling": "new_ids.csv"},
    "segmentation.stitch_segmentation": {"--tile-shape": "8", "--tile-overlap": "2"},
    "segmentation.stitch_tiled_segmentation": {"--tile-shape": "8"},
    "operations.add": {"x": "volume.zarr/boundaries"},
    "operations.apply_operation": {"x": "volume.zarr/boundaries"},
    "operations.multiply": {"x": "volume.zarr/boundaries"},
    "operations.subtract": {"x": "volume.zarr/boundaries"},
    "transformation.affine": {"--scale": "1,2,1"},
    "transformation.crop": {"--region": "0:4,:,3"},
    "transformation.resample": {"--scale": "0.5"},
}
"""What stands in place of an example's words, or is added: files of other names, smaller numbers."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    volume = bp.sample.neurites(SHAPE, seed=6)
    labels = volume.labels[...].astype("u4")
    random = np.random.default_rng(0)
    arrays = {
        "raw": volume.raw[...],
        "labels": labels,
        "boundaries": random.random(SHAPE, "f4"),
        "affinities": random.random((3, *SHAPE), "f4"),
        "field": np.stack(np.meshgrid(*(np.arange(size, dtype="f4") for size in SHAPE), indexing="ij")),
    }
    for name, array in arrays.items():
        chunks = (*(1,) * (array.ndim - 3), 5, 8, 9)
        bp.copy(array, str(folder / "volume.zarr" / name), chunks=chunks, progress=False)
    boundaries = bp.open_source(folder / "volume.zarr", "boundaries")
    graph = bp.graph.region_graph(labels, boundaries, str(folder / "graph.zarr"), progress=False)
    np.save(folder / "costs.npy", random.random(len(graph.edges)) - 0.5)
    lifted = bp.graph.region_graph(
        labels, output_path=str(folder / "lifted.zarr"), affinities=arrays["affinities"],
        offsets=[(-1, 0, 0), (0, -1, 0), (0, 0, -6)], long_range=True, progress=False,
    )  # fmt: skip
    np.save(folder / "lifted.npy", random.random(len(lifted.edges)) - 0.5)
    pd.DataFrame({"z": [1, 8], "y": [2, 3], "x": [4, 11]}).to_csv(folder / "points.csv", index=False)
    ids = np.unique(labels)
    pd.DataFrame({"old": ids, "new": ids * 3}).to_csv(folder / "new_ids.csv", index=False)
    (folder / "work.py").write_text(WORK)
    return folder


@pytest.fixture
def here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all files of the examples, for what a test writes."""
    for entry in files.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner(mix_stderr=False).invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, (arguments, result.stdout, result.stderr, result.exception)
    assert "Traceback" not in result.output
    return result


def words_of(operation: Operation) -> list[str]:
    """The example of a command, as it is tried here."""
    command = OperationCommand(name_of(operation), operation)
    words = shlex.split((command.epilog or "").splitlines()[-1])[1:]
    changed = dict(MORE.get(operation.full_name, {}))
    for first in {"graph", "x"} & set(changed):
        words[1] = changed.pop(first)
    for option, value in changed.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return words


def in_python(operation: Operation, words: list[str]) -> Any:
    """What the operation returns for the words of a command: numpy arrays where that writes."""
    command = OperationCommand(words[0], operation)
    given = command.make_context(words[0], words[1:]).params
    own = {one.name: one for one in operation.parameters}
    call = {
        name: value_of(own[name], value) if isinstance(value, str) else value
        for name, value in given.items()
        if name in own and name not in operation.declaration.outputs and value is not None
    }
    if "verbose" in own:
        call["verbose"] = False
    if operation.name in ("relabel", "relabel_consecutive"):  # by default it changes the input
        call["output"] = np.empty(call["input"].shape, call["input"].dtype)
    return operation.call(**call, progress=False)


def same(one: Any, other: Any) -> None:
    if isinstance(other, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    else:
        np.testing.assert_allclose(np.asarray(one[...], "f8"), np.asarray(other, "f8"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.some(40)) for name in OPERATIONS])
def test_the_example_does_what_python_does(here: Path, name: str) -> None:
    operation = OPERATIONS[name]
    words = words_of(operation)
    expected = in_python(operation, words)
    out = here / "out.zarr" / "data"
    if operation.output is None or operation.output.kind != "source":
        told = json.loads(run(*words, "--json").stdout)
        assert told == json.loads(json.dumps(jsonable(expected)))
        return
    said = json.loads(run(*words, "--json").stdout)
    told = said["written"]
    if operation.name == "relabel_consecutive":  # it also returns what has become what
        assert said["result"] == json.loads(json.dumps(jsonable(expected[1:])))
        expected = expected[0]
    assert [one["shape"] for one in told] == [
        list(one.shape) for one in (expected if isinstance(expected, list | tuple) else [expected])
    ]
    if isinstance(expected, list | tuple):
        same([bp.open_source(one["path"]) for one in told], expected)
    else:
        same(bp.open_source(out), expected)


def test_one_number_stands_for_all_axes(here: Path) -> None:
    for _ in range(2):  # also where the array is there already
        run("copy", "volume.zarr/raw", "one.zarr/raw", "--block-shape", "8", "--chunks", "4", "--shards", "8")
    found = bp.open_source(here / "one.zarr/raw")
    assert (found.chunks, found.shards) == ((4,) * 3, (8,) * 3)
    np.testing.assert_array_equal(found[...], bp.open_source(here / "volume.zarr/raw")[...])
    assert "chunks=(3, 3, 3)" in run("copy", "volume.zarr/raw", "one.zarr/raw", "--chunks", "3", code=1).stderr
    run("convert", "volume.zarr/raw", "converted.zarr", "--chunks", "4", "--shards", "8")
    assert bp.open_source(here / "converted.zarr").chunks == (4,) * 3


GROUPED = [words for words, _ in nested(main) if len(words) > 1]


class TestHelp:
    @pytest.mark.parametrize("name", [*main.commands, *map(name_of, OPERATIONS.values())])  # type: ignore[attr-defined]
    def test_is_short_and_has_an_example(self, name: str) -> None:
        text = run(name, "--help").stdout
        assert len(text.splitlines()) < 40
        assert f"\n    bioimage-py {name}" in text or name == "operations"

    @pytest.mark.parametrize("words", GROUPED, ids=" ".join)
    def test_commands_of_groups_have_an_example_that_they_take(self, words: tuple[str, ...]) -> None:
        text = run(*words, "--help").stdout
        assert len(text.splitlines()) < 40
        (example,) = re.findall(rf"^ +bioimage-py ({' '.join(words)}\b.*)$", text, re.MULTILINE)
        command: click.Command = main
        for word in words:
            command = command.commands[word]  # type: ignore[attr-defined]
        if not isinstance(command, click.Group):
            given, _, _ = command.make_parser(click.Context(command)).parse_args(shlex.split(example)[len(words) :])
            needed = [one.name for one in command.params if isinstance(one, click.Argument) and one.required]
            assert all(given.get(name) not in (None, ()) for name in needed)

    def test_of_all_commands(self) -> None:
        text = run("--help").stdout
        assert len(text.splitlines()) < 40
        listed = run("operations").stdout
        for one in OPERATIONS.values():
            assert f"  {name_of(one)} " in listed

    def test_every_parameter_is_told(self) -> None:
        """A parameter without type or text would have an option that says nothing."""
        silent = [
            f"{one.full_name}({parameter.name})"
            for one in OPERATIONS.values()
            for parameter in one.parameters
            if not parameter.type or (not parameter.sentence and parameter.kind not in ("choice", "path"))
        ]
        assert silent == []


def test_names_are_told_once() -> None:
    names = [name_of(one) for one in OPERATIONS.values()]
    assert len(names) == len(set(names))
    assert not set(names) & set(main.commands)  # type: ignore[attr-defined]
    assert command_of("gaussian_smoothing") is None
    assert command_of("nothing") is None
    assert find("mean") is not None


@operation(declaration=Declaration("exact", "numpy"))
def brighter(input: Any, gain: float, output: Any = None, *, twice: bool = False, **_: Any) -> Any:
    """Make it brighter.

    Parameters
    ----------
    input : source-like
        The volume.
    gain : float
        By how much.
    output : source-like, optional
        Where to.
    twice : bool, default False
        And once more.
    """
    return input, gain, output, twice


def test_a_new_operation_has_its_command() -> None:
    command = OperationCommand("brighter", Operation("tests", "brighter", brighter))
    names = [parameter.name for parameter in command.params]
    assert names[:4] == ["input", "output", "gain", "twice"]
    assert [one.kind for one in parameters_of(brighter)][:4] == ["source", "value", "source", "flag"]


class TestPlans:
    @pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.some(12)) for name in OPERATIONS])
    def test_a_dry_run_writes_nothing(self, here: Path, name: str) -> None:
        before = sorted(os.listdir(here))
        told = run(*words_of(OPERATIONS[name]), "--dry-run").stdout
        assert "workers" in told
        assert sorted(os.listdir(here)) == before

    def test_as_json(self, here: Path) -> None:
        told = json.loads(run("median", "volume.zarr/raw", "out.zarr/a", "--size", 3, "--dry-run", "--json").stdout)
        assert told["name"] == "median"
        assert told["stages"][0]["n_blocks"] >= 1


class TestRegions:
    def test_of_an_input(self, here: Path) -> None:
        run("copy", "volume.zarr/raw::2:6,:,3:9", "out.zarr/a")
        expected = bp.open_source("volume.zarr", "raw")[2:6, :, 3:9]
        np.testing.assert_array_equal(bp.open_source("out.zarr", "a")[...], expected)

    def test_a_number_is_one_plane(self, here: Path) -> None:
        plane = bp.open_source("volume.zarr", "raw")[3]
        assert json.loads(run("max", "volume.zarr/raw::3", "--json").stdout) == plane.max()
        assert json.loads(run("max", "volume.zarr/raw::-7,:", "--json").stdout) == plane.max()

    def test_of_an_output_that_is_there(self, here: Path) -> None:
        run("copy", "volume.zarr/raw", "out.zarr/a")
        run("add", "volume.zarr/raw::2:6,:,3:9", 1, "out.zarr/a::2:6,:,3:9", "--casting", "unsafe")
        expected = bp.open_source("volume.zarr", "raw")[...].copy()
        expected[2:6, :, 3:9] += 1
        np.testing.assert_array_equal(bp.open_source("out.zarr", "a")[...], expected)

    def test_that_does_not_fit(self, here: Path) -> None:
        assert "0:99" in run("max", "volume.zarr/raw::0:99", code=1).stderr
        assert "ends with no region" in run("max", "volume.zarr/raw::0:4,", code=2).stderr
        assert "::nothing" in run("max", "volume.zarr/raw::nothing", code=1).stderr

    def test_of_other_commands(self, here: Path) -> None:
        run("convert", "volume.zarr/raw::0:4", "a.npy", "--quiet")
        assert np.load("a.npy").shape == (4, *SHAPE[1:])
        scores = json.loads(run("evaluate", "volume.zarr/labels::0:4", "volume.zarr/labels::0:4", "--json").stdout)
        assert scores


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "code", "text"),
        [
            ("median none.zarr out.zarr/a --size 3", 1, "none.zarr does not exist"),
            ("median volume.zarr/raw out.zarr/a", 1, "--size"),
            ("median volume.zarr/raw out.zarr/a --size big", 1, "size"),
            ("median volume.zarr/raw --size 3", 2, "Missing argument 'OUTPUT'"),
            ("median volume.zarr/raw out.zarr/a --sise 3", 2, "No such option: --sise"),
            ("median volume.zarr out.zarr/a --size 3", 1, "no key is given"),
            ("median volume.zarr/raw out.png --size 3", 1, "out.png"),
            ("smooth volume.zarr/raw out.zarr/a", 2, "--sigma"),
            ("smooth volume.zarr/raw out.zarr/a --sigma 1 --block-shape a", 2, "whole numbers"),
            ("smooth volume.zarr/raw out.zarr/a --sigma 1 --job-type magic", 1, "magic"),
            ("smooth volume.zarr/raw out.zarr/a --sigma 1 --retries many", 2, "no number"),
            ("segmentation-filter volume.zarr/labels out.zarr/a --filter-function a.py:f", 2, "a.py does not exist"),
            ("segmentation-filter volume.zarr/labels out.zarr/a --filter-function work.py:g", 2, "has no function 'g'"),
            ("segmentation-filter volume.zarr/labels out.zarr/a --filter-function work.py", 2, "no function of a file"),
            ("map-points-to-objects volume.zarr/labels --points none.csv", 2, "none.csv does not exist"),
            ("operations nonsense", 1, "no operation is about nonsense"),
            ("gaussian_smoothing a b", 2, "No such command"),
            ("completion tcsh", 2, "tcsh"),
        ],
    )
    def test_are_told_in_words_of_the_command(self, here: Path, line: str, code: int, text: str) -> None:
        result = run(*line.split(), code=code)
        assert text in result.stderr
        assert result.stdout == ""
        assert not (here / "out.zarr").exists()

    def test_remedies_name_options(self, here: Path) -> None:
        told = run("size-filter", "volume.zarr/labels", "out.zarr/a", code=1).stderr
        assert "--min-size" in told


@pytest.mark.processes
def test_functions_of_a_file_go_to_other_processes(here: Path) -> None:
    line = "segmentation-filter volume.zarr/labels out.zarr/a --filter-function work.py:filter_function"
    command = [sys.executable, "-m", "bioimage_py", *line.split(), "--job-type", "subprocess", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    labels = bp.open_source("volume.zarr", "labels")[...]
    np.testing.assert_array_equal(bp.open_source("out.zarr", "a")[...], np.where(labels % 2, labels, 0))


class TestValues:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("2", 2),
            ("-0.5", -0.5),
            ("18446744073709551615", 2**64 - 1),
            ("1,2", (1, 2)),
            ("1,", (1,)),
            ("1,2;3,4", ((1, 2), (3, 4))),
            ("None", None),
            ("true", True),
            ("zyx", "zyx"),
            ("x,time", ("x", "time")),
        ],
    )
    def test_literals(self, text: str, value: Any) -> None:
        assert literal(text) == value

    def test_one_value_of_a_sequence(self) -> None:
        by_name = {one.name: one for one in OPERATIONS["morphology.regionprops"].parameters}
        assert value_of(by_name["percentiles"], "5") == (5,)
        mutex = {one.name: one for one in OPERATIONS["segmentation.mutex_watershed"].parameters}
        assert value_of(mutex["offsets"], "-1,0,0") == ((-1, 0, 0),)

    def test_large_ids_and_mappings(self, here: Path) -> None:
        run("add", "volume.zarr/labels", 2**63, "out.zarr/a")
        labels = bp.open_source("volume.zarr", "labels")[...].astype("u8")
        np.testing.assert_array_equal(bp.open_source("out.zarr", "a")[...], labels + np.uint64(2**63))

    def test_json_has_no_nan(self) -> None:
        assert jsonable({"a": float("nan"), "b": np.array([1.0, np.inf])}) == {"a": None, "b": [1.0, None]}


class TestCompletion:
    def complete(self, *words: str) -> list[str]:
        made = ShellComplete(main, {}, "bioimage-py", "_BIOIMAGE_PY_COMPLETE")
        return [one.value for one in made.get_completions(list(words[:-1]), words[-1])]

    def test_of_commands_and_options(self) -> None:
        assert set(self.complete("s")) >= {"segment", "slurm", "smooth", "stats", "size-filter"}
        assert "--size" in self.complete("median", "--s")
        assert self.complete("segment", "--method", "mu") == ["multicut", "mutex"]

    def test_of_paths(self) -> None:
        made = ShellComplete(main, {}, "bioimage-py", "_BIOIMAGE_PY_COMPLETE")
        assert [one.type for one in made.get_completions(["median"], "vol")] == ["file"]

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_scripts(self, shell: str) -> None:
        text = run("completion", shell).stdout
        assert f"_BIOIMAGE_PY_COMPLETE={shell}_complete" in text
        assert "bioimage-py" in text
