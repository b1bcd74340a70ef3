"""Documents as they are sent: the file decides, not what is kept."""

from __future__ import annotations

import gzip
import json

from bioimage_py.server import documents as module
from bioimage_py.server.documents import Documents

from .http.test_http import ok


def test_a_document_is_read_once_and_again_when_its_file_has_changed(demo):
    documents = Documents(demo.folder)
    before = demo.folder.opened
    first = documents.sent(demo.descriptor)
    assert json.loads(first.text) == demo.document()
    before = demo.folder.opened
    assert documents.sent(demo.descriptor) is first
    assert demo.folder.opened == before
    ok(demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("", "other")))
    second = documents.sent(demo.descriptor)
    assert json.loads(second.text)["comments"] == "other"
    assert second.etag != first.etag
    assert documents.sent("gone") is None
    demo.folder.path_of(demo.descriptor).unlink()
    assert documents.sent(demo.descriptor) is None
    assert not documents.exists(demo.descriptor)


def test_no_more_is_kept_than_fits(demo, monkeypatch):
    text = demo.folder.path_of(demo.descriptor).read_bytes()
    names = [f"copy{n}" for n in range(6)]
    for name in names:
        demo.folder.path_of(name).write_bytes(text)
    documents = Documents(demo.folder)
    size = len(documents.sent("copy0").text)
    monkeypatch.setattr(module, "_BYTES", 3 * size + 10)
    for name in names:
        documents.sent(name)
    assert list(documents._kept) == names[-3:]
    assert documents._size == sum(len(sent.text) for _, sent in documents._kept.values())


def test_large_answers_are_compressed_for_who_takes_that(demo):
    demo.folder.path_of("large").write_text(json.dumps({**demo.document(), "comments": "x" * 20_000}))
    plain = demo.web["viewer"].get(f"{demo.path}/documents/large", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    with demo.web["viewer"].stream("GET", f"{demo.path}/documents/large", headers={"Accept-Encoding": "gzip"}) as sent:
        packed = b"".join(sent.iter_raw())
    assert sent.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 5000
    assert gzip.decompress(packed) == plain.content
    assert plain.headers["ETag"] == sent.headers["ETag"]
