"""Data sets: items made of regions of resources, and several data sets as one."""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Self

import numpy as np
from tqdm import tqdm

from ..errors import BioimageError, DatasetError
from . import items
from .annotations.annotation import Annotation
from .annotations.label_sets import LabelSets
from .collate import collate
from .items import Item, RawItem
from .loading import AtEpoch, as_torch, dataloader
from .parts import Parts
from .resources.store import JoinedStore
from .transforms import Composed, checked_transform, generator, transformed


class BaseDataset(Parts, abc.ABC):
    """Items of resources of a project, or of a list: see `Selection` for the parameters.

    A data set is a value: `filter`, `subset`, `split`, ... return new ones, which share what never changes. Reading is
    lazy: an item reads the chunks that it needs. It can be pickled; every process opens its own files.
    """

    _axes: ClassVar[str] = "cdhw"

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        at = self._position(index)
        rng = generator(self._config.seed, getattr(index, "epoch", self._epoch), at)
        return self._finished(self._get_raw_item(at, rng), rng)

    @abc.abstractmethod
    def _get_raw_item(self, index: int, rng: np.random.Generator) -> RawItem:
        """Return the region of an item, before transforms; `rng` is the item's own."""

    def apply_transform(self, image: Any, targets: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Return an image and its targets after the transform; override it to do something else."""
        if self._transform is None:
            return {"image": image, **targets}
        return transformed(self._transform, {"image": image, **targets}, rng)

    def _finished(self, raw: RawItem, rng: np.random.Generator) -> Item:
        config, labels = self._config, self._labels
        image = raw.shown(raw.image)
        image = image if config.dtype is None else image.astype(config.dtype, copy=False)
        targets: dict[str, Any] = {"segmentations": {}, "affine": raw.shown_affine()}
        codes: dict[str, Any] = {}
        if config.return_segmentations:
            targets["segmentations"], codes = items.segmentations(raw, labels)
        if config.return_boxes:
            targets["boxes"], targets["box_labels"] = items.boxes(raw, labels)
        done = self.apply_transform(image, targets, rng)
        item: Item = {"image": self._ordered(done["image"])}
        overlaps = 0
        if config.return_as_semantic_segmentation:
            authors = sorted({ann.author for ann in raw.annotations if ann.is_segmentation()})
            shape = np.shape(done["image"])[1:]
            item["segmentations"], overlaps = items.semantic(
                done["segmentations"], codes, authors, labels, config, shape
            )
        elif config.return_segmentations:
            masks = done["segmentations"]
            item |= {"segmentations": items.crops(masks) if config.sparse else masks, "seg_labels": codes}
        item["image_labels"] = items.image_labels(raw, labels, config)
        item["image_categories"] = items.image_categories(raw, labels, config)
        if self._axes != "chw" or raw.about.get("index") is not None:
            item["frame_labels"] = items.frame_labels(raw, labels)
        if config.return_boxes:
            boxes = done["boxes"], done["box_labels"]
            item["boxes"], item["box_labels"] = boxes if self._transform is None else _clipped(*boxes, done["image"])
        if config.return_metainfo:
            affine = done.get("affine")
            item["metainfo"] = items.metainfo(raw, affine, overlaps, self.split_name, config.axes or self._axes)
        return item

    def _ordered(self, image: Any) -> Any:
        axes = self._config.axes
        if axes is None or not isinstance(image, np.ndarray):
            return image
        order = axes.lower()
        if sorted(order) != sorted(self._axes):
            raise DatasetError(
                f"axes={axes!r}, but images of a {type(self).__name__} have the axes {self._axes.upper()!r}.",
                remedy=f"an order of {self._axes.upper()!r}",
            )
        return image.transpose([self._axes.index(axis) for axis in order])

    def set_transform(self, alb_transform: Any = None) -> None:
        """Set the transform of this object's items; None: none.

        Parameters
        ----------
        alb_transform : callable or mapping, optional
            One of albumentations (2-D: `image`, `masks`, `bboxes` with `labels`; 3-D: `volume`, `mask3d`), one of them
            as it is stored, or any callable that gets and returns a dict with "image" (C, ...), "segmentations"
            (author -> (n, ...)), "boxes", "box_labels" and "affine". One with a parameter `rng` gets a generator.
        """
        self._transform = checked_transform(alb_transform)

    def add_transform(self, alb_transform: Any) -> None:
        """Set the transform of this object's items to the present one and then this."""
        self.set_transform(self._composed(alb_transform))

    def _composed(self, transform: Any) -> Any:
        checked = checked_transform(transform)
        return checked if self._transform is None or checked is None else Composed(self._transform, checked)

    def with_transform(self, transform: Any = None) -> Self:
        """Return the same items under another transform."""
        return self._with(_transform=checked_transform(transform))

    def set_epoch(self, epoch: int) -> None:
        """Let random numbers be those of an epoch; loaders of `get_dataloader` do it themselves."""
        self._epoch = int(epoch)

    def get_collate_fn(self) -> Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]:
        """Return what makes a batch of items."""
        return collate

    def as_torch(self) -> Any:
        """Return the same items with tensors, as a ``torch.utils.data.Dataset``.

        Raises
        ------
        MissingDependencyError
            torch is not there.
        """
        return as_torch(self)

    def get_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """Return a ``torch.utils.data.DataLoader`` of these items as tensors.

        Arguments are those of DataLoader. Workers are started by "spawn" unless `multiprocessing_context` says
        otherwise. With a seed the order of ``shuffle=True`` and the random numbers of items depend on seed and epoch.

        Raises
        ------
        MissingDependencyError
            torch is not there.
        """
        return dataloader(self, args, kwargs)

    def prefetch(self, *, include_annotations: bool = False, workers: int = 4, progress: bool = True) -> int:
        """Copy images that are slow to read in parts into the cache; what is there already is left.

        Parameters
        ----------
        include_annotations : bool, default False
            Also look through label maps, so that items find their values at once.
        workers : int, default 4
            Threads.
        progress : bool, default True
            Show a bar.

        Returns
        -------
        int
            Bytes (uncompressed) of the images that lie in the cache then.

        Raises
        ------
        DatasetError
            Some could not be read; all others are there then.
        """

        def fetch(number: int) -> tuple[int, str]:
            resource = self._store.resource(number)
            try:
                size = resource.fetch()
                if include_annotations:
                    self.annotations_of(number)
            except (BioimageError, OSError) as error:
                return 0, f"{resource.name!r} (id {resource.id!r}): {error}"
            return size, ""

        numbers = self.resource_counts()[0]
        with ThreadPoolExecutor(max(1, workers)) as pool:
            done = list(tqdm(pool.map(fetch, numbers), total=len(numbers), disable=not progress, file=sys.stderr))
        if failed := [said for _, said in done if said]:
            raise DatasetError(
                f"{len(failed)} of {len(numbers)} resources could not be read: {failed[0]}",
                remedy='look at them, or make the data set with on_error="skip"',
            )
        return sum(size for size, _ in done)

    def relabelled(self, labels: LabelSets, names: Mapping[str, str]) -> Self:
        """Return the same items with other names of labels, under the codes of these sets."""
        renamed = {old: names.get(new, new) for old, new in self._names.items()} | {
            old: new for old, new in names.items() if old not in self._names
        }
        return self._with(_labels=labels, _names=renamed)

    def __add__(self, other: BaseDataset) -> ConcatDataset:
        if not isinstance(other, BaseDataset):
            return NotImplemented
        return ConcatDataset([self, other])


class ConcatDataset(BaseDataset):
    """Data sets one after the other.

    Parameters
    ----------
    datasets : sequence of BaseDataset
    relabel : bool or mapping, default False
        True: labels are those of all. A mapping gives them new names first.

    Raises
    ------
    DatasetError
        Their labels differ, or there are none.
    """

    def __init__(self, datasets: Sequence[BaseDataset], relabel: bool | Mapping[str, str] = False) -> None:
        for given in datasets:
            if not isinstance(given, BaseDataset):
                raise DatasetError(f"{given!r:.100} is no data set.", remedy="ConcatDataset([a, b])")
        flat = [
            part for given in datasets for part in (given.datasets if isinstance(given, ConcatDataset) else [given])
        ]
        if not flat:
            raise DatasetError("There is nothing to join.", remedy="give at least one data set")
        names = relabel if isinstance(relabel, Mapping) else {}
        if relabel is not False:
            joined = LabelSets()
            for part in flat:
                joined = joined.extended(part.label_sets.renamed(names))
            flat = [part.relabelled(joined, names) for part in flat]
        for part in flat[1:]:
            if part.label_sets != flat[0].label_sets:
                first, second = (
                    {key: value for key, value in vars(one.label_sets).items() if value} for one in (flat[0], part)
                )
                raise DatasetError(
                    f"The labels of the data sets differ: {first} and {second}.",
                    remedy="ConcatDataset([a, b], relabel=True), or a mapping of names",
                )
        self.datasets: tuple[BaseDataset, ...] = tuple(flat)
        self._config, self._labels = flat[0]._config, flat[0]._labels
        self._transform, self._epoch, self._filters, self._names = None, 0, (), {}
        self.skipped = tuple(entry for part in flat for entry in part.skipped)
        self._store = JoinedStore([part.store for part in flat])
        # A row is the number of the resource among all, the number of the data set, and that of its item.
        rows = []
        for number, (part, begin) in enumerate(zip(flat, self._store.begins, strict=False)):
            at = np.arange(len(part))
            rows.append(np.stack([part._rows[:, 0] + begin, np.full(len(part), number), at], axis=1))
        self._rows = np.concatenate(rows)

    def annotations_of(self, number: int, exact: bool = True) -> tuple[Annotation, ...]:
        """Return what counts of a resource, as its data set reads it."""
        assert isinstance(self._store, JoinedStore)
        part, own = self._store.place(number)
        return self.datasets[part].annotations_of(own, exact)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        _, part, at = self._rows[self._position(index)].tolist()
        item = self.datasets[part][AtEpoch(at, getattr(index, "epoch", self._epoch))]
        if self.split_name is not None and "metainfo" in item:
            item["metainfo"]["split"] = self.split_name
        return item

    def _get_raw_item(self, index: int, rng: np.random.Generator) -> RawItem:
        _, part, at = self._rows[index].tolist()
        raw: RawItem = self.datasets[part]._get_raw_item(at, rng)
        return raw

    def set_transform(self, alb_transform: Any = None) -> None:
        """Set the transform of all items."""
        self.datasets = tuple(part.with_transform(alb_transform) for part in self.datasets)

    def add_transform(self, alb_transform: Any) -> None:
        """Set the transform of all items to the present one and then this."""
        self.datasets = tuple(part.with_transform(part._composed(alb_transform)) for part in self.datasets)

    def with_transform(self, transform: Any = None) -> Self:
        """Return the same items under another transform."""
        return self._with(datasets=tuple(part.with_transform(transform) for part in self.datasets))

    def relabelled(self, labels: LabelSets, names: Mapping[str, str]) -> Self:
        """Return the same items with other names of labels."""
        parts = tuple(part.relabelled(labels, names) for part in self.datasets)
        return self._with(datasets=parts, _labels=labels)


def _clipped(boxes: Any, codes: Any, image: Any) -> tuple[Any, Any]:
    """Boxes after a crop: within the image, without those that are less than a pixel wide then."""
    given, labels = np.asarray(boxes, np.float32), np.asarray(codes, np.int64)
    half = given.shape[1] // 2
    sizes = np.array(np.shape(image)[::-1][:half], np.float32)
    given = np.concatenate([np.clip(given[:, :half], 0, sizes), np.clip(given[:, half:], 0, sizes)], axis=1)
    kept = (given[:, half:] - given[:, :half] >= 1).all(axis=1)
    return given[kept], labels[kept]
