"""All rows of a database in another one, of whichever kind: into a file of SQLite, and into one that is empty."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from ...errors import ParameterError, StorageError
from .engine import Database, alone, write_file
from .tables import keys, metadata, rights

_ROWS = 200
"""Written together; rows of events may be large."""
_TABLES = [table for table in metadata.sorted_tables if table is not rights]  # which counts by itself

_MADE = {keys}
"""Tables that have rows from the first; those of a copy take their place."""


def save(rows: Connection, path: Path) -> None:
    """Write what a transaction sees into a new file of SQLite."""
    if rows.dialect.name == "sqlite":
        write_file(rows, path)
        return
    with closing(Database(f"sqlite:///{path}")) as database, database.writing() as connection:
        fill(rows, connection)


def fill(rows: Connection, empty: Connection) -> None:
    """Write what a transaction sees into an empty database, of which nobody else can write a table meanwhile.

    Raises
    ------
    ParameterError
        It is not empty.
    StorageError
        It does not take a row: PostgreSQL has no text with NUL, and holds to the lengths of columns.
    """
    check_empty(empty)
    for table in _TABLES:
        if table in _MADE:
            empty.execute(delete(table))
        found = rows.execute(select(table).execution_options(yield_per=_ROWS))
        for some in found.mappings().partitions():
            try:
                empty.execute(insert(table), [dict(row) for row in some])
            except (OperationalError, InterfaceError):
                raise
            except DBAPIError as error:
                raise StorageError(
                    f"{_name(empty)} does not take a row of the table {table.name} ({type(error.orig).__name__}).",
                    remedy="restore without --database, into SQLite",
                ) from None
    if empty.dialect.name == "postgresql":
        _count_on(empty)


def check_empty(connection: Connection) -> None:
    """Refuse a database that holds rows, and let nobody else write any before the transaction ends.

    Raises
    ------
    ParameterError
    """
    for table in _TABLES:
        alone(connection, table)
        if table not in _MADE and connection.execute(select(table).limit(1)).first() is not None:
            raise ParameterError(
                f"{_name(connection)} holds a site already: its table {table.name} has rows.",
                remedy="give an empty database",
            )


def _count_on(connection: Connection) -> None:
    """Let PostgreSQL count on behind the largest id, as SQLite does by itself."""
    for table in _TABLES:
        column = table.autoincrement_column
        if column is not None:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            connection.execute(select(func.setval(sequence, func.coalesce(func.max(column), 0) + 1, False)))


def _name(connection: Connection) -> str:
    return connection.engine.url.render_as_string(hide_password=True)
