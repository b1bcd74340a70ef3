"""A copy of a database as an older version has left it, before it is brought up to date."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import Connection, Float, MetaData, create_engine, insert, select

_ROWS = 200
"""Written together."""


def write(connection: Connection, path: Path) -> None:
    """Write what a transaction of PostgreSQL sees into a new file of SQLite, with the tables that are there.

    Parameters
    ----------
    connection : Connection
        That sees one instant.
    path : Path
    """
    tables = MetaData()
    tables.reflect(connection)
    for table in tables.tables.values():
        for column in table.columns:
            own = column.type.as_generic()
            column.type, column.server_default = Float() if isinstance(own, Float) else own, None
    engine = create_engine(f"sqlite:///{path}")
    with ExitStack() as ended, engine.begin() as copy:
        ended.callback(engine.dispose)
        tables.create_all(copy)
        for table in tables.sorted_tables:
            found = connection.execute(select(table).execution_options(yield_per=_ROWS))
            for some in found.mappings().partitions():
                copy.execute(insert(table), [dict(row) for row in some])
