"""A full disk is told as such, nothing is saved by halves, and all goes on as soon as there is room."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import suppress

import pytest

from bioimage_py.projects.storage import folder as module
from bioimage_py.server import backup
from bioimage_py.server.database import engine
from bioimage_py.server.refusals import DiskFullError
from bioimage_py.server.site import Site

from .conftest import PASSWORD, Demo, Web
from .http.test_http import ok


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/labels/x")


def test_a_commit_that_finds_no_room_is_told_and_leaves_nothing(demo, monkeypatch):
    owner, before, key = demo.web["owner"], demo.document(), {"Idempotency-Key": "the-key1"}
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_once", full)
        answer = owner.post(
            f"{demo.path}/commit", json=demo.comment("", "new"), headers={"Idempotency-Key": "the-key1"}
        )
        assert (answer.status_code, answer.json()["type"]) == (507, "disk-full")
        assert "/srv" not in answer.text
    assert demo.document() == before
    again = owner.post(f"{demo.path}/commit", json=demo.comment("", "new"), headers=key)
    assert ok(again)["repeated"] is False
    assert demo.document()["comments"] == "new"


def test_any_other_fault_of_the_system_is_unexpected(demo, monkeypatch):
    monkeypatch.setattr(module, "write_once", lambda *a, **k: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
    assert demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("", "new")).status_code == 500


def test_a_database_without_room_says_so(tmp_path, monkeypatch):
    import sqlite3

    from sqlalchemy.exc import OperationalError

    with pytest.raises(DiskFullError), engine._told():
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))


def fill(path):
    """Leave no room."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(file, bytes(4096))
    os.close(file)


@pytest.mark.long
def test_a_disk_that_is_really_full(tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(small)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root mounts a small disk")
    web = None
    try:
        web = Web(small)
        demo = Demo(web)
        owner, text, filler = web["owner"], "x" * 20_000, small / "filler"
        fill(filler)
        statuses = []
        for n in range(30):
            body = demo.comment(demo.document()["comments"], f"{n} {text}")
            statuses.append(owner.post(f"{demo.path}/commit", json=body).status_code)
        assert 507 in statuses
        assert set(statuses) <= {200, 507}
        assert web.nobody.post("/auth/login", json={"username": "owner", "password": PASSWORD}).status_code in (
            200,
            507,
        )
        filler.unlink()
        ok(owner.post(f"{demo.path}/commit", json=demo.comment(demo.document()["comments"], "room again")))
        events = ok(owner.get(f"{demo.path}/events", params={"since": 0}))["events"]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        web.close()
        site = Site(small / "site")
        assert list(backup.check(site)) == []
        site.close()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)
