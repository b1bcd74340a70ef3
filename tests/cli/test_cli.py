"""The command line: what is printed, exit codes, and errors without tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.io import create_array
from bioimage_py.workflows import evaluate

SHAPE = (24, 80, 90)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    volume = bp.sample.neurites(SHAPE, seed=6)
    for name, source in (("raw", volume.raw), ("truth", volume.labels)):
        array = create_array(
            folder / "volume.zarr", name, shape=SHAPE, dtype=source.dtype, chunks=(16, 32, 32), axes=source.axes
        )
        array[...] = source[...]
    return folder


def run(*arguments, code=0):
    result = CliRunner(mix_stderr=False).invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    if code:
        assert "Traceback" not in result.output
    return result


class TestSegment:
    @pytest.mark.slow
    def test_prints_a_summary(self, files, tmp_path):
        out = tmp_path / "labels.ome.zarr"
        text = run("segment", files / "volume.zarr", out, "--key", "raw", "--workers", 2).stdout
        labels = bp.open_source(out)[...]
        assert f"{labels.max()} objects by watershed" in text
        assert "watershed " in text
        assert "pyramid" in text
        assert os.listdir(tmp_path) == ["labels.ome.zarr"]

    def test_prints_json(self, files, tmp_path):
        out = tmp_path / "labels.ome.zarr"
        text = run("segment", files / "volume.zarr" / "raw", out, "--method", "components", "--json").stdout
        found = json.loads(text)
        assert found["n_objects"] == bp.open_source(out)[...].max()
        assert found["shape"] == list(SHAPE)
        assert [stage["name"] for stage in found["stages"]][-1] == "pyramid"

    @pytest.mark.slow
    def test_options_arrive(self, files, tmp_path):
        options = "--threshold 135 --sigma 1,2,2 --seed-distance 2.5 --min-size 30 --no-fill --halo 8,16,16"
        options += " --block-shape 12,40,40 --roi 2:20,:,10:70 --workers 2 --quiet"
        run("segment", files / "volume.zarr", tmp_path / "a.zarr", "--key", "raw", *options.split())
        raw = bp.open_source(files / "volume.zarr", "raw")
        bp.workflows.segment(
            raw, tmp_path / "b.zarr", threshold=135, sigma=(1, 2, 2), seed_distance=2.5, min_size=30, fill=False,
            halo=(8, 16, 16), block_shape=(12, 40, 40), roi=(slice(2, 20), slice(None), slice(10, 70)), progress=False,
        )  # fmt: skip
        one, two = bp.open_source(tmp_path / "a.zarr"), bp.open_source(tmp_path / "b.zarr")
        assert one.shape == (18, 80, 60)
        np.testing.assert_array_equal(one[...], two[...])

    @pytest.mark.slow
    def test_dark_objects_and_overwriting(self, files, tmp_path):
        out = tmp_path / "a.zarr"
        run("segment", files / "volume.zarr", out, "--key", "raw", "--method", "components", "--quiet")
        before = bp.open_source(out)[...]
        text = run("segment", files / "volume.zarr", out, "--key", "raw", code=1).stderr
        assert "a.zarr exists." in text
        assert "--overwrite" in text
        run("segment", files / "volume.zarr", out, "--key", "raw", "--objects", "dark", "--overwrite", "--quiet")
        assert not np.array_equal(bp.open_source(out)[...], before)

    def test_says_what_to_try_without_objects(self, files, tmp_path):
        result = run("segment", files / "volume.zarr", tmp_path / "a.zarr", "--key", "raw", "--threshold", 254)
        assert "No objects: try another --threshold" in result.stderr


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (("segment", "none.zarr", "out.zarr"), "none.zarr does not exist"),
            (("segment", "{volume}", "out.zarr"), "no key is given"),
            (("segment", "{volume}", "out.zarr", "--key", "nope"), "has no array 'nope'"),
            (("segment", "{volume}/raw", "out.zarr", "--roi", "0:25,:,:"), "0:25"),
            (("segment", "{volume}/raw", "out.zarr", "--block-shape", "0"), "below 1"),
            (("segment", "{volume}/raw", "out.zarr", "--block-shape", "8,8"), "2 entries"),
            (("segment", "{volume}/raw", "out.zarr", "--halo", "-1"), "halo"),
            (("segment", "{volume}/raw", "out.zarr", "--job-type", "magic"), "magic"),
            (("segment", "{volume}/raw", "out.h5"), "OME-Zarr folder"),
            (("segment", "{volume}/raw", "out.zarr", "--sigma", "-1"), "sigma"),
            (("evaluate", "{volume}/raw", "none.zarr"), "none.zarr does not exist"),
            (("evaluate", "{volume}/raw", "{volume}/truth", "--roi", "0:8,:,:"), "ground truth (8, 80, 90)"),
            (("info", "none.zarr"), "none.zarr does not exist"),
            (("demo", "--shape", "64,64"), "three positive whole numbers"),
        ],
    )
    def test_are_one_message_with_its_remedy(self, files, tmp_path, monkeypatch, arguments, text):
        monkeypatch.chdir(tmp_path)
        result = run(*(argument.format(volume=files / "volume.zarr") for argument in arguments), code=1)
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert text in result.stderr
        assert "\nRemedy: " in result.stderr
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (("segment", "in.zarr"), "Missing argument 'OUTPUT'"),
            (("segment", "in.zarr", "out.zarr", "--roi", "5,6,7"), "ranges with commas"),
            (("segment", "in.zarr", "out.zarr", "--roi", "a:b"), "ranges with commas"),
            (("segment", "in.zarr", "out.zarr", "--block-shape", "64x64"), "whole numbers with commas"),
            (("segment", "in.zarr", "out.zarr", "--sigma", "one"), "neither a number"),
            (("segment", "in.zarr", "out.zarr", "--method", "magic"), "'magic' is not one of"),
            (("segment", "in.zarr", "out.zarr", "--workers", "0"), "not in the range"),
            (("magic",), "No such command 'magic'"),
        ],
    )
    def test_wrong_usage_ends_with_2(self, arguments, text):
        assert text in run(*arguments, code=2).stderr

    def test_debug_shows_the_traceback(self):
        result = CliRunner(mix_stderr=False).invoke(main, ["segment", "none.zarr", "out.zarr", "--debug"])
        assert isinstance(result.exception, bp.errors.SourceNotFoundError)

    def test_the_command_itself_behaves_so(self, tmp_path):
        command = [sys.executable, "-c", "from bioimage_py.cli import main; main()", "info", "none.zarr"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 2
        assert "Traceback" in subprocess.run([*command, "--debug"], capture_output=True, text=True).stderr


class TestEvaluate:
    def test_prints_every_score_with_its_meaning(self, files, tmp_path):
        truth = bp.open_source(files / "volume.zarr", "truth")[...]
        cut = create_array(tmp_path / "cut.zarr", "cut", shape=SHAPE, dtype="uint32")
        cut[...] = np.where(np.arange(SHAPE[2]) < 40, truth, truth + 10000)
        arguments = ("evaluate", tmp_path / "cut.zarr", files / "volume.zarr", "--seg-key", "cut", "--gt-key", "truth")
        lines = run(*arguments, "--workers", 2, "--quiet").stdout.splitlines()
        scores = evaluate(cut, truth)
        assert scores.vi_split > 0.3
        assert scores.vi_merge == 0
        assert lines[0].split()[:2] == ["vi_split", f"{scores.vi_split:.4f}"]
        assert "cut into several" in lines[0]
        assert len(lines) == 9
        assert json.loads(run(*arguments, "--json").stdout) == pytest.approx(scores.to_dict())
        some = json.loads(run(*arguments, "--json", "--ignore-seg", truth[0, 0, 0]).stdout)
        assert some == pytest.approx(evaluate(cut, truth, ignore_seg=int(truth[0, 0, 0])).to_dict())

    def test_a_region_of_the_truth(self, files, tmp_path):
        run("segment", files / "volume.zarr/raw", tmp_path / "a.zarr", "--roi", "0:16,8:72,:", "--quiet")
        text = run(
            "evaluate", tmp_path / "a.zarr", files / "volume.zarr/truth", "--roi", "0:16,8:72,:", "--json"
        ).stdout
        truth = bp.open_source(files / "volume.zarr", "truth")[0:16, 8:72]
        assert json.loads(text) == pytest.approx(evaluate(bp.open_source(tmp_path / "a.zarr"), truth).to_dict())


class TestInfo:
    def test_lists_arrays_of_zarr(self, files):
        lines = run("info", files / "volume.zarr").stdout.splitlines()
        assert lines[0] == "raw: 24x80x90 uint8 (zarr)"
        assert lines[1] == "  chunks 16x32x32, codec zstd level 0"
        assert lines[2] == "  axes z 30 nanometer, y 10 nanometer, x 10 nanometer"
        assert lines[3].endswith("168.8 KiB uncompressed")
        assert lines[4] == "truth: 24x80x90 uint64 (zarr)"

    def test_prints_json_with_sizes(self, files):
        found = json.loads(run("info", files / "volume.zarr", "--json").stdout)
        raw = found["arrays"][0]
        folder = files / "volume.zarr" / "raw"
        assert raw["bytes_on_disk"] == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        assert raw["bytes"] == np.prod(SHAPE)
        assert raw["axes"][0] == {"name": "z", "kind": "space", "unit": "nanometer", "scale": 30.0, "offset": 0.0}
        assert "bytes_on_disk" not in json.loads(run("info", folder, "--json", "--no-size").stdout)["arrays"][0]

    def test_shards_and_one_array(self, tmp_path):
        create_array(tmp_path / "a.zarr", "x/y", shape=(64, 64), dtype="u2", chunks=(8, 8), shards=(32, 32))
        text = run("info", tmp_path / "a.zarr" / "x").stdout
        assert "x/y: 64x64 uint16 (zarr)" in text
        assert "chunks 8x8, shards 32x32, codec shards of zstd" in text

    @pytest.mark.parametrize("name", ["a.n5", "a.h5", "old.zarr"])
    def test_other_containers(self, tmp_path, name):
        import zarr

        if name == "old.zarr":
            zarr.open_group(tmp_path / name, mode="w", zarr_format=2)
        create_array(tmp_path / name, "deep/raw", shape=(10, 20), dtype="u1", chunks=(5, 10))[...] = 3
        create_array(tmp_path / name, "other", shape=(7,), dtype="f4")
        found = json.loads(run("info", tmp_path / name, "--json").stdout)["arrays"]
        assert [array["key"] for array in found] == ["deep/raw", "other"]
        assert found[0]["shape"] == [10, 20]
        assert found[0]["chunks"] == [5, 10]
        assert found[0]["codec"] in ("gzip", "zstd")
        assert found[0]["bytes_on_disk"] > 0

    def test_an_image_file(self, tmp_path):
        import tifffile

        tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 16, 16), np.uint8))
        text = run("info", tmp_path / "a.tif").stdout
        assert "5x16x16 uint8 (tif)" in text
        assert "on disk" in text

    def test_nothing_there(self, tmp_path):
        import zarr

        zarr.open_group(tmp_path / "empty.zarr", mode="w")
        (tmp_path / "folder").mkdir()
        for name in ("empty.zarr", "folder"):
            result = run("info", tmp_path / name, code=1)
            assert result.stdout == ""
            assert f"{name} has no arrays.\nRemedy: give the path of a zarr" in result.stderr


@pytest.mark.slow
def test_demo_leaves_its_files_and_says_so(tmp_path):
    text = run("demo", "--out", tmp_path / "demo", "--shape", "24,64,64", "--seed", 3, "--workers", 2, "--quiet").stdout
    for name in (
        "metrics.json",
        "metrics.md",
        "neurites.ome.zarr",
        "overview.png",
        "report.json",
        "report.txt",
        "run.html",
    ):
        assert (tmp_path / "demo" / name).exists()
        assert f"  {name}\n" in text
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert f"{metrics['adapted_rand_error']:.4f}" in text
    found = json.loads(run("demo", "--out", tmp_path / "demo", "--shape", "24,64,64", "--seed", 3, "--json").stdout)
    assert found["scores"] == pytest.approx(metrics)


def test_starting_imports_nothing_heavy():
    code = "import sys, bioimage_py.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numpy", "zarr", "tensorstore", "scipy", "cv2", "skimage", "matplotlib", "pandas", "h5py", "bioimage_cpp"}
    assert not heavy.intersection(loaded)
