"""`view`: volumes side by side in one page, served from their sources."""

from __future__ import annotations

import os
import re
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Self

from ...errors import ArgumentError, DtypeError, ParameterError, RegionError, ShapeError, StorageError
from ...extras import needing
from ...sources import Axis, Source, as_source, open_source
from .contrast import contrast
from .levels import Level, levels_of, pyramid_of
from .objects import Kind, Objects, beside, object_files

_LABEL_NAME = re.compile(r"label|seg|truth|mask|cells|nuclei|instance|object|superpixel", re.IGNORECASE)
_GREY = "#uicontrol invlerp normalized\nvoid main() {\n  emitGrayscale(normalized());\n}\n"
_HUES = ("vec3(1,0.25,1)", "vec3(0.2,1,0.2)", "vec3(0.3,0.5,1)", "vec3(1,0.8,0.1)")
_LAYOUTS = ("4panel", "xy", "xz", "yz", "xy-3d", "3d")


@dataclass(frozen=True)
class Layer:
    """A volume as it is shown.

    Parameters
    ----------
    name : str
    levels : tuple of Level
    axes : tuple of Axis
    labels : bool
    """

    name: str
    levels: tuple[Level, ...]
    axes: tuple[Axis, ...]
    labels: bool

    @property
    def source(self) -> Source:
        """The finest level."""
        return self.levels[0].source


class View:
    """A page that is served until it is closed.

    Attributes
    ----------
    url : str
        Where, on this machine only; whoever knows it may look.
    layers : tuple of Layer
    """

    def __init__(self, viewer: Any, layers: tuple[Layer, ...]) -> None:
        self._viewer = viewer
        self.layers = layers
        self.url: str = viewer.get_viewer_url()

    def __repr__(self) -> str:
        return f"View({self.url}, {', '.join(layer.name for layer in self.layers)})"

    def _repr_html_(self) -> str:
        url = escape(self.url)
        frame = f'<iframe src="{url}" style="width:100%;height:600px;border:0"></iframe>'
        return f'<div><a href="{url}" target="_blank">{url}</a>{frame}</div>'

    def screenshot(
        self, path: str | os.PathLike[str], size: tuple[int, int] = (1600, 1000), timeout: float = 180.0
    ) -> str:
        """Write what is shown as PNG, drawn by a Chromium without window once all its voxels have arrived.

        Parameters
        ----------
        path : str or os.PathLike
        size : (int, int), default (1600, 1000)
            Width and height in pixels.
        timeout : float, default 180
            Seconds to wait.

        Returns
        -------
        str
            The absolute path.

        Raises
        ------
        MissingDependencyError
            No Chromium or Chrome is installed.
        StorageError
            It has not drawn the page in time.
        """
        from .browser import opened

        target = Path(os.path.abspath(path))
        done, drawn = threading.Event(), list[bytes]()

        def keep(state: Any) -> None:
            drawn.append(bytes(state.screenshot.image))
            done.set()

        with self._viewer.config_state.txn() as config:
            config.show_ui_controls = config.show_panel_borders = False
            config.viewer_size = list(size)
        try:
            with opened(self.url, (size[0], size[1] + 100)):
                self._viewer.async_screenshot(keep)
                if not done.wait(timeout):
                    raise StorageError(
                        f"the page was not drawn within {timeout:g} s", remedy=f"timeout={3 * timeout:g}"
                    )
        finally:
            with self._viewer.config_state.txn() as config:
                config.show_ui_controls = config.show_panel_borders = True
                config.viewer_size = None
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(drawn[0])
        return str(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving it."""
        from neuroglancer import server

        running = server.global_server
        if running is not None:
            running.viewers.pop(self._viewer.token, None)


def view(
    *volumes: Any,
    labels: Sequence[int | str] | None = None,
    names: Sequence[str] | None = None,
    position: Sequence[float] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.7),
    layout: str = "4panel",
    meshes: str | os.PathLike[str] | None = None,
    skeletons: str | os.PathLike[str] | None = None,
    segments: Sequence[int] | None = None,
    open_browser: bool = False,
) -> View:
    """Show volumes in neuroglancer, in a browser or a notebook; voxels are read as they are looked at.

    The page is served by this process to this machine only, under an address that cannot be guessed, and needs no
    internet. Zoomed out, the coarser levels of a volume are read (OME-Zarr and n5 pyramids, and levels that are given).

    Parameters
    ----------
    *volumes : source-like or path, or sequence of these
        Volumes of up to three axes of space, and of channels and times; a sequence is one volume, its levels the
        finest first. They lie over each other as their axes say (scale, unit, offset); one without units that has the
        shape of the first is taken to lie on it.
    labels : sequence of int or str, optional
        Which of them are labels, by position or name. By default integers of 32 and 64 bits, and smaller ones whose
        name says so ("labels", "truth", "mask", ...).
    names : sequence of str, optional
        By default those of the files.
    position : sequence of float, optional
        Voxel of the first volume in the middle of the view, in the order of its axes; by default its middle.
    percentiles : (float, float), default (1, 99.7)
        Values of an image that are shown black and white.
    layout : {"4panel", "xy", "xz", "yz", "xy-3d", "3d"}, default "4panel"
    meshes, skeletons : path, optional
        What `mesh.surfaces` and `skeleton.trace` have written in the formats of neuroglancer, of the first labels; a
        folder, or the URL of a published one. By default those that the info file of a precomputed layer names.
    segments : sequence of int, optional
        Ids that are chosen, so that they are seen in three dimensions, and alone; by default the hundred largest that
        have a mesh, and a skeleton where both are shown.
    open_browser : bool, default False
        Open the page.

    Returns
    -------
    View
        With `url`, `screenshot` and `close`; in a notebook it shows itself.

    Raises
    ------
    ArgumentError, ParameterError
        Nothing to show, another number of names, an unknown layer or layout, percentiles that are none.
        Files that are no meshes or skeletons, no labels that they could belong to, segments without them.
    ShapeError, RegionError
        An empty volume, or a position that does not lie in the first; meshes of labels without three axes of space.
    DtypeError
        Values that cannot be shown (complex numbers), or labels that are not integers.
    MissingDependencyError
        neuroglancer is not installed.

    Examples
    --------
    >>> bp.viz.view("raw.ome.zarr", "labels.ome.zarr").url  # doctest: +SKIP
    """
    with needing("neuroglancer", "A view in the browser"):
        import neuroglancer

    layers = _layers(volumes, labels, names)
    if layout not in _LAYOUTS:
        raise ParameterError(f"layout={layout!r} is none of {', '.join(_LAYOUTS)}", remedy='layout="4panel"')
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ParameterError(f"percentiles={percentiles!r} are no two of 0 to 100", remedy="percentiles=(1, 99.7)")
    at = _position(layers[0], position)
    objects = _objects(layers, meshes, skeletons, segments)
    chosen = [one.chosen() for one in objects]
    neuroglancer.set_server_bind_address("127.0.0.1")
    viewer = neuroglancer.Viewer(allow_credentials=False)
    with viewer.txn() as state:
        _describe(state, layers, at, percentiles, layout)
    made = View(viewer, layers)  # which has started the server
    _add_objects(viewer, objects, chosen)
    if open_browser:
        webbrowser.open(made.url)
    return made


def _layers(volumes: Sequence[Any], labels: Any, names: Any) -> tuple[Layer, ...]:
    if not volumes:
        raise ArgumentError("there is nothing to view", remedy='bp.viz.view("volume.zarr/raw")')
    if names is not None and len(names) != len(volumes):
        raise ArgumentError(f"there are {len(volumes)} volumes and {len(names)} names", remedy="a name for each")
    found: list[Layer] = []
    for number, volume in enumerate(volumes):
        levels = _levels(volume)
        source = levels[0].source
        name = names[number] if names is not None else _name(source, number, {layer.name for layer in found})
        as_labels = is_labels(source, name) if labels is None else number in labels or name in labels
        if source.dtype.kind not in "buif" or source.dtype.itemsize > 8:
            raise DtypeError(f"{name}: values of type {source.dtype} cannot be shown", remedy="np.abs(array)")
        if as_labels and source.dtype.kind not in "bui":
            raise DtypeError(f"{name}: labels of type {source.dtype} are no integers", remedy="labels=[]")
        if not source.size or not source.ndim:
            raise ShapeError(f"{name}: of shape {tuple(source.shape)} there is nothing to see", remedy="another volume")
        axes = source.axes
        if found and not any(axis.unit for axis in axes) and source.shape == found[0].source.shape:
            axes = found[0].axes
        found.append(Layer(name, levels, tuple(axes), as_labels))
    known = {*range(len(found)), *(layer.name for layer in found)}
    wrong = [one for one in labels or () if one not in known]
    if wrong:
        raise ParameterError(f"labels={wrong} are none of the volumes", remedy=f"labels={[found[-1].name]}")
    return tuple(found)


def _objects(layers: Sequence[Layer], meshes: Any, skeletons: Any, segments: Any) -> list[Objects]:
    """What is shown of the objects of each layer of labels."""
    first = next((layer for layer in layers if layer.labels), None)
    given: list[tuple[Kind, Any]] = [("meshes", meshes), ("skeletons", skeletons)]
    asked = [object_files(path, kind) for kind, path in given if path is not None]
    if first is None and (asked or segments is not None):
        raise ParameterError(
            "meshes=, skeletons= and segments= belong to labels, and there are none",
            remedy=f"labels=[{layers[-1].name!r}], if these are some",
        )
    if asked and first is not None and (n := sum(axis.kind == "space" for axis in first.axes)) != 3:
        raise ShapeError(
            f"{first.name} has {n} axes of space; meshes and skeletons lie in three", remedy=f"{asked[0].kind}=None"
        )
    found = []
    for layer in layers:
        if layer.labels:
            own = [one for one in beside(layer) if layer is not first or one.kind not in {a.kind for a in asked}]
            ids = segments if layer is first else None
            found.append(Objects(layer, [*(asked if layer is first else []), *own], ids))
    return found


def _add_objects(viewer: Any, objects: Sequence[Objects], chosen: Sequence[Sequence[int]]) -> None:
    with viewer.txn() as state:
        for one, ids in zip(objects, chosen, strict=True):
            shown = state.layers[one.layer.name].layer
            sources = one.sources(viewer)
            if any(files.kind == "meshes" for files in one.files):
                shown.source[0].subsources["meshes"] = False  # those that would be made on a click
            shown.source = [*shown.source, *sources]
            if sources:
                state.show_slices = False  # whose black surroundings would hide what lies behind them
            shown.segments = ids


def _levels(volume: Any) -> tuple[Level, ...]:
    several = isinstance(volume, list | tuple) and volume and not isinstance(volume[0], int | float | list | tuple)
    return pyramid_of([_opened(one) for one in volume]) if several else levels_of(_opened(volume))


def _opened(volume: Any) -> Source:
    return open_source(volume) if isinstance(volume, str | os.PathLike) else as_source(volume)


def _name(source: Source, number: int, taken: set[str]) -> str:
    path = os.path.join(getattr(source, "path", ""), getattr(source, "internal_path", "") or "").rstrip("/")
    parts = [part for part in path.split("/") if part]
    while len(parts) > 1 and re.fullmatch(r"s?\d+", parts[-1]):  # the number of a level
        parts.pop()
    name = parts[-1].partition(".")[0] if parts else f"volume {number}"
    return name if name not in taken else f"{name} {number}"


def is_labels(source: Source, name: str) -> bool:
    """Whether a volume is taken for labels: by its data type, where it lies, and its name."""
    if source.dtype.kind not in "bui":
        return False
    below = (getattr(source, "internal_path", None) or "").split("/")[:-1]
    return source.dtype.itemsize >= 4 or "labels" in below or bool(_LABEL_NAME.search(name))


def _position(layer: Layer, position: Sequence[float] | None) -> dict[str, float]:
    """Where the view is, by axis, in voxels of its coordinate space."""
    shape, axes = layer.source.shape, layer.axes
    if position is None:
        position = [size // 2 if axis.kind == "space" else 0 for size, axis in zip(shape, axes, strict=True)]
    if len(position) != len(shape) or not all(0 <= at < size for at, size in zip(position, shape, strict=True)):
        raise RegionError(
            f"position={tuple(position)} does not lie in {layer.name}, of shape {tuple(shape)}",
            remedy=f"position={tuple(size // 2 for size in shape)}",
        )
    shown = zip(axes, position, strict=True)
    return {one.name: at + 0.5 + round(one.offset / one.scale) for one, at in shown if one.kind != "channel"}


def _describe(
    state: Any, layers: Sequence[Layer], at: dict[str, float], percentiles: tuple[float, float], layout: str
) -> None:
    """Fill in the state of the page."""
    import neuroglancer

    from .served import ServedVolume, space_of

    axes = {axis.name: axis for layer in reversed(layers) for axis in layer.axes if axis.kind != "channel"}
    order = sorted(axes, key=lambda name: (axes[name].kind != "space", "xyz".find(name) % 4, name))
    state.dimensions = space_of([axes[name] for name in order])
    state.display_dimensions = [name for name in order if axes[name].kind == "space"][:3] or order[:3]
    state.position = [at.get(name, 0.0) for name in order]
    for layer in layers:
        volume = ServedVolume(layer.levels, layer.axes, layer.labels)
        if layer.labels:
            state.layers[layer.name] = neuroglancer.SegmentationLayer(source=volume, selected_alpha=0.4)
            continue
        low, high = contrast(layer.levels, percentiles)
        channels = [size for size, one in zip(layer.source.shape, layer.axes, strict=True) if one.kind == "channel"]
        shader, controls = _shader(channels[0] if len(channels) == 1 else 1, (low, high))
        state.layers[layer.name] = neuroglancer.ImageLayer(source=volume, shader=shader, shader_controls=controls)
    state.layout = layout
    state.cross_section_background_color = "#000000"
    state.projection_orientation = [-0.36, -0.3, -0.12, 0.87]
    _zoom(state, layers[0], order)


def _shader(channels: int, ends: tuple[float, float]) -> tuple[str, dict[str, Any]]:
    """Grey for one channel, a colour each for two to four."""
    if not 2 <= channels <= len(_HUES):
        return _GREY, {"normalized": {"range": list(ends)}}
    lines = [f"#uicontrol invlerp c{number}(channel={number})" for number in range(channels)]
    mixed = " + ".join(f"c{number}() * {hue}" for number, hue in zip(range(channels), _HUES, strict=False))
    return "\n".join([*lines, "void main() {", f"  emitRGB({mixed});", "}", ""]), {
        f"c{number}": {"range": list(ends)} for number in range(channels)
    }


def _zoom(state: Any, layer: Layer, order: Sequence[str]) -> None:
    """As much as fits about half a screen."""
    sizes = {axis.name: size for axis, size in zip(layer.axes, layer.source.shape, strict=True)}
    largest = max(sizes.get(name, 1) for name in order[:2])
    state.cross_section_scale = max(largest / 550, 1 / 16)
    state.projection_scale = 2.0 * max(sizes.get(name, 1) for name in order[:3])
