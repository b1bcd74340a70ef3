"""Build the site, pages and API, without internet: `python docs/build_site.py OUTPUT_FOLDER`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

DOCS = Path(__file__).parent
ROOT = DOCS.parent
_ITEM = re.compile(r"^(?:[-*] |\d+\. )")
_API = "https://example.invalid/api/"
"""Where pages link to the API, which lies beside them on the site and nowhere in the repository."""


def pages() -> Iterator[tuple[str, Path]]:
    """Name on the site and file of each page."""
    yield "SECURITY.md", ROOT / "SECURITY.md"
    for page in sorted(DOCS.rglob("*.md")):
        yield str(page.relative_to(DOCS)), page


def for_mkdocs(text: str, name: str) -> str:
    """The text of a page as MkDocs reads it: lists begin after an empty line, links stay on the site."""
    lines: list[str] = []
    code = False
    for line in text.splitlines():
        code ^= line.startswith("```")
        before = lines[-1] if lines else ""
        inside = _ITEM.match(before) or before.startswith(("  ", "|"))
        if not code and _ITEM.match(line) and before and not inside:
            lines.append("")
        lines.append(line)
    up = "../" * name.count("/")
    return "\n".join(lines).replace("](../SECURITY.md", f"]({up}SECURITY.md").replace(f"]({_API}", f"]({up}api/")


def build_pages(output: Path) -> None:
    """Write the pages; whatever MkDocs warns of, such as a link to nothing, is an error."""
    with tempfile.TemporaryDirectory() as made:
        source, settings = Path(made) / "pages", Path(made) / "mkdocs.yml"
        for name, page in pages():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(for_mkdocs(page.read_text(), name))
        shutil.copytree(DOCS / "pictures", source / "pictures")
        told = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
        settings.write_text(yaml.safe_dump({**told, "docs_dir": str(source), "site_dir": str(output.absolute())}))
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", str(settings)]
        subprocess.run(command, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})


def main() -> None:
    """Write all of it."""
    output = Path(sys.argv[1])
    build_pages(output)
    subprocess.run([sys.executable, str(DOCS / "build_api.py"), str(output / "api")], check=True)
    print(f"{output / 'index.html'}; to search it: {sys.executable} -m http.server -d {output}")


if __name__ == "__main__":
    main()
