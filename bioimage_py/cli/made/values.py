"""What is typed for a parameter of an operation, made what Python takes for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ...errors import ParameterError
from ...system.json_text import parse_json
from ..common import place
from ..functions import function_of
from ..inputs import open_input

if TYPE_CHECKING:
    import pandas as pd

    from ...catalogue.parameters import Parameter

_WORDS = {"none": None, "true": True, "false": False}
_TABLES = (".csv", ".tsv", ".json", ".npy", ".parquet")


class Typed(click.ParamType):
    """Text that is read later, by `value_of`; the shell completes it as a path where it may be one."""

    def __init__(self, parameter: Parameter) -> None:
        self.name = _metavar(parameter)
        self._path = parameter.kind not in ("value", "region")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Files, where the parameter may be one."""
        return [CompletionItem(incomplete, type="file")] if self._path else []


def _metavar(parameter: Parameter) -> str:
    kind, told = parameter.kind, parameter.type
    if kind == "callable":
        other = "PATH|" if "os.PathLike" in told else "NAME|" if told.startswith("str ") else ""
        return f"{other}FILE.py:NAME"
    if kind == "table":
        return "FILE|A,B;..." if "shape (n" in told else "FILE|A,B,..."
    if kind == "region":
        return "A:B,A:B,..."
    if kind != "value":
        return "PATH"
    single = "X" if "float" in told or "scalar" in told else "N" if told.startswith(("int", "sequence")) else "TEXT"
    if "sequence of (int or" in told or "sequence of sequence" in told:
        return "N,N;N,N"
    return f"{single}[,{single},...]" if "sequence" in told else single


def value_of(parameter: Parameter, text: str) -> Any:
    """The value that Python takes.

    Raises
    ------
    click.BadParameter
        Where the text is none.
    BioimageError
        Where what it names cannot be opened.
    """
    kind = parameter.kind
    if text.lower() == "none" and not parameter.required:
        return None
    if kind == "source":
        return [open_input(one, None) for one in text.split()] if parameter.many else open_input(text, None)
    if kind == "number or source":
        number = literal(text)
        return open_input(text, None) if isinstance(number, str) else number
    if kind == "callable":
        named = re.search(r"\bstr\b|os\.PathLike", parameter.type) and ".py:" not in text
        return text if named else _function(parameter, text)
    if kind == "table":
        return _table(parameter, text)
    if kind == "region":
        path, box = place(f"x::{text}")
        if box is None:
            raise click.BadParameter(f"{text!r} is no region, such as 0:64,:,10 (of {path})")
        return box
    value = text if kind == "path" else literal(text)
    if kind == "choice":
        return value
    return (value,) if parameter.many and (not isinstance(value, tuple) or _nested(parameter, value)) else value


def _nested(parameter: Parameter, value: tuple[Any, ...]) -> bool:
    return "sequence of sequence" in parameter.type and not any(isinstance(one, tuple) for one in value)


def literal(text: str) -> Any:
    """Read a number, a word, values with commas between them, or several such with semicolons between them.

    Examples
    --------
    >>> literal("2"), literal("1,0.5"), literal("1,2;3"), literal("zyx")
    (2, (1, 0.5), ((1, 2), 3), 'zyx')
    """
    for mark in (";", ","):
        if mark in text:
            return tuple(literal(part) for part in text.strip(mark).split(mark))
    word = text.strip()
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    for number in (int, float):
        try:
            return number(word)
        except ValueError:
            pass
    return word


def _function(parameter: Parameter, text: str) -> Any:
    """A function of a file."""
    path, _, name = text.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise click.BadParameter(
            f"{text!r} is no function of a file, such as work.py:{parameter.name}", param_hint=_option(parameter)
        )
    try:
        return function_of(path, name)
    except ParameterError as error:
        raise click.BadParameter(error.message, param_hint=_option(parameter)) from error


def _table(parameter: Parameter, text: str) -> Any:
    """Numbers, pairs A:B of a mapping, or the table in a file."""
    suffix = Path(text).suffix
    if suffix not in _TABLES:
        if "mapping" in parameter.type and ":" in text and "/" not in text:
            return dict(_pair(parameter, pair) for pair in text.split(","))
        found = literal(text)
        if isinstance(found, str):
            return open_input(text, None) if "source-like" in parameter.type else found
        return found if isinstance(found, tuple) else (found,)
    if not Path(text).is_file():
        raise click.BadParameter(f"{text} does not exist", param_hint=_option(parameter))
    if suffix == ".npy":
        import numpy as np

        return Path(text) if "Path of a .npy" in parameter.type else np.load(text)
    if suffix == ".json":
        content = parse_json(Path(text).read_text())
        return {literal(key): value for key, value in content.items()} if isinstance(content, dict) else content
    frame = _frame(text)
    if "DataFrame" in parameter.type:
        return frame
    if missing := [str(name) for name in frame if frame[name].isna().any()]:
        raise click.BadParameter(f"{text} has no value in some rows of {missing[0]}", param_hint=_option(parameter))
    if "mapping" in parameter.type:
        if frame.shape[1] < 2:
            raise click.BadParameter(f"{text} has one column, not keys and values", param_hint=_option(parameter))
        return dict(zip(frame.iloc[:, 0].tolist(), frame.iloc[:, 1].tolist(), strict=True))
    if all(frame[name].dtype.kind in "ui" for name in frame) and not (frame < 0).any(axis=None):
        return frame.astype("uint64").to_numpy()  # numpy would make int64 beside uint64 float64, which rounds ids
    return frame.to_numpy()


def _frame(path: str) -> pd.DataFrame:
    """The table of a file; a first line of numbers is none of names."""
    import pandas as pd

    if path.endswith(".parquet"):
        return pd.read_parquet(path)
    mark = "\t" if path.endswith(".tsv") else ","
    try:
        first = pd.read_csv(path, sep=mark, nrows=1, header=None, dtype=str)
        bare = all(type(literal(name)) in (int, float) for name in first.iloc[0].fillna("").tolist())
        return pd.read_csv(path, sep=mark, header=None if bare else "infer")
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is no table: {error}", remedy="a .csv file: names, then a row a line") from error


def _pair(parameter: Parameter, text: str) -> tuple[Any, Any]:
    key, colon, value = text.partition(":")
    if not colon:
        raise click.BadParameter(f"{text!r} is no pair, such as 1:7", param_hint=_option(parameter))
    return literal(key), literal(value)


def _option(parameter: Parameter) -> str:
    return f"--{parameter.name.replace('_', '-')}"
