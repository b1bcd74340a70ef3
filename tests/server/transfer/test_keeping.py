"""Backups of edits, and what is pruned, on a server."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import zstd

from bioimage_py.errors import KeyNotFoundError, StorageError
from bioimage_py.projects import Project
from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.server import answered
from bioimage_py.server.refusals import DiskFullError
from bioimage_py.server.transfer import uploads as module
from bioimage_py.server.transfer.room import Disk, Room, used
from bioimage_py.server.transfer.uploads import UPLOADS, Uploads

from ..conftest import SHAPE
from ..http.test_http import ok, problem

NAME = "20260101-120000-000000-abcdef"
RECORD = {"version": "v", "units": 1, "dtype": "uint8"}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("schema", 2),
        ("more", {}),
        ("settings", [{}]),
        ("settings", [{}, {}]),
        ("layers", {"../up": {}}),
        ("layers", {"layer": {"../up": [None, None]}}),
        ("layers", {"layer": {"image": [None]}}),
        ("layers", {"layer": {"image": [None, {**RECORD, "version": "../up"}]}}),
        ("layers", {"layer": {"image": [None, {**RECORD, "version": "*"}]}}),
        ("layers", []),
    ],
)
def test_what_is_no_backup_is_not_kept(demo, part, value):
    settings = demo.document("project")
    backup = {"schema": 1, "time": "", "settings": [settings, settings], "layers": {"layer": {"image": [None, RECORD]}}}
    owner = demo.web["owner"]
    problem(owner.put(f"{demo.path}/backups/{NAME}", json={**backup, part: value}), 422, "not-valid")
    assert ok(owner.get(f"{demo.path}/backups")) == []
    ok(owner.put(f"{demo.path}/backups/{NAME}", json=backup), 204)
    assert ok(owner.get(f"{demo.path}/backups/{NAME}")) == backup


def test_prune_spares_what_is_not_saved_yet_and_is_in_the_log(demo):
    owner, folder = demo.web["owner"], demo.folder
    local = Project.load(folder.root)
    layer = local.descriptors[0].labelmap_layers["cells"]
    for value in (1, 2):
        layer.save_new_data(np.full(SHAPE, value, np.uint8))
    tag = local.settings().tags["Reviewed"].id
    local.descriptors[0].tags["Reviewed"].value = True
    settings = local.settings()
    settings.remove_tag(settings.tags["Reviewed"])
    local.edit(settings)
    annotator = demo.web["annotator"]
    unsaved = new_stamp()
    path = f"{demo.path}/descriptors/{unsaved}/layers/{demo.layers['cells']}/drafts"
    early = ok(owner.post(path, json={"document": demo.new_document(unsaved)}), 201)["id"]
    draft, sealed = (ok(annotator.post(f"{demo.cells}/drafts", json={}), 201)["id"] for _ in range(2))
    ok(annotator.post(f"{demo.cells}/drafts/{sealed}/seal"))
    there = folder.annotations(demo.descriptor, demo.layers["cells"])
    assert len(list(there.iterdir())) == 4
    assert ok(owner.post(f"{demo.path}/prune", json={}))["removed"] == 0
    for _ in range(2):  # what is edited just now keeps its files until the next time
        ok(owner.post(f"{demo.path}/prune", json={"older_than": -1}))
    names = {path.name for path in there.iterdir()}
    assert names == {f"{layer.version}.zarr", f".draft-{draft}.zarr", f"{sealed}.zarr"}
    assert (folder.annotations(unsaved, demo.layers["cells"]) / f".draft-{early}.zarr").is_dir()
    assert tag not in demo.document()["tags"]
    events = ok(owner.get(f"{demo.path}/events", params={"since": 0}))["events"]
    assert events[-1]["user"] == "owner"
    rows = ok(demo.web["root"].get("/audit"))["rows"]
    pruned = [(row["user"], row["details"]["older_than"]) for row in rows if row["action"] == "pruned"]
    assert pruned == [("owner", 3600.0), ("owner", -1.0), ("owner", -1.0)]
    assert sum(row["details"]["removed"] for row in rows if row["action"] == "pruned") == 2
    problem(owner.post(f"{demo.path}/prune", json={"older_than": "x"}), 422, "not-valid")


def test_a_prune_that_is_asked_for_again_waits_for_the_first_and_is_done_once(demo, monkeypatch):
    """A client asks again whose answer has not come in time; two prunes at once would be twice the work for nothing."""
    begun, go, done = threading.Event(), threading.Event(), []

    def slow(*args, **more):
        begun.set()
        assert go.wait(60)
        done.append(1)
        return 7

    monkeypatch.setattr("bioimage_py.server.http.project_routes.prune", slow)
    monkeypatch.setattr(answered, "_WAITS", 0.2)
    owner, path = demo.web["owner"], f"{demo.path}/prune"

    def ask(key="prune-0001", **body):
        return owner.post(path, json=body, headers={"Idempotency-Key": key})

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask)
        assert begun.wait(60)
        problem(ask(), 504, "still-working")
        problem(ask("prune-0002"), 504, "still-working")
        go.set()
        assert ok(first.result(60))["removed"] == 7
    assert ok(ask())["removed"] == 7
    assert len(done) == 1
    problem(ask(older_than=5), 422, "not-valid")
    assert ok(ask("prune-0002"))["removed"] == 7
    assert len(done) == 2


def test_a_prune_that_failed_is_done_again(demo, monkeypatch):
    answers = [StorageError("away", remedy=""), 3]

    def some(*args):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("bioimage_py.server.http.project_routes.prune", some)
    owner, how = demo.web["owner"], {"json": {}, "headers": {"Idempotency-Key": "prune-0001"}}
    assert owner.post(f"{demo.path}/prune", **how).status_code == 503
    assert [ok(owner.post(f"{demo.path}/prune", **how))["removed"] for _ in range(2)] == [3, 3]


def test_a_project_that_is_full_takes_no_more_and_says_how_much(demo):
    projects, owner = demo.web.site.projects, demo.web["owner"]
    there = used(demo.folder.root)
    projects.most = there + 100_000
    draft = ok(owner.post(f"{demo.cells}/drafts", json={}), 201)["id"]
    path = f"{demo.cells}/drafts/{draft}/0/c/0/0/0"
    chunk = np.random.default_rng(0).integers(0, 255, 64**3, np.uint8).tobytes()
    told = problem(owner.put(path, content=zstd.compress(chunk)), 422, "not-valid")["detail"]
    assert f"may have {projects.most}" in told
    ok(owner.put(path, content=zstd.compress(b"\1" * 64**3)), 204)
    image = {"descriptor": new_stamp(), "size": 10**6, "sha256": "0" * 64}
    problem(owner.post(f"{demo.path}/uploads", json=image), 422, "not-valid")
    large = {"size": projects.most + 1, "sha256": "0" * 64}
    problem(owner.post("/uploads", json=large), 422, "not-valid")
    ok(owner.post(f"{demo.path}/uploads", json={**image, "size": 1000}), 201)


def image_of(size, mark="0"):
    return {"descriptor": new_stamp(), "size": size, "sha256": mark * 64}


def test_uploads_at_once_do_not_count_on_the_same_room(demo):
    projects, owner = demo.web.site.projects, demo.web["owner"]
    projects.most = used(demo.folder.root) + 1_000_000
    images = [image_of(600_000, mark) for mark in "0123456789"]

    def begin(image):
        return owner.post(f"{demo.path}/uploads", json=image)

    with ThreadPoolExecutor(5) as pool:
        codes = [answer.status_code for answer in pool.map(begin, images)]
    assert sorted(codes) == [201] + [422] * 9
    begun = images[codes.index(201)]
    id = ok(begin(begun), 201)["id"]  # goes on
    ok(begin(image_of(300_000)), 201)
    told = problem(begin(image_of(200_000)), 422, "not-valid")["detail"]
    assert f"may have {projects.most}" in told
    note = demo.folder.root / ".uploads" / f"{id}.json"
    os.utime(note, (1, time.time() - 3700))  # nobody goes on with it
    ok(begin(image_of(600_000)), 201)
    problem(begin(begun), 422, "not-valid")


def project_of(size):
    return {"size": size, "sha256": "1" * 64}


def test_what_the_disk_has_no_room_for_is_not_begun(demo, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    owner, free = demo.web["owner"], 1_000_000
    for path, wish in ((f"{demo.path}/uploads", image_of), ("/uploads", project_of)):
        problem(owner.post(path, json=wish(500_001)), 507, "disk-full")  # it is unpacked beside what has arrived
        begun = wish(400_000)
        id = ok(owner.post(path, json=begun), 201)["id"]
        ok(owner.post(path, json=begun), 201)
        problem(owner.post(path, json={**wish(400_000), "sha256": "2" * 64}), 507, "disk-full")
        piece = {"content": bytes(300_000), "headers": {"Upload-Offset": "0"}}
        assert ok(owner.patch(f"{path}/{id}", **piece))["offset"] == 300_000
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: SimpleNamespace(free=free - 450_000))
        ok(owner.post(path, json=begun), 201)
        free += 500_000  # that of the first one stays promised
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: SimpleNamespace(free=free))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), min_size=2, max_size=12))
def test_room_is_promised_once_over_all_projects(sizes):
    """All that were begun can arrive and be unpacked at the same time; who is refused writes nothing."""
    with TemporaryDirectory() as name:
        folders = [Path(name) / str(number) / UPLOADS for number in range(4)]
        disk, promised = Disk(Path(name), lambda: folders), 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=200))
            for number, (project, size) in enumerate(sizes):
                uploads, about = Uploads(folders[project]), {"user": "alice", "n": number}
                before = sorted(Path(name).rglob("*.json"))
                try:
                    with disk.for_upload(uploads, uploads.id_of(about, size, "0" * 64), size):
                        uploads.open(about, size, "0" * 64)
                    promised += 2 * size
                except DiskFullError:
                    assert promised + 2 * size > 200
                    assert sorted(Path(name).rglob("*.json")) == before
                assert promised <= 200


@pytest.mark.parametrize("step", ["write_once", "Path.touch", "Path.unlink"])
@pytest.mark.parametrize("after", [False, True])
def test_an_upload_whose_process_was_killed_begins_again(tmp_path, monkeypatch, step, after):
    uploads, data = Uploads(tmp_path / UPLOADS), b"12345"
    about, digest = {"user": "alice"}, sha256(data).hexdigest()
    if step == "Path.unlink":
        uploads.open(about, 5, digest)
    owner, name = (Path if "." in step else module), step.rpartition(".")[2]
    plain = getattr(owner, name)

    def killed(*args, **more):
        if after:
            plain(*args, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KeyboardInterrupt):
            uploads.remove(uploads.id_of(about, 5, digest)) if step == "Path.unlink" else uploads.open(about, 5, digest)
    with suppress(KeyNotFoundError):  # and nothing else
        uploads.of(uploads.id_of(about, 5, digest), about)
    begun = uploads.open(about, 5, digest)
    assert begun.offset == 0
    uploads.append(begun.id, 0, data)
    assert uploads.check(begun.id).read_bytes() == data
    uploads.end(begun.id, "made")
    assert uploads.open(about, 5, digest).made == "made"
    assert not uploads.path(begun.id).exists()


def test_what_is_done_already_needs_no_room(demo, monkeypatch):
    disk = demo.web.site.projects.disk
    uploads = Uploads(demo.folder.root / UPLOADS)
    begun = uploads.open({}, 5, "0" * 64)
    assert not uploads.is_made(begun.id)
    uploads.append(begun.id, 0, b"12345")
    uploads.end(begun.id, "something")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    with Room(demo.folder.root, 1, disk).for_upload(uploads, begun.id, 5):
        assert uploads.claimed() == uploads.promised() == 0
    with pytest.raises(DiskFullError), Room(demo.folder.root, 0, disk).for_upload(uploads, "0" * 32, 5):
        raise AssertionError
