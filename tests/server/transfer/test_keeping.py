"""Backups of edits, and what is pruned, on a server."""

from __future__ import annotations

import numpy as np
import pytest
from numcodecs import zstd

from bioimage_py.projects import Project
from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.server.transfer.room import used

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
