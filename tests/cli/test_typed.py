"""What is typed for names, tables and functions: names like regions, ids above 2^53, files that do not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main

BIG, HUGE = 2**53 + 1, 2**64 - 5


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    labels = np.repeat(np.array([BIG, 0, BIG + 2, HUGE], "u8"), 4).reshape(4, 4)
    bp.copy(labels, "v.zarr/labels", progress=False)
    return tmp_path


def run(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner(mix_stderr=False).invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


class TestNames:
    @pytest.mark.parametrize(
        "path", ["volume[0:2].tif", "volume::0:2.tif", "v::0:1", "d::0/a.tif", "c::1.zarr/raw", "c.zarr/a::1"]
    )
    def test_a_file_or_an_array_may_be_called_like_a_region(self, here: Path, path: str) -> None:
        content = np.arange(60, dtype="u1").reshape(4, 5, 3)
        Path(path).parent.mkdir(exist_ok=True)
        if ".zarr" in path:
            bp.copy(content, path, progress=False)
        else:
            tifffile.imwrite(path, content)
        if path == "v::0:1":  # an ending is needed to read it
            Path(path).rename("v::0:1.tif")
            path = "v::0:1.tif"
        assert "4x5x3 uint8" in run("info", path).stdout
        assert run("max", path, "--quiet").stdout.strip() == "59"
        assert run("max", f"{path}::0:1,0:2", "--quiet").stdout.strip() == "5"
        assert "1x2x3 uint8 (region)" in run("info", f"{path}::0:1,0:2").stdout

    def test_zarr_python_opens_such_a_container(self, here: Path) -> None:
        bp.copy(np.ones((4, 4), "u1"), "c::1.zarr/raw", progress=False)
        source = bp.open_source("c::1.zarr", "raw")
        assert source.array.shape == (4, 4)
        assert list(bp.io.open_file("c::1.zarr")) == ["raw"]

    def test_what_is_made_there_too(self, here: Path) -> None:
        run("copy", "v.zarr/labels", "out::0:2.zarr/labels", "--quiet")
        run("convert", "v.zarr/labels", "x::1.ome.zarr", "--quiet")
        assert (bp.open_source("out::0:2.zarr/labels")[...] == bp.open_source("v.zarr/labels")[...]).all()
        assert (bp.open_source("x::1.ome.zarr")[...] == bp.open_source("v.zarr/labels")[...]).all()


class TestTables:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("t.csv", f"id\n{BIG}\n{HUGE}\n"),
            ("bare.csv", f"{BIG}\n{HUGE}\n"),
            ("two.csv", f"a,b\n{BIG},{HUGE}\n"),
            ("t.tsv", f"a\tb\n{BIG}\t{HUGE}\n"),
            ("t.json", f"[{BIG}, {HUGE}]"),
        ],
    )
    def test_ids_are_not_rounded(self, here: Path, name: str, text: str) -> None:
        Path(name).write_text(text)
        run("isin", "v.zarr/labels", "o.zarr/found", "--test-values", name, "--quiet")
        assert bp.open_source("o.zarr/found")[:, 0].tolist() == [True, False, False, True]

    def test_pairs_on_both_sides_of_the_signed_numbers(self, here: Path) -> None:
        Path("pairs.csv").write_text(f"a,b\n{BIG},{BIG}\n{HUGE},{HUGE}\n")
        told = run("hausdorff-distance", "v.zarr/labels", "v.zarr/labels", "--pairs", "pairs.csv", "--quiet").stdout
        assert str(BIG) in told
        assert str(HUGE) in told

    @pytest.mark.parametrize(
        ("text", "told"),
        [("id,to\n1,\n2,3\n", "no value in some rows of to"), ("", "is no table"), ("id\n1\n", "one column")],
    )
    def test_one_that_is_not_whole_is_refused(self, here: Path, text: str, told: str) -> None:
        Path("t.csv").write_text(text)
        result = CliRunner(mix_stderr=False).invoke(
            main, ["relabel", "v.zarr/labels", "o.zarr/x", "--labeling", "t.csv"]
        )
        assert result.exit_code in (1, 2)
        assert told in result.stderr

    def test_the_remedy_of_a_wrong_one_can_be_typed(self, here: Path) -> None:
        told = run("merge-labels", "v.zarr/labels", "o.zarr/x", "--table", "1,2,3", code=1).stderr
        assert "--table 1,2;2,5" in told
        run("merge-labels", "v.zarr/labels", "o.zarr/x", "--table", "1,2;2,5", "--quiet")


class TestFunctions:
    def call(self, code: int = 0, *more: str) -> Any:
        return run(
            "segmentation-filter", "v.zarr/labels", "o.zarr/x", "--filter-function", "numpy.py:kept", "--quiet", *more,
            code=code,
        )  # fmt: skip

    @pytest.mark.parametrize("how", ["local", pytest.param("subprocess", marks=pytest.mark.processes)])
    def test_a_file_may_have_classes_of_all_kinds_and_any_name(self, here: Path, how: str) -> None:
        Path("numpy.py").write_text(
            "from __future__ import annotations\nfrom dataclasses import dataclass\nimport numpy as np\n\n"
            "@dataclass\nclass Rule:\n    least: int = 5\n\n"
            "def kept(labels, mask=None):\n    return np.where(labels > Rule().least, labels, 0)\n\n"
            "if __name__ == '__main__':\n    raise SystemExit('not as a script')\n"
        )
        self.call(0, "--job-type", how)
        assert (bp.open_source("o.zarr/x")[...] == bp.open_source("v.zarr/labels")[...]).all()

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("import nowhere_at_all", "numpy.py cannot be run: ModuleNotFoundError"),
            ("def kept(:", "SyntaxError"),
            ("kept = 3", "no function 'kept'"),
        ],
    )
    def test_one_that_does_not_run_is_an_error_of_one_message(self, here: Path, text: str, told: str) -> None:
        Path("numpy.py").write_text(text)
        assert told in self.call(2).stderr
