"""Wrappers as inputs and outputs of runs: in worker processes, from scripts, over shards, in place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import AliasError
from bioimage_py.io import create_array
from bioimage_py.sources import Source, SourceSpec, from_spec
from bioimage_py.wrapper import (
    CastSource,
    ChannelSource,
    ConcatenateSource,
    ExpandDimsSource,
    FlipSource,
    MultiTransformationSource,
    NormalizeSource,
    PadSource,
    RoiSource,
    Rotate90Source,
    SimpleTransformationSource,
    SimpleTransformationWithHaloSource,
    TransposeSource,
)

SHAPE = (40, 40)


def sharded(path: Path, key: str = "a", shape: tuple[int, ...] = SHAPE) -> Source:
    lead = (1,) * (len(shape) - 2)
    return create_array(path / "s.zarr", key, shape=shape, dtype="u2", chunks=(*lead, 4, 4), shards=(*lead, 8, 8))


OUTPUTS: dict[str, tuple[tuple[int, ...], Callable[[Source], Source]]] = {
    "transpose": (SHAPE, TransposeSource),
    "flip": ((37, 43), FlipSource),
    "quarter turn": ((37, 43), lambda source: Rotate90Source(source, 3)),
    "channel": ((3, *SHAPE), lambda source: ChannelSource(source, 1)),
    "cast": (SHAPE, lambda source: CastSource(source, "int64")),
    "roi": ((50, 60), lambda source: RoiSource(source, (slice(3, 47), slice(5, -2)))),
    "flipped region": ((50, 60), lambda source: FlipSource(RoiSource(source, (slice(3, 47), slice(5, -2))), 1)),
    "expand": (SHAPE, lambda source: RoiSource(ExpandDimsSource(source), (0,), squeeze=True)),
}


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_views_of_shards_lose_no_voxel_as_outputs(tmp_path: Path, name: str) -> None:
    shape, view = OUTPUTS[name]
    storage = sharded(tmp_path, shape=shape)
    storage[...] = 7
    output = view(storage)
    content = np.random.default_rng(0).integers(0, 60000, output.shape).astype(output.dtype)
    expected = storage[...]
    # the same view of the array in memory is what the storage has to look like
    view(expected)[...] = content  # type: ignore[arg-type]
    bp.copy(content, output, block_shape=(6, 10), num_workers=4, progress=False)
    np.testing.assert_array_equal(storage[...], expected)


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_changing_in_place_through_a_view(tmp_path: Path, name: str) -> None:
    shape, view = OUTPUTS[name]
    storage = sharded(tmp_path, shape=shape)
    storage[...] = np.random.default_rng(0).integers(0, 1000, shape, np.uint16)
    expected = storage[...]
    seen: Any = view(expected)  # type: ignore[arg-type]
    seen[...] = seen[...] + 3
    output = view(storage)
    bp.operations.add(output, 3, output, block_shape=(8, 8), num_workers=2, progress=False)
    np.testing.assert_array_equal(storage[...], expected)


def test_different_views_of_one_storage_are_refused(tmp_path: Path) -> None:
    storage, other = sharded(tmp_path), sharded(tmp_path, "b")
    views: list[Source] = [
        storage,
        TransposeSource(storage),
        FlipSource(storage, 0),
        FlipSource(storage, 1),
        MultiTransformationSource(np.add, other, storage, dtype="u2"),
        ConcatenateSource(RoiSource(other, slice(0, 20)), RoiSource(storage, slice(20, 40))),
        NormalizeSource(storage, range=(0, 1)),
        PadSource(RoiSource(storage, slice(0, 39)), (1, 0)),
    ]
    for view in views[1:]:
        with pytest.raises(AliasError, match="views of one storage"):
            bp.copy(view, storage, casting="unsafe", progress=False)
    with pytest.raises(AliasError):
        bp.copy(FlipSource(storage, 1), FlipSource(storage, 0), progress=False)
    assert bp.copy(FlipSource(storage, 1), FlipSource(storage, -1), progress=False) is not None
    bp.copy(MultiTransformationSource(np.add, other, other), storage, progress=False)


def invert(block: np.ndarray) -> np.ndarray:
    return np.iinfo(block.dtype).max - block


def test_functions_of_modules_go_by_name(tmp_path: Path) -> None:
    spec = SimpleTransformationSource(sharded(tmp_path), np.sqrt).to_spec()
    assert spec.params["transformation"] == {"__callable__": "numpy:sqrt"}
    spec = SimpleTransformationSource(sharded(tmp_path), lambda block: block + 1).to_spec()
    assert set(spec.params["transformation"]) == {"__cloudpickle__"}
    again = from_spec(SourceSpec.from_json(spec.to_json(), allow_pickle=True))
    assert again[0, 0] == 1


def test_lazy_inputs_give_the_same_in_worker_processes(tmp_path: Path) -> None:
    raw = sharded(tmp_path)
    raw[...] = np.random.default_rng(0).integers(0, 60000, SHAPE, np.uint16)
    offset = 5

    def smooth(block: np.ndarray) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(block.astype(np.float64), 1.0, radius=4) + offset

    lazy = NormalizeSource(
        PadSource(SimpleTransformationWithHaloSource(raw, smooth, 4), ((3, 2), (5, 0)), "reflect"), percentiles=(1, 99)
    )
    whole = lazy[...]
    output = create_array(tmp_path / "o.zarr", "a", shape=lazy.shape, dtype="f4", chunks=(16, 16))
    bp.copy(lazy, output, block_shape=(16, 16), job_type="subprocess", num_workers=2, progress=False)
    np.testing.assert_allclose(output[...], whole, rtol=0, atol=1e-6)


def test_functions_and_classes_of_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        dedent(
            """
            import sys
            import numpy as np
            import bioimage_py as bp
            from bioimage_py.io import create_array
            from bioimage_py.wrapper import (
                MultiTransformationSource, SimpleTransformationSource, WrapperSource, register_wrapper
            )

            SUMMAND = 2

            def shifted(block):
                return block + SUMMAND

            class Scale:
                def __init__(self, factor):
                    self.factor = factor
                def __call__(self, a, b):
                    return (a + b) * self.factor

            @register_wrapper
            class Minus(WrapperSource):
                def __init__(self, source, value):
                    super().__init__(source)
                    self.value = value
                def _params(self):
                    return {"value": self.value}
                def _getitem(self, roi):
                    return self.source[roi] - self.value

            if __name__ == "__main__":
                path = sys.argv[1]
                raw = create_array(path, "raw", shape=(20, 20), dtype="i4", chunks=(8, 8))
                raw[...] = np.arange(400).reshape(20, 20)
                lazy = MultiTransformationSource(
                    Scale(3), SimpleTransformationSource(raw, shifted), Minus(raw, 1), dtype="i4"
                )
                out = create_array(path, "out", shape=(20, 20), dtype="i4", chunks=(8, 8))
                bp.copy(lazy, out, block_shape=(8, 8), job_type="subprocess", num_workers=2, progress=False)
                assert (out[...] == (2 * raw[...] + 1) * 3).all()
                print("done")
            """
        )
    )
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "d.zarr")], capture_output=True, text=True, timeout=120
    )
    assert run.stdout.strip() == "done", run.stderr


def test_a_wrapper_says_which_storage_it_reads(tmp_path: Path) -> None:
    one, two = sharded(tmp_path), sharded(tmp_path, "b")
    lazy = MultiTransformationSource(np.add, FlipSource(one), ConcatenateSource(two, axis=0))
    assert [part.identity for part in lazy.parts] == [one.identity, two.identity]
    assert [part.identity for part in TransposeSource(lazy).parts] == [one.identity, two.identity]
    opened = lazy.fresh(cache_bytes=1 << 20)
    assert opened is not lazy
    np.testing.assert_array_equal(opened[...], lazy[...])
    lazy.close()
