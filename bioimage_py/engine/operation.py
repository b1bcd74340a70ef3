"""From a function with keywords to a public operation: its signature, its checks, its output.

An operation parses its keywords into a `Job` and calls one of

- `mapping.run_map`: array in, array of the same shape out (copy, filters, arithmetic, relabelling by a table);
- `reducing.run_reduce`: array in, a value folded over the blocks out (statistics, contingency tables);
- `stages.run_stages`: several stages, the last of which alone writes the output (connected components).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeVar

from ..arguments import bound
from ..errors import ArgumentError, ConfigError
from ..runner.control.detached import returned
from ..runner.execution import Execution, current_execution, current_session
from ..sources.to_be import ArrayToBe
from .declaration import Declaration
from .job import Job

F = TypeVar("F", bound=Callable[..., Any])


SETTINGS: dict[str, Any] = {field.name: field.default for field in fields(Execution) if field.name != "version"}
"""How to run, with the defaults; the version of an operation is that of this package."""
_DEFAULTS: dict[str, Any] = {
    **{field.name: field.default for field in fields(Job) if field.name != "execution"},
    "resume_from": None,
    **SETTINGS,
    "execution": None,
}
SHARED = tuple(_DEFAULTS)
"""Names of the keywords that operations have in common."""
_DOC = f"""
    Other Parameters
    ----------------
    block_shape : int or sequence of int, optional
        Voxels of a block; by default chosen from shapes and chunks. A numpy input without it runs as a whole.
    {", ".join(SETTINGS)}
        See `bioimage_py.Execution`; ``execution=`` gives them as one value. ``plan=True`` returns a `RunPlan` instead
        of running, ``detach=True`` a `DetachedRun`.
"""
_WHERE_DOCS = {
    "mask": """\
    mask : source-like, optional
        Same shape as the input; where it is zero the output stays as it is, and voxels do not count.
""",
    "block_ids": """\
    block_ids : sequence of int, optional
        Blocks to run, ids in C order over the grid.
""",
    "roi": """\
    roi : tuple of slice, optional
        Region to run on.
""",
    "skip_empty": """\
    skip_empty : bool
        Leave out blocks for which the mask (without one, the first input) has no stored chunk; right where an operation
        makes zeros of zeros, or where the mask says what counts.
""",
    "resume_from": """\
    resume_from : path, optional
        Run folder of an unfinished run.
""",
}
_AXES_DOC = """\
    axes : str, int or sequence of (str or int), optional
        Axes to work along, by name (``"zyx"``, ``["x", "time"]``) or position; what is given per axis is then given for
        these, in this order. By default the axes of space: channels and times are kept apart, as if each were an array
        of its own. All axes where none is one of space, or where nothing is known of them, as of numpy arrays.
"""
_CHUNKS_DOC = """\
    chunks, shards : sequence of int, optional
        Of an array that is made for an output path, see `bioimage_py.io.create_array`. By default those of the input
        where they suit (at most 128³ voxels, and no slices), else about 64³ voxels along the axes of space.
"""
_VOXELS_DOC = """
    Axes play no part: every voxel is treated by itself, and what is counted is counted over the whole array, all its
    channels and times.
"""


def operation(
    *,
    positional: Sequence[str] = (),
    omit: Sequence[str] = (),
    axes: Literal["space", "voxels", "own"] = "voxels",
    declaration: Declaration | None = None,
) -> Callable[[F], F]:
    """Turn a function with ``**run`` into a public operation.

    The shared keywords are checked by name, appear in the signature, and are documented.

    Parameters
    ----------
    positional : sequence of str
        Shared keywords that may also be given by position, in this order, after the function's own parameters.
    omit : sequence of str
        Shared keywords that this operation does not take.
    axes : {"space", "voxels", "own"}
        "space": it works along the axes of space, unless ``axes=`` names others. "voxels": axes play no part. "own":
        its docstring says what they are for.
    declaration : Declaration, optional
        Kept as ``call.declaration``; left out by what is not computed block by block, such as a whole workflow.
    """

    def decorate(function: F) -> F:
        own = inspect.signature(function)
        parameters = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        makes = "output" in own.parameters or "outputs" in own.parameters
        left_out = {*omit, *(() if axes == "space" else ("axes",)), *(() if makes else ("chunks", "shards"))}
        shared = [name for name in _DEFAULTS if name not in left_out and name not in own.parameters]
        fixed = [name for name in ("plan", "debug", "detach") if name in omit]
        own_names = own.parameters
        by_position = [
            own_names[name].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
            if name in own_names
            else inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=_DEFAULTS[name])
            for name in positional
        ]
        by_name = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[name])
            for name in shared
            if name not in positional
        ]
        first = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        last = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in positional]
        signature = own.replace(parameters=[*first, *by_position, *last, *by_name])

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if "skip_empty" in kwargs and "skip_empty" not in shared:
                raise ArgumentError(
                    f"{function.__name__}() takes no skip_empty=, got {kwargs['skip_empty']!r}: its stages work on what"
                    " all blocks hold, those without a stored chunk too",
                    remedy="leave out skip_empty=",
                )
            given = bound(function.__name__, signature, args, kwargs)
            if (session := current_session()) is not None and session.override is not None:
                given = session.override(function.__name__, given, signature.parameters)
            for name in fixed:
                if getattr(given.get("execution") or current_execution(), name, False):
                    raise ConfigError(
                        f"{function.__name__}() cannot be called with {name}=True", remedy=f"{name}=False"
                    )
            return returned(lambda: _made(function(**given)))

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.declaration = declaration  # type: ignore[attr-defined]
        doc = (function.__doc__ or "").rstrip() + "\n" + _DOC
        doc += "".join(text for name, text in _WHERE_DOCS.items() if name in shared)
        doc += (_AXES_DOC if axes == "space" else "") + (_CHUNKS_DOC if "chunks" in shared else "")
        if axes == "voxels":
            head, gap, rest = doc.partition("\n")
            doc = head + gap + _VOXELS_DOC + rest
        call.__doc__ = doc
        return call  # type: ignore[return-value]

    return decorate


def _made(result: Any) -> Any:
    """What an operation returns, with the arrays that it has made in the place of those to be."""
    if isinstance(result, ArrayToBe):
        return result.made if result.pending is None else result
    return type(result)(map(_made, result)) if type(result) in (list, tuple) else result
