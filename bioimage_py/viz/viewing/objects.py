"""Meshes and skeletons of labels: whether a folder has such, of which objects, and where they lie in a view."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import ParameterError
from ...per_object.folder import PROVENANCE
from ...per_object.shards import Sharding, sizes_in
from ...per_object.volume import Place, place_of
from ...runner.planning.checks import whole_numbers
from ...sources import Axis
from ...sources.precomputed.source import PrecomputedSource
from ...system.json_text import parse_json

if TYPE_CHECKING:
    from .view import Layer

Kind = Literal["meshes", "skeletons"]

_TYPES: dict[Kind, tuple[str, ...]] = {
    "meshes": ("neuroglancer_multilod_draco", "neuroglancer_legacy_mesh"),
    "skeletons": ("neuroglancer_skeletons",),
}
_KEYS: dict[Kind, str] = {"meshes": "mesh", "skeletons": "skeletons"}
_MAKES: dict[Kind, str] = {"meshes": "bioimage-py mesh LABELS", "skeletons": "bioimage-py skeleton LABELS"}
_OBJECT = re.compile(r"([0-9]+)([.:].*)?")
_SHOWN = 100
"""Objects that are shown from the beginning."""


@dataclass(frozen=True)
class ObjectFiles:
    """Meshes or skeletons in the formats of Neuroglancer.

    Parameters
    ----------
    kind : {"meshes", "skeletons"}
    place : str
        A local folder, or the URL of a published one.
    info : dict
        What its ``info`` file says; empty of what is published.
    """

    kind: Kind
    place: str
    info: dict[str, Any]

    @property
    def folder(self) -> Path | None:
        """The local folder."""
        return None if "://" in self.place else Path(self.place)

    def sizes(self) -> dict[int, int]:
        """Bytes of each object, as far as a folder tells them."""
        if self.folder is None:
            return {}
        if sharding := self.info.get("sharding"):
            known = Sharding(int(sharding["minishard_bits"]), int(sharding["shard_bits"]))
            shards = sorted(self.folder.glob("*.shard")) if sharding == known.spec() else []
            return {one: size for shard in shards for one, size in sizes_in(shard, known)}
        found = Counter[int]()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if named := _OBJECT.fullmatch(entry.name):
                    found[int(named[1])] += entry.stat().st_size
        return dict(found)

    def voxel(self) -> tuple[float, ...] | None:
        """Nanometers of a voxel, x, y, z, with which they were made; None where nothing says so."""
        if self.folder is None:
            return None
        try:
            told = parse_json((self.folder / PROVENANCE).read_bytes())["voxel"]
            return (float(told[0]), float(told[1]), float(told[2]))
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None


def object_files(given: str | os.PathLike[str], kind: Kind) -> ObjectFiles:
    """What a path or URL leads to.

    Raises
    ------
    ParameterError
        No folder with such files, in a format that neuroglancer reads.
    """
    place = os.fspath(given).rstrip("/").removeprefix("precomputed://")
    if "://" in place:
        return ObjectFiles(kind, place, {})
    try:
        info = parse_json((Path(place) / "info").read_bytes())
        if info["@type"] in _TYPES[kind]:
            return ObjectFiles(kind, os.path.abspath(place), info)
        found = f"is of the type {info['@type']}"
    except FileNotFoundError:
        found = "has no file 'info'" if Path(place).is_dir() else "is no folder"
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"has an 'info' that cannot be read ({type(error).__name__})"
    remedy = f"{_MAKES[kind]} {shlex.quote(f'{place}_new')}"
    raise ParameterError(f"{kind}={place!r} {found}: there are no {kind} to view", remedy=remedy)


def beside(layer: Layer) -> list[ObjectFiles]:
    """Meshes and skeletons that the info file of a precomputed layer names."""
    source = layer.source
    path = getattr(source, "cloudpath", None) or getattr(source, "path", None)
    if not isinstance(source, PrecomputedSource) or path is None or source.remote:
        return []
    folder = Path(path.removeprefix("precomputed://").removeprefix("file://"))
    found = []
    try:
        info = parse_json((folder / "info").read_bytes())
        for kind, key in _KEYS.items():
            if isinstance(name := info.get(key), str) and (folder / name / "info").is_file():
                found.append(object_files(folder / name, kind))
    except (OSError, ValueError, ParameterError):  # announced, and not there
        pass
    return found


@dataclass(frozen=True)
class Objects:
    """What is shown of the objects of a layer.

    Parameters
    ----------
    layer : Layer
    files : sequence of ObjectFiles
    ids : sequence of int, optional
        The objects; by default those of which there is most.
    """

    layer: Layer
    files: Sequence[ObjectFiles]
    ids: Sequence[int] | None

    def chosen(self) -> list[int]:
        """Ids, ascending; by default of objects that have all files: the page waits for those that it has not found.

        Raises
        ------
        ParameterError
            An id without a mesh, or a skeleton.
        """
        known = [(one, sizes) for one in self.files if (sizes := one.sizes())]
        if self.ids is None:
            sizes = Counter[int]()
            for _, of_one in known:
                sizes.update(of_one)
            whole = set(sizes).intersection(*(of_one for _, of_one in known))
            return sorted(one for one, _ in Counter({one: sizes[one] for one in whole}).most_common(_SHOWN))
        ids = sorted(whole_numbers(self.ids, "segments") or ())
        for one, of_one in known:
            if missing := [number for number in ids if number not in of_one]:
                raise ParameterError(
                    f"segments={missing[:5]} have no {one.kind} in {one.place}", remedy=f"segments={sorted(of_one)[:5]}"
                )
        return ids

    def sources(self, viewer: Any) -> list[Any]:
        """Files as neuroglancer takes them, where the voxels of their labels are shown."""
        import neuroglancer

        from .folders import address_of
        from .served import space_of

        given, shown = (_in_space(axes) for axes in (self.layer.source.axes, self.layer.axes))
        nanometers = neuroglancer.CoordinateSpace(names=["x", "y", "z"], units=["nm"] * 3, scales=[1.0] * 3)
        found = []
        for one in self.files:
            place = _with_scale(place_of(given, None).as_neuroglancer(), one.voxel())
            axes = [shown[axis] for axis in place.order]
            voxels = space_of(axes)
            matrix = np.zeros((3, 4))
            for row, (axis, scale, offset) in enumerate(zip(axes, place.scale, place.offset, strict=True)):
                # factors stand between lengths in the world, what is added counts in voxels
                matrix[row, row] = voxels.scales[row] / (nanometers.scales[row] * scale)
                matrix[row, 3] = 0.5 + round(axis.offset / axis.scale) - offset / scale
            moved = neuroglancer.CoordinateSpaceTransform(
                output_dimensions=voxels, input_dimensions=nanometers, matrix=matrix
            )
            url = one.place if one.folder is None else address_of(viewer, one.folder)
            found.append(neuroglancer.LayerDataSource(url=f"precomputed://{url}", transform=moved))
        return found


def _in_space(axes: Sequence[Axis]) -> list[Axis]:
    return [axis for axis in axes if axis.kind == "space"]


def _with_scale(place: Place, scale: tuple[float, ...] | None) -> Place:
    """Where voxels lie in the files: as their axes say, unless another size was given when they were made."""
    if scale is None or np.allclose(scale, place.scale):
        return place
    x, y, z = scale
    return replace(place, scale=(x, y, z), offset=(abs(x) / 2, abs(y) / 2, abs(z) / 2))
