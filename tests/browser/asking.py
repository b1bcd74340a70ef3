"""Asking a page in a browser: expressions of JavaScript, until they are true."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

from bioimage_py.viz.viewing.browser import find_browser, flags

SECONDS = 90.0


def ask(url: str, expression: str, folder: Path, size: tuple[int, int] = (1300, 900)) -> Any:
    """What an expression is on a page, once it is neither false nor null; a minute and a half is waited for it."""
    command = [find_browser(), *flags(str(folder), size), "--remote-debugging-port=0", "about:blank"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        return asyncio.run(_ask(url, expression, folder / "DevToolsActivePort", size[0]))
    finally:
        process.kill()
        process.wait()


async def _ask(url: str, expression: str, told: Path, width: int) -> Any:
    end = time.monotonic() + SECONDS
    while not (told.exists() and told.read_text().count("\n")):
        assert time.monotonic() < end, "no browser"
        await asyncio.sleep(0.1)
    port = told.read_text().split()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
        page = next(one for one in json.loads(answer.read()) if one["type"] == "page")
    connection = await websocket_connect(page["webSocketDebuggerUrl"])
    number = 0

    async def call(method: str, **params: Any) -> Any:
        nonlocal number
        number += 1
        await connection.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            said = json.loads(await connection.read_message())
            if said.get("id") == number:
                return said.get("result", {})

    phone = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    await call("Emulation.setDeviceMetricsOverride", **phone)
    await call("Page.navigate", url=url)
    while True:
        said = await call("Runtime.evaluate", expression=expression, returnByValue=True)
        if value := said.get("result", {}).get("value"):
            return value
        assert time.monotonic() < end, f"{expression} is still {said}"
        await asyncio.sleep(0.2)
