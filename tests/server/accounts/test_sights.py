"""What annotators do not see is not there for them: in no answer of any route, as if it had never been."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bioimage_py.projects import Label, Layer, LayerKind, Project
from bioimage_py.server.accounts.members import Role
from bioimage_py.server.accounts.sights import MOST

from ..conftest import SHAPE, Demo
from ..http.test_rights import Asking, calls, needs

MANAGED = {"backup", "path", "upload"}
"""In routes for those who see all."""
PARTS_THAT_ARE_LOOKED_AT = {
    "project",
    "descriptor",
    "layer",
    "name",
    "draft",
    "box",
    "chunk",
    "version",
    "key",
    "commit",
    "user",
    "space",  # of a data set, for all who see it
}


class Blind:
    """A project in which "annotator" reads "cells" of "first", and all the rest is somebody else's."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        web = demo.web
        web.add_user("reader")
        assert web["owner"].put(f"{demo.path}/members/reader", json={"role": "annotator"}).status_code == 204
        local = Project.load(demo.folder.root)
        settings = local.settings()
        pixel = LayerKind.PIXELWISE
        settings.add_layer(Layer("secret cells", pixel, [Label("hush", pixel, value=3)]))
        local.edit(settings)
        self.other = local.add_descriptor(np.zeros((4, 5, 6), np.uint8), "hidden one").identifier
        one = local.descriptors[0]
        labels = np.zeros(SHAPE, np.uint8)
        labels[0, 0, 0] = 3
        one.labelmap_layers["secret cells"].save_new_data(labels)
        local.save()
        document = demo.document("project")
        self.layer = next(id for id, layer in document["layers"].items() if layer["name"] == "secret cells")
        self.version = demo.document()["layers"][self.layer]["version"]
        caller = web.site.sessions.visitor(web.site.sessions.signed_in(web.site.users.named("owner").id))
        self.owner = caller
        sights = web.site.sights
        sights.show_only_assigned(demo.id, True, caller)
        sights.assign(demo.id, [demo.descriptor], "annotator", caller)
        sights.assign(demo.id, [demo.descriptor, self.other], "reader", caller)
        sights.set_readers(demo.id, self.layer, ["reader"], caller)

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.other, self.layer, self.version, "hidden one", "secret cells", "hush")


@pytest.fixture
def blind(demo: Demo) -> Blind:
    return Blind(demo)


def test_no_route_tells_of_what_is_hidden(blind: Blind) -> None:
    """Generated from the OpenAPI document: every route that the annotator may ask."""
    demo, client = blind.demo, blind.demo.web["annotator"]
    ask, told, tried = Asking(demo, client), needs(demo), 0
    for (method, route), more in calls(demo).items():
        if told[method, route.replace("{boxes}", "{layer}")].partition(",")[0] in ("read", "annotate"):
            answer = ask(method, route, more)
            assert answer.status_code < 300, (route, answer.text)
            assert not any(secret in answer.text for secret in blind.secrets), route
            tried += 1
    assert tried >= 18
    answers = [
        client.get(demo.path),
        client.get(f"{demo.path}/documents/project"),
        client.get(f"{demo.path}/documents/{demo.descriptor}"),
        client.get(f"{demo.path}/descriptors"),
        client.get(f"{demo.path}/descriptors", params={"sort": "name", "limit": 1}),
        client.get(f"{demo.path}/descriptors", params={"name": "*one*"}),
        client.get(f"{demo.path}/events", params={"since": 0}),
        client.get(f"{demo.data}/lock"),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert not any(secret in answer.text for secret in blind.secrets), answer.url
    assert answers[0].json()["descriptors"] == 1
    assert [row["identifier"] for row in answers[3].json()["descriptors"]] == [demo.descriptor]
    assert client.get(f"{demo.path}/descriptors", params={"layer": blind.layer}).json()["descriptors"] == []


def test_what_is_hidden_is_refused_as_what_is_not_there(blind: Blind) -> None:
    """By every route that names a data set or a layer; the words are those for something that never was."""
    demo, web = blind.demo, blind.demo.web
    client, spec = web["annotator"], web.nobody.get("/openapi.json").json()
    tried = 0
    for path, operations in spec["paths"].items():
        for method in operations:
            if "{descriptor}" not in path and "{layer}" not in path:
                continue
            bodies = {"json": {}} if method in ("post", "put", "patch") else {}
            more: dict[str, Any] = {
                "box": "0-1,0-1,0-1",
                "chunk": "0.0.0",
                "draft": blind.version,
                "version": blind.version,
                "key": "zarr.json",
                "space": "frame",
            }
            for hidden, false in (
                (
                    {"descriptor": blind.other, "layer": demo.layers["cells"]},
                    {"descriptor": "20200101-000000-000000-ffffff"},
                ),
                ({"descriptor": demo.descriptor, "layer": blind.layer}, {"layer": "layer-ffffffff"}),
            ):
                if hidden["descriptor"] == demo.descriptor and "{layer}" not in path:
                    continue
                answers = []
                for names in (hidden, {**hidden, **false}):
                    url = path.removeprefix("/api/v1").format(**{**more, **names, "project": demo.id})
                    answers.append(client.request(method.upper(), url, **bodies))
                real, unreal = answers
                tried += 1
                assert real.status_code in (404, 422, 423, 403), (path, real.text)
                assert real.status_code == unreal.status_code, (path, real.text, unreal.text)
                assert not any(secret in real.text for secret in (blind.version, "hidden one")), path
    assert tried >= 15


def test_every_name_in_a_path_is_looked_at(blind: Blind) -> None:
    """Who adds a route with another name in its path has to think of who sees it, here and in `Needs`."""
    spec = blind.demo.web.nobody.get("/openapi.json").json()
    found = {
        part["name"]
        for path, operations in spec["paths"].items()
        for operation in operations.values()
        for part in operation.get("parameters", [])
        if part["in"] == "path" and "/projects/{project}" in path
        if operation["x-needs"] != "manage" or part["name"] not in MANAGED
    }
    assert found <= PARTS_THAT_ARE_LOOKED_AT


def test_nothing_hidden_is_changed(blind: Blind) -> None:
    demo, client = blind.demo, blind.demo.web["annotator"]
    before = demo.document()
    record = before["layers"][blind.layer]
    for path, old, new in (
        (["layers", blind.layer], record, None),
        (["layers", blind.layer, "version"], record["version"], "x"),
        (["layers"], {}, {}),
        (["layers"], before["layers"], {}),
    ):
        answer = client.post(f"{demo.path}/commit", json=demo.change(path, old, new))
        assert answer.status_code == 409, answer.text
        assert blind.version not in answer.text.replace(json.dumps(old), "")
    never = "20200101-000000-000000-ffffff"
    answers = [
        client.post(f"{demo.path}/commit", json=demo.change(["comments"], "", "seen", name)).json()
        for name in (blind.other, never)
    ]
    assert answers[0]["detail"].replace(blind.other, never) == answers[1]["detail"]
    assert demo.document() == before
    answer = client.post(f"{demo.path}/commit", json=demo.comment("", "mine"))
    assert answer.status_code == 200
    assert not any(secret in answer.text for secret in blind.secrets)


def test_others_work_leaves_no_trace_but_a_number(blind: Blind) -> None:
    demo, web = blind.demo, blind.demo.web
    reader = web["reader"]
    assert reader.post(f"{demo.path}/commit", json=demo.change(["comments"], "", "x", blind.other)).status_code == 200
    for who, names in (("annotator", set()), ("maintainer", {blind.other})):
        since = web[who].get(demo.path).json()["last"] - 1
        page = web[who].get(f"{demo.path}/descriptors", params={"changed": since}).json()
        assert {row["identifier"] for row in page["descriptors"]} == names
    last = web["annotator"].get(f"{demo.path}/events", params={"since": 0}).json()["events"][-1]
    assert (last["changes"], last["user"], last["client"]) == ([], "", "")
    assert web["maintainer"].get(f"{demo.path}/events", params={"since": 0}).json()["events"][-1]["user"] == "reader"


@pytest.mark.parametrize("role", [role.name for role in Role])
def test_who_manages_sees_all(blind: Blind, role: str) -> None:
    demo, client = blind.demo, blind.demo.web[role]
    manages = Role[role] >= Role.maintainer
    assert (client.get(f"{demo.path}/documents/{blind.other}").status_code == 200) == manages
    layers = client.get(f"{demo.path}/documents/project").json()["layers"]
    assert (blind.layer in layers) == manages


def test_a_token_sees_what_its_user_does(blind: Blind) -> None:
    demo = blind.demo
    token = demo.web.token("annotator", "annotate")
    assert token.get(f"{demo.path}/documents/{blind.other}").status_code == 404
    ticket = demo.web["annotator"].post(f"{demo.path}/ticket").json()["token"]
    assert demo.web.client(ticket).get(f"{demo.path}/documents/{blind.other}").status_code == 404


def test_pages_show_nothing_of_it(blind: Blind) -> None:
    from ..page.conftest import Browser

    demo = blind.demo
    browser = Browser(demo.web)
    browser.sign_in("annotator")
    base = f"/projects/{demo.id}"
    for path in (
        "",
        "/progress",
        "/history",
        "/locks",
        "/members",
        f"/data/{demo.descriptor}",
        f"?layer={blind.layer}",
    ):
        page = browser.get(base + path).replace(f"?layer={blind.layer}", "")
        assert not any(secret in page for secret in blind.secrets), path
    for path in ("", "/thumbnail.png", "/image/z.png", "/layers/z.png"):
        browser.get(f"{base}/data/{blind.other}{path}", 404)
    shown = browser.client.get(f"{base}/data/{demo.descriptor}/layers/z.png?at-z=0&show={blind.layer}").content
    empty = browser.client.get(f"{base}/data/{demo.descriptor}/layers/z.png?at-z=0").content
    assert shown == empty
    whole = Browser(demo.web)
    whole.sign_in("owner")
    assert whole.client.get(f"{base}/data/{demo.descriptor}/layers/z.png?at-z=0&show={blind.layer}").content != empty


def test_assignments_are_given_and_taken(blind: Blind) -> None:
    demo, sights = blind.demo, blind.demo.web.site.sights
    assert sights.assign(demo.id, [blind.other], "annotator", blind.owner) == 1
    assert sights.assign(demo.id, [blind.other], "annotator", blind.owner) == 0
    client = demo.web["annotator"]
    assert client.get(f"{demo.path}/documents/{blind.other}").status_code == 200
    assert sights.assign(demo.id, [blind.other, "not-there"], "annotator", blind.owner, take=True) == 1
    assert client.get(f"{demo.path}/documents/{blind.other}").status_code == 404
    with pytest.raises(KeyError):
        sights.assign(demo.id, [blind.other], "stranger", blind.owner)
    with pytest.raises(ValueError, match=str(MOST)):
        sights.assign(demo.id, map(str, range(MOST + 1)), "annotator", blind.owner)
    sights.show_only_assigned(demo.id, False, blind.owner)
    assert client.get(f"{demo.path}/documents/{blind.other}").status_code == 200
    sights.set_readers(demo.id, blind.layer, [], blind.owner)
    assert blind.layer in client.get(f"{demo.path}/documents/project").json()["layers"]


def test_a_client_loads_anew_when_it_sees_other_things(blind: Blind) -> None:
    demo, client = blind.demo, blind.demo.web["annotator"]
    before = client.get(demo.path).json()["sight"]
    blind.demo.web.site.sights.assign(demo.id, [blind.other], "annotator", blind.owner)
    page = client.get(f"{demo.path}/events", params={"since": 0}).json()
    assert page["sight"] == before + 1
