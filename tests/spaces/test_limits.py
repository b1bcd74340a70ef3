"""What is put can be stored and read again, whatever it is; what could not is refused as it is put."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import BioimageError, FormatError, ParameterError, ShapeError
from bioimage_py.sources import Axis
from bioimage_py.spaces import (
    Attribute,
    Box,
    ObjectClass,
    ObjectInstance,
    Ontology,
    Polygon,
    RotatedBox,
    Space,
    from_document,
    read_space,
    to_document,
    write_space,
)
from bioimage_py.spaces.document import to_bytes, to_stored
from bioimage_py.spaces.exchange import from_encord, to_encord
from bioimage_py.system.json_text import parse_json

NUMBER = st.floats() | st.sampled_from([0.0, 1e-9, 1e16, 1e150, -1e150, 1e151, 1e308, 5e-324])
TEXT = st.text(max_size=4) | st.sampled_from(["\ud800", "a\udfff", "\x00", "\u2028", "é", "٣", ""])
HOURS = st.integers(-23, 23)
TIME = st.builds(
    lambda year, hours: datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=hours))),
    st.sampled_from([1, 2, 1969, 2024, 9999]),
    HOURS,
)
ONTOLOGY = Ontology(
    [
        ObjectClass("box", "bounding_box", id="box", attributes=[Attribute("note"), Attribute("size", "numeric")]),
        ObjectClass("polygon", "polygon", id="polygon"),
        ObjectClass("turned", "rotatable_bounding_box", id="turned"),
    ]
)


def space_of(scale: float, offset: float) -> Any:
    axes = [Axis(name, scale=scale, offset=offset) for name in "yx"]
    return Space.for_image((80, 100), axes, ONTOLOGY, user="me")


@settings(max_examples=200, deadline=None)
@given(
    scale=st.sampled_from([1.0, 1e-3, 1e100, 1e-100]),
    offset=st.sampled_from([0.0, 1e9, -1e149]),
    numbers=st.lists(NUMBER, min_size=6, max_size=6),
    units=st.sampled_from(["world", "pixel", "normalised"]),
    id=TEXT,
    author=TEXT,
    answer=TEXT | st.integers() | NUMBER | st.just(10**400),
    time=TIME,
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_what_is_put_is_read_again(
    scale: float, offset: float, numbers: Any, units: Any, id: str, author: str, answer: Any, time: datetime
) -> None:
    space = space_of(scale, offset)
    x, y, w, h, u, v = numbers
    box, polygon, turned = (ONTOLOGY.object_class(name) for name in ("box", "polygon", "turned"))
    calls = [
        lambda: space.put_many("box", np.array([[x, y, w, h], [u, v, x, y]]), units=units),
        lambda: space.put_many("box", np.array([[x, y, w, h]]), units=units, outside="clip", created_at=time),
        lambda: space.put_object(ObjectInstance(box, id), Box((x, y), (w, h)), units=units, created_by=author),
        lambda: space.put_object(ObjectInstance(box), Box((0, 0), (1, 1)), created_by=author),
        lambda: space.put_object(ObjectInstance(box, id), Box((2, 2), (3, 3)), created_at=time),
        lambda: space.put_object(ObjectInstance(polygon), Polygon([(x, y), (w, h), (u, v)]), units=units),
        lambda: space.put_object(ObjectInstance(turned), RotatedBox((x, y), (w, h), u), units=units),
        lambda: space.update(space.get_object_instances()[0].id, answers={"note": answer}),
        lambda: space.update(space.get_object_instances()[0].id, answers={"size": answer}),
    ]
    for call in calls:
        before = to_document(space)
        try:
            call()
        except (BioimageError, IndexError):
            assert to_document(space) == before
    for columns_from in (0, 10**9):
        stored = to_bytes(to_stored(space, columns_from=columns_from))
        found = from_document(parse_json(stored))
        assert to_document(found) == to_document(space)
        assert all(np.isfinite([record.bounds[i] for i in (0, 1, 3, 4)]).all() for record in found)


def test_small_boxes_that_are_lost_in_large_numbers() -> None:
    space = space_of(1.0, 1e9)
    with pytest.raises(ParameterError, match=r"Row 1: the box .* in world coordinates"):
        space.put_many("box", np.array([[0, 0, 1, 1], [0, 0, 1e-9, 1e-9]]), units="pixel")
    assert len(space) == 0


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "a", "kind": "text", "id": "a0"}
    for i in range(1, depth):
        found = {"name": "a", "kind": "radio", "options": ["o"], "id": f"a{i}", "nested": {"o": [found]}}
    return found


@pytest.mark.parametrize("depth", [33, 100, 250])
def test_questions_within_questions_have_a_depth(depth: int, tmp_path: Path) -> None:
    document = to_document(space_of(1, 0))
    for deep in (32, depth):
        document["ontology"]["objects"]["box"]["attributes"] = [nested(deep)]
        (tmp_path / "space.json").write_text(json.dumps(document))
        if deep == 32:
            write_space(read_space(tmp_path / "space.json"), tmp_path / "again.json")
            read_space(tmp_path / "again.json")
    with pytest.raises(FormatError, match="too deep"):
        read_space(tmp_path / "space.json")
    one = Attribute("a")
    for _ in range(31):
        one = Attribute("a", "radio", ["o"], nested={"o": [one]})
    with pytest.raises(ParameterError, match="33 deep"):
        Attribute("a", "radio", ["o"], nested={"o": [one]})


def test_a_key_that_comes_twice(tmp_path: Path) -> None:
    space = space_of(1, 0)
    space.put_object(ObjectInstance(ONTOLOGY.object_class("box"), "a"), Box((0, 0), (1, 1)))
    text = json.dumps(to_document(space))
    for old, new in (
        ('"answers": {}', '"answers": {}, "answers": {}'),
        ('"confidence": 1.0', '"confidence": 1.0, "confidence": 0.5'),
    ):
        assert text.count(old) == 1
        (tmp_path / "space.json").write_text(text.replace(old, new))
        with pytest.raises(FormatError, match="is there twice"):
            read_space(tmp_path / "space.json")


def test_axes_are_of_their_own_and_of_lengths_that_indices_have() -> None:
    for shape in ((2**31, 8, 8), (True, 8, 8), (0, 8, 8)):
        with pytest.raises(ShapeError):
            Space.for_image(shape, ("t", "y", "x"), ONTOLOGY)
    with pytest.raises(ShapeError, match="of its own"):
        Space.for_image((8, 8, 8), ("y", "y", "x"), ONTOLOGY)


def test_a_refused_document_takes_nothing_back() -> None:
    made = space_of(1, 0)
    made.put_object(
        ObjectInstance(ONTOLOGY.object_class("box"), "a"),
        Box((0, 0), (1, 1)),
        created_at=datetime(2024, 1, 1, tzinfo=UTC),
    )
    document = to_encord(made).document
    document["space"]["labels"]["0"]["objects"].append({"objectHash": "b"})
    space = from_document(to_document(made))
    space.remove_object("a")
    space.put_object(ObjectInstance(ONTOLOGY.object_class("box"), "c"), Box((0, 0), (1, 1)))
    space.undo()
    with pytest.raises(FormatError):
        from_encord(space, document)
    assert len(space) == 0
    assert space.redo() == 0
    assert [record.id for record in space] == ["c"]
