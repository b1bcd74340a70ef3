"""The unit of systemd and the container of docs/server.md: what they say is run, as far as that goes without them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import httpx
import pytest

from tests import debian

from ..conftest import make_settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "server.md").read_text()
NOBODY = 65534
pytestmark = pytest.mark.processes


def block(first):
    return re.search(rf"```text\n({re.escape(first)}.*?)```", PAGE, re.DOTALL)[1]


def fields(unit):
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)


def steps():
    """What the last part of the container file says, by instruction."""
    text = (ROOT / "docs" / "Containerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    return dict(line.split(" ", 1) for line in f"FROM {text}".splitlines() if line and not line.startswith("#"))


def as_nobody(command):
    """Writing nothing that is not nobody's; reading this interpreter, which may be root's own, all the same."""
    may = "+dac_read_search"
    drop = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs"]
    return [
        "setpriv",
        *drop,
        "--bounding-set",
        f"-all,{may}",
        f"--inh-caps=-all,{may}",
        f"--ambient-caps={may}",
        *command,
    ]


def started(command, folder, prefix=(), **environment):
    """The command of the page, in its place; what it says until it serves, and its address on this machine."""
    words = as_nobody([sys.executable, "-m", "bioimage_py", *command[1:], "--port", "0"])
    known = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}
    log = folder.parent / "log"
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [*prefix, *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd="/",
            env={**known, **environment},
        )
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"Serving .* at http://[^:]+:(\d+)", line):
            return process, "".join(said), f"http://127.0.0.1:{found[1]}"
    raise AssertionError(f"{said} {process.wait()} {log.read_text()}")


def check_serves_and_ends(process, said, url, folder):
    try:
        password = re.search(r"with the password (\S+)", said)[1]
        body = {"username": "admin", "password": password}
        with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:
            assert client.get("/ready").status_code == 200
            tokens = client.post("/auth/login", json=body).json()
            headers = {"Authorization": f"Bearer {tokens['access']}"}
            settings = make_settings().with_ids().to_document()
            made = client.post("/projects", json={"settings": settings}, headers=headers)
            assert made.status_code == 201, made.text
        owners = {path.stat().st_uid for path in folder.rglob("*")}
        assert owners == {NOBODY}
    finally:
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        code = process.wait(120)
        process.stdout.close()
    assert code == 0
    assert time.monotonic() - begun < float(fields(block("[Unit]"))["TimeoutStopSec"])


def open_way(path):
    """Let others through pytest's folders."""
    for parent in path.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)


@pytest.fixture
def root_only():
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root becomes somebody else")


def test_the_container_installs_what_a_server_takes_and_says_who_runs_it():
    found = steps()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert re.search(r"pip install .*\.whl\)\[(\w+)\]", found["RUN"])[1] in project["optional-dependencies"]
    assert found["USER"] in found["RUN"].split("useradd")[1]
    assert found["EXPOSE"] == "8123"
    command = json.loads(found["CMD"])
    assert found["VOLUME"] in command


def test_the_command_of_the_container_runs_as_nobody_in_particular(tmp_path, root_only):
    found = steps()
    folder = tmp_path / "labels"
    made = re.search(r"install -d -o labels -m 700 (\S+)", found["RUN"])
    assert made[1] == found["VOLUME"]
    subprocess.run(["install", "-d", "-o", str(NOBODY), str(folder)], check=True)
    open_way(folder)
    command = [str(folder) if word == made[1] else word for word in json.loads(found["CMD"])]
    process, said, url = started(command, folder)
    check_serves_and_ends(process, said, url, folder)


def test_the_unit_is_one_for_systemd(tmp_path):
    reason = debian.missing(["systemd-analyze"], ["systemd"])
    if reason:
        pytest.skip(reason)
    unit = block("[Unit]")
    program = fields(unit)["ExecStart"].split()[0]
    (tmp_path / "labels.service").write_text(unit.replace(program, sys.executable).replace("User=labels", "User=root"))
    done = subprocess.run(
        [debian.program("systemd-analyze"), "verify", "--man=no", str(tmp_path / "labels.service")],
        capture_output=True,
        text=True,
    )
    told = [line for line in done.stderr.splitlines() if "labels.service" in line]
    assert told == [], done.stderr
    (tmp_path / "other.service").write_text(unit.replace(program, sys.executable).replace("UMask", "Unmask"))
    done = subprocess.run(
        [debian.program("systemd-analyze"), "verify", "--man=no", str(tmp_path / "other.service")],
        capture_output=True,
        text=True,
    )
    assert "Unmask" in done.stderr  # so it was looked at


def test_the_command_of_the_unit_writes_only_where_it_may(tmp_path, root_only):
    """As `ProtectSystem=strict` has it: all is read-only but the folder and a private place for what is temporary."""
    unit = fields(block("[Unit]"))
    folder = tmp_path / "labels"
    subprocess.run(["install", "-d", "-o", str(NOBODY), str(folder)], check=True)
    private = tmp_path / "private"
    subprocess.run(["install", "-d", "-o", str(NOBODY), str(private)], check=True)
    open_way(folder)
    assert unit["ReadWritePaths"] == "/srv/labels"
    script = (
        'for path in "$1" "$2"; do mount --bind "$path" "$path" || exit 77; done; mount -o remount,bind,ro / || exit 77'
    )
    script += f'; shift 2; umask {unit["UMask"]}; touch /written && exit 78; exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", script, "sh", str(folder), str(private)]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted read-only here")
    command = shlex.split(
        unit["ExecStart"].replace("/srv/labels", str(folder)).replace("--metrics 9123", "--metrics 0")
    )
    process, said, url = started(command, folder, prefix, TMPDIR=str(private))
    check_serves_and_ends(process, said, url, folder)
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))
