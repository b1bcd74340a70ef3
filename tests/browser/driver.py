"""A browser that a test drives as a person does: by keys and clicks; over a pipe, so that nobody else can reach it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bioimage_py.viz.viewing.browser import flags

_CODES = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


class Browser:
    """One page of a browser without a window.

    Parameters
    ----------
    program : str
    size : (int, int)
        Of the window.
    """

    def __init__(self, program: str, size: tuple[int, int] = (1200, 850)) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bioimage_py-browser-", ignore_cleanup_errors=True)
        ours, theirs = os.pipe(), os.pipe()  # what it reads, what it writes
        command = [program, *flags(self._folder.name, size), "--remote-debugging-pipe", "about:blank"]

        def place() -> None:  # it reads from 3 and writes to 4, by which numbers the pipes may be known already
            reading, writing = os.dup(ours[0]), os.dup(theirs[1])
            reading, writing = (os.dup(end) if end in (3, 4) else end for end in (reading, writing))
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdin=quiet, stdout=quiet, stderr=quiet, preexec_fn=place, pass_fds=(3, 4)
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._out, self._in = ours[1], theirs[0]
        self._rest, self._id, self._session = b"", 0, ""
        self.problems: list[str] = []
        """What the console told: errors, exceptions, answers that failed."""
        self.loaded = 0
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._folder.cleanup()

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is there."""
        before = self.loaded
        self._ask("Page.navigate", url=url)
        self.wait(lambda: self.loaded > before)

    def run(self, script: str) -> Any:
        """Return the value of an expression on the page; a promise is waited for."""
        found = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str, shift: bool = False) -> None:
        """Press keys, each once."""
        for key in keys:
            about = {"key": key, "code": key if key != " " else "Space", "windowsVirtualKeyCode": _CODES[key]}
            text = {"Enter": "\r", " ": " "}.get(key)
            more = {"text": text} if text else {}
            self._ask("Input.dispatchKeyEvent", type="keyDown", modifiers=8 if shift else 0, **about, **more)
            self._ask("Input.dispatchKeyEvent", type="keyUp", modifiers=8 if shift else 0, **about)

    def type(self, text: str) -> None:
        """Type a text where the cursor is."""
        self._ask("Input.insertText", text=text)

    def tab_to(self, what: str, most: int = 400) -> None:
        """Press Tab until what has the focus is what a selector says."""
        for _ in range(most):
            if self.run(f"document.activeElement.matches({json.dumps(what)})"):
                return
            self.press("Tab")
        raise AssertionError(f"{what} cannot be reached by the keyboard")

    def leave(self, *keys: str) -> None:
        """Press keys that lead to another page, and wait until it is there."""
        before = self.loaded
        self.press(*keys)
        self.wait(lambda: self.loaded > before)

    def resize(self, width: int, height: int) -> None:
        """Be a screen of this size, as that of a phone."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def picture(self, path: Path, whole: bool = False) -> None:
        """Write what one sees, or all of the page, as PNG."""
        found = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def wait(self, until: Any, seconds: float = 30.0) -> None:
        """Wait until a function, or an expression on the page, says True."""
        deadline = time.monotonic() + seconds
        while not (self.run(until) if isinstance(until, str) else until()):
            assert time.monotonic() < deadline, f"{until} did not become true"
            self.run("new Promise(done => setTimeout(done, 20))")

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._id += 1
        about = {"sessionId": self._session} if self._session else {}
        message = json.dumps({"id": self._id, "method": method, "params": params, **about})
        os.write(self._out, message.encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._id:
                assert "error" not in told, (method, told)
                return dict(told["result"])
            self._note(told.get("method", ""), told.get("params", {}))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._in, 2**20)
            assert piece, "the browser has ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, kind: str, about: dict[str, Any]) -> None:
        if kind == "Page.loadEventFired":
            self.loaded += 1
        elif kind == "Runtime.exceptionThrown":
            self.problems.append(str(about["exceptionDetails"])[:500])
        elif kind == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.problems.append(f"{about['entry'].get('url', '')}: {about['entry']['text']}")
        elif kind == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.problems.append(str(about["args"])[:500])
        elif kind == "Page.javascriptDialogOpening":
            self._id += 1
            answer = {"id": self._id, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            os.write(self._out, json.dumps({**answer, "sessionId": self._session}).encode() + b"\0")
