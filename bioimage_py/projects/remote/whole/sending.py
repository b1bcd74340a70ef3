"""Files that are sent to a server in pieces; what was cut off goes on where the server says that it is."""

from __future__ import annotations

import tempfile
from hashlib import sha256
from pathlib import Path

from ....errors import ConflictError, StorageError
from ...storage.contents import files_of, pack
from ..connection import Connection

_PIECE = 16 * 2**20
_TRIES = 20


def send_folder(connection: Connection, path: str, folder: Path, **about: str) -> str:
    """Send a folder as an archive, and return what the server has made of it.

    Parameters
    ----------
    connection : Connection
    path : str
        Of the uploads, below the API.
    folder : Path
        Its files are sent as `files_of` lists them.
    **about
        What the server has to know beforehand.

    Raises
    ------
    ConflictError
        There is something of that id or name already.
    ParameterError
        The server does not take it.
    """
    with tempfile.TemporaryDirectory(prefix="bioimage_py-") as private:
        archive = Path(private) / "archive.tar"
        pack(folder, files_of(folder), archive)
        return _send(connection, path, archive, about)


def _send(connection: Connection, path: str, archive: Path, about: dict[str, str]) -> str:
    size, digest = archive.stat().st_size, sha256()
    with open(archive, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
        wish = {**about, "size": size, "sha256": digest.hexdigest()}
        state = connection.send("POST", path, wish, key=f"upload-{digest.hexdigest()[:32]}")
        for _ in range(-(-size // _PIECE) + _TRIES):
            if state["made"] is not None:
                return str(state["made"])
            file.seek(min(state["offset"], size))
            piece, headers = file.read(_PIECE), {"Upload-Offset": str(state["offset"])}
            where = f"{path}/{state['id']}"
            try:
                state = connection.send_bytes("PATCH", where, piece, again=True, headers=headers, slow=True)
            except ConflictError as error:
                if error.field != "offset":
                    raise
                state = connection.get(where)  # an earlier try of this piece has arrived
    raise StorageError(f"{connection.url} does not take what is sent.", remedy="look at the server's log")
