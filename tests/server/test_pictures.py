"""Which images a server opens for pictures: what a client refers to, it need not open."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ParameterError
from bioimage_py.projects.values.records import DescriptorRecord
from bioimage_py.server.pictures import picture_of

from .conftest import Demo


@pytest.fixture
def root(tmp_path):
    bp.copy(np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7), tmp_path / "images" / "a.zarr" / "raw")
    bp.copy(np.ones((5, 6, 7), np.uint8), tmp_path / "secret.zarr" / "raw")
    os.symlink(tmp_path / "secret.zarr", tmp_path / "images" / "link.zarr")
    os.symlink(tmp_path / "secret.zarr" / "raw", tmp_path / "images" / "a.zarr" / "link")
    return tmp_path


@pytest.fixture
def seeing(demo: Demo, root) -> Demo:
    demo.web.site.image_roots = (root / "images",)
    return demo


def document(demo: Demo, path: object, inner: str = "raw", **more: object) -> dict[str, Any]:
    """A data set as somebody writes it who makes requests by hand."""
    identifier = f"20260101-120000-000000-{os.urandom(3).hex()}"
    spec = {"kind": "file", "path": str(path), "internal_path": inner, "params": {"format": "zarr", "mode": "r"}}
    spec = {**spec, "wrapped": None, "version": 1, **more}
    image = {**demo.document()["image"], "own_copy": False, "spec": spec, "shape": [5, 6, 7]}
    return demo.new_document(identifier, image=image)


def refer(demo: Demo, path: object) -> str:
    """Add such a data set, and return where its picture is."""
    made = document(demo, path)
    changes = [{"name": made["identifier"], "document": made}]
    answer = demo.web["owner"].post(f"{demo.path}/commit", json={"changes": changes})
    assert answer.status_code == 200, answer.text
    return f"{demo.path}/thumbnails/{made['identifier']}"


def test_pictures_of_images_below_the_roots_and_of_copies(seeing, root):
    viewer = seeing.web["viewer"]
    for path in (refer(seeing, root / "images" / "a.zarr"), f"{seeing.path}/thumbnails/{seeing.descriptor}"):
        for _ in range(2):
            answer = viewer.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).ndim == 3
    assert viewer.get(f"{seeing.path}/thumbnails/nothing").status_code == 404
    assert seeing.web["stranger"].get(f"{seeing.path}/thumbnails/{seeing.descriptor}").status_code == 404


@pytest.mark.parametrize(
    ("path", "inner", "more"),
    [
        ("{}/secret.zarr", "raw", {}),
        ("{}/images/../secret.zarr", "raw", {}),
        ("{}/images/link.zarr", "raw", {}),
        ("{}/images/a.zarr", "link", {}),
        ("{}/images", "../secret.zarr/raw", {}),
        ("{}/images", "/etc", {}),
        ("{}/images-elsewhere/a.zarr", "raw", {}),
        ("file://{}/images/a.zarr", "raw", {}),
        ("http://127.0.0.1:1/a.zarr", "raw", {}),
        ("~/a.zarr", "raw", {}),
        ("zip://x::{}/images/a.zarr", "raw", {}),
        ("../../../secret.zarr", "raw", {}),
        ("project.json", "", {}),
        ("{}/images/a.zarr", "raw", {"kind": "dicom"}),
        ("{}/images/a.zarr", "raw", {"params": {"format": "hdf5"}}),
        ("{}/images/a.zarr", "raw", {"params": {"format": "zarr", "storage_options": {"headers": {}}}}),
    ],
)
def test_what_lies_elsewhere_is_not_opened(seeing, root, path, inner, more):
    # most of these are refused before, where the data set is added
    record = DescriptorRecord.parse(document(seeing, path.format(root), inner, **more))
    with pytest.raises(ParameterError, match="not visible to the server"):
        picture_of(seeing.folder, record, seeing.web.site.image_roots)


def test_a_refusal_tells_nothing_of_the_server(seeing, root):
    answer = seeing.web["owner"].get(refer(seeing, root / "images" / "link.zarr"))
    assert answer.status_code == 422
    assert "own_copy=True" in answer.json()["remedy"]
    assert str(root) not in answer.text
    assert not list(seeing.folder.root.glob("thumbnails/2*"))


def test_without_a_root_only_copies_are_opened(demo, root):
    assert demo.web["owner"].get(refer(demo, root / "images" / "a.zarr")).status_code == 422
    assert demo.web["owner"].get(f"{demo.path}/thumbnails/{demo.descriptor}").status_code == 200


def test_images_that_are_too_large_or_of_another_shape(seeing, root, monkeypatch):
    path = refer(seeing, root / "images" / "a.zarr")
    monkeypatch.setattr("bioimage_py.server.pictures.MOST_BYTES", 5 * 6 * 7 - 1)
    assert "bytes" in seeing.web["owner"].get(path).json()["detail"]
    bp.copy(np.ones((5, 6, 8), np.uint8), root / "images" / "b.zarr" / "raw")
    answer = seeing.web["owner"].get(refer(seeing, root / "images" / "b.zarr"))
    assert "shape" in answer.json()["detail"]
