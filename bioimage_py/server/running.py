"""A server process: where it listens, what it refuses to do, and how it ends."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ParameterError
from ..extras import needing
from .accounts.provider import ProviderSettings
from .http.app import make_app
from .logs import to_stderr
from .site import Site, Times

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
        import uvicorn
    listening.check()
    known = None if provider is None else ProviderSettings.read(provider)
    site = Site(root, database, times, image_roots=image_roots, provider=known)
    first = site.first_admin()
    if first is not None:
        tell(f"The first administrator is 'admin' with the password {first[0]} (shown this once).")
    if listening.insecure and not listening.cert:
        tell("Warning: passwords and data travel without encryption (--insecure).")
    to_stderr()
    config = uvicorn.Config(
        make_app(site, secure=bool(listening.cert), insecure=listening.insecure and not listening.cert),
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
    socket = config.bind_socket()
    socket.listen(config.backlog)  # who reads the line below may come at once
    kind, port = "https" if listening.cert else "http", socket.getsockname()[1]
    url = f"{kind}://{listening.host}:{port}{listening.path}"
    if first is not None:
        tell(f"A password of your own, in a browser, once and within a day: {url}/link/{first[1]}")
    tell(f"Serving {site.root} at {url}")
    signal.signal(signal.SIGTERM, _ended)  # which uvicorn raises again when all requests have ended
    try:
        uvicorn.Server(config).run(sockets=[socket])
    finally:
        site.close()


def _ended(number: int, frame: object) -> None:
    raise SystemExit(0)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
