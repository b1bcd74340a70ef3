"""The operation `regionprops`: properties of every object, of any size, with and without intensities."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np

from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...errors import DtypeError, ParameterError, ShapeError
from ...sources import Source, as_source
from ...sources.along import steps_of
from ...sources.axes import unit_name
from ...wrapper import RoiSource
from .measuring import as_labels, axis_names, label_column, measured, per_axis_columns, places, table_of
from .objects import Intensity, Objects, selected
from .table_files import check_table_path, read_table, write_table

if TYPE_CHECKING:
    import pandas as pd


@operation(
    omit=("casting",),
    axes="space",
    declaration=Declaration(
        "tolerance", "numpy, over runs of equal ids", "1 with compute_surface=True", 6.0, outputs=("output_path",)
    ),
)
def regionprops(
    input: Any,
    table: Any = None,
    *,
    resolution: float | Sequence[float] | None = None,
    compute_surface: bool = False,
    output_path: str | os.PathLike[str] | None = None,
    intensity_image: Any = None,
    percentiles: Sequence[float] = (),
    physical: bool = False,
    item_ids: Sequence[int] | None = None,
    pre_cleanup: Callable[[str], None] | None = None,
    verbose: bool = True,
    **run: Unpack[RunKeywords],
) -> pd.DataFrame:
    """Properties of every object, in one pass over the blocks.

    Names and units are those of scikit-image. Counts, boxes, centroids, extrema and sums of integers (of at most 32
    bits) are exact; lengths of axes, surfaces, standard deviations and other sums depend on the blocks by rounding only
    (1e-9 of the value). An object may be larger than memory: it is measured block by block, and what is kept of it is a
    row.

    Parameters
    ----------
    input : source-like
        Labels, any integer type or bool; 0 is background. Ids up to 2^64 - 1 are kept exactly.
    table : pandas.DataFrame or path, optional
        Measure these objects only, and return them in this order: a table with the column ``label`` (that of
        `morphology`), or a csv, parquet or xlsx file of it. By default all objects, sorted by id.
    resolution : float or sequence of float, optional
        Size of a voxel along each axis of the objects. Lengths, areas, surfaces and centroids are then in its units;
        by default in voxels.
    compute_surface : bool
        ``surface_area`` of the mesh of marching cubes (three axes only); objects are cut off at the volume's border.
    output_path : path, optional
        Also write the table there: .csv, .parquet or .xlsx (in which ids above 2^53 are text: its numbers are floats).
    intensity_image : source-like, or a sequence of them, optional
        Values to measure, of the shape of the labels; or with one leading axis of channels. Of a sequence, or of
        channels, every column has the number of the channel: ``intensity_mean-0``.
    percentiles : sequence of float
        Of the intensities, in [0, 100], interpolated as `numpy.percentile` does; of infinite ones the limit, where that
        has NaN. Every different value in an object is counted: memory grows with their number.
    physical : bool
        Take the resolution, and where voxel 0 lies, from the axes of the input.
    item_ids : sequence of int, optional
        Rows of the table to measure.
    pre_cleanup : callable, optional
        Called with the run folder before it is removed.
    verbose : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        ``label``, ``n_voxels``, ``area`` (volume in 3D), ``extent``, ``equivalent_diameter_area``,
        ``axis_major_length``, ``axis_minor_length``, ``centroid_z``, ..., ``bb_min_z``, ..., ``bb_max_z``, ...
        (voxels, exclusive), ``surface_area``, and of intensities ``intensity_mean``, ``intensity_min``,
        ``intensity_max``, ``intensity_sum``, ``intensity_std`` and ``intensity_percentile_50``, .... Where axes are
        kept apart, an object at each of their indices has a row, and a column says which. ``.attrs["units"]`` has the
        unit of lengths.

    Raises
    ------
    DtypeError
        Labels that are not integers, or complex intensities.
    ShapeError
        Intensities of another shape.
    ParameterError
        A table without labels, or with labels that do not occur; a resolution or percentile that is none.
    FormatError, MissingDependencyError
        A table file of another kind, or whose library is not installed; before anything is measured.

    Notes
    -----
    Lengths of axes are those of the ellipsoid with the same second moments, ``2 sqrt((n + 2) l)`` for the eigenvalue
    ``l`` of the covariance of n coordinates, which is what `skimage.measure.regionprops` has.
    """
    job = Job.of(run if verbose else {**run, "progress": False})
    source = as_labels(input, "regionprops")
    if output_path is not None:
        check_table_path(output_path)
    if table is None and item_ids is not None:
        raise ParameterError("item_ids= are rows of a table, and none is given", remedy="table=morphology(labels)")
    wanted = None if table is None else _wanted(table, item_ids)
    along = job.along(source)
    sizes, where, unit = _resolution(resolution, physical, source, along)
    if compute_surface and len(along) != 3:
        raise ParameterError(
            f"compute_surface=True needs objects of 3 axes, these have {len(along)}", remedy="compute_surface=False"
        )
    quantiles = _percentiles(percentiles)
    channels, suffixes = _channels(intensity_image, source)
    found = measured(
        "regionprops",
        source,
        job,
        intensities=channels,
        moments=True,
        spacing=sizes if compute_surface else None,
        percentiles=bool(quantiles),
        pre_cleanup=pre_cleanup,
    )
    if wanted is not None:
        found = selected(found, _rows(found, wanted))
    columns: dict[str, Any] = {**places(found, source, job), "label": label_column(found)}
    columns.update(_shape_columns(found, axis_names(source, job), np.array(sizes), where))
    for suffix, one in zip(suffixes, found.intensities, strict=True):
        columns.update(
            {f"{name}{suffix}": values for name, values in _intensity_columns(found, one, quantiles).items()}
        )
    result = table_of(columns)
    result.attrs["units"] = unit
    if output_path is not None:
        write_table(result, output_path)
    return result


def _shape_columns(found: Objects, names: Sequence[str], sizes: np.ndarray, where: Places) -> dict[str, Any]:
    n, ndim = len(found), len(sizes)
    area = found.count * math.prod(sizes)
    box = np.prod(found.high - found.low, axis=1)
    columns: dict[str, Any] = {
        "n_voxels": found.count,
        "area": area,
        "extent": found.count / np.maximum(box, 1),
        "equivalent_diameter_area": (2 * ndim * area / math.pi) ** (1 / ndim) if ndim > 1 else area,
    }
    spread = np.zeros((n, ndim)) if found.central is None else _spread(found, sizes)
    columns["axis_major_length"] = 2 * np.sqrt((ndim + 2) * spread[:, -1])
    columns["axis_minor_length"] = 2 * np.sqrt((ndim + 2) * spread[:, 0])
    columns.update(per_axis_columns("centroid", names, found.mean() * where.step + where.origin))
    columns.update(per_axis_columns("bb_min", names, found.low))
    columns.update(per_axis_columns("bb_max", names, found.high))
    if found.surface is not None:
        columns["surface_area"] = found.surface
    return columns


def _spread(found: Objects, sizes: np.ndarray) -> np.ndarray:
    """Eigenvalues of the covariance of each object's coordinates, ascending."""
    assert found.central is not None
    covariance = found.central / found.count[:, None, None] * (sizes[:, None] * sizes)
    return np.maximum(np.linalg.eigvalsh(covariance), 0) if len(found) else np.zeros((0, len(sizes)))


def _intensity_columns(found: Objects, one: Intensity, quantiles: Sequence[float]) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        columns: dict[str, Any] = {
            "intensity_mean": one.total / found.count,
            "intensity_min": one.low,
            "intensity_max": one.high,
            "intensity_sum": one.total,
            "intensity_std": np.sqrt(one.squares / found.count),
        }
    for quantile in quantiles:
        columns[f"intensity_percentile_{quantile:g}"] = _percentile(found, one, quantile)
    return columns


def _percentile(found: Objects, one: Intensity, quantile: float) -> np.ndarray:
    """A percentile of the counted values of each object."""
    assert one.values is not None
    rows, values, counts = one.values
    below = np.cumsum(counts)
    order = np.argsort(rows, kind="stable")
    rows, values, below = rows[order], values[order].astype(np.float64), np.cumsum(counts[order])
    first = np.cumsum(found.count) - found.count
    at = quantile / 100 * (found.count - 1)
    low, high = (values[np.searchsorted(below, first + rank(at), side="right")] for rank in (_floor, _ceil))
    rest = at - np.floor(at)
    with np.errstate(invalid="ignore"):
        # weighted, not stepped: beside a finite value an infinite one stays what it is
        result = np.where(low == high, low, low * (1 - rest) + high * rest)
    result[np.unique(rows[np.isnan(values)])] = np.nan
    return np.asarray(result)


def _floor(at: np.ndarray) -> np.ndarray:
    return np.asarray(np.floor(at), np.int64)


def _ceil(at: np.ndarray) -> np.ndarray:
    return np.asarray(np.ceil(at), np.int64)


def _channels(image: Any, source: Source) -> tuple[list[Source], list[str]]:
    """A source a channel, and what its columns end with."""
    if image is None:
        return [], []
    several = isinstance(image, list | tuple)
    given = [as_source(one) for one in (image if several else [image])]
    shape = tuple(source.shape)
    if not several and tuple(given[0].shape[1:]) == shape:
        whole, several = given[0], True
        rest = tuple(slice(0, size) for size in shape)
        given = [RoiSource(whole, (channel, *rest), squeeze=True) for channel in range(whole.shape[0])]
    for number, one in enumerate(given):
        if tuple(one.shape) != shape:
            raise ShapeError(
                f"intensity_image {number} has the shape {tuple(one.shape)}, the labels {shape}",
                remedy=f"an image of shape {shape}, or with one leading axis of channels",
            )
        if one.dtype.kind not in "biuf":
            raise DtypeError(f"intensity_image {number} has the type {one.dtype}", remedy="real numbers")
    return given, [f"-{number}" for number in range(len(given))] if several else [""]


class Places(NamedTuple):
    """Step from voxel to voxel, below 0 along an axis that runs backwards, and position of voxel 0."""

    step: tuple[float, ...]
    origin: tuple[float, ...]


def _resolution(
    resolution: Any, physical: bool, source: Source, along: Sequence[int]
) -> tuple[tuple[float, ...], Places, str]:
    """Size of a voxel, where voxels lie, and the unit, along some axes."""
    axes = [source.axes[axis] for axis in along]
    sizes = steps_of(axes, resolution, name="resolution", physical=physical)
    if physical:
        turned = tuple(math.copysign(size, axis.scale) for size, axis in zip(sizes, axes, strict=True))
        return sizes, Places(turned, tuple(axis.offset for axis in axes)), unit_name(axes[0].unit) or ""
    return sizes, Places(sizes, (0.0,) * len(axes)), "voxel" if resolution is None else ""


def _percentiles(given: Any) -> tuple[float, ...]:
    try:
        values = tuple(float(one) for one in np.atleast_1d(np.asarray(given, np.float64)))
    except (ValueError, TypeError):
        values = (math.nan,)
    if not all(0 <= one <= 100 for one in values):
        raise ParameterError(f"percentiles={given!r} are not all in [0, 100]", remedy="percentiles=(5, 50, 95)")
    return values


def _wanted(table: Any, item_ids: Sequence[int] | None) -> np.ndarray:
    """Ids of the objects that a table names."""
    frame = read_table(table) if isinstance(table, str | os.PathLike) else table
    if "label" not in getattr(frame, "columns", ()):
        raise ParameterError("the table has no column 'label'", remedy="table=morphology(labels)")
    wanted = np.asarray(frame["label"])
    if wanted.dtype.kind not in "iu":
        if not all(float(one).is_integer() for one in wanted):
            raise ParameterError("the table has labels that are no whole numbers", remedy="table=morphology(labels)")
        wanted = np.array([int(one) for one in wanted], np.uint64)
    return wanted if item_ids is None else wanted[np.asarray(item_ids, np.int64)]


def _rows(found: Objects, wanted: np.ndarray) -> np.ndarray:
    """Rows of some ids, in their order; at every place where axes are kept apart."""
    known: dict[int, list[int]] = {}
    for row, one in enumerate(found.ids.tolist()):
        known.setdefault(one, []).append(row)
    missing = [one for one in wanted.tolist() if one not in known]
    if missing:
        raise ParameterError(
            f"the table names objects that do not occur: {missing[:5]}",
            remedy="table=morphology(labels) of these labels",
        )
    return np.array([row for one in wanted.tolist() for row in known[one]], np.int64)
