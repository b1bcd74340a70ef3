"""OME-Zarr pyramids: the same image at lower and lower resolution."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..errors import ConfigError, KeyNotFoundError, ParameterError
from ..io.create import create_array
from ..io.ome import check_axes, write_multiscales
from ..operations.pyramids import pyramid
from ..pipelines.call import as_one_call
from ..runner.execution import Execution, current_execution
from ..sources import Axis, Source
from ..sources.file import FileSource, absolute_path, open_source
from ..sources.spec import SourceSpec
from ..sources.to_be import ArrayToBe
from ..wrapper.downsample import DownsampleSource


def level_factors(shape: Sequence[int], axes: Sequence[Axis], smallest: int = 64) -> list[tuple[int, ...]]:
    """Choose the factors between the levels of a pyramid.

    Every level halves the axes of space that are resolved less than twice as coarsely as the finest one, so voxels
    become cubes first; axes of one voxel, and other axes, stay. The last level has at most `smallest` voxels along
    every axis that can be halved.

    Parameters
    ----------
    shape : sequence of int
        Shape of the finest level.
    axes : sequence of Axis
        Its axes.
    smallest : int, default 64
        Size to reach.

    Returns
    -------
    list of tuple of int
        For every further level, the factor of each axis against the level above.
    """
    sizes, scales = list(shape), [axis.scale for axis in axes]
    space = [n for n, axis in enumerate(axes) if axis.kind == "space"]
    levels = []
    while max((sizes[n] for n in space), default=0) > smallest:
        long = [n for n in space if sizes[n] > 1]
        finest = min(scales[n] for n in long)
        # A hair below 2, for scales such as 0.1 and 0.2 that are not exact.
        factors = tuple(2 if n in long and scales[n] < 1.999 * finest else 1 for n in range(len(sizes)))
        sizes = [-(-size // factor) for size, factor in zip(sizes, factors, strict=True)]
        scales = [scale * factor for scale, factor in zip(scales, factors, strict=True)]
        levels.append(factors)
    return levels


def write_pyramid(
    path: str | os.PathLike[str],
    key: str = "",
    *,
    method: Literal["mean", "mode", "stride"] = "mean",
    name: str = "",
    label: bool = False,
    source: str | None = None,
    smallest: int = 64,
    execution: Execution | None = None,
) -> list[FileSource]:
    """Add the coarser levels to an OME-Zarr image, and describe all of them (OME-Zarr 0.5).

    The group must hold the array "0", the finest level; "1", "2", ... are made from it, each from the one above.

    Parameters
    ----------
    path : str or os.PathLike
        Container.
    key : str, default ""
        Group of the image in it, such as "labels/cells".
    method : {"mean", "mode", "stride"}, default "mean"
        "mean" for images, "mode" for labels; see `bioimage_py.downsample`.
    name : str, default ""
        Name of the image.
    label : bool, default False
        True for a label image.
    source : str, optional
        For a label image: path from its group to that of the image.
    smallest : int, default 64
        The last level has at most so many voxels along each axis of space.
    execution : Execution, optional
        How to run.

    Returns
    -------
    list of FileSource
        All levels, finest first.

    Raises
    ------
    KeyNotFoundError
        If the group has no array "0".
    ParameterError
        If OME-Zarr cannot describe the axes, or `smallest` is below 1.
    """
    if not (isinstance(smallest, int) and smallest >= 1):
        raise ParameterError(f"smallest is {smallest!r}.", remedy="smallest=64")
    prefix = f"{key.strip('/')}/" if key.strip("/") else ""
    try:
        level = open_source(path, f"{prefix}0", format="zarr", mode="r+")
    except KeyNotFoundError as error:
        raise KeyNotFoundError(
            f"{os.fspath(path)} has no array '{prefix}0', the finest level.", remedy="write it first, then the pyramid"
        ) from error
    check_axes(level.axes)
    # The levels are made anew below, so an interrupted call has left nothing to go on with.
    how = replace(current_execution(execution), resume="never")
    if how.plan or how.debug:
        raise ConfigError(
            "write_pyramid makes its levels, also with plan=True or debug=True", remedy="bioimage_py.pyramid"
        )
    factors = level_factors(level.shape, level.axes, smallest)
    views: list[Source] = [level]
    for factor in factors:
        views.append(DownsampleSource(views[-1], factor, method))

    def work() -> None:
        levels = [level]
        for number, view in enumerate(views[1:], 1):
            made = create_array(
                path,
                f"{prefix}{number}",
                shape=view.shape,
                dtype=view.dtype,
                axes=view.axes,
                format="zarr",
                overwrite=True,
            )
            levels.append(made)
        pyramid(level, factors, levels[1:], method=method, execution=how)
        described = [(str(number), found.axes) for number, found in enumerate(levels)]
        write_multiscales(path, key, levels=described, name=name, method=method, label=label, source=source)

    container = absolute_path(path)
    specs = [
        SourceSpec("file", container, f"{prefix}{number}", {"format": "zarr", "mode": "r+"})
        for number in range(1, len(views))
    ]
    outputs = [
        ArrayToBe(view.shape, view.dtype, axes=view.axes, spec=spec)
        for view, spec in zip(views[1:], specs, strict=True)
    ]
    does = _Does(tuple(factors), method, name, label, source)
    as_one_call("write_pyramid", does, [level], outputs, how, work)
    return [level, *(open_source(path, f"{prefix}{n}", format="zarr", mode="r+") for n in range(1, len(views)))]


@dataclass(frozen=True)
class _Does:
    """What `write_pyramid` writes."""

    factors: tuple[tuple[int, ...], ...]
    method: str
    name: str
    label: bool
    source: str | None

    def __call__(self, earlier: Any) -> None:
        raise NotImplementedError("it stands for a pyramid, and is none")
