"""Every route, asked by everybody: the rights that its OpenAPI document names, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from numcodecs import zstd

from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.server.accounts.members import Right, Role
from bioimage_py.sources import Axis
from bioimage_py.spaces import Ontology, Space
from bioimage_py.spaces.document import to_bytes, to_stored

from ..conftest import PASSWORD, SHAPE, Demo, make_settings

PROJECT = "/projects/{project}"
LAYER = PROJECT + "/descriptors/{descriptor}/layers/{layer}"
LOCK = PROJECT + "/descriptors/{descriptor}/lock"


STREAM = ("get", PROJECT + "/events/stream")
"""The one route whose answer does not end."""


def calls(demo: Demo) -> dict[tuple[str, str], dict[str, Any]]:
    """A call of each route that works, in an order in which all of them do."""
    comment = demo.comment(demo.document()["comments"], new_stamp())
    return {
        ("get", "/health"): {},
        ("get", "/ready"): {},
        ("get", "/version"): {},
        ("get", "/metrics"): {},
        ("get", "/audit"): {},
        ("post", "/auth/login"): {"json": {"username": "stranger", "password": PASSWORD}},
        ("post", "/auth/refresh"): {"json": {"refresh": demo.web.log_in("stranger")["refresh"]}},
        ("post", "/auth/device"): {"json": {"client": "a program"}},
        ("post", "/auth/device/token"): {
            "json": {"code": demo.web.nobody.post("/auth/device", json={}).json()["code"]}
        },
        ("get", "/auth/tokens"): {},
        ("post", "/auth/tokens"): {"json": {"name": "mine"}},
        ("delete", "/auth/tokens/{token}"): {},
        ("get", "/users/me"): {},
        ("get", "/users"): {},
        ("post", "/users"): {"json": {"username": f"user-{new_stamp()}", "password": PASSWORD}},
        ("patch", "/users/{user}"): {"json": {"admin": False}},
        ("delete", "/users/{user}"): {},
        ("get", "/projects"): {},
        ("post", "/projects"): {"json": {"settings": make_settings(new_stamp()).with_ids().to_document()}},
        ("get", PROJECT): {},
        ("post", PROJECT + "/ticket"): {},
        ("get", PROJECT + "/members"): {},
        ("put", PROJECT + "/members/{user}"): {"json": {"role": "viewer"}},
        ("delete", PROJECT + "/members/{user}"): {},
        ("put", PROJECT + "/backups/{backup}"): {"json": _backup(demo)},
        ("get", PROJECT + "/backups"): {},
        ("get", PROJECT + "/backups/{backup}"): {},
        ("delete", PROJECT + "/backups/{backup}"): {},
        ("post", PROJECT + "/prune"): {"json": {}},
        ("get", PROJECT + "/documents/{name}"): {},
        ("get", PROJECT + "/descriptors"): {},
        ("post", PROJECT + "/commit"): {"json": comment},
        ("get", PROJECT + "/commits/{commit}"): {},
        ("get", PROJECT + "/events"): {"params": {"since": 0}},
        ("post", LAYER + "/drafts"): {"json": {}},
        ("put", LAYER + "/drafts/{draft}/{key}"): {"content": zstd.compress(bytes(64**3))},
        ("post", LAYER + "/drafts/{draft}/chunks"): {"content": b"{}\n"},
        ("post", LAYER + "/drafts/{draft}/have"): {"json": {"chunks": {"0/c/0/0/0": ""}}},
        ("get", LAYER + "/drafts/{draft}/{key}"): {},
        ("post", LAYER + "/drafts/{draft}/rebase"): {},
        ("post", LAYER + "/drafts/{draft}/seal"): {},
        ("get", LAYER + "/versions/{version}/box/{box}"): {},
        ("get", LAYER + "/versions/{version}/{key}"): {},
        ("post", LAYER + "/drafts/{draft}/publish"): {"json": {"base": ""}},
        ("delete", LAYER + "/drafts/{draft}"): {},
        ("post", PROJECT + "/descriptors/{descriptor}/layers/{boxes}/tables"): {"content": _header()},
        ("post", PROJECT + "/uploads"): {"json": {"descriptor": new_stamp(), "size": 9, "sha256": "0" * 64}},
        ("get", PROJECT + "/uploads/{upload}"): {},
        ("patch", PROJECT + "/uploads/{upload}"): {"content": b"abc", "headers": {"Upload-Offset": "0"}},
        ("post", "/uploads"): {"json": {"size": 9, "sha256": "0" * 64}},
        ("get", "/uploads/{upload}"): {},
        ("patch", "/uploads/{upload}"): {"content": b"abc", "headers": {"Upload-Offset": "0"}},
        ("get", PROJECT + "/files"): {},
        ("get", PROJECT + "/files/{path}"): {},
        ("get", PROJECT + "/descriptors/{descriptor}/image/{key}"): {},
        ("post", PROJECT + "/descriptors/{descriptor}/spaces/{space}/versions"): {"content": _space()},
        ("get", PROJECT + "/descriptors/{descriptor}/spaces/{space}/versions/{version}"): {},
        ("get", PROJECT + "/thumbnails/{descriptor}"): {},
        ("get", LOCK): {},
        ("post", LOCK): {"json": {}},
        ("put", LOCK): {},
        ("delete", LOCK): {},
        ("delete", PROJECT): {},
        ("post", "/auth/password"): {"json": {"old": PASSWORD, "new": "another good one"}},
        ("post", "/auth/logout"): {},
    }


def _backup(demo: Demo) -> dict[str, Any]:
    return {"schema": 1, "time": "", "settings": [demo.document("project")] * 2, "layers": {}}


def _header() -> bytes:
    axes = [f"{corner}_{axis}" for corner in ("low", "high") for axis in "xyz"]
    return (",".join(["type", "frame", *axes]) + "\n").encode()


def _kept(demo: Demo) -> str:
    """A backup that the owner has made."""
    name = new_stamp()
    assert demo.web["owner"].put(f"{demo.path}/backups/{name}", json=_backup(demo)).status_code == 204
    return name


def _space() -> bytes:
    axes = [Axis(name) for name in "zyx"]
    return to_bytes(to_stored(Space.for_image(SHAPE, axes, Ontology(), kind="volume"), ontology=False))


class Asking:
    """Calls every route as somebody, with what the owner has made where that somebody may not."""

    def __init__(self, demo: Demo, client: TestClient) -> None:
        self.demo = demo
        self.client = client
        owner = demo.web["owner"]
        draft = owner.post(f"{demo.cells}/drafts", json={}).json()["id"]
        owner.post(f"{demo.cells}/drafts/{draft}/seal")
        web = demo.web
        web.add_user("member")
        owner.put(f"{demo.path}/members/member", json={"role": "viewer"})
        self.values = {
            "project": demo.id,
            "descriptor": demo.descriptor,
            "name": demo.descriptor,
            "layer": demo.layers["cells"],
            "boxes": demo.layers["boxes"],
            "version": draft,
            "key": "0/zarr.json",
            "box": "0-1,0-1,0-1",
            "commit": "a-key-of-mine",
            "draft": owner.post(f"{demo.cells}/drafts", json={}).json()["id"],
            "token": "0" * 16,
            "backup": _kept(demo),
            "user": "member",
            "upload": "0" * 32,
            "path": "project.json",
            "space": "root",
            "space version": owner.post(f"{demo.data}/spaces/root/versions", content=_space()).json()["record"][
                "version"
            ],
        }
        self.lock = "0"

    def __call__(self, method: str, route: str, arguments: dict[str, Any]) -> Any:
        values = {**self.values}
        if route.startswith("/users/{user}"):
            values["user"] = str(self.demo.web.site.users.named("member").id)
        if (method, route) == ("put", LOCK):
            arguments = {"json": {"token": self.lock}}
        if (method, route) == ("delete", LOCK):
            arguments = {"headers": {"Lock-Token": self.lock}}
        if "/spaces/" in route:
            values["version"] = values["space version"]
        if (method, route) == ("put", LAYER + "/drafts/{draft}/{key}"):
            values["key"] = "0/c/0/0/0"
        answer = self.client.request(method, route.format(**values), **arguments)
        if answer.status_code < 300:
            made = answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else {}
            if (method, route) == ("post", "/auth/tokens"):
                self.values["token"] = made["id"]
            if method == "post" and route.endswith("/uploads"):
                self.values["upload"] = made["id"]
            if (method, route) == ("post", LAYER + "/drafts"):
                self.values["draft"] = made["id"]  # others' are not to be seen
            if (method, route) == ("post", LOCK):
                self.lock = made["token"]
        return answer


def needs(demo: Demo) -> dict[tuple[str, str], str]:
    """What each route needs, as the OpenAPI document says."""
    document = demo.web.nobody.get("/openapi.json").json()
    return {
        (method, path.removeprefix("/api/v1")): operation["x-needs"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def test_the_table_has_every_route(demo):
    table = {(method, route.replace("{boxes}", "{layer}")) for method, route in calls(demo)}
    assert table | {STREAM} == needs(demo).keys()
    for (_, route), need in needs(demo).items():
        assert route.startswith(PROJECT) == (need.partition(",")[0] in Right.__members__)


@pytest.mark.parametrize(("who", "status"), [("viewer", 503), ("stranger", 404), ("root", 404), ("nobody", 401)])
def test_the_stream_is_for_members(demo, who, status):
    demo.web.app.state.news.over = True  # who may have it is told that the server ends
    client = demo.web.nobody if who == "nobody" else demo.web[who]
    assert needs(demo)[STREAM] == "read"
    assert client.get(f"{demo.path}/events/stream").status_code == status


def expected(need: str, who: str) -> int | None:
    """Status of a refusal; None: it is allowed."""
    if need == "nobody":
        return None
    if who == "nobody":
        return 401
    if need in ("somebody", "user", "admin"):
        token = who.endswith("token")
        refused = (need == "user" and token) or (need == "admin" and who != "root")
        return 403 if refused else None
    if who in ("stranger", "root", "other token"):  # an administrator is no member by that
        return 404
    role = Role.owner if who.endswith("token") else Role[who]
    need, _, how = need.partition(", ")
    if how == "logged in" and who.endswith("token"):
        return 403
    right = Right[need]
    scope = {"read token": Right.read, "annotate token": Right.annotate}.get(who, Right.own)
    return 403 if right > role or right > scope else None


WHO = (
    *Role.__members__,
    "stranger",
    "root",
    "nobody",
    "read token",
    "annotate token",
    "manage token",
    "other token",
)


@pytest.mark.some(4)
@pytest.mark.parametrize("who", WHO)
def test_every_route_is_allowed_or_refused_as_it_says(demo, who):
    web = demo.web
    if who == "nobody":
        client = web.nobody
    elif who == "other token":
        client = web.token("owner", "manage", projects=["another"])
    elif who.endswith("token"):
        client = web.token("owner", who.split()[0])
    else:
        client = web[who]
    ask, told = Asking(demo, client), needs(demo)
    for (method, route), arguments in calls(demo).items():
        need = told[method, route.replace("{boxes}", "{layer}")]
        refused = expected(need, who)
        answer = ask(method, route, arguments)
        where = f"{method} {route} by {who}: {answer.status_code} {answer.text[:300]}"
        if refused is None:
            alone = route == "/users/{user}" and method == "delete"
            # the member may have gone; and a password that was changed has ended the login
            late = route == "/auth/logout" and answer.status_code == 401
            assert answer.status_code < 300 or late or (alone and answer.status_code == 404), where
        else:
            assert answer.status_code == refused, where
        if refused == 404:
            nothing = client.request(method, route.format(**{**ask.values, "project": "nothing"}), **arguments)
            assert nothing.status_code == 404, where
            assert nothing.json()["detail"].replace("nothing", demo.id) == answer.json()["detail"]


def test_owners_delete_projects(demo):
    assert demo.web["owner"].delete(demo.path).status_code == 204


def test_annotators_change_annotations_and_maintainers_the_rest(demo):
    name = new_stamp()
    add = {"changes": [{"name": name, "document": demo.new_document(name)}]}
    rest = (
        demo.change(["name"], "first", "other"),
        demo.change(["name"], "demo", "other", "project"),
        {"changes": [{"name": demo.descriptor, "remove": True}]},
        add,
    )
    for body in rest:
        answer = demo.web["annotator"].post(f"{demo.path}/commit", json=body)
        assert answer.status_code == 403, answer.text
        assert "maintainer" in answer.json()["detail"]
    mixed = {"changes": [*demo.comment("", "a")["changes"], *rest[1]["changes"]]}
    assert demo.web["annotator"].post(f"{demo.path}/commit", json=mixed).status_code == 403
    assert demo.document()["comments"] == ""
    for body in (rest[0], rest[1], add, rest[2]):
        answer = demo.web["maintainer"].post(f"{demo.path}/commit", json=body)
        assert answer.status_code == 200, answer.text
