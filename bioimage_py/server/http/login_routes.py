"""Routes of logins, tokens and users."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query

from ..accounts.devices import EVERY, SECONDS
from ..accounts.users import User
from .asking import AddressOf, AdminOf, CallerOf, SiteOf, UserOf, needing
from .bodies import (
    Device,
    DeviceCode,
    DeviceWish,
    LetIn,
    Login,
    MadeToken,
    NewPassword,
    NewToken,
    NewUser,
    Pair,
    Renewal,
    TokenInfo,
    UserChange,
    UserInfo,
)

routes = APIRouter()
UserId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@routes.post("/auth/login", **needing("nobody"))
def log_in(body: Login, site: SiteOf, address: AddressOf) -> Pair:
    """Give tokens for a name and a password."""
    pair = site.sessions.log_in(body.username, body.password.get_secret_value(), body.client, address)
    caller = site.sessions.caller(pair.access)
    return Pair(**asdict(pair), user=caller.name, admin=caller.admin)


@routes.post("/auth/refresh", **needing("nobody"))
def renew(body: Renewal, site: SiteOf, address: AddressOf) -> Pair:
    """Give new tokens for a refresh token, which is void then."""
    pair = site.sessions.renew(body.refresh.get_secret_value(), body.client, address)
    caller = site.sessions.caller(pair.access)
    return Pair(**asdict(pair), user=caller.name, admin=caller.admin)


@routes.post("/auth/device", status_code=201, **needing("nobody"))
def wait(body: DeviceWish, site: SiteOf, address: AddressOf) -> Device:
    """Let a program wait until somebody types its code into the page."""
    code, words = site.devices.begin(body.client, address)
    return Device(code=code, words=words, path="/device", seconds=SECONDS, every=EVERY)


@routes.post("/auth/device/token", **needing("nobody"))
def waited(body: DeviceCode, site: SiteOf, address: AddressOf) -> LetIn:
    """Give tokens to a program that was let in, once; none while it has to wait."""
    pair = site.devices.take(body.code.get_secret_value(), address)
    if pair is None:
        return LetIn(tokens=None)
    caller = site.sessions.caller(pair.access)
    return LetIn(tokens=Pair(**asdict(pair), user=caller.name, admin=caller.admin))


@routes.post("/auth/logout", status_code=204, **needing("user"))
def log_out(caller: UserOf, site: SiteOf) -> None:
    """End what this login has led to."""
    site.sessions.log_out(caller.family)


@routes.post("/auth/password", status_code=204, **needing("user"))
def change_password(body: NewPassword, caller: UserOf, site: SiteOf, address: AddressOf) -> None:
    """Change the caller's password, which ends all logins."""
    site.sessions.verified(caller.name, body.old.get_secret_value(), address)
    site.users.set_password(caller.user_id, body.new.get_secret_value(), by=caller.name, address=address)


@routes.get("/auth/tokens", **needing("user"))
def tokens(caller: UserOf, site: SiteOf) -> list[TokenInfo]:
    """List the caller's API tokens."""
    return [TokenInfo(**asdict(token)) for token in site.tokens.of(caller)]


@routes.post("/auth/tokens", status_code=201, **needing("user"))
def make_token(body: NewToken, caller: UserOf, site: SiteOf, address: AddressOf) -> MadeToken:
    """Make an API token, shown this once."""
    token, proof = site.tokens.make(caller, body.name, body.scope, body.days, body.projects, address)
    return MadeToken(**asdict(token), token=proof)


@routes.delete("/auth/tokens/{token}", status_code=204, **needing("user"))
def revoke_token(
    token: Annotated[str, Path(pattern="^[0-9a-f]{16}$")], caller: UserOf, site: SiteOf, address: AddressOf
) -> None:
    """End an API token of the caller."""
    site.tokens.revoke(caller, token, address)


@routes.get("/users/me", **needing("somebody"))
def me(caller: CallerOf, site: SiteOf) -> UserInfo:
    """Tell who the caller is."""
    return _info(site.users.of_id(caller.user_id))


@routes.get("/users", **needing("admin"))
def users(
    caller: AdminOf,
    site: SiteOf,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> list[UserInfo]:
    """List users, those after an id."""
    return [_info(user) for user in site.users.all(after, limit)]


@routes.post("/users", status_code=201, **needing("admin"))
def add_user(body: NewUser, caller: AdminOf, site: SiteOf, address: AddressOf) -> UserInfo:
    """Add a user."""
    password = body.password.get_secret_value()
    return _info(site.users.add(body.username, password, admin=body.admin, by=caller.name, address=address))


@routes.patch("/users/{user}", **needing("admin"))
def change_user(user: UserId, body: UserChange, caller: AdminOf, site: SiteOf, address: AddressOf) -> UserInfo:
    """Change a user; a new password and `disabled` end all logins."""
    if body.password is not None:
        site.users.set_password(user, body.password.get_secret_value(), by=caller.name, address=address)
    found = site.users.change(user, admin=body.admin, disabled=body.disabled, by=caller.name, address=address)
    return _info(found)


@routes.delete("/users/{user}", status_code=204, **needing("admin"))
def remove_user(user: UserId, caller: AdminOf, site: SiteOf, address: AddressOf) -> None:
    """Remove a user, who must own no projects."""
    site.remove_user(user, by=caller.name, address=address)


def _info(user: User) -> UserInfo:
    return UserInfo(**asdict(user))
