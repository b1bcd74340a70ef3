"""Lists of data sets by what has changed."""

from __future__ import annotations

from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.server.http import document_routes

from .test_http import ok, problem


def test_data_sets_that_have_changed_since_are_listed(demo, monkeypatch):
    owner, names = demo.web["owner"], [new_stamp() for _ in range(3)]

    def commit(*changes):
        return ok(owner.post(f"{demo.path}/commit", json={"changes": list(changes)}))["seq"]

    def changed(since, **more):
        query = {"changed": since, **more}
        return [row["identifier"] for row in ok(owner.get(f"{demo.path}/descriptors", params=query))["descriptors"]]

    added = commit(*({"name": name, "document": demo.new_document(name, name=name)} for name in names))
    edited = commit(*(demo.change(["comments"], "", "x", name)["changes"][0] for name in names[:2]))
    gone = commit({"name": names[0], "remove": True})
    assert changed(added - 1) == names[1:]
    assert changed(added) == [names[1]]
    assert changed(added, name="no such") == changed(edited) == changed(gone) == []
    problem(owner.get(f"{demo.path}/descriptors", params={"changed": gone + 1}), 410, "events-gone")
    monkeypatch.setattr(document_routes, "_MOST_PAGES", 2)
    monkeypatch.setattr(document_routes, "MOST", 1)
    assert changed(edited) == []
    problem(owner.get(f"{demo.path}/descriptors", params={"changed": added - 1}), 422, "not-valid")


def test_only_the_fields_that_are_asked_for(demo):
    owner = demo.web["owner"]
    whole = ok(owner.get(f"{demo.path}/descriptors"))["descriptors"]
    found = ok(owner.get(f"{demo.path}/descriptors", params={"fields": ["name", "tags"]}))["descriptors"]
    assert found
    assert found == [{key: row[key] for key in ("identifier", "name", "tags")} for row in whole]
    problem(owner.get(f"{demo.path}/descriptors", params={"fields": "password"}), 422, "not-valid")
