"""The settings of a segmentation: checked, with their defaults."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..blocks import normalize_halo
from ..errors import DtypeError, ParameterError, ShapeError
from ..filters.windows import normalize_sigma
from ..sources import Source
from .segmentation_kernels import physical

Method = Literal["components", "watershed", "multicut", "agglomerate", "mutex"]
METHODS: tuple[Method, ...] = ("watershed", "components", "multicut", "agglomerate", "mutex")

# Defaults, all lengths in voxels of the finest axis.
_SEED_DISTANCE, _SEED_SIGMA, _BETA = 3.0, 2.0, 0.5
_SIGMA = {"components": 1.5, "watershed": 1.5, "multicut": 0.7, "agglomerate": 0.7, "mutex": 0.7}
_HALO = {"components": 0.0, "watershed": 0.0, "multicut": 8.0, "agglomerate": 8.0, "mutex": 0.0}
# superpixels have 100 voxels at least; what is left with fewer is the rim of one that the face of a block cut off
_MIN_SIZE = {"components": 100, "watershed": 0, "multicut": 100, "agglomerate": 100, "mutex": 0}
_OWN = {
    "components": {"objects", "sigma", "threshold"},
    "watershed": {"objects", "sigma", "threshold", "seed_distance", "fill", "halo"},
    "multicut": {"beta", "classifier", "halo", "sigma", "threshold"},
    "agglomerate": {"beta", "classifier", "halo", "sigma", "threshold"},
    "mutex": {"beta", "classifier", "offsets"},
}
"""Parameters that not all methods take, by those that do."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides what comes out, checked; lengths in voxels per axis where they are tuples."""

    method: Method
    threshold: float | None
    sigma: tuple[float, ...] | None
    seed_distance: float
    min_size: int
    objects: Literal["bright", "dark"]
    fill: bool
    halo: tuple[int, ...]
    sampling: tuple[float, ...]
    seed_sigma: tuple[float, ...]
    beta: float
    offsets: tuple[tuple[int, ...], ...]
    classifier: str | None = None

    def shown(self) -> dict[str, Any]:
        """The settings that the method uses, as JSON values."""
        names = ["min_size", *sorted(_OWN[self.method] - {"threshold"})]
        return {name: _plain(getattr(self, name)) for name in names}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


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
    beta: float | None = None,
    offsets: Sequence[Sequence[int]] | None = None,
    classifier: str | os.PathLike[str] | None = None,
) -> Settings:
    """Check what the user gave, and fill in the defaults; `segment` explains the parameters.

    Raises
    ------
    ShapeError, DtypeError, ParameterError, HaloError
        Bad input.
    """
    _check_image(source)
    if method not in METHODS:
        raise ParameterError(f"method is {method!r}.", remedy=" or ".join(f'method="{one}"' for one in METHODS))
    if objects not in ("bright", "dark"):
        raise ParameterError(f"objects is {objects!r}.", remedy='objects="bright" or objects="dark"')
    given = {"objects": objects != "bright", "fill": bool(fill), "beta": beta is not None}
    others: dict[str, Any] = {"seed_distance": seed_distance, "halo": halo, "sigma": sigma, "threshold": threshold}
    others |= {"offsets": offsets, "classifier": classifier}
    given |= {name: value is not None for name, value in others.items()}
    if vain := sorted(name for name, there in given.items() if there and name not in _OWN[method]):
        takes = [one for one in METHODS if set(vain) <= _OWN[one]]
        raise ParameterError(
            f"{', '.join(vain)} {'do' if len(vain) > 1 else 'does'} nothing for method={method!r}.",
            remedy="leave it out" + "".join(f', or method="{one}"' for one in takes),
        )
    if beta is not None and not 0 < beta < 1:
        raise ParameterError(f"beta is {beta!r}, and not between 0 and 1.", remedy="beta=0.5")
    if method == "mutex" and offsets is None:
        raise ParameterError(
            "method='mutex' takes affinities, whose offsets it has to know.", remedy="offsets=[(-1, 0, 0), ...]"
        )
    if "beta" in _OWN[method] and threshold is not None and not 0 <= threshold <= 1:
        raise ParameterError(
            f"threshold is {threshold!r}, and boundaries lie between 0 and 1.", remedy="threshold=0.15"
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
        margin = tuple(int(np.ceil(size)) for size in physical(_HALO[method], steps))
    else:
        margin = normalize_halo(halo, source.ndim) or ()
    return Settings(
        method,
        None if threshold is None else float(threshold),
        _sigma(_SIGMA[method] if sigma is None else sigma, steps),
        distance,
        int(least),
        objects,  # type: ignore[arg-type]
        method == "watershed" and fill is not False,
        margin,
        tuple(step / min(steps) for step in steps),
        physical(_SEED_SIGMA, steps),
        _BETA if beta is None else float(beta),
        tuple(tuple(int(step) for step in offset) for offset in offsets or ()),
        None if classifier is None else os.path.abspath(classifier),
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
