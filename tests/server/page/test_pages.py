"""What the pages show and change, for whom; and that nothing that somebody has typed becomes part of a page."""

from __future__ import annotations

import io
import json
import re
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

import bioimage_py as bp
from bioimage_py.projects import BoxSet, Project
from bioimage_py.server.accounts.members import Role

from ..conftest import SHAPE, make_settings
from .conftest import words

HOSTILE = "\"><script>alert(1)</script>'\x07{{7*7}}</title><img src=x onerror=alert(1)>"
ROLES = [role.name for role in Role]


def picture(browser, path: str) -> np.ndarray:
    browser.get(path)
    assert browser.last.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(browser.last.content)))


@pytest.mark.parametrize("who", [*ROLES, "stranger", "root"])
def test_pages_of_a_project_are_for_its_members(demo, browsers, who):
    browser = browsers[who]
    status = 200 if who in ROLES else 404
    base = f"/projects/{demo.id}"
    for path in ("", "/progress", "/history", "/locks", "/members", f"/data/{demo.descriptor}"):
        browser.get(base + path, status)
    for path in (f"/data/{demo.descriptor}/{kind}" for kind in ("thumbnail.png", "image/z.png", "layers/y.png")):
        browser.get(base + path, status)
    for path in ("/users", "/audit"):
        browser.get(path, 200 if who == "root" else 403)


def test_who_may_change_what(demo, browsers):
    """Every form by every role: the one that lets the least in is named beside it."""
    data = f"/projects/{demo.id}/data/{demo.descriptor}"
    forms = {
        f"{data}/tags": ({f"tag-{demo.tag}": "true", f"was-{demo.tag}": "null", "back": "/"}, Role.annotator),
        f"{data}/comments": ({"comments": "x", "was": '"x"'}, Role.annotator),
        f"{data}/unlock": ({"note": "why"}, Role.maintainer),
        f"/projects/{demo.id}/members": ({"name": "stranger", "role": "viewer"}, Role.maintainer),
        f"/projects/{demo.id}/sight": ({}, Role.maintainer),
        f"/projects/{demo.id}/readers": ({"layer": demo.layers["cells"], "readers": ""}, Role.maintainer),
        f"/projects/{demo.id}/assign": ({"pattern": "nothing*", "name": "viewer"}, Role.maintainer),
    }
    for path, (fields, least) in forms.items():
        for role in Role:
            browsers[role.name].send(path, 200 if role >= least else 403, "/account", **fields)
            fields = {
                name: '"x"' if name == "was" else "true" if name.startswith("was") else value
                for name, value in fields.items()
            }


def test_tags_are_set_in_place(demo, browsers):
    browser, path = browsers["annotator"], f"/projects/{demo.id}"
    fields = {f"was-{demo.tag}": "null", f"tag-{demo.tag}": "true", "back": f"{path}?sort=name"}
    browser.send(f"{path}/data/{demo.descriptor}/tags", on=path, **fields)
    assert str(browser.last.url).endswith(f"{path}?sort=name")
    assert demo.document()["tags"] == {demo.tag: True}
    assert "Somebody was faster" in browser.send(
        f"{path}/data/{demo.descriptor}/tags", 409, path, **{**fields, f"tag-{demo.tag}": "false"}
    )
    data = {"mark": browser.mark(path), **fields, f"was-{demo.tag}": "true", f"tag-{demo.tag}": ""}
    answer = browser.client.post(f"{path}/data/{demo.descriptor}/tags", data=data, headers={"X-Page": "script"})
    assert answer.json() == {f"was-{demo.tag}": "null"}
    assert demo.document()["tags"] == {}
    answer = browser.client.post(f"{path}/data/{demo.descriptor}/tags", data=data, headers={"X-Page": "script"})
    assert answer.status_code == 200 or "message" in answer.json()
    event = demo.web.site.projects.served(demo.id).events(0).events[-1]
    assert (event["user"], event["client"]) == ("annotator", "page")


def test_comments_are_changed_unless_somebody_was_faster(demo, browsers):
    browser, path = browsers["annotator"], f"/projects/{demo.id}/data/{demo.descriptor}"
    browser.send(f"{path}/comments", on=path, was='""', comments="first\r\nsecond")
    assert demo.document()["comments"] == "first\nsecond"
    browser.send(f"{path}/comments", 409, path, was='""', comments="other")
    assert demo.document()["comments"] == "first\nsecond"


def test_lists_are_filtered_sorted_and_paged(demo, browsers):
    local = Project.load(demo.folder.root)
    for number in range(7):
        one = local.add_descriptor(np.zeros((4, 5, 6), np.uint8), f"scan {number}")
        one.tags["Reviewed"].value = number % 2 == 0
    local.save()
    browser, path = browsers["viewer"], f"/projects/{demo.id}"

    def names(**query: object) -> list[str]:
        return re.findall(r"/data/[^/\"]+\">([^<]+)</a>", browser.get(path, params=query))

    assert len(names()) == 8
    assert names(name="scan", sort="name") == [f"scan {number}" for number in range(7)]
    assert names(tag=json.dumps([demo.tag, True]), sort="name") == ["scan 0", "scan 2", "scan 4", "scan 6"]
    assert names(tag=json.dumps([demo.tag, None])) == ["first"]
    assert names(annotated="yes") == []
    first = names(sort="name", limit=3)
    following = re.search(r'rel="next" href="([^"]+)"', browser.last.text)[1].replace("&amp;", "&")
    second = re.findall(r"/data/[^/\"]+\">([^<]+)</a>", browser.get(following))
    assert first + second == ["first", *(f"scan {number}" for number in range(5))]
    browser.get(path, 422, params={"tag": "{"})
    browser.get(path, 422, params={"limit": "5000"})


@pytest.fixture
def scan(demo, tmp_path):
    """A data set whose image the server may open, with a cell, a box and a landmark in the plane z = 3."""
    root = tmp_path / "images"
    image = np.zeros((8, 20, 30), np.uint8)
    image[3, 5:10, 5:15] = 200
    image += np.arange(30, dtype=np.uint8)
    bp.copy(image, root / "a.zarr/raw", chunks=(4, 8, 8))
    demo.web.site.image_roots = (root,)
    local = Project.load(demo.folder.root)
    one = local.add_descriptor(bp.open_source(root / "a.zarr/raw"), "scan")
    labels = np.zeros(image.shape, np.uint8)
    labels[3, 5:10, 5:15] = 1
    one.labelmap_layers["cells"].save_new_data(labels)
    boxes = BoxSet.from_descriptor(one, "boxes")
    boxes.add("cell", 0, (1.5, 1.5, 2.5), (20.5, 12.5, 3.5))
    one.boundingbox_layers["boxes"].save_new_data(boxes)
    local.save()
    return one.identifier


def test_planes_show_image_labels_and_boxes(demo, browsers, scan):
    browser, path = browsers["viewer"], f"/projects/{demo.id}/data/{scan}"
    page = browser.get(path, params={"at-z": 3})
    assert page.count('data-picture="image"') == 3
    assert 'value="3" data-axis="z"' in page
    image = picture(browser, f"{path}/image/z.png?at-z=3")
    assert image.shape == (20, 30)
    assert image[7, 10] == 255
    assert image[15, 2] < 60
    assert picture(browser, f"{path}/image/y.png?at-y=7").shape == (8, 30)
    assert picture(browser, f"{path}/image/x.png?at-x=10").shape == (20, 8)
    cells, boxes = demo.layers["cells"], demo.layers["boxes"]
    labels = picture(browser, f"{path}/layers/z.png?at-z=3&show={cells}")
    assert labels.shape == (20, 30, 4)
    assert (labels[..., 3] > 0).sum() == 50
    assert labels[7, 10, 3] > 0
    assert not picture(browser, f"{path}/layers/z.png?at-z=2&show={cells}").any()
    drawn = picture(browser, f"{path}/layers/z.png?at-z=3&show={boxes}")
    zoom = drawn.shape[0] // 20
    assert drawn[2 * zoom, 10 * zoom, 3] == 255  # the upper edge lies between rows 1 and 2
    assert drawn[7 * zoom, 10 * zoom, 3] == 0
    assert not picture(browser, f"{path}/layers/z.png?at-z=5&show={boxes}").any()
    assert not picture(browser, f"{path}/layers/z.png?at-z=3").any()
    far = picture(browser, f"{path}/image/z.png?at-z=99999999")
    assert far.shape == image.shape


def test_an_image_elsewhere_is_not_opened(demo, browsers, scan):
    demo.web.site.image_roots = ()
    browser, path = browsers["viewer"], f"/projects/{demo.id}/data/{scan}"
    assert "not visible to the server" in browser.get(path)
    browser.get(f"{path}/image/z.png", 422)
    labels = picture(browser, f"{path}/layers/z.png?at-z=3&show={demo.layers['cells']}")
    assert labels.any()
    browser.get(f"{path}/thumbnail.png")
    assert browser.last.headers["content-type"] == "image/svg+xml"


def test_landmarks_lie_where_their_voxels_are(demo, browsers, tmp_path):
    from bioimage_py.projects import Label, Layer, LayerKind
    from bioimage_py.projects.values.records import DescriptorRecord
    from bioimage_py.server.page.planes import Annotated, Cut, overlay

    record = DescriptorRecord.parse(demo.document())
    layer = Layer(
        "points", LayerKind.LANDMARK, [Label("a", LayerKind.LANDMARK, (255, 0, 0), id="label-1")], id="layer-1"
    )
    table = "type,frame,world_x,world_y,world_z\nlabel-1,0,20.0,40.0,30.0\nlabel-1,0,1e300,-1e300,30.0\n"
    shown = np.asarray(Image.open(io.BytesIO(overlay(record, Cut("z", {"z": 30}), [Annotated(layer, table=table)]))))
    zoom = shown.shape[0] / SHAPE[1]
    rows, columns = np.nonzero((shown[..., 0] == 255) & (shown[..., 1] == 0) & (shown[..., 3] == 255))
    assert abs(rows.mean() - 40.5 * zoom) < 1
    assert abs(columns.mean() - 20.5 * zoom) < 1


def test_locks_are_seen_and_taken_away_for_a_reason(demo, browsers):
    lock = demo.web["annotator"].post(f"{demo.data}/lock", json={"seconds": 60}, headers={"X-Client": "desk"}).json()
    browser, path = browsers["maintainer"], f"/projects/{demo.id}"
    assert "annotator (desk)" in words(browser.get(f"{path}/locks"))
    assert lock["token"] not in browser.last.text
    assert "locked by annotator" in words(browser.get(path))
    browser.send(f"{path}/data/{demo.descriptor}/unlock", 422, f"{path}/locks", note=" ")
    assert "Nobody holds a lock" in browser.send(
        f"{path}/data/{demo.descriptor}/unlock", on=f"{path}/locks", note="gone home"
    )
    assert "gone home" in browsers["root"].get("/audit")


def test_history_and_progress_name_who_did_what(demo, browsers):
    demo.web["annotator"].post(f"{demo.path}/commit", json=demo.comment("", "looked at"))
    browser, path = browsers["viewer"], f"/projects/{demo.id}"
    page = words(browser.get(f"{path}/history"))
    assert "annotator" in page
    assert "comments" in page
    assert "owner" not in words(browser.get(f"{path}/history", params={"user": "annotator"})).partition("No.")[2]
    assert "annotator" in words(browser.get(f"{path}/progress"))


def test_a_token_is_made_shown_once_and_revoked(demo, browsers):
    browser = browsers["annotator"]
    page = browser.send("/account/tokens", on="/account", name="cluster", scope="annotate", project=demo.id, days="7")
    token = re.search(r"bip_[\w-]+", page)[0]
    client = demo.web.client(token)
    assert client.get("/projects").status_code == 200
    page = browser.get("/account")
    assert token not in page
    id = re.search(r"/account/tokens/([0-9a-f]{16})/revoke", page)[1]
    browsers["viewer"].send(f"/account/tokens/{id}/revoke", 404, "/account")
    browser.send(f"/account/tokens/{id}/revoke", on="/account")
    assert client.get("/projects").status_code == 401


def test_an_administrator_looks_after_users(demo, browsers):
    browser = browsers["root"]
    page = browser.send("/users", name="newcomer")
    link = re.search(r"/link/bil_[\w-]+", page)[0]
    guest = browsers.new()
    assert "no member of a project" in guest.send(link, password="a good password", again="a good password")
    user = demo.web.site.users.named("newcomer").id
    browser.send(f"/users/{user}/change", on="/users", what="disable")
    assert "Sign in" in guest.get("/projects")
    for what in ("enable", "admin", "no-admin", "remove"):
        browser.send(f"/users/{user}/change", on="/users", what=what)
    browser.send("/users", 422, name="no good name!")
    own = demo.web.site.users.named("root").id
    assert "Nobody would be left" in browser.send(f"/users/{own}/change", 422, "/users", what="no-admin")


def test_what_others_have_typed_stays_text(demo, browsers):
    settings = make_settings(HOSTILE.replace("\x07", ""))
    local = Project.load(demo.folder.root)
    changed = local.settings()
    changed.name, changed.tags[0].name, changed.layers[0].name = settings.name, settings.name, settings.name
    local.edit(changed)
    one = local.descriptors[0]
    one.name, one.comments = HOSTILE, HOSTILE
    one.tags[0].value = True
    local.save()
    demo.web["annotator"].post(f"{demo.data}/lock", json={}, headers={"X-Client": "a"})
    browser, base = browsers["owner"], f"/projects/{demo.id}"
    for path in (
        "",
        "/progress",
        "/history",
        "/locks",
        "/members",
        f"/data/{demo.descriptor}",
        f"?name={quote(HOSTILE)}",
    ):
        page = browser.get(base + path)
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "49</title>" not in page
    browser.get("/projects")
    assert "<script>alert" not in browser.last.text


def test_neuroglancer_shows_the_same_voxels(demo, browsers, scan):
    pytest.importorskip("neuroglancer")
    browser, base = browsers["viewer"], f"/projects/{demo.id}/data/{scan}"
    assert f'href="{base}/v/look/"' in browser.get(base)
    assert "<script" in browser.get(f"{base}/v/look/")
    policy = browser.last.headers["content-security-policy"]
    assert "connect-src 'self' blob: data:;" in policy
    assert "'unsafe-eval'" not in policy
    browser.get(f"{base}/v/look/../../../secret", 404)
    told = browser.get(f"{base}/neuroglancer/info/image")
    assert json.loads(told)["dataType"] == "uint8"
    assert json.loads(told)["shape"] == [8, 20, 30]
    browser.get(f"{base}/neuroglancer/raw/image/1,1,1/3,5,5/4,10,15")
    assert np.frombuffer(browser.last.content, np.uint8).reshape(10, 5, 1)[0, 0, 0] == 205
    cells = demo.layers["cells"]
    browser.get(f"{base}/neuroglancer/raw/{cells}/1,1,1/3,5,5/4,10,15")
    assert set(browser.last.content) == {1}
    for wrong in (
        "image/1,1,1/0,0,0/9,20,30",
        "image/1,1/0,0/1,1",
        "image/4096,4096,4096/0,0,0/1,1,1",
        "none/1,1,1/0,0,0/1,1,1",
    ):
        browser.get(f"{base}/neuroglancer/raw/{wrong}", 404 if wrong.startswith("none") else 422)
    assert browser.client.post(f"{base}/state/look", json={"s": {}}).json() == {"g": "server/0"}
    demo.web.site.image_roots = ()
    browser.get(f"{base}/neuroglancer/info/image", 422)
    for path in ("v/look/", "neuroglancer/info/image", f"neuroglancer/raw/{cells}/1,1,1/0,0,0/1,1,1"):
        browsers["stranger"].get(f"{base}/{path}", 404)


def test_neuroglancer_is_told_what_there_is_and_nothing_hidden(demo, browsers, scan):
    pytest.importorskip("neuroglancer")
    from bioimage_py.projects.values.records import DescriptorRecord
    from bioimage_py.server.page.looking import Looking
    from bioimage_py.server.page.viewer import state_of

    site = demo.web.site
    caller = site.sessions.visitor(browsers["annotator"].cookie)
    served, owner = site.projects.served(demo.id), site.sessions.visitor(browsers["owner"].cookie)

    def layers() -> dict[str, dict[str, object]]:
        looking = Looking(None, Role.annotator, served, site.sights.of(caller, demo.id, Role.annotator))
        record = DescriptorRecord.parse(looking.sight.document(scan, demo.document(scan), ()))
        return {one["name"]: one for one in state_of(looking, record, True)["layers"]}

    found = layers()
    assert list(found) == ["image", "cells", "boxes"]
    assert found["boxes"]["annotations"][0]["pointA"] == [3.0, 2.0, 2.0]  # z, y, x from the edge of the first voxel
    site.sights.set_readers(demo.id, demo.layers["cells"], ["viewer"], owner)
    assert list(layers()) == ["image", "boxes"]
