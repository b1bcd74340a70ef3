"""Taking a whole project home, file by file; what was cut off goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from ....errors import KeyNotFoundError, ParameterError, StorageError
from ....system.files import write_once
from ....system.json_text import parse_json
from ...storage.contents import checked_path
from ..store import Store

_STATE = ".download.json"
_AT_ONCE = 4
_ROUNDS = 20


def take_home(store: Store, folder: Path) -> None:
    """Make a folder equal to that of a project on a server, as of one event.

    Parameters
    ----------
    store : Store
    folder : Path
        Empty, missing, or one into which the same project was being taken.

    Raises
    ------
    ParameterError
        Something else lies there.
    AccessError
        The user is no maintainer.
    StorageError
        Somebody writes into the project all the time.
    """
    known = _begun(store, folder)
    for _ in range(_ROUNDS):
        last, found = _listed(store)
        _fetch(store, folder, known, {name: etag for name, etag in found.items() if known.get(name) != etag})
        for name in [name for name in known if name not in found]:
            (folder / name).unlink(missing_ok=True)
            del known[name]
        if store.last() == last and known == found:
            (folder / _STATE).unlink()
            return
    raise StorageError("The project is written to all the time.", remedy="the same call goes on")


def _begun(store: Store, folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / _STATE
    mark = {"url": store.connection.url, "project": store.id}
    if state.exists():
        told = parse_json(state.read_bytes())
        if told["from"] == mark:
            return dict(told["files"])
    if state.exists() or any(folder.iterdir()):
        raise ParameterError(f"{folder} is not empty.", remedy="give another folder")
    write_once(state, json.dumps({"from": mark, "files": {}}).encode())
    return {}


def _listed(store: Store) -> tuple[int, dict[str, str]]:
    found: dict[str, str] = {}
    last, after = -1, ""
    while True:
        page = store.connection.get(f"/projects/{store.id}/files", after=after)
        last = page["last"] if last < 0 else last
        found.update((checked_path(row["path"]), row["etag"]) for row in page["files"])
        after = page["next"]
        if not after:
            return last, found


def _fetch(store: Store, folder: Path, known: dict[str, str], wanted: dict[str, str]) -> None:
    def fetch(name: str) -> str:
        try:
            data = store.connection.get_bytes(f"/projects/{store.id}/files/{quote(name)}")
        except KeyNotFoundError:  # removed since it was listed: the next list is another one
            return ""
        write_once(folder / name, data)
        return name

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for batch in _batches(sorted(wanted)):
            known.update((name, wanted[name]) for name in pool.map(fetch, batch) if name)
            told = {"from": {"url": store.connection.url, "project": store.id}, "files": known}
            write_once(folder / _STATE, json.dumps(told).encode())


def _batches(names: list[str], size: int = 500) -> Iterator[list[str]]:
    return (names[at : at + size] for at in range(0, len(names), size))
