"""The plan of a segmentation: its stages are those that are run then, and nothing is written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import ParameterError
from bioimage_py.workflows import segment

from ..inference.networks import network

OFFSETS = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
SHAPE = (24, 40, 40)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planned")
    raw = bp.sample.neurites(SHAPE, seed=3).raw[...]
    edges = (1 - raw / 255).astype("f4")
    bp.copy(raw, folder / "in.zarr/raw", progress=False)
    bp.copy(edges, folder / "in.zarr/edges", progress=False)
    bp.copy(np.stack([edges] * 3), folder / "in.zarr/affinities", progress=False)
    network(folder / "net.onnx")
    return folder


def tree(folder: Path) -> set[str]:
    return {os.path.join(at, name) for at, folders, names in os.walk(folder) for name in (*folders, *names)}


CASES: list[tuple[str, dict[str, Any]]] = [
    ("raw", {}),
    ("raw", {"threshold": 100.0, "min_size": 20}),
    ("edges", {}),  # floats: the range is asked for first
    ("raw", {"method": "components"}),
    ("edges", {"method": "multicut", "min_size": 20}),
    ("edges", {"method": "agglomerate"}),
    ("affinities", {"method": "mutex", "offsets": OFFSETS}),
    ("raw", {"method": "multicut", "model": "net.onnx", "network": {"tile": 16, "overlap": 4}}),
    ("raw", {"roi": (slice(4, 20), slice(0, 40), slice(0, 40))}),
]


@pytest.mark.parametrize(("key", "how"), CASES)
def test_the_stages_are_those_of_the_run(key: str, how: dict[str, Any], files: Path, tmp_path: Path) -> None:
    how = {**how, **({"model": files / "net.onnx"} if "model" in how else {}), "block_shape": 20, "progress": False}
    source, before = bp.open_source(files / "in.zarr", key), tree(files)
    plan = segment(source, tmp_path / "a.ome.zarr", plan=True, **how)
    assert tree(files) == before
    assert not list(tmp_path.iterdir())
    found = segment(source, tmp_path / "a.ome.zarr", **how)
    names = [stage.name for stage in found.stages if stage.name != "count"]
    assert [stage.name for stage in plan.stages][: len(names)] == names[: len(plan.stages)]
    assert {*names} - {stage.name for stage in plan.stages} <= {"pyramid"}  # of an image that has no coarser levels
    levels = [bp.open_source(found.path, str(number)) for number in range(len(found.levels))]
    assert plan.output_bytes == sum(level.nbytes for level in levels)
    bare = {stage.name for stage in plan.stages if not stage.runs}
    assert bare <= {"multicut", "agglomerate"}
    for stage in plan.stages:
        for run in stage.runs:
            assert run.promised_bytes > 0
            assert all(part.n_blocks > 0 for part in run.stages)
    assert plan.memory_bytes == max(run.promised_bytes for stage in plan.stages for run in stage.runs)
    assert plan.scratch_bytes > 0


def test_a_plan_refuses_what_the_run_would(files: Path, tmp_path: Path) -> None:
    source = bp.open_source(files / "in.zarr", "raw")
    (tmp_path / "a.ome.zarr").mkdir()
    (tmp_path / "a.ome.zarr" / "other").touch()
    with pytest.raises(ParameterError, match="exists"):
        segment(source, tmp_path / "a.ome.zarr", plan=True)


class TestCommands:
    def run(self, *arguments: Any) -> str:
        result = CliRunner(mix_stderr=False).invoke(main, list(map(str, arguments)))
        assert result.exit_code == 0, (result.stdout, result.stderr, result.exception)
        return result.stdout

    def test_segment(self, files: Path, tmp_path: Path) -> None:
        call = ["segment", files / "in.zarr/raw", tmp_path / "a.ome.zarr", "--dry-run"]
        told = self.run(*call)
        for part in ("watershed", "MiB memory", "pyramid" if "pyramid" in told else "seeds", "free there"):
            assert part in told
        found = json.loads(self.run(*call, "--json"))
        assert [stage["name"] for stage in found["stages"]][:3] == ["smooth", "threshold", "seed mask"]
        assert found["memory_bytes"] > 0
        assert not list(tmp_path.iterdir())

    def test_evaluate(self, files: Path) -> None:
        call = ["evaluate", files / "in.zarr/raw", files / "in.zarr/raw", "--dry-run"]
        assert "blocks of" in self.run(*call)
        assert json.loads(self.run(*call, "--json"))["stages"][0]["bytes_read"] == 2 * np.prod(SHAPE)
