"""Forms that browsers send: only those of this server's own pages, read within limits."""

from __future__ import annotations

import hmac
import json
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from ...errors import ParameterError
from ..refusals import NotAllowedError
from ..values import checked
from .visits import AnybodyOf, Visit

MARK = "mark"
_MOST = 2000
"""Fields of a form."""


class Form:
    """What a browser has sent.

    Parameters
    ----------
    fields : dict
        Each one's text; of a field that occurs twice, the last.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str, most: int = 200) -> str:
        """Return a field, "" where it is not there.

        Raises
        ------
        ParameterError
            It is longer than `most`.
        """
        found = self._fields.get(name, "")
        if len(found) > most:
            raise ParameterError(f"{name} has more than {most} characters.", remedy="make it shorter")
        checked(found, name)
        return found

    def value(self, name: str) -> Any:
        """Return a field that holds JSON.

        Raises
        ------
        ParameterError
            It does not.
        """
        try:
            return checked(json.loads(self.text(name, 60_000)), name)
        except (ValueError, RecursionError):
            raise ParameterError(f"{name} is no JSON.", remedy="load the page again") from None

    def names(self, prefix: str) -> list[str]:
        """Return what follows a prefix in the names of fields."""
        return [name.removeprefix(prefix) for name in self._fields if name.startswith(prefix)]


async def form_of(request: Request, visit: AnybodyOf) -> Form:
    """Return the form of a request.

    Raises
    ------
    NotAllowedError
        Another site's page has sent it, or it was drawn for somebody else.
    ParameterError
        It is no form.
    """
    _check_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise ParameterError("This takes a form.", remedy="send application/x-www-form-urlencoded")
    body = b"".join([part async for part in request.stream()])
    try:
        found = Form(dict(parse_qsl(body.decode(), True, errors="strict", max_num_fields=_MOST)))
    except ValueError:
        raise ParameterError("The form cannot be read.", remedy="load the page again") from None
    _check_mark(visit, found.text(MARK))
    return found


def _check_origin(request: Request) -> None:
    """Refuse what the browser tells another site's page has sent; some tell nothing."""
    fetched, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if fetched not in (None, "same-origin", "none"):
        raise NotAllowedError("Another site has sent this form.", remedy="open the page here, and repeat it")
    if origin is None or (origin == "null" and fetched == "same-origin"):  # which hides it, as its user wants
        return
    if not _is_own(origin, request):
        raise NotAllowedError(
            f"A page of {origin[:200]} has sent this form, and this is {request.headers.get('host', '')[:200]}.",
            remedy="open the page here, and repeat it; a proxy must hand on Host (server run --trusted-proxy)",
        )


def _is_own(origin: str, request: Request) -> bool:
    """Whether an `Origin` is where browsers find this server, also through a trusted proxy (`Forwarded`).

    A proxy need not tell of TLS, and may leave the port out of `Host`, as nginx's `$host` does.
    """
    scheme, _, rest = origin.lower().partition("://")
    if scheme not in _PORTS or (request.scope["scheme"] == "https" and scheme != "https"):
        return False
    told, wanted = request.scope["state"].get("hosts"), _place(rest, scheme)
    found = [_place(host.lower(), scheme) for host in (request.headers.get("host", ""), *(told or ()))]
    return wanted in found or (told is not None and (wanted[0], "") in found)


_PORTS = {"http": "80", "https": "443"}


def _place(text: str, scheme: str) -> tuple[str, str]:
    """Return host and port, "" for the usual one."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        return text, ""
    return host, "" if port == _PORTS[scheme] else port


def _check_mark(visit: Visit, mark: str) -> None:
    if not visit.cookie or not hmac.compare_digest(visit.mark.encode(), mark.encode(errors="replace")):
        raise NotAllowedError(
            "This form was not drawn for you, or you have signed in or out since.", remedy="load the page again"
        )


FormOf = Annotated[Form, Depends(form_of)]
