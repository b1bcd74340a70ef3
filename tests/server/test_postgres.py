"""PostgreSQL in the place of SQLite: the same tests, and several server processes on one database."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import server_kills
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text, update

from bioimage_py.errors import FormatError, StorageError
from bioimage_py.server.backup import backup, restore
from bioimage_py.server.database import tables
from bioimage_py.server.database.engine import Database
from bioimage_py.server.http.app import make_app
from bioimage_py.server.site import Site

from . import postgres, test_backup, test_database, test_running, test_served
from .accounts import test_accounts
from .conftest import Demo
from .http import test_http
from .http.test_http import ok

pytestmark = pytest.mark.processes
_number = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    reason = postgres.missing()
    if reason:
        pytest.skip(reason)
    with postgres.running(tmp_path_factory.mktemp("postgres") / "server") as url:
        yield url


def new(server):
    """An empty database, by its URL."""
    name = f"d{next(_number)}"
    engine = create_engine(
        f"{server}/postgres".replace("postgresql", "postgresql+pg8000"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server.replace('@', ':hidden@')}/{name}"


@pytest.fixture
def url(server):
    """A database of its own."""
    return new(server)


def test_migrations_lead_to_the_tables_that_the_code_knows(url):
    with ThreadPoolExecutor(4) as pool:  # several servers start at once
        databases = list(pool.map(Database, [url] * 4))
    with databases[0].reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    for database in databases:
        database.close()


def test_a_key_is_made_once(url):
    test_database.check_one_key(url)


def test_an_older_database_is_brought_up_to_date_and_copied_before(url, tmp_path, monkeypatch):
    test_database.of_the_first_version(url, monkeypatch)
    with pytest.raises(FormatError, match="schema 0001") as error:
        Database(url)
    assert "server check FOLDER" in error.value.remedy
    test_database.check_a_full_disk(url, tmp_path, monkeypatch)
    test_database.check_brought_up_to_date(url, tmp_path)
    test_database.check_copy_of_the_first_version(tmp_path / "server.db.0001", monkeypatch)
    test_database.check_brought_up_to_date(f"sqlite:///{tmp_path}/server.db.0001")  # as the older version would have it
    (tmp_path / "server.db.0001").unlink()
    test_database.check_brought_up_to_date(url, tmp_path)  # no other copy
    assert not (tmp_path / "server.db.0001").exists()


SERVED = [
    "test_a_repetition_applies_nothing_and_gives_the_same_number",
    "test_a_conflict_leaves_nothing",
    "test_numbers_have_no_gaps_among_threads",
    "test_pages_and_what_is_gone",
    "test_a_folder_that_is_older_than_the_database_is_refused",
    "test_the_audit_log_tells_where_it_was_changed",
]


@pytest.mark.some(2)
@pytest.mark.parametrize("name", SERVED)
def test_served_projects(url, tmp_path, name):
    server_kills.make(tmp_path, url)
    served = server_kills.opened(tmp_path)
    arguments = {"tmp_path": tmp_path} if "tmp_path" in getattr(test_served, name).__code__.co_varnames else {}
    getattr(test_served, name)(served, **arguments)
    served._database.close()


ACCOUNTS = [
    "test_a_refresh_token_that_comes_twice_ends_all",
    "test_of_many_renewals_at_once_one_counts",
    "test_many_attempts_at_once_are_many",
    "test_api_tokens",
    "test_roles",
    "test_somebody_can_always_administrate",
]


@pytest.mark.some(2)
@pytest.mark.parametrize("name", ACCOUNTS)
def test_accounts_and_roles(url, name):
    database, clock = Database(url), test_accounts.Clock()
    users = test_accounts.Users(database)
    users.add("Alice", test_accounts.PASSWORD, admin=True)
    users.add("bob", test_accounts.PASSWORD)
    sessions = test_accounts.Sessions(database, clock=clock)
    known = {"database": database, "clock": clock, "users": users, "sessions": sessions}
    function = getattr(test_accounts, name)
    function(**{one: known[one] for one in function.__code__.co_varnames[: function.__code__.co_argcount]})
    database.close()


ROUTES = [
    "test_a_project_is_made_listed_and_deleted",
    "test_data_sets_are_added_listed_filtered_and_removed",
    "test_a_removal_is_repeated_with_its_key",
    "test_settings_are_changed_and_a_project_is_renamed",
    "test_a_lock_keeps_others_from_annotations_and_from_nothing_else",
]


@pytest.mark.some(2)
@pytest.mark.parametrize("name", ROUTES)
def test_routes(url, make_web, name):
    web = make_web(url)
    function = getattr(test_http, name)
    function(web if function.__code__.co_varnames[0] == "web" else Demo(web))


def test_rights_are_read_again_when_they_have_changed_and_end_at_once_at_every_process(url, make_web, monkeypatch):
    demo = Demo(make_web(url))
    other = Site(demo.web.site.root, url)  # as another process has it
    client = TestClient(make_app(other), base_url="http://testserver/api/v1", headers=demo.web["viewer"].headers)
    looked = []
    for part in (other.members, other.sights, other.sessions):
        name = {other.members: "check", other.sights: "of", other.sessions: "caller"}[part]
        plain = getattr(part, name)
        monkeypatch.setattr(part, name, lambda *told, plain=plain: (looked.append(1), plain(*told))[1])

    def status():
        return client.get(f"{demo.path}/documents/project").status_code

    assert [status() for _ in range(3)] == [200] * 3
    assert len(looked) == 3
    before = other.known.version_since(time.monotonic())
    ok(demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("", "one")))
    assert other.known.version_since(time.monotonic()) == before
    assert (status(), len(looked)) == (200, 3)
    member, viewer = f"{demo.path}/members/viewer", demo.web.site.users.named("viewer").id
    for act, expected in (
        (lambda: demo.web["owner"].delete(member), 404),
        (lambda: demo.web["owner"].put(member, json={"role": "viewer"}), 200),
        (lambda: demo.web["root"].patch(f"/users/{viewer}", json={"disabled": True}), 401),
    ):
        assert act().status_code < 300
        assert status() == expected
    many = [f"20260101-120000-{n:06}-abcdef" for n in range(600)]
    caller = demo.web.site.sessions.visitor(demo.web.site.sessions.signed_in(demo.web.site.users.named("owner").id))
    before = other.known.version_since(time.monotonic())
    assert demo.web.site.sights.assign(demo.id, many, "annotator", caller) == 600
    assert other.known.version_since(time.monotonic()) == before + 1  # counted once a transaction
    other.close()


def test_text_that_a_database_may_not_like(url, make_web):
    demo = Demo(make_web(url))
    odd = "\0 \x1f ' \" \\ %s :x {} \U0001f600 \ufffe"
    ok(demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("", odd)))
    events = ok(demo.web["owner"].get(f"{demo.path}/events", params={"since": 1}))["events"]
    assert len(events) == 1
    assert demo.document()["comments"] == odd
    wrong = {"username": "a\0b", "password": "x\0"}
    assert demo.web.nobody.post("/auth/login", json=wrong).status_code == 401
    assert demo.web["owner"].get("/projects", params={"after": "\0"}).status_code == 422
    assert demo.web["root"].get("/audit", params={"project": "\0"}).status_code == 422


@pytest.mark.parametrize(("old", "later"), [(True, True), (True, False), (False, True)])
def test_a_backup_of_one_kind_is_restored_into_either(server, make_web, tmp_path, old, later):
    test_backup.check_moved(Demo(make_web(new(server) if old else "")), tmp_path, new(server) if later else "")


def test_a_copy_is_of_one_instant(server, make_web, tmp_path, monkeypatch):
    demo = Demo(make_web(new(server)))
    test_backup.test_a_commit_that_comes_meanwhile_is_in_neither_files_nor_database(demo, tmp_path, monkeypatch)
    test_database.check_frozen(new(server), tmp_path / "copy.db")


def test_a_row_that_it_does_not_take_is_told(url, demo, tmp_path):
    with demo.web.site.database.writing() as connection:
        connection.execute(update(tables.projects).values(name="a\0b"))
    backup(demo.web.site, tmp_path / "copy.tar")
    with pytest.raises(StorageError, match=r"does not take a row of the table projects"):
        restore(tmp_path / "copy.tar", tmp_path / "other", url)
    assert not (tmp_path / "other").exists()


@pytest.mark.long
@pytest.mark.parametrize("later", [True, False])
def test_a_backup_of_a_server_that_is_written_to(server, tmp_path, later):
    test_running.check_backup_while_written(tmp_path, 10, new(server), new(server) if later else "")


@pytest.mark.long
def test_several_processes_are_killed(url, tmp_path):
    assert server_kills.soak(tmp_path, kills=3, writers=2, seed=5, url=url, seconds=0.2)
