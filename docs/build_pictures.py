"""Draw the pictures of the pages, from what their code does: `python docs/build_pictures.py [NUCLEI.tif]`.

The picture of the filters needs `stardist/data/images/img3d.tif` of the StarDist repository, or another volume of
nuclei.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy import ndimage

import bioimage_py as bp
from bioimage_py import transformation as tf
from bioimage_py.morphology import distance_transform, expand_labels, fill_holes, find_local_maxima
from bioimage_py.segmentation import label
from bioimage_py.spaces import Box, Ellipse, ObjectClass, ObjectInstance, Ontology, Point, Polyline, Space
from bioimage_py.spaces.raster import rasterise, vectorise
from bioimage_py.wrapper import compute_affine_matrix

mpl.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).with_name("pictures")
ONTOLOGY = Ontology(
    [
        ObjectClass("nucleus", "polygon", "#E6194B"),
        ObjectClass("field", "bounding_box", "#FFE119"),
        ObjectClass("vessel", "polyline", "#42D4F4"),
        ObjectClass("cell body", "ellipse", "#3CB44B"),
        ObjectClass("spot", "point", "#F032E6"),
    ]
)


def image() -> tuple[Any, Any]:
    """Return 12 round things and their labels: 80 x 120 pixels."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:80, :120]
    raw, labels = rng.normal(30, 6, (80, 120)), np.zeros((80, 120), "u1")
    centers = [(cy, cx) for cy in (15, 40, 65) for cx in (15, 45, 75, 105)]
    for value, (cy, cx) in enumerate(centers, 1):
        angle, radius = np.arctan2(y - cy, x - cx), rng.uniform(7, 10)
        edge = radius * (1 + 0.22 * np.cos(rng.integers(2, 4) * angle + rng.uniform(0, 6)))
        inside = np.hypot(y - cy, x - cx) < edge
        if value == 6:
            inside &= np.hypot(y - cy, x - cx) > 3
        labels[inside] = value
        raw[inside] += rng.uniform(60, 120)
    return ndimage.gaussian_filter(raw, 1.0), labels


def spaces() -> None:
    """Objects of all kinds over an image, a query, and the labels that they become."""
    raw, labels = image()
    space = Space.for_image(raw, ("y", "x"), ONTOLOGY)
    vectorise(space, labels, "nucleus")
    for name, shape in (
        ("field", Box((60, 25), (92, 55))),
        ("vessel", Polyline([(2, 27), (30, 30), (58, 26), (88, 28), (118, 24)])),
        ("cell body", Ellipse((105, 65), (13, 10), 20.0)),
        ("spot", Point((30, 53))),
    ):
        space.put_object_instance(ObjectInstance(ONTOLOGY.object_class(name)), shape, units="pixel")
    found = {record.id for record in space.query(Box((60, 25), (92, 55)), class_="nucleus", units="pixel")}
    output = np.zeros_like(labels)
    rasterise(space, output, class_="nucleus")
    figure, panes = plt.subplots(1, 3, figsize=(11, 2.9), layout="constrained")
    titles = ("put: objects over an image", "query: what meets the box", "rasterise: objects as labels")
    for pane, title in zip(panes, titles, strict=True):
        pane.set(title=title, xticks=(0, 40, 80, 120), yticks=(0, 40, 80))
        pane.imshow(raw, cmap="gray", extent=(0, 120, 80, 0), vmin=10, vmax=160)
    for record in space:
        draw(panes[0], record.geometry_in("pixel"), record.class_.color, 1.5)
        chosen = record.id in found
        if record.name == "nucleus":
            draw(
                panes[1], record.geometry_in("pixel"), (230, 25, 75) if chosen else (120, 120, 120), 2 if chosen else 1
            )
        elif record.name == "field":
            draw(panes[1], record.geometry_in("pixel"), record.class_.color, 1.5)
    panes[2].imshow(np.ma.masked_equal(output, 0), cmap="tab20", extent=(0, 120, 80, 0), interpolation="nearest")
    figure.savefig(FOLDER / "spaces.png", dpi=90, metadata={"Software": None})


def draw(pane: Any, geometry: Any, color: Any, width: float) -> None:
    """Draw the outline of a geometry in pixels."""
    shade = np.array(color) / 255
    lines = [geometry.points] if isinstance(geometry, Polyline) else [np.vstack([r, r[:1]]) for r in geometry.rings()]
    if isinstance(geometry, Point):
        pane.plot(*geometry.position, "o", color=shade, markersize=5)
    for line in lines:
        pane.plot(*line.T, color=shade, linewidth=width)


def segmentation() -> None:
    """Boundaries with noise, superpixels, the objects that they are joined to, and the truth."""
    sys.path.insert(0, str(FOLDER.parents[1] / "benchmarks"))
    from boundaries import LEVELS, boundaries

    volume = bp.sample.neurites((48, 200, 200), seed=5, spacing=(10, 10, 10))
    truth = np.asarray(volume.labels[...])
    found = boundaries(truth, LEVELS["mid"], seed=1)
    pieces = np.asarray(bp.segmentation.distance_watershed(found))
    graph = bp.graph.region_graph(pieces, found)
    joined = bp.graph.apply_node_labels(pieces.copy(), bp.graph.multicut(graph, bp.graph.costs(graph)))
    figure, panes = plt.subplots(1, 4, figsize=(12, 3.3), layout="constrained")
    titles = ("boundaries", f"{pieces.max()} superpixels", f"{joined.max()} objects", "truth")
    colors = np.random.default_rng(3).random((4096, 3)) * 0.85 + 0.15
    for pane, title, values in zip(panes, titles, (found, pieces, joined, truth), strict=True):
        plane = values[24]
        pane.set(title=title, xticks=(), yticks=())
        pane.imshow(plane if plane.dtype == np.float32 else colors[plane % 4096], cmap="gray", interpolation="nearest")
    figure.savefig(FOLDER / "segmentation.png", dpi=90, metadata={"Software": None})


def shapes() -> None:
    """Objects with holes, what fills them, how far each voxel is from background, and labels that have grown."""
    raw, _ = image()
    inside = raw > 60
    filled = fill_holes(inside, block_shape=32, progress=False)
    far = distance_transform(filled, block_shape=32, progress=False)
    peaks = find_local_maxima(far, min_distance=4, block_shape=32, progress=False)
    grown = expand_labels(label(filled), 6, block_shape=32, progress=False)
    figure, panes = plt.subplots(1, 4, figsize=(14, 2.9), layout="constrained")
    titles = ("foreground", "fill_holes", "distance_transform, find_local_maxima", "expand_labels by 6")
    shown = ((inside, "gray"), (filled, "gray"), (far, "viridis"), (np.ma.masked_equal(grown, 0), "tab20"))
    for pane, title, (values, colors) in zip(panes, titles, shown, strict=True):
        pane.set(title=title, xticks=(0, 40, 80, 120), yticks=(0, 40, 80))
        pane.imshow(values, cmap=colors, interpolation="nearest")
    panes[2].plot(peaks[:, 1], peaks[:, 0], "r.", markersize=6)
    panes[3].contour(filled, [0.5], colors="black", linewidths=0.8)
    figure.savefig(FOLDER / "morphology.png", dpi=80, metadata={"Software": None})


FILTERS: dict[str, dict[str, Any]] = {
    "gaussian_smoothing": {"sigma": 1.5},
    "median": {"size": 5},
    "percentile": {"percentile": 10, "size": 9},
    "rank": {"rank": -1, "size": 5},
    "white_tophat": {"size": 13},
    "black_tophat": {"size": 9},
    "difference_of_gaussians": {"low_sigma": 1.0, "high_sigma": 4.0},
    "normalize_local_contrast": {"sigma": 6.0, "epsilon": 5.0},
    "gaussian_gradient_magnitude": {"sigma": 1.0},
    "laplacian_of_gaussian": {"sigma": 2.5},
    "hessian_of_gaussian_eigenvalues": {"sigma": 2.5, "return_channel": 0},
    "structure_tensor_eigenvalues": {"sigma": 1.0, "outer_scale": 2.0, "return_channel": 0},
}


def filters(volume: str) -> None:
    """What each filter makes of a volume of nuclei: one plane of it."""
    raw = bp.imread(volume)
    plane = len(raw) // 2
    shown = {"the volume": raw}
    for name, arguments in FILTERS.items():
        told = textwrap.fill(", ".join(f"{key}={value}" for key, value in arguments.items()), 34)
        shown[f"{name}\n{told}"] = getattr(bp.filters, name)(raw, **arguments)
    figure, panes = plt.subplots(3, 5, figsize=(11, 7.4), layout="constrained")
    for pane in panes.flat:
        pane.axis("off")
    for pane, (title, result) in zip(panes.flat, shown.items(), strict=False):
        low, high = np.percentile(result[plane], (0.5, 99.5))
        pane.set_title(title, fontsize=8)
        pane.imshow(result[plane], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    figure.savefig(FOLDER / "filters.png", dpi=80, metadata={"Software": None})


def transformation() -> None:
    """An image turned, resampled without and with smoothing, and deformed; its labels turned."""
    raw, labels = image()
    turn = compute_affine_matrix(rotation=25, ndim=2)
    middle = (np.array(raw.shape) - 1) / 2
    turn[:2, 2] = middle - turn[:2, :2] @ middle
    fine = raw + 60 * (np.indices(raw.shape).sum(0) % 3 == 0)
    y, x = np.indices(raw.shape)
    field = np.stack([6 * np.sin(x / 12), 6 * np.cos(y / 10)])
    lines = ((x % 15 == 0) | (y % 10 == 0)) * 200.0
    shown = (
        ("an image", raw, "gray"),
        ("affine(..., rotation=25, order=1)", tf.affine(raw, turn, order=1, fill_value=30), "gray"),
        ("its labels, order=0", tf.affine(labels, turn), "tab20"),
        ("stripes, every 4th voxel", tf.resample(fine, scale=0.25, order=1, anti_aliasing=False), "gray"),
        ("resample(..., scale=1/4, order=1)", tf.resample(fine, scale=0.25, order=1), "gray"),
        ("warp(..., displacement=True)", tf.warp(np.maximum(raw, lines), field, displacement=True, order=1), "gray"),
    )
    figure, panes = plt.subplots(2, 3, figsize=(11, 5.4), layout="constrained")
    for pane, (title, array, colors) in zip(panes.ravel(), shown, strict=True):
        pane.set_title(title, fontsize=10)
        pane.set(xticks=(), yticks=())
        seen = np.ma.masked_equal(array, 0) if colors == "tab20" else array
        pane.imshow(
            seen, cmap=colors, interpolation="nearest", **({} if colors == "tab20" else {"vmin": 10, "vmax": 200})
        )
    figure.savefig(FOLDER / "transformation.png", dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    spaces()
    segmentation()
    shapes()
    if sys.argv[1:]:
        filters(sys.argv[1])
    transformation()
