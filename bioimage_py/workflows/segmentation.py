"""What `segment` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class StageTime:
    """How long a stage took."""

    name: str
    seconds: float
    voxels: int

    @property
    def voxels_per_second(self) -> float:
        """Voxels of the region over wall time."""
        return self.voxels / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Segmentation:
    """What `segment` did.

    Attributes
    ----------
    path : str
        The OME-Zarr label image.
    method : str
    n_objects : int
    shape : tuple of int
        Of the finest level.
    levels : tuple of tuple of int
        Shapes of all levels.
    threshold : float or None
        In grey values of the input: the one given, or found; None where the method has none.
    settings : dict
        The other settings in use; lengths in voxels per axis.
    stages : tuple of StageTime
    num_workers : int
    peak_bytes : int
        Highest resident memory of this process.
    """

    path: str
    method: str
    n_objects: int
    shape: tuple[int, ...]
    levels: tuple[tuple[int, ...], ...]
    threshold: float | None
    settings: dict[str, Any]
    stages: tuple[StageTime, ...]
    num_workers: int
    peak_bytes: int

    @property
    def seconds(self) -> float:
        """Wall time of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def voxels_per_second(self) -> float:
        """Voxels of the finest level over wall time."""
        return float(np.prod(self.shape)) / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        found = asdict(self)
        found["stages"] = [
            {"name": s.name, "seconds": round(s.seconds, 4), "voxels_per_second": round(s.voxels_per_second)}
            for s in self.stages
        ]
        return {**found, "seconds": round(self.seconds, 4), "voxels_per_second": round(self.voxels_per_second)}

    def summary(self) -> str:
        """A table for people."""
        lines = [
            f"{self.path}: {self.n_objects:,} objects by {self.method}",
            f"  shape {_times(self.shape)}, {len(self.levels)} levels down to {_times(self.levels[-1])}",
            "  "
            + ("" if self.threshold is None else f"threshold {self.threshold:.6g}, ")
            + ", ".join(f"{name} {value}" for name, value in self.settings.items() if value is not None),
            f"  {'stage':<12} {'seconds':>9} {'voxels/s':>14}",
        ]
        lines += [f"  {s.name:<12} {s.seconds:>9.2f} {s.voxels_per_second:>14,.0f}" for s in self.stages]
        lines.append(
            f"  {'all':<12} {self.seconds:>9.2f} {self.voxels_per_second:>14,.0f}"
            f"   {self.num_workers} workers, peak memory {self.peak_bytes / 2**20:,.0f} MiB"
        )
        return "\n".join(lines)


def _times(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape)
