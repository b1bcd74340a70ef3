"""The site that `make docs` builds: no warning, no dead link, and nothing that a browser would fetch from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .snippets import ROOT

LOADS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "embed": "src",
}
"""What a browser fetches by itself."""
NEVER_LOADED = {"canonical", "next", "prev", "index", "search"}
"""Of links in the head."""


class Page(HTMLParser):
    """Links, anchors, and what a page loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        wanted = LOADS.get(tag)
        if wanted in given and given.get("rel") not in NEVER_LOADED:
            self.loads.append(given[wanted or ""])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does, from a copy of the pages with one more, of which nobody has told."""
    pytest.importorskip("furo")
    root = tmp_path_factory.mktemp("site")
    for name in ("docs", "tests/layout"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("api", "__pycache__"))
    for name in ("README", "SECURITY", "CONTRIBUTING", "CHANGELOG"):
        shutil.copy(ROOT / f"{name}.md", root)
    (root / "docs" / "brand_new.md").write_text("# Brand new\n\nSee [sources](sources.md#ome-zarr).\n")
    make = re.search(r"^docs:.*\n\t\$\(BIN\)/(python -m sphinx .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert make is not None
    arguments = make[1].split()[1:]
    assert "-W" in arguments
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return root / "build" / "docs"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """All pages of the site."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_link_leads_somewhere(pages: dict[Path, Page]) -> None:
    assert len(pages) > 50
    dead = []
    for path, page in pages.items():
        for link in {*page.links, *page.loads}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("data:"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            if not target.is_file() or (parts.fragment and target in pages and unquote(parts.fragment) not in anchors):
                dead.append(f"{path.name}: {link}")
    assert [link for link in dead if not link.endswith("#")] == []


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [link for link in page.loads if urlsplit(link).netloc] == [], path.name
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']*", style.read_text()) == [], style.name


def test_every_public_name_has_its_entry(pages: dict[Path, Page]) -> None:
    listed = (ROOT / "tests" / "layout" / "public_names.txt").read_text().replace("\n    ", " ").splitlines()
    missing = []
    modules = {line.partition(":")[0] for line in listed}
    for line in listed:
        module, _, names = line.partition(":")
        page = next(page for path, page in pages.items() if path.name == f"{module}.html")
        for name in names.split():
            full = f"{module}.{name}"
            if full not in page.anchors and full not in modules and not name.startswith("_"):
                missing.append(full)
    assert missing == []


def test_an_operation_shows_its_parameters_and_names_those_that_all_share(site: Path) -> None:
    text = (site / "api" / "bioimage_py.filters.html").read_text()
    entry = text[text.index('id="bioimage_py.filters.gaussian_smoothing"') :].partition('<dl class="py')[0]
    plain = re.sub(r"<[^>]*>", "", entry)
    assert re.search(r"sigma.*physical.*\*\*run", plain, re.DOTALL)
    assert "RunKeywords" not in plain
    assert re.search(r"job_type.*num_workers.*execution", plain[plain.index("Other Parameters") :], re.DOTALL)


def test_the_search_finds_functions_and_words(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    assert '"gaussian_smoothing"' in index
    assert '"bioimage_py.segmentation"' in index
    assert "watersh" in index  # words are kept without their endings


def test_a_new_page_is_in_the_navigation_by_itself(pages: dict[Path, Page]) -> None:
    start = next(page for path, page in pages.items() if path.name == "index.html" and path.parent.name == "docs")
    assert "brand_new.html" in start.links


def test_the_start_page_begins_with_what_a_newcomer_does(pages: dict[Path, Page]) -> None:
    start = next(page for path, page in pages.items() if path.name == "index.html" and path.parent.name == "docs")
    order = [
        start.links.index(f"{name}.html") for name in ("first_steps", "howto", "sources", "api/bioimage_py", "design")
    ]
    assert order == sorted(order)
    assert any(link.endswith("start.png") for link in start.loads)
