"""Versions of annotation spaces, read without being kept in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..spaces import from_document
from .values.names import is_space, space_id
from .values.records import LayerRecord
from .values.space_merge import without_unknown

if TYPE_CHECKING:
    from .descriptor import Descriptor


def versions(descriptor: Descriptor) -> dict[str, str]:
    """Return the version that is stored of each space, by its id."""
    return {space_id(key): stored.version for key, stored in descriptor._record.layers.items() if is_space(key)}


def read(descriptor: Descriptor, id: str, version: str) -> Any:
    """Return a space as a version has it; see `Descriptor.read_space`."""
    spaces, ontology = descriptor._project._spaces, descriptor._project.ontology
    record = LayerRecord(version=version, units=0)
    return from_document(without_unknown(spaces._read(descriptor.identifier, id, record), ontology), ontology)
