"""Parts of versions that are given straight: the same answers as by the declared route, and the same right to them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.projects.storage.packs import unpacked
from bioimage_py.server.http import data_routes
from bioimage_py.server.http.transfer.straight import Straight
from bioimage_py.server.site import Site

from ...conftest import SHAPE
from ..test_http import named, ok, write

BOXES = ("0-1,0-1,0-1", "0-2,0-2,0-2", "0-9,0-9,0-9", "0-1", "1-0,0-1,0-1", "x", "0-99,0-99,0-99", "0-1,0-1,-1-1")
KEYS = (
    "0/c/0/0/0",
    "0/c/0/0/1",
    "0/zarr.json",
    "zarr.json",
    "0/c/9/0/0",
    "0",
    "",
    "../x",
    "%2e%2e/x",
    "a" * 600,
    "é",
    "%00",
)
HEADERS = ({}, {"Range": "bytes=5-9"}, {"Range": "bytes=x"}, {"Range": "bytes=99999999-"})


@pytest.fixture
def version(demo):
    labels = np.zeros(SHAPE, np.uint8)
    labels[0] = 1
    record = write(demo.web["annotator"], demo, labels)
    ok(demo.web["annotator"].post(f"{demo.path}/commit", json=named(demo, None, record)))
    return record["version"]


def asked(demo, paths):
    """Answers to everybody, without what differs each time."""
    found = {}
    strangers = {"nobody": demo.web.nobody, "odd": demo.web.client("bia_x"), "odder": demo.web.client("bip_x")}
    people = {name: demo.web[name] for name in ("viewer", "owner", "root", "stranger")} | strangers
    tag = {"If-None-Match": f'"{paths[0].partition("/versions/")[2]}"'}
    ways = [(name, "GET", {}) for name in people] + [("owner", "GET", headers) for headers in (*HEADERS, tag)]
    for (name, method, headers), path in itertools.product([*ways, ("owner", "HEAD", {}), ("owner", "PUT", {})], paths):
        answer = people[name].request(method, path, headers=headers)
        told = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "allow")}
        content = answer.content
        if content and "problem" in told["content-type"]:
            content, told["content-length"] = {**answer.json(), "request_id": ""}, ""
        found[name, method, str(headers), path] = answer.status_code, told, content
    return found


def test_answers_are_those_of_the_declared_route(demo, version):
    paths = [f"{demo.cells}/versions/{version}/{key}" for key in KEYS]
    for path in (
        f"{demo.cells}/versions/{new_stamp()}",
        f"{demo.cells}/versions/.x",
        f"{demo.data}/layers/x/versions/{version}",
    ):
        paths.append(f"{path}/0/c/0/0/0")
    paths += [f"{demo.cells}/versions/{version}/box/{box}" for box in BOXES]
    paths.append(f"{demo.cells}/versions/{new_stamp()}/box/{BOXES[0]}")
    paths.append(f"/projects/x/descriptors/x/layers/x/versions/{version}/zarr.json")
    straight, routes = asked(demo, paths), demo.web.app.router.routes
    assert isinstance(routes.pop(0), Straight)
    assert isinstance(routes.pop(0), Straight)
    declared = asked(demo, paths)
    assert straight == declared
    assert {status for status, _, _ in straight.values()} >= {200, 206, 304, 401, 404, 405, 416, 422}


def test_a_box_holds_the_chunks_as_they_are_stored(demo, version, monkeypatch):
    base, one = f"{demo.cells}/versions/{version}", demo.web["viewer"]
    keys = [f"0/c/{i}/{j}/{k}" for i, j, k in np.ndindex(2, 2, 2)]
    stored = {key: answer.content if (answer := one.get(f"{base}/{key}")).status_code == 200 else b"" for key in keys}
    assert sum(map(bool, stored.values())) == 4
    assert unpacked(one.get(f"{base}/box/0-2,0-2,0-2").content) == stored
    assert list(unpacked(one.get(f"{base}/box/0-1,1-2,0-2").content)) == keys[2:4]
    monkeypatch.setattr(data_routes, "PACK_BYTES", len(stored[keys[0]]) + 1)
    assert list(unpacked(one.get(f"{base}/box/0-2,0-2,0-2").content)) == keys[:1]  # the others are asked for then


def test_what_the_server_cannot_look_at_is_not_told_as_zeros(demo, version):
    """Nor what has gone as a whole: readers of zarr take 404 for zeros."""
    base, one = f"{demo.cells}/versions/{version}", demo.web["viewer"]
    assert one.get(f"{base}/0/c/1/1/1").status_code == 404  # zeros
    folder = demo.folder.annotations(demo.descriptor, demo.layers["cells"]) / f"{version}.zarr"
    chunk = folder / "0/c/0/0/0"
    chunk.unlink()
    chunk.symlink_to(chunk.name)  # as unreadable for root as for others
    for key in ("0/c/0/0/0", "box/0-1,0-1,0-1"):
        assert one.get(f"{base}/{key}").status_code >= 500
    folder.rename(folder.with_name(".gone"))
    for path in (base, f"{demo.cells}/versions/{new_stamp()}", f"{demo.data}/layers/x/versions/{version}"):
        assert one.get(f"{path}/0/c/1/1/1").status_code == 410
        assert one.get(f"{path}/box/1-2,1-2,1-2").status_code == 404


def test_it_ends_with_the_right_to_it(demo, version):
    path, viewer = f"{demo.cells}/versions/{version}/0/c/0/0/0", demo.web["viewer"]
    content = viewer.get(path).content
    assert content
    assert viewer.get(path).content == content
    other = Site(demo.web.site.root)  # as `bioimage-py server user disable` opens it
    other.users.change(other.users.named("viewer").id, disabled=True, by="x")
    other.close()
    assert viewer.get(path).status_code == 401
