"""The tests of projects in folders, run again on a server: wherever they name a folder, there is a project of a server.

`DIFFERENT` names those that fail there, by what docs/server.md says of it; one that does not fail is an error here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bioimage_py.projects import Project
from bioimage_py.projects.remote.connection import TOKEN_VARIABLE
from bioimage_py.sources.stores.paths import is_url

from ...projects.conftest import again, files, project, settings  # noqa: F401 - fixtures
from ..starting import Running
from . import places

PAGE = Path(__file__).parents[3] / "docs" / "server.md"
PASSWORD = "correct horse battery"
DIFFERENT: dict[str, tuple[str, ...]] = {
    "Files are the server's": (
        "test_apply::test_a_call_that_dies_is_continued_and_does_nothing_twice",  # dies while it writes files itself
        "test_locks::test_a_clock_that_jumps_prolongs_no_lock",  # the clock of this process
        "test_locks::test_a_damaged_lock_names_its_file",
        "test_locks::test_a_stopped_process_is_waited_for_and_named",
        "test_project::test_a_full_disk_saves_nothing",
        "test_project::test_images_in_memory_are_copied_and_move_with_the_project",
        "test_project::test_what_others_delete_while_the_folder_is_read_hides_nothing_else",
        "test_spaces::test_a_save_that_breaks_off_is_all_or_none",
    ),
    "`Project(name, path)` makes folders": (
        "test_project::test_both_ways_to_make_a_project",
        "test_project::test_a_folder_that_holds_something_is_refused",
    ),
    "`sync` returns the number of events": (
        "test_project::test_a_change_of_what_others_deleted_is_a_conflict",
        "test_project::test_sync_counts_and_applies",
        "test_project::test_sync_keeps_a_conflict_for_save",
    ),
    "copies of images, tables and spaces stay for a week": (
        "test_project::test_a_transaction_with_an_exception_saves_nothing",
        "test_spaces::test_transaction",
    ),
    "`validate` is `bioimage-py server check`": (
        "test_importing::test_an_image_whose_voxels_cannot_be_read_is_told_by_validation",
    ),
}
"""By the sentence of the page: names of tests."""
SHORT = {"test_edit", "test_locks", "test_workflows"}
"""In `make test`; the others in `make test-long`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    told = PAGE.read_text()
    reasons = {name: reason for reason, names in DIFFERENT.items() for name in names}
    assert all(reason in told for reason in DIFFERENT)
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        module, name = item.path.stem, item.name
        for key in (f"{module}::{name}", f"{module}::{name.partition('[')[0]}"):
            if key in reasons:
                item.add_marker(pytest.mark.xfail(reason=reasons[key], strict=True))
                break
        item.add_marker(pytest.mark.processes)
        if module not in SHORT:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(tmp_path_factory.mktemp("server") / "site", "--image-root", str(tmp_path_factory.getbasetemp()))
    places.SERVED[found.url] = found.root
    yield found
    found.stop()


@pytest.fixture(scope="session")
def admin(running: Running) -> Iterator[httpx.Client]:
    with running.client() as client:
        yield client


@pytest.fixture(autouse=True)
def on_a_server(running: Running, admin: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody new, whose projects are on the server; other processes find a token in their environment."""
    user = f"user-{secrets.token_hex(6)}"
    answer = admin.post("/users", json={"username": user, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    with running.client(user, PASSWORD) as client:
        made = client.post("/auth/tokens", json={"name": "workers", "scope": "manage"})
        monkeypatch.setenv(TOKEN_VARIABLE, made.json()["token"])
    known: dict[str, str] = {}
    create, load = Project.create.__func__, Project.load.__func__  # type: ignore[attr-defined]

    def place(path: Any) -> str:
        return os.path.abspath(os.fspath(path))

    def created(cls: type[Project], wanted: Any, path: Any = "", *_: Any, **more: Any) -> Project:
        if not os.fspath(path) or is_url(os.fspath(path)) or place(path) in known:
            return create(cls, wanted, path, **more)
        if known:  # names are taken once
            wanted = wanted.model_copy(update={"name": f"{wanted.name} {len(known)}"})
        made = create(cls, wanted, running.url, user, PASSWORD)
        known[place(path)] = made.path
        return made

    def loaded(cls: type[Project], path: Any, project_id: str | None = None, *_: Any, **more: Any) -> Project:
        url = os.fspath(path) if is_url(os.fspath(path)) else known.get(place(path))
        if url is None:
            return load(cls, path, project_id, **more)
        return load(cls, url, project_id, user, PASSWORD, **more)

    monkeypatch.setattr(Project, "create", classmethod(created))
    monkeypatch.setattr(Project, "load", classmethod(loaded))
