"""A client and a server in processes of their own: tokens that end, answers that get lost, servers that are killed."""

from __future__ import annotations

import http.server
import os
import pickle
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bioimage_py.errors import (
    AccessError,
    ConflictError,
    KeyNotFoundError,
    ParameterError,
    StorageError,
)
from bioimage_py.projects import Project
from bioimage_py.projects.remote.address import project_address, server_address
from bioimage_py.projects.remote.connection import TOKEN_VARIABLE, Connection
from bioimage_py.projects.remote.store import Store
from bioimage_py.projects.storage.folder import Change, new_stamp

from ..conftest import make_settings
from ..starting import Running

SHAPE = (70, 70, 70)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    found = Running(tmp_path_factory.mktemp("server") / "site", "--access-seconds", "2")
    yield found
    found.stop()


@pytest.fixture
def connection(running):
    found = Connection(running.url, "admin", running.password)
    yield found
    found.close()


@pytest.fixture
def store(connection):
    return Store.create(connection, make_settings(new_stamp()).with_ids().to_document())


def beside(running, store):
    """The project's folder on the server, with a data set."""
    project = Project.load(running.root / "projects" / store.id)
    if not len(project.descriptors):
        project.add_descriptor(np.zeros(SHAPE, np.uint8), "first")
        project.save()
    return project


def stored_labels(running, store):
    return np.array(beside(running, store).descriptors[0].labelmap_layers["cells"].load())


def comment(store, identifier, text):
    base = store.read(identifier)
    return Change(identifier, base, {**base, "comments": text})


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://host/api/v1", "https://host"),
        ("https://host/projects/1", "https://host"),
        ("https://host/labels/projects", "https://host/labels"),
        ("https://host/?x=1", "https://host"),
        ("http://host", "https"),
        ("https://user:hidden@host", "username"),
        ("ftp://host", "https://host"),
        ("host", "https://host"),
    ],
)
def test_urls_that_are_refused_say_what_to_give(url, told):
    with pytest.raises(ParameterError) as error:
        server_address(url)
    assert told in error.value.remedy
    assert "hidden" not in str(error.value)


def test_urls_of_servers_and_projects():
    assert server_address("http://127.0.0.1:8123/") == "http://127.0.0.1:8123"
    assert server_address("http://host", insecure=True) == "http://host"
    assert server_address("https://host/labels/") == "https://host/labels"
    assert project_address("https://host/labels/projects/p-1", None) == ("https://host/labels", "p-1")
    assert project_address("https://host", "p-1") == ("https://host", "p-1")
    for project in (None, ""):
        with pytest.raises(ParameterError, match="named"):
            project_address("https://host", project)
    with pytest.raises(ParameterError, match="p-1"):
        project_address("https://host/projects/p-1", "p-2")


def test_who_may_not_come_in(running, monkeypatch):
    with pytest.raises(AccessError) as error:
        Connection(running.url, "admin", "wrong password")
    assert "wrong password" not in str(error.value)
    with pytest.raises(AccessError):
        Connection(running.url, token="bip_x")
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(AccessError, match="user"):
        Connection(running.url)


def test_what_is_no_server_of_label_projects(web_server, monkeypatch):
    monkeypatch.setattr("bioimage_py.projects.remote.connection._AT_FIRST", 0.0)
    with pytest.raises(StorageError, match="404"):
        Connection(web_server.url, "a", "b")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(StorageError, match="does not answer"):
            Connection(f"http://127.0.0.1:{free.getsockname()[1]}", "a", "b")


def test_a_redirect_does_not_take_credentials_elsewhere():
    seen = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(307)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/taken")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(StorageError, match="307"):
            Connection(f"http://127.0.0.1:{server.server_port}", token="bip_hidden")
        server.shutdown()
    assert seen == ["/api/v1/version"]


def test_secrets_are_not_shown(connection, running):
    assert "bia_" not in repr(connection) + repr(vars(connection)) + str(connection._tokens)
    assert running.password not in repr(vars(connection))
    with pytest.raises(ParameterError, match=TOKEN_VARIABLE):
        pickle.dumps(connection)


def test_tokens_are_renewed_by_themselves_once_for_all_threads(running, connection):
    before = running.log().count('"/auth/refresh"')
    over = time.monotonic() + 6

    def ask(_):
        count = 0
        while time.monotonic() < over:
            assert connection.get("/users/me")["name"] == "admin"
            count += 1
            time.sleep(0.05)
        return count

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(ask, range(8))) > 0
    renewals = running.log().count('"/auth/refresh"') - before
    assert 1 <= renewals <= 16


def test_a_token_that_was_refused_is_renewed(connection):
    connection._tokens.access = "bia_" + "x" * 43
    assert connection.get("/users/me")["name"] == "admin"
    connection.refresh_access_token()
    assert connection.get("/users/me")["name"] == "admin"


def test_a_login_that_has_ended_says_so(running):
    connection = Connection(running.url, "admin", running.password)
    other = Connection(running.url, "admin", running.password)
    stolen = connection._tokens.refresh
    other._tokens.refresh = stolen
    connection.refresh_access_token()
    with pytest.raises(AccessError):
        other.refresh_access_token()
    with pytest.raises(AccessError, match="has ended"):
        connection.get("/users/me")


def test_a_forked_child_has_connections_of_its_own(connection):
    opened = connection._opened()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            mine = connection.get("/users/me")["name"] == "admin" and connection._opened() is not opened
            code = 0 if mine else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert connection.get("/users/me")["name"] == "admin"
    assert connection._opened() is opened


def test_documents_are_merged_and_conflicts_name_both_values(running, store):
    identifier = beside(running, store).descriptors[0].identifier
    mine, theirs = comment(store, identifier, "mine"), comment(store, identifier, "theirs")
    scaled = Change(identifier, mine.base, {**mine.base, "scale": 2.0})
    seq = store.commit([mine]).seq
    done = store.commit([scaled])
    assert done.seq == seq + 1
    assert (done.documents[identifier]["comments"], done.documents[identifier]["scale"]) == ("mine", 2.0)
    with pytest.raises(ConflictError, match="theirs") as error:
        store.commit([theirs])
    assert error.value.field == f"descriptors.{identifier}.comments"
    assert '"mine"' in error.value.message
    with pytest.raises(ConflictError):
        store.commit([Change(identifier, mine.base, None)])  # it was read before the others changed it
    assert [event.user for event in store.events(seq - 1)] == ["admin", "admin"]
    assert [row["name"] for row in store.descriptors(name="f*")] == ["first"]
    store.commit([Change(identifier, done.documents[identifier], None)])
    with pytest.raises(KeyNotFoundError):
        store.read(identifier)


def test_a_token_for_reading_reads_and_nothing_else(running, store, monkeypatch):
    identifier = beside(running, store).descriptors[0].identifier
    token = store.connection.send("POST", "/auth/tokens", {"name": "cluster", "scope": "read"})["token"]
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    assert Connection(running.url).user == "admin"  # by the token in the environment
    with pytest.raises(AccessError, match="read"):
        Store(Connection(running.url, token=token), store.id).commit([comment(store, identifier, "x")])


def test_tables_go_and_come(running, store):
    project = beside(running, store)
    identifier, layer = project.descriptors[0].identifier, project.boundingbox_layers["boxes"].id
    header = "type,frame," + ",".join(f"{corner}_{axis}" for corner in ("low", "high") for axis in "xyz")
    record = store.put_table(identifier, layer, header + "\n")
    assert record.units == 0
    assert store.table(identifier, layer, record.version).split() == [header]


class Losing:
    """A proxy that takes answers to commits away: the server has them, and the client's connection is cut."""

    def __init__(self, port: int, pattern: bytes) -> None:
        self.lost, self._port, self._pattern = 0, port, pattern
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            while head := self._message(client):
                server.sendall(head)
                answer = self._message(server)
                if re.search(self._pattern, head.partition(b"\r\n")[0]) and self.lost < 3:
                    self.lost += 1
                    return
                client.sendall(answer)

    def _message(self, sender: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            part = sender.recv(65536)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while len(body) < int(length[1] if length else 0):
            body += sender.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self._server.close()


def test_a_renewal_whose_answer_is_lost_does_not_end_the_login(running):
    losing = Losing(running.port, rb"/auth/refresh")
    client = Connection(losing.url, "admin", running.password)
    client.refresh_access_token()
    assert losing.lost == 3
    assert client.get("/users/me")["name"] == "admin"
    losing.close()


def test_a_server_that_is_killed_while_several_write_has_everything_once(tmp_path):
    running, over, written = Running(tmp_path / "site"), threading.Event(), {0: [], 1: [], 2: []}
    try:
        first = Connection(running.url, "admin", running.password)
        store = Store.create(first, make_settings().with_ids().to_document())
        connections = [Connection(running.url, "admin", running.password) for _ in written]

        def write(number):
            mine, count = Store(connections[number], store.id), 0
            while not over.is_set():
                base = mine.read("project")
                state = {**base["configuration"], f"writer {number}": count + 1}
                mine.commit([Change("project", base, {**base, "configuration": state})])
                count += 1
                written[number].append(count)

        with ThreadPoolExecutor(3) as pool:
            ends = [pool.submit(write, number) for number in written]
            for _ in range(3):
                goal = [len(done) + 2 for done in written.values()]
                while any(len(done) < least for done, least in zip(written.values(), goal, strict=True)):
                    assert not any(end.done() for end in ends), [end.exception() for end in ends if end.done()]
                    time.sleep(0.05)
                running.kill()
                running.start()
            over.set()
            for end in ends:
                end.result()
        events = store.events(0)
        total = sum(len(done) for done in written.values())
        assert [event.seq for event in events] == list(range(1, total + 1))
        found = store.read("project")["configuration"]
        assert found == {f"writer {number}": len(done) for number, done in written.items()}
    finally:
        over.set()
        running.stop()
