"""A browser without a window, in which a page is drawn."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import MissingDependencyError

VARIABLE = "BIOIMAGE_PY_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_END_SECONDS = 10.0


def find_browser() -> str:
    """The program.

    Raises
    ------
    MissingDependencyError
        There is none.
    """
    named = os.environ.get(VARIABLE)
    for name in [named] if named else [*_NAMES, _MAC]:
        if (found := shutil.which(name)) is not None:
            return found
    raise MissingDependencyError(
        f"A picture of a page needs Chromium or Chrome, and {named or 'none of ' + ', '.join(_NAMES)} is on the PATH.",
        remedy=f"apt install chromium (Debian, Ubuntu), or {VARIABLE}=/path/to/chrome",
    )


def flags(folder: str, size: tuple[int, int]) -> list[str]:
    """What it is started with: no window, a profile of its own, and WebGL without a graphics card."""
    told = [
        "--headless=new",
        f"--user-data-dir={folder}",
        f"--window-size={size[0]},{size[1]}",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--ignore-gpu-blocklist",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
    ]
    # Chromium's sandbox does not work for root
    return told + (["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])


@contextmanager
def opened(url: str, size: tuple[int, int]) -> Iterator[subprocess.Popen[bytes]]:
    """A page that is open for as long as the block lasts."""
    program = find_browser()
    with tempfile.TemporaryDirectory(prefix="bioimage_py-browser-", ignore_cleanup_errors=True) as folder:
        quiet = subprocess.DEVNULL
        process = subprocess.Popen([program, *flags(folder, size), url], stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def picture_of(url: str, path: str, size: tuple[int, int], seconds: float = 60.0) -> None:
    """Write a picture of a page that needs no time to draw itself.

    Raises
    ------
    MissingDependencyError
        There is no browser, or it made no picture.
    """
    program = find_browser()
    with tempfile.TemporaryDirectory(prefix="bioimage_py-browser-", ignore_cleanup_errors=True) as folder:
        command = [program, *flags(folder, size), "--virtual-time-budget=8000", f"--screenshot={path}", url]
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    if not os.path.isfile(path):
        said = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise MissingDependencyError(
            f"{program} made no picture of {url}: {' '.join(said)}", remedy="apt install --reinstall chromium"
        )
