"""Resources of folders as other programs lay them out: nnU-Net, COCO, BIDS. Nothing is copied or changed.

Names in these files are somebody else's: one that leads out of the folder is refused.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BioimageError, FormatError, SourceNotFoundError
from ..sources import Axis, Source
from ..sources.file import open_source
from ..spaces import Grid, Polygon
from ..spaces.exchange.coco import unpacked
from ..spaces.values.masks import from_run_lengths
from ..system.files import read_small
from ..system.json_text import parse_json
from ..wrapper.combine import StackSource
from ..wrapper.view import AxesSource
from .annotations.annotation import Annotation
from .annotations.label_index import label_index
from .annotations.masks import CropMask, LabelMask, Mask
from .layout import Layout
from .resources.resource import Resource
from .resources.spaces import ShapeMask

_IMAGES = (".nii.gz", ".nii", ".tif", ".tiff", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class _Labels:
    """A label map beside an image, and what its values mean."""

    path: str
    names: Mapping[int, str]
    author: str | None = None


class FileResource(Resource):
    """An image in a file, or in one for each channel, with a label map in a file of its own."""

    def __init__(self, files: Sequence[Path], name: str, *, labels: _Labels | None = None, **more: Any) -> None:
        super().__init__(files[0], name, **more)
        self._files, self._labels = tuple(map(str, files)), labels

    def _open(self, fetch: bool = False) -> Source:
        return super()._open(fetch) if len(self._files) == 1 else _stacked(self._files)

    @property
    def is_silent(self) -> bool:
        """Whether nothing is said of it."""
        return self._labels is None and super().is_silent

    def annotations(self, layout: Layout, exact: bool = True) -> tuple[Annotation, ...]:
        """Return those given by hand, then the values of the label map."""
        given = super().annotations(layout)
        if self._labels is None:
            return given
        path = self._labels.path
        status = os.stat(path)
        key = ("labels", path, status.st_mtime_ns, status.st_size)
        open_it = partial(_open, path)
        index = label_index(key, open_it)
        names = "zyx"
        found: list[Annotation] = []
        for value in index.unique():
            box = index.box(value)
            assert box is not None
            lacks = 3 - len(box)
            order = tuple(None if i < lacks else i - lacks for i in range(len(names)))
            extent = (*(slice(0, 1),) * lacks, *box)
            shape = (*(1,) * lacks, *_open(path).shape)
            mask = LabelMask(key, open_it, order, value, shape, extent)
            mask.over(layout.shape[1:], f"{os.path.basename(path)!r} of {self.name!r} (id {self.id!r})")
            made = Annotation.segmentation(
                self._labels.names.get(value, str(value)), mask, created_by=self._labels.author, source="imported"
            )
            found.append(made.of(self.id, len(given) + len(found)))
        return (*given, *found)


def _stacked(files: Sequence[str]) -> Source:
    """Channels that are files are the first axis."""
    sources = [open_source(path) for path in files]
    return AxesSource(StackSource(*sources), (Axis("c", "channel"), *sources[0].axes))


def _open(path: str) -> Source:
    return open_source(path)


def nnunet_resources(folder: str | os.PathLike[str], part: str = "Tr") -> list[Resource]:
    """Return the cases of an nnU-Net data set, version 2.

    Parameters
    ----------
    folder : path
        Holds dataset.json.
    part : {"Tr", "Ts"}
        imagesTr with labelsTr, or imagesTs.

    Returns
    -------
    list of Resource
        Channels are stacked when they are read. Regions (labels of several values) are no labels here.

    Raises
    ------
    SourceNotFoundError, FormatError
        There is no such data set; names what is wrong.
    """
    root = Path(folder)
    about = _document(root / "dataset.json")
    ending, channels = str(about.get("file_ending", ".nii.gz")), about.get("channel_names")
    if "/" in ending or not ending.startswith(".") or not isinstance(channels, Mapping) or part not in ("Tr", "Ts"):
        raise FormatError(f"{root / 'dataset.json'}: file_ending or channel_names are none.", remedy="mend the file")
    values = about.get("labels", {})
    names = {value: name for name, value in values.items() if isinstance(value, int) and value}
    cases: dict[str, list[Path]] = defaultdict(list)
    for path in sorted((root / f"images{part}").glob(f"*{ending}")):
        cases[path.name[: -len(ending)].rpartition("_")[0]].append(path)
    found: list[Resource] = []
    for case, files in cases.items():
        if len(files) != len(channels):
            raise FormatError(
                f"The case {case!r} has {len(files)} channels, dataset.json names {len(channels)}.",
                remedy=f"look at {root / f'images{part}'}",
            )
        beside = root / f"labels{part}" / f"{case}{ending}"
        labels = _Labels(str(beside), names) if beside.is_file() else None
        found.append(FileResource(files, case, id=case, labels=labels, affine=_nifti_affine(files[0])))
    if not found:
        raise SourceNotFoundError(f"{root / f'images{part}'} has no images *{ending}.", remedy="look at file_ending")
    return found


def _nifti_affine(path: Path) -> Any:
    """The affine of a NIfTI image for (D, H, W); its own is for (x, y, z). Only the header is read."""
    if not path.name.endswith((".nii", ".nii.gz")):
        return None
    import nibabel

    affine = np.asarray(nibabel.load(path).affine)  # type: ignore[attr-defined]
    return affine[:, [2, 1, 0, 3]]


def coco_resources(path: str | os.PathLike[str], images: str | os.PathLike[str] | None = None) -> list[Resource]:
    """Return the images of a COCO file, with boxes and polygons or run-length masks.

    Parameters
    ----------
    path : path
        JSON file.
    images : path, optional
        Folder of the images; None: that of the file.

    Raises
    ------
    SourceNotFoundError, FormatError
        There is no such file, or it is none of COCO; names what is wrong.
    """
    document = _document(Path(path))
    folder = Path(images) if images is not None else Path(path).parent
    where = ""
    try:
        categories = {item["id"]: str(item["name"]) for item in document["categories"]}
        rows: dict[Any, list[Annotation]] = defaultdict(list)
        sizes = {item["id"]: (int(item["height"]), int(item["width"])) for item in document["images"]}
        for i, item in enumerate(document["annotations"]):
            where = f"annotations[{i}]: "
            rows[item["image_id"]] += _of_coco(item, categories[item["category_id"]], sizes[item["image_id"]])
        where = ""
        return [
            Resource(
                _inside(folder, item["file_name"]),
                str(item["file_name"]),
                id=str(item["id"]),
                annotations=rows[item["id"]],
            )
            for item in document["images"]
        ]
    except FormatError:
        raise
    except (BioimageError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        told = error.message if isinstance(error, BioimageError) else repr(error)
        raise FormatError(
            f"{path} is no COCO file: {where}{told:.300}", remedy="look at images, annotations, categories"
        ) from None


def _of_coco(item: Mapping[str, Any], name: str, size: tuple[int, int]) -> Iterator[Annotation]:
    common = {"id": str(item["id"]), "source": "imported"}
    if "bbox" in item:
        x, y, width, height = (float(value) for value in item["bbox"])
        if not all(map(math.isfinite, (x, y, x + width, y + height))):
            raise ValueError(f"bbox {item['bbox']}")
        yield Annotation.box(name, (x, y, x + width, y + height), **common)
    shape = item.get("segmentation")
    if shape:
        yield Annotation.segmentation(name, _mask(shape, size), **{**common, "id": f"{item['id']}/mask"})


def _mask(shape: Any, size: tuple[int, int]) -> Mask:
    """A mask of polygons, by the rule of annotation spaces, or of runs down the columns, background first."""
    if isinstance(shape, list):
        grid = Grid([Axis("y"), Axis("x")], size)
        parts = [[np.reshape(np.asarray(part, float), (-1, 2))] for part in shape]
        return ShapeMask({None: grid.world(Polygon(parts=parts), "pixel")}, grid, (1, *size))
    if tuple(shape["size"]) != size:
        raise ValueError(f"a mask of {shape['size']} for an image of {size}")
    counts = shape["counts"]
    runs = unpacked(counts) if isinstance(counts, str) else counts
    return CropMask.of(from_run_lengths(runs, size, "F"))


def bids_resources(folder: str | os.PathLike[str], suffix: str = "T1w") -> list[Resource]:
    """Return the images of a BIDS-like folder: ``sub-*/[ses-*/]anat/*_SUFFIX.nii.gz``, grouped by patient and session.

    Label maps are taken from derivatives: a file of the same name but for ``_dseg`` in place of the suffix, anywhere
    below ``derivatives/*/``; their values are named by ``dseg.tsv`` (columns index and name) beside participants.tsv.

    Parameters
    ----------
    folder : path
    suffix : str, default "T1w"

    Raises
    ------
    SourceNotFoundError
        There are no such images.
    """
    root = Path(folder)
    table = root / "dseg.tsv"
    names = {}
    if table.is_file():
        for row in csv.DictReader(io.StringIO(read_small(table).decode()), delimiter="\t"):
            if re.fullmatch(r"\d+", row.get("index") or "") and row.get("name"):
                names[int(row["index"])] = str(row["name"])
    found: list[Resource] = []
    for path in sorted(root.glob(f"sub-*/**/*_{suffix}.*")):
        if not path.name.endswith(_IMAGES):
            continue
        _inside(root, str(path.relative_to(root)))
        entities = dict(part.split("-", 1) for part in path.name.split("_") if "-" in part)
        stem = path.name.split(f"_{suffix}.")[0]
        beside = sorted(root.glob(f"derivatives/*/sub-{entities.get('sub', '')}/**/{stem}_dseg.*"))
        author = beside[0].relative_to(root).parts[1] if beside else None
        labels = _Labels(str(beside[0]), names, author) if beside else None
        groups = {"patient": entities.get("sub", ""), "session": entities.get("ses", "")}
        id = str(path.relative_to(root))
        affine = _nifti_affine(path)
        found.append(FileResource([path], path.name, id=id, labels=labels, groups=groups, affine=affine))
    if not found:
        raise SourceNotFoundError(f"{root} has no images sub-*/**/*_{suffix}.*.", remedy="another folder or suffix")
    return found


def _inside(folder: Path, name: str) -> str:
    path = folder / name
    root, real = os.path.realpath(folder), os.path.realpath(path)
    if not real.startswith(root + os.sep):
        raise FormatError(f"{name!r} leads out of {folder}.", remedy="put the images into the folder")
    return str(path)


def _document(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise SourceNotFoundError(f"{path} does not exist.", remedy="give the path of such a data set")
    try:
        document = parse_json(read_small(path))
    except ValueError as error:
        raise FormatError(f"{path} is no JSON: {error}", remedy="look at the file") from None
    if not isinstance(document, Mapping):
        raise FormatError(f"{path} is no JSON object.", remedy="look at the file")
    return document
