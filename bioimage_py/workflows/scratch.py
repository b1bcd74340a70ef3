"""The folder beside an output in which a job works until its result is whole."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..errors import FormatError, ParameterError, RunningError
from ..io.create import create_array
from ..io.formats import split_path
from ..sources import Source
from ..sources.chunked.attributes import multiscales_of, read_attributes
from ..sources.file import FileSource, absolute_path
from ..sources.stores.location import locate
from ..sources.stores.paths import is_url

_ENDINGS_OF_OTHERS = (".h5", ".hdf5", ".n5", ".tif", ".tiff", ".zip", ".nii", ".mrc")


class Scratch:
    """Where the arrays between the stages lie, and the result until it is renamed to the output.

    So an output is whole or not there. What an earlier call with the same definition has finished is kept, and the
    stage that was interrupted continues; what belongs to another definition is removed.

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
        If the output exists, and may not be replaced, or the folder isn't a scratch folder.
    RunningError
        If another call is working in the folder.
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
        known = about.read_text() if about.is_file() else None
        if known is None and self.folder.exists() and os.listdir(self.folder) not in ([], ["lock"]):
            raise ParameterError(
                f"{self.folder} exists, and is no scratch folder of {self.output}.",
                remedy="move it away, or choose another output",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.folder / "lock")
        if definition is None or known != text:
            for entry in self.folder.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name != "lock":
                    entry.unlink()
        about.write_text(text)
        # Beside the arrays, so that the marks go where the arrays go.
        self._arrays = self.folder / "intermediate.zarr"
        self._marks = self._arrays / "done.json"
        self._done: dict[str, Any] = json.loads(self._marks.read_text()) if self._marks.is_file() else {}

    def once(self, stage: str, function: Callable[[], Any]) -> tuple[Any, float]:
        """Run a stage unless it is done; return its value (JSON) and the seconds that it took."""
        if stage not in self._done:
            begin = time.perf_counter()
            self._done[stage] = function(), time.perf_counter() - begin
            temporary = self._marks.with_suffix(".new")
            temporary.write_text(json.dumps(self._done))
            os.replace(temporary, self._marks)
        value, seconds = self._done[stage]
        return value, seconds

    def array(self, name: str, like: Source, dtype: Any) -> FileSource:
        """Make an array between stages, of the shape and axes of a source."""
        return create_array(
            self._arrays, name, shape=like.shape, dtype=dtype, chunks=self.chunks, axes=like.axes, format="zarr"
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
        self.close()

    def close(self) -> None:
        """Let other calls work in the folder."""
        self._lock.close()


def _locked(path: Path) -> IO[str]:
    """Hold the lock of a scratch folder; it ends with the process, however that ends."""
    import fcntl

    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise RunningError(
            f"Another call is working in {path.parent}.", remedy="wait for it, or choose another output"
        ) from None
    return file


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
        attributes = read_attributes(locate(path))
        ome = attributes.get("ome")
        is_label = isinstance(ome, dict) and "image-label" in ome and bool(multiscales_of(attributes))
        if not is_label:
            raise ParameterError(f"{path} exists, and is no label image.", remedy="choose a path that doesn't exist")
        if not overwrite:
            raise ParameterError(f"{path} exists.", remedy="overwrite=True replaces it")
    return path
