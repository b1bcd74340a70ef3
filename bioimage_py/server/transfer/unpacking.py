"""Whole projects that clients send, looked at before they are served."""

from __future__ import annotations

from pathlib import Path

from ...errors import BioimageError, ParameterError
from ...projects.storage.folder import SETTINGS, Folder, parse
from ...projects.storage.packs import ARRAY
from ...projects.values.names import is_space
from ...projects.values.records import DescriptorRecord, migrate
from ...projects.values.settings import ProjectSettings, parse_settings
from ..sealed import Place, shape_of
from .chunks import Grid
from .copies import check_chunks, check_copy, dtype_of, unpacked
from .records import check_image, described
from .spaces import check_space


def take_project(archive: Path, folder: Path) -> ProjectSettings:
    """Unpack a project into a folder, and return its settings.

    Raises
    ------
    ParameterError
        It is none, or something in it is not as this package stores it.
    """
    folder.mkdir(parents=True)
    unpacked(archive, folder)
    try:
        settings = parse_settings(migrate(parse((folder / SETTINGS).read_bytes(), folder / SETTINGS), SETTINGS))
        found = Folder(folder)
        for path in sorted((folder / "descriptors").glob("*")):
            document = found.read(path.stem).document
            if path.suffix != ".json" or document is None:
                raise ParameterError(f"descriptors/{path.name} is no document.", remedy="mend the project")
            record = described(path.stem, document)
            check_image(record)
            _check_data(found, record, settings)
        for path in (folder / "history").glob("*"):
            parse(path.read_bytes(), path)
    except OSError as error:
        raise ParameterError(f"That is no project: {error.strerror}.", remedy="give a project's folder") from None
    except (BioimageError, ValueError) as error:
        told = error.message if isinstance(error, BioimageError) else str(error)
        raise ParameterError(told.replace(f"{folder}/", ""), remedy="bioimage-py project validate") from None
    return settings


def _check_data(folder: Folder, record: DescriptorRecord, settings: ProjectSettings) -> None:
    if record.image.own_copy:
        check_copy(folder, record.identifier, record.image)
        check_chunks(folder.root / "images" / f"{record.identifier}.zarr")
    layers = {layer.id: layer for layer in settings.layers}
    for id, stored in record.layers.items():
        if id not in layers and not is_space(id):
            continue  # of a layer that was removed, which an undone edit may bring back
        if is_space(id):
            check_space(folder, record.identifier, id, stored.model_dump())
            continue
        place = Place(folder, record.identifier, layers[id])
        if stored.dtype is None:
            place.check_table(stored)
            continue
        version = place.version(stored.version)
        count, shape = check_chunks(version), list(Grid.of(version / ARRAY).shape)
        dtype = dtype_of(version / ARRAY)
        if (count, shape, dtype.name) != (stored.units, shape_of(record), stored.dtype):
            raise ParameterError(
                f"The version {stored.version} has {count} chunks of {dtype} and the shape {shape}, the data set says"
                f" {stored.units}, {stored.dtype} and {shape_of(record)}.",
                remedy="bioimage-py project validate",
            )
