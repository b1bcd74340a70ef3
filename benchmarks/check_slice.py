"""Checks what the first slice promises, and exits non-zero where it falls short: ``make check-slice``.

The real volumes are looked for as the tests do (``BIOIMAGE_PY_TEST_DATA``); a missing one is a failure here.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import bioimage_py as bp
from bioimage_py.io.create import create_array

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("BIOIMAGE_PY_TEST_DATA") or ROOT.parent / "shared" / "data")
DEMO_SECONDS = 120.0
EMPTY_SECONDS = 15.0
EMPTY_BYTES = 50 * 2**20
REPEATS = 20
IMPORT_SECONDS = 0.15

_failures: list[str] = []


def check(what: str, good: bool, found: object) -> None:
    """Print a line, and remember a failure."""
    print(f"{'ok  ' if good else 'FAIL'}  {what}: {found}", flush=True)
    if not good:
        _failures.append(what)


def check_import() -> None:
    """Nothing heavy is imported with the package."""
    code = (
        "import time, sys; t = time.perf_counter(); import bioimage_py; t = time.perf_counter() - t;"
        "heavy = ('numpy', 'zarr', 'tensorstore', 'scipy', 'skimage', 'cv2', 'pandas');"
        "print(t, [m for m in heavy if m in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(5)
    ]
    seconds = min(float(run.split()[0]) for run in runs)
    heavy = runs[0].split(maxsplit=1)[1].strip()
    check(f"import bioimage_py under {IMPORT_SECONDS} s", seconds < IMPORT_SECONDS, f"{seconds:.3f} s")
    check("nothing heavy imported with it", heavy == "[]", heavy)


def check_demo(folder: Path) -> None:
    """The demonstration, against the same pipeline with the whole volume as one block."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "bioimage_py", "demo", "--out", str(folder / "demo")], check=True)
    seconds = time.perf_counter() - begin
    check(f"demo under {DEMO_SECONDS:.0f} s", seconds < DEMO_SECONDS, f"{seconds:.1f} s")
    left = sorted(path.name for path in (folder / "demo").iterdir())
    wanted = {"metrics.json", "metrics.md", "neurites.ome.zarr", "overview.png", "report.json"}
    check("demo leaves volume, metrics, picture and report", wanted <= set(left), left)
    blocks = json.loads((folder / "demo" / "metrics.json").read_text())
    volume = folder / "demo" / "neurites.ome.zarr"
    raw = bp.open_source(volume, "0")
    bp.workflows.segment(raw, folder / "whole.ome.zarr", block_shape=raw.shape, progress=False)
    truth = bp.open_source(volume, "labels/groundtruth/0")
    whole = bp.workflows.evaluate(bp.open_source(folder / "whole.ome.zarr", "0"), truth).to_dict()
    for score, slack in (("vi_sum", 0.05), ("adapted_rand_error", 0.02)):
        bound = 1.1 * whole[score] + slack
        found = f"{blocks[score]:.4f}, whole array {whole[score]:.4f}, bound {bound:.4f}"
        check(f"demo {score} near the whole-array result", blocks[score] <= bound, found)
    check("the whole-array result is sensible", whole["vi_sum"] < 1.5 and whole["adapted_rand_error"] < 0.3, whole)


def check_nuclei(folder: Path) -> None:
    """Real nuclei, scored against their labels; block-wise against the whole array."""
    import tifffile

    raw, truth = (tifffile.imread(DATA / f"nuclei3d-{name}.tif") for name in ("raw", "labels"))
    source = create_array(folder / "nuclei.zarr", "raw", shape=raw.shape, dtype=raw.dtype, chunks=(32, 32, 32))
    source[...] = raw
    for method in ("components", "watershed"):
        results = {}
        for name, block in (("blocks", (32, 64, 64)), ("whole", raw.shape)):
            path = folder / f"nuclei-{method}-{name}.ome.zarr"
            fill = {} if method == "components" else {"fill": False}
            bp.workflows.segment(source, path, method=method, block_shape=block, num_workers=2, progress=False, **fill)
            results[name] = np.asarray(bp.open_source(path, "0"))
        scores = bp.workflows.evaluate(results["blocks"], truth).to_dict()
        shown = ", ".join(f"{key} {scores[key]:.3f}" for key in ("vi_split", "vi_merge", "adapted_rand_error"))
        check(f"nuclei by {method} against their labels", scores["adapted_rand_error"] < 0.5, shown)
        if method == "components":
            same = np.array_equal(results["blocks"], results["whole"])
            check("nuclei by components: blocks equal the whole array", same, int(results["blocks"].max()))
        else:
            split, merge = bp.evaluation.variation_of_information(results["blocks"], results["whole"])
            differ = _differing(results["blocks"], results["whole"])
            found = f"VI {split:.4f} + {merge:.4f} bits, {100 * differ:.2f} % of the voxels"
            check("nuclei by watershed: difference from the whole array", split + merge < 0.3 and differ < 0.1, found)


def _differing(one: np.ndarray, other: np.ndarray) -> float:
    """Share of voxels outside the best match of each segment."""
    table = bp.evaluation.contingency_table(one, other)
    order = np.lexsort((-table.counts, table.pairs[:, 0]))
    best = order[np.unique(table.pairs[order, 0], return_index=True)[1]]
    return 1.0 - float(table.counts[best].sum()) / table.n_points


def check_connectomics(folder: Path) -> None:
    """Connected components of a real dense segmentation: known counts, any block shape that is safe."""
    import crackle

    with gzip.open(DATA / "connectomics-512.npy.ckl.gz") as file:
        volume = crackle.decompress(file.read())
    source = create_array(folder / "em.zarr", "ids", shape=volume.shape, dtype=volume.dtype, chunks=(64, 64, 64))
    bp.copy(np.ascontiguousarray(volume), source, block_shape=(128, 128, 128), num_workers=2, progress=False)
    outputs = {
        "128³ blocks, 64³ chunks": ((128, 128, 128), (64, 64, 64)),
        "100x90x70 blocks, chunked alike": ((100, 90, 70), (100, 90, 70)),
        "100x90x70 blocks, numpy": ((100, 90, 70), None),
    }
    for connectivity, count in ((1, 4744), (3, 3619)):
        first = None
        for number, (name, (block, chunks)) in enumerate(outputs.items()):
            out = np.zeros(volume.shape, np.uint64)
            if chunks is not None:
                key = f"c{connectivity}-{number}"
                out = create_array(folder / "em.zarr", key, shape=volume.shape, dtype=np.uint64, chunks=chunks)
            bp.segmentation.label(
                source,
                out,
                multi_label=True,
                connectivity=connectivity,
                block_shape=block,
                num_workers=2,
                progress=False,
            )
            result = np.asarray(out)
            check(f"connectomics, connectivity {connectivity}, {name}", int(result.max()) == count, int(result.max()))
            same = first is None or np.array_equal(first, result)
            check("  the same ids as with the first block shape", same, same)
            first = result
    target = create_array(folder / "em.zarr", "refused", shape=volume.shape, dtype=np.uint64, chunks=(64, 64, 64))
    try:
        bp.segmentation.label(source, target, multi_label=True, block_shape=(100, 90, 70))
        refused = "not refused"
    except ValueError as error:
        refused = str(error).splitlines()[-1].strip()
    check("100x90x70 into chunks of 64³ is refused, naming a good shape", "(128, 64, 64)" in refused, refused)


def _lost(make: Callable[[int], tuple[object, np.ndarray]], roi: tuple[slice, ...] | None) -> int:
    lost = 0
    for repeat in range(REPEATS):
        output, expected = make(repeat)
        data = np.arange(1, expected.size + 1, dtype=np.uint32).reshape(expected.shape)
        bp.copy(data, output, block_shape=(32, 32, 32), num_workers=8, roi=roi, progress=False)
        wanted = data if roi is None else np.where(expected, data, 0)
        lost += int((np.asarray(output) != wanted).sum())
    return lost


def check_regions(folder: Path) -> None:
    """Regions off the chunk grid, eight threads, small chunks: nothing may be lost."""
    shape, roi = (128, 128, 128), (slice(16, 120), slice(5, 100), slice(50, 127))
    inside = np.zeros(shape, bool)
    inside[roi] = True

    def plain(repeat: int) -> tuple[object, np.ndarray]:
        key = f"plain{repeat}"
        return create_array(folder / "roi.zarr", key, shape=shape, dtype=np.uint32, chunks=(32, 32, 32)), inside

    def sharded(repeat: int) -> tuple[object, np.ndarray]:
        whole = create_array(
            folder / "roi.zarr",
            f"shards{repeat}",
            shape=shape,
            dtype=np.uint32,
            chunks=(16, 16, 16),
            shards=(64, 64, 64),
        )
        view = bp.wrapper.RoiSource(whole, roi)
        return view, np.ones(view.shape, bool)

    check(f"region off the grid, 8 threads, {REPEATS} times: voxels lost", (n := _lost(plain, roi)) == 0, n)
    check(f"view over shards, 8 threads, {REPEATS} times: voxels lost", (n := _lost(sharded, None)) == 0, n)


_EMPTY = """
import resource, sys, time
import numpy as np, bioimage_py as bp
side = int(sys.argv[1])
volume = np.lib.stride_tricks.as_strided(np.zeros(1, "u1"), (side,) * 3, (0, 0, 0))
def nothing(block, inputs, outputs, mask): pass
begin = time.perf_counter()
report = bp.map_blocks(nothing, [volume], block_shape=(10, 10, 10), num_workers=2)
print(report.n_blocks, time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def check_empty_blocks() -> None:
    """A million empty blocks: time, and memory against ten thousand."""
    found = {}
    for side in (220, 1000):
        done = subprocess.run([sys.executable, "-c", _EMPTY, str(side)], capture_output=True, text=True, check=True)
        blocks, seconds, peak = done.stdout.split()
        found[int(blocks)] = (float(seconds), int(peak))
    (_, few), (seconds, many) = found[22**3], found[10**6]
    check(f"1,000,000 empty blocks under {EMPTY_SECONDS:.0f} s", seconds < EMPTY_SECONDS, f"{seconds:.2f} s")
    more = many - few
    check("their memory over that of 10,648", more < EMPTY_BYTES, f"{more / 2**20:.1f} MiB")


def check_speed() -> None:
    """Side by side with the peer package."""
    works = "copy,gaussian 2,label 6,downsample stride,statistics"
    command = [sys.executable, str(ROOT / "benchmarks" / "speed" / "run.py"), "--check", "--works", works]
    done = subprocess.run([*command, "--engines", "ours,bioimage-py", "--repeats", "3"], check=False)
    check("as far ahead of the peer as benchmarks/speed wants", done.returncode == 0, f"exit {done.returncode}")


def main() -> int:
    """Run all checks; 1 if one failed."""
    with tempfile.TemporaryDirectory(prefix="check-slice-") as name:
        folder = Path(name)
        check_import()
        check_demo(folder)
        check_nuclei(folder)
        check_connectomics(folder)
        check_regions(folder)
        check_empty_blocks()
    if "--without-peer" not in sys.argv:
        check_speed()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{len(_failures)} failed{': ' + '; '.join(_failures) if _failures else ''} (peak memory {peak:.0f} MiB)")
    return 1 if _failures else 0


if __name__ == "__main__":
    sys.exit(main())
