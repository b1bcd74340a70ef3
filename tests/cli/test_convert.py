"""`bioimage-py convert`: from one format to another, checked, dry, and a folder at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py.cli import main
from bioimage_py.errors import BioimageError, StorageError
from bioimage_py.workflows import convert, converting
from bioimage_py.workflows.trying import small_sizes

pytest.importorskip("tifffile")
pytest.importorskip("h5py")

DATA = np.random.default_rng(6).integers(0, 4000, (6, 80, 90)).astype("u2")
KINDS = ["b.ome.zarr", "b.zarr", "b.zarr/raw", "b.n5", "b.h5", "b.tif", "b.ome.tif"]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    iio.imwrite(tmp_path / "a.tif", DATA, scale=(2, 0.5, 0.5), unit="um")
    return tmp_path / "a.tif"


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(
        main, ["convert", *map(str, arguments), *(["--quiet"] if "--json" not in arguments else [])]
    )
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.mark.parametrize("name", KINDS)
def test_every_format(name: str, scan: Path) -> None:
    out = scan.parent / name
    assert "all voxels are equal" in run(scan, out, "--verify")
    told = iio.improps(out)
    np.testing.assert_array_equal(iio.imread(out), DATA)
    assert (told.axes, told.spacing, set(told.unit)) == (("z", "y", "x"), (2, 0.5, 0.5), {"micrometer"})
    assert "--overwrite" in run(scan, out, code=1)
    run(scan, out, "--overwrite")


@pytest.mark.parametrize(
    ("source", "name"),
    [*[("a.tif", name) for name in (*KINDS, "b.nrrd", "b.nii.gz")]]
    + [(source, "b.ome.zarr") for source in ("a.zarr/raw", "a.n5", "a.h5", "a.ome.zarr")],
)
def test_what_was_said_of_an_image_goes_along(source: str, name: str, tmp_path: Path) -> None:
    said = {"id": 2**64 + 1, "steps": [{"ß": None}]}
    iio.imwrite(tmp_path / source, DATA[:2], axes="cyx", channel_names=["DAPI", "GFP"], metadata=said)
    dry = convert(bp.open_source(tmp_path / source), tmp_path / name, metadata={"more": 1}, dry_run=True)
    lost = convert(bp.open_source(tmp_path / source), tmp_path / name, metadata={"more": 1}).lost
    assert dry.lost[:1] == lost[:1] == (("channel_names",) if name in ("b.nrrd", "b.nii.gz") else ())
    found = iio.immeta(tmp_path / name)
    assert {key: found.get(key) for key in (*said, "more")} == {**said, "more": 1}
    assert iio.improps(tmp_path / name).channel_names == (None if lost else ("DAPI", "GFP"))


def test_what_an_array_has_no_place_for_is_told(tmp_path: Path) -> None:
    for dry_run in (True, False):
        told = convert(DATA, tmp_path / "a.h5", metadata={"id": 1, "none": object()}, dry_run=dry_run)
        assert told.lost == ("metadata 'none'",)


@pytest.mark.parametrize(
    ("name", "axes", "shape"),
    [
        ("a.gif", "tyx", (7, 12, 12)),
        ("a.webp", "tyx", (5, 40, 30)),
        ("a.png", "yxc", (40, 30, 3)),
        ("a.mrc", "cyx", (2, 40, 30)),
        ("a.mrc", "czyx", (2, 1, 40, 30)),
        ("a.nii", "cyx", (5, 40, 30)),
        ("a.nii", "zcyx", (5, 2, 40, 2)),
        ("a.dcm", "zyx", (1, 41, 30)),
        ("a.dcm", "cyx", (1, 41, 30)),
        ("a.mp4", "zyx", (5, 40, 40)),
        ("a.mp4", "tyx", (5, 41, 40)),
        ("a.npy", "zyx", (5, 41, 40)),
        ("a.npz", "zyx", (41, 41, 1)),
        ("a.mha", "cyx", (3, 41, 30)),
        ("a.ome.tif", "tyx", (3, 1, 30)),
        ("a.tif", "yxc", (13, 11, 3)),
        ("a.png", "zcyx", (13, 2, 5, 3)),
        ("a.jpg", "tyx", (13, 5, 3)),
        ("a.jxl", "zyx", (13, 5, 3)),
        ("a.jp2", "yxc", (13, 5, 5)),
        ("a.dcm", "czyx", (2, 13, 5, 3)),
        ("a.mha", "czyx", (2, 13, 5, 3)),
        ("a.tif", "abcdefyx", (1, 1, 1, 1, 2, 3, 5, 13)),
    ],
)
def test_a_dry_run_tells_what_the_conversion_loses(
    name: str, axes: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    pytest.importorskip("av" if name.endswith("mp4") else "pydicom" if name.endswith("dcm") else "mrcfile")
    data = np.random.default_rng(0).integers(0, 255, shape).astype("u1")

    def told(dry_run: bool) -> Any:
        try:
            return convert(data, tmp_path / name, axes=axes, dry_run=dry_run).lost
        except BioimageError as error:
            return type(error), re.sub(r"^.*/", "", str(error))

    assert told(True) == told(False)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.sets(st.integers(2, 4), max_size=2))
def test_a_small_image_stands_for_one_of_any_sizes(sizes: list[int], channels: set[int]) -> None:
    small = small_sizes([size for size in sizes if size not in channels], avoided=channels)
    assert len(set(small.values())) == len(small)
    for size, there in small.items():
        assert 1 <= there <= min(size, 2 * len(small) + 5)
        assert (there - size) % 2 == 0
        assert (there == 1) == (size == 1)


@pytest.mark.parametrize("name", ["b.zarr", "b.ome.zarr", "b.n5", "b.h5", "b.tif", "b.nrrd"])
def test_an_option_that_the_format_has_not_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="chunk: no keyword"):
        convert(DATA, tmp_path / name, chunk=(2, 64, 64))
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["p.ome.zarr", "p.tif"])
@pytest.mark.parametrize(
    ("dtype", "option", "ids"),
    [("u4", "", True), ("u8", "", True), ("u2", "", False), ("u2", "--labels", True), ("u4", "--no-labels", False)],
)
def test_ids_are_not_averaged(name: str, dtype: str, option: str, ids: bool, tmp_path: Path) -> None:
    if (dtype, name) == ("u8", "p.tif"):
        pytest.skip("OME-TIFF has no integers of 64 bits")
    labels = np.random.default_rng(0).choice(np.array([0, 5, 60000], dtype), (2, 270, 270))
    bp.copy(labels, tmp_path / "a.zarr/labels", progress=False)
    run(tmp_path / "a.zarr/labels", tmp_path / name, "--pyramid", *([option] if option else []))
    coarse = iio.imread(tmp_path / name, level=1)
    assert coarse.size < labels.size
    assert (set(np.unique(coarse)) <= {0, 5, 60000}) == ids
    said = iio.improps(tmp_path / name).is_label
    assert said == (True if option == "--labels" and name.endswith(".zarr") else None)


def test_labels_are_integers(tmp_path: Path) -> None:
    bp.copy(np.zeros((4, 4), "f4"), tmp_path / "a.zarr/raw", progress=False)
    told = run(tmp_path / "a.zarr/raw", tmp_path / "b.ome.zarr", "--labels", code=1)
    assert "--dtype uint32" in told
    assert not (tmp_path / "b.ome.zarr").exists()


@pytest.mark.parametrize("name", ["p.ome.zarr", "p.ome.tif"])
def test_pyramids(name: str, tmp_path: Path) -> None:
    data = np.random.default_rng(6).integers(0, 255, (4, 300, 310)).astype("u1")
    done = convert(data, tmp_path / name, pyramid=True, verify=True, axes="zyx")
    assert done.verified
    told = iio.improps(tmp_path / name)
    assert len(told.levels) > 1
    coarse = bp.downsample(
        data, [whole // small for whole, small in zip(data.shape, told.levels[1], strict=True)], method="mean"
    )
    np.testing.assert_array_equal(iio.imread(tmp_path / name, level=1), coarse)


def test_type_chunks_and_range(scan: Path) -> None:
    out = scan.parent / "b.zarr"
    run(scan, out, "--dtype", "uint8", "--rescale", "0:4000", "--chunks", "3,40,40", "--compression", "gzip")
    assert (iio.improps(out).dtype, iio.improps(out).chunks) == ("u1", (3, 40, 40))
    np.testing.assert_array_equal(iio.imread(out), np.rint(DATA / 4000 * 255).astype("u1"))
    assert (
        "3999" in run(scan, scan.parent / "c.tif", "--dtype", "uint8", code=1) or not (scan.parent / "c.tif").exists()
    )


def test_a_dry_run_writes_nothing(scan: Path) -> None:
    told = json.loads(run(scan, scan.parent / "b.n5", "--dry-run", "--json"))
    assert (told["format"], told["shape"], told["written"]) == ("n5", [6, 80, 90], False)
    for name in ("b.png", "b.qqq"):
        run(scan, scan.parent / name, "--dry-run", code=1)
    assert [path.name for path in scan.parent.iterdir()] == ["a.tif"]


def test_a_folder_of_files(scan: Path) -> None:
    (scan.parent / "in").mkdir()
    for number in range(3):
        iio.imwrite(scan.parent / "in" / f"s{number}.tif", DATA + number)
    run(scan.parent / "in", scan.parent / "out", "--each", ".ome.zarr", "--verify")
    for number in range(3):
        np.testing.assert_array_equal(iio.imread(scan.parent / "out" / f"s{number}.ome.zarr"), DATA + number)
    assert "no folder" in run(scan, scan.parent / "out", "--each", ".tif", code=1)


@pytest.mark.parametrize("name", ["b.zarr/raw", "b.n5/raw", "b.ome.zarr"])
def test_the_same_command_continues_one_that_was_killed(name: str, scan: Path) -> None:
    (token := scan.parent / "token").touch()
    out = scan.parent / name
    command = [sys.executable, "-m", "bioimage_py", "convert", str(scan), str(out), "--quiet"]
    environment = {**os.environ, "BIOIMAGE_PY_FAULT": f"before-write:1:{token}"}
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode < 0, killed.stderr
    assert not token.exists()
    assert "all voxels are equal" in run(scan, out, "--verify")
    np.testing.assert_array_equal(iio.imread(out), DATA)
    assert "already" in run(scan, out, code=1), "now it is there"


def test_a_series_by_its_number(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "two.tif", [DATA, DATA[:2]])
    run(tmp_path / "two.tif", tmp_path / "b.zarr", "--key", "1")
    np.testing.assert_array_equal(iio.imread(tmp_path / "b.zarr"), DATA[:2])


def test_what_differs_is_told(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converting, "_COMPARED_BYTES", 5000)
    wrong = DATA.copy()
    wrong[4, 70, 3] += 1
    convert(wrong, scan.parent / "b.zarr", axes="zyx")
    with pytest.raises(StorageError, match=r"differs from the input at voxel \(4, 70, 3\)"):
        converting._verify(DATA, str(scan.parent / "b.zarr"), "zarr")


def test_info_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "slices").mkdir()
    for number in range(3):
        iio.imwrite(tmp_path / "slices" / f"{number}.png", DATA[number])
    for path, shape in ((tmp_path / "slices", "3x80x90"), (tmp_path / "slices" / "0.png", "80x90")):
        result = CliRunner().invoke(main, ["info", str(path)])
        assert result.exit_code == 0, result.output
        assert f"{shape} uint16" in result.output


@pytest.mark.processes
def test_one_that_begins_beside_another_removes_nothing(tmp_path: Path) -> None:
    from bioimage_py.system.alone import alone

    bp.copy(DATA, tmp_path / "a.zarr/raw", progress=False)
    out = tmp_path / "b.ome.zarr"
    run(tmp_path / "a.zarr/raw", out, "--pyramid")
    before = sorted(str(path) for path in out.rglob("*"))
    with alone(str(out)):
        told = run(tmp_path / "a.zarr/raw", out, "--pyramid", "--overwrite", code=1)
    assert "is being written by another process" in told
    assert sorted(str(path) for path in out.rglob("*")) == before
    call = [sys.executable, "-m", "bioimage_py", "convert", str(tmp_path / "a.zarr/raw"), str(out), "--overwrite"]
    both = [subprocess.Popen([*call, "--quiet"], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [one.communicate()[1] for one in both]
    assert 0 in [one.returncode for one in both], told
    assert all(one.returncode == 0 or "another process" in text for one, text in zip(both, told, strict=True))
    np.testing.assert_array_equal(iio.imread(out), DATA)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.ome.zarr"]
