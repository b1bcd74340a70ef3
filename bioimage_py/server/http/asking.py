"""Who asks, and for which project: what routes declare that they need, and the OpenAPI document says of each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Depends, Header, Path, Request

from ...errors import KeyNotFoundError
from ..accounts.api_tokens import PREFIX
from ..accounts.callers import Caller
from ..accounts.members import Right, Role
from ..accounts.sessions import is_access
from ..accounts.sights import Sight
from ..projects import Projects
from ..refusals import NotAllowedError, UnknownCallerError
from ..served import Served
from ..site import Site
from ..together import Together
from ..values import NAME

_LONGEST = 200


async def site_of(request: Request) -> Site:
    """Return what is served."""
    return _site(request)


def _site(request: Request) -> Site:
    found: Site = request.app.state.site
    return found


async def address_of(request: Request) -> str:
    """Return where a request comes from."""
    return request.client.host if request.client else ""


async def caller_of(request: Request, authorization: Annotated[str, Header(include_in_schema=False)] = "") -> Caller:
    """Return who makes a request; UnknownCallerError where nobody says."""
    return await _caller(request, authorization)


async def _caller(request: Request, authorization: str) -> Caller:
    site, token = _site(request), _token(authorization)
    caller = site.known.caller(token, site.known.version())
    if caller is None:
        caller = await to_thread.run_sync(_caller_now, site, token, _asked(request))
    request.scope["state"]["user"] = caller.name
    return caller


def _asked(request: Request) -> float:
    """When a request was first looked at, by a clock that never jumps: who may what is read after that."""
    found: float = request.scope["state"].setdefault("asked", time.monotonic())
    return found


def _token(authorization: str) -> str:
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer" or not token or len(token) > _LONGEST or not token.isascii():
        raise UnknownCallerError("This takes a token.")
    return token


def _caller_now(site: Site, token: str, asked: float) -> Caller:
    read = site.tokens.caller if token.startswith(PREFIX) else site.sessions.caller if is_access(token) else None
    if read is None:
        raise UnknownCallerError
    version = site.known.version_since(asked)
    caller = site.known.caller(token, version)
    if caller is None:
        caller = read(token)
        site.known.put_caller(token, version, caller)
    return caller


async def admin_of(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    """Return who makes a request, if an administrator does."""
    if not caller.admin:
        raise NotAllowedError("Only administrators do that, logged in with their password.", remedy="ask one of them")
    return caller


async def user_of(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    """Return who makes a request, if somebody has logged in: no program with an API token."""
    if caller.token:
        raise NotAllowedError("An API token cannot do that.", remedy="log in with a password")
    return caller


SiteOf = Annotated[Site, Depends(site_of)]
AddressOf = Annotated[str, Depends(address_of)]
CallerOf = Annotated[Caller, Depends(caller_of)]
UserOf = Annotated[Caller, Depends(user_of)]
AdminOf = Annotated[Caller, Depends(admin_of)]
ProjectId = Annotated[str, Path(pattern=NAME)]
Name = Annotated[str, Path(pattern=NAME)]
Key = Annotated[str, Header(alias="Idempotency-Key", pattern=r"^[A-Za-z0-9_-]{8,100}$")]
Client = Annotated[str, Header(alias="X-Client", pattern=r"^[A-Za-z0-9_.:@ -]{0,100}$")]


@dataclass(frozen=True)
class Asked:
    """A request for a project, by somebody who may do what it asks for."""

    caller: Caller
    role: Role
    served: Served
    projects: Projects
    sight: Sight
    """What of the project is there for the caller."""


class Needs:
    """Dependency: the caller must have a right in the project of the path.

    Parameters
    ----------
    right : Right
    """

    def __init__(self, right: Right) -> None:
        self.right = right

    async def __call__(self, request: Request, project: ProjectId, caller: CallerOf) -> Asked:
        """Return who asks for what; errors as of `Members.check`.

        A data set or a layer of the path that is not there for the caller is refused as one that is not there.
        """
        site = _site(request)
        role = await _role(site, caller, project, self.right, _asked(request))
        served = site.projects.opened(project)
        if served is None:
            served = await to_thread.run_sync(site.projects.served, project)
        sight = await sight_of(site, caller, project, role, _asked(request))
        if not sight.is_whole:
            await to_thread.run_sync(_check_sight, served, sight, request.path_params)
        return Asked(caller, role, served, site.projects, sight)


def _check_sight(served: Served, sight: Sight, named: Mapping[str, str]) -> None:
    """Refuse what is not there for the caller, and what is not there at all, before anything else is looked at."""
    sight.check(named.get("descriptor", "project"))
    layer = named.get("layer", "")
    if layer and sight.hidden and layer not in sight.layers(one.id for one in served.documents.settings().layers):
        raise KeyNotFoundError(f"There is no layer {layer!r} (any more).", remedy="project.sync()")


async def sight_of(site: Site, caller: Caller, project: str, role: Role, asked: float) -> Sight:
    """Return what of a project is there for a member."""
    sight = site.known.sight(caller, project, role, site.known.version())
    if sight is not None:
        return sight
    return await to_thread.run_sync(_sight_now, site, caller, project, role, asked)


def _sight_now(site: Site, caller: Caller, project: str, role: Role, asked: float) -> Sight:
    version = site.known.version_since(asked)
    sight = site.known.sight(caller, project, role, version)
    if sight is None:
        sight = site.sights.of(caller, project, role)
        site.known.put_sight(caller, project, role, version, sight)
    return sight


async def _role(site: Site, caller: Caller, project: str, right: Right, asked: float) -> Role:
    role = site.known.role(caller, project, right, site.known.version())
    return role if role is not None else await to_thread.run_sync(_role_now, site, caller, project, right, asked)


def _role_now(site: Site, caller: Caller, project: str, right: Right, asked: float) -> Role:
    version = site.known.version_since(asked)
    role = site.known.role(caller, project, right, version)
    if role is None:
        role = site.members.check(caller, project, right)
        if site.projects.opened(project) is None:
            site.projects.served(project)  # since the database has changed, it may lie elsewhere
        site.known.put_role(caller, project, right, version, role)
    return role


async def still_sees(request: Request, asked: Asked, right: Right) -> Sight | None:
    """Return what who makes a request that lasts sees now, None if nothing: token and role are looked at again."""
    site, authorization, project = _site(request), request.headers.get("Authorization", ""), asked.served.id
    asked_at = time.monotonic()

    def look() -> Sight | None:
        try:
            caller = _caller_now(site, _token(authorization), asked_at)
            role = _role_now(site, caller, project, right, asked_at)
            return _sight_now(site, caller, project, role, asked_at)
        except (UnknownCallerError, NotAllowedError, KeyNotFoundError):
            return None

    checks: Together = request.app.state.checks
    found: Sight | None = await checks.ask(None, (authorization, project, right), look)
    return found


Reads = Annotated[Asked, Depends(Needs(Right.read))]
Annotates = Annotated[Asked, Depends(Needs(Right.annotate))]
Manages = Annotated[Asked, Depends(Needs(Right.manage))]


def needing(right: str) -> dict[str, Any]:
    """Keywords of a route: its OpenAPI document says what it needs.

    Parameters
    ----------
    right : str
        "nobody", "somebody", "user", "admin", or the name of a `Right`, perhaps with ", logged in".
    """
    if right == "nobody":
        return {"openapi_extra": {"x-needs": right, "security": []}}
    return {"openapi_extra": {"x-needs": right, "security": [{"bearer": []}]}}


def giving(kind: str, *statuses: int) -> dict[str, Any]:
    """Keyword of a route whose answers are no JSON: the OpenAPI document says of what type they are.

    Parameters
    ----------
    kind : str
        Media type.
    *statuses : int
        Of such answers; by default 200.
    """
    content = {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}
    return {"responses": {status: {"description": "OK", **content} for status in statuses or (200,)}}
