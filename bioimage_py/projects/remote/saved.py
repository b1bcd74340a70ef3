"""Logins that are kept between programs: in the system's keyring, else in a file that only its owner reads.

A refresh token renews once and gives the next one, so whoever renews holds the mutex until the next one is kept.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...backends.user_config import config_file_path
from ...errors import FormatError, StorageError
from ...system.files import read_by_nobody_else, write_once
from ...system.json_text import parse_json
from ..storage.mutex import holding

_SERVICE = "bioimage-py"


@dataclass(frozen=True)
class Login:
    """Who has logged in, with which program, and what renews it."""

    user: str
    client: str
    refresh: str = field(repr=False)


@contextmanager
def alone() -> Iterator[None]:
    """Be the only program of this user that renews logins."""
    folder = _file().parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with holding(folder, [".logins.lock"]):
        yield


def read(url: str) -> Login | None:
    """Return the login at a server, None where none is kept."""
    ring = _keyring()
    if ring is None:
        found = _all().get(url)
    else:
        with _answering(ring):
            text = ring.get_password(_SERVICE, url)
        found = None if text is None else parse_json(text)
    return None if found is None else Login(**found)


def write(url: str, login: Login | None) -> None:
    """Keep a login, or forget it; inside `alone`."""
    if (ring := _keyring()) is not None:
        with _answering(ring):
            if login is not None:
                ring.set_password(_SERVICE, url, json.dumps(asdict(login)))
            elif ring.get_password(_SERVICE, url) is not None:
                ring.delete_password(_SERVICE, url)
        return
    logins = {**_all(), url: None if login is None else asdict(login)}
    text = json.dumps({key: value for key, value in logins.items() if value is not None}, indent=1)
    write_once(_file(), text.encode(), sync=True, opener=read_by_nobody_else)


def forget(url: str) -> None:
    """Keep the login at a server no more."""
    with alone():
        write(url, None)


def _file() -> Path:
    return config_file_path().with_name("logins.json")


def _all() -> dict[str, Any]:
    try:
        found = parse_json(_file().read_bytes())
        return {url: asdict(Login(**login)) for url, login in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise FormatError(f"{_file()} holds no logins.", remedy=f"rm {_file()}, and log in again") from None


def _keyring() -> Any:
    """The keyring library, where it is installed and the system has a keyring."""
    try:
        ring = importlib.import_module("keyring")
    except ImportError:
        return None
    return ring if ring.get_keyring().priority > 0 else None


@contextmanager
def _answering(ring: Any) -> Iterator[None]:
    try:
        yield
    except ring.errors.KeyringError as error:
        raise StorageError(
            f"The keyring of the system does not answer ({type(error).__name__}).",
            remedy="unlock it, or export PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring to use a file",
        ) from None
