"""The open registry: how objects become sources, and how specs become sources again."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FormatError, KeyNotFoundError, ParameterError, SourceTypeError
from .base import Source
from .spec import SourceSpec, load_qualified, qualified_name

SourceLike = Any
Predicate = Callable[[Any], bool]
Converter = Callable[[Any], Source]
Reopen = Callable[[SourceSpec], Source]

ENTRY_POINTS = "bioimage_py.sources"


@dataclass(frozen=True)
class _Conversion:
    predicate: Predicate
    converter: Converter
    priority: int


_conversions: list[_Conversion] = []
_kinds: dict[str, Reopen | str] = {}
_lock = threading.RLock()
_plugins_loaded = False


def register_source(
    predicate: Predicate | None,
    converter: Converter | None,
    *,
    kind: str | None = None,
    reopen: Reopen | str | None = None,
    priority: int = 0,
) -> None:
    """Teach `as_source` a type of object, and `from_spec` a kind of spec.

    A package registers its types for workers too by an entry point of the group ``bioimage_py.sources``, which names
    a function without arguments that calls `register_source`.

    Parameters
    ----------
    predicate : callable, optional
        ``predicate(obj) -> bool``: True for the objects that ``converter`` takes. None to register a kind only.
    converter : callable, optional
        ``converter(obj) -> Source``.
    kind : str, optional
        Kind of the specs of these sources.
    reopen : callable or str, optional
        ``reopen(spec) -> Source`` for that kind, or its name as "module:qualname", imported when needed.
    priority : int, default 0
        Higher is asked first; among equals the order of registration decides. Arrays of the package have -100.

    Raises
    ------
    ParameterError
        If only one of a pair is given, or the kind is registered already by another function.
    """
    if (predicate is None) != (converter is None) or (kind is None) != (reopen is None):
        raise ParameterError(
            "Give predicate and converter together, and kind and reopen together.",
            remedy="register_source(predicate, converter, kind='mykind', reopen=function)",
        )
    if predicate is None and kind is None:
        raise ParameterError("There is nothing to register.", remedy="register_source(predicate, converter)")
    with _lock:
        if kind is not None and reopen is not None:
            known = _kinds.get(kind)
            if known is not None and _name(known) != _name(reopen):
                raise ParameterError(
                    f"The kind {kind!r} is registered already, by {_name(known)}.",
                    remedy=f"unregister_source(kind={kind!r}) first, or use another name",
                )
            _kinds[kind] = reopen
        if predicate is not None and converter is not None:
            _conversions.append(_Conversion(predicate, converter, priority))
            _conversions.sort(key=lambda entry: -entry.priority)


def unregister_source(predicate: Predicate | None = None, *, kind: str | None = None) -> None:
    """Remove what `register_source` added: the converter of ``predicate``, the kind, or both.

    Raises
    ------
    KeyNotFoundError
        If it is not registered.
    """
    with _lock:
        if predicate is not None:
            left = [entry for entry in _conversions if entry.predicate is not predicate]
            if len(left) == len(_conversions):
                raise KeyNotFoundError(
                    f"The predicate {predicate!r} is not registered.", remedy="pass the same function object"
                )
            _conversions[:] = left
        if kind is not None and _kinds.pop(kind, None) is None:
            raise KeyNotFoundError(f"The kind {kind!r} is not registered.", remedy=f"known kinds: {sorted(_kinds)}")


def as_source(obj: SourceLike) -> Source:
    """Return ``obj`` as a source.

    A `Source` is returned unchanged. numpy, zarr, z5py and h5py arrays, handles of cloud-volume, dask-like arrays and
    anything else with ``shape``, ``dtype`` and indexing are wrapped; path and URL objects are opened read-only.

    Raises
    ------
    SourceTypeError
        For strings (the remedy is the call that opens the path), lists and everything else.
    """
    if isinstance(obj, Source):
        return obj
    if isinstance(obj, str | bytes):
        text = os.fsdecode(obj)
        raise SourceTypeError(
            f"A path is not an array: {text!r}.", remedy=f"open_source({text!r}, internal_path=..., mode='r')"
        )
    load_plugins()
    for entry in _conversions:
        if entry.predicate(obj):
            source = entry.converter(obj)
            if not isinstance(source, Source):
                raise SourceTypeError(
                    f"The converter {_name(entry.converter)} returned a {type(source).__name__}, not a Source.",
                    remedy="let it return a Source",
                )
            return source
    hint = "np.asarray(...)" if isinstance(obj, list | tuple) else "an array, a Source, or a pathlib.Path"
    raise SourceTypeError(f"A {type(obj).__name__} cannot be used as a source.", remedy=f"pass {hint}")


def from_spec(spec: SourceSpec) -> Source:
    """Open the source that a spec describes.

    Raises
    ------
    ParameterError
        If the kind is not registered.
    """
    if not isinstance(spec, SourceSpec):
        raise SourceTypeError(
            f"A {type(spec).__name__} is not a spec.",
            remedy="pass what source.to_spec() or SourceSpec.from_json returned",
        )
    if spec.kind not in _kinds:
        load_plugins()
    reopen = _kinds.get(spec.kind)
    if reopen is None:
        raise ParameterError(
            f"Nothing opens sources of kind {spec.kind!r}; known kinds are {sorted(_kinds)}.",
            remedy=f"register_source(None, None, kind={spec.kind!r}, reopen=function), in the worker too",
        )
    try:
        return (load_qualified(reopen) if isinstance(reopen, str) else reopen)(spec)
    except RecursionError:
        raise FormatError("The spec is nested too deep.", remedy="pass what source.to_spec() returned") from None


def _name(function: Any) -> str:
    return function if isinstance(function, str) else (qualified_name(function) or repr(function))


def load_plugins() -> None:
    """Let installed packages register their sources, once a process."""
    global _plugins_loaded
    with _lock:
        if _plugins_loaded:
            return
        _plugins_loaded = True
        from importlib.metadata import entry_points  # takes as long as all of this package, and workers need it rarely

        for point in entry_points(group=ENTRY_POINTS):
            try:
                point.load()()
            except Exception as error:  # noqa: BLE001 - a broken plugin must not break the data that needs none
                warnings.warn(f"The source plugin {point.name!r} ({point.value}) failed: {error!r}", stacklevel=3)


def _is_path(obj: Any) -> bool:
    """Tell paths: os.PathLike, and URL objects that know scheme or protocol and path (yarl, urllib, upath, ...)."""
    if hasattr(obj, "shape"):
        return False
    return isinstance(obj, os.PathLike) or (
        hasattr(obj, "path") and (hasattr(obj, "scheme") or hasattr(obj, "protocol"))
    )


def _open_path(obj: Any) -> Source:
    options = dict(getattr(obj, "storage_options", None) or {})
    opened = load_qualified("bioimage_py.sources.file:open_source")(obj, mode="r", storage_options=options or None)
    assert isinstance(opened, Source)
    return opened


def _is_array(obj: Any) -> bool:
    return isinstance(obj, np.ndarray) or (
        hasattr(obj, "shape")
        and hasattr(obj, "dtype")
        and hasattr(obj, "__getitem__")
        and not isinstance(obj, type | np.generic)
    )


def _wrap_array(obj: Any) -> Source:
    wrapped = load_qualified("bioimage_py.sources.array:ArraySource")(obj)
    assert isinstance(wrapped, Source)
    return wrapped


def _is_volume(obj: Any) -> bool:
    """Tell handles of cloud-volume, without importing it; the arrays that they return are no handles."""
    library = type(obj).__module__.partition(".")[0] == "cloudvolume"
    return library and hasattr(obj, "cloudpath") and hasattr(obj, "mip") and not isinstance(obj, np.ndarray)


def _wrap_volume(obj: Any) -> Source:
    wrapped = load_qualified("bioimage_py.sources.precomputed.cloudvolume:CloudVolumeSource")(obj)
    assert isinstance(wrapped, Source)
    return wrapped


def _is_mag_view(obj: Any) -> bool:
    """Tell magnifications of the webknossos library, without importing it."""
    bases = type(obj).__mro__
    return any(base.__name__ == "MagView" and base.__module__.startswith("webknossos.") for base in bases)


def _wrap_mag_view(obj: Any) -> Source:
    wrapped = load_qualified("bioimage_py.sources.webknossos.source:source_of_view")(obj)
    assert isinstance(wrapped, Source)
    return wrapped


register_source(_is_volume, _wrap_volume, priority=-90)
register_source(_is_mag_view, _wrap_mag_view, priority=-90)
register_source(_is_array, _wrap_array, priority=-100)
register_source(_is_path, _open_path, priority=-100)
for _kind in ("zarr", "z5py", "h5py", "tensorstore"):
    register_source(None, None, kind=_kind, reopen="bioimage_py.sources.array:reopen_array")
register_source(None, None, kind="webknossos", reopen="bioimage_py.sources.webknossos.source:reopen_webknossos")
register_source(None, None, kind="file", reopen="bioimage_py.sources.file:reopen_file")
register_source(None, None, kind="cloudvolume", reopen="bioimage_py.sources.precomputed.cloudvolume:reopen_cloudvolume")
register_source(
    None,
    None,
    kind="tensorstore_precomputed",
    reopen="bioimage_py.sources.precomputed.tensorstore_source:reopen_tensorstore_precomputed",
)
register_source(None, None, kind="wrapper", reopen="bioimage_py.wrapper.base:wrapper_from_spec")
register_source(None, None, kind="output folder", reopen="bioimage_py.sources.output_folder:reopen_output_folder")
register_source(None, None, kind="run array", reopen="bioimage_py.sources.run_array:reopen_run_array")
register_source(None, None, kind="neurites", reopen="bioimage_py.sample.neurites:reopen")
register_source(None, None, kind="project version", reopen="bioimage_py.projects.remote.arrays.served:reopen_served")
register_source(None, None, kind="project draft", reopen="bioimage_py.projects.remote.arrays.draft_source:reopen_draft")
register_source(None, None, kind="dicom", reopen="bioimage_py.io.image_files.dicom.source:reopen")
