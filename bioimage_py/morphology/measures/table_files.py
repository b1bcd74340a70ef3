"""Tables as files: csv, parquet and xlsx, by the ending of the path."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from ...errors import FormatError
from ...extras import need

if TYPE_CHECKING:
    import pandas as pd

_LIBRARIES = {".csv": "", ".parquet": "pyarrow", ".xlsx": "openpyxl"}


def check_table_path(path: str | os.PathLike[str]) -> str:
    """The ending of a table's path.

    Raises
    ------
    FormatError
        Another ending.
    MissingDependencyError
        The library that it needs is not installed.
    """
    text = os.fspath(path)
    ending = os.path.splitext(text)[1].lower()
    if ending not in _LIBRARIES:
        raise FormatError(f"{text} is no table: its ending is {ending!r}", remedy='output_path="objects.csv"')
    if library := _LIBRARIES[ending]:
        need(library, f"a {ending} file")
    return ending


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table; it appears whole."""
    ending, text = check_table_path(path), os.fspath(path)
    folder, name = os.path.split(os.path.abspath(text))
    private = os.path.join(folder, f".{name}.{os.getpid()}.{threading.get_ident()}{ending}")
    try:
        if ending == ".csv":
            frame.to_csv(private, index=False)
        elif ending == ".parquet":
            frame.to_parquet(private, index=False)
        else:
            _for_excel(frame).to_excel(private, index=False)
        os.replace(private, text)
    finally:
        if os.path.exists(private):
            os.unlink(private)


def _for_excel(frame: pd.DataFrame) -> pd.DataFrame:
    """Ids as text where some are above 2^53: numbers of a sheet are floats, which would make others of them."""
    ids = frame["label"]
    return frame.assign(label=ids.astype(str)) if len(ids) and int(ids.max()) > 2**53 else frame


def read_table(path: str | os.PathLike[str]) -> Any:
    """Read a table."""
    import pandas as pd

    ending = check_table_path(path)
    if ending == ".csv":
        return pd.read_csv(path)
    return pd.read_parquet(path) if ending == ".parquet" else pd.read_excel(path)
