"""The model that a caller gives, as the value that workers open, and what its file says of shapes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..arguments import named_fields
from ..errors import ConfigError, DtypeError, FormatError, ParameterError, SourceNotFoundError
from ..extras import need, pip_line
from ..runner.planning.checks import check_function
from .devices import CPU, Devices
from .models import ONNX_TYPES, Model, OnnxFile, PlainModel, TorchFile, TorchModule, is_script
from .onnx_files import digest_of, files_of

TORCH_ENDINGS = (".pt", ".pth", ".ts", ".torchscript")


@named_fields
@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file for `predict`.

    Parameters
    ----------
    path : str or os.PathLike
        Weights in other files have to lie in its folder.
    output : str, optional
        Name of the output to take, by default the first.
    threads : int
        Threads of a prediction on the processor. One by default: workers are what computes at the same time, and a
        model may give other last digits with another number.
    """

    path: Any
    output: str | None = None
    threads: int = 1


@named_fields
@dataclass(frozen=True)
class TorchModel:
    """A torch module, or a file of one, for `predict`.

    Parameters
    ----------
    module : torch.nn.Module, str or os.PathLike
        Files: TorchScript (``torch.jit.save``), or with `trusted` a pickled module (``torch.save``).
    trusted : bool
        The file may run any code when it is opened, as pickled modules can.
    """

    module: Any
    trusted: bool = False


@dataclass(frozen=True)
class Given:
    """A model, and the shapes that its file says: of its input and output, ``(batch, channels, *tile)``.

    A number in them is fixed; None where any will do, or nothing is known.
    """

    model: Model
    takes: tuple[int | None, ...] | None = None
    makes: tuple[int | None, ...] | None = None


def given_model(model: Any, setup: Callable[..., Any] | None, devices: Devices) -> Given:
    """The model of a call.

    Raises
    ------
    MissingDependencyError, SourceNotFoundError, FormatError, AccessError, ParameterError, ConfigError, DtypeError
    """
    torch = sys.modules.get("torch")
    if isinstance(model, str | os.PathLike):
        model = _named(Path(model))
    elif torch is not None and isinstance(model, torch.nn.Module):
        model = TorchModel(model)
    if isinstance(model, OnnxModel | TorchModel):
        if setup is not None:
            raise ParameterError("setup= is for models that are functions", remedy="leave out setup=")
        return _onnx(model, devices) if isinstance(model, OnnxModel) else _torch(model)
    check_function(model, 1, context=setup is not None, names="batch")
    if setup is not None and not callable(setup):
        raise ParameterError(f"setup={setup!r} cannot be called", remedy="setup=lambda: load_model()")
    return Given(PlainModel(model, setup))


def _named(path: Path) -> OnnxModel | TorchModel:
    if path.suffix == ".onnx":
        return OnnxModel(path)
    if path.suffix in TORCH_ENDINGS:
        return TorchModel(path)
    raise FormatError(
        f"{path} is no model by its name: known are .onnx, {', '.join(TORCH_ENDINGS)}",
        remedy="inference.OnnxModel(path), or inference.TorchModel(path)",
    )


def _onnx(model: OnnxModel, devices: Devices) -> Given:
    need("onnxruntime", f"the model {model.path}")
    if isinstance(model.threads, bool) or not isinstance(model.threads, int) or model.threads < 1:
        raise ParameterError(f"threads={model.threads!r} is no number of threads", remedy="threads=1")
    if not isinstance(model.path, str | os.PathLike):
        raise ParameterError(f"OnnxModel({model.path!r}) is no path", remedy='OnnxModel("net.onnx")')
    path = Path(model.path).absolute()
    file = OnnxFile(str(path), model.output, model.threads, digest_of(files_of(path)))
    _check_devices(devices)
    session = file.session()
    entries, exits = session.get_inputs(), session.get_outputs()
    if len(entries) != 1:
        raise FormatError(
            f"{path} has the inputs {[one.name for one in entries]}; it can have one, of the tiles",
            remedy="a function that calls onnxruntime itself, see setup=",
        )
    names = [one.name for one in exits]
    if model.output is not None and model.output not in names:
        raise ParameterError(f"{path} has no output {model.output!r}, it has {names}", remedy=f"output={names[0]!r}")
    if entries[0].type not in ONNX_TYPES:
        raise DtypeError(
            f"{path} takes {entries[0].type}; it can take {sorted(ONNX_TYPES)}", remedy="export it with float32 input"
        )
    return Given(file, _numbers(entries[0].shape), _numbers(exits[names.index(model.output or names[0])].shape))


def _check_devices(devices: Devices) -> None:
    import onnxruntime

    known = onnxruntime.get_available_providers()
    for name in devices.names:
        kind = name.partition(":")[0]
        if kind != CPU and f"{kind.upper()}ExecutionProvider" not in known:
            raise ConfigError(
                f"devices={name!r}: this onnxruntime has no {kind.upper()}ExecutionProvider, it has {known}",
                remedy=f"{pip_line('onnxruntime-gpu')}, or leave out devices=",
            )


def _numbers(shape: Sequence[Any]) -> tuple[int | None, ...] | None:
    """A shape with the names of free sizes as None; None for no shape."""
    return tuple(size if isinstance(size, int) else None for size in shape) or None


def _torch(model: TorchModel) -> Given:
    need("torch", "a torch model")
    if not isinstance(model.module, str | os.PathLike):
        import torch

        if not isinstance(model.module, torch.nn.Module):
            raise ParameterError(f"TorchModel({model.module!r}) is no module", remedy='TorchModel("net.pt")')
        return Given(TorchModule(model.module))
    path = Path(model.module).absolute()
    if not path.is_file():
        raise SourceNotFoundError(f"there is no model {path}", remedy=f"ls {path.parent}")
    script = is_script(path)
    if not script and not model.trusted:
        raise FormatError(
            f"{path} is a pickled module, which can run any code when it is opened",
            remedy="torch.jit.script(module).save(path); or, if you trust who made it:"
            f" TorchModel({str(path)!r}, trusted=True)",
        )
    return Given(TorchFile(str(path), script, digest_of([path])))
