"""What the routes do: logins, projects, documents, commits, lists, events, data, locks."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numcodecs import zstd

from bioimage_py.errors import LockError
from bioimage_py.projects import Project
from bioimage_py.projects.storage.folder import new_stamp

from ..conftest import PASSWORD, SHAPE, make_settings


def ok(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content and "json" in answer.headers["content-type"] else answer.content


def problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["status"]) == (code, status)
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def test_tokens_of_a_login_are_renewed_and_end(web):
    web.add_user("alice")
    first = web.log_in("alice")
    assert ok(web.client(first["access"]).get("/users/me"))["name"] == "alice"
    second = ok(web.nobody.post("/auth/refresh", json={"refresh": first["refresh"]}))
    ok(web.client(second["access"]).post("/auth/logout"), 204)
    problem(web.client(second["access"]).get("/users/me"), 401, "who-are-you")
    problem(web.nobody.post("/auth/refresh", json={"refresh": second["refresh"]}), 401, "who-are-you")


def test_the_sixth_wrong_password_has_to_wait(web):
    web.add_user("alice")
    wrong = {"username": "alice", "password": "wrong"}
    told = {problem(web.nobody.post("/auth/login", json=wrong), 401, "who-are-you")["detail"] for _ in range(5)}
    assert len(told) == 1
    answer = web.nobody.post("/auth/login", json={**wrong, "password": PASSWORD})
    problem(answer, 429, "too-many")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_project_is_made_listed_and_deleted(web):
    web.add_user("alice")
    alice, settings = web["alice"], make_settings().with_ids().to_document()
    key = {"Idempotency-Key": "abcdefgh1"}
    id = ok(alice.post("/projects", json={"settings": settings}, headers=key), 201)["id"]
    assert ok(alice.post("/projects", json={"settings": settings}, headers=key), 201)["id"] == id
    problem(alice.post("/projects", json={"settings": settings}), 409, "conflict")
    other = {**settings, "name": "other"}
    problem(alice.post("/projects", json={"settings": other}, headers=key), 422, "not-valid")
    assert id != settings["id"]
    (listed,) = ok(alice.get("/projects"))
    assert (listed["id"], listed["name"], listed["role"]) == (id, "demo", "owner")
    folder = web.site.projects.served(id).folder.root
    assert Project.load(folder).id == id
    assert len(list(folder.parent.iterdir())) == 1
    ok(alice.delete(f"/projects/{id}"), 204)
    assert not folder.exists()
    problem(alice.get(f"/projects/{id}"), 404, "not-there")


def test_documents_have_etags(demo):
    owner = demo.web["owner"]
    answer = owner.get(f"{demo.path}/documents/{demo.descriptor}")
    assert ok(answer) == demo.document()
    tag = answer.headers["etag"]
    same = {"If-None-Match": tag}
    assert owner.get(f"{demo.path}/documents/{demo.descriptor}", headers=same).status_code == 304
    ok(owner.post(f"{demo.path}/commit", json=demo.comment("", "a")))
    answer = owner.get(f"{demo.path}/documents/{demo.descriptor}", headers=same)
    assert ok(answer)["comments"] == "a"
    problem(owner.get(f"{demo.path}/documents/nothing"), 404, "not-there")


def test_fields_of_two_are_merged_and_one_field_of_two_is_a_conflict(demo):
    one, other = demo.web["annotator"], demo.web["maintainer"]
    ok(one.post(f"{demo.path}/commit", json=demo.comment("", "mine")))
    ok(other.post(f"{demo.path}/commit", json={**demo.change(["tags", demo.tag], None, True), "locks": {}}), 409)
    change = {"changes": [{"name": demo.descriptor, "fields": [{"path": ["tags", demo.tag], "new": True}]}]}
    done = ok(other.post(f"{demo.path}/commit", json=change))
    assert demo.document()["comments"] == "mine"
    assert demo.document()["tags"] == {demo.tag: True}
    assert done["etags"].keys() == {demo.descriptor}
    told = problem(other.post(f"{demo.path}/commit", json=demo.comment("", "theirs")), 409, "conflict")
    assert told["field"] == f"descriptors.{demo.descriptor}.comments"
    assert '"mine"' in told["detail"]
    assert '"theirs"' in told["detail"]
    gone = {"changes": [{"name": demo.descriptor, "fields": [{"path": ["tags", demo.tag], "old": True}]}]}
    ok(one.post(f"{demo.path}/commit", json=gone))
    assert demo.document()["tags"] == {}


def test_a_commit_is_repeated_with_its_key(demo):
    owner, key = demo.web["owner"], {"Idempotency-Key": new_stamp()}
    first = ok(owner.post(f"{demo.path}/commit", json=demo.comment("", "a"), headers=key))
    ok(owner.post(f"{demo.path}/commit", json=demo.comment("a", "b")))
    again = ok(owner.post(f"{demo.path}/commit", json=demo.comment("", "a"), headers=key))
    assert (again["seq"], again["repeated"]) == (first["seq"], True)
    assert demo.document()["comments"] == "b"
    problem(owner.post(f"{demo.path}/commit", json=demo.comment("b", "c"), headers=key), 422, "not-valid")


def test_a_removal_is_repeated_with_its_key(demo):
    owner, key = demo.web["owner"], {"Idempotency-Key": new_stamp()}
    body = {"changes": [{"name": demo.descriptor, "remove": True}]}
    first = ok(owner.post(f"{demo.path}/commit", json=body, headers=key))
    assert ok(owner.post(f"{demo.path}/commit", json=body, headers=key))["seq"] == first["seq"]
    problem(owner.post(f"{demo.path}/commit", json=body), 409, "conflict")


def test_data_sets_are_added_listed_filtered_and_removed(demo):
    owner, names = demo.web["owner"], [new_stamp() for _ in range(5)]
    add = [
        {"name": name, "document": demo.new_document(name, name=f"image {n}", tags={demo.tag: n % 2 == 0})}
        for n, name in enumerate(names)
    ]
    ok(owner.post(f"{demo.path}/commit", json={"changes": add}))
    listed, cursor = [], ""
    while True:
        page = ok(owner.get(f"{demo.path}/descriptors", params={"limit": 2, "after": cursor}))
        listed += [row["identifier"] for row in page["descriptors"]]
        cursor = page["next"]
        if not cursor:
            break
    assert listed == [demo.descriptor, *names]
    listed, cursor = [], ""
    while True:
        page = ok(owner.get(f"{demo.path}/descriptors", params={"limit": 2, "after": cursor, "sort": "name"}))
        listed += [row["name"] for row in page["descriptors"]]
        cursor = page["next"]
        if not cursor:
            break
    assert listed == sorted(["first", *(f"image {n}" for n in range(5))])
    found = ok(owner.get(f"{demo.path}/descriptors", params={"tags": f'{{"{demo.tag}": true}}', "name": "image*"}))
    assert [row["name"] for row in found["descriptors"]] == ["image 0", "image 2", "image 4"]
    ok(owner.post(f"{demo.path}/commit", json={"changes": [{"name": names[0], "remove": True}]}))
    local = Project.load(demo.folder.root)
    local.descriptors[names[1]].name = "renamed beside the server"
    local.save()
    found = ok(owner.get(f"{demo.path}/descriptors", params={"name": "[ri]*"}))
    assert [row["name"] for row in found["descriptors"]] == [
        "renamed beside the server",
        "image 2",
        "image 3",
        "image 4",
    ]
    assert ok(owner.get(demo.path))["descriptors"] == 5


def test_a_removal_names_the_state_that_was_read(demo):
    owner = demo.web["owner"]
    tag = owner.get(f"{demo.path}/documents/{demo.descriptor}").headers["etag"].strip('"')
    ok(owner.post(f"{demo.path}/commit", json=demo.comment("", "a")))
    body = {"changes": [{"name": demo.descriptor, "remove": True, "etag": tag}]}
    problem(owner.post(f"{demo.path}/commit", json=body), 409, "conflict")


WRONG = (
    (["name"], 5),
    (["identifier"], "other"),
    (["unknown"], 1),
    (["comments", "x"], 1),
    (["tags", "nothing"], True),
    (["image", "shape"], [-1, 2, 3]),
    (["image", "shape"], [2, 3]),
    (["image", "dtype"], "O"),
    (["image", "axes"], []),
    (["image", "spec", "path"], "../../../etc/passwd"),
    (["image", "own_copy"], True),
    (["grouping"], [{"key": "a", "display": "a"}]),
    (["scale"], "1"),
    (["layers", "x"], {"version": "x", "units": 1, "dtype": None}),
)


def test_documents_that_would_not_be_valid_are_refused(demo):
    owner, name = demo.web["owner"], new_stamp()
    ok(owner.post(f"{demo.path}/commit", json={"changes": [{"name": name, "document": demo.new_document(name)}]}))
    before = demo.document(name)
    for path, value in WRONG:
        old = before
        for key in path:
            old = old.get(key) if isinstance(old, dict) else None
        field = {"path": path, "new": value, **({} if old is None else {"old": old})}
        answer = owner.post(f"{demo.path}/commit", json={"changes": [{"name": name, "fields": [field]}]})
        assert answer.status_code in (409, 422), (path, value, answer.text)
    assert demo.document(name) == before


def test_settings_are_changed_and_a_project_is_renamed(demo):
    owner = demo.web["owner"]
    ok(owner.post(f"{demo.path}/commit", json=demo.change(["name"], "demo", "renamed", "project")))
    assert ok(owner.get("/projects"))[0]["name"] == "renamed"
    taken = make_settings("taken").with_ids().to_document()
    ok(owner.post("/projects", json={"settings": taken}), 201)
    problem(
        owner.post(f"{demo.path}/commit", json=demo.change(["name"], "renamed", "taken", "project")), 409, "conflict"
    )
    problem(owner.post(f"{demo.path}/commit", json=demo.change(["id"], demo.id, "x", "project")), 422, "not-valid")


def test_events_are_numbered_and_waited_for(demo):
    owner = demo.web["owner"]
    page = ok(owner.get(f"{demo.path}/events", params={"since": 0}))
    assert [event["seq"] for event in page["events"]] == [1]
    assert page["events"][0]["changes"] == [{"name": demo.descriptor, "kind": "added", "fields": []}]
    waiting = threading.Timer(0.3, lambda: owner.post(f"{demo.path}/commit", json=demo.comment("", "a")))
    waiting.start()
    page = ok(owner.get(f"{demo.path}/events", params={"since": 1, "wait": 30}))
    waiting.join()
    assert [(event["seq"], event["user"]) for event in page["events"]] == [(2, "owner")]
    assert page["events"][0]["changes"][0]["fields"] == [["comments"]]
    assert ok(owner.get(f"{demo.path}/events", params={"since": 2}))["next"] == 2
    problem(owner.get(f"{demo.path}/events", params={"since": 3}), 410, "events-gone")


def write(client, demo, labels, **draft):
    """Send a label map by chunk; return its record."""
    made = ok(client.post(f"{demo.cells}/drafts", json=draft), 201)
    chunks = made["chunks"]
    grid = [range(-(-size // chunk)) for size, chunk in zip(SHAPE, chunks, strict=True)]
    for index in np.ndindex(*(len(part) for part in grid)):
        region = tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, chunks, strict=True))
        chunk = np.zeros(chunks, made["dtype"])
        chunk[tuple(slice(size) for size in labels[region].shape)] = labels[region]
        key = "0/c/" + "/".join(map(str, index))
        ok(client.put(f"{demo.cells}/drafts/{made['id']}/{key}", content=zstd.compress(chunk.tobytes())), 204)
    record = ok(client.post(f"{demo.cells}/drafts/{made['id']}/seal"))["record"]
    assert ok(client.post(f"{demo.cells}/drafts/{made['id']}/seal"))["record"] == record
    return record


def named(demo, old, new):
    """A commit that lets the data set name a version."""
    field = {"path": ["layers", demo.layers["cells"]], **({} if old is None else {"old": old}), "new": new}
    return {"changes": [{"name": demo.descriptor, "fields": [field]}]}


def test_a_label_map_is_written_by_chunk_and_read_as_zarr(demo):
    one, labels = demo.web["annotator"], np.random.default_rng(0).integers(0, 3, SHAPE, dtype=np.uint8)
    record = write(one, demo, labels)
    assert not Project.load(demo.folder.root).descriptors[0].labelmap_layers["cells"].has_data()
    ok(one.post(f"{demo.path}/commit", json=named(demo, None, record)))
    stored = Project.load(demo.folder.root).descriptors[0].labelmap_layers["cells"].load()
    np.testing.assert_array_equal(np.array(stored), labels)
    base = f"{demo.cells}/versions/{record['version']}"
    meta = one.get(f"{base}/0/zarr.json")
    assert ok(meta)
    assert "immutable" in meta.headers["cache-control"]
    assert one.get(f"{base}/0/zarr.json", headers={"If-None-Match": meta.headers["etag"]}).status_code == 304
    file = demo.folder.annotations(demo.descriptor, demo.layers["cells"]) / f"{record['version']}.zarr/0/zarr.json"
    part = one.get(f"{base}/0/zarr.json", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, file.read_bytes()[5:10])
    problem(one.get(f"{base}/0/c/99/0/0"), 404, "not-there")


def test_a_version_counts_only_as_it_was_sealed(demo):
    one, labels = demo.web["annotator"], np.ones(SHAPE, np.uint8)
    record = write(one, demo, labels)
    for wrong in ({"units": 1}, {"dtype": "uint64"}, {"version": new_stamp()}, {"version": "../x"}):
        problem(one.post(f"{demo.path}/commit", json=named(demo, None, {**record, **wrong})), 409, "conflict")
    draft = ok(one.post(f"{demo.cells}/drafts", json={}), 201)["id"]
    problem(one.post(f"{demo.path}/commit", json=named(demo, None, {**record, "version": draft})), 409, "conflict")
    ok(one.post(f"{demo.path}/commit", json=named(demo, None, record)))


def test_two_who_began_with_one_version_are_a_conflict_and_chunks_are_shared(demo):
    one, other = demo.web["annotator"], demo.web["maintainer"]
    first = write(one, demo, np.ones(SHAPE, np.uint8))
    ok(one.post(f"{demo.path}/commit", json=named(demo, None, first)))
    labels = np.ones(SHAPE, np.uint8)
    labels[0, 0, 0] = 2
    mine, theirs = write(one, demo, labels), write(other, demo, 2 * labels)
    ok(one.post(f"{demo.path}/commit", json=named(demo, first, mine)))
    told = problem(other.post(f"{demo.path}/commit", json=named(demo, first, theirs)), 409, "conflict")
    assert demo.layers["cells"] in told["field"]
    folder = demo.folder.annotations(demo.descriptor, demo.layers["cells"])
    old, new = (folder / f"{record['version']}.zarr/0/c/1/1/1" for record in (first, mine))
    assert old.samefile(new)


def test_chunks_of_another_size_and_place_are_refused(demo):
    one = demo.web["annotator"]
    made = ok(one.post(f"{demo.cells}/drafts", json={"dtype": "uint16"}), 201)
    chunk = f"{demo.cells}/drafts/{made['id']}"
    size = 2 * int(np.prod(made["chunks"]))
    for wrong in (b"x", zstd.compress(bytes(size - 1)), zstd.compress(bytes(size + 1)), zstd.compress(b"")):
        problem(one.put(f"{chunk}/0/c/0/0/0", content=wrong), 422, "not-valid")
    problem(one.put(f"{chunk}/0/c/0/0/0", content=b"x" * 2 * size), 413, "too-large")
    for key in ("0/c/9/0/0", "0/c/0/0", "0/c/0/0/0/0", "0/c/00/0/0", "0/c/-1/0/0", "1/c/0/0/0", "0/zarr.json", "x"):
        problem(one.put(f"{chunk}/{key}", content=zstd.compress(bytes(size))), 404, "not-there")
    problem(one.put(f"{demo.cells}/drafts/{new_stamp()}/0/c/0/0/0", content=b"x"), 404, "not-there")
    ok(one.delete(f"{demo.cells}/drafts/{made['id']}"), 204)
    problem(one.post(f"{demo.cells}/drafts/{made['id']}/seal"), 404, "not-there")


def test_tables_are_stored_and_read(demo):
    one, layer = demo.web["annotator"], demo.layers["boxes"]
    label = next(iter(demo.document("project")["layers"][layer]["labels"]))
    header = "type,frame," + ",".join(f"{corner}_{axis}" for corner in ("low", "high") for axis in "xyz")
    path = f"{demo.data}/layers/{layer}"
    record = ok(one.post(f"{path}/tables", content=f"{header}\n{label},3,1,2,3,4,5,6\n"), 201)["record"]
    assert record["units"] == 1
    field = {"path": ["layers", layer], "new": record}
    ok(one.post(f"{demo.path}/commit", json={"changes": [{"name": demo.descriptor, "fields": [field]}]}))
    boxes = Project.load(demo.folder.root).descriptors[0].boundingbox_layers["boxes"].load()
    assert boxes.asdict()["frame"] == [3]
    assert header.encode() in ok(one.get(f"{path}/versions/{record['version']}/table.csv"))
    for wrong in (b"", b"x", f"{header}\nother,3,1,2,3,4,5,6\n".encode(), f"{header}\n{label},3,1\n".encode(), b"\xff"):
        problem(one.post(f"{path}/tables", content=wrong), 422, "not-valid")
    problem(one.post(f"{demo.cells}/tables", content=b""), 422, "not-valid")


def test_a_lock_keeps_others_from_annotations_and_from_nothing_else(demo):
    one, other = demo.web["annotator"], demo.web["maintainer"]
    record = write(other, demo, np.ones(SHAPE, np.uint8))
    lock = ok(one.post(f"{demo.data}/lock", json={"seconds": 60}), 201)
    state = ok(other.get(f"{demo.data}/lock"))
    assert state["owner"].startswith("annotator")
    assert lock["token"] not in str(state)
    problem(other.post(f"{demo.data}/lock", json={}), 423, "locked")
    problem(other.post(f"{demo.path}/commit", json=named(demo, None, record)), 423, "locked")
    problem(
        other.post(f"{demo.path}/commit", json={"changes": [{"name": demo.descriptor, "remove": True}]}), 423, "locked"
    )
    with pytest.raises(LockError, match="annotator"):
        Project.load(demo.folder.root).descriptors[0].labelmap_layers[0].save_new_data(np.ones(SHAPE, np.uint8))
    ok(other.post(f"{demo.path}/commit", json=demo.comment("", "seen")))
    ok(one.put(f"{demo.data}/lock", json={"token": lock["token"]}))
    ok(one.post(f"{demo.path}/commit", json={**named(demo, None, record), "locks": {demo.descriptor: lock["token"]}}))
    ok(other.delete(f"{demo.data}/lock", headers={"Lock-Token": "0" * 16}), 204)
    assert ok(one.get(f"{demo.data}/lock"))["locked"]
    ok(one.delete(f"{demo.data}/lock", headers={"Lock-Token": lock["token"]}), 204)
    assert not ok(one.get(f"{demo.data}/lock"))["locked"]
    problem(one.put(f"{demo.data}/lock", json={"token": lock["token"]}), 423, "locked")


def test_a_lock_expires_and_who_comes_late_is_refused(demo):
    one, other = demo.web["annotator"], demo.web["maintainer"]
    record = write(one, demo, np.ones(SHAPE, np.uint8))
    lock = ok(one.post(f"{demo.data}/lock", json={"seconds": 1}), 201)
    deadline = time.monotonic() + 60
    while ok(other.get(f"{demo.data}/lock"))["locked"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    late = {**named(demo, None, record), "locks": {demo.descriptor: lock["token"]}}
    problem(one.post(f"{demo.path}/commit", json=late), 423, "locked")


def test_maintainers_take_locks_away_and_that_is_recorded(demo):
    web = demo.web
    ok(web["annotator"].post(f"{demo.data}/lock", json={}), 201)
    problem(web["annotator"].delete(f"{demo.data}/lock", params={"force": True}), 403, "not-allowed")
    ok(web["maintainer"].delete(f"{demo.data}/lock", params={"force": True, "note": "went home"}), 204)
    rows = ok(web["root"].get("/audit", params={"project": demo.id}))["rows"]
    taken = [row for row in rows if row["action"] == "lock taken away"]
    assert [(row["user"], row["details"]["note"]) for row in taken] == [("maintainer", "went home")]


def test_health_version_and_metrics(demo):
    web = demo.web
    assert ok(web.nobody.get("/health")) == {"status": "ok"}
    assert ok(web.nobody.get("/ready")) == {"status": "ok"}
    assert ok(web.nobody.get("/version"))["api"] == 1
    text = ok(web["root"].get("/metrics")).decode()
    assert 'bioimage_py_requests_total{method="GET",route="/health",status="200"} 1' in text


def test_a_database_that_is_away_is_503_and_says_nothing_of_it(demo, monkeypatch):
    from bioimage_py.errors import StorageError

    def away(self, *args):
        raise StorageError("the path /srv/secret")

    monkeypatch.setattr("bioimage_py.server.accounts.sessions.Sessions.caller", away)
    answer = demo.web["owner"].get("/projects")
    assert "secret" not in str(problem(answer, 503, "storage"))
    assert answer.headers["Retry-After"] == "1"
