"""Counts of requests at a port of their own, for Prometheus, which logs in nowhere."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .http.metrics import read, shown


def show_metrics(folder: Path, host: str, port: int) -> str:
    """Answer requests for the counts that processes write into a folder, from a thread; return "host:port".

    Parameters
    ----------
    folder : Path
    host : str
    port : int
        0: any that is free.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10
        server_version, sys_version = "metrics", ""

        def do_GET(self) -> None:
            there = self.path.partition("?")[0] == "/metrics"
            text = shown(read(folder)).encode() if there else b"GET /metrics\n"
            self.send_response(200 if there else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing: each second somebody asks."""

    server = ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    return f"{host}:{server.server_address[1]}"
