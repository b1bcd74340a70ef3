"""Writing CloudVolume layers, alone and in runs: what is written is read by others, and nothing is lost."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ReadOnlyError, RegionError
from bioimage_py.sources import open_cloudvolume
from bioimage_py.sources.precomputed.chunks import ChunkedLayer

from ...helpers import plus_one
from .precomputed_layers import SIZE, by_cloudvolume, new_layer, new_pyramid, smooth, upload, voxels

# writing


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation", "crackle"])
@pytest.mark.parametrize("compress", [None, False, "br"])
def test_what_is_written_here_is_read_by_cloudvolume(encoding: str, compress: Any, tmp_path: Path) -> None:
    if encoding == "crackle":
        pytest.importorskip("crackle", reason="this encoding needs crackle-codec")
    content = voxels(dtype="uint32")
    url = new_layer(tmp_path / "a", dtype="uint32", encoding=encoding)
    with open_cloudvolume(url, compress=compress, fill_missing=True) as source:
        source[:7] = content[:7]
        source[7:] = content[7:]
        np.testing.assert_array_equal(source[...], content)
    np.testing.assert_array_equal(by_cloudvolume(url), content)
    suffix = {None: ".gz", False: "", "br": ".br"}[compress]
    assert {path.suffix for path in (tmp_path / "a" / "4_4_40").iterdir()} == {suffix}


def test_what_is_written_here_is_read_by_tensorstore(tmp_path: Path) -> None:
    import tensorstore

    content = voxels()
    url = new_layer(tmp_path / "a")
    open_cloudvolume(url, compress=False)[...] = content
    kvstore = {"driver": "file", "path": f"{tmp_path}/a/"}
    layer = tensorstore.open({"driver": "neuroglancer_precomputed", "kvstore": kvstore}).result()
    np.testing.assert_array_equal(layer[...].read().result()[..., 0].T, content)


@pytest.mark.parametrize("compress", [False, "gzip", "br", "zstd"])
def test_a_chunk_never_has_two_files(compress: Any, tmp_path: Path) -> None:
    """cloud-volume reads whichever file of a chunk it finds first; so it must be the only one."""
    url = new_layer(tmp_path / "a", voxels(), compress=compress)
    before = sorted(path.name for path in (tmp_path / "a" / "4_4_40").iterdir())
    content = voxels(seed=1)
    with open_cloudvolume(url) as source:
        source[...] = content
        source[1:3, 1:3, 1:3] = content[1:3, 1:3, 1:3] = 3
    assert sorted(path.name for path in (tmp_path / "a" / "4_4_40").iterdir()) == before
    np.testing.assert_array_equal(by_cloudvolume(url), content)


def test_unaligned_writes_can_be_forbidden(tmp_path: Path) -> None:
    url = new_layer(tmp_path / "a", voxels())
    with open_cloudvolume(url, non_aligned_writes=False) as source:
        before = source[...]
        source[4:, 5:10, 8:] = 1  # whole chunks, clipped ones too
        before[4:, 5:10, 8:] = 1
        with pytest.raises(RegionError, match=r"covers the chunk .* in part: non_aligned_writes is False"):
            source[4:7] = 2
        np.testing.assert_array_equal(source[...], before)


def test_lossy_chunks_are_written_whole(tmp_path: Path) -> None:
    content = smooth(SIZE[::-1])
    url = new_layer(tmp_path / "a", np.zeros_like(content), encoding="jpeg")
    with open_cloudvolume(url) as source:
        source[...] = content
        before = source[...]
        with pytest.raises(RegionError, match="jpeg would change the voxels around"):
            source[0] = 1
        np.testing.assert_array_equal(source[...], before)
    assert np.abs(by_cloudvolume(url).astype(int) - content).max() <= 4


def test_black_chunks_can_be_deleted(tmp_path: Path) -> None:
    url = new_layer(tmp_path / "a", voxels())
    with open_cloudvolume(url, fill_missing=True, delete_black_uploads=True) as source:
        source[:4] = 0
        assert not source[:4].any()
        assert len(source.stored_units()) == 3 * 4 * 3
    with open_cloudvolume(url, fill_missing=True) as source:
        source[4:8] = 0
        assert len(source.stored_units()) == 3 * 4 * 3, "zeros are data, and are stored"


def test_eight_threads_and_two_handles_share_chunks(tmp_path: Path) -> None:
    """Without a runner: parts of one chunk, written at the same time, are all kept."""
    content = voxels((16, 16, 16), "uint32")
    url = new_layer(tmp_path / "a", np.zeros_like(content), chunk=(16, 16, 16))
    handles = [open_cloudvolume(url), open_cloudvolume(url)]

    def write(row: int) -> None:
        handles[row % 2][row] = content[row]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    np.testing.assert_array_equal(by_cloudvolume(url), content)


def test_locked_and_remote_layers_are_read_only(tmp_path: Path) -> None:
    url = new_layer(tmp_path / "a", voxels())
    info = json.loads((tmp_path / "a" / "info").read_text())
    info["scales"][0]["locked"] = True
    (tmp_path / "a" / "info").write_text(json.dumps(info))
    source = open_cloudvolume(url)
    assert not source.writable
    with pytest.raises(ReadOnlyError, match="its owner has locked mip 0"):
        open_cloudvolume(url, mode="r+")
    with pytest.raises(ReadOnlyError):
        source[0] = 1


# runs


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
@pytest.mark.parametrize("channels", [False, True])
def test_blocks_off_the_chunk_grid_lose_nothing(job_type: str, channels: bool, tmp_path: Path) -> None:
    shape = ((2,) if channels else ()) + SIZE[::-1]
    content = voxels(shape)
    url = new_layer(tmp_path / "a", content)
    out = new_layer(tmp_path / "b", dtype="uint16", channels=2 if channels else 1)
    output = open_cloudvolume(out, fill_missing=True)
    block = ((2,) if channels else ()) + (3, 7, 6)
    bp.copy(open_cloudvolume(url), output, block_shape=block, job_type=job_type, num_workers=4)
    np.testing.assert_array_equal(by_cloudvolume(out), content)


def test_a_region_off_the_chunk_grid_loses_nothing(tmp_path: Path) -> None:
    """The output is opened at an offset inside of chunks, whose other voxels stay."""
    content, before = voxels(), voxels(seed=1)
    out = new_layer(tmp_path / "b", before)
    for start in ((1, 2, 3), (5, 4, 7)):
        roi = tuple(slice(begin, begin + 7) for begin in start)
        output = open_cloudvolume(out, roi=roi)
        bp.copy(content[roi], output, block_shape=(2, 3, 3), num_workers=4)
        before[roi] = content[roi]
        np.testing.assert_array_equal(by_cloudvolume(out), before)


@pytest.mark.some(2)
@pytest.mark.parametrize("point", ["before-write:1", "after-write:1", "after-undo:3", "before-undo:5"])
def test_a_kill_while_blocks_change_a_layer_in_place(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks off the chunk grid add 1 to every voxel exactly once, whatever instant a worker is killed at."""
    content = voxels(high=1000)
    url = new_layer(tmp_path / "a", content)
    token = tmp_path / "token"
    token.touch()
    monkeypatch.setenv("BIOIMAGE_PY_FAULT", f"{point}:{token}")
    source = open_cloudvolume(url)
    bp.map_blocks(plus_one, [source], [source], block_shape=(3, 7, 6), job_type="subprocess", num_workers=2)
    assert not token.exists(), "a worker was killed"
    np.testing.assert_array_equal(by_cloudvolume(url), content + 1)


def test_a_kill_while_blocks_change_a_layer_in_s3_in_place(
    s3: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = voxels((7, 9, 10), high=1000)
    new_layer(tmp_path / "a", content)
    upload(tmp_path / "a", f"{s3}/a", s3_endpoint)
    token = tmp_path / "token"
    token.touch()
    monkeypatch.setenv("BIOIMAGE_PY_FAULT", f"after-write:1:{token}")
    source = open_cloudvolume(f"{s3}/a")
    bp.map_blocks(plus_one, [source], [source], block_shape=(3, 7, 6), job_type="subprocess", num_workers=1)
    assert not token.exists(), "a worker was killed"
    np.testing.assert_array_equal(source[...], content + 1)


def test_runs_on_different_boxes_of_a_layer_know_of_each_other(tmp_path: Path) -> None:
    """What a run claims is counted from the layer's grid, whatever box the output was opened as."""
    from bioimage_py.runner.lease.regions import written_region
    from bioimage_py.runner.planning.build import Where, blocks_stage

    url = new_layer(tmp_path / "a", voxels())
    boxes = {"first": slice(0, 4), "second": slice(4, 8), "both": slice(3, 5), "beside": slice(8, 9)}
    opened = {name: open_cloudvolume(url, roi=box) for name, box in boxes.items()}

    def claimed(source: Any, roi: Any = None) -> Any:
        return written_region(
            blocks_stage(lambda block, inputs, outputs, mask: None, [], [source], Where(roi=roi)), source
        )

    claims = {name: claimed(source) for name, source in opened.items()}
    assert {name for name in boxes if claims[name].overlaps(claims["both"])} == {"first", "second", "both"}
    assert not claims["first"].overlaps(claims["second"])
    assert claims["second"] == claimed(open_cloudvolume(url), (slice(5, 7), slice(0, 18), slice(0, 23)))
    assert claims["beside"].box[0] == (8, 12)


def test_undo_keeps_the_files_of_chunks(tmp_path: Path) -> None:
    from bioimage_py.runner.worker.undo import Undo, can_keep

    content = voxels()
    url = new_layer(tmp_path / "a", content)
    (gone,) = (tmp_path / "a" / "4_4_40").glob("10-18_7-12_-9--5*")
    gone.unlink()
    content[:4, :5, :8] = 0
    source = open_cloudvolume(url, fill_missing=True)
    assert can_keep(source)
    undo = Undo(tmp_path / "undo", source)
    undo.keep((slice(0, 4), slice(0, 18), slice(0, 23)))
    source[:4] = 1
    np.testing.assert_array_equal(undo.source[:4], content[:4])
    assert (source[:4] == 1).all()


def test_empty_blocks_are_skipped(tmp_path: Path) -> None:
    content = np.zeros(SIZE[::-1], "uint16")
    url = new_layer(tmp_path / "a", dtype="uint16")
    with open_cloudvolume(url, fill_missing=True) as source:
        source[9:11, 6:8, 9:12] = content[9:11, 6:8, 9:12] = 5
    source = open_cloudvolume(url, fill_missing=True)
    seen: list[int] = []

    def note(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        seen.append(block.id)
        return int(inputs[0][bp.to_roi(block)].sum())

    report = bp.map_blocks(note, [source], [], block_shape=(4, 5, 8), skip_empty=True, has_return_val=True)
    assert sum(report.results) == content.sum()
    assert 0 < len(seen) <= 2


def test_a_cache_serves_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = voxels()
    source = open_cloudvolume(new_layer(tmp_path / "a", content))
    asked: list[str] = []
    ask = ChunkedLayer._request
    monkeypatch.setattr(ChunkedLayer, "_request", lambda layer, chunk: (asked.append(str(chunk)), ask(layer, chunk))[1])
    kept = source.fresh(cache_bytes=content.nbytes)
    for _ in range(3):
        np.testing.assert_array_equal(kept[...], content)
    assert len(asked) == len(set(asked)) == 4 * 4 * 3
    small = source.fresh(cache_bytes=2 * 4 * 5 * 8 * 2)
    for _ in range(3):
        np.testing.assert_array_equal(small[:, :5, :8], content[:, :5, :8])
    assert len(asked) > 48 + 4


def both(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    roi = bp.to_roi(block)
    outputs[0][roi] = inputs[0][roi]
    outputs[1][roi] = inputs[0][roi] + 1


def test_two_mips_of_a_layer_are_written_by_one_run(tmp_path: Path) -> None:
    url, (fine, coarse, _) = new_pyramid(tmp_path / "pyramid")
    roi = (slice(1, 9), slice(2, 9), slice(1, 10))
    content = voxels(fine[roi].shape, high=1000)
    source = open_cloudvolume(new_layer(tmp_path / "a", content))
    outputs = [open_cloudvolume(url, mip=mip, roi=roi) for mip in (0, 1)]
    bp.map_blocks(both, [source], outputs, block_shape=(3, 7, 6), job_type="subprocess", num_workers=2)
    fine[roi], coarse[roi] = content, content + 1
    np.testing.assert_array_equal(by_cloudvolume(url), fine)
    np.testing.assert_array_equal(by_cloudvolume(url, mip=1), coarse)
    assert not list((tmp_path / "pyramid").glob(".bioimage_py*")), "nothing is left behind"
