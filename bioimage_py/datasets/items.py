"""Items: what is said of a region of an image, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .annotations.annotation import Annotation
from .annotations.label_sets import LabelSets
from .annotations.masks import CropMask, LabelMask, Shared
from .annotations.merging import merge_categories, merge_labels, merge_semantic
from .annotations.processor import to_semantic
from .config import DatasetConfig
from .layout import Region, moved, spacing_of
from .resources.resource import Resource

Array = npt.NDArray[Any]
ByAuthor = dict[str, Array]
Item = dict[str, Any]


@dataclass
class RawItem:
    """A region of an image before transforms.

    Parameters
    ----------
    image : ndarray (C, N, H, W)
    resource : Resource
    annotations : sequence of Annotation
        What counts of the resource.
    region : tuple of slice
        Its planes or frames, rows and columns.
    frames : int
        Planes or frames of the resource.
    affine : ndarray (4, 4)
        Of the resource, from (N, H, W, 1) to the world.
    whole : bool, default True
        Whether it is all of the resource; of a part, instances and boxes that it has nothing of are left out.
    flat : int, optional
        Axis 0 to 2 of (N, H, W) of size 1 that items do not have.
    swapped, flipped
        Of a plane: whether rows and columns are exchanged, then which of both run backwards.
    padding : sequence of pairs, optional
        Voxels to add before and after along (N, H, W), and how.
    """

    image: Array
    resource: Resource
    annotations: Sequence[Annotation]
    region: Region
    frames: int
    affine: npt.NDArray[np.float64]
    whole: bool = True
    flat: int | None = None
    swapped: bool = False
    flipped: tuple[bool, bool] = (False, False)
    padding: tuple[Sequence[tuple[int, int]], str] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def shown(self, array: Array) -> Array:
        """Return an array (..., N, H, W) as items show it: padded, without the flat axis, turned."""
        if self.padding is not None:
            pairs, mode = self.padding
            array = np.pad(array, [(0, 0)] * (array.ndim - 3) + list(pairs), mode=mode)  # type: ignore[call-overload]
        if self.flat is None:
            return array
        array = array.squeeze(array.ndim - 3 + self.flat)
        if self.swapped:
            array = array.swapaxes(-1, -2)
        for axis, backwards in zip((-2, -1), self.flipped, strict=True):
            array = np.flip(array, axis) if backwards else array
        return array

    def shown_affine(self) -> npt.NDArray[np.float64]:
        """Affine of the item: of a plane from (0, row, column, 1) to the world."""
        before = [pair[0] for pair in self.padding[0]] if self.padding else [0, 0, 0]
        affine = moved(self.affine, [part.start - pad for part, pad in zip(self.region, before, strict=True)])
        if self.flat is None:
            return affine
        order = [self.flat, *(axis for axis in range(3) if axis != self.flat)]
        sizes = [self.region[axis].stop - self.region[axis].start for axis in order]
        affine = affine[:, [*order, 3]]
        if self.swapped:
            affine, sizes = affine[:, [0, 2, 1, 3]], [sizes[0], sizes[2], sizes[1]]
        for axis, backwards in zip((1, 2), self.flipped, strict=True):
            if backwards:
                affine = moved(affine, [sizes[axis] - 1 if i == axis else 0 for i in range(3)])
                affine[:, axis] *= -1
        return affine


def instances(raw: RawItem, labels: LabelSets, shared: Shared) -> tuple[dict[str, list[Array]], dict[str, list[int]]]:
    """Return masks (N, H, W) and codes by author; masks of frames of one author and name are one instance."""
    masks: dict[str, list[Array]] = {}
    codes: dict[str, list[int]] = {}
    framed: dict[tuple[str, str], Array] = {}
    for ann in raw.annotations:
        if not ann.is_segmentation() or ann.mask is None or ann.identifier not in labels.segmentation:
            continue
        uncertain = isinstance(ann.mask, LabelMask) and ann.mask.extent is None
        if not raw.whole and not uncertain and not _touches(ann.mask.box, raw.region, ann.mask.shape[0]):
            continue
        mask = ann.mask.read(raw.region, shared)
        if (uncertain or not raw.whole) and not mask.any():
            continue
        key = (ann.author, ann.identifier)
        if ann.is_frame_scoped() and key in framed:
            framed[key] |= mask.astype(np.uint8)
            continue
        array = mask.astype(np.uint8)
        if ann.is_frame_scoped():
            framed[key] = array
        masks.setdefault(ann.author, []).append(array)
        codes.setdefault(ann.author, []).append(labels.segmentation.index(ann.identifier) + 1)
    return masks, codes


def _touches(box: Region | None, region: Region, frames: int) -> bool:
    """Whether a box and a region have voxels in common; a mask of one frame stands for all."""
    if box is None:
        return False
    pairs = zip(box[1:], region[1:], strict=True) if frames == 1 else zip(box, region, strict=True)
    return all(a.start < b.stop and b.start < a.stop for a, b in pairs)


def segmentations(raw: RawItem, labels: LabelSets) -> tuple[ByAuthor, ByAuthor]:
    """Return masks, uint8 (n, [N,] H, W), and codes, int32 (n,), by author."""
    masks, codes = instances(raw, labels, {})
    stacked = {author: raw.shown(np.stack(each)) for author, each in masks.items()}
    return stacked, {author: np.array(each, np.int32) for author, each in codes.items()}


def boxes(raw: RawItem, labels: LabelSets) -> tuple[Array, Array]:
    """Return boxes, float32 (n, 4) or (n, 6) x0, y0, [z0,] x1, y1, [z1] in pixels of the item, and codes (n,)."""
    found, codes = [], []
    begins = np.array([part.start for part in raw.region], float)
    sizes = np.array([part.stop - part.start for part in raw.region], float)
    pads = np.array([pair[0] for pair in raw.padding[0]] if raw.padding else [0, 0, 0], float)
    for ann in raw.annotations:
        if ann.annotation_type != "box" or ann.identifier not in labels.box:
            continue
        half = len(ann.geometry) // 2
        low, high = (list(reversed(part)) for part in (ann.geometry[:half], ann.geometry[half:]))
        if half == 2:
            at = ann.frame_index if raw.frames > 1 else 0
            low, high = ([0 if at is None else at, *low], [raw.frames if at is None else at + 1, *high])
        a = np.clip(np.array(low, float) - begins, 0, sizes)
        b = np.clip(np.array(high, float) - begins, 0, sizes)
        cut = not raw.whole
        if (b <= a).any() or (cut and (b - a < 1).any()):
            continue
        found.append(_box_shown(raw, a + pads, b + pads, sizes))
        codes.append(labels.box.index(ann.identifier) + 1)
    width = 4 if raw.flat is not None else 6
    return np.array(found, np.float32).reshape(-1, width), np.array(codes, np.int64)


def _box_shown(raw: RawItem, low: Array, high: Array, sizes: Array) -> list[float]:
    if raw.flat is None:
        return [*reversed(low.tolist()), *reversed(high.tolist())]
    keep = [axis for axis in range(3) if axis != raw.flat]
    keep = keep[::-1] if raw.swapped else keep
    a, b, size = low[keep], high[keep], sizes[keep]
    for axis, backwards in enumerate(raw.flipped):
        if backwards:
            a[axis], b[axis] = size[axis] - b[axis], size[axis] - a[axis]
    return [a[1], a[0], b[1], b[0]]


def semantic(
    masks: ByAuthor,
    codes: ByAuthor,
    authors: Sequence[str],
    labels: LabelSets,
    config: DatasetConfig,
    shape: Sequence[int],
) -> tuple[Any, int]:
    """Return semantic masks by author, or merged, and how many voxels have several labels."""
    count = len(labels.segmentation)
    empty = np.zeros((0, *shape), np.uint8)
    found = {a: to_semantic(masks.get(a, empty), codes.get(a, np.zeros(0, np.int32)), count) for a in authors}
    overlaps = int(sum((classes[1:].sum(axis=0, dtype=np.int64) > 1).sum() for classes in found.values()))
    result: Any = found
    strategy = config.semantic_seg_merge_strategy
    if strategy is not None:
        if found or config.voters:
            given = found or {"nobody": to_semantic(empty, np.zeros(0), count)}
            result = merge_semantic(
                given,
                strategy,
                ties=config.ties,
                background=config.background,  # type: ignore[arg-type]
                voters=config.voters,
            )
        else:
            kind = np.float32 if strategy == "soft" else np.uint8
            result = to_semantic(empty, np.zeros(0), count).astype(kind)
    if config.exclusive:
        each = result.items() if isinstance(result, dict) else [("", result)]
        mapped = {author: exclusive(classes) for author, classes in each}
        result = mapped if isinstance(result, dict) else mapped[""]
    return result, overlaps


def exclusive(classes: Array) -> Array:
    """Return classes (L + 1, ...) as one map of codes; the later label wins."""
    kind = np.min_scalar_type(max(1, len(classes) - 1))
    result = np.zeros(classes.shape[1:], kind)
    for code in range(1, len(classes)):
        result[classes[code] > 0] = code
    return result


def image_labels(raw: RawItem, labels: LabelSets, config: DatasetConfig) -> Any:
    """Return labels of the image, int32 (labels,), by author or merged."""
    found: ByAuthor = {}
    for ann in raw.annotations:
        if ann.is_label() and ann.is_image_scoped() and ann.identifier in labels.image:
            hot = found.setdefault(ann.author, np.zeros(len(labels.image), np.int32))
            hot[labels.image.index(ann.identifier)] = 1
    strategy = config.image_labels_merge_strategy
    if strategy is None:
        return found
    return merge_labels(found, strategy, config.ties) if found else np.zeros(len(labels.image), np.int32)


def image_categories(raw: RawItem, labels: LabelSets, config: DatasetConfig) -> Any:
    """Return the category's index, int64 (), by author (the first one counts) or merged."""
    found: ByAuthor = {}
    for ann in raw.annotations:
        entry = (ann.identifier, ann.text_value or "")
        if ann.is_category() and ann.is_image_scoped() and entry in labels.image_categories:
            found.setdefault(ann.author, np.array(labels.image_categories.index(entry), np.int64))
    strategy = config.image_categories_merge_strategy
    return found if strategy is None else merge_categories(found, strategy, len(labels.image_categories))


def frame_labels(raw: RawItem, labels: LabelSets) -> ByAuthor:
    """Return labels of frames by author: int32 (N, labels), of a single plane (labels,)."""
    found: ByAuthor = {}
    begin, end = raw.region[0].start, raw.region[0].stop
    for ann in raw.annotations:
        if ann.is_label() and ann.is_frame_scoped() and ann.identifier in labels.frame:
            hot = found.setdefault(ann.author, np.zeros((end - begin, len(labels.frame)), np.int32))
            if begin <= (ann.frame_index or 0) < end:
                hot[(ann.frame_index or 0) - begin, labels.frame.index(ann.identifier)] = 1
    return {author: hot[0] for author, hot in found.items()} if raw.flat == 0 else found


def metainfo(raw: RawItem, affine: Any, overlaps: int, split: str | None, axes: str) -> dict[str, Any]:
    """Return what is known of the item besides its voxels."""
    resource = raw.resource
    return {
        "id": resource.id,
        "name": resource.name,
        "affine": affine,
        "spacing": None if affine is None else spacing_of(np.asarray(affine)),
        "axes": axes,
        "unit": resource.unit,
        "group": dict(resource.groups),
        "index": None,
        "split": split,
        "overlaps": overlaps,
        **raw.about,
    }


def crops(masks: Mapping[str, Array]) -> dict[str, list[dict[str, Any]]]:
    """Return instances as crops: "crop" (bool), "origin" (its first voxel in the item) and "shape"."""
    found: dict[str, list[dict[str, Any]]] = {}
    for author, each in masks.items():
        flat = each.ndim == 3
        for mask in each:
            crop = CropMask.of(mask)
            inner = crop.crop[0] if flat and crop.crop.size else crop.crop
            origin = crop.origin[1:] if flat else crop.origin
            found.setdefault(author, []).append({"crop": inner, "origin": origin, "shape": mask.shape})
    return found
