"""What the site does to a page of Markdown that is read in the repository, too."""

from __future__ import annotations

import re
from pathlib import Path

import api_pages
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
OUTSIDE = {"README": "index", "SECURITY": "security", "CONTRIBUTING": "contributing", "CHANGELOG": "changelog"}
"""Pages at the root of the repository, by the page of the site that shows them."""
MODULES = "<!-- public modules -->"
_BY_FILE = re.compile(r"\[[\w/.]+\.md\]\(")
"""A link that reads as the name of a page's file: it gets the page's title."""
OTHERS = "<!-- pages that are named nowhere -->"
_ENTRY = re.compile(r"^(?:.*<)?([\w/-]+)>?$", re.MULTILINE)


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn links to files at the root into links to their pages, and list the pages that no list names."""
    text = _BY_FILE.sub("[](", source[0])
    for name, here in OUTSIDE.items():
        text = text.replace(f"](../{name}.md", f"]({here}.md")
    if page == "index":
        text = text.replace(OTHERS, "\n".join(unlisted(app)))
        modules = [f"{name.removeprefix('bioimage_py.')} <api/{name}>" for name in api_pages.listed()]
        text = text.replace(MODULES, "\n".join(modules))
    source[0] = text


def unlisted(app: Sphinx) -> list[str]:
    """Return the pages that are in no list of the start page: a new file has its place by itself."""
    start = (Path(app.srcdir) / "index.md").read_text()
    lists = re.findall(r"```\{toctree\}\n(.*?)```", start, re.DOTALL)
    named = {entry for entries in lists for entry in _ENTRY.findall(entries)}
    return sorted(page for page in app.env.found_docs - named - {"index"} if not page.startswith("api/"))
