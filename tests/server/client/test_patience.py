"""How long a client waits for a server that is away, works for long, or says when; and which versions go together."""

from __future__ import annotations

import re
from types import SimpleNamespace

import httpx
import pytest

from bioimage_py.errors import FormatError, StorageError
from bioimage_py.projects.remote import connection as remote
from bioimage_py.projects.remote import patience, problems
from bioimage_py.projects.remote.connection import Connection


@pytest.mark.parametrize(
    ("server", "api", "which"),
    [
        ("0.7.1", 1, ""),
        ("0.5.0", 1, ""),
        ("0.9.0.dev4+g12", 1, ""),
        ("0.4.9", 1, "the server"),
        ("0.10.0", 1, "the client"),
        ("1.7.1", 1, "the client"),
        ("0.7.1", 2, "the client"),
        ("9.7.1", 0, "the server"),
    ],
)
def test_two_minor_versions_go_together(monkeypatch, server, api, which):
    monkeypatch.setattr(problems, "__version__", "0.7.0")
    answer = httpx.Response(200, json={"server": server, "api": api})
    if not which:
        problems.check_version("https://labels", answer)
        return
    with pytest.raises(FormatError, match=f"{re.escape(server)} .*0.7.0") as error:
        problems.check_version("https://labels", answer)
    assert error.value.remedy == f"update {which}"


@pytest.mark.parametrize("server", ["", "latest", "1", "-1.2", "1" * 5000 + ".0", None, ["0.7.0"]])
def test_what_is_no_version(server):
    with pytest.raises(StorageError, match="no server of label projects"):
        problems.check_version("https://labels", httpx.Response(200, json={"server": server, "api": 1}))


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by what is waited for, and by hand."""
    now = SimpleNamespace(time=0.0)

    def sleep(seconds):
        now.time += seconds

    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: now.time, sleep=sleep))
    return now


@pytest.fixture
def connection(clock, monkeypatch):
    """A client of a server that answers `answers`, in their order: a status, or an error after so many seconds."""
    found = Connection.__new__(Connection)
    found._httpx, found.url, found.answers, found.asked = httpx, "https://labels", [], 0
    monkeypatch.setattr(Connection, "access_token", lambda self: "t")

    def once(self, method, path, token, **how):
        self.asked += 1
        what, seconds = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        clock.time += seconds
        if isinstance(what, int):
            return httpx.Response(what, json={"type": "x", "detail": "d"})
        raise lost() from what

    lost = remote._Lost
    monkeypatch.setattr(Connection, "_once", once)
    return found


LATE, AWAY = httpx.ReadTimeout("late"), httpx.ConnectError("away")


def test_what_takes_long_is_waited_for_only_where_it_may(connection, clock):
    connection.answers = [(LATE, 60.0), (504, 60.0), (LATE, 60.0), (LATE, 60.0), (200, 10.0)]
    assert connection._answer("POST", "/prune", slow=True).status_code == 200
    connection.answers = [(LATE, 60.0)] * 2 + [(200, 1.0)]
    with pytest.raises(StorageError, match="does not answer"):
        connection._answer("GET", "/document")
    connection.answers = [(LATE, 60.0)]
    begun = clock.time
    with pytest.raises(StorageError, match="does not answer"):
        connection._answer("POST", "/prune", slow=True)
    assert 3600 < clock.time - begun < 3900


def test_a_server_that_is_away_is_not_waited_for_as_one_that_works(connection, clock):
    connection.answers = [(AWAY, 1.0)]
    for slow in (False, True):
        begun = clock.time
        with pytest.raises(StorageError, match="does not answer"):
            connection._answer("POST", "/prune", slow=slow)
        assert 60 < clock.time - begun < 75
    connection.answers, connection.asked = [(LATE, 60.0)], 0
    with pytest.raises(StorageError, match="what was sent may have arrived"):
        connection._answer("POST", "/lock", again=False, slow=True)
    assert connection.asked == 1


def test_an_answer_that_says_to_wait_is_followed_five_times(connection):
    connection.answers, connection.asked = [(503, 0.0)], 0
    with pytest.raises(StorageError):
        connection._answer("GET", "/document")
    assert connection.asked == 6


@pytest.mark.parametrize(
    ("why", "remedy"),
    [("self-signed certificate", "ca="), ("Hostname mismatch", "name"), ("certificate has expired", "clock")],
)
def test_what_helps_against_a_wrong_certificate(why, remedy):
    error = problems.not_trusted("https://labels", why)
    assert why in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize("pair", [{}, [], None, {"seconds": "x", "access": "a", "refresh": "b"}, {"seconds": 9}])
def test_what_gives_no_tokens_is_no_server(pair):
    connection = Connection.__new__(Connection)
    connection.url = "https://labels"
    with pytest.raises(StorageError, match="no server of label projects"):
        connection._take(pair)
