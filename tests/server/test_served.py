"""Commits to a served project, their events, and what the database knows of them."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import server_kills
from sqlalchemy import delete, update

from bioimage_py.errors import ConflictError, KeyNotFoundError, ParameterError, StorageError
from bioimage_py.projects import Project
from bioimage_py.projects.storage.events import Origin, numbers
from bioimage_py.projects.storage.folder import Change, Folder
from bioimage_py.server.database import audit, tables
from bioimage_py.server.served import Gone, Served

from .http.test_http import ok

ALICE = Origin("alice", "laptop", "k1 d1")


@pytest.fixture
def served(tmp_path: Path) -> Served:
    server_kills.make(tmp_path)
    return server_kills.opened(tmp_path)


def comment(served: Served, text: str, n: int = 0) -> list[Change]:
    """A change of the comments of one data set."""
    path = sorted(served.folder.descriptors.glob("[!.]*.json"))[n]
    base = served.folder.read(path.stem).document
    assert base is not None
    return [Change(path.stem, base, {**base, "comments": text})]


def seqs(served: Served, since: int = 0) -> list[int]:
    return [event["seq"] for event in served.events(since).events]


def test_a_commit_leaves_one_event_with_old_and_new_values(served):
    changes = comment(served, "seen")
    assert served.commit(changes, ALICE).seq == 1
    (event,) = served.events(0).events
    assert (event["seq"], event["user"], event["client"]) == (1, "alice", "laptop")
    (change,) = event["changes"]
    assert change == {"name": changes[0].name, "kind": "changed", "fields": [[["comments"], "", "seen"]]}


def test_a_repetition_applies_nothing_and_gives_the_same_number(served):
    changes = comment(served, "a")
    assert served.commit(changes, ALICE).seq == 1
    served.commit(comment(served, "b"), Origin("bob"))
    again = served.commit(changes, ALICE)
    assert (again.seq, again.saved) == (1, None)
    assert seqs(served) == [1, 2]
    assert served.folder.read(changes[0].name).document["comments"] == "b"


def test_a_key_belongs_to_one_request_of_one_user(served):
    served.commit(comment(served, "a"), ALICE)
    with pytest.raises(ParameterError, match="k1"):
        served.commit(comment(served, "b"), Origin("alice", "laptop", "k1 other"))
    assert served.commit(comment(served, "c"), Origin("bob", "laptop", "k1 d1")).seq == 2


def test_what_changes_nothing_leaves_no_event(served):
    served.commit(comment(served, "a"), ALICE)
    assert served.commit(comment(served, "a"), Origin("bob")).seq == 1
    assert seqs(served) == [1]


def test_a_conflict_leaves_nothing(served):
    mine, theirs = comment(served, "mine"), comment(served, "theirs")
    served.commit([*theirs, *comment(served, "x", 1)], Origin("bob"))
    with pytest.raises(ConflictError) as error:
        served.commit([*comment(served, "y", 2), *mine], ALICE)
    assert error.value.field == f"descriptors.{mine[0].name}.comments"
    assert seqs(served) == [1]
    assert served.folder.read(comment(served, "", 2)[0].name).document["comments"] == ""


def test_what_is_not_accepted_leaves_nothing(served):
    def refuse(written):
        raise ParameterError(f"{len(written)} documents")

    with pytest.raises(ParameterError, match="1 documents"):
        served.commit(comment(served, "a"), ALICE, accept=refuse)
    assert seqs(served) == []


def test_commits_of_a_local_process_are_events_too(served):
    project = Project.load(served.folder.root)
    project.descriptors[0].comments = "by hand"
    project.save()
    added = project.add_descriptor(np.zeros((4, 4), np.uint8), "more")
    project.save()
    project.delete_descriptors([added])
    project.save()
    first, second, third = served.events(0).events
    assert first["user"] == Origin.here().user
    assert [change["kind"] for event in (first, second, third) for change in event["changes"]] == [
        "changed",
        "added",
        "removed",
    ]


def test_a_project_that_is_not_served_leaves_no_events(tmp_path):
    from bioimage_py.projects import ProjectSettings

    project = Project.create(ProjectSettings("alone"), tmp_path / "p")
    project.add_descriptor(np.zeros((4, 4), np.uint8), "a")
    project.save()
    assert not (tmp_path / "p" / "events").exists()


def test_numbers_have_no_gaps_among_threads(served):
    def write(n: int) -> int:
        while True:
            try:
                return served.commit(comment(served, f"{n}"), Origin("alice", "", f"{n} d")).seq
            except ConflictError:
                continue

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(write, range(24)))
    assert sorted(found) == list(range(1, 25))
    assert seqs(served) == list(range(1, 25))


def test_pages_and_what_is_gone(served):
    for n in range(5):
        served.commit(comment(served, f"{n}"), Origin("alice"))
    assert [event["seq"] for event in served.events(1, limit=2).events] == [2, 3]
    assert served.events(5).events == []
    with served._database.writing() as connection:
        connection.execute(delete(tables.events).where(tables.events.c.seq < 3))
        connection.execute(update(tables.projects).values(first=3))
    assert seqs(served, 2) == [3, 4, 5]
    for since in (0, 1, 6):
        with pytest.raises(Gone):
            served.events(since)


def test_a_folder_that_is_older_than_the_database_is_refused(served, tmp_path):
    served.commit(comment(served, "a"), Origin("alice"))
    shutil.copytree(served.folder.root, tmp_path / "older")
    served.commit(comment(served, "b"), Origin("alice"))
    shutil.rmtree(served.folder.root)
    (tmp_path / "older").rename(served.folder.root)
    with pytest.raises(StorageError, match="another past"):
        served.commit(comment(served, "c"), Origin("alice"))
    project = Project.load(served.folder.root)  # somebody goes on without the server: number 2 is another event
    project.descriptors[0].comments = "d"
    project.save()
    with pytest.raises(StorageError, match="another past"):
        served.commit(comment(served, "e"), Origin("alice"))


def test_a_database_that_is_older_than_the_folder_starts_where_the_folder_is(served):
    for n in range(3):
        served.commit(comment(served, f"{n}"), Origin("alice"))
    with served._database.writing() as connection:
        connection.execute(delete(tables.events).where(tables.events.c.seq > 1))
        connection.execute(update(tables.projects).values(last=1))
    served.commit(comment(served, "later"), Origin("alice"))
    with pytest.raises(Gone):
        served.events(1)
    assert seqs(served, 3) == [4]


def test_a_commit_counts_where_the_database_fails_after_it(served, monkeypatch):
    calls = []
    real = Served.take_over

    def failing(self):
        calls.append(1)
        raise StorageError("away")

    monkeypatch.setattr(Served, "take_over", failing)
    assert served.commit(comment(served, "a"), ALICE).seq == 1
    assert calls
    monkeypatch.setattr(Served, "take_over", real)
    assert seqs(served) == [1]


def test_events_that_were_removed_by_hand_are_noticed(served):
    served.commit(comment(served, "a"), ALICE)
    for path in (served.folder.root / "events").iterdir():
        path.unlink()
    with pytest.raises(StorageError, match="events"):
        served.commit(comment(served, "b"), Origin("alice"))


def test_an_event_of_a_record_cannot_lead_out_of_the_project(served):
    record = served.folder.transactions / "20260101-000000-000000-abcdef.json"
    for name in ("events/../../x", "events/1", "events/0000000000001", "../x"):
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps({name: {}}))
        with pytest.raises(ValueError, match="cannot be the name"):
            served.folder.roll_forward()
        record.unlink()


def test_a_project_that_was_taken_off_the_server(served):
    gone = Served("other", served.folder, served._database)
    with pytest.raises(KeyNotFoundError, match="other"):
        gone.last()


def test_the_audit_log_tells_where_it_was_changed(served):
    for n in range(3):
        served.commit(comment(served, f"secret {n}"), Origin("alice"))
    with served._database.writing() as connection:
        assert audit.broken(connection) is None
        rows = audit.entries(connection)
        assert [row.details["seq"] for row in rows] == [1, 2, 3]
        assert "secret" not in str(rows)  # administrators need not be members
        connection.execute(update(tables.audit).where(tables.audit.c.id == rows[1].id).values(user="mallory"))
        assert audit.broken(connection) == rows[1].id
    with served._database.writing() as connection:
        connection.execute(delete(tables.audit).where(tables.audit.c.id == rows[1].id))
        assert audit.broken(connection) == rows[2].id
    assert numbers(served.folder.root)[-1] == 3


def test_a_commit_that_counts_and_cannot_be_put_in_place_is_answered_when_it_can(served, monkeypatch):
    place, fails = Folder._place, [1]

    def full(self, name, document, *, sync):
        if fails:
            fails.pop()
            raise OSError(28, "No space left on device")
        place(self, name, document, sync=sync)

    monkeypatch.setattr(Folder, "_place", full)
    changes = comment(served, "a")
    assert served.commit(changes, Origin("alice")).seq == 1
    assert seqs(served) == [1]
    assert served.folder.read(changes[0].name).document["comments"] == "a"


def test_a_commit_that_was_cut_off_while_it_was_put_in_place_is_known_by_its_key(served, monkeypatch):
    """Its record counts, one of its documents is in place, its event is not."""
    place = Folder._place
    placed = []

    def killed(self, name, document, *, sync):
        if placed:
            raise KeyboardInterrupt
        placed.append(name)
        place(self, name, document, sync=sync)

    changes = [Change(comment(served, "").pop().name, None, None)]
    monkeypatch.setattr(Folder, "_place", killed)
    with pytest.raises(KeyboardInterrupt):
        served.commit(changes, ALICE)
    monkeypatch.setattr(Folder, "_place", place)
    assert served.made("alice", "k1") == 1
    answer = served.done(ALICE)
    assert answer is not None
    assert (answer.seq, answer.saved) == (1, None)


def test_a_project_is_served_where_it_lies_now(demo, tmp_path):
    site, owner = demo.web.site, demo.web.site.users.named("owner")
    there = tmp_path / "elsewhere"
    shutil.move(demo.folder.root, there)
    assert site.projects.add(there, owner.id, "root") == demo.id
    assert demo.web["viewer"].get(f"{demo.path}/documents/{demo.descriptor}").status_code == 200
    answer = demo.web["annotator"].post(f"{demo.path}/commit", json=demo.comment("", "moved"))
    assert answer.status_code == 200, answer.text
    assert "moved" in (there / "descriptors" / f"{demo.descriptor}.json").read_text()
    with pytest.raises(ConflictError, match="already"):
        site.projects.add(there, owner.id, "root")


def test_two_servers_do_not_share_a_project_without_sharing_their_database(demo, make_web):
    """Each would take some of the events, and know the repetitions of some of the commits."""
    other = make_web()
    other.add_user("bob", admin=True)
    bob = other.site.users.named("bob")
    first = ok(demo.web["annotator"].post(f"{demo.path}/commit", json=demo.comment("", "a")))["seq"]
    with pytest.raises(StorageError, match="another database") as error:
        other.site.projects.add(demo.folder.root, bob.id, "root")
    assert "project remove" in error.value.remedy
    claim = demo.folder.root / "events" / ".server"
    assert claim.read_text() == demo.web.site.database.identity() != other.site.database.identity()
    claim.unlink()  # the first server is gone, says somebody
    assert other.site.projects.add(demo.folder.root, bob.id, "root") == demo.id
    theirs = other.site.projects.served(demo.id)
    assert theirs.commit(comment(theirs, "b"), Origin("bob")).seq == first + 1
    answer = demo.web["annotator"].post(f"{demo.path}/commit", json=demo.comment("b", "c"))
    assert answer.status_code == 503  # but it was not
    assert demo.document()["comments"] == "b"
    assert seqs(theirs, first) == [first + 1]
    demo.web.site.projects.remove(demo.id, "root", files=False)
    assert theirs.commit(comment(theirs, "d"), Origin("bob")).seq == first + 2
    other.site.projects.remove(demo.id, "root", files=False)
    assert not claim.exists()
