"""Who makes a request: a user who has logged in, or a program with an API token."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What an API token may be used for; each one includes those before it."""

    READ = "read"
    ANNOTATE = "annotate"
    MANAGE = "manage"


_ORDER = list(Scope)


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Parameters
    ----------
    user_id : int
    name : str
    admin : bool
    scope : Scope, default MANAGE
    projects : frozenset of str, optional
        Ids of the only projects that the token is for; None: all.
    token : str
        Id of the API token, "" where somebody has logged in.
    family : str
        What the login has led to, "" for an API token.
    until : float
        When the token ends, in seconds since 1970.
    """

    user_id: int
    name: str
    admin: bool
    scope: Scope = Scope.MANAGE
    projects: frozenset[str] | None = None
    token: str = ""
    family: str = ""
    until: float = float("inf")

    def may(self, scope: Scope) -> bool:
        """Whether the token is for that."""
        return _ORDER.index(scope) <= _ORDER.index(self.scope)
