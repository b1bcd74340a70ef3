"""Small deterministic calls on which the drop-in promise is checked.

The peer package of the same import name answers them once, in its own environment (`record_peer.py`); the test suite
asks this package the same and compares. So this module may import nothing that one of the two environments lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import peer_labels
from peer_case import BLOCK, BLOCKED, VARIANTS, Case
from peer_data import CHUNK, SHAPE, blobs, cells, hills, inside, noise, seeds, stored
from peer_geometry import transformation_cases, wrapper_cases
from peer_shapes import filter_cases, morphology_cases
from peer_table import ARITHMETIC, COMPARISONS, STATISTICS, describe


def all_cases() -> Iterator[Case]:
    """Every case, names unique."""
    yield from _copy_cases()
    yield from filter_cases()
    yield from _stats_cases()
    yield from _operation_cases()
    yield from _segmentation_cases()
    yield from _relabel_cases()
    yield from _evaluation_cases()
    yield from morphology_cases()
    yield from (Case(*one) for one in peer_labels.calls())
    yield from _source_cases()
    yield from wrapper_cases()
    yield from transformation_cases()
    yield from _runner_cases()
    yield from _util_cases()


def _copy_cases() -> Iterator[Case]:
    for variant, run in VARIANTS.items():
        yield Case(f"copy {variant}", lambda p, _, run=run: p("").copy(noise(), **run))
        for order, factor in ((0, 2), (0, (1, 2, 4)), (1, 2)):
            yield Case(
                f"downsample {factor} order {order} {variant}",
                lambda p, _, run=run, order=order, factor=factor: p("").downsample(
                    noise(), factor, order=order, **({**run, "block_shape": (4, 5, 6)} if run else {})
                ),
            )
        yield Case(
            f"downsample odd shape {variant}",
            lambda p, _, run=run: p("").downsample(
                noise()[:11, :19, :23].copy(), 2, **({**run, "block_shape": (3, 5, 6)} if run else {})
            ),
        )
        for dtype in ("uint8", "float32", "float64"):
            yield Case(
                f"gaussian_smoothing {dtype} {variant}",
                lambda p, _, run=run, dtype=dtype: p("filters").gaussian_smoothing(noise(dtype=dtype), 1.0, **run),
                2e-4,
            )
        yield Case(
            f"gaussian_smoothing per axis {variant}",
            lambda p, _, run=run: p("filters").gaussian_smoothing(hills(), (0.5, 1.5, 1.0), **run),
            2e-4,
        )

    def copied_to_zarr(p: Callable[[str], Any], folder: Path, **run: Any) -> np.ndarray:
        output = stored(folder, "output", np.full(SHAPE, 7, dtype="uint8"))
        returned = p("").copy(stored(folder, "input", noise()), output, **run)
        assert returned is output
        return np.asarray(output[:])

    yield Case("copy zarr direct", copied_to_zarr)
    yield Case("copy zarr blocked", lambda p, folder: copied_to_zarr(p, folder, **BLOCKED))
    yield Case("copy zarr mask", lambda p, folder: copied_to_zarr(p, folder, mask=inside(), **BLOCKED))
    yield Case("copy zarr block_ids", lambda p, folder: copied_to_zarr(p, folder, block_ids=[0, 3, 7], **BLOCKED))


def _stats_cases() -> Iterator[Case]:
    data = {"uint8": noise(), "float32": noise(dtype="float32"), "int16": noise(601, "int16") - np.int16(300)}
    for name in STATISTICS:
        tolerance = 1e-6 if "mean" in name or "std" in name else 0.0
        for dtype, values in data.items():
            for variant, run in {**VARIANTS, "mask": {**BLOCKED, "mask": inside()}}.items():
                yield Case(
                    f"stats.{name} {dtype} {variant}",
                    lambda p, _, name=name, values=values, run=run: getattr(p("stats"), name)(values, **run),
                    tolerance,
                )
    yield Case("stats.max positional", lambda p, _: p("stats").max(noise(), 2, BLOCK, "local", None, inside(), [0, 1]))
    yield Case("stats.max mask without block_shape", lambda p, _: p("stats").max(noise(), mask=inside()))
    yield Case("stats.max empty mask", lambda p, _: p("stats").max(noise(), mask=np.zeros(SHAPE, bool), **BLOCKED))
    for variant, run in VARIANTS.items():
        yield Case(f"stats.unique {variant}", lambda p, _, run=run: p("stats").unique(cells(), **run))
        yield Case(f"stats.unique counts {variant}", lambda p, _, run=run: p("stats").unique(cells(), True, **run))


def _operation_cases() -> Iterator[Case]:
    left, right = noise(100, "uint16") + np.uint16(120), noise(100, "uint16", seed=9) + np.uint16(1)
    operands = {
        "scalar": (left, 3),
        "array": (left, right),
        "floats": (left.astype("float32"), 2.5),
        "float scalar": (left, 2.5),
        "broadcast": (left, right[:, :1, :].copy()),
    }
    for name in (*ARITHMETIC, *COMPARISONS):
        for kind, (x, y) in operands.items():
            for variant, run in VARIANTS.items():
                yield Case(
                    f"operations.{name} {kind} {variant}",
                    lambda p, _, name=name, x=x, y=y, run=run: getattr(p("operations"), name)(x, y, **run),
                )
    for variant, run in VARIANTS.items():
        yield Case(f"operations.isin {variant}", lambda p, _, run=run: p("operations").isin(cells(), [3, 9], **run))
        for operation in ("power", np.floor_divide):
            yield Case(
                f"operations.apply_operation {getattr(operation, '__name__', operation)} {variant}",
                lambda p, _, run=run, f=operation: p("operations").apply_operation(left, 2, f, **run),
            )

    def in_place(p: Callable[[str], Any], _: Path, **run: Any) -> Any:
        data = left.copy()
        assert p("operations").add(data, 5, data, **run) is data
        return data

    yield Case("operations.add in place direct", in_place)
    yield Case("operations.add in place blocked", lambda p, folder: in_place(p, folder, **BLOCKED))
    yield Case("operations.add overflow", lambda p, _: p("operations").add(np.full((2, 2), 250, dtype="uint8"), 10))


def _segmentation_cases() -> Iterator[Case]:
    for variant, run in VARIANTS.items():
        yield Case(f"label {variant}", lambda p, _, run=run: p("segmentation").label(blobs(), **run), ranked=True)
        yield Case(
            f"label threshold {variant}",
            lambda p, _, run=run: p("segmentation").label(hills(), threshold=118, **run),
            ranked=True,
        )
        yield Case(
            f"label mask {variant}",
            lambda p, _, run=run: p("segmentation").label(blobs(), mask=inside(), **{**BLOCKED, **run}),
            ranked=True,
        )
        yield Case(
            f"watershed {variant}",
            lambda p, _, run=run: p("segmentation").watershed(
                hills("float32"), seeds(), **({**run, "halo": (3, 5, 4)} if run else {})
            ),
        )
    for connectivity in (1, 2, 3):
        yield Case(
            f"label connectivity {connectivity}",
            lambda p, _, c=connectivity: p("segmentation").label(noise(10) > 7, connectivity=c),
            ranked=True,
        )
    yield Case("label uint32 output", lambda p, _: p("segmentation").label(blobs(), np.zeros(SHAPE, "uint32")))


def _relabel_cases() -> Iterator[Case]:
    table = {int(old): int(old) * 2 + 5 for old in np.unique(cells())}
    dense = np.arange(100, dtype="uint64")[::-1].copy()
    for variant, run in VARIANTS.items():
        for kind, labeling in (("dict", table), ("dense", dense)):
            yield Case(
                f"relabel {kind} {variant}",
                lambda p, _, run=run, labeling=labeling: p("segmentation").relabel(cells(), labeling, **run),
            )
        for options in ({}, {"keep_zeros": False, "start_label": 1}, {"start_label": 5}):
            yield Case(
                f"relabel_consecutive {options} {variant}",
                lambda p, _, run=run, o=options: p("segmentation").relabel_consecutive(cells(), **o, **run),
            )
        yield Case(
            f"relabel_consecutive without background {variant}",
            lambda p, _, run=run: p("segmentation").relabel_consecutive(cells() + np.uint64(2), **run),
        )
        for options in (
            {"min_size": 200},
            {"max_size": 300},
            {"min_size": 200, "max_size": 300},
            {"min_size": 200, "relabel": False},
        ):
            yield Case(
                f"size_filter {options} {variant}",
                lambda p, _, run=run, o=options: p("segmentation").size_filter(cells(), **o, **run),
            )
        yield Case(
            f"segmentation_filter {variant}",
            lambda p, _, run=run: p("segmentation").segmentation_filter(cells(), _without_nine, **run),
        )
    yield Case("relabel missing key", lambda p, _: p("segmentation").relabel(cells(), {0: 0, 3: 1}))
    yield Case("relabel small ids", lambda p, _: p("segmentation").relabel(cells("uint8"), table))
    yield Case("relabel overflow", lambda p, _: p("segmentation").relabel(cells("uint16"), dense + np.uint64(70000)))
    yield Case("size_filter without a bound", lambda p, _: p("segmentation").size_filter(cells()))
    yield Case("relabel zarr in place", _relabelled_in_place)


def _without_nine(labels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    return np.where(labels == 9, 0, labels)


def _relabelled_in_place(p: Callable[[str], Any], folder: Path) -> np.ndarray:
    array = stored(folder, "labels", cells())
    p("segmentation").relabel(array, np.arange(100, dtype="uint64")[::-1].copy(), **BLOCKED)
    return np.asarray(array[:])


def _evaluation_cases() -> Iterator[Case]:
    a, b = cells(), noise(7, "uint64")
    for variant, run in {**VARIANTS, "mask": {**BLOCKED, "mask": inside()}}.items():
        yield Case(
            f"contingency_table {variant}",
            lambda p, _, run=run: p("evaluation").contingency_table(a, b, **run),
        )
        for options in ({}, {"ignore_gt": [0]}, {"ignore_seg": [0, 3], "ignore_gt": [1]}):
            for name in ("variation_of_information", "rand_index"):
                yield Case(
                    f"{name} {options} {variant}",
                    lambda p, _, run=run, o=options, name=name: getattr(p("evaluation"), name)(a, b, **o, **run),
                    1e-9,
                )
    yield Case(
        "variation_of_information in nats",
        lambda p, _: p("evaluation").variation_of_information(a, b, use_log2=False),
        1e-9,
    )
    for name in ("vi_scores", "rand_scores"):
        yield Case(
            name,
            lambda p, _, name=name: getattr(p("evaluation"), name)(p("evaluation").contingency_table(a, b)),
            1e-9,
        )
    yield Case("as_dicts", lambda p, _: p("evaluation").contingency_table(a, b).as_dicts())
    yield Case("drop_ignore", lambda p, _: p("evaluation").contingency_table(a, b).drop_ignore([0], [1, 2]))


def _source_cases() -> Iterator[Case]:
    def read(index: Any) -> Callable[[Callable[[str], Any], Path], Any]:
        return lambda p, _: p("sources").as_source(noise())[index]

    indices = (2, -1, slice(3, 9), (1, slice(2, 5)), Ellipsis, (Ellipsis, 4), (slice(-5, None), 3, slice(2, 2)))
    for index in indices:
        yield Case(f"source[{index}]", read(index))
    yield Case("source[slice(-100, 3)]", read(slice(-100, 3)))
    yield Case("source[1.7]", read(1.7))
    yield Case("as_source of a path", lambda p, _: p("sources").as_source("volume.zarr"))
    yield Case("as_source of a list", lambda p, _: p("sources").as_source([1, 2]))
    yield Case("spec of numpy", lambda p, _: p("sources").as_source(noise()).to_spec())

    def properties(p: Callable[[str], Any], folder: Path) -> Any:
        source = p("sources").as_source(stored(folder, "volume", noise()))
        return source.shape, str(source.dtype), source.chunks, source.shards, source.ndim, source.writable

    def reopened(p: Callable[[str], Any], folder: Path) -> Any:
        spec = p("sources").as_source(stored(folder, "volume", noise())).to_spec()
        return spec.kind, p("sources").from_spec(spec)[2:5, 3]

    def opened(p: Callable[[str], Any], folder: Path) -> Any:
        import zarr

        group = zarr.open_group(str(folder / "group.zarr"), mode="w")
        group.create_array("raw", shape=SHAPE, chunks=CHUNK, dtype="uint8")[:] = noise()
        source = p("sources").open_source(str(folder / "group.zarr"), "raw")
        return source.format, source.writable, source[3:5]

    yield Case("properties of zarr", properties)
    yield Case("zarr reopened from its spec", reopened)
    yield Case("open_source of a zarr group", opened)
    for squeeze in (False, True):
        yield Case(
            f"RoiSource squeeze={squeeze}",
            lambda p, _, squeeze=squeeze: _region(p, squeeze),
        )
    for path in ("a.h5", "a.n5", "a.zarr", "a.zr", "a.tif", "a.unknown"):
        yield Case(f"infer_format {path}", lambda p, _, path=path: p("io").infer_format(path))
    for name in ("hdf5", "n5", "zarr", "unknown"):
        yield Case(f"is_writable_format {name}", lambda p, _, name=name: p("io").is_writable_format(name))
    for extension in (".h5", ".zarr", ".unknown"):
        yield Case(f"format_for_extension {extension}", lambda p, _, e=extension: p("io").format_for_extension(e))


def _region(p: Callable[[str], Any], squeeze: bool) -> Any:
    data = noise()
    region = p("wrapper").RoiSource(data, (slice(2, 9), 3, slice(4, 20)), squeeze=squeeze)
    region[1:3] = np.full(region[1:3].shape, 9, dtype="uint8")
    return region.shape, region.ndim, region[0:4], data


def _runner_cases() -> Iterator[Case]:
    def run(p: Callable[[str], Any], **options: Any) -> Any:
        to_roi = p("").to_roi

        def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> Any:
            if hasattr(block, "outer_block"):
                parts = (block.outer_block, block.inner_block, block.inner_block_local)
                return [[list(part.begin), list(part.end), list(part.shape)] for part in parts]
            return list(block.begin), list(block.shape), int(inputs[0][to_roi(block)].sum()), mask is None

        return p("runner").get_runner("local").run(function, [noise()], has_return_val=True, **options)

    options: dict[str, dict[str, Any]] = {
        "plain": {"block_shape": BLOCK},
        "two workers": BLOCKED,
        "border blocks": {"block_shape": (5, 7, 9)},
        "block_ids": {"block_shape": BLOCK, "block_ids": [5, 0, 3]},
        "roi": {"block_shape": BLOCK, "roi": (slice(1, 10), slice(None), slice(3, 17))},
        "halo": {"block_shape": BLOCK, "halo": (1, 2, 3)},
        "halo scalar": {"block_shape": BLOCK, "halo": 2},
        "halo zero": {"block_shape": BLOCK, "halo": 0},
        "halo and roi": {"block_shape": BLOCK, "halo": 2, "roi": (slice(1, 10), slice(2, 20), slice(3, 17))},
        "mask": {"block_shape": BLOCK, "mask": inside()},
    }
    for name, keywords in options.items():
        yield Case(f"Runner.run {name}", lambda p, _, keywords=keywords: run(p, **keywords))
    yield Case("Runner.run zero block shape", lambda p, _: run(p, block_shape=(0, 4, 4)))
    yield Case("Runner.run block_shape of wrong length", lambda p, _: run(p, block_shape=(4, 4)))
    yield Case("Runner.run without block_shape", lambda p, _: run(p))
    yield Case("Runner.run without return", lambda p, _: _run_without_return(p))
    yield Case("Runner.run failing block", lambda p, _: _failed_ids(p))
    yield Case("Runner.map", lambda p, _: p("").get_runner("local").map(_square, 6, num_workers=2))
    yield Case("Runner.map item_ids", lambda p, _: p("").get_runner("LOCAL").map(_square, item_ids=[4, 1]))
    yield Case("Runner.map nothing", lambda p, _: p("").get_runner("local").map(_square))
    yield Case("get_runner unknown", lambda p, _: p("").get_runner("cluster"))


def _square(value: int) -> int:
    return value * value


def _run_without_return(p: Callable[[str], Any]) -> Any:
    output = np.zeros(SHAPE, dtype="uint8")

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        region = p("").to_roi(block)
        outputs[0][region] = inputs[0][region] // 2

    return p("runner").get_runner("local").run(function, [noise()], [output], **BLOCKED), output


def _failed_ids(p: Callable[[str], Any]) -> Any:
    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if list(block.begin) == [6, 10, 8]:
            raise ValueError("a bug")

    try:
        p("runner").get_runner("local").run(function, [noise()], **BLOCKED)
    except p("runner").RunnerError as error:
        return isinstance(error, RuntimeError), list(error.failed_block_ids), error.tmp_folder
    return "no error"


def _util_cases() -> Iterator[Case]:
    calls: dict[str, Callable[[Any, Any], Any]] = {
        "downscale_shape": lambda u, s: [u.downscale_shape((9, 10), 2), u.downscale_shape((9, 10), (3, 4), False)],
        "full_roi": lambda u, s: u.full_roi(3),
        "normalize_halo": lambda u, s: [u.normalize_halo(2, 3), u.normalize_halo((1, 0, 4), 3)],
        "normalize_halo wrong length": lambda u, s: u.normalize_halo((1, 2), 3),
        "sigma_to_halo": lambda u, s: [u.sigma_to_halo(2.0, 0), u.sigma_to_halo((1.0, 2.0), 1)],
        "derive_block_shape": lambda u, s: u.derive_block_shape(s.as_source(noise()), (4, 5, 6)),
        "derive_block_shape none": lambda u, s: u.derive_block_shape(s.as_source(noise()), None),
        "is_direct": lambda u, s: [u.is_direct("local", 1, None), u.is_direct("local", 2, None)],
        "check_direct": lambda u, s: u.check_direct("local", 1, None, None, None),
        "check_direct blocks": lambda u, s: u.check_direct("local", 1, BLOCK, inside(), None),
        "check_direct mask": lambda u, s: u.check_direct("local", 1, None, inside(), None),
        "take_mapping": lambda u, s: u.take_mapping({0: 0, 1: 5, 7: 2}, np.array([0, 7, 1, 1])),
        "check_rerun_args": lambda u, s: u.check_rerun_args("local", None, [1]),
        "check_rerun_args local": lambda u, s: u.check_rerun_args("local", "folder", None),
        "check_rerun_args both": lambda u, s: u.check_rerun_args("slurm", "folder", [1]),
        "to_roi": lambda u, s: u.to_roi(u.get_blocking(SHAPE, BLOCK).get_block(5)),
        "get_blocking": lambda u, s: u.get_blocking(SHAPE, (5, 7, 9)).number_of_blocks,
        "get_blocking halo": lambda u, s: [
            u.to_roi(part)
            for block in [u.get_blocking(SHAPE, BLOCK).get_block_with_halo(5, [1, 2, 3])]
            for part in (block.outer_block, block.inner_block, block.inner_block_local)
        ],
    }
    for name, call in calls.items():
        yield Case(f"util.{name}", lambda p, _, call=call: call(p("util"), p("sources")))

    def same(p: Callable[[str], Any], _: Path) -> list[bool]:
        data, as_source = noise(), p("sources").as_source
        same_array = p("util").same_array
        return [same_array(as_source(data), as_source(data)), same_array(as_source(data), as_source(data.copy()))]

    yield Case("util.same_array", same)


def answer(case: Case, part: Callable[[str], Any], folder: Path) -> Any:
    """The JSON form of what the call returns, or of the built-in error that it raises."""
    try:
        return describe(case.call(part, folder))
    except Exception as error:  # noqa: BLE001 - the kind of error is the answer
        return {"raises": [cls.__name__ for cls in type(error).__mro__ if cls.__module__ == "builtins"][:-3]}
