"""What removes something and is repeated, because its answer was lost or has not come yet, is answered the same."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bioimage_py.server import answered, projects

from ..conftest import Demo


def files(demo: Demo) -> list[str]:
    return sorted(path.name for path in (demo.web.site.root / "projects").iterdir() if path.name != ".mutex")


def test_a_project_that_is_being_deleted_is_waited_for(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, remove = threading.Event(), threading.Event(), shutil.rmtree

    def slow(path: Path, **more: bool) -> None:
        begun.set()
        assert go_on.wait(60)
        remove(path, **more)

    monkeypatch.setattr(projects.shutil, "rmtree", slow)
    monkeypatch.setattr(answered, "_WAITS", 0.05)
    owner, viewer = demo.web["owner"], demo.web["viewer"]
    with ThreadPoolExecutor() as pool:
        first = pool.submit(owner.delete, demo.path)
        try:
            assert begun.wait(60)
            assert owner.delete(demo.path).status_code == 504
            assert viewer.delete(demo.path).status_code == 404
        finally:
            go_on.set()
        assert first.result().status_code == 204
    assert owner.delete(demo.path).status_code == 204
    assert files(demo) == []
    for who in ("maintainer", "stranger", "root"):
        assert demo.web[who].delete(demo.path).status_code == 404
    assert owner.get(demo.path).status_code == 404


def test_files_of_a_project_go_also_where_the_process_was_killed(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def kill(point: str) -> None:
        raise Killed

    site = demo.web.site
    caller = site.sessions.visitor(site.sessions.signed_in(site.users.named("owner").id))
    with monkeypatch.context() as patch:
        patch.setattr(projects, "fault", kill)
        with pytest.raises(Killed):
            site.projects.delete(demo.id, caller)
    assert files(demo) == [f".deleting-{demo.id}", demo.id]
    assert demo.web["owner"].delete(demo.path).status_code == 204
    site.projects.sweep()
    assert files(demo) == []


def test_a_project_that_is_still_served_is_kept_whatever_a_killed_process_was_about_to_do(demo: Demo) -> None:
    (demo.web.site.root / "projects" / f".deleting-{demo.id}").touch()
    demo.web.site.projects.sweep()
    assert files(demo) == [demo.id]
    assert demo.web["viewer"].get(demo.path).status_code == 200


def test_who_repeats_a_removal_is_answered_the_same_and_others_are_not(demo: Demo) -> None:
    web, owner, root = demo.web, demo.web["owner"], demo.web["root"]
    token = owner.post("/auth/tokens", json={"name": "t"}).json()["id"]
    user = web.site.users.named("stranger").id
    for client, path, other in (
        (owner, f"{demo.path}/members/viewer", web["maintainer"]),
        (owner, f"/auth/tokens/{token}", web["maintainer"]),
        (root, f"/users/{user}", None),
    ):
        assert [client.delete(path).status_code for _ in range(3)] == [204] * 3, path
        assert other is None or other.delete(path).status_code == 404, path
    assert owner.put(f"{demo.path}/members/viewer", json={"role": "viewer"}).status_code == 204
    assert owner.delete(f"{demo.path}/members/viewer").status_code == 204
    assert "viewer" not in {one["name"] for one in owner.get(f"{demo.path}/members").json()}


def test_nobody_gets_the_id_of_a_removed_account(demo: Demo) -> None:
    """Databases give the largest id again, and a repeated removal would meet somebody else."""
    web, ids = demo.web, []
    for name in ("one", "two", "three"):
        web.add_user(name)
        ids.append(web.site.users.named(name).id)
        web.site.remove_user(ids[-1], by="root")
    assert ids == sorted(set(ids))
    web.add_user("four")
    web.site.remove_user(ids[-1], by="root")
    assert web.site.users.named("four").id > ids[-1]
