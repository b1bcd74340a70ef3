"""Opening the database: SQLite in a file by default, PostgreSQL by URL; brought up to date, never down."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

from ...errors import FormatError, ParameterError, StorageError
from ...extras import needing
from ..refusals import DiskFullError
from . import older

HEAD = "0005"
"""Newest migration."""
_TRIGGERS = 27
"""By which SQLite counts changes of rights; where some are missing, any change counts."""
_WAIT_SECONDS = 10.0
_MODE = 0o600
"""Of files that hold hashes of passwords, and the key."""
_MIGRATIONS = Path(__file__).with_name("migrations")


class Database:
    """Connections to the database; safe to use from any thread.

    Parameters
    ----------
    url : str
        ``sqlite:///path`` or ``postgresql://user:password@host/name``.
    copies : Path, optional
        Folder of the copy that is made before PostgreSQL is brought up to date; that of SQLite lies beside its file.

    Raises
    ------
    ParameterError
        Another kind of database.
    FormatError
        A newer version of this package has written it, or an older one, and nobody says where a copy is to be.
    StorageError
        It cannot be reached.
    """

    def __init__(self, url: str, copies: Path | None = None) -> None:
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer = threading.Lock()
        self._watching = threading.Lock()
        self._watcher: sqlite3.Connection | None = None
        self._counts, self._changed, self._version = False, -1, -1
        self._identity = ""
        self._key = b""
        self._migrate(copies)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that may write; it is durable when the block ends.

        Of one process there is one at a time with SQLite, which has one writer, so that they wait in a queue.

        Raises
        ------
        StorageError
            The database is away or busy for too long; nothing was written, or it is not known.
        """
        if not self.is_sqlite:
            with _told(), self.engine.begin() as connection:
                yield connection
            return
        if not self._writer.acquire(timeout=_WAIT_SECONDS):
            raise _busy()
        try:
            with _told(), self.engine.connect().execution_options(writes=True) as connection, connection.begin():
                yield connection
        finally:
            self._writer.release()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads."""
        with _told(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def frozen(self) -> Iterator[Connection]:
        """Open a transaction that reads what is there now, whatever others write while it lasts."""
        level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with _told(), self.engine.connect().execution_options(**level) as connection:
            connection.execute(text("SELECT 1 FROM alembic_version")).scalar()  # its first look settles what it sees
            yield connection

    def version(self) -> int | None:
        """Return a number that changes whenever anybody has changed who may what, within microseconds; None: unknown.

        PostgreSQL has to be asked for it (`counted`).
        """
        if not self.is_sqlite:
            return None
        try:
            with self._watching:
                if self._watcher is None:
                    path = self.engine.url.database
                    self._watcher = sqlite3.connect(str(path), timeout=0, check_same_thread=False, isolation_level=None)
                    count = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'rights_%'"
                    self._counts = self._watched(count) == _TRIGGERS
                # it changes with the commits of other connections, and this one makes none
                changed = self._watched("PRAGMA data_version")
                if not self._counts:
                    return changed
                if changed != self._changed:
                    self._version = self._watched("SELECT changes FROM rights")
                    self._changed = changed
                return self._version
        except sqlite3.Error:
            return None

    def counted(self) -> int | None:
        """Return that number of PostgreSQL, by a query; None: unknown."""
        try:
            with self.reading() as connection:
                return int(connection.execute(text("SELECT changes FROM rights")).scalar_one())
        except StorageError:
            return None

    def _watched(self, query: str) -> int:
        assert self._watcher is not None
        return int(self._watcher.execute(query).fetchone()[0])

    def identity(self) -> str:
        """Return what no other database has but those that are restored from this one; "" while it is empty."""
        if not self._identity:
            with self.reading() as connection:
                self._identity = identity_of(connection)
        return self._identity

    def pseudonym_key(self) -> bytes:
        """Return the 32 bytes that pseudonyms are made with; nothing but a backup tells them.

        Raises
        ------
        StorageError
            Somebody has taken them out of the database.
        """
        if not self._key:
            with self.reading() as connection:
                found = connection.execute(text("SELECT key FROM keys WHERE name = 'pseudonyms'")).scalar()
            if found is None:
                raise StorageError(
                    "The database holds no key for the pseudonyms of patients.", remedy="restore it from a backup"
                )
            self._key = bytes.fromhex(found)
        return self._key

    def close(self) -> None:
        """Close all connections."""
        with self._watching:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher, self._changed = None, -1
        self.engine.dispose()

    def _migrate(self, copies: Path | None) -> None:
        """Bring the database up to date; it is copied before, as ``server.db.<version>``, a file of SQLite."""
        from alembic import command
        from alembic.config import Config
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(7345901)"))  # several servers start at once
            context = MigrationContext.configure(connection)
            current = context.get_current_revision()
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            if current is not None and current not in known:
                raise FormatError(
                    f"The database has the schema {current}; this version knows up to {HEAD}.",
                    remedy="update bioimage_py, or restore the backup that was made before the update",
                )
            if current is None and inspect(connection).get_table_names():
                raise FormatError("The database holds tables of something else.", remedy="give an empty database")
            if current == HEAD:
                return
            if current is not None:
                self._keep(current, copies)
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)

    def _keep(self, current: str, copies: Path | None) -> None:
        """Copy the database as it is into a file of SQLite, whole or not at all."""
        if self.is_sqlite:
            path, opened, write = Path(f"{self.engine.url.database}.{current}"), self.reading(), write_file
        elif copies is not None:
            path, opened, write = copies / f"server.db.{current}", self.frozen(), older.write
        else:
            raise FormatError(
                f"The database has the schema {current}; this version has {HEAD}, and makes a copy first.",
                remedy="bioimage-py server check FOLDER --database ..., which makes it in FOLDER",
            )
        private = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            private.touch(mode=_MODE)
            with opened as before:
                write(before, private)
            with open(private, "rb") as written:
                os.fsync(written.fileno())
            os.replace(private, path)
        finally:
            private.unlink(missing_ok=True)


def write_file(connection: Connection, path: Path) -> None:
    """Write what a transaction of SQLite sees into a new file."""
    path.touch(mode=_MODE)
    with closing(sqlite3.connect(path)) as copy:
        driver: Any = connection.connection.driver_connection
        driver.backup(copy)


def alone(connection: Connection, table: Table) -> None:
    """Let nobody else write a table before the transaction ends, as it is with SQLite, which has one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE"))


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except Exception:  # noqa: BLE001 - whatever it is, its text may hold a password
        parsed = None
    kind = "" if parsed is None else parsed.get_backend_name()
    if parsed is None or kind not in ("sqlite", "postgresql"):
        raise ParameterError(
            "The database is neither SQLite nor PostgreSQL.",
            remedy="sqlite:////path/of/a/file or postgresql://user:password@host/name",
        )
    if kind == "postgresql":
        with needing("pg8000", "PostgreSQL"):
            import pg8000  # noqa: F401
        return create_engine(parsed.set(drivername="postgresql+pg8000"), pool_pre_ping=True, pool_size=10)
    if not parsed.database or parsed.database == ":memory:":
        raise ParameterError("The database needs a file.", remedy="sqlite:////path/of/a/file")
    if not parsed.database.startswith("file:"):  # of SQLite's own URLs
        with suppress(OSError):  # which SQLite tells
            Path(parsed.database).touch(mode=_MODE)
    engine = create_engine(parsed, connect_args={"timeout": _WAIT_SECONDS, "check_same_thread": False})
    event.listen(engine, "connect", _connected)
    event.listen(engine, "begin", _begun)
    return engine


def identity_of(connection: Connection) -> str:
    """Return the first hash of the audit log, as it was before anything was rewritten; "" where there is none."""
    query = "SELECT details FROM audit WHERE action = 'log rewritten' ORDER BY id LIMIT 1"
    rewritten = connection.execute(text(query)).scalar()
    if rewritten is not None:
        return str(json.loads(rewritten)["identity"])
    return str(connection.execute(text("SELECT hash FROM audit ORDER BY id LIMIT 1")).scalar() or "")


def _connected(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin as `_begun` says
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")  # secure_delete: names that go leave no trace in the file


def _begun(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _told() -> Iterator[None]:
    """Let no error of a driver out: its text may hold values, and users can't do anything with it."""
    try:
        yield
    except OperationalError as error:
        if "disk is full" in str(error.orig):
            raise DiskFullError from None
        if "locked" in str(error.orig):
            raise _busy() from None
        raise _away(error) from None
    except DBAPIError as error:
        raise _away(error) from None


def _busy() -> StorageError:
    return StorageError("The database is busy.", remedy="try again in a moment")


def _away(error: DBAPIError) -> StorageError:
    return StorageError(
        f"The database does not work ({type(error.orig).__name__}).",
        remedy="look whether it runs, and whether its disk is full; then try again",
    )
