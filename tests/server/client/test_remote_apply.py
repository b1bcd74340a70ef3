"""`apply` on a project of a server: workers save label maps with a token from their environment, each once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import AccessError, LockError, ParameterError, RunnerError
from bioimage_py.projects import Project
from bioimage_py.projects.jobs.algorithm import Journal
from bioimage_py.projects.remote.session import RemoteSession
from bioimage_py.projects.remote.working import Worker
from bioimage_py.projects.storage.folder import new_stamp

from ..conftest import make_settings
from ..starting import Running

SHAPE = (20, 20, 70)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    found = Running(tmp_path_factory.mktemp("server") / "site")
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home / "bioimage_py" / "apply"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.zarr"
    bp.copy(np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE) % 3, f"{path}/raw")
    return bp.open_source(path, "raw")


@pytest.fixture
def project(running):
    return Project.create(make_settings(new_stamp()), running.url, "admin", running.password)


def add(project, image, count):
    added = [project.add_descriptor(image, f"image {number}") for number in range(count)]
    project.save()
    return added


def labels_of(project):
    return [np.array(one.labelmap_layers["cells"].load()) for one in project.descriptors]


class Count:
    """Adds one to the labels: what is done twice is seen."""

    def __init__(self, path, until: int = 0) -> None:
        self.path, self.until = str(path), until

    def __call__(self, image, labels):
        open(f"{self.path}/{os.getpid()}-{threading.get_ident()}-{new_stamp()}", "w").close()
        for _ in range(6000):
            if not self.until or os.path.exists(f"{self.path}/go") or len(os.listdir(self.path)) < self.until:
                break
            threading.Event().wait(0.01)
        return (labels + (image >= 0)).astype(labels.dtype)


def calls(path):
    return len([name for name in os.listdir(path) if name != "go"])


def test_workers_save_each_label_map_once(project, image, tmp_path, cache):
    added = add(project, image, 4)
    with added[0].lock() as token:
        report = project.apply(Count(tmp_path), layer="cells", job_type="subprocess", num_workers=2)
        assert token.is_valid
    assert report.changed == tuple(one.identifier for one in added)
    for labels in labels_of(project):
        np.testing.assert_array_equal(labels, 1)
    assert calls(tmp_path) == 4
    assert [event.user for event in project.events(0)] == ["admin"] * 5
    assert not list(cache.rglob("run"))

    report = project.apply(lambda image, labels: None, layer="cells", image=False)
    assert len(report.unchanged) == 4


def test_the_token_of_the_workers_is_for_this_project_and_ends(project, running):
    with Worker.of(project._session) as worker:
        token = os.environ[worker.variable]
        assert token not in repr(worker)
        session = worker.session("a run")
        assert session.path == project.path
        with pytest.raises(AccessError):
            session.remote.connection.send("DELETE", f"/projects/{project.id}")
    assert worker.variable not in os.environ
    with pytest.raises(AccessError):
        Project.load(project.path, token=token)
    with pytest.raises(AccessError, match="not set in this worker") as error:
        worker.session("a run")
    assert "bp.execution" in error.value.remedy


@pytest.mark.long
def test_a_server_that_is_killed_meanwhile(tmp_path, image):
    running, over = Running(tmp_path / "site"), []
    try:
        project = Project.create(make_settings(), running.url, "admin", running.password)
        add(project, image, 20)
        seen = tmp_path / "seen"
        seen.mkdir()

        def work():
            over.append(project.apply(Count(seen, until=9), layer="cells", job_type="subprocess", num_workers=4))

        thread = threading.Thread(target=work)
        thread.start()
        while calls(seen) < 9 and thread.is_alive():
            thread.join(0.05)
        running.kill()
        (seen / "go").touch()
        running.start()
        thread.join()
        assert len(over[0].changed) == 20
        for labels in labels_of(project):
            np.testing.assert_array_equal(labels, 1)
        assert [event.seq for event in project.events(0)] == list(range(1, 22))
    finally:
        running.stop()


class Fails:
    def __init__(self, path):
        self.path = str(path)

    def __call__(self, image, labels):
        if not os.path.exists(f"{self.path}/go") and labels.max() == 2:
            raise ZeroDivisionError
        return labels + 1


@pytest.mark.filterwarnings("ignore:.*that no label of the layer")
def test_the_same_call_goes_on_and_does_nothing_twice(project, image, tmp_path, cache, monkeypatch):
    add(project, image, 3)
    layers = [one.labelmap_layers["cells"] for one in project.descriptors]
    layers[1].save_new_data(np.full(SHAPE, 2, np.uint8))
    fails = Fails(tmp_path)
    with pytest.raises(RunnerError, match="image 1"):
        project.apply(fails, layer="cells", job_type="local", num_workers=1, retries=0)
    project.sync()
    done = [one.labelmap_layers["cells"].has_data() for one in project.descriptors]
    assert done[:2] == [True, True]
    for mark in cache.rglob("2*-*"):  # killed between the commit and its mark
        if mark.is_file():
            mark.unlink()
    (tmp_path / "go").touch()
    project.apply(fails, layer="cells", job_type="local", num_workers=1, unknown="warn")
    assert [int(labels.max()) for labels in labels_of(project)] == [1, 3, 1]
    assert not list(cache.rglob("run"))


def test_who_commits_second_sees_that_it_was_done(project, image, monkeypatch):
    (added,) = add(project, image, 1)
    plain = RemoteSession.commit

    def twice(self, changes, guarded=()):
        plain(self, changes, guarded)  # as a worker does whose driver has died
        self.refresh(added.identifier)
        raise ParameterError("The idempotency key came with another request before.", remedy="")

    monkeypatch.setattr(RemoteSession, "commit", twice)
    report = project.apply(lambda image, labels: labels + 1, layer="cells", job_type="local")
    assert report.changed == (added.identifier,)
    np.testing.assert_array_equal(labels_of(project), 1)


def test_what_is_refused(project, image, running):
    (added,) = add(project, image, 1)
    other = Project.load(project.path, username="admin", password=running.password)
    with added.lock(), pytest.raises(LockError, match="'image 0'"):
        other.apply(lambda image, labels: labels, layer="cells")
    with pytest.raises(RunnerError, match="values"):
        project.apply(lambda image, labels: labels + 7, layer="cells", job_type="local")
    assert not added.labelmap_layers["cells"].has_data()
    assert Path(running.root).exists()


def add_one(image, labels):
    return labels + 1


def add_halves(image, labels):
    return np.where(np.asarray(image) > 0, 1, labels).astype(np.uint8)


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_blocks_of_one_label_map_are_written_by_many_workers(project, image, tmp_path, job_type):
    (added,) = add(project, image, 1)
    report = project.apply(
        add_halves, layer="cells", block_shape=(10, 10, 64), halo=1, job_type=job_type, num_workers=2
    )
    assert report.changed == (added.identifier,)
    np.testing.assert_array_equal(labels_of(project)[0], np.array(image) > 0)
    assert [event.seq for event in project.events(0)] == [1, 2]
    again = project.apply(add_halves, layer="cells", block_shape=(10, 10, 64), halo=1, job_type="local")
    assert again.unchanged == (added.identifier,)

    def undone():
        with project:
            project.apply(lambda image, labels: labels * 0 + 2, layer="cells", halo=0, job_type="local")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    np.testing.assert_array_equal(labels_of(project)[0], np.array(image) > 0)
    with project:
        project.apply(lambda image, labels: labels * 0 + 2, layer="cells", halo=0, job_type="local")
        assert len(project.events(2)) == 0
    np.testing.assert_array_equal(labels_of(project)[0], 2)


def test_blocks_that_were_published_before_the_driver_died_are_not_made_again(project, image, monkeypatch):
    (added,) = add(project, image, 1)
    plain = Journal.add
    monkeypatch.setattr(Journal, "add", lambda self, identifier: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        project.apply(add_one, layer="cells", halo=0, job_type="local")
    monkeypatch.setattr(Journal, "add", plain)
    report = project.apply(add_one, layer="cells", halo=0, job_type="local")
    assert report.changed == (added.identifier,)
    np.testing.assert_array_equal(labels_of(project)[0], 1)
