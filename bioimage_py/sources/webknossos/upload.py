"""Sending a local layer to a WebKnossos server, with the webknossos library."""

from __future__ import annotations

import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from .opening import webknossos
from .server import PROPERTIES, ask

if TYPE_CHECKING:
    from ..base import Source
    from .source import WebKnossosSource


def send(source: WebKnossosSource, dataset: str | None, name: str | None) -> str:
    """Send a layer (see `WebKnossosSource.upload`); returns the URL of the dataset on the server."""
    library = webknossos()
    layer = library.Dataset.open(source.layer.layer.dataset.path).get_layer(source.layer.layer.name)
    if layer.category == "segmentation" and layer.largest_segment_id is None:
        layer.largest_segment_id = largest_id(type(source).of_view(layer.get_finest_mag()))
    if dataset is not None:
        return ask(dataset, lambda: _add(library, layer, dataset, name))
    with tempfile.TemporaryDirectory(prefix="webknossos-") as folder:
        alone = _dataset_of(layer, os.path.join(folder, "dataset"))
        sent_as = name or layer.dataset.name
        return ask(sent_as, lambda: str(library.Dataset.open(alone).upload(new_dataset_name=sent_as).url))


def largest_id(source: Source) -> int:
    """Return the largest value of a source of integers, read one unit of writing at a time."""
    units = source.write_chunks or source.shape
    # the first unit may begin below 0
    spans = [
        range(-(-origin % size), n, size)
        for origin, size, n in zip(source.grid_origin, units, source.shape, strict=True)
    ]
    largest = 0
    for position in np.ndindex(*(len(span) for span in spans)):
        begin = [span[i] for span, i in zip(spans, position, strict=True)]
        box = tuple(slice(max(b, 0), min(b + u, n)) for b, u, n in zip(begin, units, source.shape, strict=True))
        largest = max(largest, int(source[box].max()))
    return largest


def _add(library: Any, layer: Any, dataset: str, name: str | None) -> str:
    remote = library.RemoteDataset.open(dataset)
    remote.add_layer_as_copy(layer, name)
    return str(remote.url)


def _dataset_of(layer: Any, folder: str) -> str:
    """Make a dataset that holds one layer, by links to its magnifications; returns its folder."""
    others = set(layer.dataset.layers) - {layer.name}
    layer.dataset.shallow_copy_dataset(folder, layers_to_ignore=others)
    path = os.path.join(folder, PROPERTIES)
    with open(path, encoding="utf-8") as file:
        properties = json.load(file)
    (described,) = properties["dataLayers"]
    described.pop("attachments", None)
    os.makedirs(os.path.join(folder, layer.name), exist_ok=True)
    for mag in described["mags"]:
        view = layer.get_mag(mag["mag"])
        mag["path"] = f"./{layer.name}/{view.name}"
        os.symlink(view.path, os.path.join(folder, layer.name, view.name))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(properties, file)
    return folder
