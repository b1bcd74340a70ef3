"""Transforms of items, and the random numbers that they draw."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DatasetError, ShapeError
from ..extras import needing

Array = npt.NDArray[Any]
_LARGEST = 2**32


class Composed:
    """Two transforms, one after the other."""

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def parts(self) -> list[Callable[..., Any]]:
        """All of them in order."""
        return [part for one in (self.first, self.second) for part in parts_of(one)]


def parts_of(transform: Any) -> list[Callable[..., Any]]:
    """Return the transforms that one is made of."""
    return transform.parts() if isinstance(transform, Composed) else [transform]


Transform = Callable[..., Any] | Composed


def checked_transform(transform: Any) -> Transform | None:
    """Return a transform; one of albumentations that was stored as a dict is made.

    Raises
    ------
    DatasetError
        It cannot be called.
    MissingDependencyError
        A stored one, and albumentations is not there.
    """
    if transform is None:
        return None
    if isinstance(transform, Mapping):
        with needing("albumentations", "A stored transform"):
            import albumentations
        made: Transform = albumentations.from_dict(dict(transform))
        return made
    if not callable(transform) and not isinstance(transform, Composed):
        raise DatasetError(f"{transform!r} is no transform.", remedy="pass a callable that gets and returns a dict")
    return transform  # type: ignore[no-any-return]


def is_albumentations(transform: Any) -> bool:
    """Whether a transform wants arrays under albumentations' names."""
    return any(cls.__module__.partition(".")[0] == "albumentations" for cls in type(transform).__mro__)


def generator(seed: int | None, epoch: int, index: int) -> np.random.Generator:
    """Return the random numbers of an item; without a seed new ones, in every worker."""
    if seed is None:
        return np.random.default_rng()
    return np.random.default_rng([seed % _LARGEST, seed // _LARGEST % _LARGEST, epoch, index])


def transformed(transform: Transform, targets: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Apply a transform to ``{"image", "segmentations", "boxes", "box_labels"}``, and check what it returns.

    A callable that has a parameter `rng` gets the generator; the random states of numpy and Python are seeded with it
    for the call, and put back. One that moves voxels may return a new "affine"; else nobody knows it any more.

    Raises
    ------
    ShapeError
        Masks have another shape than the image then.
    """
    for one in parts_of(transform):
        seed = int(rng.integers(_LARGEST))
        with _seeded(seed):
            if is_albumentations(one):
                result = _albumentations(one, targets, seed)
            else:
                result = one(targets, rng=rng) if "rng" in _parameters(one) else one(targets)
        if not isinstance(result, Mapping) or "image" not in result:
            raise DatasetError(f"{one!r} returned no dict with an image.", remedy='return {"image": ..., ...}')
        told = result.get("affine")
        told = None if told is targets.get("affine") else told  # passed on by one that knows nothing of it
        targets = {**targets, **result, "affine": told}
        _check(one, targets)
    return targets


def _check(transform: Callable[..., Any], targets: Mapping[str, Any]) -> None:
    space = np.shape(targets["image"])[1:]
    for author, masks in targets["segmentations"].items():
        if np.shape(masks)[1:] != space:
            raise ShapeError(
                f"After {transform!r} the masks of {author!r} have the shape {np.shape(masks)[1:]}, the image {space}.",
                remedy="transform masks as the image, by nearest neighbour",
            )


def _parameters(transform: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(transform).parameters)
    except (TypeError, ValueError):
        return ()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    states = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


def _albumentations(transform: Any, targets: dict[str, Any], seed: int) -> dict[str, Any]:
    """2-D: image (H, W, C), masks (H, W) of all authors; 3-D: volume (D, H, W, C), mask3d (D, H, W, n)."""
    if hasattr(transform, "set_random_seed"):
        transform.set_random_seed(seed)
    image, by_author = targets["image"], targets["segmentations"]
    flat = image.ndim == 3
    counts = {author: len(masks) for author, masks in by_author.items()}
    stacked = np.concatenate(list(by_author.values())) if counts else np.zeros((0, *image.shape[1:]), np.uint8)
    given: dict[str, Any] = {"image" if flat else "volume": np.ascontiguousarray(np.moveaxis(image, 0, -1))}
    if len(stacked):
        given |= {"masks": list(stacked)} if flat else {"mask3d": np.ascontiguousarray(np.moveaxis(stacked, 0, -1))}
    if flat and "boxes" in targets:
        given |= {"bboxes": targets["boxes"].tolist(), "labels": targets["box_labels"].tolist()}
    result = transform(**given)
    out = _channels_first(result["image" if flat else "volume"], image.ndim)
    if len(stacked):
        masks = np.stack(result["masks"]) if flat else _channels_first(result["mask3d"], 4)
    else:
        masks = np.zeros((0, *out.shape[1:]), np.uint8)
    ends = np.cumsum(list(counts.values()))
    parts = {name: masks[end - n : end] for (name, n), end in zip(counts.items(), ends, strict=True)}
    found = {"image": out, "segmentations": parts}
    if flat and "boxes" in targets:
        found["boxes"] = np.array([box[:4] for box in result["bboxes"]], np.float32).reshape(-1, 4)
        found["box_labels"] = np.array(result["labels"], np.int64)
    return found


def _channels_first(array: Any, ndim: int) -> Any:
    """As channels come first again; a tensor has them there already."""
    if not isinstance(array, np.ndarray):
        return array
    return np.moveaxis(array if array.ndim == ndim else array[..., None], -1, 0)
