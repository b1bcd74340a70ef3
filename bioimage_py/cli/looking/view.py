"""`bioimage-py view`."""

from __future__ import annotations

import posixpath
import threading
from typing import TYPE_CHECKING, Any

import click

from ...errors import ParameterError
from ..common import Command, json_option, lengths, numbers, print_json
from ..inputs import arrays_at, layers_at, open_input

if TYPE_CHECKING:
    from ...sources import Source

_MOST = 24
"""Volumes of a container that are shown without naming one."""


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True)
@click.option("--labels", multiple=True, metavar="NAME", help="A layer with labels; repeatable.  [default: guessed]")
@click.option("--images", is_flag=True, help="All are images.")
@click.option("--position", type=lengths, metavar="Z,Y,X", help="Voxel in the middle.  [default: the middle]")
@click.option("--percentiles", type=lengths, default="1,99.7", show_default=True, help="Black and white of images.")
@click.option("--layout", default="4panel", show_default=True, help="4panel, xy, xz, yz, xy-3d or 3d.")
@click.option("--meshes", metavar="FOLDER", help="Surfaces of the first labels.  [default: those of a layer's info]")
@click.option("--skeletons", metavar="FOLDER", help="Lines of the first labels.")
@click.option("--segments", type=numbers, metavar="ID,...", help="Ids to choose.  [default: the 100 largest]")
@click.option("--screenshot", metavar="FILE.png", help="Write a picture, and end.")
@click.option("--size", type=numbers, default="1600,1000", show_default=True, metavar="W,H", help="Of the picture.")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@click.option("--link", is_flag=True, help="Print a link for anybody to published data (URLs), and end.")
@json_option
def view(
    paths: tuple[str, ...], labels: tuple[str, ...], images: bool, screenshot: str | None, size: tuple[int, ...],
    no_browser: bool, link: bool, as_json: bool, **how: Any,
) -> None:  # fmt: skip
    """Look at PATHS in a browser: images and labels over each other, read as they are looked at. Ctrl-C ends it.

    PATHS are arrays, containers, layers, URLs; zoomed out, their coarser levels are shown. Only this machine can
    open the page.

    \b
    Example:
      bioimage-py view volume.zarr/raw labels.ome.zarr
    """  # noqa: D301
    if link:
        from ...viz import link as made

        numbers_of_labels = [number for number, path in enumerate(paths) if _name(path) in labels]
        _print({"url": made(*paths, labels=numbers_of_labels)}, as_json)
        return
    from ...viz import view as show

    shown, names = [], list[str]()
    for path in paths:
        for name, levels in volumes(path):
            shown.append(levels)
            names.append(name if name not in names else f"{name} {len(names)}")
    picked = [] if images else list(labels) or None
    browser = not (no_browser or screenshot or as_json)
    with show(*shown, names=names, labels=picked, open_browser=browser, **how) as page:
        if screenshot is not None:
            if len(size) != 2:
                raise click.BadParameter("give two numbers, such as 1600,1000", param_hint="--size")
            _print({"screenshot": page.screenshot(screenshot, (size[0], size[1]))}, as_json)
            return
        _print({"url": page.url, "layers": names}, as_json)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("")


def _print(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        click.echo("\n".join(str(value) for value in told.values() if isinstance(value, str)))


def volumes(path: str) -> list[tuple[str, list[Source]]]:
    """Names and levels of what a path leads to: one volume, or all of a container."""
    if "::" in path or layers_at(path) is None:
        try:
            found = open_input(path, None)
            return [(_name(path), [found]), *((name, [one]) for name, one in _labels_of(path, found))]
        except ParameterError:
            if len(keys := [array.key for array in arrays_at(path)]) < 2:
                raise
            keys = [key for key in keys if not _is_coarse(key, keys)][:_MOST]
            return [(posixpath.basename(key) or _name(path), [open_input(path, key)]) for key in keys]
    layers: dict[str, list[Source]] = {}
    for array in arrays_at(path):
        layers.setdefault(posixpath.dirname(array.key) or _name(path), []).append(array.open())
    return list(layers.items())[:_MOST]


def _labels_of(path: str, source: Source) -> list[tuple[str, Source]]:
    """The label images of an OME-Zarr image, where the path is that of the image."""
    from ...io import read_label_names
    from ...sources.file import FileSource, open_source

    if not isinstance(source, FileSource) or not source.internal_path:
        return []
    group, level = posixpath.split(source.internal_path)
    if path.rstrip("/").endswith(f"/{level}"):
        return []
    place = posixpath.join(group, "labels")
    return [(name, open_source(source.path, f"{place}/{name}")) for name in read_label_names(source.path, group)]


def _is_coarse(key: str, keys: list[str]) -> bool:
    """Whether the key of a level tells a coarser one, so that the finest shows it."""
    group, name = posixpath.split(key)
    number = name.removeprefix("s")
    return number.isdigit() and int(number) > 0 and posixpath.join(group, f"{name[: -len(number)]}0") in keys


def _name(path: str) -> str:
    parts = [part for part in path.partition("::")[0].rstrip("/").split("/") if part]
    while len(parts) > 1 and parts[-1].removeprefix("s").isdigit():
        parts.pop()
    return parts[-1].partition(".")[0] or parts[-1]
