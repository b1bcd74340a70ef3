"""Cases of the drop-in promise: filters, and the measures and shapes of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from peer_case import BLOCK, BLOCKED, VARIANTS, Case
from peer_data import SHAPE, blobs, cells, hills, inside, noise, seeds, stored


def filter_cases() -> Iterator[Case]:
    """Tolerances are those of the peer's single precision, on values of some hundreds and their squares."""

    def applied(name: str, tolerance: float, label: str = "", data: Any = None, **options: Any) -> Iterator[Case]:
        for variant, run in VARIANTS.items():
            values = hills() if data is None else data
            keywords = {"sigma": 1.0, **options, **run}
            if run:
                keywords["block_shape"] = BLOCK[-values.ndim :]
            yield Case(
                f"{name} {label}{' ' if label else ''}{variant}",
                lambda p, _, values=values, keywords=keywords: p("filters").apply_filter(values, name, **keywords),
                tolerance,
            )

    filters = {
        "gaussian_gradient_magnitude": (1e-3, {}),
        "laplacian_of_gaussian": (1e-3, {}),
        "hessian_of_gaussian_eigenvalues": (0.05, {}),
        "structure_tensor_eigenvalues": (2.0, {"outer_scale": 2.0}),
    }
    for name, (tolerance, options) in filters.items():
        for dtype in ("uint8", "uint16", "float32", "float64"):
            yield from applied(name, tolerance, dtype, noise(dtype=dtype), **options)
        yield from applied(name, tolerance, "2D", noise()[3].copy(), **options)
        yield from applied(name, tolerance, "per axis", sigma=(0.5, 1.5, 1.0), **options)
        if len(options) or "hessian" in name:
            yield from applied(name, tolerance, "channel 1", return_channel=1, **options)
            yield from applied(name, tolerance, "channel -1", return_channel=-1, **options)
            yield from applied(name, tolerance, "channel 3", return_channel=3, **options)
    yield from applied("gaussian_smoothing", 2e-4, "by name")
    yield from applied("structure_tensor_eigenvalues", 2.0, "without outer_scale")
    yield from applied("laplacian_of_gaussian", 1e-3, "channel 0", return_channel=0)
    yield from applied("laplacian_of_gaussian", 1e-3, "with outer_scale", outer_scale=2.0)
    yield from applied("median", 1e-3)
    yield from applied("laplacian_of_gaussian", 1e-3, "int16", noise(dtype="int16"))
    for name in ("gaussian_gradient_magnitude", "laplacian_of_gaussian"):
        yield Case(
            f"{name} by its own name",
            lambda p, _, name=name: getattr(p("filters"), name)(hills(), 1.0, **BLOCKED),
            1e-3,
        )

    def into_zarr(p: Callable[[str], Any], folder: Path, **run: Any) -> np.ndarray:
        output = stored(folder, "output", np.full(SHAPE, 7, dtype="float32"))
        returned = p("filters").laplacian_of_gaussian(stored(folder, "input", noise()), 1.0, output, **run)
        assert returned is output
        return np.asarray(output[:])

    yield Case("laplacian_of_gaussian zarr", lambda p, folder: into_zarr(p, folder, **BLOCKED), 1e-3)
    yield Case("laplacian_of_gaussian mask", lambda p, folder: into_zarr(p, folder, mask=inside(), **BLOCKED), 1e-3)
    yield Case(
        "laplacian_of_gaussian block_ids", lambda p, folder: into_zarr(p, folder, block_ids=[0, 5], **BLOCKED), 1e-3
    )

    def in_place(p: Callable[[str], Any], _: Path) -> Any:
        data = hills("float32")
        return p("filters").laplacian_of_gaussian(data, 1.0, data, **BLOCKED)

    yield Case("laplacian_of_gaussian in place", in_place, 1e-3)


def morphology_cases() -> Iterator[Case]:
    variants = {**VARIANTS, "mask": {**BLOCKED, "mask": inside()}}
    for variant, run in variants.items():
        yield Case(
            f"morphology {variant}", lambda p, _, run=run: _columns(p("morphology").morphology(cells(), **run)), 1e-9
        )
    for variant, how in {"voxels": {}, "surface": {"compute_surface": True, "resolution": (2.0, 1.0, 0.5)}}.items():

        def measured(p: Callable[[str], Any], _: Path, how: dict[str, Any] = how) -> Any:
            table = p("morphology").morphology(cells())
            return _columns(p("morphology").regionprops(cells(), table, verbose=False, **how))

        def without(p: Callable[[str], Any], folder: Path, measured: Any = measured) -> Any:
            return {name: values for name, values in measured(p, folder).items() if not name.startswith("centroid")}

        yield Case(f"regionprops {variant}", without, 1e-5)
        yield Case(f"regionprops {variant}, centroids", measured, 1e-5)
    far = {"direct": {}, "blocked": BLOCKED, "sampling": {"sampling": (2.0, 1.0, 0.5), **BLOCKED}}
    for variant, run in far.items():
        yield Case(
            f"distance_transform {variant}",
            lambda p, _, run=run: p("morphology").distance_transform(blobs(), SHAPE, **run),
            1e-5,
        )
    yield Case(
        "distance_transform beyond the halo",
        lambda p, _: p("morphology").distance_transform(np.indices(SHAPE).sum(0) > 0, (1, 1, 1), **BLOCKED),
    )
    yield Case(
        "distance_transform without background",
        lambda p, _: p("morphology").distance_transform(np.ones(SHAPE, dtype=bool), SHAPE),
    )
    points = np.array([[0, 0, 0], [11, 19, 23], [5, 10, 7], [6, 3, 20], [40, 0, 0]])
    for variant, how in {"voxels": {}, "sampling": {"sampling": (2.0, 1.0, 0.5)}}.items():
        yield Case(
            f"map_points_to_objects {variant}",
            lambda p, _, how=how: p("morphology").map_points_to_objects(seeds(), points, BLOCK, halo=SHAPE, **how),
            1e-6,
        )
    yield Case(
        "find_local_maxima plateaus",
        lambda p, _: _in_order(p("morphology").find_local_maxima(hills("float32"), **BLOCKED)),
    )
    peaks = hills("float32") * 1000 + np.arange(hills().size, dtype="float32").reshape(SHAPE) / 10
    for how in ({}, {"min_distance": 2}, {"threshold_abs": 150000}, {"threshold_rel": 0.7}):
        for variant, run in VARIANTS.items():
            yield Case(
                f"find_local_maxima {how} {variant}",
                lambda p, _, how=how, run=run: _in_order(p("morphology").find_local_maxima(peaks, **how, **run)),
            )


def _columns(frame: Any) -> dict[str, Any]:
    return {name: frame[name].tolist() for name in frame.columns}


def _in_order(points: np.ndarray) -> list[Any]:
    return sorted(points.tolist())
