"""Locks of data sets."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from bioimage_py.errors import LockError, ParameterError, StorageError
from bioimage_py.projects import LockToken, Project
from bioimage_py.projects.storage import leases, mutex

from ..server.again import places

SHAPE = (40, 40, 40)
ONES = np.ones(SHAPE, np.uint8)


def age(project: Project, token: LockToken, seconds: float) -> None:
    """Let a lock be older, as the file server sees it."""
    path = places.lease(project, token._identifier)
    status = path.stat()
    os.utime(path, (status.st_atime, status.st_mtime - seconds))


def test_another_owner_is_refused(project, again):
    mine, theirs = project.descriptors[0], again().descriptors[0]
    with theirs.lock() as token:
        assert mine.is_locked
        assert theirs.is_locked
        assert mine.locked_by.owner == theirs.locked_by.owner
        assert abs(mine.locked_by.expires - token.expires) < timedelta(seconds=1)
        assert mine.locked_by.owner.endswith(")")
        assert token.token not in repr(mine.locked_by)
        assert 290 < token.expires.timestamp() - time.time() < 310
        for write in (
            lambda: mine.labelmap_layers[0].save_new_data(ONES),
            lambda: mine.labelmap_layers[0].save_new_data(ONES, LockToken("")),
            mine.lock,
            mine.labelmap_layers[0].draft().publish,
        ):
            with pytest.raises(LockError, match=r"locked by \S+ \(.+\), expires at 20"):
                write()
        with pytest.raises(LockError, match="is not yours any more"):
            mine.labelmap_layers[0].save_new_data(ONES, LockToken("wrong"))
        assert mine.labelmap_layers[0].load() is None
        assert theirs.labelmap_layers[0].save_new_data(ONES, token)
    assert not mine.is_locked
    assert mine.locked_by is None
    assert token.token == ""
    with pytest.raises(LockError, match="holds no lock"):
        token.renew()
    with pytest.raises(LockError, match="was released"):  # whoever passes it believes to hold it
        theirs.labelmap_layers[0].save_new_data(ONES * 2, token)
    assert theirs.labelmap_layers[0].save_new_data(ONES * 0, LockToken(""))


def test_deleting_and_transactions_are_refused(project, again):
    with again().descriptors[0].lock():
        project.delete_descriptors([project.descriptors[0]])
        with pytest.raises(LockError):
            project.save()
        project.revert()
        with pytest.raises(LockError), project:  # noqa: PT012 - the commit at the end is what is tested
            layer = project.descriptors[0].labelmap_layers[0]
            draft = layer.draft()
            draft.source[...] = 1
            draft.publish()
    assert len(again().descriptors) == 1
    assert again().descriptors[0].labelmap_layers[0].load() is None


def test_tags_are_merged_not_locked(project, again):
    with again().descriptors[0].lock():
        project.descriptors[0].tags["Reviewed"].value = True
        project.save()
    assert again().descriptors[0].tags["Reviewed"].value is True


def test_an_edit_that_touches_it_is_refused(project, again):
    project.descriptors[0].labelmap_layers[0].save_new_data(ONES)
    settings = project.settings()
    settings.remove_layer(settings.layers["cells"])
    harmless = project.settings()
    harmless.tags["Stage"].name = "Phase"
    with again().descriptors[0].lock():
        assert project.edit(settings, dry_run=True).touched == {project.descriptors[0].identifier}
        with pytest.raises(LockError, match="locked by"):
            project.edit(settings)
        assert again().labelmap_layers.names == ["cells"]
        project.edit(harmless)
    assert again().tags.names == ["Reviewed", "Quality", "Phase"]


def test_the_owner_needs_no_token_for_what_it_holds(project):
    found = project.descriptors[0]
    with found.lock():
        assert found.labelmap_layers[0].save_new_data(ONES)
        project.delete_descriptors([found])
        project.save()
    assert len(project.descriptors) == 0


def test_a_token_works_in_another_process_by_its_text(project, again):
    token = project.descriptors[0].lock()
    assert again().descriptors[0].labelmap_layers[0].save_new_data(ONES, LockToken(token.token))
    token.unlock()


def test_it_expires_and_can_be_taken(project, again):
    token = project.descriptors[0].lock()
    age(project, token, 299)
    assert project.descriptors[0].is_locked
    token.renew()
    age(project, token, 299)
    assert token.is_valid
    age(project, token, 2)
    assert not project.descriptors[0].is_locked
    with pytest.raises(LockError, match="has expired"):
        token.renew()
    other = again().descriptors[0].lock()
    with pytest.raises(LockError, match="it is held by"):
        token.renew()
    token.unlock()
    assert other.is_valid


@pytest.mark.parametrize("with_token", [True, False])
def test_a_holder_that_slept_too_long_is_refused_at_the_commit(project, again, with_token):
    found = project.descriptors[0]
    token = found.lock()
    layer = found.labelmap_layers[0]
    draft = layer.draft()
    draft.source[...] = 1
    age(project, token, 301)
    with pytest.raises(LockError, match="has expired"):
        draft.publish(token if with_token else None)
    assert again().descriptors[0].labelmap_layers[0].load() is None
    again().descriptors[0].labelmap_layers[0].save_new_data(2 * ONES)
    with pytest.raises(LockError, match="has expired"):
        draft.publish(token if with_token else None)
    token.unlock()
    project.sync()
    assert np.array(layer.load()).min() == 2


def test_taking_a_lock_takes_over_what_was_saved(project, again):
    assert project.descriptors[0].labelmap_layers[0].load() is None
    again().descriptors[0].labelmap_layers[0].save_new_data(ONES)
    with project.descriptors[0].lock() as token:
        layer = project.descriptors[0].labelmap_layers[0]
        assert np.array(layer.load()).all()
        assert layer.save_new_data(2 * ONES, token)


def test_a_context_renews_it(project):
    with project.descriptors[0].lock(seconds=1.5) as token:
        time.sleep(2.5)
        assert token.is_valid
    with pytest.raises(ParameterError, match="seconds is 0"):
        project.descriptors[0].lock(seconds=0)


def take(path: str, number: int, results) -> None:
    project = Project.load(path)
    try:
        token = project.descriptors[0].lock()
    except LockError:
        results.put((number, False))
        return
    results.put((number, True))
    time.sleep(1)
    token.unlock()


def test_one_of_many_processes_gets_it(project):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=take, args=(project.path, number, results)) for number in range(3)]
    for worker in workers:
        worker.start()
    won = [results.get(timeout=60)[1] for _ in workers]
    for worker in workers:
        worker.join()
    assert won.count(True) >= 1
    assert not project.descriptors[0].is_locked


@pytest.mark.parametrize("jump", [-3600.0, -100.0, 0.0, 3600.0])
def test_a_clock_that_jumps_prolongs_no_lock(project, monkeypatch, jump):
    token, descriptor = project.descriptors[0].lock(), project.descriptors[0]
    passed, put = 0.0, 0.0
    real = leases.server_time
    monkeypatch.setattr(leases, "server_time", lambda folder: real(folder) + passed + put)
    monkeypatch.setattr(leases, "monotonic", lambda: time.monotonic() + passed)
    passed = 200.0
    assert token.is_valid
    put = jump
    assert descriptor.is_locked == (jump <= 0)
    passed = 301.0
    assert not descriptor.is_locked
    with pytest.raises(LockError, match="has expired"):
        token.renew()


def test_a_damaged_lock_names_its_file(project):
    token = project.descriptors[0].lock()
    places.lease(project, token._identifier).write_text("{")
    with pytest.raises(StorageError, match=r"is damaged[\s\S]*rm "):
        project.descriptors[0].is_locked  # noqa: B018


def test_a_stopped_process_is_waited_for_and_named(project, monkeypatch):
    monkeypatch.setattr(mutex, "WAIT_SECONDS", 0.1)
    folder = project._session.folder
    with mutex.holding(folder.locks / "mutex", [mutex.bucket(project.descriptors[0].identifier)]):
        project.descriptors[0].comments = "x"
        with pytest.raises(LockError, match="has held"):
            project.save()
    project.save()
    assert (places.root(project) / "descriptors").exists()


def test_who_waits_at_another_process_is_the_next_one(tmp_path):
    """Threads of one process do not take turns for ever while others wait: only who is the next may lock."""
    with mutex.holding(tmp_path, ["a"]):
        pass
    with open(tmp_path / "a.next", "r+b") as other:  # as another process that waits
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LockError, match="a for 0 s"), mutex.holding(tmp_path, ["a"], 0.05):
            pass
    began = threading.Event()

    def wait():
        began.set()
        with mutex.holding(tmp_path, ["a"]):
            pass

    with open(tmp_path / "a", "r+b") as other, ThreadPoolExecutor(1) as pool:  # as another process that has it
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = pool.submit(wait)
        began.wait()
        while is_free(tmp_path / "a.next"):
            assert not waiting.done()
        fcntl.flock(other, fcntl.LOCK_UN)
        waiting.result()
    assert is_free(tmp_path / "a.next")
    assert is_free(tmp_path / "a")


def is_free(path):
    with open(path, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.parametrize("gives_up", [None, 2, 5])
def test_threads_get_a_mutex_in_the_order_in_which_they_came(tmp_path, gives_up):
    found, turns = [], mutex._Turns()
    assert turns.acquire(1)

    def wait(n):
        if turns.acquire(0 if n == gives_up else 60):
            found.append(n)
            turns.release()

    with ThreadPoolExecutor(6) as pool:
        for n in range(6):
            one = pool.submit(wait, n)
            while len(turns._waiting) < n + 1 - (gives_up is not None and n > gives_up) and not one.done():
                pass
        assert found == []
        turns.release()
    assert found == [n for n in range(6) if n != gives_up]
    assert turns.acquire(0)


def test_a_waiting_thread_that_is_interrupted_keeps_nobody_waiting(monkeypatch):
    class Interrupted:
        def acquire(self, timeout=None):
            if timeout is not None:
                turns.release()  # who has it gives it to this one, just then
                raise KeyboardInterrupt

        def release(self):
            pass

    turns = mutex._Turns()
    assert turns.acquire(1)
    monkeypatch.setattr(mutex, "threading", SimpleNamespace(Lock=Interrupted))  # of no other module
    with pytest.raises(KeyboardInterrupt):
        turns.acquire(1)
    assert turns.acquire(0)
