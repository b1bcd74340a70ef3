"""What tests install, with an installer that was killed once."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests import debian

DPKG = """#!/bin/sh
touch "{folder}/configured"
"""
APT_GET = """#!/bin/sh
case "$*" in *install*) ;; *) exit 0 ;; esac
[ -e "{folder}/configured" ] || {{ echo "dpkg was interrupted" >&2; exit 100; }}
[ -e "{folder}/policy" ] || {{ echo "the daemons would start" >&2; exit 100; }}
[ "{works}" ] || {{ echo "no such package" >&2; exit 100; }}
printf '#!/bin/sh\\n' > "{folder}/bin/a-new-program"; chmod 755 "{folder}/bin/a-new-program"
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Programs of a Debian machine whose last installation was killed."""

    def made(works: str) -> None:
        (tmp_path / "bin").mkdir()
        for name, text in (("dpkg", DPKG), ("apt-get", APT_GET)):
            path = tmp_path / "bin" / name
            path.write_text(text.format(folder=tmp_path, works=works))
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(debian, "LOCK", tmp_path / "lock")
        monkeypatch.setattr(debian, "POLICY", tmp_path / "policy")

    return made


def test_an_installation_that_was_killed_does_not_refuse_the_next(machine, tmp_path):
    machine("yes")
    assert subprocess.run(["apt-get", "install", "x"], capture_output=True).returncode == 100
    assert debian.missing(["a-new-program"], ["x"]) == ""
    assert not (tmp_path / "policy").exists()


def test_why_a_program_is_missing(machine, monkeypatch):
    machine("")
    reason = debian.missing(["sh", "a-new-program"], ["x", "y"])
    assert reason.startswith("a-new-program: apt-get install x y failed")
    assert "no such package" in reason
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert (
        debian.missing(["a-new-program"], ["x"]) == "a-new-program: not installed; as root on Debian: apt-get install x"
    )
