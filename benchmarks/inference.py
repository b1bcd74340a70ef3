"""What `inference.predict` takes beside the bare network on the same tiles: `python benchmarks/inference.py`.

A network of two convolutions on a volume in zarr, in CPU seconds of one worker. The floor calls onnxruntime on every
tile once, on data in memory, and throws the results away. "tiles" is how often a tile is computed on average,
since blocks share those at their borders; "rest" is what is left of the ratio: reading, scaling, blending, writing.
"""

from __future__ import annotations

import itertools
import math
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import bioimage_py as bp  # noqa: E402
from bioimage_py.inference.models import OnnxFile  # noqa: E402
from bioimage_py.inference.tiling import AxisTiles, Tiling  # noqa: E402
from tests.inference.networks import network  # noqa: E402

SHAPE = (192, 192, 192)
TILES = {"tile": 64, "overlap": 16, "margin": 2}


def seconds(call: Any) -> float:
    """CPU seconds of all threads, which other programs of the machine hardly change."""
    begin = process_time()
    call()
    return process_time() - begin


def floor(path: Path, values: np.ndarray, tiling: Tiling) -> None:
    session = OnnxFile(str(path)).session()
    for tile in itertools.product(*(range(axis.count) for axis in tiling.axes)):
        where = tuple(
            slice(axis.begin(i), axis.begin(i) + axis.tile) for axis, i in zip(tiling.axes, tile, strict=True)
        )
        session.run(None, {"raw": values[where][None, None].astype(np.float32)})


def calls(block: int | None, values: np.ndarray) -> int:
    """Tiles that the model gets."""
    seen: list[int] = []

    def same(batch: np.ndarray) -> np.ndarray:
        seen.append(1)
        return batch

    bp.inference.predict(values, same, **TILES, block_shape=block, progress=False)
    return len(seen)


def main() -> None:
    tiling = Tiling(tuple(AxisTiles(size, **TILES) for size in SHAPE))
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder) / "in.zarr/raw", Path(folder) / "out.zarr"
        values = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
        bp.copy(values, raw, chunks=(64, 64, 64))
        print(f"{'hidden channels':>15} {'block':>6} {'tiles':>6} {'floor':>7} {'predict':>8} {'ratio':>6} {'rest':>6}")
        for hidden, block in itertools.product((4, 16), (None, 128, 64)):
            path = network(Path(folder) / f"{hidden}.onnx", hidden=hidden)
            least = min(seconds(partial(floor, path, values, tiling)) for _ in range(2))
            how: dict[str, Any] = {**TILES, "block_shape": block, "dtype": "uint8", "progress": False}
            source = bp.open_source(raw)
            times = [
                seconds(partial(bp.inference.predict, source, path, out / f"{hidden}{block}{n}", **how))
                for n in range(2)
            ]
            cost = calls(block, values) / math.prod(axis.count for axis in tiling.axes)
            ratio = min(times) / least
            row = f"{least:6.2f}s {min(times):7.2f}s {ratio:6.2f} {ratio / cost:6.2f}"
            print(f"{hidden:15} {block or 'auto':>6} {cost:6.2f} {row}", flush=True)


if __name__ == "__main__":
    main()
