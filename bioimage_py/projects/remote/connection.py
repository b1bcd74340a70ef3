"""Requests to a server: tokens renewed in time, repetitions that do nothing twice, errors of the package.

A password is used once, to log in, and not kept. What is repeated after a lost answer is either the same however often
it is done (reading, writing a chunk), or carries a key by which the server knows it again.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ... import __version__
from ...errors import AccessError, ParameterError, StorageError
from ...extras import needing
from . import saved
from .address import server_address
from .patience import Patience
from .problems import API, DamagedError, check_version, not_ours, not_trusted, problem

PREFIX = f"/api/v{API}"
TOKEN_VARIABLE = "BIOIMAGE_PY_TOKEN"
_BEFORE = 60.0
"""Seconds before its end at which an access token is renewed; of one that lives shortly, a quarter of its life."""
_AT_FIRST = 3.0
"""Seconds for which a server is asked again of which nothing has been heard yet: perhaps the URL is wrong."""


class _Lost(Exception):  # noqa: N818 - the request may have arrived, and is repeated where that does no harm
    pass


@dataclass
class _Tokens:
    """What a login has led to; never shown."""

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    renew_at: float = float("inf")


class Connection:
    """Requests to a server, by one user; safe to use from several threads, and after a fork.

    Parameters
    ----------
    url : str
        Base URL of the server.
    username, password : str
        Of an account; not kept.
    token : str
        An API token instead; by default ``$BIOIMAGE_PY_TOKEN``, where no user is given. Without any of these, the login
        that `login` has kept.
    insecure : bool, default False
        Accept http to other machines.
    ca : str
        File of the certificates that the server's is signed with, "" for those of the system.

    Raises
    ------
    ParameterError
        As `server_address`.
    AccessError
        Name, password or token are wrong, or missing.
    StorageError
        The server is not there, or is none of label projects.
    FormatError
        Client and server are of versions that don't go together.
    """

    def __init__(
        self,
        url: str,
        username: str = "",
        password: str = "",
        *,
        token: str = "",
        insecure: bool = False,
        ca: str = "",
        tell: Callable[[str, str], None] | None = None,
    ) -> None:
        with needing("httpx", "A project on a server"):
            import httpx
        self._httpx = httpx
        self.url = server_address(url, insecure=insecure)
        self.ca = ca
        self.client = f"bioimage_py-{__version__}-{secrets.token_hex(8)}"
        """Name by which the server knows this program."""
        self._lock = threading.Lock()
        self._client: Any = None
        self._process = 0
        self._tokens: _Tokens | None = None
        self.tickets: dict[str, float] = {}
        """When tokens for workers are asked for anew, by name of their variable (`tickets`)."""
        self._kept = ""
        self.user = ""
        self._check_version()
        if tell is not None:
            self._wait_for_browser(tell)
        else:
            self._come_in(username, password, token or ("" if username else os.environ.get(TOKEN_VARIABLE, "")))
        self.user = str(self.get("/users/me")["name"])

    def _come_in(self, username: str, password: str, token: str) -> None:
        if token:
            self._tokens = _Tokens(token)
        elif username and password:
            body = {"username": username, "password": password, "client": self.client}
            self._take(self._answer("POST", "/auth/login", json=body, known=False).json())
        elif (login := saved.read(self.url)) is not None and username in ("", login.user):
            self._kept = login.user
            with self._lock:
                self._renew(_Tokens("", login.refresh))
        else:
            who = f" of {username!r}" if username else ""
            raise AccessError(
                f"{self.url} takes a user and a password; no login{who} is kept.",
                remedy=f"{self._login(username)}, or username= and password=, token= or ${TOKEN_VARIABLE}",
            )

    def _wait_for_browser(self, tell: Callable[[str, str], None]) -> None:
        """Come in as who types a code into the server's page."""
        asked = self._answer("POST", "/auth/device", json={"client": self.client}, known=False, again=False).json()
        tell(self.url + asked["path"], asked["words"])
        over = time.monotonic() + asked["seconds"]
        while time.monotonic() < over:
            time.sleep(asked["every"])
            answer = self._answer("POST", "/auth/device/token", json={"code": asked["code"]}, known=False, again=False)
            if (pair := answer.json()["tokens"]) is not None:
                self._take(pair)
                return
        raise AccessError("Nobody has let this program in.", remedy=self._login())

    def _login(self, username: str = "") -> str:
        return f"bioimage_py.projects.login({self.url!r}, {username or 'username'!r})"

    def keep(self) -> None:
        """Keep the login for other programs of this user, until `log_out`."""
        with self._lock:
            assert self._tokens is not None
            with saved.alone():
                saved.write(self.url, saved.Login(self.user, self.client, self._tokens.refresh))
            self._kept = self.user

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON value of a path."""
        return self._answer("GET", path, params=query).json()

    def send(
        self,
        method: str,
        path: str,
        value: Any = None,
        *,
        key: str = "",
        headers: Any = None,
        slow: bool = False,
        **query: Any,
    ) -> Any:
        """Send a JSON value, and return that of the answer (None for none).

        Parameters
        ----------
        method, path : str
        value : JSON value, optional
        key : str
            What makes a POST one that may be repeated: the server does it once.
        headers : mapping, optional
        slow : bool
            Whether the work may take longer than an answer is waited for.
        **query
        """
        given = {**(headers or {}), **({"Idempotency-Key": key} if key else {})}
        again = bool(key) or method != "POST"
        answer = self._answer(method, path, json=value, headers=given, params=query, again=again, slow=slow)
        return answer.json() if answer.content else None

    def send_bytes(
        self,
        method: str,
        path: str,
        data: bytes | memoryview,
        *,
        again: bool,
        headers: Mapping[str, str] | None = None,
        slow: bool = False,
    ) -> Any:
        """Send bytes, and return the JSON value of the answer (None for none); again where that does no harm."""
        content = bytes(data)
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        told = {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}
        how: dict[str, Any] = {"content": content, "headers": {**told, **(headers or {})}, "again": again, "slow": slow}
        try:
            answer = self._answer(method, path, **how)
        except DamagedError:
            answer = self._answer(method, path, **how)
        return answer.json() if answer.content else None

    def get_bytes(self, path: str) -> bytes:
        """Return the bytes of a path."""
        return bytes(self._answer("GET", path).content)

    @contextmanager
    def streamed(self, path: str, headers: Mapping[str, str], silence: float) -> Iterator[Any]:
        """Inside, an answer whose lines come while it goes on (`httpx.Response`); repeated by who reads it.

        Parameters
        ----------
        path : str
        headers : mapping
        silence : float
            Seconds after which a server that sends nothing is away (StorageError).
        """
        renewed = False
        while True:
            token = self.access_token()
            given = {"X-Client": self.client, "Authorization": f"Bearer {token}", **headers}
            url = f"{self.url}/api/v{API}{path}"
            timeout = self._httpx.Timeout(silence, connect=10.0)
            try:
                with self._opened().stream("GET", url, headers=given, timeout=timeout) as answer:
                    if answer.status_code == 401 and not renewed and self._was_renewed(token):
                        renewed = True
                        continue
                    if answer.status_code != 200:
                        answer.read()
                        raise problem(url, answer, self._login())
                    yield answer
                    return
            except self._httpx.TransportError as error:
                raise self._away(path, error) from None

    def refresh_access_token(self) -> None:
        """Renew the access token now; nothing is done where an API token is used.

        Raises
        ------
        AccessError
            The login has ended.
        """
        with self._lock:
            if self._tokens is not None and self._tokens.refresh:
                self._renew(self._tokens)

    def access_token(self) -> str:
        """Return a token that lives for a while, for a worker's environment."""
        with self._lock:
            assert self._tokens is not None
            if time.monotonic() >= self._tokens.renew_at:
                self._renew(self._tokens)
            return self._tokens.access

    def renews(self) -> bool:
        """Whether somebody has logged in; an API token is not renewed."""
        return self._tokens is not None and bool(self._tokens.refresh)

    def log_out(self) -> None:
        """End the login; nothing is done where an API token is used."""
        if self.renews():
            self.send("POST", "/auth/logout")
            self._tokens = None
            if self._kept:
                saved.forget(self.url)

    def close(self) -> None:
        """Close connections; the next request opens new ones."""
        if self._client is not None and self._process == os.getpid():
            self._client.close()
        self._client = None

    def _take(self, pair: Mapping[str, Any]) -> None:
        try:
            seconds, access, refresh = float(pair["seconds"]), str(pair["access"]), str(pair["refresh"])
        except (ValueError, KeyError, TypeError):
            raise not_ours(self.url) from None
        self._tokens = _Tokens(access, refresh, time.monotonic() + seconds - min(_BEFORE, seconds / 4))

    def _renew(self, tokens: _Tokens) -> None:
        if not self._kept:
            self._take(self._renewed(tokens.refresh, self.client))
            return
        with saved.alone():  # each token renews once, so programs that share a login take turns
            login = saved.read(self.url)
            if login is None or login.user != self._kept:
                raise AccessError(
                    f"The login of {self._kept!r} at {self.url} has ended.", remedy=self._login(self._kept)
                )
            pair = self._renewed(login.refresh, login.client)
            saved.write(self.url, replace(login, refresh=pair["refresh"]))
        self._take(pair)

    def _renewed(self, refresh: str, client: str) -> Any:
        # the name lets the server forgive a repetition by this client, whose answer was lost
        return self._answer("POST", "/auth/refresh", json={"refresh": refresh, "client": client}, known=False).json()

    def _answer(
        self,
        method: str,
        path: str,
        *,
        known: bool = True,
        again: bool = True,
        patience: float | None = None,
        slow: bool = False,
        **how: Any,
    ) -> Any:
        """Return the answer to a request, repeated where it was lost and that does no harm."""
        left, renewed = Patience(patience, slow=slow), False
        while True:
            token = self.access_token() if known else ""
            try:
                answer = self._once(method, path, token, **how)
            except _Lost as lost:
                if not again or not left.waits(working=isinstance(lost.__cause__, self._httpx.ReadTimeout)):
                    raise self._away(path, lost.__cause__) from None
                continue
            code = answer.status_code
            if code == 401 and known and not renewed and self._was_renewed(token):
                renewed = True
                continue
            if (code == 429 or (code == 503 and again)) and left.waits_as_told(answer.headers.get("Retry-After", "")):
                continue
            if code in (502, 504) and again and left.waits(working=code == 504):
                continue
            if code >= 300:
                raise problem(f"{self.url}/api/v{API}{path}", answer, self._login())
            return answer

    def _once(self, method: str, path: str, token: str, **how: Any) -> Any:
        headers = {"X-Client": self.client, **(how.pop("headers", None) or {})}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            return self._opened().request(method, f"{self.url}/api/v{API}{path}", headers=headers, **how)
        except self._httpx.TransportError as error:
            if _is_distrust(error):
                raise not_trusted(self.url, str(error)) from None
            raise _Lost from error

    def _was_renewed(self, token: str) -> bool:
        """Renew the token that was refused, unless another thread has done so."""
        with self._lock:
            tokens = self._tokens
            if tokens is None or not tokens.refresh:
                return False
            if tokens.access == token:
                self._renew(tokens)
            return True

    def _opened(self) -> Any:
        if self._client is None or self._process != os.getpid():  # a forked child must not use its parent's sockets
            timeout = self._httpx.Timeout(60.0, connect=10.0)
            verify = self.url.startswith("https:") and (self.ca or True)  # reading certificates takes a while
            self._client = self._httpx.Client(timeout=timeout, verify=verify, follow_redirects=False)
            self._process = os.getpid()
        return self._client

    def _check_version(self) -> None:
        check_version(self.url, self._answer("GET", "/version", known=False, patience=_AT_FIRST))

    def _away(self, path: str, error: BaseException | None) -> StorageError:
        return StorageError(
            f"{self.url} does not answer ({type(error).__name__}: {error}).",
            remedy="look whether it runs, and at the network; what was sent may have arrived",
        )

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"

    def __reduce__(self) -> Any:
        raise ParameterError("A connection holds tokens, so it is not pickled.", remedy=f"${TOKEN_VARIABLE} in workers")


def _is_distrust(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
