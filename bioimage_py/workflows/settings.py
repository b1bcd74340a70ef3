"""The settings of a segmentation: checked, with their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..blocks import normalize_halo
from ..errors import DtypeError, ParameterError, ShapeError
from ..filters.windows import normalize_sigma
from ..sources import Source
from .segmentation_kernels import physical

# Defaults, all lengths in voxels of the finest axis.
_SIGMA, _SEED_DISTANCE, _HALO = 1.5, 3.0, 32.0
_MIN_SIZE = {"components": 100, "watershed": 0}


@dataclass(frozen=True)
class Settings:
    """Everything that decides what comes out, checked; lengths in voxels per axis where they are tuples."""

    method: Literal["components", "watershed"]
    threshold: float | None
    sigma: tuple[float, ...] | None
    seed_distance: float
    min_size: int
    objects: Literal["bright", "dark"]
    fill: bool
    halo: tuple[int, ...]
    sampling: tuple[float, ...]

    def shown(self) -> dict[str, Any]:
        """The settings that the method uses, as JSON values."""
        names = ["sigma", "min_size", "objects"]
        if self.method == "watershed":
            names += ["seed_distance", "halo", "fill"]
        values = {name: getattr(self, name) for name in names}
        return {
            name: [round(v, 4) for v in value] if isinstance(value, tuple) else value for name, value in values.items()
        }


def check_settings(
    source: Source,
    method: str,
    threshold: float | None,
    sigma: float | Sequence[float] | None,
    seed_distance: float | None,
    min_size: int | None,
    objects: str,
    fill: bool | None,
    halo: int | Sequence[int] | None,
) -> Settings:
    """Check what the user gave, and fill in the defaults; `segment` explains the parameters.

    Raises
    ------
    ShapeError, DtypeError, ParameterError, HaloError
        Bad input.
    """
    _check_image(source)
    if method not in _MIN_SIZE:
        raise ParameterError(f"method is {method!r}.", remedy='method="watershed" or method="components"')
    if objects not in ("bright", "dark"):
        raise ParameterError(f"objects is {objects!r}.", remedy='objects="bright" or objects="dark"')
    if method == "components" and (fill or seed_distance is not None or halo is not None):
        raise ParameterError(
            "fill, seed_distance and halo do nothing for method='components'.",
            remedy="leave them out, or use 'watershed'",
        )
    if threshold is not None and not np.isfinite(threshold):
        raise ParameterError(f"threshold is {threshold!r}.", remedy="pass a finite number, or leave it out")
    distance = _SEED_DISTANCE if seed_distance is None else float(seed_distance)
    if not (np.isfinite(distance) and distance >= 0):
        raise ParameterError(f"seed_distance is {seed_distance!r}.", remedy=f"seed_distance={_SEED_DISTANCE}")
    least = _MIN_SIZE[method] if min_size is None else min_size
    if not isinstance(least, int | np.integer) or least < 0:
        raise ParameterError(f"min_size is {min_size!r}.", remedy="min_size=0")
    steps = [axis.scale for axis in source.axes]
    if halo is None:
        margin = tuple(int(np.ceil(size)) for size in physical(_HALO, steps))
    else:
        margin = normalize_halo(halo, source.ndim) or ()
    return Settings(
        method,  # type: ignore[arg-type]
        None if threshold is None else float(threshold),
        _sigma(_SIGMA if sigma is None else sigma, steps),
        distance,
        int(least),
        objects,  # type: ignore[arg-type]
        method == "watershed" and fill is not False,
        margin,
        tuple(step / min(steps) for step in steps),
    )


def _check_image(source: Source) -> None:
    if source.ndim not in (2, 3) or any(axis.kind != "space" for axis in source.axes):
        axes = ", ".join(f"{axis.name} ({axis.kind})" for axis in source.axes)
        raise ShapeError(
            f"segment needs 2 or 3 axes of space, the input has the shape {source.shape} with the axes {axes}.",
            remedy="take one channel and time point: bioimage_py.wrapper.RoiSource(input, (0,), squeeze=True)",
        )
    if 0 in source.shape:
        raise ShapeError(f"The input of shape {source.shape} is empty.", remedy="check the region")
    if source.dtype.kind not in "buif":
        raise DtypeError(
            f"segment needs numbers, the input is {source.dtype}.", remedy="take the real part, for example"
        )


def _sigma(sigma: float | Sequence[float], steps: Sequence[float]) -> tuple[float, ...] | None:
    if np.ndim(sigma) == 0 and sigma == 0:
        return None
    numbers = normalize_sigma(sigma, len(steps))
    return numbers if np.ndim(sigma) else physical(numbers[0], steps)
