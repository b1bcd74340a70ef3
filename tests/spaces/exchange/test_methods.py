"""What is exchanged, as methods of a space: the names that the functions have."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from bioimage_py import spaces
from bioimage_py.spaces import Box, ObjectInstance, Space, exchange

NAMES = [name for name in exchange.__all__ if name.startswith(("to_", "from_"))]


@pytest.mark.parametrize("name", [*NAMES, "to_document", "rasterise", "vectorise"])
def test_each_function_is_a_method(name: str) -> None:
    method = getattr(Space, name)
    assert method.__doc__
    assert next(iter(inspect.signature(method).parameters)) == "space"


def test_they_do_the_same(image: Any) -> None:
    image.put_object_instance(ObjectInstance(image.ontology.object_class("nucleus")), Box((1, 2), (5, 9)))
    assert image.to_coco() == exchange.to_coco(image)
    again = Space.from_document(image.to_document())
    assert again.to_document() == spaces.to_document(image)
    drawn = np.zeros(image.grid.mask_shape(0), "u1")
    assert list(image.rasterise(drawn).values()) == [1]
    assert drawn.any()
