"""Sources whose voxels are computed from another one when they are read, by functions on numpy arrays.

A function is named by its module in the spec where that name leads back to it; else (a lambda, a closure, what a script
or notebook defines) the spec carries it, by cloudpickle.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..arguments import data_type, number
from ..blocks import normalize_halo
from ..blocks.boxes import size_of, within
from ..errors import ParameterError, ShapeError
from ..sources.axes import Axis
from ..sources.casting import convert_values
from ..sources.indexing import Roi, Selection
from .base import WrapperSource, register_wrapper

Transformation = Callable[..., Any]


class ComputedSource(WrapperSource):
    """A read-only source of computed voxels, with the chunks and axes of the inner one.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    transformation : callable
        The function.
    with_channels : bool, default False
        Hand the first axis of the inner source to the function whole; the view lacks it.
    dtype : dtype_like, optional
        Data type of the view. None: that of the function's result for zeros.
    """

    def __init__(
        self, source: Any, transformation: Transformation, *, with_channels: bool = False, dtype: Any = None
    ) -> None:
        super().__init__(source)
        if not callable(transformation):
            raise ParameterError(
                f"The transformation is a {type(transformation).__name__}, which cannot be called.",
                remedy="pass a function of a numpy array",
            )
        if with_channels and not self._source.ndim:
            raise ShapeError("A source without axes has no channels.", remedy="with_channels=False")
        self._transformation = transformation
        self._lead = 1 if with_channels else 0
        self._given_dtype: np.dtype | None = None if dtype is None else data_type(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis, without the channels."""
        return self._source.shape[self._lead :]

    @cached_property
    def _dtype(self) -> np.dtype:
        if self._given_dtype is not None:
            return self._given_dtype
        try:
            found: np.dtype = np.asarray(self._probe()).dtype
            return found
        except Exception as error:  # foreign code may raise anything
            raise ParameterError(
                f"The data type of {self._transformation!r} is not known: it failed for zeros with {error!r}.",
                remedy="name it: dtype='float32'",
            ) from error

    @property
    def dtype(self) -> np.dtype:
        """Data type of the view."""
        return self._dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Unit of reading of the storage."""
        return None if self._source.chunks is None else self._source.chunks[self._lead :]

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shape of the shards of the storage."""
        return None if self._source.shards is None else self._source.shards[self._lead :]

    @property
    def write_chunks(self) -> tuple[int, ...] | None:
        """Unit of writing of the storage."""
        return None if self._source.write_chunks is None else self._source.write_chunks[self._lead :]

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Index at which a unit of the storage begins."""
        return self._source.grid_origin[self._lead :]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the inner source, without the channels."""
        return self._source.axes[self._lead :]

    def _probe(self) -> Any:
        """Return the function's result for a block of zeros, as small as can be."""
        return self._transformation(self._zeros())

    def _zeros(self, size: int | Sequence[int] = 1) -> np.ndarray:
        lead = self._source.shape[: self._lead]
        sizes = [size] * len(self.shape) if isinstance(size, int) else list(size)
        return np.zeros((*lead, *sizes), self._source.dtype)

    @abc.abstractmethod
    def _computed(self, roi: Roi) -> np.ndarray:
        """Compute a box of one voxel at least."""

    def _getitem(self, roi: Roi) -> np.ndarray:
        shape = size_of(roi)
        # functions such as a maximum have no value for nothing
        return np.empty(shape, self.dtype) if 0 in shape else self._computed(roi)

    def _block(self, roi: Roi) -> np.ndarray:
        """Return the inner voxels of a box of the view; the function may change them."""
        lead = tuple(slice(0, size) for size in self._source.shape[: self._lead])
        return np.asarray(self._source._getitem((*lead, *roi)))

    def _result(self, value: Any, roi: Roi) -> np.ndarray:
        """Return what the function gave, checked."""
        return checked(value, roi, self.dtype, self._transformation)

    def _params(self) -> dict[str, Any]:
        params: dict[str, Any] = {"transformation": self._transformation}
        if self._lead:
            params["with_channels"] = True
        if self._given_dtype is not None:
            params["dtype"] = self._given_dtype.str
        return params


@register_wrapper
class SimpleTransformationSource(ComputedSource):
    """``transformation(block)``, voxel by voxel: what is outside of a block must not matter.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    transformation : callable
        ``transformation(block) -> array`` of the same shape (without the first axis if `with_channels`).
    with_channels : bool, default False
        Hand the first axis of the inner source to the function whole; the view lacks it.
    dtype : dtype_like, optional
        Data type of the view. None: that of the function's result for zeros.

    Raises
    ------
    ParameterError
        If the function cannot be called, or its data type cannot be found out.
    """

    def _computed(self, roi: Roi) -> np.ndarray:
        return self._result(self._transformation(self._block(roi)), roi)


@register_wrapper
class SimpleTransformationWithHaloSource(ComputedSource):
    """``transformation(block)`` of a block with a halo, which is cut off from the result.

    At the border of the volume the halo ends with it, so a function that treats borders in its own way does so there,
    and the voxels are those of the function of the whole volume, if the halo is wide enough.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    transformation : callable
        ``transformation(block) -> array`` of the same shape (without the first axis if `with_channels`).
    halo : int or sequence of int
        Voxels that the function looks beyond its block, per axis of the view.
    with_channels : bool, default False
        Hand the first axis of the inner source to the function whole; the view lacks it.
    dtype : dtype_like, optional
        Data type of the view. None: that of the function's result for zeros.

    Raises
    ------
    HaloError
        If the halo is negative or of the wrong length.
    """

    def __init__(
        self,
        source: Any,
        transformation: Transformation,
        halo: int | Sequence[int],
        *,
        with_channels: bool = False,
        dtype: Any = None,
    ) -> None:
        super().__init__(source, transformation, with_channels=with_channels, dtype=dtype)
        self._halo = normalize_halo(halo, len(self.shape)) or (0,) * len(self.shape)

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels read around a block, per axis of the view."""
        return self._halo

    def _probe(self) -> Any:
        return self._transformation(self._zeros([2 * margin + 1 for margin in self._halo]))

    def _computed(self, roi: Roi) -> np.ndarray:
        sizes = zip(roi, self._halo, self.shape, strict=True)
        outer = tuple(slice(max(0, p.start - margin), min(size, p.stop + margin)) for p, margin, size in sizes)
        whole = self._result(self._transformation(self._block(outer)), outer)
        return np.array(whole[within(roi, outer)], order="C")

    def _params(self) -> dict[str, Any]:
        return {**super()._params(), "halo": list(self._halo)}


@register_wrapper
class TransformationSource(ComputedSource):
    """``transformation(block, roi)``: a `SimpleTransformationSource` whose function knows where its block is.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    transformation : callable
        ``transformation(block, roi) -> array`` of the same shape; `roi` has one slice with plain numbers per axis.
    dtype : dtype_like, optional
        Data type of the view. None: that of the function's result for a zero at the first voxel.
    """

    def __init__(self, source: Any, transformation: Transformation, *, dtype: Any = None) -> None:
        super().__init__(source, transformation, dtype=dtype)

    def _probe(self) -> Any:
        return self._transformation(self._zeros(), (slice(0, 1),) * self.ndim)

    def _computed(self, roi: Roi) -> np.ndarray:
        return self._result(self._transformation(self._block(roi), roi), roi)


@register_wrapper
class ThresholdSource(WrapperSource):
    """``operator(voxel, threshold)`` as booleans.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    threshold : scalar
        What the voxels are compared with.
    operator : callable, default numpy.greater
        ``operator(block, threshold) -> bool array``, for example `numpy.less_equal`.
    """

    pictured = True

    def __init__(self, source: Any, threshold: Any, operator: Transformation = np.greater) -> None:
        super().__init__(source)
        self._threshold = number("threshold", threshold, example=0.5)
        if not callable(operator):
            raise ParameterError(f"operator={operator!r} is no function", remedy="operator=numpy.greater")
        self._operator = operator

    @property
    def threshold(self) -> Any:
        """What the voxels are compared with."""
        return self._threshold

    @property
    def dtype(self) -> np.dtype:
        """Bool."""
        return np.dtype(bool)

    def _getitem(self, roi: Roi) -> np.ndarray:
        value = self._operator(np.asarray(self._source._viewitem(roi)), self._threshold)
        return checked(value, roi, self.dtype, self._operator)

    def _params(self) -> dict[str, Any]:
        return {"threshold": self._threshold, "operator": self._operator}


def checked(value: Any, roi: Roi, dtype: np.dtype, function: Transformation) -> np.ndarray:
    """Return what a function gave for a box, in a data type.

    Raises
    ------
    ShapeError
        If it does not have the shape of the box.
    ValueRangeError, DtypeError
        If the data type cannot hold it.
    """
    result = np.asarray(value)
    shape = size_of(roi)
    if result.shape != shape:
        where = ", ".join(f"{part.start}:{part.stop}" for part in roi)
        raise ShapeError(
            f"{getattr(function, '__name__', function)!r} gave an array of shape {result.shape} for the block [{where}]"
            f" of shape {shape}.",
            remedy="let it return an array of the shape of its block (with_channels=True drops the first axis)",
        )
    return convert_values(result, dtype, "checked", Selection(roi, shape))
