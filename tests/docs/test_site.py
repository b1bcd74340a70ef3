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


def built(root: Path) -> Path:
    """The site as `make docs` builds it, from a copy of the pages with one more, of which nobody has told."""
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
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=1100
    )
    assert done.returncode == 0, done.stderr
    return root / "build" / "docs"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_site(tmp_path: Path) -> None:
    """One test, for to build it takes half a minute, many times that on a busy machine."""
    pytest.importorskip("furo")
    site = built(tmp_path)
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    start = pages[site / "index.html"]
    every_link_leads_somewhere(pages)
    nothing_is_fetched_from_elsewhere(site, pages)
    every_public_name_has_its_entry(pages)
    operations_show_their_parameters(site)
    the_search_finds_functions_and_words(site)
    assert "brand_new.html" in start.links, "a new page is in the navigation by itself"
    order = [
        start.links.index(f"{name}.html") for name in ("first_steps", "howto", "sources", "api/bioimage_py", "design")
    ]
    assert order == sorted(order), "the navigation begins with what a newcomer does"
    assert any(link.endswith("start.png") for link in start.loads)


def every_link_leads_somewhere(pages: dict[Path, Page]) -> None:
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


def nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [link for link in page.loads if urlsplit(link).netloc] == [], path.name
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']*", style.read_text()) == [], style.name


def every_public_name_has_its_entry(pages: dict[Path, Page]) -> None:
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


def operations_show_their_parameters(site: Path) -> None:
    text = (site / "api" / "bioimage_py.filters.html").read_text()
    entry = text[text.index('id="bioimage_py.filters.gaussian_smoothing"') :].partition('<dl class="py')[0]
    plain = re.sub(r"<[^>]*>", "", entry)
    assert re.search(r"sigma.*physical.*\*\*run", plain, re.DOTALL)
    assert "RunKeywords" not in plain
    assert re.search(r"job_type.*num_workers.*execution", plain[plain.index("Other Parameters") :], re.DOTALL)


def the_search_finds_functions_and_words(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    assert '"gaussian_smoothing"' in index
    assert '"bioimage_py.segmentation"' in index
    assert "watersh" in index  # words are kept without their endings
