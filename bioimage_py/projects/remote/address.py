"""Addresses of servers and of projects on them."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from ...errors import ParameterError

_SUFFIX = re.compile(r"/(?:api(?:/.*)?|projects(?:/.*)?)$")
_PROJECT = re.compile(r"(.*)/projects/([A-Za-z0-9_.-]+)/?$")


class Address(NamedTuple):
    """A server, and perhaps a project on it."""

    base: str
    """Without "/" at its end."""
    project: str


def server_address(url: str, *, insecure: bool = False) -> str:
    """Return the base URL of a server, without "/" at its end.

    Parameters
    ----------
    url : str
        ``https://host``, or ``https://host/path`` where a proxy shows the server under a path.
    insecure : bool, default False
        Accept http to other machines: passwords and data travel without encryption.

    Raises
    ------
    ParameterError
        It is no such URL, holds a password, or is not encrypted.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ParameterError("That is no URL of a server.", remedy="https://host")
    if parts.username is not None or parts.password is not None:
        raise ParameterError("The URL holds credentials.", remedy="give username= and password=, or token=")
    base = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    if parts.query or parts.fragment or _SUFFIX.search(base):
        raise ParameterError(
            f"{base} is not the server's base URL.", remedy=f"give the server's base URL: {_SUFFIX.sub('', base)}"
        )
    if parts.scheme == "http" and not insecure and not _is_here(parts.hostname):
        raise ParameterError(
            f"{base} is not encrypted.", remedy="https, or insecure=True if nobody can listen in between"
        )
    return base


def project_address(url: str, project: str | None, *, insecure: bool = False) -> Address:
    """Return server and project of a URL such as ``https://host/projects/1``, or of a server's URL and an id.

    Raises
    ------
    ParameterError
        As `server_address`; or no project is named, or two are.
    """
    found = _PROJECT.fullmatch(url)
    if found is None:
        base = server_address(url, insecure=insecure)
        if not project:
            raise ParameterError("No project is named.", remedy=f"Project.load({base!r}, project_id)")
        return Address(base, project)
    base = server_address(found[1], insecure=insecure)
    if project not in (None, "", found[2]):
        raise ParameterError(f"The URL names the project {found[2]!r}, not {project!r}.", remedy="leave project_id out")
    return Address(base, found[2])


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
