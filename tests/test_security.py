"""What somebody who wants to harm may lay in a run folder, spec, project or file: the rows of SECURITY.md."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import (
    AccessError,
    BioimageError,
    FormatError,
    MemoryBudgetError,
    ParameterError,
    RunnerError,
    RunningError,
    SourceNotFoundError,
    StorageError,
)
from bioimage_py.io import create_array
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.run_folder import RunState
from bioimage_py.runner.control.attach import attach
from bioimage_py.runner.control.cancel import cancel_run, forget_run
from bioimage_py.runner.control.inspect import find_runs, report_of, status_of
from bioimage_py.runner.execute import resume_run
from bioimage_py.runner.lease.ownership import end_workers
from bioimage_py.runner.ledger.encoding import dump_record, load_record
from bioimage_py.runner.ledger.records import Record
from bioimage_py.runner.planning.plan_file import kept_plan
from bioimage_py.runner.planning.work_list import Batch
from bioimage_py.sources import SourceSpec, from_spec, open_source, register_callable
from bioimage_py.sources.stores.location import locate
from bioimage_py.system import owner
from bioimage_py.system.frames import frame
from bioimage_py.system.json_text import parse_json
from bioimage_py.system.processes import identify
from bioimage_py.wrapper import SimpleTransformationSource

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def _fails_late(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    if block.id == 3:
        raise ValueError("no")
    outputs[0][bp.to_roi(block)] = 1


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of an unfinished run."""
    out = create_array(tmp_path / "v.zarr", "", shape=(40,), chunks=(10,), dtype="u1")
    with pytest.raises(RunnerError) as error:
        bp.map_blocks(_fails_late, [out], [out], block_shape=10, retries=0, progress=False)
    return Path(str(error.value.tmp_folder))


def give(path: Path, user: int = NOBODY) -> None:
    """Make a folder and all in it another user's."""
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.lchown(Path(folder, name), user, user)
    os.chown(path, user, user)


def calls_that_look(run: Path) -> Iterator[Any]:
    yield from (["runs", "list", str(run.parent)], ["runs", "show", str(run)], ["runs", "list", "--json", str(run)])
    yield ["runs", "report", str(run), str(run.parent.parent / "r.jsonl")]


def test_looking_at_runs_opens_no_pickle(run: Path, tmp_path: Path) -> None:
    evil = frame(pickle.dumps(Evil(tmp_path / "harmed")))
    failure = {"pickle": base64.b64encode(pickle.dumps(Evil(tmp_path / "harmed"))).decode(), "error": "x"}
    record = Record("s0w9", Batch(0, 0, 1))
    told = json.loads(dump_record(record, None).partition(b"\n")[0])
    words = dict.fromkeys(("region", "worker", "traceback", "cause", "environment"), "t")
    told["failed"] = {"group": 0, "blocks": [0], "attempt": 0, "failures": [{**failure, **words, "block_id": 0}]}
    told["failed"]["failures"][0] |= {"attempt": 0}
    first = frame(json.dumps({**identify(), "synced": True}).encode())
    (run / "journal/0/s0w8").write_bytes(first + frame(json.dumps(told).encode() + b"\n"))
    (run / "plan.pkl").write_bytes(evil)
    (run / "part.pkl").write_bytes(evil)
    for path in (run / "results/0").glob("*"):
        path.write_bytes(evil)
    for call in calls_that_look(run):
        done = CliRunner().invoke(main, call)
        assert done.exit_code == 0, (call, done.output)
    for name in ("s0w7", ".limits"):
        (run / "journal/0" / name).write_bytes(evil)
    for call in calls_that_look(run):
        CliRunner().invoke(main, call)
    error = outcome(report_of, run)
    assert not isinstance(error, BioimageError) or error.remedy
    (run / "journal/0/.limits").unlink()
    CliRunner().invoke(main, ["runs", "clean", str(run), "--yes"])
    assert not run.exists()
    assert not (tmp_path / "harmed").exists()


def outcome(call: Any, *arguments: Any) -> Any:
    """What a call returns, or the error of the package that it raises."""
    try:
        return call(*arguments)
    except BioimageError as error:
        return error


@given(st.binary(max_size=60), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_what_is_no_record_is_refused_in_one_way(noise: bytes, cut: int) -> None:
    record = Record("s0w0", Batch(0, 0, 1, key=(2**60, 3)), ended=True)
    record.ids.extend([1, 2**62])
    record.seconds.extend([0.5, 1.0])
    data = dump_record(record, 7)
    read, offset = load_record(data, "s0w0", 0, opened=False)
    assert (read.ids, read.seconds, read.batch.key, offset) == (record.ids, record.seconds, (2**60, 3), 7)
    for damaged in (data[: len(data) - 1 - cut], noise, b"x" + noise + data, data.replace(b"ended", b"endex")):
        with pytest.raises(ValueError):
            load_record(damaged, "s0w0", 0, opened=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", "[" * 100_000),
        ("run.json", "{}"),
        ("run.json", '{"run": 1}'),
        ("plan.json", '{"stages": [{"name": 1, "kind": "blocks", "blocks": "x"}]}'),
        ("plan.json", '{"stages": [{"name": "a", "kind": "blocks", "blocks": 1e300}]}'),
        ("plan.json", '{"a":' * 50_000),
        ("events.jsonl", '{"event": 1}\n[1]\n' + "[" * 100_000),
    ],
)
def test_absurd_descriptions_of_runs_are_damaged_not_a_crash(run: Path, name: str, text: str) -> None:
    (run / name).write_text(text)
    for look in (status_of, report_of, lambda folder: find_runs([folder])):
        error = outcome(look, run)
        if isinstance(error, BioimageError):
            assert "is damaged" in str(error)
            assert error.remedy


def test_a_pipe_or_a_huge_file_in_place_of_a_description_is_not_read(run: Path) -> None:
    (run / "run.json").unlink()
    os.mkfifo(run / "run.json")
    with pytest.raises(StorageError, match="is damaged"):
        status_of(run)
    (run / "run.json").unlink()
    with open(run / "run.json", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(StorageError, match="is damaged"):
        status_of(run)


@pytest.mark.parametrize("field", ["run", "pid", "sessions"])
def test_a_run_that_names_what_lies_elsewhere_is_damaged(run: Path, field: str) -> None:
    state = json.loads((run / "run.json").read_text())
    if field == "pid":
        state["driver"]["pid"] = "1/../self"
    else:
        state[field] = "../../elsewhere"
    (run / "run.json").write_text(json.dumps(state))
    with pytest.raises(StorageError, match="is damaged"):
        RunState.read(run)


def opening(run: Path) -> list[Any]:
    """All that opens a plan, or acts on what a run folder says."""
    return [lambda: kept_plan(run), lambda: resume_run(run), lambda: attach(run), lambda: forget_run(run)]


@root_only
@pytest.mark.parametrize("what", ["all", "plan.pkl", "results", "workers", "journal/0/.limits"])
def test_what_another_user_has_put_there_is_not_opened(run: Path, what: str) -> None:
    give(run) if what == "all" else os.chown(run / what, NOBODY, NOBODY)
    for call in (*opening(run), lambda: cancel_run(run, force=True)):
        with pytest.raises((AccessError, bp.errors.ConfigError)) as error:
            call()
        assert error.value.remedy
    with pytest.raises(AccessError, match="belongs to") as refused:
        kept_plan(run)
    assert owner.TRUST in refused.value.remedy
    assert run.exists()


@root_only
@pytest.mark.slow
def test_the_same_call_goes_on_with_nobody_elses_run(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # what lies in the user's is none of this test's
    monkeypatch.chdir(tmp_path)
    give(run)
    out = open_source(tmp_path / "v.zarr", mode="r+")
    for resume in ("auto", "never", str(run)):
        with pytest.raises(AccessError, match="belongs to"):
            bp.map_blocks(_fails_late, [out], [out], block_shape=10, retries=0, progress=False, resume=resume)
    assert CliRunner().invoke(main, ["runs", "clean", "--older", "0", "--yes"]).exit_code == 0
    assert run.exists(), "what is not one's own is passed over"


@root_only
def test_who_trusts_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(run)
    monkeypatch.setenv(owner.TRUST, f"/nowhere{os.pathsep}{run.parent}")
    assert kept_plan(run).stages
    monkeypatch.setenv(owner.TRUST, str(run) + "x")
    with pytest.raises(AccessError):
        kept_plan(run)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o775])
@pytest.mark.parametrize("part", ["", "journal", "results/0", "undo", "slurm"])
def test_what_others_can_write_is_not_opened(run: Path, part: str, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_private", lambda gid: False)
    (run / part).mkdir(exist_ok=True)
    (run / part).chmod(mode)
    with pytest.raises(AccessError, match="can be written by") as error:
        kept_plan(run)
    assert error.value.remedy.startswith("if nobody has: chmod -R go-w ")
    subprocess.run(["chmod", "-R", "go-w", run], check=True)
    assert kept_plan(run).stages


def test_a_group_of_ones_own_may_write(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_private", lambda gid: gid == run.stat().st_gid)
    run.chmod(0o775)
    assert kept_plan(run).stages


def test_folders_above_may_be_shared_if_others_cannot_rename_in_them(run: Path) -> None:
    for above, mode in ((run.parent, 0o1777), (run.parent, 0o755)):
        above.chmod(mode)
        assert kept_plan(run).stages
    run.parent.chmod(0o777)
    with pytest.raises(AccessError, match="everybody"):
        kept_plan(run)


@pytest.mark.parametrize("umask", [0o000, 0o002])
def test_a_run_can_be_written_by_its_user_only_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    code = f"""
import os; os.umask({umask})
import bioimage_py as bp
from bioimage_py.io import create_array
def fails(block, inputs, outputs, mask):
    if block.id == 3: raise ValueError("no")
    outputs[0][bp.to_roi(block)] = 1
    return int(block.id)
out = create_array("v.zarr", "", shape=(40,), chunks=(10,), dtype="u1")
try: bp.map_blocks(fails, [out], [out], block_shape=8, retries=0, progress=False, has_return_val=True)
except bp.errors.RunnerError as error: print(error.tmp_folder)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    run = Path(done.stdout.strip())
    seen = [run, *(path for path in run.iterdir() if path.is_dir() or path.suffix in (".pkl", ".json"))]
    seen += [path for part in ("journal", "results", "workers", "undo") for path in (run / part).rglob("*")]
    assert len(seen) > 12
    for path in seen:
        of_data = path.is_file() and {"kept", "view"} & set(path.parts)  # links to the chunks
        assert of_data or path.is_symlink() or not path.stat().st_mode & 0o022, path
    root = run.parent.stat().st_mode
    assert bool(root & stat.S_ISVTX) == (umask == 0)
    owner.check_own(run)


def test_only_workers_are_ended(run: Path) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    worker = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)  # bioimage_py.runner.worker.process"]
    )
    try:
        for process in (victim, worker):
            about = {**identify(), "pid": process.pid, "start": _start(process.pid)}
            (run / "workers" / f"s9w{process.pid}.json").write_text(json.dumps(about))
        with pytest.raises(RunningError, match="does not look like one"):
            end_workers(run)
        (run / f"workers/s9w{victim.pid}.json").unlink()
        end_workers(run)
        assert worker.wait(10) == -signal.SIGKILL
        assert victim.poll() is None
        if os.geteuid() == 0:
            planted = run / f"workers/s9w{victim.pid}.json"
            planted.write_text(json.dumps({**identify(), "pid": victim.pid, "start": _start(victim.pid)}))
            os.chown(planted, NOBODY, NOBODY)
            end_workers(run)
            assert victim.poll() is None
    finally:
        for process in (victim, worker):
            process.kill()
            process.wait()


def _start(pid: int) -> str:
    from bioimage_py.system.processes import _start_of

    for _ in range(100):
        if b"time.sleep" in Path(f"/proc/{pid}/cmdline").read_bytes():
            break
        time.sleep(0.01)
    return _start_of(pid)


def test_cleaning_removes_no_file_but_its_own_stamps(run: Path, tmp_path: Path) -> None:
    victims = [tmp_path / "victim", tmp_path / "d" / run.name]
    for victim in victims:
        victim.parent.mkdir(exist_ok=True)
        victim.write_text("something else")
    state = json.loads((run / "run.json").read_text())
    own = [Path(told["url"], ".bioimage_py.runs", run.name) for told in state["stamped"]]
    assert own
    assert all(stamp.exists() for stamp in own)
    state["stamped"] += [{"url": str(victim)} for victim in victims] + [{"url": "/nowhere\0"}, {"url": str(tmp_path)}]
    (run / "run.json").write_text(json.dumps(state))
    forget_run(run)
    assert all(victim.exists() for victim in victims)
    assert not any(stamp.exists() for stamp in own)


def test_texts_of_a_run_move_no_cursor(run: Path) -> None:
    plan = json.loads((run / "plan.json").read_text())
    plan["stages"][0]["name"] = "\x1b[2Jevil\x9b\x07"
    (run / "plan.json").write_text(json.dumps(plan))
    for call in (["runs", "list", str(run)], ["runs", "show", str(run)]):
        text = CliRunner().invoke(main, call).output
        assert "evil" in text
        assert not set(text) & {"\x1b", "\x9b", "\x07"}


def wrapper(name: Any, path: str = "a.zarr") -> dict[str, Any]:
    inner = {"kind": "file", "path": path, "internal_path": "", "params": {"format": "zarr"}}
    params = {"class": {"__callable__": "bioimage_py.wrapper:SimpleTransformationSource"}, "transformation": name}
    return {"kind": "wrapper", "params": params, "wrapped": inner}


@pytest.mark.parametrize(
    "name",
    [
        "builtins:eval",
        "os:system",
        "bioimage_py.sources.spec:load_qualified",
        "bioimage_py.sources.spec:importlib.import_module",
        "bioimage_py.runner.planning.plan_file:read_plan_file",
        "bioimage_py:open_source",
        "numpy:load",
        "numpy:fromfile",
        "numpy.lib.npyio:load",
        "numpy:add.reduce",
        "numpy.f2py:compile",
        "scipy.special:numpy",
        "antigravity:fly",
        ":",
        "numpy",
        7,
        None,
        ["builtins:eval"],
    ],
)
def test_a_spec_names_no_code_but_what_is_listed(name: Any) -> None:
    before = set(sys.modules)
    for value in ({"__callable__": name}, {"__callable__": name, "more": 1}, [{"deep": {"__callable__": name}}]):
        for spec in (wrapper(value), {"kind": "x", "params": {"s": {"__spec__": wrapper(value)}}}):
            with pytest.raises(FormatError) as error:
                SourceSpec.from_json(json.dumps(spec))
            assert "allow_pickle=True" in error.value.remedy
    assert "antigravity" not in set(sys.modules) - before
    with pytest.raises(FormatError):
        SourceSpec.from_json({"kind": "wrapper", "params": {"class": {"__callable__": name}}})


def harmless(block: np.ndarray) -> np.ndarray:
    return block + 1


def test_what_is_listed_or_registered_opens(tmp_path: Path) -> None:
    create_array(tmp_path / "a.zarr", "", shape=(4,), dtype="u1", chunks=(2,))[:] = 4
    for name in (
        "numpy:sqrt",
        "scipy.special:expit",
        "numpy:float32",
        "_operator:neg",
    ):
        spec = SourceSpec.from_json(wrapper({"__callable__": name}, str(tmp_path / "a.zarr")))
        assert from_spec(spec)[:].shape == (4,)
    source = SimpleTransformationSource(open_source(tmp_path / "a.zarr"), harmless)
    with pytest.raises(FormatError, match="harmless"):
        SourceSpec.from_json(source.to_spec().to_json())
    register_callable(harmless)
    assert from_spec(SourceSpec.from_json(source.to_spec().to_json()))[:].tolist() == [5] * 4
    with pytest.raises(ParameterError):
        register_callable(lambda block: block)


def test_a_spec_sends_no_variable_to_a_server() -> None:
    options = {"headers": {"X": "${HOME}"}}
    spec = {"kind": "file", "path": "https://localhost/a.zarr", "params": {"storage_options": options}}
    with pytest.raises(FormatError, match="environment"):
        SourceSpec.from_json(spec)
    assert SourceSpec.from_json(spec, allow_pickle=True).path == "https://localhost/a.zarr"


@pytest.mark.parametrize("depth", [300, 5_000, 200_000])
def test_nesting_ends_in_an_error(depth: int, tmp_path: Path) -> None:
    with pytest.raises((FormatError, ParameterError)):
        from_spec(SourceSpec.from_json('{"kind":"wrapper","wrapped":' * depth + "null" + "}" * depth))
    with pytest.raises(FormatError):
        SourceSpec.from_json('{"kind":"x","params":{"a":' + "[" * depth * 20 + "]" * depth * 20 + "}}")
    (tmp_path / "d.zarr").mkdir()
    for name in ("zarr.json", ".zattrs", ".zarray", "attributes.json"):
        (tmp_path / "d.zarr" / name).write_text('{"a":' * depth)
    with pytest.raises(BioimageError):
        open_source(tmp_path / "d.zarr")
    (tmp_path / "info").write_text("[" * depth)
    with pytest.raises(BioimageError):
        bp.open_cloudvolume(str(tmp_path))
    with pytest.raises(ValueError, match=r"nested|Expecting"):
        parse_json("[" * depth)


def metadata(path: Path, shape: list[int], chunks: list[int], compressor: Any = None) -> Path:
    path.mkdir()
    about = {"zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": "|u1", "compressor": compressor}
    (path / ".zarray").write_text(json.dumps({**about, "fill_value": 9, "order": "C", "filters": None}))
    return path


def test_arrays_that_cannot_be_are_refused_or_cost_nothing(tmp_path: Path) -> None:
    assert open_source(metadata(tmp_path / "a.zarr", [10**15], [10**6]))[10**15 - 2 :].tolist() == [9, 9]
    with pytest.raises(MemoryError):
        open_source(tmp_path / "a.zarr")[:]
    with pytest.raises(MemoryBudgetError, match="One chunk of"):
        open_source(metadata(tmp_path / "b.zarr", [10**15], [10**14]))
    for name, shape, compressor in (("c.zarr", [-5], None), ("d.zarr", [8], {"id": "zlib", "cname": 3})):
        with pytest.raises(BioimageError):
            open_source(metadata(tmp_path / name, shape, [4], compressor))


@pytest.mark.parametrize("codec", ["zlib", "gzip", "blosc"])
def test_a_chunk_that_swells_is_damaged(codec: str, tmp_path: Path) -> None:
    numcodecs = pytest.importorskip("numcodecs")
    data = np.zeros(2**26, "u1")
    made = {"zlib": numcodecs.Zlib, "gzip": numcodecs.GZip, "blosc": numcodecs.Blosc}[codec]().encode(data)
    options = {"cname": "lz4", "clevel": 1, "shuffle": 1} if codec == "blosc" else {"level": 1}
    array = metadata(tmp_path / "a.zarr", [4], [4], {"id": codec, **options})
    (array / "0").write_bytes(made)
    with pytest.raises(BioimageError):
        open_source(array)[:]


def test_a_picture_of_absurd_size_is_not_allocated(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "t.tif", np.zeros((4, 4), "u1"))
    data = bytearray((tmp_path / "t.tif").read_bytes())
    start = int.from_bytes(data[4:8], "little")
    for index in range(int.from_bytes(data[start : start + 2], "little")):
        entry = start + 2 + 12 * index
        if int.from_bytes(data[entry : entry + 2], "little") in (256, 257):
            data[entry + 2 : entry + 4] = (4).to_bytes(2, "little")
            data[entry + 8 : entry + 12] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "t.tif").write_bytes(data)
    with pytest.raises((BioimageError, MemoryError, ValueError)):
        open_source(tmp_path / "t.tif")[:]


def files(folder: Path) -> set[Path]:
    return {Path(at, name) for at, _, names in os.walk(folder) for name in names}


@pytest.mark.parametrize("name", ["x\\y.zarr", "x\\..\\y.zarr", "nul\0.zarr", "\udcff.zarr", "l" * 300 + ".zarr"])
def test_a_path_is_written_where_it_says_or_not_at_all(name: str, tmp_path: Path) -> None:
    create_array(tmp_path / "x/y.zarr", "", shape=(4,), dtype="u1", chunks=(2,))[:] = 7
    before = files(tmp_path)
    for call in (
        lambda: create_array(tmp_path / name, "", shape=(6,), dtype="u2", chunks=(3,), overwrite=True),
        lambda: open_source(str(tmp_path / name), mode="w", shape=(6,), dtype="u2", chunks=(3,)),
        lambda: create_array(tmp_path / "x", name, shape=(6,), dtype="u2", chunks=(3,), overwrite=True),
    ):
        with pytest.raises(BioimageError) as error:
            call()
        assert error.value.remedy
    assert files(tmp_path) == before
    assert open_source(tmp_path / "x/y.zarr")[:].tolist() == [7] * 4


@pytest.mark.parametrize("key", ["..", "../out", "a/../../out", "a/./b", "a\\b", "nul\0", "k|zip:"])
def test_a_key_leads_out_of_no_container(key: str, tmp_path: Path) -> None:
    create_array(tmp_path / "out", "", shape=(4,), dtype="u1", chunks=(2,), format="zarr")[:] = 7
    create_array(tmp_path / "g.zarr", "a", shape=(4,), dtype="u1", chunks=(2,))
    before = files(tmp_path)
    with pytest.raises(BioimageError):
        create_array(tmp_path / "g.zarr", key, shape=(6,), dtype="u2", chunks=(3,), overwrite=True)
    with pytest.raises(BioimageError):
        open_source(tmp_path / "g.zarr", key, mode="r+")
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["a%2fb", "..%2f..", " k ", "k?x=1", "k#", "a::b", "a:b", "é", "-rf", "$HOME", "~"])
def test_odd_names_are_names(name: str, tmp_path: Path) -> None:
    for path, key in ((tmp_path / f"{name}.zarr", ""), (tmp_path / "g.zarr", name)):
        create_array(path, key, shape=(4,), dtype="u1", chunks=(2,))[:] = 7
        assert open_source(path, key)[:].tolist() == [7] * 4
    assert {path.relative_to(tmp_path).parts[0] for path in files(tmp_path)} == {f"{name}.zarr", "g.zarr"}


def test_places_in_stores_are_left_by_no_name(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    place = locate(tmp_path / "a")
    for name in ("../secret", "b/../../secret", "..\\secret"):
        for call in (place.read, place.__truediv__, place.delete, lambda name: place.write(name, b"x")):
            with pytest.raises(ParameterError):
                call(name)
    assert not place.exists(str(tmp_path / "secret"))
    assert place.read(str(tmp_path / "secret")) is None, "a name that begins with a slash is one in the place"


@pytest.mark.parametrize(
    "kind", ["absolute", "traversal", "backslash", "hidden", "empty", "long", "nul", "not a document"]
)
def test_a_pending_commit_stays_in_its_project(kind: str, tmp_path: Path) -> None:
    Project.create(ProjectSettings(name="n"), tmp_path / "p")
    victim = tmp_path / "victim.json"
    victim.write_text("{}")
    name = {
        "absolute": str(tmp_path / "victim"),
        "traversal": "../../victim",
        "backslash": "..\\victim",
        "hidden": ".x",
        "empty": "",
        "long": "l" * 300,
        "nul": "a\0b",
        "not a document": "plain",
    }[kind]
    (tmp_path / "p/transactions").mkdir()
    for value in (None, {"hacked": 1}, "text"):
        if kind == "not a document" and value != "text":
            continue
        (tmp_path / "p/transactions/0.json").write_text(json.dumps({"fine": {"schema": 1}, name: value}))
        with pytest.raises(FormatError) as error:
            Project.load(tmp_path / "p")
        assert error.value.remedy
    assert victim.read_text() == "{}"
    assert not (tmp_path / "p/descriptors/fine.json").exists(), "none of it is put in place"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = Project.create(ProjectSettings(name="n"), tmp_path / "p")
    made.add_labelmap_layer("cells")
    made.add_boundingbox_layer("boxes")
    created = made.add_descriptor(np.zeros((4, 5, 6), "u1"), "a", axes=("z", "y", "x"))
    made.save()
    made.descriptors[0].labelmap_layers["cells"].save_new_data(np.ones((4, 5, 6), "u1"))
    assert created.name == "a"
    return tmp_path / "p"


def rewrite(path: Path, change: Any) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_ids_and_versions_lead_out_of_no_project(project: Path, tmp_path: Path) -> None:
    (descriptor,) = (project / "descriptors").glob("*.json")
    original = descriptor.read_text()
    (tmp_path / "outside.zarr").mkdir()
    for version in ("../../../../outside", str(tmp_path / "outside"), "a/b", "a\\b", ".x"):

        def change(document: dict[str, Any], version: str = version) -> None:
            (layer,) = document["layers"].values()
            layer["version"] = version

        rewrite(descriptor, change)
        layer = Project.load(project).descriptors[0].labelmap_layers["cells"]
        for call in (layer.load, layer.path, lambda layer=layer: layer.draft("d")):
            with pytest.raises(FormatError):
                call()
        descriptor.write_text(original)
    for bad in ("../../x", "/x", "a\\b", ""):
        settings = (project / "project.json").read_text()
        rewrite(project / "project.json", lambda d, bad=bad: d["layers"].update({bad: d["layers"].popitem()[1]}))
        with pytest.raises(FormatError):
            Project.load(project)
        (project / "project.json").write_text(settings)
    assert Project.load(project).descriptors[0].labelmap_layers["cells"].load() is not None


@pytest.mark.parametrize(
    "part", ["descriptors", "transactions", "locks", "history", "annotations", "images", "thumbnails"]
)
def test_a_link_leads_out_of_no_project(project: Path, part: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.move(project / part, outside) if (project / part).exists() else outside.mkdir()
    (project / part).symlink_to(outside)
    before = files(outside)
    with pytest.raises(FormatError, match="out of the project"):
        Project.load(project)
    assert files(outside) == before


def test_pruning_follows_no_link(project: Path, tmp_path: Path) -> None:
    identifier = Project.load(project).descriptors[0].identifier
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/keep.txt").write_text("k")
    (project / "annotations" / identifier / "layer-x").symlink_to(tmp_path / "outside")
    (project / "annotations/gone").symlink_to(tmp_path / "outside")
    error = outcome(lambda: Project.load(project).prune(older_than=-10))
    assert not isinstance(error, BioimageError) or "out of the project" in str(error)
    assert (tmp_path / "outside/keep.txt").exists()


def test_damaged_side_files_of_a_project_are_said_or_passed_over(project: Path) -> None:
    identifier = Project.load(project).descriptors[0].identifier
    (project / "index.json").write_text(json.dumps({identifier: [1, 2, 3]}))
    assert Project.load(project).descriptors.names == ["a"]
    (project / "index.json").write_text("[" * 100_000)
    assert Project.load(project).descriptors.names == ["a"]
    (project / "locks").mkdir(exist_ok=True)
    for text in ("[" * 100_000, "3", '{"token": 1}'):
        (project / "locks" / f"{identifier}.json").write_text(text)
        with pytest.raises(StorageError, match="damaged"):
            _ = Project.load(project).descriptors[0].is_locked
    (project / "project.json").write_text("[" * 100_000)
    with pytest.raises(FormatError):
        Project.load(project)


@pytest.mark.parametrize("name", ["../secret.tif", "/etc/hostname", "a/../../secret.tif"])
def test_coco_names_images_of_its_folder_only(name: str, project: Path, tmp_path: Path) -> None:
    from bioimage_py.projects.exchange.coco import import_coco

    (tmp_path / "c").mkdir()
    images, boxes = [{"id": 1, "file_name": name}], [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]
    document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "n"}]}
    (tmp_path / "c/coco.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match="lies out of"):
        import_coco(Project.load(project), tmp_path / "c/coco.json")


@pytest.mark.parametrize("name", ["here", "v.zarr", "a/b", ".hidden", "~/x", "Volume.TIF", "data.h5"])
def test_local_names_go_to_no_server(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("webknossos")
    from bioimage_py.sources.webknossos import opening

    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(opening, "_open_remote", lambda *_: pytest.fail("a server was asked"))
    with pytest.raises((SourceNotFoundError, FormatError)):
        bp.open_webknossos(name, layer_name="color")


def test_checksums_of_frames_are_no_signature(tmp_path: Path) -> None:
    data = pickle.dumps(Evil(tmp_path / "harmed"))
    assert frame(data)[4:8] == zlib.crc32(data).to_bytes(4, "little"), "anybody can make one: ownership decides"
