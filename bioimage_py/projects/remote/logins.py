"""Logging in and out, and the API tokens of who has logged in."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ...errors import AccessError
from . import saved
from .address import server_address
from .connection import Connection


def login(url: str, username: str = "", password: str | None = None, *, insecure: bool = False, ca: str = "") -> None:
    """Log in at a server, for all programs of this user until `logout`, or until nobody has used it for 30 days.

    `Project.load`, `Project.create` and `Project.list` need no user then. What is kept is a refresh token, not the
    password: in the system's keyring if the library ``keyring`` is installed, else in
    ``~/.config/bioimage-py/logins.json``, which only its owner can read.

    Parameters
    ----------
    url : str
        Base URL of the server.
    username : str, default ""
        "": a browser lets the program in, on any machine. The address and a code are shown, and one signs in there by
        whatever way the server has; for ten minutes.
    password : str, optional
        None: it is asked for, and not shown.
    insecure : bool, default False
        Accept http to other machines.
    ca : str, default ""
        File of the certificates that the server's is signed with, "" for those of the system.

    Raises
    ------
    ParameterError
        That is not the base URL of a server, or it is not encrypted.
    AccessError
        Name or password are wrong, or the account is disabled; or nobody has let the program in.
    StorageError
        The server does not answer, or its certificate is not trusted.

    Examples
    --------
    >>> login("https://labels.example.org", "alice")  # doctest: +SKIP
    >>> project = Project.load("https://labels.example.org", "study")  # doctest: +SKIP
    """
    base = server_address(url, insecure=insecure)
    if not username:
        connection = Connection(base, insecure=insecure, ca=ca, tell=_tell)
    else:
        if password is None:
            password = getpass.getpass(f"Password of {username} at {base}: ")
        connection = Connection(base, username, password, insecure=insecure, ca=ca)
    connection.keep()
    connection.close()


def _tell(address: str, words: str) -> None:
    print(f"Open {address} in a browser, and type {words}", flush=True)  # noqa: T201 - asks, as for a password


def logout(url: str, *, insecure: bool = False, ca: str = "") -> None:
    """End what `login` has begun, here and on the server; nothing happens where nobody has logged in.

    Parameters
    ----------
    url : str
        Base URL of the server.
    insecure, ca
        As for `login`.

    Raises
    ------
    StorageError
        The server does not answer. It is forgotten here all the same.
    """
    base = server_address(url, insecure=insecure)
    if (kept := saved.read(base)) is None:
        return
    try:
        connection = Connection(base, kept.user, insecure=insecure, ca=ca)
        connection.log_out()
        connection.close()
    except AccessError:
        pass  # it had ended
    finally:
        saved.forget(base)


@dataclass(frozen=True)
class ApiToken:
    """An API token, without what proves it; times are UTC, `projects` None for all."""

    id: str
    name: str
    scope: Literal["read", "annotate", "manage"]
    projects: tuple[str, ...] | None
    created: datetime
    expires: datetime
    used: datetime | None


class Tokens:
    """The API tokens of who has logged in; iterating asks the server.

    Parameters
    ----------
    connection : Connection
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __iter__(self) -> Iterator[ApiToken]:
        return iter([_token(one) for one in self._connection.get("/auth/tokens")])

    def make(
        self,
        name: str,
        scope: Literal["read", "annotate", "manage"] = "read",
        *,
        days: float = 90.0,
        projects: Iterable[str] | None = None,
    ) -> str:
        """Return a new token, which is shown this once: for ``$BIOIMAGE_PY_TOKEN`` of programs and clusters.

        Parameters
        ----------
        name : str
            What it is for.
        scope : {"read", "annotate", "manage"}
        days : float, default 90.0
            How long it lives, 365 at most.
        projects : iterable of str, optional
            Ids of the projects that it is for; None: all.

        Raises
        ------
        ParameterError
            It would live too long, or there are 50 already.
        """
        only = None if projects is None else list(projects)
        body = {"name": name, "scope": scope, "days": days, "projects": only}
        return str(self._connection.send("POST", "/auth/tokens", body)["token"])

    def revoke(self, id: str) -> None:
        """End a token at once; KeyNotFoundError where there is none of that id."""
        self._connection.send("DELETE", f"/auth/tokens/{id}")

    def __repr__(self) -> str:
        return f"Tokens({self._connection.url!r})"


def tokens(url: str, *, insecure: bool = False, ca: str = "") -> Tokens:
    """Return the API tokens of who has logged in with `login`.

    Parameters
    ----------
    url : str
        Base URL of the server.
    insecure, ca
        As for `login`.

    Raises
    ------
    AccessError
        Nobody has logged in.

    Examples
    --------
    >>> token = tokens("https://labels.example.org").make("cluster", "annotate", days=30)  # doctest: +SKIP
    """
    base = server_address(url, insecure=insecure)
    if (kept := saved.read(base)) is None:
        raise AccessError(
            f"Nobody has logged in at {base}.", remedy=f"bioimage_py.projects.login({base!r}, 'username')"
        )
    return Tokens(Connection(base, kept.user, insecure=insecure, ca=ca))


def _token(told: dict[str, Any]) -> ApiToken:
    used, only = told["used"], told["projects"]
    return ApiToken(
        told["id"],
        told["name"],
        told["scope"],
        None if only is None else tuple(only),
        _time(told["created"]),
        _time(told["expires"]),
        None if used is None else _time(used),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
