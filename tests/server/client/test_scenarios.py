"""What several clients of one project see of each other, at one server or at two of one folder."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ConflictError, LockError
from bioimage_py.projects import Project
from bioimage_py.projects.remote.session import RemoteLock
from bioimage_py.projects.storage.folder import new_stamp

from .. import postgres
from ..conftest import make_settings
from ..starting import Running
from .test_client import Losing

SHAPE = (6, 7, 8)


@pytest.fixture(scope="module", params=["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.long)])
def servers(request, tmp_path_factory):
    """The server that a project is made at, and that which others come in by."""
    with ExitStack() as stack:
        root, database = tmp_path_factory.mktemp("server") / "site", []
        if request.param == "PostgreSQL":
            if reason := postgres.missing():
                pytest.skip(reason)
            url = stack.enter_context(postgres.running(tmp_path_factory.mktemp("postgres") / "server"))
            database = ["--database", f"{url}/postgres"]
        one = Running(root, *database, *(["--workers", "2"] if database else []))
        stack.callback(one.stop)
        other = one
        if database:
            other = Running(root, *database)
            stack.callback(other.stop)
            other.password = one.password
        yield one, other


@pytest.fixture
def running(servers):
    return servers[0]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.zarr"
    bp.copy(np.ones(SHAPE, np.uint8), f"{path}/raw")
    return bp.open_source(path, "raw")


@pytest.fixture
def project(running):
    return Project.create(make_settings(new_stamp()), running.url, "admin", running.password)


@pytest.fixture
def again(servers, project):
    return lambda: Project.load(servers[1].url, project.id, "admin", servers[1].password)


def test_a_data_set_with_its_groups_is_one_event_for_everybody(project, again, image):
    project.grouping_hierarchy = ["Patient", "Study"]
    project.save()
    other = again()
    project.sync()
    project.add_descriptor(image, "d", grouping=("p1", "s1"))
    project.save()
    assert other.sync() == 1
    assert [group.key for group in other.descriptors["d"].grouping] == ["p1", "s1"]
    assert [project.sync(), project.sync()] == [1, 0]


def test_a_lock_in_a_with_block_outlives_its_time_and_a_suspended_client_loses_it(project, again, image, monkeypatch):
    mine = project.add_descriptor(image, "d")
    project.save()
    other = again()
    theirs = other.descriptors["d"]
    labels = np.ones(SHAPE, np.uint8)
    with mine.lock(4) as token:
        deadline = time.monotonic() + 5.5  # longer than the lock lives by itself
        while time.monotonic() < deadline:
            assert token.is_valid
            time.sleep(0.5)
        with pytest.raises(LockError, match="admin") as error:
            theirs.labelmap_layers["cells"].save_new_data(2 * labels)
        assert "expires at" in error.value.message
        mine.labelmap_layers["cells"].save_new_data(labels, token)
    monkeypatch.setattr(RemoteLock, "renew", lambda self: None)  # its machine sleeps
    with mine.lock(1) as token:
        time.sleep(1.5)
        theirs.sync()
        theirs.labelmap_layers["cells"].save_new_data(2 * labels)
        with pytest.raises(LockError, match=r"Since then: admin changed layers\.\S+ at 20"):
            mine.labelmap_layers["cells"].save_new_data(labels * 0, token)
    np.testing.assert_array_equal(np.array(again().descriptors["d"].labelmap_layers["cells"].load()), 2)


def test_two_comments_are_a_conflict_and_a_comment_and_a_tag_are_not(project, again, image):
    mine = project.add_descriptor(image, "d")
    project.save()
    other = again()
    theirs = other.descriptors["d"]
    mine.comments, theirs.comments = "mine", "theirs"
    project.save()
    with pytest.raises(ConflictError, match="theirs") as error:
        other.save()
    assert error.value.field == f"descriptors.{mine.identifier}.comments"
    other.revert()
    other.sync()
    mine.tags["Reviewed"].value, theirs.comments = True, "agreed"
    project.save()
    other.save()
    found = again().descriptors["d"]
    assert (found.comments, found.tags["Reviewed"].value) == ("agreed", True)


def commits(servers, image, clients, each, reconnects):
    """Several clients commit; each sees every event once, and so does one that comes again and again."""
    project = Project.create(make_settings(new_stamp()), servers[0].url, "admin", servers[0].password)

    def client(number):
        server = servers[number % 2]
        return Project.load(server.url, project.id, "admin", server.password)

    names = [project.add_descriptor(image, f"{number}").identifier for number in range(clients)]
    project.save()
    first = project._session.remote.last()
    opened = [client(number) for number in range(clients)]
    over, seen = threading.Event(), []

    def write(number):
        mine = opened[number].descriptors[names[number]]
        for n in range(each):
            mine.comments = f"{n}"
            opened[number].save()

    def look():
        since, times = first, itertools.count()
        while not over.is_set() or project.events(since):
            page = client(next(times)).events(since)
            seen.extend(event.seq for event in page)
            since = page[-1].seq if page else since
            if len(seen) > reconnects * clients * each:
                return

    looking = threading.Thread(target=look)
    looking.start()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(write, range(clients)))
    over.set()
    looking.join()
    expected = list(range(first + 1, first + 1 + clients * each))
    assert seen == expected
    for one in opened:
        found, since = [], first
        while page := one.events(since):
            found += [event.seq for event in page]
            since = page[-1].seq
        assert found == expected


def test_a_commit_whose_answer_is_lost_is_made_once(servers, project, image):
    descriptor = project.add_descriptor(image, "d")
    project.save()
    for server in servers:
        losing = Losing(server.port, rb"POST .*/commit")
        client = Project.load(losing.url, project.id, "admin", server.password)
        last = client._session.remote.last()
        client.descriptors["d"].comments = new_stamp()
        client.save()
        assert losing.lost == 3
        assert [event.seq for event in client.events(last)] == [last + 1]
        losing.close()
    project.sync()
    assert descriptor.comments


def test_commits_of_several_clients_are_numbered_without_gaps(servers, image):
    commits(servers, image, clients=3, each=5, reconnects=10)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_commits_of_five_clients(servers, image):
    commits(servers, image, clients=5, each=200, reconnects=100)
