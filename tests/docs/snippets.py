"""The snippets of the pages: which there are, and how they are run.

Above a snippet, a comment says what is done with it:

- nothing: Python runs, all of a page in one namespace; so do the lines of ``bash``;
- ``<!-- file: NAME -->``: it is saved under this name, and a later line runs it;
- ``<!-- saved as: NAME -->``: it is saved, and runs here, too;
- ``<!-- change: NAME -->``: lines with a plus go below the line above them, which the file has once;
- ``<!-- not run: why -->``: it can't run here.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING")),
    *sorted((ROOT / "docs").glob("*.md")),
]
DATA = ROOT / "docs" / "example_data.md"
"""It makes the files that the examples of the other pages open."""

_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Snippet:
    """A block of code of a page, from this line on."""

    page: Path
    line: int
    language: str
    mark: str
    code: str

    @property
    def file(self) -> str:
        """The name that it is saved under, or ""."""
        found = re.fullmatch(r"(?:file|saved as): (\S+)", self.mark)
        return found[1] if found else ""

    @property
    def changes(self) -> str:
        """The file that it changes, or ""."""
        return self.mark.removeprefix("change: ") if self.mark.startswith("change: ") else ""

    @property
    def runs(self) -> bool:
        """Whether it runs where it stands."""
        return self.language in ("python", "bash") and not self.mark.startswith(("not run: ", "file: "))


def snippets(page: Path) -> list[Snippet]:
    """All fenced blocks of a page."""
    text = page.read_text()
    return [
        Snippet(page, text[: found.start("code")].count("\n"), found["language"], found["mark"] or "", found["code"])
        for found in _FENCE.finditer(text)
    ]


def change(path: Path, diff: str) -> None:
    """Put the new lines of a diff below those that it shows above them."""
    lines = path.read_text().splitlines()
    at = -1
    for line in diff.splitlines():
        if line.startswith("+"):
            at += 1
            lines.insert(at, line[1:])
        else:
            assert lines.count(line[1:]) == 1, f"{path} has not exactly one line {line[1:]!r}"
            at = lines.index(line[1:])
    path.write_text("\n".join(lines) + "\n")


def run_page(page: Path, places: dict[str, str], shell: Callable[[str], None]) -> None:
    """Run the snippets of a page in the current folder, with some texts exchanged for others."""
    namespace: dict[str, object] = {"__name__": "snippets"}
    for snippet in snippets(page):
        code = snippet.code
        for shown, here in places.items():
            code = code.replace(shown, here)
        if snippet.file:
            Path(snippet.file).parent.mkdir(parents=True, exist_ok=True)
            Path(snippet.file).write_text(code)
        if snippet.changes:
            change(Path(snippet.changes), code)
        if snippet.runs and snippet.language == "python":
            name = os.path.abspath(snippet.file) if snippet.file else str(page)
            exec(compile(("" if snippet.file else "\n" * snippet.line) + code, name, "exec"), namespace)
        elif snippet.runs:
            shell(code)


def here(code: str) -> None:
    """Run lines of a shell one by one; the command of the package without a process of its own."""
    from click.testing import CliRunner

    from bioimage_py.cli import main

    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["bioimage-py"]:
            done = CliRunner().invoke(main, words[1:])
            assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
        elif words:
            in_a_shell(line)


def in_a_shell(code: str) -> None:
    """Run lines as a shell does, with the programs of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-ec", code], env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
