"""A data set in neuroglancer: the page that its library brings, what it is to show, and the voxels that it asks for."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import KeyNotFoundError, ParameterError
from ...projects.storage.versions import open_version
from ...projects.values.kinds import LayerKind
from ...projects.values.models import Layer
from ...projects.values.records import DescriptorRecord
from ...projects.values.sets import BoxSet, LandmarkSet, from_table, scale_of
from ...viz.viewing.levels import best, levels_of
from ...wrapper.view import AxesSource
from ..pictures import opened
from ..sealed import Place
from .looking import Looking

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Neuroglancer sets styles by script, and computes in workers; it loads from nowhere else either."""
IMAGE = "image"
_MOST_ROWS = 2000
"""Boxes or landmarks of a layer that are shown."""
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".wasm": "application/wasm",
}


@cache
def files() -> dict[str, Path]:
    """Return the files of neuroglancer's page, by name; none where the library is not installed."""
    found = importlib.util.find_spec("neuroglancer")
    places = [] if found is None else list(found.submodule_search_locations or [])
    folder = Path(places[0]) / "static" / "client" if places else None
    if folder is None or not folder.is_dir():
        return {}
    return {path.name: path for path in folder.iterdir() if path.suffix in _KINDS}


def kind_of(path: Path) -> str:
    """Return the media type of a file."""
    return _KINDS[path.suffix]


def state_of(looking: Looking, record: DescriptorRecord, visible: bool, limits: Any = None) -> dict[str, Any]:
    """Return what neuroglancer is to show: the image, where the server may open it, and what was annotated."""
    layers: list[dict[str, Any]] = []
    if visible:
        image: dict[str, Any] = {"type": "image", "name": IMAGE, "source": f"python://volume/{IMAGE}"}
        if limits is not None and len(limits) == 1:
            image["shaderControls"] = {"normalized": {"range": [float(limits[0][0]), float(limits[0][1])]}}
        layers.append(image)
    for layer in looking.settings.layers:
        stored = record.layers.get(layer.id)
        if stored is None or not stored.units:
            continue
        if layer.kind == LayerKind.PIXELWISE:
            colours = {str(one.value): _hex(one.color) for one in layer.labels if one.value is not None}
            source = f"python://volume/{layer.id}"
            layers.append({"type": "segmentation", "name": layer.name, "source": source, "segmentColors": colours})
        elif stored.units <= _MOST_ROWS:
            layers.append(_marks(looking, record, layer, stored.version))
    return {**_middle(record), "layers": layers, "layout": "4panel", "showSlices": False}


def _middle(record: DescriptorRecord) -> dict[str, Any]:
    """Return the axes, x first, as neuroglancer walks through them, and the middle of the image."""
    from ...viz.viewing.served import space_of

    pairs = list(zip(record.image.axis_values(), record.image.shape, strict=True))
    walked = sorted((pair for pair in pairs if pair[0].kind != "channel"), key=lambda pair: pair[0].name.lower())
    space = space_of([axis for axis, _ in walked]).to_json()
    return {"dimensions": space, "position": [size / 2 + axis.offset / axis.scale for axis, size in walked]}


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def _marks(looking: Looking, record: DescriptorRecord, layer: Layer, version: str) -> dict[str, Any]:
    from ...viz.viewing.served import space_of

    axes = [axis for axis in record.image.axis_values() if axis.kind == "space"]
    boxes = layer.kind == LayerKind.BOUNDINGBOX
    path = looking.served.folder.inside(Place(looking.served.folder, record.identifier, layer).table(version))
    names = {label.id: label.name for label in layer.labels}
    rows = from_table(path.read_text("utf-8"), BoxSet if boxes else LandmarkSet, names, "The table", scale_of(axes))
    marks = []
    for number, row in enumerate(rows):
        corners = (row.top_left, row.lower_right) if boxes else (row.world,)
        places = [
            [float(corner["xyz".index(axis.name.lower())]) / axis.scale + 0.5 for axis in axes] for corner in corners
        ]
        shape = {"pointA": places[0], "pointB": places[1]} if boxes else {"point": places[0]}
        kind = "axis_aligned_bounding_box" if boxes else "point"
        marks.append({"type": kind, "id": str(number), "description": row.type, **shape})
    space = space_of(axes).to_json()
    source = {"url": "local://annotations", "transform": {"outputDimensions": space}}
    return {"type": "annotation", "name": layer.name, "source": source, "annotations": marks}


class Volume:
    """A volume that neuroglancer asks for, opened for one request.

    Parameters
    ----------
    looking : Looking
    record : DescriptorRecord
    key : str
        "image", or the id of a layer of label maps.

    Raises
    ------
    KeyNotFoundError
        There is no such volume.
    ParameterError
        The server may not open the image.
    """

    def __init__(self, looking: Looking, record: DescriptorRecord, key: str) -> None:
        from ...viz.viewing.served import ServedVolume

        if key == IMAGE:
            self._source = opened(looking.served.folder, record, looking.visit.site.image_roots)
        else:
            layer = looking.layer(key)
            stored = record.layers.get(layer.id)
            if stored is None or layer.kind != LayerKind.PIXELWISE:
                raise KeyNotFoundError(f"There is no label map {key!r}.", remedy="load the page again")
            place = Place(looking.served.folder, record.identifier, layer)
            self._source = open_version(looking.served.folder.inside(place.version(stored.version)))
        inner = self._source._source if isinstance(self._source, AxesSource) else self._source
        axes = self._source.axes
        self._levels = levels_of(inner)
        self.served = ServedVolume(self._levels, axes, labels=key != IMAGE)

    def cost(self, start: Sequence[int], end: Sequence[int], factors: Sequence[int]) -> int:
        """Return how many bytes of the volume a part of it takes that is coarser by these factors.

        Raises
        ------
        ParameterError
            These are not numbers for each axis.
        """
        if not len(start) == len(end) == len(factors) == self._source.ndim or min(factors) < 1:
            raise ParameterError("This is no part of the volume.", remedy="load the page again")
        level = best(self._levels, factors)
        sides = zip(start, end, factors, level.factors, strict=True)
        return math.prod(max(0, high - low) * (want // have) for low, high, want, have in sides) * (
            self._source.dtype.itemsize
        )

    def close(self) -> None:
        """Close it."""
        self._source.close()
