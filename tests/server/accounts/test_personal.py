"""Whom images show, and where they lie on somebody's machine, viewers are not told: in no answer of any route."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

import bioimage_py as bp
from bioimage_py.errors import AccessError
from bioimage_py.projects import ImageInfo, Project
from bioimage_py.projects.images import open_image
from bioimage_py.projects.values.records import DescriptorRecord
from bioimage_py.server.accounts.members import Role
from bioimage_py.server.accounts.personal import Pseudonyms
from bioimage_py.server.accounts.sights import Sight
from bioimage_py.server.database import audit, tables

from ..conftest import Demo, Web
from ..http.test_rights import Asking, calls, needs
from ..page.conftest import Browser

PATIENT, NAME, UID = "pat-4711", "Doe^Jane", "1.2.840.99.7"
INFO = ImageInfo(
    patient_id=PATIENT,
    patient_name=NAME,
    study_instance_uid=UID,
    study_description="thorax of a mayor",
    study_date="20240229",
    series_instance_uid=f"{UID}.1",
    series_description="after the fall",
    modality="CT",
)


class Ward:
    """A project of two data sets of one patient: a copy, and an image that lies elsewhere; and one of nobody."""

    def __init__(self, demo: Demo, folder: Path) -> None:
        self.demo = demo
        local = Project.load(demo.folder.root)
        local.grouping_hierarchy = ["Patient", "Study", "Series", "Site"]
        groups = [f"{PATIENT}|||{NAME}", f"{UID}|||thorax of a mayor - 2024-02-29", f"{UID}.1", "Kiel"]
        first = local.descriptors[0]
        first.image_info, first.grouping, first.name = INFO, groups, "CT of JANE"
        first._record.image.original_path = "/home/smith/doe.dcm"
        self.path = folder / "smith" / "doe.zarr"
        bp.copy(np.zeros((4, 5, 6), np.uint8), self.path / "raw", progress=False)
        image = bp.open_source(self.path, "raw")
        other = local.add_descriptor(image, "scan 2", grouping=[f"{PATIENT}|||{NAME}", "b", "c", "Kiel"])
        plain = local.add_descriptor(np.zeros((4, 5, 6), np.uint8), "phantom", grouping=["Agar", "b", "c", "Kiel"])
        self.other, self.plain = other.identifier, plain.identifier
        local.save()
        for name in (f"images/{demo.descriptor}.zarr/zarr.json", f"images/{demo.descriptor}.zarr/0/zarr.json"):
            path = demo.folder.root / name
            told = json.loads(path.read_bytes())
            told.setdefault("attributes", {})["artist"] = NAME
            path.write_text(json.dumps(told))

    secrets = (PATIENT, "Doe", "Jane", "JANE", UID, "mayor", "20240229", "2024-02-29", "the fall", "smith", "doe.")

    def check(self, text: str, where: object) -> None:
        found = [secret for secret in self.secrets if secret in text]
        assert not found, (where, found, text[:2000])


@pytest.fixture
def ward(demo: Demo, tmp_path: Path) -> Ward:
    return Ward(demo, tmp_path)


def test_no_route_tells_a_viewer_of_the_patient(ward: Ward) -> None:
    """Generated from the OpenAPI document: every route that a viewer may ask, and what its query may be."""
    demo, client = ward.demo, ward.demo.web["viewer"]
    ask, told, tried = Asking(demo, client), needs(demo), 0
    for descriptor in (demo.descriptor, ward.other):
        ask.values |= {"descriptor": descriptor, "name": descriptor}
        for (method, route), more in calls(demo).items():
            if told[method, route.replace("{boxes}", "{layer}")].partition(",")[0] == "read":
                answer = ask(method, route, more)
                ward.check(answer.text + str(answer.headers), route)
                tried += answer.status_code < 300
    assert tried >= 16
    for path, query in (
        ("/descriptors", {"sort": "name"}),
        ("/descriptors", {"sort": "name", "limit": 1}),
        ("/descriptors", {"changed": 0}),
        ("/descriptors", {"fields": ["grouping", "name"]}),
        ("/documents/project", {}),
        ("/events", {"since": 0}),
        (f"/descriptors/{demo.descriptor}/image/zarr.json", {}),
        (f"/descriptors/{demo.descriptor}/image/0/zarr.json", {}),
        (f"/thumbnails/{ward.other}", {}),
        (f"/thumbnails/{ward.plain}", {}),
    ):
        answer = client.get(demo.path + path, params=query)
        ward.check(answer.text + str(answer.headers), path)
    for query in ({"group": PATIENT}, {"group": NAME}, {"name": "*JANE*"}):
        assert client.get(f"{demo.path}/descriptors", params=query).json()["descriptors"] == []
        assert demo.web["annotator"].get(f"{demo.path}/descriptors", params=query).json()["descriptors"]


def test_no_page_tells_a_viewer_of_the_patient(ward: Ward) -> None:
    demo, browser = ward.demo, Browser(ward.demo.web)
    browser.sign_in("viewer")
    base = f"/projects/{demo.id}"
    for path in ("", "?sort=name", "/progress", "/history", "/locks", "/members"):
        ward.check(browser.get(base + path), path)
    for one in (demo.descriptor, ward.other):
        for path in ("", "/thumbnail.png", "/image/z.png", "/layers/z.png", "/neuroglancer/info/image"):
            answer = browser.client.get(f"{base}/data/{one}{path}")
            ward.check(answer.text, path)
        assert browser.client.get(f"{base}/data/{one}").status_code == 200
    picture = browser.client.get(f"{base}/data/{demo.descriptor}/image/z.png")
    assert picture.headers["content-type"] == "image/png"  # what a copy shows is for all


def test_groups_stay_groups_under_a_pseudonym(ward: Ward) -> None:
    demo, client = ward.demo, ward.demo.web["viewer"]
    rows = {row["identifier"]: row for row in client.get(f"{demo.path}/descriptors").json()["descriptors"]}
    first, other, plain = (rows[one] for one in (demo.descriptor, ward.other, ward.plain))
    assert (first["name"], other["name"], plain["name"]) == (demo.descriptor, "scan 2", "phantom")
    patient = first["grouping"][0][0]
    assert patient == other["grouping"][0][0] != plain["grouping"][0][0]
    assert [row["grouping"][3] for row in (first, other, plain)] == [["Kiel", "Kiel"]] * 3
    assert other["grouping"][1] == ["b", "b"] != first["grouping"][1]
    found = client.get(f"{demo.path}/descriptors", params={"group": patient}).json()["descriptors"]
    assert {row["identifier"] for row in found} == {demo.descriptor, ward.other}
    document = client.get(f"{demo.path}/documents/{demo.descriptor}").json()
    assert document["info"] == {"modality": "CT"}
    assert [[group["key"], group["display"]] for group in document["grouping"]] == first["grouping"]
    record = DescriptorRecord.parse(client.get(f"{demo.path}/documents/{ward.other}").json())
    with pytest.raises(AccessError, match="does not tell you where"):
        open_image(record.image, Path("/"))


def test_lists_follow_what_is_saved(ward: Ward) -> None:
    demo, client = ward.demo, ward.demo.web["viewer"]
    assert client.get(f"{demo.path}/descriptors", params={"sort": "name"}).status_code == 200
    local = Project.load(demo.folder.root)
    local.descriptors[ward.plain].name = "Doe again"
    local.descriptors[ward.plain].image_info = ImageInfo(patient_name=NAME)
    local.descriptors[ward.other].name = "renamed"
    local.save()
    rows = client.get(f"{demo.path}/descriptors", params={"sort": "name"}).json()["descriptors"]
    assert [row["name"] for row in rows] == sorted([demo.descriptor, ward.plain, "renamed"])


@pytest.mark.parametrize("least", ["viewer", "maintainer"])
def test_maintainers_choose_who_is_told(ward: Ward, least: str) -> None:
    demo, owner = ward.demo, Browser(ward.demo.web)
    before = {role.name: demo.web[role.name].get(demo.path).json()["sight"] for role in Role}
    owner.sign_in("owner")
    page = f"/projects/{demo.id}"
    owner.send(f"{page}/personal", on=f"{page}/members", role=least)
    for role in Role:
        document = demo.web[role.name].get(f"{demo.path}/documents/{demo.descriptor}").json()
        assert (document["info"].get("patient_id") == PATIENT) == (role >= Role[least]), role
        changed = demo.web[role.name].get(demo.path).json()["sight"] != before[role.name]
        assert changed == (role < Role.maintainer), role
    with demo.web.site.database.reading() as connection:
        (noted,) = audit.newest(connection, 0, 1)
    assert (noted.action, noted.details) == ("sight changed", {"personal": least})


def test_nobody_finds_out_by_a_conflict(ward: Ward) -> None:
    """Annotators to whom it is not told annotate, and are told nothing by what is refused."""
    demo, client = ward.demo, ward.demo.web["annotator"]
    site = demo.web.site
    owner = site.sessions.visitor(site.sessions.signed_in(site.users.named("owner").id))
    site.sights.tell_personal(demo.id, Role.owner, owner)  # the most is maintainers
    assert site.sights.rules(demo.id).personal == Role.maintainer
    answer = client.post(f"{demo.path}/commit", json=demo.comment("", "seen"))
    assert answer.status_code == 200
    ward.check(answer.text, "commit")
    for path in (["info", "patient_name"], ["info"], ["grouping"], ["name"], ["image", "spec"], ["image", "x", "y"]):
        answer = client.post(f"{demo.path}/commit", json=demo.change(path, "guess", "other"))
        assert answer.status_code == 403, answer.text
        ward.check(answer.text, path)
    body = {"changes": [{"name": demo.descriptor, "document": {**demo.document(), "name": "x"}}]}
    answer = client.post(f"{demo.path}/commit", json=body)
    assert answer.status_code == 403, answer.text


def test_nothing_that_is_told_lets_one_make_pseudonyms(ward: Ward, make_web: Callable[[], Web]) -> None:
    """Whoever knows all rows of the audit log, and so what the database goes by, knows nothing of its key."""
    site, other = ward.demo.web.site, make_web().site
    with site.database.reading() as rows, other.database.writing() as connection:
        connection.execute(insert(tables.audit), [dict(row) for row in rows.execute(select(tables.audit)).mappings()])
    assert site.database.identity() == other.database.identity()
    found = [Sight(one.database, ward.demo.id, 1, withholds=True).pseudonyms(["Patient"]) for one in (site, other)]
    first, second = (one.grouping([(PATIENT, NAME)]) for one in found)
    assert first != second
    key = site.database.pseudonym_key()
    assert len(key) == 32
    asked = [ward.demo.web["root"].get(path) for path in ("/audit", "/metrics", "/version", "/users", "/projects")]
    asked += [ward.demo.web["owner"].get(f"{ward.demo.path}{path}") for path in ("", "/files", "/events?since=0")]
    asked += [ward.demo.web["owner"].get(f"{ward.demo.path}/documents/project")]
    assert [one.status_code for one in asked if one.status_code != 200] == []
    for text in (*(one.text for one in asked), repr(found[0]), repr(vars(site.database.engine))):
        assert key.hex() not in text
    for path in ward.demo.folder.root.rglob("*.json"):
        assert key.hex().encode() not in path.read_bytes(), path


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_a_group_that_the_image_tells_of_is_never_shown(patient: str, name: str, site: str, titled: bool) -> None:
    info = ImageInfo(patient_id=patient or None, patient_name=name or None)
    image = {"spec": {}, "own_copy": True, "original_path": "x"}
    groups = [{"key": patient, "display": name}, {"key": site, "display": site}]
    document = {"identifier": "d", "name": "n", "grouping": groups, "info": info.model_dump(), "image": image}
    found = Pseudonyms(b"key", ["Patient" if titled else "A", "Site"]).document(document)
    shown = {text for group in found["grouping"] for text in group.values()}
    assert not shown & ({patient, name} - {"", site})
    if titled:
        assert Pseudonyms(b"other", ["Patient"]).document(document)["grouping"][0] != found["grouping"][0]
    assert found["info"] == {}
