"""Requests to a WebKnossos server that the webknossos library makes: with a deadline, retries and errors in words."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from ...errors import AccessError, BioimageError, SourceNotFoundError, StorageError
from ..stores.paths import is_url

# As for the requests of tensorstore: again after 0.5, 1, 2, 4, 8, 8 seconds, and up to as much more.
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0
_FOLDER = re.compile(r"https?://\S+?/(?=\.?(?:\s|$))")
_STALLED = "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS"
_STALLED_SECONDS = 60.0

PROPERTIES = "datasource-properties.json"

T = TypeVar("T")


@dataclass(frozen=True)
class _Failure:
    """What went wrong: the URL asked, the HTTP status (None without an answer), and whether to ask again."""

    url: str
    status: int | None
    reason: str
    again: bool


def ask(what: str, question: Callable[[], T], *, retries: int = 0, seconds: float | None = None) -> T:
    """Return what a function of the webknossos library gives; it is called again where the server fails.

    Parameters
    ----------
    what : str
        Dataset that is asked for, for the errors.
    question : callable
        Makes the requests.
    retries : int, default 0
        How often it is called again.
    seconds : float, optional
        How long to wait for it each time. None: as long as the library does.

    Raises
    ------
    AccessError
        For the HTTP statuses 401 and 403.
    SourceNotFoundError
        For 404.
    StorageError
        For all others, and where the server does not answer, after all retries.
    """
    for attempt in range(retries + 1):
        try:
            return _within(seconds, question)
        except BioimageError:
            raise
        except Exception as error:  # the library lets through those of three http libraries, and asserts
            failure = _failure(error, what)
            if not failure.again or attempt == retries:
                raise _error(what, failure, attempt) from error
        time.sleep(min(_LONGEST_DELAY, _FIRST_DELAY * 2**attempt) * (1 + random.random()))
    raise AssertionError  # the last attempt returns or raises


@contextlib.contextmanager
def explained(dataset: str) -> Iterator[None]:
    """Give errors of a server's voxels the remedies for WebKnossos; nothing for a local dataset."""
    try:
        yield
    except StorageError as error:
        if is_url(dataset):
            error.remedy = _access_remedy(_server(dataset)) if isinstance(error, AccessError) else _retry_remedy()
        raise


def patience() -> float:
    """Return after how many seconds without an answer a request has failed; as for those of tensorstore."""
    try:
        return float(os.environ.get(_STALLED, _STALLED_SECONDS))
    except ValueError:
        return _STALLED_SECONDS


def _within(seconds: float | None, question: Callable[[], T]) -> T:
    """Call a function in a thread that is left alone if it takes too long: the library waits half an hour."""
    if seconds is None:
        return question()
    result: list[T] = []
    raised: list[BaseException] = []

    def call() -> None:
        try:
            result.append(question())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks
            raised.append(error)

    context = contextvars.copy_context()  # holds the token of webknossos_context and login
    thread = threading.Thread(target=context.run, args=(call,), daemon=True, name="webknossos-request")
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not result:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return result[0]


def _failure(error: BaseException, what: str) -> _Failure:
    """Find the cause of an error of the library."""
    import aiohttp
    import httpx

    for cause in _chain(error):
        if isinstance(cause, httpx.HTTPStatusError):
            return _answered(str(cause.request.url), cause.response.status_code, cause.response.text)
        if isinstance(cause, FileNotFoundError) and (match := _FOLDER.search(str(cause))):
            # the library reads it through fsspec, which takes any failure for absence
            return _asked_again(f"{match[0]}{PROPERTIES}", what)
        if isinstance(cause, TimeoutError | httpx.TransportError | aiohttp.ClientError):
            return _Failure("", None, f"{type(cause).__name__}: {cause}", again=True)
    if isinstance(error, json.JSONDecodeError) or "API version of the WEBKNOSSOS server" in str(error):
        # the library does not look at the status here
        return _asked_again(f"{_server(what)}/api/buildinfo", what)
    return _Failure("", None, str(error) or repr(error), again=False)


def _asked_again(url: str, what: str) -> _Failure:
    """Find out why the library could not read a URL."""
    import httpx
    from webknossos.client.context import _get_context

    context = _get_context()
    own = not is_url(what) or what.startswith(context.url)
    headers = {"X-Auth-Token": context.token} if own and context.token else {}
    try:
        response = httpx.get(url, headers=headers, timeout=patience())
    except httpx.TransportError as error:
        return _Failure(url, None, f"{type(error).__name__}: {error}", again=True)
    if response.is_error:
        return _answered(url, response.status_code, response.text)
    return _Failure(url, None, "names no mag of the layer, or could be read at the second request only", again=True)


def _answered(url: str, status: int, text: str) -> _Failure:
    again = status >= 500 or status in (408, 429)
    return _Failure(url.partition("?")[0], status, " ".join(text.split())[:200], again)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _error(what: str, failure: _Failure, attempt: int) -> BioimageError:
    said = f"{failure.url or _server(what)} "
    said += f"answered with HTTP status {failure.status} {failure.reason}" if failure.status else failure.reason
    tried = f" ({attempt + 1} attempts)" if attempt else ""
    message = f"Cannot open the WebKnossos dataset {what.partition('?')[0]!r}: {said.strip()}{tried}"
    server = _server(failure.url or what)
    if failure.status in (401, 403):
        refused = AccessError(message, remedy=_access_remedy(server))
        refused.errno = errno.EACCES
        return refused
    if failure.status == 404:
        return SourceNotFoundError(
            message,
            remedy="check name, organization_id and URL, and whether the token may see it (WK_TOKEN, WK_URL);"
            " a local dataset opens by the path of its folder",
        )
    return StorageError(message, remedy=_retry_remedy() if failure.again else "check the dataset's name or URL")


def _server(text: str) -> str:
    """Return the server of a URL; for a name the one that WK_URL names."""
    if not is_url(text):
        return os.environ.get("WK_URL", "https://webknossos.org").rstrip("/")
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc}"


def _access_remedy(server: str) -> str:
    return (
        f"set WK_URL={server} and WK_TOKEN to the token from {server}/account/token before Python starts,"
        f" or call webknossos.login(url={server!r}, token=...)"
    )


def _retry_remedy() -> str:
    return f"try later; storage_options={{'retries': 12}} tries longer, {_STALLED}=300 waits longer for each answer"
