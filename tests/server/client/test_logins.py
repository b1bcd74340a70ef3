"""Logins that are kept, tokens, members, lists and watching; and what is refused, as who types it sees it."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import re
import ssl
import stat
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import bioimage_py as bp
from bioimage_py import __version__
from bioimage_py.errors import (
    AccessError,
    BioimageError,
    ConflictError,
    FormatError,
    KeyNotFoundError,
    LockError,
    ParameterError,
    StorageError,
)
from bioimage_py.projects import Project, login, logout, tokens
from bioimage_py.projects.remote import logins, saved
from bioimage_py.projects.remote.connection import TOKEN_VARIABLE, Connection
from bioimage_py.projects.storage.folder import new_stamp

from ..conftest import PASSWORD, make_settings
from ..starting import Running

SHAPE = (70, 20, 20)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    found = Running(tmp_path_factory.mktemp("server") / "site")
    with found.client() as admin:
        for name in ("alice", "bob", "gone"):
            assert admin.post("/users", json={"username": name, "password": PASSWORD}).status_code == 201
        users = {one["name"]: one["id"] for one in admin.get("/users").json()}
        assert admin.patch(f"/users/{users['gone']}", json={"disabled": True}).status_code == 200
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("BIOIMAGE_PY_CONFIG", raising=False)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    return tmp_path / "config" / "bioimage-py" / "logins.json"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.zarr"
    bp.copy(np.zeros(SHAPE, np.uint8), f"{path}/raw")
    return bp.open_source(path, "raw")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of 127.0.0.1, signed by itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "labels")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def project(running):
    return Project.create(make_settings(new_stamp()), running.url, "alice", PASSWORD)


def test_who_has_logged_in_needs_no_password(running, project, home, monkeypatch):
    monkeypatch.setattr("getpass.getpass", lambda prompt: PASSWORD)
    login(running.url, "alice")
    assert Project.load(running.url, project.id).id == project.id
    assert Project.load(project.path, username="alice").name == project.name
    listed = {one.id: one for one in Project.list(running.url)}
    found = listed[project.id]
    assert (found.name, found.role, found.descriptors) == (project.name, "owner", 0)
    assert abs(datetime.datetime.now(datetime.UTC) - found.changed) < datetime.timedelta(hours=1)
    with pytest.raises(AccessError, match="'bob'"):
        Project.load(project.path, username="bob")
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.parent.stat().st_mode) & 0o077 == 0
    assert PASSWORD not in home.read_text()
    logout(running.url + "/")
    assert json.loads(home.read_text()) == {}
    with pytest.raises(AccessError, match="takes a user") as error:
        Project.list(running.url)
    assert f"login({running.url!r}" in error.value.remedy
    logout(running.url)


def test_programs_that_share_a_login_take_turns(running):
    login(running.url, "alice", PASSWORD)
    first, second = Connection(running.url), Connection(running.url)
    for connection in (first, second, first, second):
        connection.refresh_access_token()
    with_old = saved.read(running.url)
    threads = [threading.Thread(target=connection.refresh_access_token) for connection in (first, second) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert saved.read(running.url) != with_old
    assert {connection.get("/users/me")["name"] for connection in (first, second)} == {"alice"}
    logout(running.url)
    with pytest.raises(AccessError, match="ended") as error:
        first.refresh_access_token()
    assert "login(" in error.value.remedy


def test_a_login_that_the_server_has_ended_is_forgotten(running, home):
    login(running.url, "alice", PASSWORD)
    kept = saved.read(running.url)
    connection = Connection(running.url)
    connection.log_out()
    with saved.alone():
        saved.write(running.url, kept)
    with pytest.raises(AccessError) as error:
        Project.list(running.url)
    assert "login(" in error.value.remedy
    assert kept.refresh not in repr(kept) + str(error.value)
    logout(running.url)
    assert saved.read(running.url) is None
    home.write_text("[1]")
    with pytest.raises(FormatError, match=str(home)):
        Project.list(running.url)


def test_the_keyring_of_the_system_is_used_where_there_is_one(running, home, monkeypatch):
    class Problem(Exception):
        pass

    kept = {}
    ring = SimpleNamespace(
        get_keyring=lambda: SimpleNamespace(priority=5),
        get_password=lambda service, name: kept.get((service, name)),
        set_password=lambda service, name, text: kept.update({(service, name): text}),
        delete_password=lambda service, name: kept.pop((service, name)),
        errors=SimpleNamespace(KeyringError=Problem),
    )
    monkeypatch.setitem(sys.modules, "keyring", ring)
    login(running.url, "alice", PASSWORD)
    assert [name for _, name in kept] == [running.url]
    assert not home.exists()
    assert Connection(running.url).user == "alice"
    logout(running.url)
    assert kept == {}

    def locked(service, name):
        raise Problem("locked")

    ring.get_password = locked
    with pytest.raises(StorageError, match="keyring") as error:
        Project.list(running.url)
    assert "PYTHON_KEYRING_BACKEND" in error.value.remedy
    ring.get_keyring = lambda: SimpleNamespace(priority=0)  # installed, but nothing on this system
    login(running.url, "alice", PASSWORD)
    assert home.exists()
    logout(running.url)


def test_tokens_are_made_listed_and_revoked(running, project):
    with pytest.raises(AccessError, match="Nobody has logged in"):
        tokens(running.url)
    login(running.url, "alice", PASSWORD)
    mine = tokens(running.url)
    made = mine.make("cluster", "annotate", days=3, projects=[project.id])
    (found,) = [one for one in mine if one.name == "cluster"]
    assert (found.scope, found.projects, found.used) == ("annotate", (project.id,), None)
    assert found.expires - found.created == datetime.timedelta(days=3)
    assert made not in repr(found) + repr(mine)
    assert Project.load(project.path, token=made).id == project.id
    with pytest.raises(ParameterError, match="days"):
        mine.make("long", days=1000)
    mine.revoke(found.id)
    with pytest.raises(AccessError):
        Project.load(project.path, token=made)
    mine.revoke(found.id)  # as where the answer was lost
    with pytest.raises(KeyNotFoundError):
        mine.revoke("0" * 16)
    logout(running.url)


def test_members(running, project, tmp_path):
    assert project.members == {"alice": "owner"}
    with pytest.raises(KeyNotFoundError, match="no project"):
        Project.load(project.path, username="bob", password=PASSWORD)
    project.add_member("bob", "viewer")
    theirs = Project.load(project.path, username="bob", password=PASSWORD)
    assert theirs.members == {"alice": "owner", "bob": "viewer"}
    for change in (lambda: theirs.add_member("admin"), lambda: theirs.remove_member("alice")):
        with pytest.raises(AccessError, match="maintainer"):
            change()
    project.add_member("bob", "maintainer")
    with pytest.raises(AccessError, match=r"[Oo]wner"):
        theirs.remove_member("alice")
    with pytest.raises(KeyNotFoundError, match="nobody"):
        project.add_member("nobody")
    with pytest.raises(ParameterError, match="role"):
        project.add_member("bob", "king")
    with pytest.raises(ConflictError, match="owner"):
        project.remove_member("alice")
    project.remove_member("bob")
    with pytest.raises(KeyNotFoundError):
        theirs.sync()
    local = Project.create(make_settings(), tmp_path / "local")
    for ask in (lambda: local.members, lambda: local.add_member("bob"), lambda: local.watch(print)):
        with pytest.raises(ParameterError, match="folder"):
            ask()


def test_watching_tells_each_event_once(project, image):
    seen, arrived = [], threading.Event()

    def note(event):
        seen.append((event.seq, event.user))
        if len(seen) == 3:
            arrived.set()

    other = Project.load(project.path, username="alice", password=PASSWORD)
    with other.watch(note) as watch:
        for number in range(3):
            project.add_descriptor(image, f"image {number}")
            project.save()
        assert arrived.wait(60)
        assert watch.is_alive
    assert seen == [(1, "alice"), (2, "alice"), (3, "alice")]
    assert not watch.is_alive
    assert other.sync() == 3


def test_a_callback_that_fails_ends_the_watching(project, image):
    def fail(event):
        raise ZeroDivisionError(event.seq)

    def watched():
        with project.watch(fail) as watch:
            project.add_descriptor(image, "image")
            project.save()
            watch.join(60)
            assert not watch.is_alive

    with pytest.raises(ZeroDivisionError, match="1"):
        watched()


@pytest.mark.parametrize("where", ["{0}/api/v1", "{0}/projects/1", "{0}/projects"])
def test_what_is_no_base_url(running, where):
    for ask in (
        lambda url: Project.create(make_settings(), url, "alice", PASSWORD),
        lambda url: Project.list(url, "alice", PASSWORD),
        lambda url: login(url, "alice", PASSWORD),
    ):
        with pytest.raises(ParameterError, match="server's base URL") as error:
            ask(where.format(running.url))
        assert error.value.remedy.endswith(running.url)


def test_a_wrong_password_and_a_disabled_user_are_told_alike(running):
    told = []
    for name, password in (("bob", "wrong password"), ("gone", PASSWORD), ("stranger", PASSWORD)):
        with pytest.raises(AccessError) as error:
            login(running.url, name, password)
        told.append(error.value.message)
    assert len(set(told)) == 1


def test_what_is_unknown_taken_or_not_encrypted(running, project, monkeypatch):
    with pytest.raises(KeyNotFoundError, match="nothing") as error:
        Project.load(running.url, "nothing", "alice", PASSWORD)
    assert project.id in error.value.remedy
    with pytest.raises(ConflictError, match=project.name):
        Project.create(make_settings(project.name), running.url, "alice", PASSWORD)
    for ask in (
        lambda **more: Project.load("http://192.0.2.1/projects/1", username="a", password="b", **more),
        lambda **more: Project.create(make_settings(), "http://192.0.2.1", "a", "b", **more),
        lambda **more: login("http://192.0.2.1", "a", "b", **more),
    ):
        with pytest.raises(ParameterError, match="not encrypted") as error:
            ask()
        assert "https" in error.value.remedy
        assert "insecure=True" in error.value.remedy
    asked = []
    monkeypatch.setattr(Connection, "_check_version", lambda self: asked.append(self.url))
    monkeypatch.setattr(Connection, "_come_in", lambda *args: (_ for _ in ()).throw(AccessError("as far as here")))
    with pytest.raises(AccessError, match="as far as here"):
        login("http://192.0.2.1", "a", "b", insecure=True)
    assert asked == ["http://192.0.2.1"]


@contextmanager
def answering(answer, context=None):
    """A server that gives one answer to all that is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *args: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize(("api", "which"), [(0, "the server"), (2, "the client")])
def test_a_server_of_another_version(api, which):
    with answering({"server": "9.8.7", "api": api, "schema_version": "1"}) as url:
        with pytest.raises(FormatError, match=r"9\.8\.7") as error:
            Project.load(url, "1", "alice", PASSWORD)
        assert __version__ in error.value.message
        assert error.value.remedy == f"update {which}"


def test_what_is_no_server_of_label_projects():
    with answering(["hello"]) as url, pytest.raises(StorageError, match="no server") as error:
        Project.load(url, "1", "alice", PASSWORD)
    assert url in error.value.message


def test_a_certificate_that_nobody_trusts(certificate):
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with answering({"server": "9.8.7", "api": 2, "schema_version": "1"}, context) as url:
        with pytest.raises(StorageError, match="certificate of https://127") as error:
            Project.load(url, "1", "alice", PASSWORD)
        assert "ca=" in error.value.remedy
        with pytest.raises(FormatError, match=r"9\.8\.7"):  # so it was asked
            Project.load(url, "1", "alice", PASSWORD, ca=str(cert))


def test_locks_and_label_maps_that_do_not_fit(project, image):
    first, second = (project.add_descriptor(image, name) for name in ("first", "second"))
    project.save()
    layer = first.labelmap_layers["cells"]
    labels = np.ones(SHAPE, np.uint8)
    for seconds in (0, -1, 1e6, float("nan")):
        with pytest.raises(ParameterError, match="seconds") as error:
            first.lock(seconds)
        assert error.value.remedy == "1 to 3600"
    with second.lock() as token, pytest.raises(LockError, match=f"is that of the descriptor {second.identifier}"):
        layer.save_new_data(labels, token)
    token = first.lock()
    proof = token.token
    token.unlock()
    released = type(token)(proof)
    with pytest.raises(LockError, match="released"):
        layer.save_new_data(labels, released)
    with first.lock(), pytest.raises(LockError, match="held by alice"):
        layer.save_new_data(labels, released)
    for wrong in (labels[1:], labels[0], labels.astype(float)):
        with pytest.raises(BioimageError, match=r"shape|integers"):
            layer.save_new_data(wrong)
    assert not layer.has_data()


def test_chunks_that_arrive_damaged_are_sent_again_once(project, image, monkeypatch):
    layer = project.add_descriptor(image, "first").labelmap_layers["cells"]
    project.save()
    plain, damaged = Connection._once, []

    def once(self, method, path, token, **how):
        if path.endswith("/chunks") and len(damaged) < times:
            damaged.append(path)
            how["content"] = b"\7" + how["content"][1:]
        return plain(self, method, path, token, **how)

    monkeypatch.setattr(Connection, "_once", once)
    times = 1
    assert layer.save_new_data(np.ones(SHAPE, np.uint8))
    assert len(damaged) == 1
    np.testing.assert_array_equal(np.array(layer.load()), 1)
    times = 9
    with pytest.raises(StorageError, match="chunk 0/c/0/0/0"):
        layer.save_new_data(np.full(SHAPE, 2, np.uint8))
    np.testing.assert_array_equal(np.array(layer.load()), 1)


def test_a_browser_lets_a_program_in(running, home, monkeypatch):
    """Whoever sits there signs in by whatever way; the program gets no password."""
    shown = []

    def somebody(address, words):
        shown.append((address, words))
        cookie = ""
        for path, form in (
            ("/sign-in", {"username": "alice", "password": PASSWORD, "next": "/"}),
            (f"/device?code={words}", {"code": words, "what": "let in"}),
        ):
            page = httpx.get(running.url + path, headers={"Cookie": cookie})
            # httpx keeps secure cookies from addresses that browsers trust to itself: they are sent by hand
            cookie = page.headers.get("set-cookie", cookie).partition(";")[0]
            data = {**form, "mark": re.search(r'name="mark" value="(\w+)"', page.text)[1]}
            answer = httpx.post(running.url + path.partition("?")[0], data=data, headers={"Cookie": cookie})
            cookie = answer.headers.get("set-cookie", cookie).partition(";")[0]
        assert "It is in" in answer.text

    monkeypatch.setattr(logins, "_tell", somebody)
    monkeypatch.setattr("bioimage_py.projects.remote.connection.time.sleep", lambda seconds: None)
    login(running.url)
    assert shown[0][0] == f"{running.url}/device"
    assert json.loads(home.read_text())[running.url]["user"] == "alice"
    assert Project.create(make_settings(new_stamp()), running.url).id in [one.id for one in Project.list(running.url)]
    logout(running.url)
