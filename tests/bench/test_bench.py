"""The speed harness: works run by path, checked results, process trees, targets, growth, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from speed import targets

from bioimage_py.bench import OWN, Engine, Session, Settings, check, data, expected, protocol, scaling
from bioimage_py.bench import session as session_module
from bioimage_py.bench.processes import measure
from bioimage_py.bench.scaling import Key
from bioimage_py.bench.session import Cell, Run, cell_of, hopeless
from bioimage_py.bench.table import brief, rows_of
from bioimage_py.cli import main

pytestmark = pytest.mark.long

COUNTING = """
from pathlib import Path
seen = []
def count(case):
    out = Path(case.output)
    assert not list(out.parent.iterdir())
    out.mkdir()
    out.with_name(out.name + "-log").write_text("")
    seen.append(case)
    return len(seen)
WORKS = {"count": count}
"""

ADDING = """
def good(case):
    import zarr
    raw = zarr.open_array(case.input("raw"), mode="r")
    zarr.create_array(case.output, shape=raw.shape, chunks=(32, 32, 32), dtype=raw.dtype)[:] = raw[:] + ADD
WORKS = {"copy": good}
"""


def test_two_benches_at_once_keep_apart(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = Settings(tmp_path / "one", outputs=tmp_path).place
    other = own.with_name(own.name.replace(str(os.getpid()), str(os.getppid())))
    killed = own.with_name(own.name.replace(str(os.getpid()), str(ended.pid)))
    for folder in (own, other, killed, tmp_path / "mine"):
        (folder / "large").mkdir(parents=True)
    session_module.remove_left(own)
    assert sorted(tmp_path.iterdir()) == sorted([other, tmp_path / "mine"])


def test_command_on_a_tiny_volume(tmp_path):
    arguments = ["bench", "--size", "64", "--works", "copy,statistics", "--repeats", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-6].split()[:4] == ["work", "seconds", "x", "floor"]
    works = json.loads((tmp_path / "bench.json").read_text())["works"]
    assert list(works) == ["copy", "statistics"]
    for cells in works.values():
        assert list(cells) == ["ours", "ours subprocess", "floor"]
        assert all(not cell["wrong"] and cell["wall"] > 0 and cell["cpu"] > 0 for cell in cells.values())
    assert "| copy |" in (tmp_path / "bench.md").read_text()
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*outputs*"))


def test_outputs_go_where_asked_and_nothing_else_there_goes(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    (place / "mine").write_text("data that cannot be taken again")
    arguments = ["bench", "--size", "64", "--works", "copy", "--repeats", "1", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*arguments, "--outputs", str(place)])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["machine"]["outputs"].startswith(f"below {place}")
    assert [path.name for path in place.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--works", "copy,fly", "fly; there are: copy,"), ("--size", "100", "of 32"), ("--sizes", "128,64", "rising")],
)
def test_command_refuses(tmp_path, option, value, said):
    result = CliRunner().invoke(main, ["bench", option, value, "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert said in result.output


def test_all_engines_have_works_that_are_checked():
    for engine in OWN:
        has = protocol.works_of(engine.script)
        assert [work for work in check.CHECKS if work in has] == list(has)
        if engine.name != "floor":  # of stitching and scores of objects there is no bare kernel
            assert len(has) == len(check.CHECKS)
    for script in (Path(targets.__file__).parent).glob("*_engine.py"):
        assert set(protocol.works_of(script)) <= set(check.CHECKS), script


class TestSession:
    def engine(self, folder, name, add):
        script = folder / f"{name.replace(' ', '-')}.py"
        script.write_text(ADDING.replace("ADD", str(add)))
        return Engine(name, script, "none")

    def test_a_wrong_result_is_shown_and_not_timed(self, tmp_path):
        engines = [self.engine(tmp_path, "right", 0), self.engine(tmp_path, "off by one", 1)]
        session = Session(Settings(tmp_path, size=64, works=("copy",), repeats=2), engines)
        tables = list(session.rounds())
        cells = tables[-1]["copy"]
        assert cells["right"].wall > 0
        assert len(cells["right"].walls) == 2
        assert cells["off by one"] == Cell(wrong="wrong: 262144 voxels differ", walls=(0.0,))
        assert rows_of(tables[-1])[1][-1] == "wrong: 262144 voxels differ"

    @pytest.mark.parametrize(("spent", "calls"), [(60.0, 7), (0.0, 1)])
    def test_a_short_case_is_run_again_with_nothing_left_of_the_call_before(self, tmp_path, capsys, spent, calls):
        script = tmp_path / "counts.py"
        script.write_text(COUNTING)
        case = protocol.Case("", str(tmp_path / "out" / "large"), 1, 1, 1, "").text()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol, "SPENT", spent)
            patch.setitem(sys.modules, "__main__", sys.modules["__main__"])
            protocol.main(str(script), "count", case, case)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["result"] for line in lines] == [1, 1 + calls]
        assert all(line["wall"] >= 0 for line in lines)

    def test_who_raises_is_wrong(self, tmp_path):
        script = tmp_path / "fails.py"
        script.write_text("def fail(case):\n    raise OSError('no such luck')\nWORKS = {'copy': fail}\n")
        session = Session(Settings(tmp_path), [Engine("fails", script, "none")])
        assert session.once(session.engines[0], "copy", 64, 1) == Run(wrong="fails: OSError: no such luck")

    def test_who_takes_many_times_as_long_is_ended_and_the_first_engine_is_not(self, tmp_path, monkeypatch):
        for name, value in (("ENDED", 0.0), ("LEAST", 0.01)):
            monkeypatch.setattr(session_module, name, value)
        engines = [self.engine(tmp_path, "first", 0), self.engine(tmp_path, "other", 0)]
        session = Session(Settings(tmp_path, size=64, works=("copy",), repeats=1), engines)
        cells = list(session.rounds())[-1]["copy"]
        assert cells["first"].wall > 0
        assert cells["other"].wrong == "fails: ended after 0 s"

    def test_who_was_settled_in_an_earlier_session_does_not_run(self, tmp_path):
        engines = [self.engine(tmp_path, name, 0) for name in ("first", "near", "far")]
        before = {"copy": {"first": Cell(wall=1), "near": Cell(wall=2), "far": Cell(wall=30)}}
        settings = Settings(tmp_path, size=64, works=("copy",), repeats=2)
        cells = list(Session(settings, engines, before=before).rounds())[-1]["copy"]
        assert {name: len(cell.walls) for name, cell in cells.items()} == {"first": 2, "near": 2}

    def test_medians(self):
        runs = [Run(wall=wall, start=1, cpu=wall + 1, peak=5, driver=2) for wall in (3.0, 1.0, 8.0)]
        assert cell_of(runs) == Cell(wall=3.0, start=1, cpu=4.0, peak=5, driver=2, walls=(3.0, 1.0, 8.0))
        assert cell_of([*runs, Run(wrong="bad")]).wrong == "bad"

    def test_hopeless(self):
        cells = {"ours": Cell(wall=3), "slow": Cell(wall=31), "slower": Cell(wall=29), "wrong": Cell(wrong="x")}
        assert [name for name in cells if hopeless(name, cells)] == ["slow", "wrong"]


def test_brief():
    cells = {
        "ours": Cell(wall=0.5, cpu=1, peak=80),
        "floor": Cell(wall=0.4),
        "dask": Cell(wall=2),
        "daisy": Cell(wrong="fails: x"),
    }
    rows = brief({"copy": cells, "relabel": {"ours": Cell(wrong="wrong: y"), "dask": Cell(wall=3)}})
    assert rows == [
        ["work", "seconds", "x floor", "CPU s", "MiB", "dask", "daisy"],
        ["copy", "0.50", "1.25x", "1.0", "80", "4.00x", "fails"],
        ["relabel", "wrong", "wrong", "", "", "–", "–"],
    ]


class TestMeasure:
    def test_counts_grandchildren(self, tmp_path):
        burn = (
            "import time; held = bytearray(60 << 20); t = time.process_time()\nwhile time.process_time() < t + .5: pass"
        )
        child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
        script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('{{\"wall\": 1}}')"
        found = measure([sys.executable, "-c", script], 60, tmp_path)
        assert found.cases == [{"wall": 1}]
        assert not found.error
        assert found.cpu >= 0.5
        if Path("/proc").is_dir():
            assert found.peak > 60
            assert 0 < found.driver < 60

    def test_ends_what_takes_too_long_with_its_children(self, tmp_path):
        child = "import os, pathlib, time; pathlib.Path('child').write_text(str(os.getpid())); time.sleep(60)"
        script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
        found = measure([sys.executable, "-c", script], 1.0, tmp_path)
        assert found.error.endswith("ended after 1 s")
        pid = (tmp_path / "child").read_text()
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    def test_keeps_settings_of_the_caller_out(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", "/nowhere")
        monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", "/nowhere")
        code = "import os, json; print(json.dumps([k for k in os.environ if k.startswith(('PYTHON', 'BIO'))] or {}))"
        assert measure([sys.executable, "-c", code], 60, tmp_path).cases == [{}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    names = ["raw", "binary", "labels", "objects", "table"]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BIOIMAGE_PY_TEST_DATA", raising=False)  # a corner of the real volume is one object
        return data.make(tmp_path_factory.mktemp("bench"), 64, 16, names)


class TestExpected:
    @pytest.fixture(autouse=True)
    def _thin_slabs(self, monkeypatch):
        monkeypatch.setattr(data, "SLAB", 24)

    def test_components_of_slabs_are_those_of_the_whole(self, folder):
        import cc3d
        import fastremap

        for name, connectivity in (("binary", 6), ("binary", 26), ("objects", 6)):
            array = expected.stored(folder, name)[:].astype(np.uint32)
            whole = fastremap.renumber(cc3d.connected_components(array, connectivity=connectivity))[0]
            assert whole.max() > 5
            assert np.array_equal(expected.components(folder, name, connectivity)[:], whole)

    def test_smoothing_of_slabs_is_that_of_the_whole(self, folder):
        from scipy import ndimage

        raw = expected.stored(folder, "raw")[:].astype(np.float32)
        whole = ndimage.gaussian_filter(raw, 2.0, truncate=3, mode="mirror")
        assert np.allclose(expected.gaussian(folder, 2.0)[:], whole, atol=1e-3)

    def test_levels(self, folder):
        raw = expected.stored(folder, "raw")[:]
        mean = raw.reshape(16, 4, 16, 4, 16, 4).mean(axis=(1, 3, 5))
        assert np.array_equal(expected.level(folder, "raw", "mean", 2)[:], mean)
        assert np.array_equal(expected.level(folder, "raw", "stride", 2)[:], raw[::4, ::4, ::4])

    def test_values(self, folder):
        raw, labels = (expected.stored(folder, name)[:] for name in ("raw", "labels"))
        assert expected.statistics(folder) == [pytest.approx(raw.mean()), float(raw.max())]
        assert expected.unique(folder) == [len(np.unique(labels)), int(labels.sum())]


class TestCheck:
    def wrong(self, folder, work, array, result=None):
        return check.CHECKS[work].wrong(folder, lambda key: array, result)

    def test_labels(self, folder):
        right = expected.components(folder, "binary", 6)[:]
        assert self.wrong(folder, "label 6", right * np.uint32(3)) == ""
        joined = np.where(right == 2, 1, right)
        assert self.wrong(folder, "label 6", joined) == "components are joined"
        split = right.copy()
        split[np.unravel_index(np.flatnonzero(right == right.max())[0], right.shape)] = right.max() + 1
        assert self.wrong(folder, "label 6", split) == "another partition"
        assert self.wrong(folder, "label 6", np.where(right == 3, 0, right)) == "components are joined"

    def test_smoothing(self, folder):
        right = expected.gaussian(folder, 2.0)[:]
        assert self.wrong(folder, "gaussian 2", right + 0.2) == ""
        right[30, 30, 30] += 2
        assert self.wrong(folder, "gaussian 2", right) == "off by 2.00 grey levels"
        assert "shape" in self.wrong(folder, "gaussian 2", right[1:])

    def test_one_voxel_of_a_copy(self, folder):
        raw = expected.stored(folder, "raw")[:]
        raw[-1, -1, -1] ^= 1
        assert self.wrong(folder, "copy", raw) == "1 voxels differ"

    def test_basins_inside_a_mask(self, tmp_path):
        folder = data.make(tmp_path, 128, 32, ["height", "seeds", "tissue"])
        mask, right = expected.stored(folder, "tissue")[:] > 0, np.zeros((128,) * 3, np.uint64)
        right[48:80, 48:80, 48:80] = expected.basins(folder, 48, 32, "tissue")
        assert right[mask].all()
        assert not right[~mask].any()
        assert self.wrong(folder, "watershed sparse", right) == ""
        assert self.wrong(folder, "watershed sparse", right + np.uint64(1)) == "voxels outside the mask are flooded"
        assert self.wrong(folder, "watershed sparse", right * np.uint64(2)) == "seeds lost their ids"
        seeds = np.where(mask, expected.stored(folder, "seeds")[:], 0)
        assert "voxels differ from a wider" in self.wrong(folder, "watershed sparse", seeds)

    def test_values(self, folder):
        assert self.wrong(folder, "statistics", None, expected.statistics(folder)) == ""
        assert "not" in self.wrong(folder, "statistics", None, [1.0, 2.0])


def test_large_volumes_are_mirrored_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "TILE", 32)
    made = [data.make(tmp_path, size, 16, ["height"]) for size in (32, 96)]
    small, large = (zarr.open_array(folder / "height.zarr", mode="r")[:] for folder in made)
    assert np.array_equal(large[:32, :32, :32], small)
    assert np.array_equal(large[32:64, :32, 64:96], small[::-1])
    assert np.array_equal(large[:32, 32:64, :32], small[:, ::-1])


class TestTargets:
    def cells(self, **other):
        cells = {
            "ours": Cell(wall=1.0, start=0.1, driver=90),
            "ours subprocess": Cell(wall=1.5, start=0.6, driver=90),
            "floor": Cell(wall=1.3),
            "bioimage-py": Cell(wall=4.0),
            "bioimage-py subprocess": Cell(wall=5.0),
            "dask": Cell(wall=2.0),
        }
        return cells | {name.replace("_", " ").replace("bioimage py", "bioimage-py"): c for name, c in other.items()}

    def kinds(self, work, **other):
        return [miss.kind for miss in targets.missed({work: self.cells(**other)})]

    def test_all_reached(self):
        assert self.kinds("label 6") == []
        assert self.kinds("empty 1m") == []

    @pytest.mark.parametrize(
        ("work", "name", "cell", "kind"),
        [
            ("copy", "floor", Cell(wall=0.79), "floor"),
            ("label 6", "bioimage_py_subprocess", Cell(wall=2.9), "peer"),
            ("gaussian 2", "bioimage_py", Cell(wall=1.9), "peer"),
            ("watershed", "bioimage_py", Cell(wall=1.2), "peer"),
            ("relabel", "bioimage_py", Cell(wall=0.89), "slower than bioimage-py"),
            ("copy", "dask", Cell(wall=0.89), "slower than dask"),
            ("copy", "ours_subprocess", Cell(wall=1.7, start=0.6), "subprocess"),
            ("empty 1m", "ours_subprocess", Cell(wall=1.5, start=0.6, driver=201), "memory ours subprocess"),
            ("empty 1m", "bioimage_py_subprocess", Cell(wall=1.4), "slower ours subprocess"),
            ("copy", "ours_subprocess", Cell(wrong="1 voxels differ"), "right ours subprocess"),
        ],
    )
    def test_each_is_listed(self, work, name, cell, kind):
        assert self.kinds(work, **{name: cell}) == [kind]

    def test_seconds_of_empty_blocks(self):
        slow = {name: Cell(wall=cell.wall * 8.1, start=cell.start * 8.1) for name, cell in self.cells().items()}
        assert [miss.kind for miss in targets.missed({"empty 1m": slow})] == ["seconds"]

    def test_every_miss_of_every_work_is_listed(self):
        bad = self.cells(ours=Cell(wrong="wrong: 1 voxels differ"), ours_subprocess=Cell(wall=9))
        slow = self.cells(floor=Cell(wall=0.15), dask=Cell(wall=0.1), bioimage_py=Cell(wall=0.1))
        found = [str(miss) for miss in targets.missed({"copy": bad, "label 6": slow})]
        assert found == [
            "copy: ours wrong: 1 voxels differ",
            "label 6: 10.00 x the floor, at most 1.25",
            "label 6: 0.10 x as fast as bioimage-py, at least 3.0",
            "label 6: slower than bioimage-py: 1.00 s, not 0.10",
            "label 6: slower than dask: 1.00 s, not 0.10",
        ]

    def test_the_backend_that_auto_takes_is_compared_with_the_floor(self):
        near, far = {"floor": Cell(wall=1.25)}, {"floor": Cell(wall=1.1)}  # 1.2 and 1.36 x of 1.5 s on processes
        assert (self.kinds("label 6", **near), self.kinds("label 6", **far)) == ([], ["floor"])
        assert self.kinds("copy", floor=Cell(wall=0.85)) == []

    def test_a_faster_peer_always_counts(self):
        misses = targets.missed({"watershed": self.cells(bioimage_py=Cell(wall=0.89))})
        assert [miss.kind for miss in misses if not miss.bare] == ["slower than bioimage-py"]
        assert self.kinds("relabel", bioimage_py=Cell(wall=0.91)) == []

    @pytest.mark.parametrize(("floor", "bare"), [(1.0, "1.25 x"), (0.97, "1.29 x"), (0.96, ""), (0.95, "")])
    def test_a_bound_counts_where_the_bare_script_falls_short_too(self, floor, bare):
        near = {"floor": Cell(wall=floor), "bioimage_py": Cell(wall=1.25)}
        assert [miss.bare for miss in targets.missed({"watershed": self.cells(**near)})] == [bare]
        assert [miss.bare for miss in targets.missed({"copy": self.cells(**near)})] == [""]
        wrong = {**near, "floor": Cell(wrong="x")}
        assert [miss.bare for miss in targets.missed({"watershed": self.cells(**wrong)})] == [""]

    def test_a_ratio_counts_where_a_second_set_shows_it_too(self):
        copy, label = (targets.Miss(work, "floor", "2 x") for work in ("copy", "label 6"))
        wrong, later = (targets.Miss(work, "right ours", "is wrong") for work in ("copy", "label 6"))
        assert targets.confirmed([copy, label], [label]) == [label]
        assert targets.confirmed([label], [copy]) == []
        assert targets.confirmed([wrong, copy], [later]) == [wrong, later]
        assert targets.confirmed([wrong], [wrong]) == [wrong]

    def test_a_wrong_peer_is_no_rival(self):
        assert self.kinds("copy", dask=Cell(wrong="x"), bioimage_py=Cell(wrong="x")) == []

    def test_floor_does_not_bind_empty_blocks(self):
        assert self.kinds("empty 20k", floor=Cell(wall=0.01)) == []

    def test_decided(self):
        cells = self.cells(cubed=Cell(wall=1.4), daisy=Cell(wrong="x"))
        done = [name for name in cells if targets.decided("label 6", name, cells)]
        assert done == ["bioimage-py subprocess", "dask", "daisy"]


class TestScaling:
    points = {
        Key("copy", "ours", 256, 2): Cell(wall=0.5, start=0.1, peak=80),
        Key("copy", "ours", 1024, 2): Cell(wall=48.0, start=0.1, peak=90),
        Key("copy", "ours", 512, 2): Cell(wall=4.0, start=0.1, peak=85),
        Key("copy", "ours subprocess", 512, 2): Cell(wall=99.0),
        Key("label 6", "ours", 256, 2): Cell(wall=1.0),
        Key("label 6", "ours", 1024, 2): Cell(wrong="wrong: another partition"),
    }

    def test_flatness(self):
        assert scaling.nanoseconds(Key("copy", "ours", 256, 2), Cell(wall=0.5)) == pytest.approx(0.5e9 / 256**3)
        assert scaling.flatness(self.points, "copy", 2) == pytest.approx(48 / 0.5 / 64)
        assert scaling.flatness(self.points, "label 6", 2) is None
        assert scaling.flatness(self.points, "copy", 1) is None

    def test_numbers_of_workers(self):
        assert [scaling.counts_of(n) for n in (1, 2, 6)] == [[1, 2], [1, 2, 4], [1, 2, 4, 6, 12]]

    def test_rows(self):
        rows = scaling.volume_rows(self.points, (256, 512, 1024), 2)
        assert rows[1] == ["copy", "29.80 (80)", "29.80 (85)", "44.70 (90)", "**1.50**"]
        assert rows[2] == ["label 6", "59.60 (0)", "–", "wrong: another partition", "–"]

    def test_speed_up_is_beyond_start_up(self):
        points = {
            Key(work, engine, 64, n): Cell(wall=0.5 + 4 / n, start=0.5, cpu=4)
            for work in scaling.WORKER_WORKS
            for engine in ("ours", "ours subprocess")
            for n in (1, 2)
        }
        rows = scaling.worker_rows(points, 64, (1, 2))
        assert rows[1] == ["copy", "local", "4.00 (4.0) **1.00x**", "2.00 (4.0) **2.00x**"]
