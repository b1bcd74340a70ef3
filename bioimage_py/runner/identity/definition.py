"""What a call computes, as a value that can be compared: the same call gives the same definition, in any process."""

from __future__ import annotations

import numpy as np

from ..planning.stage import Stage
from .digest import describe, tell


def definition_of(stages: tuple[Stage, ...], *, casting: str = "checked", version: str | None = None) -> dict[str, str]:
    """Definition of a run: digests and readable values, by what they describe.

    Parameters
    ----------
    stages : tuple of Stage
    casting : {"checked", "unsafe"}
        What happens to values that an output cannot hold.
    version : str, optional
        Stands for the functions.

    Returns
    -------
    dict
        JSON values; equal for equal calls. What cannot be told is an ``"untellable …"`` that equals nothing.
    """
    parts: dict[str, str] = {"casting": casting}
    for stage in stages:
        for name, value in (("function", stage.function), ("reduce", stage.merge), ("setup", stage.setup)):
            parts[f"{stage.name}.{name}"] = tell(value) if version is None else f"version {version}"
        for name, sources in (("input", stage.inputs), ("output", stage.outputs)):
            for index, source in enumerate(sources):
                parts[f"{stage.name}.{name} {index}"] = describe(source)
        parts[f"{stage.name}.mask"] = "None" if stage.mask is None else describe(stage.mask)
        parts[f"{stage.name}.halo"] = str(stage.halo)
        parts[f"{stage.name}.returns"] = stage.returns
        if stage.units.groups is not None:
            grid = stage.units.groups.grid
            parts[f"{stage.name}.grid"] = (
                f"shape {grid.shape} blocks {grid.block_shape} roi {grid.roi} anchor {grid.anchor}"
            )
        if stage.units.ids is not None:
            parts[f"{stage.name}.block_ids"] = tell(np.sort(stage.units.ids))
        else:
            parts[f"{stage.name}.block_ids"] = f"all {stage.units.n_blocks}"
    return parts
