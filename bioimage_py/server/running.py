"""A server process: where it listens, what it refuses to do, and how it ends."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ParameterError
from ..extras import needing
from .http.app import make_app
from .logs import to_stderr
from .site import Site, Times

if TYPE_CHECKING:
    import socket

    import uvicorn

    from .http.news import News

PORT = 8123
_GRACE = 30
"""Seconds that requests have to end when the server is stopped."""
_AT_ONCE = 500


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
    """

    host: str = "127.0.0.1"
    port: int = PORT
    cert: str = ""
    key: str = ""
    insecure: bool = False
    proxy: str = ""
    path: str = ""

    def check(self) -> None:
        """Refuse passwords without encryption.

        Raises
        ------
        ParameterError
        """
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

    Raises
    ------
    ParameterError
        It would listen to others without encryption.
    """
    with needing("uvicorn", "A server"):
        import uvicorn
    listening.check()
    site = Site(root, database, times, image_roots=image_roots)
    password = site.first_admin()
    if password is not None:
        tell(f"The first administrator is 'admin' with the password {password} (shown this once).")
    if listening.insecure and not listening.cert:
        tell("Warning: passwords and data travel without encryption (--insecure).")
    to_stderr()
    app = make_app(site, secure=bool(listening.cert))
    config = uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        root_path=listening.path,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=_AT_ONCE,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE,
        h11_max_incomplete_event_size=64 * 1024,
        proxy_headers=bool(listening.proxy),
        forwarded_allow_ips=listening.proxy or None,
        ssl_certfile=listening.cert or None,
        ssl_keyfile=listening.key or None,
    )
    bound = config.bind_socket()
    bound.listen(config.backlog)  # who reads the line below may come at once
    kind, port = "https" if listening.cert else "http", bound.getsockname()[1]
    tell(f"Serving {site.root} at {kind}://{listening.host}:{port}{listening.path}")
    signal.signal(signal.SIGTERM, _ended)  # which uvicorn raises again when all requests have ended
    try:
        _server(config, app.state.news).run(sockets=[bound])
    finally:
        site.close()


def _server(config: uvicorn.Config, news: News) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            news.close()  # streams would last until they are cut off
            await super().shutdown(sockets)

    return Server(config)


def _ended(number: int, frame: object) -> None:
    raise SystemExit(0)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
