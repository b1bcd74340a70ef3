"""The dictionaries that `immeta` returns."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...sources.axes import Axis
from ..details import Details

STANDARD = ("image", "acquired", "instrument", "objective", "channels", "pixel_sizes", "stage")


@dataclass(frozen=True)
class View:
    """What of the metadata is wanted.

    Parameters
    ----------
    exclude_applied : bool, default True
        Leave out what reading has applied to the voxels.
    standard : bool, default False
        The part that all formats share, the format's own under "raw".
    json : bool, default False
        With values that JSON can hold only.
    """

    exclude_applied: bool = True
    standard: bool = False
    json: bool = False

    def raw(self, details: Details, *, image: bool, file: bool) -> dict[str, Any]:
        """Return the format's own names and values, of the image, the file or both."""
        found = {**(details.file if file else {}), **(details.raw if image else {})}
        if self.exclude_applied:
            found = {name: value for name, value in found.items() if name not in details.applied}
        elif image:
            found |= details.applied
        return self._shown(found)

    def model(self, details: Details, axes: Sequence[Axis]) -> dict[str, Any]:
        """Return the part that all formats share; keys are always the same."""
        found: dict[str, Any] = {name: details.standard.get(name) or None for name in STANDARD}
        if found["channels"] is None and details.channel_names:
            colors = details.channel_colors or (None,) * len(details.channel_names)
            found["channels"] = [
                {"name": name, "color": color} for name, color in zip(details.channel_names, colors, strict=False)
            ]
        if found["pixel_sizes"] is None:
            known = {a.name: (a.scale, a.unit) for a in axes if a.kind == "space" and (a.unit or a.scale != 1)}
            found["pixel_sizes"] = known or None
        if found["stage"] is None and details.positions:
            found["stage"] = details.positions[0]
        return self._shown({**found, "raw": self.raw(details, image=True, file=True)})

    def _shown(self, found: dict[str, Any]) -> dict[str, Any]:
        return {str(name): self._value(value) for name, value in found.items()}

    def _value(self, value: Any) -> Any:
        try:
            return plain(value) if self.json else _own(value)
        except RecursionError:  # a file may say what nobody wrote by hand
            return "nested too deep" if self.json else value


def _own(value: Any) -> Any:
    """A value that may be changed: what it is a part of is remembered, and told again."""
    if isinstance(value, dict):
        return {name: _own(one) for name, one in value.items()}
    return [_own(one) for one in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if value is None or isinstance(value, str | int | bool):
        return value
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
