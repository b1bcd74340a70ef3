"""Signing in with a provider of identities: OpenID Connect, the code flow with PKCE (RFC 7636, RFC 9700).

Nothing is kept between the two halves of a sign-in but a random cookie: `state`, `nonce` and the verifier are digests
of it, so an answer that another browser began, or that comes again later, fits none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...errors import ParameterError, StorageError
from ...extras import needing
from ..refusals import UnknownCallerError
from .members import Role

_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by keys of which the provider publishes one half; "none" and shared secrets are not among them."""
_SECONDS, _LEEWAY = 15.0, 60.0
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class ProviderSettings:
    """What is known of a provider, of the file of ``--oidc``.

    Parameters
    ----------
    issuer : str
        URL of the provider, as its tokens name it.
    client_id, client_secret : str
        By which the provider knows this server.
    url : str
        Where browsers find this server, with its path.
    name, groups : str
        Claims that hold the name of a user, and a list of groups.
    admins : sequence of str
        Groups whose members are administrators; none: that is not changed by signing in.
    roles : mapping
        Roles by project's id and group.
    title : str
        What the button says.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    url: str
    name: str = "preferred_username"
    groups: str = "groups"
    admins: Sequence[str] = ()
    roles: Mapping[str, Mapping[str, Role]] = field(default_factory=dict)
    title: str = "Sign in with your organisation"

    @classmethod
    def read(cls, path: Path) -> ProviderSettings:
        """Return the settings of a TOML file.

        Raises
        ------
        ParameterError
            A field is missing, unknown or of another type, or an address is not encrypted.
        """
        try:
            found = tomllib.loads(path.read_text("utf-8"))
            roles = {
                project: {group: Role[role] for group, role in groups.items()}
                for project, groups in found.pop("roles", {}).items()
            }
            made = cls(**found, roles=roles)
            words = (made.issuer, made.client_id, made.client_secret, made.url, made.name, made.groups, made.title)
            if not all(isinstance(word, str) and word for word in words):
                raise TypeError("a text is missing")
            if any(role == Role.owner for groups in roles.values() for role in groups.values()):
                raise TypeError("groups make no owners")
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ParameterError(
                f"{path} does not describe a provider of identities: {error}",
                remedy="issuer, client_id, client_secret, url; name, groups, admins, title, [roles.PROJECT]",
            ) from None
        for address in (made.issuer, made.url):
            _check_encrypted(address)
        return made


@dataclass(frozen=True)
class Identity:
    """Who a provider says that somebody is."""

    issuer: str
    subject: str
    name: str
    groups: frozenset[str]


class Provider:
    """A provider of identities.

    Parameters
    ----------
    settings : ProviderSettings
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, settings: ProviderSettings, clock: Callable[[], float] = time.time) -> None:
        with needing("httpx", "Signing in with a provider"):
            import httpx
        with needing("joserfc", "Signing in with a provider"):
            import joserfc  # noqa: F401
        self.settings = settings
        self._clock = clock
        self._client = httpx.Client(timeout=_SECONDS, follow_redirects=False)

    @property
    def callback(self) -> str:
        """Address to which the provider sends the browser back; it has to know it."""
        return f"{self.settings.url.rstrip('/')}/oidc/callback"

    def begin(self, cookie: str, onward: str) -> str:
        """Return the address at which somebody signs in; `cookie` is a random text that only the browser gets.

        Raises
        ------
        StorageError
            The provider does not answer, or says that it is another one.
        """
        asked = {
            "response_type": "code",
            "scope": "openid profile email",
            "client_id": self.settings.client_id,
            "redirect_uri": self.callback,
            "state": _state(cookie, onward),
            "nonce": _digest("nonce", cookie),
            "code_challenge": _encoded(hashlib.sha256(_digest("verifier", cookie).encode()).digest()),
            "code_challenge_method": "S256",
        }
        return f"{self._about()['authorization_endpoint']}?{urlencode(asked)}"

    def onward(self, cookie: str, state: str) -> str:
        """Return where somebody wanted to go.

        Raises
        ------
        UnknownCallerError
            This browser has not begun it.
        """
        onward = _decoded(state.partition(".")[2])
        if not cookie or not hmac.compare_digest(_state(cookie, onward).encode(), state.encode(errors="replace")):
            raise UnknownCallerError("This browser has not begun to sign in, or has ended that.")
        return onward

    def identity(self, cookie: str, code: str) -> Identity:
        """Return who somebody is, for a code that the provider gave.

        Raises
        ------
        UnknownCallerError
            The provider does not take the code, or the token is not for this sign-in and this server.
        StorageError
            The provider does not answer.
        """
        about, settings = self._about(), self.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callback,
            "code_verifier": _digest("verifier", cookie),
        }
        answer = self._asked(
            "POST", about["token_endpoint"], data=form, auth=(settings.client_id, settings.client_secret)
        )
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise UnknownCallerError("The provider did not take this sign-in.")
        claims = self._claims(token, about["jwks_uri"])
        self._check(claims, _digest("nonce", cookie))
        groups = claims.get(settings.groups) or []
        known = frozenset(str(group) for group in groups) if isinstance(groups, list) else frozenset[str]()
        return Identity(settings.issuer, claims["sub"], str(claims.get(settings.name) or ""), known)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _claims(self, token: str, keys_at: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        keys = self._asked("GET", keys_at)  # anew each time: a key that is not published any more signs nothing
        try:
            found = jwt.decode(token, KeySet.import_key_set({"keys": keys["keys"]}), algorithms=_ALGORITHMS).claims
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise _refused(f"its signature is not the provider's ({type(error).__name__})") from None
        return dict(found)

    def _check(self, claims: Mapping[str, Any], nonce: str) -> None:
        now, own = self._clock(), self.settings.client_id
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        times = [claims.get("exp"), claims.get("iat")]
        if claims.get("iss") != self.settings.issuer:
            raise _refused("it is of another issuer")
        if own not in audiences or (len(audiences) > 1 and claims.get("azp") != own):
            raise _refused("it is for another program")
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in times):
            raise _refused("it does not say when it ends")
        if not now - _LEEWAY < claims["exp"] or not claims["iat"] < now + _LEEWAY:
            raise _refused("its time is over, or has not come")
        if not hmac.compare_digest(str(claims.get("nonce")).encode(errors="replace"), nonce.encode()):
            raise _refused("it is for another sign-in")
        if not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255:
            raise _refused("it names nobody")

    def _about(self) -> dict[str, str]:
        """Return what the provider says of itself."""
        found = self._asked("GET", f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.settings.issuer:
            raise StorageError("The provider of identities says that it is another one.", remedy="look at issuer")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            _check_encrypted(str(found.get(name)))
        return found

    def _asked(self, method: str, url: str, **how: Any) -> dict[str, Any]:
        import httpx

        try:
            with self._client.stream(method, url, headers={"Accept": "application/json"}, **how) as answer:
                data = b""
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > _MOST_BYTES:
                        raise ValueError("too long")
            if answer.status_code in (400, 401, 403):  # such as a code that comes a second time
                return {}
            found = json.loads(data)
            if answer.status_code != 200 or not isinstance(found, dict):
                raise ValueError("no answer")
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            raise _away(error) from None
        return found


def _away(error: Exception) -> StorageError:
    return StorageError(
        f"The provider of identities does not answer as it should ({type(error).__name__}).", remedy="try again later"
    )


def _refused(why: str) -> UnknownCallerError:
    return UnknownCallerError(f"The provider's token is refused: {why}.")


def _check_encrypted(address: str) -> None:
    parts = urlsplit(address)
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise ParameterError(f"{address!r} is not encrypted.", remedy="https://...")


def _state(cookie: str, onward: str) -> str:
    return f"{_digest('state', cookie, onward)}.{_encoded(onward.encode())}"


def _digest(*parts: str) -> str:
    return _encoded(hashlib.sha256("\0".join(parts).encode()).digest())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""
