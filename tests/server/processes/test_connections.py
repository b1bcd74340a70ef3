"""Clients that take their time, over real sockets: none holds a connection for long, and others are answered."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import httpx
import pytest

from bioimage_py.server import running
from bioimage_py.server.http import guard

PATIENCE = 60
HEAD = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50000\r\n\r\n"
ASKED = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def served(web, monkeypatch):
    monkeypatch.setattr(guard, "SILENCE", 1.0)
    bound = running._bound("127.0.0.1", 0)
    server = running._server(web.app, running.Listening())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    yield server, bound.getsockname()
    server.should_exit = True
    thread.join(PATIENCE)
    bound.close()


def trickled(address, first, rest):
    """Send bytes one by one until the server ends it, and return what it has answered."""
    with socket.create_connection(address, PATIENCE) as one:
        one.sendall(first)
        one.settimeout(0.05)
        answer = b""
        for number in range(20 * PATIENCE):
            with suppress(TimeoutError):
                try:
                    one.sendall(rest[number : number + 1])
                    found = one.recv(65536)
                except ConnectionError:
                    return answer
                if not found:
                    return answer
                answer += found
        raise AssertionError("it was never cut off")


def test_who_sends_slowly_is_cut_off(served):
    address = served[1]
    assert trickled(address, b"", b"") == b""
    assert trickled(address, b"", ASKED[:-2] + b"X-Slow: " + b"a" * 5000) == b""
    assert trickled(address, HEAD, b"a" * 5000).startswith(b"HTTP/1.1 408 ")
    endless = ASKED[:-2] + b"X-Long: " + b"a" * 100_000
    assert trickled(address, endless, b"").startswith(b"HTTP/1.1 400 ")
    assert httpx.get("http://{}:{}/api/v1/health".format(*address), timeout=PATIENCE).status_code == 200


def test_who_takes_nothing_is_cut_off(served):
    server, address = served
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(PATIENCE)
        one.connect(address)
        one.sendall(100 * ASKED)
        deadline = time.monotonic() + PATIENCE
        while not server.server_state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while server.server_state.connections or server.server_state.tasks:
            assert time.monotonic() < deadline, "it was never cut off"
            time.sleep(0.05)
