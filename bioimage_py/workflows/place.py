"""Where a job puts its result: an OME-Zarr folder that is whole or not there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import FormatError, ParameterError
from ..io.formats import split_path
from ..sources.arrays.tensorstore import detect_driver
from ..sources.chunked.attributes import multiscales_of, read_attributes
from ..sources.file import absolute_path
from ..sources.stores.location import locate
from ..sources.stores.paths import is_url

_ENDINGS_OF_OTHERS = (".h5", ".hdf5", ".n5", ".tif", ".tiff", ".zip", ".nii", ".mrc")


@dataclass(frozen=True)
class ResultPlace:
    """The output of a job, and the folder beside it in which the job works until the result is whole.

    Attributes
    ----------
    output : Path
        The OME-Zarr group to make.
    container : Path
        The zarr container that it is, or lies in.
    key : str
        Its path in the container.
    """

    output: Path
    container: Path
    key: str

    @classmethod
    def of(cls, output: str | os.PathLike[str], *, overwrite: bool) -> ResultPlace:
        """The place of an output; see `check_output` for the errors."""
        path = check_output(output, overwrite=overwrite)
        container, key = split_path(path)
        return cls(Path(path), Path(container), key or "")

    @property
    def folder(self) -> Path:
        """Where the job works."""
        name = "-".join([self.container.name, *([self.key.replace("/", "-")] if self.key else [])])
        return self.container.parent / f"{name}.scratch"

    @property
    def result(self) -> Path:
        """Where the result lies until it is whole."""
        return self.folder / "result.zarr"

    def publish(self) -> None:
        """Put the result in its place; what was there before goes into the folder, which is about to be removed."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        if self.output.exists():
            # Out of the way by renaming: between the two renames nothing is lost whatever happens.
            os.replace(self.output, self.folder / "replaced.zarr")
        os.replace(self.result, self.output)


def check_output(output: str | os.PathLike[str], *, overwrite: bool) -> str:
    """Return the absolute path of an output that can be made.

    Raises
    ------
    FormatError
        If it isn't a local zarr path, or lies in a zarr version 2 container.
    ParameterError
        If it exists, and is no label image or may not be replaced.
    """
    if not isinstance(output, str | os.PathLike):
        raise FormatError(f"The output is a {type(output).__name__}, not a path.", remedy='"labels.ome.zarr"')
    path = absolute_path(output)
    container, _ = split_path(path)
    if is_url(path) or container.lower().endswith(_ENDINGS_OF_OTHERS):
        raise FormatError(
            f"{path}: the result is an OME-Zarr folder on a local file system.", remedy='name it "labels.ome.zarr"'
        )
    if os.path.isfile(os.path.join(container, ".zgroup")):
        raise FormatError(
            f"{container} is of zarr version 2, and the result of version 3.", remedy="write into a new container"
        )
    if inside := next((str(one) for one in _above(path, container) if detect_driver(locate(one)) is not None), None):
        raise FormatError(f"{path} lies in the array {inside}.", remedy="choose a path outside of it")
    if os.path.lexists(path):
        attributes = read_attributes(locate(path))
        ome = attributes.get("ome")
        is_label = isinstance(ome, dict) and "image-label" in ome and bool(multiscales_of(attributes))
        if not is_label:
            raise ParameterError(f"{path} exists, and is no label image.", remedy="choose a path that doesn't exist")
        if not overwrite:
            raise ParameterError(f"{path} exists.", remedy="overwrite=True replaces it")
    return path


def _above(path: str, container: str) -> list[Path]:
    """The folders in which a path lies, up to its container."""
    return [one for one in Path(path).parents if one.is_relative_to(container)]
