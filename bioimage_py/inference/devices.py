"""On which device a worker computes: the processor, or one of the GPUs, dealt out by the worker's number."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ParameterError
from ..system.worker import worker_number

CPU = "cpu"


@dataclass(frozen=True)
class Devices:
    """The devices of a call.

    Parameters
    ----------
    names : tuple of str
        ``("cpu",)``, ``("cuda",)`` for all that a process sees, or single ones such as ``("cuda:0", "cuda:2")``.
    """

    names: tuple[str, ...] = (CPU,)

    @classmethod
    def of(cls, given: Any) -> Devices:
        """The devices that a caller names; ParameterError for what is none."""
        if given is None:
            return cls()
        names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Sequence) else ()
        if not names or not all(isinstance(name, str) and re.fullmatch(r"cpu|[a-z]+(:\d+)?", name) for name in names):
            raise ParameterError(
                f"devices={given!r} names no devices", remedy='devices="cuda", or ["cuda:0", "cuda:1"]'
            )
        return cls(names)

    def mine(self) -> str:
        """The device of the worker that this thread is."""
        number = worker_number()
        name = self.names[number % len(self.names)]
        if name == CPU or ":" in name:
            return name
        return f"{name}:{(number // len(self.names)) % visible()}"


def visible() -> int:
    """Number of GPUs that this process sees: those of ``CUDA_VISIBLE_DEVICES``, else the machine's; at least 1."""
    if (said := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return max(1, len([one for one in said.split(",") if one.strip()]))
    try:
        return max(1, len(list(Path("/proc/driver/nvidia/gpus").iterdir())))
    except OSError:
        return 1


class PerDevice:
    """What is opened once for each device of a process, by the first worker that asks for it."""

    def __init__(self, devices: Devices, make: Callable[[str], Any]) -> None:
        self._devices = devices
        self._make = make
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}

    def mine(self) -> Any:
        """That of the worker's device."""
        device = self._devices.mine()
        with self._lock:
            if device not in self._made:
                self._made[device] = self._make(device)
            return self._made[device]
