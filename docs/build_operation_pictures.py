"""Draw a sheet for each package of docs/operations.md: `python docs/build_operation_pictures.py NUCLEI.tif`.

What each operation makes of a volume of nuclei: one plane of it. NUCLEI.tif is `stardist/data/images/img3d.tif` of the
StarDist repository, or another volume of nuclei.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

import bioimage_py as bp

mpl.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).with_name("pictures")
QUIET: dict[str, Any] = {"progress": False, "block_shape": 24}
COLORS = np.concatenate([np.zeros((1, 3)), np.random.default_rng(3).random((4095, 3)) * 0.8 + 0.2])
PLANE = 12


def nuclei(raw: np.ndarray) -> np.ndarray:
    """Labels by the recipe of docs/segmentation.md."""
    sys.path.insert(0, str(FOLDER.parents[1] / "benchmarks"))
    from nuclei import recipe

    return np.asarray(recipe(raw), np.uint32)


def bright(raw: np.ndarray) -> np.ndarray:
    """Voxels above their surroundings, with holes and specks."""
    return raw > bp.filters.gaussian_smoothing(raw.astype(np.float32), 5, **QUIET) + 6


def morphology(raw: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Shapes of the foreground, and of objects."""
    m, inside = bp.morphology, bright(raw)
    far = m.distance_transform(labels > 0, **QUIET)
    peaks = np.zeros(raw.shape, bool)
    peaks[tuple(m.find_local_maxima(far, min_distance=2, **QUIET).T)] = True
    table = m.regionprops(labels, progress=False)
    size = np.zeros(labels.max() + 1)
    size[table["label"]] = table["n_voxels"]
    points = np.argwhere(np.random.default_rng(1).random(raw.shape) < 0.02)
    nearest = np.zeros(raw.shape, labels.dtype)
    nearest[tuple(points.T)] = m.map_points_to_objects(labels, points, progress=False)[0]
    return {
        "voxels brighter than\ntheir surroundings": inside,
        "binary_erosion": m.binary_erosion(inside, **QUIET),
        "binary_dilation": m.binary_dilation(inside, **QUIET),
        "binary_opening": m.binary_opening(inside, **QUIET),
        "binary_closing": m.binary_closing(inside, **QUIET),
        "fill_holes": m.fill_holes(inside, **QUIET),
        "remove_small_holes\nmax_size=20": m.remove_small_holes(inside, max_size=20, **QUIET),
        "remove_small_objects\nmax_size=50": m.remove_small_objects(inside, max_size=50, **QUIET),
        "skeletonize\nthe nuclei": m.skeletonize(labels > 0, progress=False),
        "distance_transform\nof the nuclei": far,
        "find_local_maxima\nof the distances": m.binary_dilation(peaks, **QUIET),
        "expand_labels\ndistance=2": m.expand_labels(labels, 2, **QUIET),
        "map_points_to_objects\nrandom points": m.expand_labels(nearest, 1, **QUIET),
        "regionprops\nn_voxels of each": size[labels],
    }


def segmentation(raw: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Objects found, joined, cut and chosen."""
    s, inside = bp.segmentation, bright(raw)
    smooth = bp.filters.gaussian_smoothing(raw.astype(np.float32), 1.5, **QUIET)
    seeds = s.label(smooth > bp.filters.gaussian_smoothing(smooth, 3, **QUIET) + 12, **QUIET)
    touching = s.contacts(labels, **QUIET)
    joined = s.merge_labels(labels, touching[touching["faces"] > 25], **QUIET)
    cut = np.where(np.arange(raw.shape[2]) % 12 == 0, 0, labels).astype(labels.dtype)
    tiles = s.stitch_segmentation(raw, lambda tile, _: bp.segmentation.label(bright(tile)), 24, 4, progress=False)
    background = 1 - np.clip((smooth - bp.filters.gaussian_smoothing(smooth, 5, **QUIET)) / 25 + 0.2, 0, 1)
    offsets = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (-3, 0, 0), (0, -6, 0), (0, 0, -6)]
    inner = 1 - np.stack([highest_between(background, offset) for offset in offsets])
    shared = s.intersect(labels, inside.astype(np.uint8), **QUIET)
    share, neighbours = np.zeros((2, labels.max() + 1))
    share[shared["label_a"]] = shared["share_a"]
    for side in ("label_a", "label_b"):
        neighbours += np.bincount(touching[side].to_numpy(np.int64), minlength=len(neighbours))
    tiled, n = np.zeros(raw.shape, np.uint32), 0
    for begin in np.ndindex(*(-(-size // 24) for size in raw.shape)):
        tile = tuple(slice(24 * one, 24 * one + 24) for one in begin)
        own = s.label(inside[tile], progress=False)
        tiled[tile], n = np.where(own, own + n, 0), n + int(own.max())
    return {
        "label\nbright voxels": s.label(inside, **QUIET),
        "watershed\nfrom seeds": s.watershed(-smooth, seeds, mask=inside, halo=8, **QUIET),
        "distance_watershed\nof 1 - brightness": s.distance_watershed(background.astype(np.float32), progress=False),
        "mutex_watershed\nof affinities": np.where(
            inside, s.mutex_watershed(inner.astype(np.float32), offsets, progress=False), 0
        ),
        "stitch_segmentation\ntiles of 24": tiles,
        "labels of tiles of 24": tiled,
        "stitch_tiled_segmentation\nthese tiles": s.stitch_tiled_segmentation(tiled, 24, progress=False),
        "the recipe's nuclei": labels,
        "size_filter\nmin_size=150": s.size_filter(labels, min_size=150, **QUIET),
        "keep_largest\nn=8": s.keep_largest(labels, n=8, **QUIET),
        "remove_border_objects": s.remove_border_objects(labels, **QUIET),
        "majority\nsize=5": s.majority(labels, size=5, **QUIET),
        "contacts\nneighbours of each": neighbours[labels],
        "intersect with bright voxels\nshare of each nucleus": share[labels],
        "merge_labels\nof long contacts": joined,
        "nuclei with cuts": cut,
        "split_disconnected": s.split_disconnected(cut, **QUIET),
        "relabel\nid -> id % 3 + 1": s.relabel(
            labels, {int(i): int(i) % 3 + bool(i) for i in np.unique(labels)}, **QUIET
        ),
        "segmentation_filter\nof even ids": s.segmentation_filter(
            labels, lambda block, mask: np.where(block % 2, 0, block), **QUIET
        ),
    }


def highest_between(boundary: np.ndarray, offset: tuple[int, ...]) -> np.ndarray:
    """The highest of the values from each voxel to the one at an offset, which is beyond the volume the nearest."""
    found = boundary
    for step in range(1, max(map(abs, offset)) + 1):
        shift = [step * np.sign(one) for one in offset]
        at = [np.clip(np.arange(n) + by, 0, n - 1) for n, by in zip(boundary.shape, shift, strict=True)]
        found = np.maximum(found, boundary[np.ix_(*at)])
    return found


def evaluation(raw: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Scores of each object: the recipe's nuclei as the truth, components of bright voxels as what is scored."""
    e, found = bp.evaluation, bp.segmentation.label(bright(raw), **QUIET)
    pairs = e.matched_pairs(found, labels, threshold=0.1, progress=False)
    far = e.hausdorff_distance(found, labels, progress=False)
    vi = e.object_vi(found, labels, progress=False)

    def shown(frame: Any, label: str, value: str) -> np.ndarray:
        values = np.zeros(labels.max() + 1)
        kept = frame[np.isfinite(frame[value])]
        values[kept[label].to_numpy(np.int64)] = kept[value]
        values[0] = 0
        return values[labels]

    return {
        "components": found,
        "the recipe's nuclei": labels,
        "matched_pairs\niou of each": shown(pairs, "label_gt", "overlap"),
        "hausdorff_distance\nof each": shown(far, "label_gt", "hausdorff"),
        "object_vi\nsplits of each": shown(vi, vi.columns[0], vi.columns[1]),
        "object_vi\nmerges of each": shown(vi, vi.columns[0], vi.columns[2]),
    }


def transformation(raw: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Volumes turned, cut, and resampled."""
    t, middle = bp.transformation, (np.array(raw.shape) - 1) / 2
    turn = t.compute_affine_matrix(rotation=(25, 0, 0), ndim=3)
    turn[:3, 3] = middle - turn[:3, :3] @ middle
    z, y, x = np.indices(raw.shape)
    field = np.stack([0 * z, 3 * np.sin(x / 6), 3 * np.cos(y / 6)])
    low = float(raw.min())
    return {
        "the volume": raw,
        "affine, order=1\nrotation=(25, 0, 0)": t.affine(raw, turn, order=1, fill_value=low, progress=False),
        "affine of labels": t.affine(labels, turn, progress=False),
        "resample\nscale=(1, 0.4, 0.4)": t.resample(raw, scale=(1, 0.4, 0.4), order=1, progress=False),
        "resample\nscale=(1, 3, 3), order=3": t.resample(raw, scale=(1, 3, 3), order=3, progress=False),
        "warp\na wave": t.warp(raw.astype(np.float32), field, displacement=True, order=1, progress=False),
        "flip\naxis x": t.flip(raw, 2, progress=False),
        "rotate90": t.rotate90(raw, plane=(1, 2), progress=False),
        "transpose": t.transpose(raw, (0, 2, 1), progress=False),
        "crop": t.crop(raw, (slice(None), slice(10, 40), slice(10, 40)), progress=False),
        "pad\nmode=reflect": t.pad(raw, ((0, 0), (12, 12), (12, 12)), mode="reflect", progress=False),
        "downsample by 2\nmethod=mean": bp.downsample(raw, (1, 2, 2), method="mean", progress=False),
    }


def operations(raw: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Arithmetic with numbers and arrays."""
    o, small = bp.operations, raw.astype(np.float32)
    smooth = bp.filters.gaussian_smoothing(small, 5, **QUIET)
    return {
        "the volume": raw,
        "subtract\nits smooth self": o.subtract(small, smooth, **QUIET),
        "divide\nby its smooth self": o.divide(small, smooth, **QUIET),
        "add\nits smooth self": o.add(small, smooth, **QUIET),
        "multiply\nby labels > 0": o.multiply(raw, (labels > 0).astype(raw.dtype), **QUIET),
        "greater\nthan 220": o.greater(raw, 220, **QUIET),
        "minimum\nof it and 220": o.minimum(raw, 220, **QUIET),
        "maximum\nof it and 220": o.maximum(raw, 220, **QUIET),
        "isin\nlabels below 20": o.isin(labels, np.arange(1, 20), **QUIET),
        "apply_operation\nhypot": o.apply_operation(small - small.min(), smooth - small.min(), np.hypot, **QUIET),
    }


def sheet(name: str, shown: dict[str, Any]) -> None:
    """Draw one plane of each result: labels in colours, bool in black and white, the rest in grey."""
    columns = 7 if len(shown) > 12 else 6
    rows = -(-len(shown) // columns)
    figure, panes = plt.subplots(rows, columns, figsize=(1.75 * columns, 2.25 * rows), layout="constrained")
    for pane in panes.flat[len(shown) :]:
        pane.axis("off")
    for pane, (title, result) in zip(panes.flat, shown.items(), strict=False):
        plane = np.asarray(result)[PLANE]
        pane.set_title(title, fontsize=8)
        pane.set(xticks=(), yticks=())
        if plane.dtype.kind in "iu" and plane.dtype.itemsize >= 4:
            pane.imshow(COLORS[plane % 4096 + (plane >= 4096)], interpolation="nearest")
        else:
            low, high = (0, 1) if plane.dtype.kind == "b" else np.percentile(plane, (0.5, 99.5))
            pane.imshow(plane, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    figure.savefig(FOLDER / f"operations-{name}.png", dpi=80, metadata={"Software": None})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python docs/build_operation_pictures.py NUCLEI.tif")
    volume = np.asarray(bp.imread(sys.argv[1]))
    found = nuclei(volume)
    for draw in (morphology, segmentation, evaluation, transformation, operations):
        sheet(draw.__name__, draw(volume, found))
