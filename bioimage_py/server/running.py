"""A server process: where it listens, what it refuses to do, and how it ends."""

from __future__ import annotations

import errno
import ipaddress
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ParameterError, StorageError
from ..extras import needing
from .accounts.provider import ProviderSettings
from .http.app import make_app
from .http.metrics import Metrics, counting
from .processes.logs import to_stderr
from .processes.metrics_port import show_metrics
from .processes.upkeep import KEEP_DAYS, keep_up
from .processes.workers import Workers
from .site import Site, Times

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

PORT = 8123
_GRACE = 30
"""Seconds that requests have to end when the server is stopped."""
_AT_ONCE = 1000
"""Connections of one process, those that wait for events among them; what is more is told 503."""
_PATIENCE = 5.0
_BACKLOG = 2048
_ACCEPTED = 2
"""Connections that one of several processes takes at a time, so that the others get some of them too."""


@dataclass(frozen=True)
class Listening:
    """Where a server listens.

    Parameters
    ----------
    host : str
    port : int
        0: any that is free.
    cert, key : str
        Files of the TLS certificate and its key; "" for none.
    insecure : bool
        Listen without TLS to other machines too.
    proxy : str
        Addresses of proxies (comma-separated) whose X-Forwarded-For and -Proto are believed; "" for none.
    path : str
        Under which a proxy shows the server, such as "/labels".
    workers : int
        Processes that answer.
    metrics : str
        "PORT" or "HOST:PORT" at which Prometheus finds the counts without a token; "" for nowhere.
    keep_days : float
        For so many days events are kept, by which clients catch up.
    project_bytes : int
        That a project may take; 0: as many as the disk has.
    url : str
        Where people find the server, for links that it shows; "" where that is not told.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    cert: str = ""
    key: str = ""
    insecure: bool = False
    proxy: str = ""
    path: str = ""
    workers: int = 1
    metrics: str = ""
    keep_days: float = KEEP_DAYS
    project_bytes: int = 0
    url: str = ""

    def own_url(self, port: int) -> str:
        """Return where it listens, as somebody in front of this machine can open it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.cert else 'http'}://{host}:{port}{self.path}"

    def invitation(self, port: int, link: str) -> str:
        """Return what tells somebody of a link, where a person can open it."""
        text = "A password of your own, in a browser, once and within a day"
        if self.url:
            return f"{text}: {self.url.rstrip('/')}{link}"
        if self.path:  # which only the proxy shows
            return f"{text}, at the address of your proxy (--url tells it): {self.path}{link}"
        where = self.own_url(port)
        told = f"{text}: {where}{link}"
        if where.endswith(f"//{self.host}:{port}") and not self.proxy:
            return told
        return f"{told} (elsewhere this machine's name, or the address of your proxy, in the place of {where})"

    def metrics_address(self) -> tuple[str, int]:
        """Return host and port of the counts; ParameterError where they are none."""
        host, _, port = self.metrics.rpartition(":")
        if not port.isdigit() or int(port) > 65535:
            raise ParameterError(f"{self.metrics!r} is no address of metrics.", remedy="--metrics 127.0.0.1:9123")
        return host or "127.0.0.1", int(port)

    def check(self) -> None:
        """Refuse passwords without encryption.

        Raises
        ------
        ParameterError
        """
        if self.metrics:
            self.metrics_address()
        if self.url:
            scheme, _, place = self.url.partition("://")
            path = "/".join(["", *place.rstrip("/").split("/")[1:]])
            if (
                scheme not in ("http", "https")
                or not place
                or {*place} & {*"?#@ "}
                or path.rstrip("/") != self.path.rstrip("/")
            ):
                raise ParameterError(
                    f"--url {self.url!r} is not where people find a server with --path {self.path!r}.",
                    remedy=f"--url https://labels.example.org{self.path}",
                )
        if bool(self.cert) != bool(self.key):
            raise ParameterError("TLS takes a certificate and its key.", remedy="--tls-cert FILE --tls-key FILE")
        if not (self.cert or self.insecure or self.proxy or _is_here(self.host)):
            raise ParameterError(
                f"Passwords would come to {self.host} without encryption.",
                remedy="--tls-cert and --tls-key; or --trusted-proxy with one that has TLS; or --insecure",
            )


def run(
    root: Path,
    listening: Listening,
    database: str,
    times: Times,
    tell: Callable[[str], None],
    image_roots: Sequence[Path] = (),
    provider: Path | None = None,
) -> None:
    """Serve a folder until the process is told to end (SIGTERM, SIGINT).

    Parameters
    ----------
    root : Path
    listening : Listening
    database : str
        URL; "" for SQLite in the folder.
    times : Times
    tell : callable
        Gets what somebody in front of the terminal should read.
    image_roots : sequence of Path
        Folders of images of which pictures are made.
    provider : Path, optional
        File that describes a provider of identities (`ProviderSettings`).

    Raises
    ------
    ParameterError
        It would listen to others without encryption.
    """
    with needing("uvicorn", "A server"):
        import uvicorn  # noqa: F401
    listening.check()
    known = None if provider is None else ProviderSettings.read(provider)
    if known is not None and not listening.url:
        listening = replace(listening, url=known.url)
    most = listening.project_bytes
    site = Site(root, database, times, image_roots=image_roots, provider=known, project_bytes=most)
    first = site.first_admin()
    if first is not None:
        tell(f"The first administrator is 'admin' with the password {first[0]} (shown this once).")
    if listening.insecure and not listening.cert:
        tell("Warning: passwords and data travel without encryption (--insecure).")
    to_stderr()
    bound = _bound(listening.host, listening.port)
    port = bound.getsockname()[1]
    url = listening.own_url(port)
    if first is not None:
        tell(listening.invitation(port, f"/link/{first[1]}"))
    signal.signal(signal.SIGTERM, _ended)  # which uvicorn raises again when all requests have ended
    with counting(site.root / f"metrics-{socket.gethostname()}-{port}") as counts:
        if listening.metrics:
            tell(f"Metrics for Prometheus: http://{show_metrics(counts, *listening.metrics_address())}/metrics")
        if listening.workers == 1:
            tell(f"Serving {site.root} at {url}")
            _serve(site, listening, bound, counts)
            return
        site.close()
        workers = Workers(
            listening.workers, _worker, bound, root, listening, database, times, image_roots, known, counts
        )
        try:  # who is told where it is may end it at once
            workers.begin()
            tell(f"Serving {site.root} at {url}")
            workers.watch()
        finally:
            workers.end(_GRACE + 5)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket at which clients are heard from now on.

    Raises
    ------
    StorageError
        Somebody else is there, also after some seconds: a server that was killed a moment ago has gone by then.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
            bound.listen(_BACKLOG)
            return bound
        except OSError as error:
            bound.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise StorageError(
                    f"{host}:{port} can't be listened at ({error.strerror}).", remedy="--port with another number"
                ) from None
        time.sleep(0.1)


def _worker(
    bound: socket.socket,
    root: Path,
    listening: Listening,
    database: str,
    times: Times,
    image_roots: Sequence[Path],
    provider: ProviderSettings | None,
    counts: Path,
) -> None:
    """Be one of several processes of a server."""
    signal.signal(signal.SIGTERM, _ended)
    to_stderr()
    most = listening.project_bytes
    site = Site(root, database, times, image_roots=image_roots, provider=provider, project_bytes=most)
    _serve(site, listening, bound, counts)


def _serve(site: Site, listening: Listening, bound: socket.socket, counts: Path) -> None:
    sys.setswitchinterval(0.001)  # threads that compute let the one that talks to clients in sooner
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8 * _AT_ONCE)), hard))
    insecure = listening.insecure and not listening.cert
    app = make_app(site, secure=bool(listening.cert), insecure=insecure, metrics=Metrics(counts))
    keep_up(site, listening.keep_days)
    try:
        _server(app, listening).run(sockets=[bound])
    finally:
        app.state.metrics.write()
        site.close()


def _server(app: FastAPI, listening: Listening) -> uvicorn.Server:
    import uvicorn

    from .processes.connections import Connection
    from .processes.forwarded import Forwarded

    class Server(uvicorn.Server):
        async def on_tick(self, counter: int) -> bool:
            if counter % 10 == 0:  # about every second
                now = time.monotonic()
                for one in list(self.server_state.connections):
                    one.look(now)  # type: ignore[union-attr]
            return await super().on_tick(counter)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for one in sockets or ():
                one.listen(_BACKLOG)  # that of the configuration says how many one process takes at a time
            app.state.metrics.write()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.news.close()  # streams would last until they are cut off
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            Forwarded(app, listening.proxy) if listening.proxy else app,  # type: ignore[arg-type]
            root_path=listening.path,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=_AT_ONCE,
            backlog=_ACCEPTED if listening.workers > 1 else _BACKLOG,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_GRACE,
            proxy_headers=False,  # which is done with more
            ssl_certfile=listening.cert or None,
            ssl_keyfile=listening.key or None,
            http=Connection,
        )
    )


def _ended(number: int, frame: object) -> None:
    raise SystemExit(0)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
