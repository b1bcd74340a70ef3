"""`bioimage-py project`: create, look at, fill, apply algorithms to, validate and draw label projects."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..errors import ParameterError
from .common import Command, execution_of, json_option, numbers, print_json, run_options
from .functions import function_of

if TYPE_CHECKING:
    from ..projects import Descriptor, DescriptorsAccessor, Layer, LayerKind, Project, Tag

IMPORTS = ("folder", "dicom", "coco", "ome-zarr", "nnunet")
EXPORTS = ("coco", "ome-zarr", "nnunet")


@click.group()
def project() -> None:
    """Create, fill and check label projects, and apply algorithms to them.

    PATH is the folder of a project.

    \b
    Example:
      bioimage-py project create tumours
    """  # noqa: D301


@project.command(cls=Command)
@click.argument("url")
@click.option("--user", default="", help="Log in by a password; by default a browser lets the program in.")
@click.option("--insecure", is_flag=True, help="Accept http to other machines.")
@click.option("--ca", default="", metavar="FILE", help="Certificates that the server's is signed with.")
def login(url: str, user: str, insecure: bool, ca: str) -> None:
    """Log in at the server URL, for all programs of this user."""
    from ..projects import login as log_in

    log_in(url, user, insecure=insecure, ca=ca)
    click.echo(f"You are logged in at {url}.")


@project.command(cls=Command)
@click.argument("url")
@click.option("--insecure", is_flag=True, help="Accept http to other machines.")
@click.option("--ca", default="", metavar="FILE", help="Certificates that the server's is signed with.")
def logout(url: str, insecure: bool, ca: str) -> None:
    """End what `login` has begun, here and at the server URL."""
    from ..projects import logout as log_out

    log_out(url, insecure=insecure, ca=ca)
    click.echo(f"You are logged out at {url}.")


@project.command(cls=Command)
@click.argument("path", type=click.Path())
@click.option("--name", help="Name; by default that of the folder.")
@click.option("--labelmap", multiple=True, metavar="LAYER[:LABEL,...]", help="Pixelwise layer; labels are 1, 2, ....")
@click.option("--boxes", multiple=True, metavar="LAYER[:TYPE,...]", help="Layer of boxes.")
@click.option("--landmarks", multiple=True, metavar="LAYER[:TYPE,...]", help="Layer of landmarks.")
@click.option("--tag", multiple=True, metavar="TAG[:float|:OPTION,...]", help="Tag: yes or no, a number, or options.")
@click.option("--grouping", metavar="TITLE,...", help="Titles of the levels of grouping.")
@json_option
def create(
    path: str,
    name: str | None,
    labelmap: tuple[str, ...],
    boxes: tuple[str, ...],
    landmarks: tuple[str, ...],
    tag: tuple[str, ...],
    grouping: str | None,
    as_json: bool,
) -> None:
    """Make a project in the folder PATH, which must be empty or missing."""
    from ..projects import LayerKind, Project, ProjectSettings

    kinds = ((labelmap, LayerKind.PIXELWISE), (boxes, LayerKind.BOUNDINGBOX), (landmarks, LayerKind.LANDMARK))
    settings = ProjectSettings(
        name or os.path.basename(os.path.abspath(path)),
        tags=[_tag(text) for text in tag],
        layers=[_layer(text, kind) for texts, kind in kinds for text in texts],
        grouping_hierarchy=[] if grouping is None else grouping.split(","),
    )
    _show(Project.create(settings, path), as_json)


def _tag(text: str) -> Tag:
    from ..projects import Tag, TagKind

    name, _, options = text.partition(":")
    if options == "float":
        return Tag(name, TagKind.Float)
    return Tag(name, TagKind.Enum, options=options.split(",")) if options else Tag(name, TagKind.Bool)


def _layer(text: str, kind: LayerKind) -> Layer:
    from ..projects import Label, Layer, LayerKind
    from ..projects.values.kinds import PALETTE

    name, _, listed = text.partition(":")
    names = listed.split(",") if listed else []
    colors = [PALETTE[index % len(PALETTE)] for index in range(len(names))]
    if kind != LayerKind.PIXELWISE:
        return Layer(name, kind, [Label(n, kind, color) for n, color in zip(names, colors, strict=True)])
    labels = [Label(n, kind, color, value=v) for v, (n, color) in enumerate(zip(names, colors, strict=True), 1)]
    return Layer(name, kind, [Label("Background", kind, (0, 0, 0), value=0), *labels] if labels else [])


@project.command(cls=Command)
@click.argument("path", type=click.Path(exists=True))
@json_option
def info(path: str, as_json: bool) -> None:
    """Show settings, and how many data sets there are with which annotations."""
    from ..projects import Project

    _show(Project.load(path), as_json)


def _show(found: Project, as_json: bool) -> None:
    layers = [*found.labelmap_layers, *found.boundingbox_layers, *found.landmark_layers]
    about: dict[str, Any] = {
        "path": found.path,
        "id": found.id,
        "name": found.name,
        "data_type": found.data_type.name,
        "grouping_hierarchy": found.grouping_hierarchy,
        "descriptors": len(found.descriptors),
        "annotated": len(found.descriptors.filter(annotated=True)),
        "tags": [{"name": tag.name, "kind": tag.kind.name, "options": list(tag.options)} for tag in found.tags],
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind.name,
                "labels": list(layer.annotations.names),
                "descriptors": len(found.descriptors.filter(layer=layer.name)),
            }
            for layer in layers
        ],
    }
    if as_json:
        print_json(about)
        return
    click.echo(f"{about['name']}: {about['descriptors']} data sets, {about['annotated']} annotated ({about['path']})")
    if found.grouping_hierarchy:
        click.echo(f"  grouped by {' / '.join(found.grouping_hierarchy)}")
    for tag in found.tags:
        click.echo(f"  tag {tag.name} ({tag.kind.name}{': ' * bool(tag.options)}{', '.join(tag.options)})")
    for row in about["layers"]:
        labels = f": {', '.join(row['labels'])}" if row["labels"] else ""
        click.echo(f"  layer {row['name']} ({row['kind'].lower()}{labels}), {row['descriptors']} data sets")


@project.command("import", cls=Command)
@click.argument("path", type=click.Path(exists=True))
@click.argument("source", type=click.Path(exists=True))
@click.option("--format", "kind", type=click.Choice(IMPORTS), default="folder", show_default=True)
@click.option("--layer", help="Layer of the labels; by default boxes (coco) or labels.")
@click.option("--images", type=click.Path(exists=True), help="Folder of the images of a COCO file.")
@click.option("--copy", "own_copy", is_flag=True, help="Copy images into the project.")
@json_option
def import_(
    path: str, source: str, kind: str, layer: str | None, images: str | None, own_copy: bool, as_json: bool
) -> None:
    """Add images and labels from SOURCE: a folder, a DICOM study, COCO boxes, label images, an nnU-Net data set."""
    from ..projects import Project, importing

    found = Project.load(path)
    calls: dict[str, Callable[[], list[Descriptor]]] = {
        "folder": lambda: importing.import_folder(found, source, own_copy=own_copy),
        "dicom": lambda: importing.import_dicom(found, source, own_copy=own_copy),
        "coco": lambda: importing.import_coco(found, source, layer=layer or "boxes", images=images, own_copy=own_copy),
        "ome-zarr": lambda: importing.import_ome_labels(found, source, layer=layer or "labels"),
        "nnunet": lambda: importing.import_nnunet(found, source, layer=layer or "labels", own_copy=own_copy),
    }
    added = calls[kind]()
    rows = [{"identifier": item.identifier, "name": item.name} for item in added]
    if as_json:
        print_json({"path": found.path, "descriptors": rows})
    else:
        click.echo(f"{len(rows)} data sets from {source} are in {found.path}.")


@project.command(cls=Command)
@click.argument("path", type=click.Path(exists=True))
@click.argument("target", type=click.Path())
@click.option("--format", "kind", type=click.Choice(EXPORTS), required=True)
@click.option("--layer", help="Layer of the labels; by default boxes (coco) or labels.")
@click.option("--file-ending", default=".tif", show_default=True, help="Of the images of nnU-Net.")
@json_option
def export(path: str, target: str, kind: str, layer: str | None, file_ending: str, as_json: bool) -> None:
    """Write labels of a layer to TARGET: COCO boxes, label images, or an nnU-Net data set with its images."""
    from ..projects import Project, exporting

    found = Project.load(path)
    calls: dict[str, Callable[[], Any]] = {
        "coco": lambda: exporting.export_coco(found, target, layer=layer or "boxes"),
        "ome-zarr": lambda: len(exporting.export_ome_labels(found, target, layer=layer or "labels")),
        "nnunet": lambda: len(exporting.export_nnunet(found, target, layer=layer or "labels", file_ending=file_ending)),
    }
    count = calls[kind]()
    what = {"coco": "boxes", "ome-zarr": "label maps", "nnunet": "cases"}[kind]
    if as_json:
        print_json({"target": os.path.abspath(target), "count": count})
    else:
        click.echo(f"{count} {what} are in {target}.")


@project.command(cls=Command)
@click.argument("path", type=click.Path(exists=True))
@click.argument("algorithm", metavar="FUNCTION")
@click.option("--layer", required=True, help="Pixelwise layer.")
@click.option("--name", help="Only data sets whose name fits this pattern, such as 'scan*'.")
@click.option("--group", help="Only data sets of this group of the first level.")
@click.option("--no-image", is_flag=True, help="Don't read images; the function gets None.")
@click.option("--block-shape", type=numbers, help="Work block by block, such as 64,64,64.")
@click.option("--halo", type=numbers, help="Voxels around a block, such as 8,8,8.")
@click.option("--unknown", type=click.Choice(["raise", "warn"]), default="raise", show_default=True)
@run_options
@json_option
def apply(
    path: str,
    algorithm: str,
    layer: str,
    name: str | None,
    group: str | None,
    no_image: bool,
    block_shape: tuple[int, ...] | None,
    halo: tuple[int, ...] | None,
    unknown: Any,
    workers: int,
    job_type: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Apply FUNCTION(image, labels) -> labels or None to all data sets.

    FUNCTION is given as module:name, or as file.py:name. The same command continues one that was killed.
    """
    from ..projects import Project

    found = Project.load(path)
    report = found.apply(
        _function(algorithm),
        layer=layer,
        descriptors=_chosen(found, name, group),
        image=not no_image,
        block_shape=_one(block_shape),
        halo=_one(halo),
        unknown=unknown,
        execution=execution_of(workers, job_type, quiet),
    )
    if as_json:
        print_json({"changed": report.changed, "unchanged": report.unchanged, "before": report.before})
        return
    before = f", {len(report.before)} were done before" if report.before else ""
    click.echo(f"{len(report.changed)} label maps changed, {len(report.unchanged)} stayed as they were{before}.")


def _one(values: tuple[int, ...] | None) -> Any:
    return values[0] if values is not None and len(values) == 1 else values


def _chosen(found: Project, name: str | None, group: str | None) -> DescriptorsAccessor:
    return found.descriptors.filter(name=name, group=group)


def _function(text: str) -> Any:
    """The function that ``module:name`` or ``file.py:name`` means; one of a file travels to workers by value."""
    from ..sources.spec import load_qualified

    module, colon, name = text.rpartition(":")
    if not colon:
        raise ParameterError(f"{text!r} names no function.", remedy="module:function, or file.py:function")
    if not module.endswith(".py"):
        sys.path.insert(0, os.getcwd())
        return load_qualified(text)
    return function_of(module, name)


@project.command(cls=Command)
@click.argument("path", type=click.Path(exists=True))
@click.option("--no-chunks", is_flag=True, help="Don't decode the chunks of label maps.")
@json_option
@click.pass_context
def validate(context: click.Context, path: str, no_chunks: bool, as_json: bool) -> None:
    """Check every document, image, label map, chunk and table; exit code 1 where something is wrong."""
    from ..projects import Project
    from ..projects.jobs.validate import validate as check

    found = Project.load(path)
    problems = list(check(found, chunks=not no_chunks))
    if as_json:
        rows = [{"where": problem.where, "what": problem.what} for problem in problems]
        print_json({"descriptors": len(found.descriptors), "problems": rows})
    else:
        for problem in problems:
            click.echo(str(problem))
        click.echo(f"{len(found.descriptors)} data sets checked, {len(problems) or 'no'} problems.")
    if problems:
        context.exit(1)


@project.command(cls=Command)
@click.argument("path", type=click.Path(exists=True))
@click.option("--sheet", type=click.Path(), help="PNG file of all pictures together.")
@click.option("--layer", help="Pixelwise layer to be drawn over the images of the sheet.")
@click.option("--name", help="Only data sets whose name fits this pattern.")
@click.option("--group", help="Only data sets of this group of the first level.")
@click.option("--columns", type=click.IntRange(min=1), default=5, show_default=True)
@json_option
def thumbnails(
    path: str,
    sheet: str | None,
    layer: str | None,
    name: str | None,
    group: str | None,
    columns: int,
    as_json: bool,
) -> None:
    """Make the small pictures that are missing or out of date, and a sheet of them."""
    from ..projects import Project
    from ..projects.jobs.thumbnails import make_thumbnails, thumbnail_sheet

    found = Project.load(path)
    chosen = _chosen(found, name, group)
    made = make_thumbnails(found, chosen)
    shape = None if sheet is None else thumbnail_sheet(found, sheet, chosen, layer=layer, columns=columns)
    if as_json:
        print_json({"made": made, "sheet": sheet, "shape": shape})
    else:
        click.echo(f"{made} pictures made." + (f" {sheet}: {shape[1]} x {shape[0]} pixels." if shape else ""))
