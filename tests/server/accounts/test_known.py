"""What is remembered of callers ends with what it was read from, whoever ended it."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, text, update

from bioimage_py.server.accounts import known as module
from bioimage_py.server.accounts.known import Known
from bioimage_py.server.database import tables as t
from bioimage_py.server.database.engine import Database
from bioimage_py.server.site import Site

from ..conftest import PASSWORD
from ..http.test_http import ok


def reads_of(site, monkeypatch):
    """Names of what is read of accounts from now on."""
    seen = []
    for part, name in ((site.sessions, "caller"), (site.members, "check"), (site.tokens, "caller")):
        read = getattr(part, name)
        monkeypatch.setattr(part, name, lambda *a, read=read, name=name: seen.append(name) or read(*a))
    return seen


def test_who_asks_again_is_known(demo, monkeypatch):
    for _ in range(2):  # the first one takes events into the database
        ok(demo.web["viewer"].get(f"{demo.path}/documents/project"))
    ok(demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("", "old")))
    seen = reads_of(demo.web.site, monkeypatch)
    ok(demo.web["viewer"].get(f"{demo.path}/documents/project"))
    ok(demo.web["viewer"].get(f"{demo.path}/events", params={"since": 0}))
    assert seen == []
    ok(demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("old", "new")))
    ok(demo.web["viewer"].get(f"{demo.path}/documents/project"))
    assert seen == []  # a commit changes nobody's rights
    demo.web.add_user("somebody")
    ok(demo.web["viewer"].get(f"{demo.path}/documents/project"))
    assert seen.count("caller") >= 1


def test_whatever_decides_who_may_what_is_noticed(demo):
    """Also where it is written by hand, or goes with something else."""
    site = demo.web.site
    demo.web.token("annotator", "read")
    ok(demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("", "new")))
    deciding = (t.users, t.families, t.secrets, t.api_tokens, t.members, t.sights, t.assignments, t.readers, t.projects)
    own = {"project_id": demo.id, "user_id": site.users.named("viewer").id}
    for table, row in (
        (t.sights, {"project_id": demo.id, "assigned_only": True, "changed": 1}),
        (t.assignments, {**own, "descriptor": "d"}),
        (t.readers, {**own, "layer": "l"}),
    ):
        before = site.database.version()
        with site.database.writing() as connection:
            connection.execute(insert(table).values(row))
        assert site.database.version() != before, table.name
    seen = set()
    for table in deciding:
        for column in table.columns:
            if (table.name, column.name) in {
                ("api_tokens", "used"),
                *(("projects", name) for name in ("name", "created", "first", "last")),
            }:
                continue
            before = site.database.version()
            with site.database.writing() as connection:
                connection.execute(update(table).values({column: column}))
            assert site.database.version() != before, column
            seen.add(table.name)
    for sql in ("DELETE FROM users WHERE name = 'viewer'", "DELETE FROM projects"):  # and what hangs on them
        before = site.database.version()
        with site.database.writing() as connection:
            connection.execute(text(sql))
        assert site.database.version() >= before + 2
    assert seen == {table.name for table in deciding}


def test_a_database_that_does_not_count_is_read_after_any_change(tmp_path):
    """A copy of PostgreSQL, say."""
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with database.writing() as connection:
        connection.execute(text("DROP TRIGGER rights_members_delete"))
    database.close()
    before = database.version()
    with database.writing() as connection:
        connection.execute(text("INSERT INTO failures VALUES ('a', 1, 0, 0)"))
    assert database.version() != before
    database.close()


ENDS = {
    "disabled": (lambda other, user: other.users.change(user.id, disabled=True, by="x"), 401),
    "password": (lambda other, user: other.users.set_password(user.id, PASSWORD + "!", by="x"), 401),
    "no member": (None, 404),
}


@pytest.mark.parametrize("how", ENDS)
def test_another_process_ends_it_at_once(demo, how):
    site, viewer = demo.web.site, demo.web["viewer"]
    ok(viewer.get(demo.path))
    other = Site(site.root)  # as `bioimage-py server user disable` opens it
    act, status = ENDS[how]
    user = other.users.named("viewer")
    if act is not None:
        act(other, user)
    else:
        with other.database.writing() as connection:
            connection.execute(text("DELETE FROM members WHERE user_id = :id"), {"id": user.id})
    other.close()
    assert viewer.get(demo.path).status_code == status


def test_roles_and_tokens_end_at_once(demo):
    annotator, owner = demo.web["annotator"], demo.web["owner"]
    token = demo.web.token("annotator", "annotate")
    for client, before, after in ((annotator, "", "one"), (token, "one", "two")):
        ok(client.post(f"{demo.path}/commit", json=demo.comment(before, after)))
    put = owner.put(f"{demo.path}/members/annotator", json={"role": "viewer"})
    assert put.status_code == 204
    assert token.post(f"{demo.path}/commit", json=demo.comment("", "x")).status_code == 403
    (found,) = ok(annotator.get("/auth/tokens"))
    assert annotator.delete(f"/auth/tokens/{found['id']}").status_code == 204
    assert token.get(demo.path).status_code == 401
    assert annotator.post("/auth/logout").status_code == 204
    assert annotator.get(demo.path).status_code == 401


def test_a_token_that_has_ended_is_not_known(tmp_path):
    now = [1000.0]
    site = Site(tmp_path / "site", clock=lambda: now[0])
    site.users.add("alice", PASSWORD, by="x")
    pair = site.sessions.log_in("alice", PASSWORD)
    version = site.known.version()
    site.known.put_caller(pair.access, version, site.sessions.caller(pair.access))
    assert site.known.caller(pair.access, version).name == "alice"
    assert site.known.caller(pair.access + "x", version) is None
    now[0] += module._SECONDS - 1
    assert site.known.caller(pair.access, version) is not None
    now[0] += 1
    assert site.known.caller(pair.access, version) is None  # read again now and then
    now[0] = 1000.0 + pair.seconds
    site.known.put_caller(pair.access, version, site.known._found.popitem()[1][1])
    assert site.known.caller(pair.access, version) is None
    site.close()


def test_what_was_read_before_a_change_is_not_kept_after_it(tmp_path):
    site = Site(tmp_path / "site")
    site.users.add("alice", PASSWORD, by="x")
    pair = site.sessions.log_in("alice", PASSWORD)
    version = site.known.version()
    caller = site.sessions.caller(pair.access)
    site.sessions.log_out(caller.family)
    assert site.known.version() != version
    site.known.put_caller(pair.access, version, caller)  # a slow thread
    assert site.known.caller(pair.access, site.known.version()) is None
    site.close()


def test_a_database_that_cannot_tell_is_read_each_time(tmp_path, monkeypatch):
    database = Database(f"sqlite:///{tmp_path}/a.db")
    monkeypatch.setattr(database, "version", lambda: None)
    found = Known(database)
    version = found.version()
    found._put("key", version, "value")
    assert found._get("key", version) is None
    database.close()
