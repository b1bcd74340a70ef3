"""What is left of a removed account: all that it did, under a number, in a log that is whole; nothing of its name."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import select

from bioimage_py.errors import ConflictError
from bioimage_py.server.database import audit, tables
from bioimage_py.server.database.tables import events
from bioimage_py.server.served import Served

from ..conftest import PASSWORD, Demo
from ..page.conftest import Browser

NAME = "zarathustra"


def stored_names(demo: Demo) -> list[str]:
    """Files of the server and its projects that hold the name; the database is one of them, after it was closed."""
    demo.web.site.database.close()
    found = []
    for folder, _, names in os.walk(demo.web.site.root):
        for name in names:
            path = Path(folder) / name
            if NAME.encode() in path.read_bytes() or NAME in name:
                found.append(str(path))
    return found


@pytest.fixture
def worked(demo: Demo) -> Demo:
    """A member who has done all that leaves a name somewhere."""
    web = demo.web
    web.add_user(NAME)
    owner, who, _ = web["owner"], web[NAME], web["root"]
    put = {"json": {"role": "maintainer"}}
    assert owner.put(f"{demo.path}/members/{NAME}", **put).status_code == 204
    for old, new in (("", "one"), ("one", "two")):
        key = {"Idempotency-Key": f"the-key-{new}", "X-Client": f"{NAME}-laptop"}
        assert who.post(f"{demo.path}/commit", json=demo.comment(old, new), headers=key).status_code == 200
    assert who.post(f"{demo.path}/prune", json={}, headers={"Idempotency-Key": "pruning-1"}).status_code == 200
    assert who.post(f"{demo.cells}/drafts", json={"name": "mine"}).status_code == 201
    body = {"descriptor": "20260101-120000-000000-abcdef", "size": 9, "sha256": "0" * 64}
    assert who.post(f"{demo.path}/uploads", json=body).status_code == 201
    assert who.post("/uploads", json={"size": 9, "sha256": "0" * 64}).status_code == 201
    assert who.post(f"{demo.data}/lock", json={}).status_code == 201
    assert owner.delete(f"{demo.data}/lock", params={"force": True, "note": "away"}).status_code == 204
    assert who.post("/auth/tokens", json={"name": f"{NAME}'s"}).status_code == 201
    caller = web.site.sessions.visitor(web.site.sessions.signed_in(web.site.users.named("owner").id))
    web.site.sights.set_readers(demo.id, demo.layers["cells"], [NAME, "annotator"], caller)
    web.site.sights.set_readers(demo.id, demo.layers["cells"], [], caller)
    web.site.sessions.link(web.site.users.named(NAME).id, "root")
    assert who.post(f"{demo.path}/commit", json=demo.comment("two", "three")).status_code == 200
    browser = Browser(web)
    browser.sign_in("owner")
    assert NAME in browser.get(f"/projects/{demo.id}/progress")
    return demo


def removed(demo: Demo) -> str:
    id = demo.web.site.users.named(NAME).id
    answer = demo.web["root"].delete(f"/users/{id}")
    assert answer.status_code == 204, answer.text
    return f"former user {id}"


def test_nothing_is_left_of_the_name_and_all_of_the_history(worked: Demo) -> None:
    demo, site = worked, worked.web.site
    with site.database.reading() as connection:
        before = audit.entries(connection)
        head = connection.execute(select(tables.audit.c.hash).order_by(tables.audit.c.id.desc()).limit(1)).scalar()
    told = demo.web["owner"].get(f"{demo.path}/events", params={"since": 0}).json()["events"]
    number = removed(demo)
    with site.database.reading() as connection:
        after = audit.entries(connection)
        assert audit.broken(connection) is None
    assert [(row.id, row.time, row.action, row.project) for row in after[: len(before)]] == [
        (row.id, row.time, row.action, row.project) for row in before
    ]
    assert [row.user for row in after[: len(before)]] == [number if row.user == NAME else row.user for row in before]
    rewritten, gone = after[len(before) :]
    assert (rewritten.action, rewritten.details["hash"], rewritten.details["name"]) == ("log rewritten", head, number)
    assert (gone.user, gone.action, gone.details) == ("root", "user removed", {"name": number})
    assert all(row.address == "" for row in after if row.user == number)
    seen = demo.web["owner"].get(f"{demo.path}/events", params={"since": 0}).json()["events"]
    assert [{**one, "user": "", "client": ""} for one in seen] == [{**one, "user": "", "client": ""} for one in told]
    assert [one["user"] for one in seen] == [number if one["user"] == NAME else one["user"] for one in told]
    browser = Browser(demo.web)
    browser.sign_in("owner")
    for page in ("progress", "history", "members", "locks"):
        text = browser.get(f"/projects/{demo.id}/{page}")
        assert NAME not in text
        assert (number in text) == (page in ("progress", "history")), page
    assert stored_names(demo) == []


def test_the_digests_of_events_are_those_that_the_log_names(worked: Demo) -> None:
    removed(worked)
    with worked.web.site.database.reading() as connection:
        texts = connection.execute(select(events.c.document).where(events.c.project_id == worked.id)).scalars().all()
        told = {row.details["sha256"] for row in audit.entries(connection) if row.action == "commit"}
    assert {sha256(text.encode()).hexdigest() for text in texts} <= told
    assert all(NAME not in text for text in texts)


def test_who_takes_the_name_has_nothing_of_it(worked: Demo) -> None:
    demo, web = worked, worked.web
    number = removed(demo)
    web.add_user(NAME)
    web._clients.clear()
    assert web[NAME].get(demo.path).status_code == 404
    assert web["owner"].put(f"{demo.path}/members/{NAME}", json={"role": "maintainer"}).status_code == 204
    assert web[NAME].post(f"{demo.cells}/drafts", json={"name": "mine"}).json()["made"] is True
    key = {"Idempotency-Key": "the-key-one"}
    assert web[NAME].get(f"{demo.path}/commits/the-key-one").json()["seq"] is None
    assert web[NAME].post(f"{demo.path}/commit", json=demo.comment("three", "4"), headers=key).status_code == 200
    again = web.site.users.named(NAME).id
    assert web["root"].delete(f"/users/{again}").status_code == 204
    seen = {one["user"] for one in web["owner"].get(f"{demo.path}/events", params={"since": 0}).json()["events"]}
    assert len({one for one in seen if one.startswith("former user")}) == 2
    assert number in seen


def test_the_server_goes_on_with_its_projects_when_its_first_administrator_goes(demo: Demo) -> None:
    """Whose projects these are is told by the first row of the log, which is rewritten then."""
    site = demo.web.site
    before = site.database.identity()
    site.users.add("second", PASSWORD, admin=True)
    for name in ("root", "second"):
        if name == "second":
            site.users.add("third", PASSWORD, admin=True)
        site.remove_user(site.users.named(name).id, by="server")
        site.database._identity = ""  # as another process finds it
        assert site.database.identity() == before
    assert demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("", "one")).status_code == 200
    with site.database.reading() as connection:
        assert audit.broken(connection) is None


def test_what_cannot_be_removed_keeps_its_name_everywhere(worked: Demo) -> None:
    site = worked.web.site
    for name in ("owner", "root"):
        with pytest.raises(ConflictError):
            site.remove_user(site.users.named(name).id, by="root")
    worked.web["owner"].put(f"{worked.path}/members/{NAME}", json={"role": "owner"})
    assert Served(worked.id, worked.folder, site.database).made(NAME, "the-key-one") is not None
