"""Loading by workers of torch; it is imported here and only when somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DatasetError
from ..extras import needing
from .collate import collate
from .transforms import generator

if TYPE_CHECKING:
    from .base import BaseDataset


_LARGEST = 2**63 - 1


class AtEpoch(int):
    """An index that says of which epoch it is: random numbers of an item don't depend on who makes it."""

    epoch: int

    def __new__(cls, index: int, epoch: int) -> AtEpoch:
        """Return the index."""
        made = super().__new__(cls, index)
        made.epoch = epoch
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return (AtEpoch, (int(self), self.epoch))


class EpochSampler:
    """All indices of a data set, each time those of the next epoch.

    Parameters
    ----------
    dataset : BaseDataset
    shuffle : bool
        In an order that depends on seed and epoch; without a seed in any.
    """

    def __init__(self, dataset: BaseDataset, shuffle: bool) -> None:
        self._count, self._seed, self._shuffle = len(dataset), dataset.config.seed, shuffle
        self.epoch = dataset.epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[AtEpoch]:
        epoch = self.epoch
        self.epoch += 1
        order = np.arange(self._count)
        if self._shuffle:
            order = generator(self._seed, epoch, 2**31).permutation(self._count)
        return (AtEpoch(int(index), epoch) for index in order)


class Tensors:
    """Items of a data set with tensors."""

    def __init__(self, dataset: BaseDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = tensors(self.dataset[index])
        return item

    def __reduce__(self) -> tuple[Any, ...]:
        return (as_torch, (self.dataset,))


def tensors(value: Any) -> Any:
    """Return arrays, also in dicts and lists, as tensors; torch knows no large unsigned integers, so these grow."""
    if isinstance(value, Mapping):
        return {key: inner if key == "metainfo" else tensors(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(tensors(inner) for inner in value)
    if not isinstance(value, np.ndarray):
        return value
    import torch

    if value.dtype.str[1:] == "u8" and value.size and value.max() > _LARGEST:
        raise DatasetError(
            f"A value of {value.max()} has no place in a tensor, whose whole numbers end at {_LARGEST}.",
            remedy='dtype="float64", or a transform that numbers the values anew',
        )
    wider = {"u2": "i4", "u4": "i8", "u8": "i8"}.get(value.dtype.str[1:])
    native = value.astype(value.dtype.newbyteorder("=") if wider is None else wider, copy=False)
    return torch.from_numpy(np.array(native))  # a copy of its own: tensors are written to


def tensor_batch(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a batch of items that were made without tensors."""
    batch: dict[str, Any] = tensors(collate(items))
    return batch


def as_torch(dataset: BaseDataset) -> Any:
    """Return the items of a data set with tensors, as a ``torch.utils.data.Dataset``."""
    with needing("torch", "A torch data set"):
        from torch.utils.data import Dataset
    return type("TorchDataset", (Tensors, Dataset), {})(dataset)


def dataloader(dataset: BaseDataset, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return a DataLoader; see `BaseDataset.get_dataloader`."""
    with needing("torch", "A DataLoader"):
        from torch.utils.data import DataLoader
    given = dict(kwargs)
    given.update(zip(("batch_size", "shuffle", "sampler"), args, strict=False))
    rest = tuple(args[3:])
    if rest:
        given.update(zip(("batch_sampler", "num_workers", "collate_fn"), rest, strict=False))
    if given.get("sampler") is None and given.get("batch_sampler") is None:
        given["sampler"] = EpochSampler(dataset, bool(given.pop("shuffle", False)))
    if given.get("num_workers", 0) and given.get("multiprocessing_context") is None:
        given["multiprocessing_context"] = "spawn"  # threads of the storage engine do not survive a fork
    if given.get("collate_fn") is None:
        given["collate_fn"] = tensor_batch
    return DataLoader(dataset, **given)
