"""The site in a browser: it can be searched, and read on a phone; nothing of it comes from elsewhere."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
from .asking import ask

DOCS = Path(__file__).parents[2] / "docs"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    code = "import sys, pathlib, build_site; build_site.build_pages(pathlib.Path(sys.argv[1]))"
    where = {**os.environ, "PYTHONPATH": str(DOCS)}
    subprocess.run([sys.executable, "-c", code, str(folder)], env=where, check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_a_search_finds_pages(browser: str, site: str, tmp_path: Path) -> None:
    links = "[...document.querySelectorAll('.md-search-result__link')].map(one => one.href).join(' ')"
    assert "segmentation.html" in ask(f"{site}/index.html?q=multicut", links, tmp_path)


@pytest.mark.parametrize("page", ["index", "commands", "tutorials/em_on_slurm", "runs"])
def test_a_phone_shows_pages_without_scrolling_sideways(browser: str, site: str, tmp_path: Path, page: str) -> None:
    width = "document.readyState === 'complete' && document.documentElement.scrollWidth"
    assert ask(f"{site}/{page}.html", width, tmp_path, (390, 900)) <= 392


def test_nothing_comes_from_elsewhere(browser: str, site: str, tmp_path: Path) -> None:
    fetched = "document.readyState === 'complete' && performance.getEntriesByType('resource').map(one => one.name)"
    urls = ask(f"{site}/gallery.html", fetched, tmp_path)
    assert len(urls) > 5
    assert [url for url in urls if not url.startswith(site)] == []
