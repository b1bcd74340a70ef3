"""The network of `segment`: from a raw image to the boundaries, or affinities, that its methods take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engine.job import Job
from ..errors import ParameterError
from ..inference import predict
from ..inference.devices import Devices
from ..inference.given import given_model
from ..sources import Axis, Source
from ..wrapper import ChannelSource
from ..wrapper.view import find_axis
from .work import Work

SETTINGS = ("tile", "overlap", "margin", "channel_axis", "normalize", "batch", "devices", "setup")
"""Keywords of `predict` that a segmentation passes on."""
_METHODS = ("multicut", "agglomerate", "mutex")


@dataclass(frozen=True)
class Network:
    """A network and how it is called.

    Parameters
    ----------
    model : object
        As given.
    opened : object
        What workers open, by which a call is told from one with another network.
    settings : tuple of (str, object)
        For `predict`.
    channels : int, optional
        That it makes, None for boundaries.
    """

    model: Any
    opened: Any
    settings: tuple[tuple[str, Any], ...]
    channels: int | None

    @classmethod
    def of(cls, model: Any, network: Mapping[str, Any] | None, method: str, offsets: Any) -> Network | None:
        """The network that a caller gives; None without one.

        Raises
        ------
        ParameterError
            For a method that takes no boundaries, or settings that `predict` does not have.
        """
        if model is None:
            if network is not None:
                raise ParameterError("network= says how a model is called, and there is none", remedy="model=net.onnx")
            return None
        if method not in _METHODS:
            raise ParameterError(
                f"model= makes boundaries, which method={method!r} does not take", remedy='method="multicut"'
            )
        given = dict(network or {})
        if unknown := sorted(set(given) - set(SETTINGS)):
            raise ParameterError(
                f"network has {', '.join(map(repr, unknown))}, which is none of {', '.join(SETTINGS)}",
                remedy='network={"tile": 96, "overlap": 32, "normalize": "standard"}',
            )
        opened = given_model(model, given.get("setup"), Devices.of(given.get("devices"))).model
        channels = len(offsets or ()) if method == "mutex" else None
        named = os.path.abspath(model) if isinstance(model, str | os.PathLike) else model
        return cls(named, opened, tuple(sorted(given.items())), channels)

    def volume(self, raw: Source) -> Source:
        """What has the shape of the result: the image, or its first channel."""
        axis = self.channel_axis(raw)
        return raw if axis is None else ChannelSource(raw, 0, axis)

    def channel_axis(self, raw: Source) -> int | None:
        """Position of the axis of channels that the network takes; None without one."""
        axis = dict(self.settings).get("channel_axis")
        return None if axis is None else find_axis(raw.axes, axis)

    def check(self, raw: Source, job: Job) -> None:
        """Raise what `predict` would raise before its first tile."""
        how = job.execution.updated({"plan": True, "job_type": "local", "job_config": None, "progress": False})
        predict(raw, self.model, dtype="uint8", **self.keywords, execution=how)

    def run(self, work: Work) -> Source:
        """What the network says of the image of a segmentation, in an array of bytes."""
        leading = () if self.channels is None else (self.channels,)
        axes = (Axis("c", "channel"), *work.source.axes) if leading else work.source.axes
        made = work.made(work.pipeline.scratch("network"), "", "uint8", leading, axes)
        work.stage("network", lambda: work.on(predict, work.given, self.model, made, **self.keywords))
        return made

    @property
    def keywords(self) -> dict[str, Any]:
        """For `predict`."""
        return {**dict(self.settings), "channels": self.channels}
