"""Drafts on a server: opened by name, written by chunk, compared by hash, rebased, published, swept."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest
from numcodecs import zstd

from bioimage_py.projects import Project
from bioimage_py.projects.storage import versions
from bioimage_py.projects.storage.packs import PACK_BYTES, packs
from bioimage_py.server.sealed import Place
from bioimage_py.server.transfer.marks import LIVES, Marks

from ..conftest import SHAPE
from ..http.test_http import ok, problem

FULL = bytes(64**3)


def chunk(value):
    return zstd.compress(bytes([value]) * 64**3)


def drafts(demo):
    return f"{demo.cells}/drafts"


def opened(demo, who="annotator", **wish):
    return ok(demo.web[who].post(drafts(demo), json=wish), 201)


def put(demo, draft, key, value, who="annotator"):
    body = chunk(value) if value else b""
    ok(demo.web[who].put(f"{drafts(demo)}/{draft}/0/c/{key}", content=body), 204)


def published(demo, draft, base="", who="annotator", **more):
    return demo.web[who].post(f"{drafts(demo)}/{draft}/publish", json={"base": base, **more})


def stored(demo):
    return np.array(Project.load(demo.folder.root).descriptors[0].labelmap_layers["cells"].load())


def test_a_draft_of_a_name_is_opened_again_by_its_user_alone(demo):
    first, again = opened(demo, name="mine"), opened(demo, name="mine")
    assert (first["made"], again["made"], again["id"]) == (True, False, first["id"])
    assert opened(demo, "maintainer", name="mine")["id"] != first["id"]
    assert opened(demo, name="other")["id"] != first["id"]
    assert opened(demo, name="mine", dtype="uint32")["dtype"] == first["dtype"]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: opened(demo, name="at-once")["id"], range(4)))
    assert len(set(ids)) == 1
    for who, status in (("maintainer", 404), ("owner", 404)):
        for method, path in (("PUT", "0/c/0/0/0"), ("GET", "0/zarr.json"), ("POST", "seal"), ("POST", "chunks")):
            answer = demo.web[who].request(method, f"{drafts(demo)}/{first['id']}/{path}")
            assert answer.status_code == status


def test_chunks_are_read_back_compared_by_hash_and_zeros_are_none(demo):
    draft = opened(demo)["id"]
    put(demo, draft, "0/0/0", 1)
    put(demo, draft, "0/0/1", 1)
    put(demo, draft, "0/0/1", 0)
    ok(demo.web["annotator"].put(f"{drafts(demo)}/{draft}/0/c/1/1/1", content=zstd.compress(FULL)), 204)
    one = demo.web["annotator"]
    assert one.get(f"{drafts(demo)}/{draft}/0/c/0/0/0").content == chunk(1)
    for key in ("0/0/1", "1/1/1"):
        problem(one.get(f"{drafts(demo)}/{draft}/0/c/{key}"), 404, "not-there")
    hashes = {"0/c/0/0/0": sha256(chunk(1)).hexdigest(), "0/c/0/0/1": "", "0/c/1/0/0": "0" * 64}
    assert ok(one.post(f"{drafts(demo)}/{draft}/have", json={"chunks": hashes})) == {"missing": ["0/c/1/0/0"]}
    sealed = ok(one.post(f"{drafts(demo)}/{draft}/seal"))
    assert sealed["record"]["units"] == 1


def test_chunks_that_travel_together_are_stored_as_one_by_one(demo):
    one, draft = demo.web["annotator"], opened(demo)["id"]
    put(demo, draft, "0/0/1", 1)
    put(demo, draft, "1/1/1", 1)
    sent = {"0/c/0/0/0": chunk(1), "0/c/0/0/1": b"", "0/c/1/1/1": zstd.compress(FULL), "0/c/1/0/0": chunk(2)}
    (pack,) = packs(sent)
    ok(one.post(f"{drafts(demo)}/{draft}/chunks", content=pack.body), 204)
    for key, data in (("0/0/0", chunk(1)), ("0/0/1", None), ("1/1/1", None), ("1/0/0", chunk(2))):
        found = one.get(f"{drafts(demo)}/{draft}/0/c/{key}")
        assert (found.content if found.status_code == 200 else None) == data
    for wrong, status in (
        ({"0/c/0/0/1": chunk(1), "0/c/9/0/0": chunk(1)}, 404),
        ({"0/c/0/0/1": chunk(1), "../x": chunk(1)}, 404),
        ({"0/c/0/1/1": zstd.compress(bytes(50_000_000))}, 422),
    ):
        (pack,) = packs(wrong)
        assert one.post(f"{drafts(demo)}/{draft}/chunks", content=pack.body).status_code == status
        problem(one.get(f"{drafts(demo)}/{draft}/0/c/0/0/1"), 404, "not-there")
    for damaged in (pack.body[:-1], pack.body + b"x", b"", b"\n", b"[" * 9999 + b"\n", b'{"0/c/0/0/0": -1}\n'):
        problem(one.post(f"{drafts(demo)}/{draft}/chunks", content=damaged), 422, "not-valid")
    problem(one.post(f"{drafts(demo)}/{draft}/chunks", content=bytes(PACK_BYTES + 2**20)), 413, "too-large")


def test_a_chunk_that_arrives_damaged_is_told(demo):
    draft = opened(demo)["id"]
    headers = {"Content-Digest": "sha-256=:AAAA:"}
    answer = demo.web["annotator"].put(f"{drafts(demo)}/{draft}/0/c/0/0/0", content=chunk(1), headers=headers)
    assert "0/c/0/0/0" in problem(answer, 400, "damaged")["detail"]


def test_sealing_at_once_and_again_answers_the_same(demo):
    draft = opened(demo)["id"]
    put(demo, draft, "0/0/0", 1)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: demo.web["annotator"].post(f"{drafts(demo)}/{draft}/seal"), range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1


def test_what_comes_while_a_draft_is_sealed_is_never_taken_and_lost(demo, monkeypatch):
    """The version has been counted and made durable when the chunk comes, so it must not be acknowledged."""
    draft = opened(demo)["id"]
    put(demo, draft, "0/0/0", 1)
    late = demo.folder.annotations(demo.descriptor, demo.layers["cells"]) / f".draft-{draft}.zarr/0/c/0/0/1"
    settle = versions.settle

    def and_meanwhile(*what):
        settle(*what)
        answers.append(pool.submit(demo.web["annotator"].put, where, content=chunk(2)))
        deadline = time.monotonic() + 60
        while not late.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    where, answers = f"{drafts(demo)}/{draft}/0/c/0/0/1", []
    monkeypatch.setattr(versions, "settle", and_meanwhile)
    with ThreadPoolExecutor(1) as pool:
        sealed = ok(demo.web["annotator"].post(f"{drafts(demo)}/{draft}/seal"))
    assert sealed["record"]["units"] == 1
    problem(answers[0].result(), 404, "not-there")
    assert not list(late.parents[3].parent.glob(".draft-*"))


def test_a_server_that_was_killed_while_it_sealed_goes_on(demo, monkeypatch):
    draft = opened(demo)["id"]
    put(demo, draft, "0/0/0", 1)

    def killed(*what):
        raise KeyboardInterrupt

    place = Place.known(demo.folder, demo.descriptor, demo.layers["cells"])
    with monkeypatch.context() as patch:
        patch.setattr(versions, "settle", killed)
        with pytest.raises(KeyboardInterrupt):
            place.seal(draft)
    put(demo, draft, "0/0/1", 2)
    assert ok(demo.web["annotator"].post(f"{drafts(demo)}/{draft}/seal"))["record"]["units"] == 2


def test_publishing_is_one_commit_and_a_repetition_the_same(demo):
    draft = opened(demo)["id"]
    put(demo, draft, "0/0/0", 1)
    first, again = (ok(published(demo, draft)) for _ in range(2))
    assert first == again == {"version": draft, "seq": first["seq"]}
    assert stored(demo)[0, 0, 0] == 1
    same = opened(demo)
    put(demo, same["id"], "0/0/0", 1)
    assert ok(published(demo, same["id"], base=draft)) == {"version": draft, "seq": first["seq"]}
    assert not list((demo.folder.root / ".drafts").glob(f"{draft}*"))


def test_a_lock_of_somebody_else_keeps_a_draft_from_being_published(demo):
    draft = opened(demo)["id"]
    put(demo, draft, "0/0/0", 1)
    token = ok(demo.web["maintainer"].post(f"{demo.data}/lock", json={}), 201)["token"]
    problem(published(demo, draft), 423, "locked")
    problem(published(demo, draft, lock="0" * 32), 423, "locked")
    ok(demo.web["maintainer"].delete(f"{demo.data}/lock", headers={"Lock-Token": token}), 204)
    ok(published(demo, draft))


def test_who_publishes_second_rebases(demo):
    first = opened(demo)["id"]
    put(demo, first, "0/0/0", 1)
    ok(published(demo, first))
    mine, theirs = opened(demo)["id"], opened(demo, "maintainer")["id"]
    put(demo, mine, "0/0/1", 2)
    put(demo, mine, "0/1/0", 2)
    put(demo, mine, "0/0/0", 0)
    put(demo, theirs, "0/1/0", 1, "maintainer")
    put(demo, theirs, "1/0/0", 1, "maintainer")
    ok(published(demo, theirs, base=first, who="maintainer"))
    told = problem(published(demo, mine, base=first), 409, "conflict")
    assert told["field"].endswith(demo.layers["cells"])
    found = ok(demo.web["annotator"].post(f"{drafts(demo)}/{mine}/rebase"))
    assert (found["draft"], found["both"], found["base"]["version"]) == (mine, ["c/0/1/0"], theirs)
    ok(published(demo, mine, base=theirs))
    labels = stored(demo)
    corners = {at: int(labels[at]) for at in ((0, 0, 0), (0, 0, 69), (0, 69, 0), (69, 0, 0))}
    assert corners == {(0, 0, 0): 0, (0, 0, 69): 2, (0, 69, 0): 2, (69, 0, 0): 1}


def test_chunks_that_both_changed_are_told_until_the_draft_is_published(demo):
    """An answer may be lost, and somebody else publish before it is asked for again."""
    mine = opened(demo)["id"]
    for key in ("0/0/0", "0/0/1", "0/1/0"):
        put(demo, mine, key, 2)
    base = ""
    for keys in (["0/0/0", "0/0/1"], ["0/0/0", "0/0/1", "0/1/0"]):
        theirs = opened(demo, "maintainer")["id"]
        for key in keys:
            put(demo, theirs, key, 1, "maintainer")
        ok(published(demo, theirs, base=base, who="maintainer"))
        found, again = (ok(demo.web["annotator"].post(f"{drafts(demo)}/{mine}/rebase")) for _ in range(2))
        assert found == again
        assert found["both"] == [f"c/{key}" for key in keys]
        base = theirs
    put(demo, mine, "0/0/1", 1)  # agreed on theirs
    again = ok(demo.web["annotator"].post(f"{drafts(demo)}/{mine}/rebase"))
    assert again["both"] == ["c/0/0/0", "c/0/1/0"]
    ok(published(demo, mine, base=base))
    assert not list(demo.folder.root.rglob(".rebas*"))


def test_what_was_sealed_is_rebased_as_another_draft_and_stays_as_it_is(demo):
    mine, theirs = opened(demo)["id"], opened(demo, "maintainer")["id"]
    put(demo, mine, "0/0/1", 2)
    put(demo, theirs, "1/0/0", 1, "maintainer")
    record = ok(demo.web["annotator"].post(f"{drafts(demo)}/{mine}/seal"))["record"]
    ok(published(demo, theirs, who="maintainer"))
    found = ok(demo.web["annotator"].post(f"{drafts(demo)}/{mine}/rebase"))
    assert found["draft"] != mine
    assert found["both"] == []
    ok(published(demo, found["draft"], base=theirs))
    assert [int(stored(demo)[at]) for at in ((0, 0, 69), (69, 0, 0))] == [2, 1]
    assert ok(demo.web["annotator"].post(f"{drafts(demo)}/{mine}/seal"))["record"] == record


def test_a_draft_begins_with_the_version_that_is_named(demo):
    first = opened(demo)["id"]
    put(demo, first, "0/0/0", 1)
    ok(demo.web["annotator"].post(f"{drafts(demo)}/{first}/seal"))
    second = opened(demo, base=first)
    assert second["base"]["version"] == first
    assert demo.web["annotator"].get(f"{drafts(demo)}/{second['id']}/0/c/0/0/0").content == chunk(1)
    assert opened(demo, base="")["base"] is None
    answer = demo.web["annotator"].post(drafts(demo), json={"base": "20260101-000000-000000-abcdef"})
    problem(answer, 409, "conflict")


def test_drafts_and_versions_that_nobody_names_go_after_a_week(demo):
    draft, sealed, named, busy = (opened(demo)["id"] for _ in range(4))
    for one in (sealed, named, busy):
        put(demo, one, "0/0/0", 1)
    ok(demo.web["annotator"].post(f"{drafts(demo)}/{sealed}/seal"))
    ok(published(demo, named))
    marks = Marks(demo.folder)
    folder = demo.folder.annotations(demo.descriptor, demo.layers["cells"])
    assert marks.sweep() == 0
    for path in (demo.folder.root / ".drafts").iterdir():
        os.utime(path, (0, path.stat().st_mtime - LIVES - 1))
    put(demo, busy, "0/0/1", 1)
    assert marks.sweep() == 2
    left = {path.name for path in folder.iterdir()}
    assert left == {f"{named}.zarr", f".draft-{busy}.zarr"}
    problem(demo.web["annotator"].post(f"{drafts(demo)}/{draft}/seal"), 404, "not-there")


def test_a_chunk_that_a_power_cut_emptied_is_not_published(demo):
    draft = opened(demo)["id"]
    put(demo, draft, "0/0/0", 1)
    folder = demo.folder.annotations(demo.descriptor, demo.layers["cells"])
    (folder / f".draft-{draft}.zarr" / "0" / "c" / "0" / "0" / "0").write_bytes(b"")
    assert published(demo, draft).status_code == 503
    assert not Project.load(demo.folder.root).descriptors[0].labelmap_layers["cells"].has_data()


@pytest.mark.parametrize("who", ["annotator", "maintainer"])
def test_a_layer_that_is_not_saved_yet_takes_the_right_to_add_it(demo, who):
    layers = demo.document("project")["layers"]
    new = {**layers[demo.layers["cells"]], "name": "new"}
    answer = demo.web[who].post(f"{demo.data}/layers/layer-new/drafts", json={"layer": new})
    assert answer.status_code == (201 if who == "maintainer" else 403), answer.text
    for wrong in ({}, {"name": 3}, {**new, "kind": "x"}, {**new, "extra": 1}):
        answer = demo.web["maintainer"].post(f"{demo.data}/layers/layer-new/drafts", json={"layer": wrong})
        assert answer.status_code == 422, answer.text


def test_shapes_are_those_of_the_image(demo):
    assert tuple(opened(demo)["shape"]) == SHAPE
