"""What a worker opens an array on a server with: the spec, and a token from its environment."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Literal, NamedTuple

from ....errors import AccessError, FormatError
from ....sources.spec import SourceSpec
from ..connection import PREFIX, Connection
from ..tickets import variable_name


class Where(NamedTuple):
    """Where an array of a project is: the server, the project's id, and the path below ``/api/v1``."""

    connection: Connection
    project: str
    path: str


def where_of(spec: SourceSpec, scope: Literal["read", "annotate"], made_by: str) -> Where:
    """Return where the array of a spec is, with a connection that may read or annotate it.

    Parameters
    ----------
    spec : SourceSpec
    scope : {"read", "annotate"}
    made_by : str
        The call whose source such a spec is of, for messages.

    Raises
    ------
    AccessError
        The environment has no token for it.
    FormatError
        The spec is none of such an array.
    """
    told = spec.arguments()
    base, _, path = str(spec.path).partition(PREFIX)
    try:
        project, user, ca = (str(told[name]) for name in ("project", "user", "ca"))
    except KeyError as error:
        remedy = f"pass what to_spec() of {made_by} gave"
        raise FormatError(f"This is no spec of an array on a server: {error}", remedy=remedy) from None
    # the name is made of the server's address: a spec can't have a token sent elsewhere
    token = os.environ.get(variable_name(base, user, project, scope))
    if not token:
        raise AccessError(
            f"This process has no token that may {scope} label maps of {base}.",
            remedy=f"start workers after {made_by}, and let them have the environment of the driver",
        )
    return Where(_connected(base, token, ca), project, path)


@lru_cache(maxsize=8)
def _connected(url: str, token: str, ca: str) -> Connection:
    # the driver has asked whether http is wanted
    return Connection(url, token=token, insecure=True, ca=ca)
