"""Events that are old enough go; whoever was away for longer loads anew, and keeps what is not saved."""

from __future__ import annotations

import time

import pytest
import server_kills

from bioimage_py.projects import Project
from bioimage_py.projects.storage.events import Origin
from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.server.database import audit
from bioimage_py.server.processes.upkeep import tidy
from bioimage_py.server.served import Gone
from bioimage_py.server.site import Site

from ..conftest import make_settings
from ..http.test_http import ok
from ..starting import Running
from ..test_served import comment, seqs


def test_events_go_but_for_the_last_one_and_young_ones(tmp_path):
    server_kills.make(tmp_path)
    served = server_kills.opened(tmp_path)
    for n in range(3):
        served.commit(comment(served, f"{n}"), Origin("alice"))
    between = time.time()
    for n in range(3, 5):
        served.commit(comment(served, f"{n}"), Origin("alice"))
    assert served.forget(between) == 3
    assert seqs(served, 3) == [4, 5]
    with pytest.raises(Gone):
        served.events(2)
    assert served.forget(between) == 0
    assert served.forget(time.time() + 1) == 1
    assert seqs(served, 4) == [5]
    assert served.commit(comment(served, "x"), Origin("alice")).seq == 6
    with served._database.reading() as connection:
        assert audit.broken(connection) is None
        commits = [row for row in audit.entries(connection) if row.action == "commit"]
    assert len(commits) == 6
    served._database.close()


def test_a_list_is_right_after_events_that_it_has_not_seen_went(demo):
    viewer, owner = demo.web["viewer"], demo.web["owner"]
    assert ok(viewer.get(demo.path))["descriptors"] == 1
    for name in ("a", "b"):
        ok(owner.post(f"{demo.path}/commit", json={"changes": [{"name": name, "document": demo.new_document(name)}]}))
    assert tidy(demo.web.site, time.time() + 1) > 0
    assert viewer.get(f"{demo.path}/events", params={"since": 0}).status_code == 410
    found = ok(viewer.get(f"{demo.path}/descriptors"))["descriptors"]
    assert {row["identifier"] for row in found} == {"a", "b", demo.descriptor}


def test_a_project_that_cannot_be_read_stops_nobody(demo, monkeypatch):
    made = demo.web["owner"].post("/projects", json={"settings": make_settings("other").with_ids().to_document()})
    other = demo.web.site.projects.served(made.json()["id"])
    monkeypatch.setattr(other, "forget", lambda before: (_ for _ in ()).throw(PermissionError("no")))
    ok(demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("", "x")))
    assert tidy(demo.web.site, time.time() + 1) > 0


@pytest.mark.processes
def test_a_client_that_was_away_loads_anew_and_keeps_what_is_not_saved(tmp_path):
    running = Running(tmp_path / "site")
    try:
        one = Project.create(make_settings(), running.url, "admin", running.password)
        two = Project.load(running.url, one.id, "admin", running.password)
        two.configuration = {"mine": 1}
        for n in range(3):
            one.configuration = {"theirs": n}
            one.save()
        site = Site(running.root)
        assert tidy(site, time.time() + 1) > 0
        site.close()
        assert two.sync() == 1
        assert two.configuration == {"mine": 1, "theirs": 2}
        two.save()
        one.sync()
        assert one.configuration == {"mine": 1, "theirs": 2}
    finally:
        running.stop()


def test_what_was_left_behind_goes_after_a_week_and_nothing_else(demo, monkeypatch):
    """Also where nobody sends anything any more, which is when it went before."""
    site, owner = demo.web.site, demo.web["owner"]
    draft = ok(owner.post(f"{demo.cells}/drafts", json={}), 201)["id"]
    image = {"descriptor": new_stamp(), "size": 10, "sha256": "0" * 64}
    copy = ok(owner.post(f"{demo.path}/uploads", json=image), 201)["id"]
    whole = ok(owner.post("/uploads", json={"size": 10, "sha256": "0" * 64}), 201)["id"]
    root = site.root / "projects"
    for name in (".new-1", ".deleted-1"):
        (root / name / "descriptors").mkdir(parents=True)
    place = demo.folder.annotations(demo.descriptor, demo.layers["cells"]) / f".draft-{draft}.zarr"
    left = [
        place,
        root / ".new-1",
        site.root / "uploads" / f"{whole}.part",
        demo.folder.root / ".uploads" / f"{copy}.json",
    ]
    tidy(site, 0.0, time.time() + 6 * 86400)
    assert all(path.exists() for path in left)
    assert not (root / ".deleted-1").exists()
    tidy(site, 0.0, time.time() + 8 * 86400)
    assert not any(path.exists() for path in left)
    assert ok(owner.get(f"{demo.path}/documents/{demo.descriptor}")) == demo.document()
