"""The folder beside an output in which a job works until its result is whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from ..errors import FormatError, ParameterError
from ..io.create import create_array
from ..io.formats import split_path
from ..sources import Source
from ..sources.file import FileSource, absolute_path, is_url
from ..sources.metadata import multiscales_of, read_attributes

_ENDINGS_OF_OTHERS = (".h5", ".hdf5", ".n5", ".tif", ".tiff", ".zip", ".nii", ".mrc")


class Scratch:
    """Where the arrays between the stages lie, and the result until it is renamed to the output.

    So an output is whole or not there. Arrays of an earlier call with the same definition are kept, which lets the
    stage that was interrupted continue; those of another definition are removed.

    Parameters
    ----------
    output : str or os.PathLike
        Path of the OME-Zarr group to make, or a path into a container such as "a.ome.zarr/labels/cells".
    definition : dict
        JSON values that say what is made; None if that can't be told, then nothing is kept.
    overwrite : bool
        Replace an existing label image.
    chunks : tuple of int, optional
        Of the arrays between stages and of the finest level.

    Raises
    ------
    FormatError
        If the output isn't a local zarr path, or lies in a zarr version 2 container.
    ParameterError
        If the output exists, and may not be replaced.
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        definition: dict[str, Any] | None,
        *,
        overwrite: bool,
        chunks: tuple[int, ...] | None = None,
    ) -> None:
        self.chunks = chunks
        self.output = Path(check_output(output, overwrite=overwrite))
        container, self.key = split_path(str(self.output))
        self.container = Path(container)
        name = "-".join([self.container.name, *([self.key.replace("/", "-")] if self.key else [])])
        self.folder = self.container.parent / f"{name}.scratch"
        self.result = self.folder / "result.zarr"
        text = json.dumps(definition, indent=1, sort_keys=True)
        about = self.folder / "definition.json"
        if self.folder.exists() and (definition is None or not about.is_file() or about.read_text() != text):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        about.write_text(text)

    def array(self, name: str, like: Source, dtype: Any) -> FileSource:
        """Make an array between stages, of the shape and axes of a source."""
        path = self.folder / "intermediate.zarr"
        return create_array(
            path, name, shape=like.shape, dtype=dtype, chunks=self.chunks, axes=like.axes, format="zarr"
        )

    def level(self, like: Source, dtype: Any) -> FileSource:
        """Make the finest level of the result, of the shape and axes of a source."""
        return create_array(
            self.result, "0", shape=like.shape, dtype=dtype, chunks=self.chunks, axes=like.axes, format="zarr"
        )

    def publish(self) -> None:
        """Put the result in its place, and remove the scratch folder."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        if self.output.exists():
            # Out of the way by renaming: between the two renames nothing is lost whatever happens.
            os.replace(self.output, self.folder / "replaced.zarr")
        os.replace(self.result, self.output)
        self.remove()

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def check_output(output: str | os.PathLike[str], *, overwrite: bool) -> str:
    """Return the absolute path of an output that can be made; see `Scratch` for the errors."""
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
    if os.path.lexists(path):
        attributes = read_attributes(path)
        ome = attributes.get("ome")
        is_label = isinstance(ome, dict) and "image-label" in ome and bool(multiscales_of(attributes))
        if not is_label:
            raise ParameterError(f"{path} exists, and is no label image.", remedy="choose a path that doesn't exist")
        if not overwrite:
            raise ParameterError(
                f"{path} exists.", remedy="overwrite=True (on the command line --overwrite) replaces it"
            )
    return path
