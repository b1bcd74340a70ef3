"""The database: its form, its versions, and what is refused."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, delete, insert, inspect, select, text

from bioimage_py.errors import FormatError, ParameterError, StorageError
from bioimage_py.server.database import engine, tables
from bioimage_py.server.database.copies import save
from bioimage_py.server.database.engine import HEAD, Database

USER = {"id": 1, "name": "owner", "password": "", "admin": True, "disabled": False, "created": 0.0}


def test_migrations_lead_to_the_tables_that_the_code_knows(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    database.close()
    Database(f"sqlite:///{tmp_path}/a.db").close()


def check_one_key(url, others=8):
    """However many processes make a database at once, and whenever it is opened, there is one key."""
    with ThreadPoolExecutor(others) as pool:
        made = list(pool.map(Database, [url] * others))
    assert len({one.pseudonym_key() for one in made}) == 1
    assert len(made[0].pseudonym_key()) == 32
    with made[0].writing() as connection:
        connection.execute(delete(tables.keys))
    for one in made:
        one.close()
    lacking = Database(url)
    with pytest.raises(StorageError, match="no key"):
        lacking.pseudonym_key()  # and makes no other one: pseudonyms would be others
    lacking.close()


def test_a_key_is_made_once(tmp_path):
    check_one_key(f"sqlite:///{tmp_path}/a.db")


def of_the_first_version(url, monkeypatch):
    """Make a database as the first version did, with a user."""
    with monkeypatch.context() as older:
        older.setattr(engine, "HEAD", "0001")
        database = Database(url)
    with database.writing() as connection:
        connection.execute(insert(tables.users).values(USER))
    database.close()


def check_brought_up_to_date(url, copies=None):
    database = Database(url, copies)
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        assert connection.execute(select(tables.users.c.name)).scalars().all() == ["owner"]
    database.close()


def test_an_older_database_is_brought_up_to_date_and_copied_before(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/a.db"
    of_the_first_version(url, monkeypatch)
    (tmp_path / "a.db.0001").write_bytes(b"what a process has left that was killed")
    check_a_full_disk(url, tmp_path, monkeypatch)
    check_brought_up_to_date(url)
    check_copy_of_the_first_version(tmp_path / "a.db.0001", monkeypatch)


def check_a_full_disk(url, folder, monkeypatch):
    """Without a copy nothing is changed, and what there is of one goes."""

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    def copies():
        return sorted(path.name for path in folder.iterdir() if "0001" in path.name)

    before = copies()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            Database(url, folder)
    assert copies() == before
    other = create_engine(url.replace("postgresql:", "postgresql+pg8000:"))
    with other.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
    other.dispose()


def check_copy_of_the_first_version(path, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(engine, "HEAD", "0001")
        copy = Database(f"sqlite:///{path}")
    with copy.reading() as connection:
        assert connection.execute(select(tables.users.c.name)).scalars().all() == ["owner"]
        assert "devices" not in inspect(connection).get_table_names()
    copy.close()


def test_a_newer_database_is_refused(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(FormatError, match=f"9999.*{HEAD}"):
        Database(f"sqlite:///{tmp_path}/a.db")


def test_a_database_of_something_else_is_left_alone(tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.close()
    with pytest.raises(FormatError, match="something else"):
        Database(f"sqlite:///{tmp_path}/a.db")


@pytest.mark.parametrize(
    "url", ["mysql://user:hidden@host/db", "sqlite://", "sqlite:///:memory:", "hidden", "postgresql+psycopg2://:hidden"]
)
def test_urls_that_are_refused_do_not_tell_their_password(url):
    with pytest.raises((ParameterError, StorageError)) as error:
        Database(url)
    assert "hidden" not in str(error.value)


def test_a_transaction_that_fails_leaves_nothing(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/a.db")

    def fail():
        with database.writing() as connection:
            connection.execute(text("INSERT INTO failures VALUES ('a', 1, 0, 0)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM failures")).scalar() == 0


def test_errors_of_the_driver_are_not_shown(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(StorageError) as error, database.reading() as connection:
        connection.execute(text("SELECT 'hidden' FROM nothing"))
    assert "hidden" not in str(error.value)
    assert error.value.__cause__ is None


def check_frozen(url, path):
    """What a transaction sees stays as it was when it began, and so is a file of it."""
    database = Database(url)
    insert_one = "INSERT INTO failures VALUES ('{}', 1, 0, 0)"
    with database.writing() as connection:
        connection.execute(text(insert_one.format("before")))
    with database.frozen() as rows:
        with database.writing() as connection:
            connection.execute(text(insert_one.format("after")))
        save(rows, path)
    database.close()
    copy = Database(f"sqlite:///{path}")
    with copy.reading() as connection:
        assert connection.execute(select(tables.failures.c.who)).scalars().all() == ["before"]
    copy.close()


def test_a_copy_is_of_one_instant(tmp_path):
    check_frozen(f"sqlite:///{tmp_path}/a.db", tmp_path / "copy.db")
