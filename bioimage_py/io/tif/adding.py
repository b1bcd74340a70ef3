"""Images added to a tif file: its pages stay as they are, and what describes them tells of the new ones too."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...errors import DtypeError, ShapeError
from ..details import Image
from .whole import open_tif
from .writing import CLASSIC_BYTES, Settings, write_images

_PARTS = ("Image", "Pixels", "Channel")


def add(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Add images to a file, which is changed.

    Parameters
    ----------
    path : str
        A file of its own: until this returns it is not whole.
    images : sequence of Image
    options : mapping
        As of `write`.

    Returns
    -------
    tuple of str or None
        What has no place in the file; None where it has to be written anew to hold them.
    """
    given = Settings(**dict(options))
    with open_tif(path) as file:
        flavor = "ome" if file.is_ome else "plain" if file.is_appendable else None
        pages, before, big = len(file.pages), [tuple(one.shape) for one in file.series], file.is_bigtiff
        description = file.ome_metadata if flavor == "ome" else None
    if flavor is None or given.flavor not in (None, flavor):
        return None
    old = None if description is None else _told(description)
    if flavor == "ome" and (old is None or len(_images(old)) != len(before)):
        return None
    try:
        replace(given, flavor=flavor).for_images(path, images)
    except (DtypeError, ShapeError):
        return None
    nbytes = sum(int(np.prod(image.array.shape, dtype=object)) * image.array.dtype.itemsize for image in images)
    if not big and os.path.getsize(path) + 1.34 * nbytes > CLASSIC_BYTES:
        return None
    lost = write_images(path, images, given, flavor, append="force")
    if old is not None and not _described(path, old, pages):
        return None
    with open_tif(path) as file:  # pages of other programs may be taken for more of the image before
        after = [tuple(one.shape) for one in file.series]
    return lost if after[: len(before)] == before and len(after) == len(before) + len(images) else None


def _told(description: str) -> Any:
    """The description of an OME file as elements; None where it speaks of other files, or cannot be read."""
    try:
        root = ElementTree.fromstring(description)
    except ElementTree.ParseError:
        return None
    return None if root.find(f".//{_space(root)}UUID") is not None else root


def _space(root: Any) -> str:
    return str(root.tag).rpartition("}")[0] + "}" if "}" in root.tag else ""


def _images(root: Any) -> list[Any]:
    return list(root.findall(f"{_space(root)}Image"))


def _described(path: str, old: Any, pages: int) -> bool:
    """Put the description of the new images, which stands at their first page, behind that of the old ones."""
    import tifffile

    with tifffile.TiffFile(path, mode="r+") as file:
        page: Any = file.pages[pages]
        new = ElementTree.fromstring(page.description)
        if new.tag != old.tag:  # of another version of the schema
            return False
        space, count = _space(old), len(_images(old))
        _annotate(old, new, count)
        for number, image in enumerate(_images(new), count):
            for part in _PARTS:
                for position, node in enumerate([image] if part == "Image" else image.iter(f"{space}{part}")):
                    node.set("ID", f"{part}:{number}" + (f":{position}" if part == "Channel" else ""))
            for node in image.iter(f"{space}TiffData"):
                node.set("IFD", str(int(node.get("IFD", "0")) + pages))
            old.insert(list(old).index(_images(old)[-1]) + 1, image)
        ElementTree.register_namespace("", space[1:-1])
        told = ElementTree.tostring(old, encoding="us-ascii", xml_declaration=True)
        page.tags[270].overwrite("")
        first: Any = file.pages[0]
        first.tags[270].overwrite(told)
    return True


def _annotate(old: Any, new: Any, count: int) -> None:
    """Put the annotations of new images to those of the old ones, under names that none of these has."""
    space = _space(old)
    found = new.find(f"{space}StructuredAnnotations")
    if found is None:
        return
    there = old.find(f"{space}StructuredAnnotations")
    if there is None:
        there = ElementTree.Element(found.tag)
        old.insert(list(old).index(_images(old)[-1]) + 1, there)
    taken = {node.get("ID") for node in there}
    for node in found:
        name = f"{node.get('ID')}:{count}"
        while name in taken:
            name += "+"
        for reference in new.iter(f"{space}AnnotationRef"):
            if reference.get("ID") == node.get("ID"):
                reference.set("ID", name)
        node.set("ID", name)
        there.append(node)
