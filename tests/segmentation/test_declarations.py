"""Operations on labels and scores declare what they promise."""

from __future__ import annotations

import inspect

import pytest

from bioimage_py import evaluation, segmentation
from bioimage_py.engine.declaration import Declaration

OPERATIONS = [
    (module.__name__.rpartition(".")[2], name)
    for module in (evaluation, segmentation)
    for name in module.__all__
    if "num_workers" in inspect.signature(getattr(module, name)).parameters
]


@pytest.mark.parametrize(("package", "name"), OPERATIONS)
def test_every_operation_is_declared(package: str, name: str) -> None:
    call = getattr({"evaluation": evaluation, "segmentation": segmentation}[package], name)
    assert isinstance(call.declaration, Declaration)
    assert call.declaration.kernel
    assert "Returns\n" in call.__doc__
