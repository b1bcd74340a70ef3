"""Data sets whose items are patches of volumes: at random, around labels, or on a grid, to be put together again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from ...arguments import number as checked_number
from ...errors import DatasetError, IndexingError, ParameterError, ShapeError
from ..annotations.annotation import Annotation
from ..annotations.label_index import label_index
from ..annotations.masks import LabelMask
from ..base import BaseDataset
from ..items import RawItem
from ..layout import Region
from .stitching import Mode, stitched

Shape3 = tuple[int, int, int]
PADDINGS = ("reflect", "symmetric", "edge", "wrap", "constant")
"""Which make no values that labels have not."""


class PatchDataset(BaseDataset):
    """Patches of the volumes of a data set: items have images (C, d, h, w). Only their chunks are read.

    Parameters
    ----------
    parent : BaseDataset
        Of volumes; filters, labels and split are its.
    shape : int or sequence of int
        (d, h, w).
    overlap : int or sequence of int, default 0
        Of neighbours on the grid.
    per_volume : int, default 8
        Patches of each volume, unless on the grid.
    sampler : {"uniform", "label", "grid"}
        "uniform": anywhere. "label": around a voxel of a label, where every voxel of it is as likely. "grid": all of
        the volume, in order.
    padding : str or None, default "reflect"
        How a volume that is smaller than a patch is extended: "reflect", "symmetric", "edge", "wrap", "constant" (by
        zeros), as of ``numpy.pad``; None: it is an error.
    frequencies : mapping, optional
        How often the sampler "label" draws each label, in any unit; "background" stands for anywhere. None: all labels
        of the data set alike.

    Raises
    ------
    ShapeError
        A volume is smaller than a patch and `padding` is None; names both shapes.
    ParameterError
        A shape, overlap, number or sampler that is none.

    Notes
    -----
    A volume without any of the labels that are drawn gives patches from anywhere.
    """

    _axes: ClassVar[str] = "cdhw"

    def __init__(
        self,
        parent: BaseDataset,
        shape: int | Sequence[int],
        *,
        overlap: int | Sequence[int] = 0,
        per_volume: int = 8,
        sampler: Literal["uniform", "label", "grid"] = "uniform",
        padding: str | None = "reflect",
        frequencies: Mapping[str, float] | None = None,
    ) -> None:
        self.__dict__.update(parent.__dict__)
        self._shape = three("shape", shape, 1)
        self._overlap = three("overlap", overlap, 0)
        self._padding = padding
        self._sampler = sampler
        if sampler not in ("uniform", "label", "grid"):
            raise ParameterError(f"sampler is {sampler!r}.", remedy='use "uniform", "label" or "grid"')
        if padding is not None and padding not in PADDINGS:
            raise ParameterError(f"padding is {padding!r}.", remedy=f"use None, or one of {list(PADDINGS)}")
        if any(a >= b for a, b in zip(self._overlap, self._shape, strict=True)):
            raise ParameterError(f"overlap {self._overlap} of patches {self._shape}.", remedy="let patches be larger")
        if checked_number("per_volume", per_volume, least=1, example=8) != int(per_volume):
            raise ParameterError(f"per_volume is {per_volume!r}.", remedy="use a whole number")
        self._frequencies = dict(frequencies) if frequencies else dict.fromkeys(self._labels.segmentation, 1.0)
        for name, weight in self._frequencies.items():
            checked_number(f"frequencies[{name!r}]", weight, least=0, example=1.0)
            if name != "background" and name not in self._labels.segmentation:
                raise ParameterError(f"There is no label {name!r}.", remedy=f"use {list(self._labels.segmentation)}")
        rows = []
        for number in parent._rows[:, 0].tolist():
            space = self._space(number)
            if padding is None and any(a > b for a, b in zip(self._shape, space, strict=True)):
                raise ShapeError(
                    f"Patches of {self._shape}, but {self._store.ids[number]!r} has the shape {space}.",
                    remedy='a smaller shape, or padding="reflect"',
                )
            count = int(np.prod([len(at) for at in self._grid(space)])) if sampler == "grid" else int(per_volume)
            rows.append(np.stack([np.full(count, number), np.arange(count)], axis=1))
        self._rows = np.concatenate(rows) if rows else np.zeros((0, 2), np.int64)

    @classmethod
    def from_dataset(cls, parent: BaseDataset, shape: int | Sequence[int], **options: Any) -> PatchDataset:
        """Return patches of the volumes of a data set."""
        return cls(parent, shape, **options)

    def _space(self, number: int) -> Shape3:
        resource = self._store.resource(number)
        depth, height, width = self._layout(resource).shape[1:]
        return depth, height, width

    def _grid(self, space: Sequence[int]) -> tuple[list[int], ...]:
        """First indices of the patches along each axis; the last one is moved back into the volume."""
        found = []
        for size, patch, overlap in zip(space, self._shape, self._overlap, strict=True):
            last = max(0, size - patch)
            found.append([*range(0, last, patch - overlap), last])
        return tuple(found)

    def _begin(self, number: int, patch: int, rng: np.random.Generator) -> list[int]:
        space = self._space(number)
        if self._sampler == "grid":
            grid = self._grid(space)
            at = np.unravel_index(patch, [len(each) for each in grid])
            return [each[int(i)] for each, i in zip(grid, at, strict=True)]
        lasts = [max(0, size - patch) for size, patch in zip(space, self._shape, strict=True)]
        centre = self._centre(number, rng) if self._sampler == "label" else None
        if centre is None:
            return [int(rng.integers(last + 1)) for last in lasts]
        return [min(max(0, c - size // 2), last) for c, size, last in zip(centre, self._shape, lasts, strict=True)]

    def _centre(self, number: int, rng: np.random.Generator) -> list[int] | None:
        """A voxel of a label, drawn by the frequencies of those that the volume has; None for anywhere."""
        by_name: dict[str, list[Annotation]] = {}
        for ann in self.annotations_of(number):
            if ann.is_segmentation() and ann.mask is not None and ann.mask.box is not None:
                by_name.setdefault(ann.identifier, []).append(ann)
        names = [name for name in self._frequencies if name == "background" or name in by_name]
        weights = np.array([self._frequencies[name] for name in names], float)
        if not weights.sum():
            return None
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        return None if name == "background" else drawn_voxel(by_name[name], self._space(number), rng)

    def _get_raw_item(self, index: int, rng: np.random.Generator) -> RawItem:
        number, patch = self._rows[index].tolist()
        resource = self._store.resource(number)
        layout = self._layout(resource)
        space = self._space(number)
        begin = self._begin(number, patch, rng)
        triples = list(zip(begin, self._shape, space, strict=True))
        region = tuple(slice(b, min(b + size, end)) for b, size, end in triples)
        lacks = [size - (part.stop - part.start) for part, size in zip(region, self._shape, strict=True)]
        padding = ([(lack // 2, lack - lack // 2) for lack in lacks], self._padding) if any(lacks) else None
        return RawItem(
            image=resource.read(layout, (slice(0, layout.shape[0]), *region)),
            resource=resource,
            annotations=self.annotations_of(number, exact=False),
            region=region,
            frames=layout.shape[1],
            affine=resource.affine(layout),
            whole=False,
            padding=padding,  # type: ignore[arg-type]
            about={"index": patch, "region": [(part.start, part.stop) for part in region]},
        )

    def aggregate(
        self, predictions: Iterable[npt.NDArray[Any]], mode: Mode = "average", *, resource: int = 0, output: Any = None
    ) -> Any:
        """Put predictions for all patches of one volume together.

        Parameters
        ----------
        predictions : iterable of ndarray
            (..., d, h, w), in the order of the items of the volume.
        mode : {"average", "hann", "crop"}
            Of voxels in several patches: the mean, the mean weighted by how near the middle of its patch a voxel is, or
            what the patch says that it lies deepest in. "crop" keeps values and data type exactly.
        resource : int, default 0
            Which volume, by its place among those of this data set.
        output : array_like, optional
            Array or Source (..., D, H, W) to write to, patch by patch, so that a volume may be larger than memory
            (mode "crop"). None: an array is returned.

        Returns
        -------
        ndarray or output
            (..., D, H, W).

        Raises
        ------
        DatasetError
            The patches are on no grid, or their number is another.
        ShapeError
            A prediction has another shape.
        """
        if self._sampler != "grid":
            raise DatasetError(f"Patches of the sampler {self._sampler!r} don't cover a volume.", remedy='"grid"')
        numbers = self.resource_counts()[0]
        if not 0 <= resource < len(numbers):
            raise IndexingError(f"There is no volume {resource} of {len(numbers)}.", remedy="use a smaller number")
        space = self._space(numbers[resource])
        pads = [max(0, size - end) // 2 for size, end in zip(self._shape, space, strict=True)]
        return stitched(predictions, self._grid(space), self._shape, space, pads, mode, output)


def drawn_voxel(annotations: Sequence[Annotation], space: Shape3, rng: np.random.Generator) -> list[int]:
    """Return a voxel (n, h, w) of masks, each as likely; of a label map one chunk is read at most."""
    boxes, counts, masks = [], [], []
    for ann in annotations:
        assert ann.mask is not None
        for box, count in _boxes(ann.mask):
            boxes.append(box)
            counts.append(count)
            masks.append(ann.mask)
    weights = np.array(counts, float)
    chosen = int(rng.choice(len(boxes), p=weights / weights.sum()))
    box, mask = boxes[chosen], masks[chosen]
    inside = np.argwhere(mask.read(box))
    at = inside[int(rng.integers(len(inside)))] + [part.start for part in box]
    if mask.shape[0] == 1 and space[0] > 1:
        at[0] = rng.integers(space[0])
    return [int(i) for i in at]


def _boxes(mask: Any) -> list[tuple[Region, int]]:
    """Boxes of a mask with the number of its voxels in each."""
    if not isinstance(mask, LabelMask):
        box = mask.box
        return [] if box is None else [(box, int(mask.read(box).sum()))]
    index = label_index(mask.key, mask.open)
    rows = index.rows(mask.value)
    found = []
    for low, high, count in zip(index.low[rows], index.high[rows], index.counts[rows], strict=True):
        box = tuple(slice(0, 1) if axis is None else slice(int(low[axis]), int(high[axis])) for axis in mask.order)
        found.append((box, int(count)))
    return found


def three(name: str, value: Any, least: int) -> Shape3:
    """Return three whole numbers, of one or of three.

    Raises
    ------
    ParameterError
        They are none, or too small.
    """
    given = [value] * 3 if isinstance(value, int | np.integer) else list(value) if np.iterable(value) else []
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= least for n in given)
    if len(given) != 3 or not whole:
        raise ParameterError(f"{name} is {value!r}.", remedy=f"{name}=(32, 64, 64): whole numbers from {least}")
    return int(given[0]), int(given[1]), int(given[2])
