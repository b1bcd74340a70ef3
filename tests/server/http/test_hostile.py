"""What strangers send: paths, huge and strange JSON, bombs, stolen tokens. All of it is refused, and told nothing."""

from __future__ import annotations

import gzip
import json
import logging
from itertools import repeat

import pytest

from bioimage_py.projects import Project
from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.server.http import guard

from ..conftest import PASSWORD, Raw

PATHS = ("..", "../../etc/passwd", "%2e%2e", "%2e%2e%2f%2e%2e%2fserver.db", "..%2f..", "%00", "a%00b", "/etc/passwd")
PATHS += (
    "....//",
    "%5c..%5c",
    ".draft-x",
    ".gitignore",
    "x" * 300,
    "é",
    "%ff",
    "con|",
    "'; DROP TABLE users; --",
    "%252e",
)


def refused(answer):
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    return answer


def test_no_id_leads_out_of_a_project(demo):
    for path in PATHS:
        check_path(demo, path)


def check_path(demo, path):
    headers = {"Authorization": demo.web["owner"].headers["Authorization"]}
    path = path.encode().decode("latin-1")  # as it comes over the wire
    urls = [
        ("GET", f"/projects/{path}"),
        ("GET", f"/projects/{path}/documents/project"),
        ("GET", f"{demo.path}/documents/{path}"),
        ("GET", f"{demo.path}/descriptors/{path}/lock"),
        ("GET", f"{demo.data}/layers/{path}/versions/x/zarr.json"),
        ("GET", f"{demo.cells}/versions/{path}/zarr.json"),
        ("GET", f"{demo.cells}/versions/x/{path}"),
        ("GET", f"{demo.cells}/versions/x/0/{path}"),
        ("POST", f"{demo.cells}/drafts/{path}/seal"),
        ("POST", f"{demo.data}/layers/{path}/tables"),
        ("POST", f"{demo.data}/{path}/lock"),
        ("PUT", f"{demo.cells}/drafts/{path}/0/c/0/0/0"),
        ("GET", f"{demo.cells}/drafts/{path}/0/zarr.json"),
        ("DELETE", f"{demo.cells}/drafts/{path}"),
        ("DELETE", f"/projects/{path}"),
        ("DELETE", f"{demo.path}/members/{path}"),
    ]
    for method, url in urls:
        answer = Raw(demo.web.app, method, f"/api/v1{url}", headers)
        assert answer.status_code in (404, 405, 422), (method, url, answer.status_code)
        assert b"root:" not in answer.content
    assert Project.load(demo.folder.root).descriptors.identifiers == [demo.descriptor]


def test_no_name_in_a_body_leads_out_of_a_project(demo):
    owner = demo.web["owner"]
    for name in ("../x", "events/000000000001", "a/b", "", ".x", "x" * 101, "\0", "project\n"):
        for change in (
            {"remove": True},
            {"document": demo.new_document(name)},
            {"fields": [{"path": ["a"], "new": 1}]},
        ):
            refused(owner.post(f"{demo.path}/commit", json={"changes": [{"name": name, **change}]}))
    for version in ("../../../descriptors", "/etc", "..", "a" * 300):
        field = {"path": ["layers", demo.layers["cells"]], "new": {"version": version, "units": 1, "dtype": "uint8"}}
        refused(owner.post(f"{demo.path}/commit", json={"changes": [{"name": demo.descriptor, "fields": [field]}]}))
    for layer in ("../x", "space.root", "nothing"):
        field = {"path": ["layers", layer], "new": {"version": new_stamp(), "units": 1, "dtype": "uint8"}}
        refused(owner.post(f"{demo.path}/commit", json={"changes": [{"name": demo.descriptor, "fields": [field]}]}))
    assert Project.load(demo.folder.root).descriptors.identifiers == [demo.descriptor]


def test_a_link_in_a_project_is_not_followed_out_of_it(demo):
    owner = demo.web["owner"]
    draft = owner.post(f"{demo.cells}/drafts", json={}).json()["id"]
    owner.post(f"{demo.cells}/drafts/{draft}/seal")
    folder = demo.folder.annotations(demo.descriptor, demo.layers["cells"]) / f"{draft}.zarr"
    (folder / "link").symlink_to(demo.web.site.root / "server.db")
    answer = refused(owner.get(f"{demo.cells}/versions/{draft}/link"))
    assert b"SQLite" not in answer.content


STRANGE = (
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"changes": ' + "[" * 500 + "]" * 500 + "}",
    "1" * 10_000,
    '{"changes": 1e999}',
    '{"changes": NaN}',
    "{",
    "",
    "null",
    '"\\ud800"',
    '{"\\ud800": 1}',
    '{"changes": [{"name": "\\ud800"}]}',
    "\0",
    '{"changes": [], "changes": []}',
)


@pytest.mark.parametrize("numbers", [range(0, len(STRANGE), 2), range(1, len(STRANGE), 2)])
def test_strange_json_is_refused(demo, numbers):
    for number in numbers:
        check_strange(demo, number)


def check_strange(demo, number):
    for client, path in ((demo.web["owner"], f"{demo.path}/commit"), (demo.web.nobody, "/auth/login")):
        answer = refused(
            client.post(path, content=STRANGE[number].encode(), headers={"Content-Type": "application/json"})
        )
        assert answer.headers["content-type"] == "application/problem+json"
    refused(
        demo.web["owner"].post(f"{demo.path}/commit", content=b"\xff\xfe", headers={"Content-Type": "application/json"})
    )


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


VALUES = {
    "nested": nested(200),
    "many digits": 10**400,
    "not 64 bits": 2**64,
    "half a character": "\ud800",
    "half a character as key": {"\ud800": 1},
}


def test_values_that_cannot_be_stored_are_refused(demo):
    for name in VALUES:
        check_value(demo, name)


def check_value(demo, name):
    text = json.dumps(
        {"changes": [{"name": "project", "fields": [{"path": ["configuration", "x"], "new": VALUES[name]}]}]}
    )
    headers = {"Content-Type": "application/json"}
    refused(demo.web["owner"].post(f"{demo.path}/commit", content=text, headers=headers))
    for special in ("NaN", "Infinity", "-Infinity", "1e999"):
        odd = '{"changes": [{"name": "project", "fields": [{"path": ["configuration", "x"], "new": 1}]}]}'
        odd = odd.replace("1", special)
        refused(demo.web["owner"].post(f"{demo.path}/commit", content=odd, headers=headers))
    assert demo.document("project")["configuration"] == {}


def test_large_bodies_are_refused_before_they_are_held(demo):
    big = b'{"x": "' + b"x" * (guard.JSON_BYTES + 1) + b'"}'
    headers = {"Content-Type": "application/json"}
    assert demo.web["owner"].post(f"{demo.path}/commit", content=big, headers=headers).status_code == 413
    small = b'{"x": "' + b"x" * (guard.UNKNOWN_BYTES + 1) + b'"}'
    assert demo.web.nobody.post("/auth/login", content=small, headers=headers).status_code == 413

    owner = {"Authorization": demo.web["owner"].headers["Authorization"], "Content-Type": "application/json"}
    endless = Raw(demo.web.app, "POST", f"/api/v1{demo.path}/commit", owner, repeat(b"[" * 65536))
    assert endless.status_code == 413
    assert endless.taken <= guard.JSON_BYTES + 2 * 65536
    endless = Raw(demo.web.app, "POST", "/api/v1/auth/login", {}, repeat(b"[" * 65536))
    assert endless.taken <= guard.UNKNOWN_BYTES + 2 * 65536


def test_compressed_bombs_are_not_unpacked(demo):
    bomb, owner = gzip.compress(bytes(50_000_000)), demo.web["owner"]
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    refused(owner.post(f"{demo.path}/commit", content=bomb, headers=headers))
    draft = owner.post(f"{demo.cells}/drafts", json={}).json()["id"]
    refused(owner.put(f"{demo.cells}/drafts/{draft}/0/c/0/0/0", content=bomb, headers=headers))


@pytest.mark.parametrize(
    "spec",
    [
        {"path": "http://169.254.169.254/latest/meta-data"},
        {"path": "file:///etc/passwd"},
        {"path": "/etc/passwd"},
    ],
)
def test_images_are_only_referenced_never_opened(demo, spec, monkeypatch):
    import socket

    def no_socket(*args, **kwargs):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", no_socket)
    owner, name = demo.web["owner"], new_stamp()
    document = demo.new_document(name)
    document["image"] = {**document["image"], "spec": {**document["image"]["spec"], **spec}}
    owner.post(f"{demo.path}/commit", json={"changes": [{"name": name, "document": document}]})
    for url in (demo.path, f"{demo.path}/descriptors", f"{demo.path}/documents/{name}"):
        assert b"root:" not in owner.get(url).content


def test_an_image_that_runs_code_is_refused(demo):
    owner, name = demo.web["owner"], new_stamp()
    document = demo.new_document(name)
    for evil in ({"__cloudpickle__": "gASV"}, {"__callable__": "os:system"}):
        spec = {**document["image"]["spec"], "params": {"x": evil}}
        body = {"changes": [{"name": name, "document": {**document, "image": {**document["image"], "spec": spec}}}]}
        assert owner.post(f"{demo.path}/commit", json=body).status_code == 422


def test_tokens_of_other_kinds_are_no_tokens(demo):
    pair = demo.web.log_in("owner")
    for token in (
        pair["refresh"],
        "bia_",
        "bip_",
        "x" * 10_000,
        "bia_" + "é" * 20,
        "' OR 1=1 --",
        pair["access"] + "x",
    ):
        headers = {"Authorization": f"Bearer {token}".encode()}
        assert demo.web.nobody.get("/users/me", headers=headers).status_code == 401
    for header in ("", "Bearer", "Basic b3duZXI6eA==", pair["access"], f"Bearer  {pair['access']}"):
        assert demo.web.nobody.get("/users/me", headers={"Authorization": header}).status_code == 401
    for way in ({"params": {"access_token": pair["access"]}}, {"cookies": {"access": pair["access"]}}):
        assert demo.web.nobody.get("/users/me", **way).status_code == 401


def test_a_stolen_refresh_token_ends_both(demo):
    web, mine = demo.web, demo.web.log_in("owner")
    thief = web.nobody.post("/auth/refresh", json={"refresh": mine["refresh"]}).json()
    assert web.nobody.post("/auth/refresh", json={"refresh": mine["refresh"]}).status_code == 401
    for pair in (mine, thief):
        assert web.client(pair["access"]).get("/users/me").status_code == 401
        assert web.nobody.post("/auth/refresh", json={"refresh": pair["refresh"]}).status_code == 401


def test_logs_and_answers_hold_no_secrets(demo, caplog):
    caplog.set_level(logging.DEBUG)
    web = demo.web
    pair = web.log_in("owner")
    client = web.client(pair["access"])
    token = client.post("/auth/tokens", json={"name": "t"}).json()["token"]
    client.get("/users/me", params={"x": "hidden in a query"})
    web.nobody.post("/auth/login", json={"username": "hidden-name", "password": PASSWORD, "x": 1})
    answer = web.nobody.post("/auth/login", json={"username": 5, "password": "hidden password"})
    assert "hidden" not in answer.text
    said = "\n".join(
        f"{record.getMessage()} {record.__dict__.get('about')}"
        for record in caplog.records
        if record.name.startswith("bioimage_py")
    )
    assert said
    for secret in (PASSWORD, pair["access"], pair["refresh"], token, "hidden"):
        assert secret not in said


def test_what_nobody_has_thought_of_tells_nothing(demo, monkeypatch):
    monkeypatch.setattr("bioimage_py.server.projects.Projects.of", lambda *args: 1 / 0)
    answer = demo.web["owner"].get("/projects")
    assert answer.status_code == 500
    assert answer.json()["type"] == "unexpected"
    assert "division" not in answer.text


def test_headers_of_every_answer(demo):
    for answer in (demo.web.nobody.get("/health"), demo.web.nobody.get("/projects"), demo.web.nobody.get("/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


def test_ranges_that_are_not_there(demo):
    owner = demo.web["owner"]
    draft = owner.post(f"{demo.cells}/drafts", json={}).json()["id"]
    owner.post(f"{demo.cells}/drafts/{draft}/seal")
    url = f"{demo.cells}/versions/{draft}/0/zarr.json"
    for value in ("bytes=999999-", "bytes=5-1", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-" + "," * 5000, "x"):
        assert owner.get(url, headers={"Range": value}).status_code in (200, 206, 400, 416)
    many = "bytes=" + ",".join("0-1" for _ in range(2000))
    assert len(owner.get(url, headers={"Range": many}).content) < 1_000_000
