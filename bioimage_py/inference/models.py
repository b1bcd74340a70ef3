"""Models: what turns a batch of tiles into predictions. Each is a value that a worker opens on its device.

A model that is open is called with float32 of shape ``(batch, channels, *tile)`` and returns an array of shape
``(batch, channels, *tile)``, of one channel also ``(batch, *tile)``.
"""

from __future__ import annotations

import copy
import inspect
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import ConfigError, FormatError, StorageError
from ..extras import needing, pip_line
from .devices import CPU
from .onnx_files import digest_of, files_of

Predictor = Callable[[np.ndarray], Any]


class Model(Protocol):
    """What a worker needs of a model."""

    def open(self, device: str) -> Predictor:
        """The model on a device, ready to be called."""
        ...


@dataclass(frozen=True)
class PlainModel:
    """A function.

    Parameters
    ----------
    function : callable
        ``function(batch)``; with ``setup``, ``function(batch, context=...)``.
    setup : callable, optional
        ``setup()`` or ``setup(device)``, called once a worker process and device; its value is the context.
    """

    function: Callable[..., Any]
    setup: Callable[..., Any] | None = None

    def open(self, device: str) -> Predictor:
        """The function, with its context."""
        if self.setup is None:
            return self.function
        context = self.setup(device) if _takes_one(self.setup) else self.setup()
        function = self.function
        return lambda batch: function(batch, context=context)


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file as it was when the call was made.

    Parameters
    ----------
    path : str
        Absolute.
    output : str, optional
        Which output is taken; by default the first.
    threads : int
        Of a prediction on the processor; workers are what computes at the same time.
    digest : str
        Of the file and its weights.
    """

    path: str
    output: str | None = None
    threads: int = 1
    digest: str = ""

    def session(self, device: str = CPU) -> Any:
        """The session of onnxruntime; FormatError where it cannot read the file."""
        with needing("onnxruntime", f"the model {self.path}"):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(self.path, options, providers=[_provider(device)])
        except Exception as error:  # the classes of its errors are not public
            raise FormatError(
                f"onnxruntime cannot open {self.path}: {error}", remedy="export the model again"
            ) from error
        if device != CPU and session.get_providers()[0] == "CPUExecutionProvider":
            raise ConfigError(
                f"onnxruntime could not use the device {device!r} and fell back to the processor",
                remedy=f"{pip_line('onnxruntime-gpu')}, or leave out devices=",
            )
        return session

    def open(self, device: str) -> Predictor:
        """The session, in the file's own data types."""
        if digest_of(files_of(Path(self.path))) != self.digest:
            raise StorageError(f"the model {self.path} has changed since the call began", remedy="call again")
        session = self.session(device)
        entry = session.get_inputs()[0]
        wanted = [self.output or session.get_outputs()[0].name]
        dtype = ONNX_TYPES[entry.type]

        def predict(batch: np.ndarray) -> Any:
            return session.run(wanted, {entry.name: batch.astype(dtype, copy=False)})[0]

        return predict


ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def _provider(device: str) -> Any:
    kind, _, number = device.partition(":")
    if kind == CPU:
        return "CPUExecutionProvider"
    return f"{kind.upper()}ExecutionProvider", {"device_id": int(number or 0)}


@dataclass(frozen=True)
class TorchFile:
    """A file of torch: TorchScript, or a pickled module that its caller trusts."""

    path: str
    script: bool
    digest: str = ""

    def open(self, device: str) -> Predictor:
        """The module on a device."""
        if digest_of([Path(self.path)]) != self.digest:
            raise StorageError(f"the model {self.path} has changed since the call began", remedy="call again")
        with needing("torch", f"the model {self.path}"):
            import torch
        if self.script:
            return torch_predictor(torch.jit.load(self.path, map_location=device), device)
        return torch_predictor(torch.load(self.path, map_location=device, weights_only=False), device)


@dataclass(frozen=True)
class TorchModule:
    """A module of torch in memory, which is pickled for workers elsewhere."""

    module: Any

    def open(self, device: str) -> Predictor:
        """A copy of the module on a device: its owner may be training it."""
        return torch_predictor(copy.deepcopy(self.module), device)


def torch_predictor(module: Any, device: str) -> Predictor:
    """A module as a function on numpy arrays, without gradients, in the module's own data type."""
    import torch

    if isinstance(module, Mapping):
        raise FormatError("the file holds weights without a module", remedy="torch.jit.script(module).save(path)")
    ready = module.eval().to(device)
    dtype = next((each.dtype for each in ready.parameters() if each.is_floating_point()), torch.float32)

    def predict(batch: np.ndarray) -> Any:
        with torch.inference_mode():
            made = ready(torch.from_numpy(batch).to(device=device, dtype=dtype))
            if not isinstance(made, torch.Tensor):
                raise FormatError(
                    f"the module {type(module).__name__} made a {type(made).__name__}, not one tensor",
                    remedy="a module around it whose forward returns the tensor that is meant",
                )
            return made.float().cpu().numpy()

    return predict


def is_script(path: Path) -> bool:
    """Whether a file is TorchScript: a zip archive with code and constants, and no pickled module."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    except zipfile.BadZipFile:
        return False
