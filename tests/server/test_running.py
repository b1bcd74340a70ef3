"""`bioimage-py server`: a real process, killed and started again; backups; what it refuses."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from bioimage_py.cli import main
from bioimage_py.errors import ParameterError
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.server.running import Listening

from .conftest import PASSWORD, make_settings
from .starting import Running


@pytest.fixture
def running(tmp_path):
    found = Running(tmp_path / "site")
    yield found
    found.stop()


def make_project(client, n=1):
    """A project with data sets, and the state of its configuration."""
    answer = client.post("/projects", json={"settings": make_settings(new_stamp()).with_ids().to_document()})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def state(old, new, name="state"):
    field = {"path": ["configuration", name], "new": new, **({} if old is None else {"old": old})}
    return {"changes": [{"name": "project", "fields": [field]}]}


@pytest.mark.some(2)
@pytest.mark.parametrize(
    ("point", "counts"),
    [
        ("project-commit:1", False),
        ("project-transaction:1", True),
        ("server-take:2", True),
        ("server-taking:2", True),
        ("server-taken:2", True),
        ("server-answer:1", True),
    ],
)
def test_a_server_that_is_killed_before_it_answers_has_committed_once(running, point, counts):
    client = running.client()
    project, token = make_project(client), running.root.with_name("token")
    running.kill()
    token.touch()
    running.start(BIOIMAGE_PY_FAULT=f"{point}:{token}")
    key = {"Idempotency-Key": "the-commit"}
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(f"/projects/{project}/commit", json=state(None, 1), headers=key)
    running.wait()
    running.start()
    for repeated in (counts, True):
        answer = client.post(f"/projects/{project}/commit", json=state(None, 1), headers=key)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["seq"], answer.json()["repeated"]) == (1, repeated)
    events = client.get(f"/projects/{project}/events", params={"since": 0}).json()["events"]
    assert [event["seq"] for event in events] == [1]
    document = client.get(f"/projects/{project}/documents/project").json()
    assert document["configuration"] == {"state": 1}


def test_it_ends_when_it_is_told_to_and_logs_no_secrets(running):
    client = running.client()
    waiting = threading.Thread(target=lambda: client.get(f"/projects/{project}/events", params={"since": 0, "wait": 1}))
    project = make_project(client)
    waiting.start()
    assert running.stop() == 0
    waiting.join()
    lines = [json.loads(line) for line in running.log().splitlines()]
    assert {"request_id", "route", "status", "user", "seconds"} <= lines[0].keys()
    for secret in (running.password, client.headers["Authorization"].split()[1], "bir_"):
        assert secret not in running.log()


def test_the_first_administrator_is_made_once(running):
    assert any(running.password in line for line in running.lines)
    running.kill()
    before = len(running.lines)
    running.start()
    assert "password" not in "".join(running.lines[before:])
    assert running.client().get("/users/me").json()["admin"]


def call(*arguments, text=None, code=0):
    done = CliRunner().invoke(main, ["server", *map(str, arguments)], input=text)
    assert done.exit_code == code, done.output
    return done.output


def test_users_and_projects_from_the_command_line(tmp_path):
    site, folder = tmp_path / "site", tmp_path / "local"
    project = Project.create(ProjectSettings("local"), folder)
    project.add_descriptor(np.zeros((4, 4), np.uint8), "a")
    project.save()
    assert "no folder" in call("user", "add", site, "alice", code=1)
    site.mkdir()
    call("user", "add", site, "alice", "--admin", text=f"{PASSWORD}\n{PASSWORD}\n")
    assert "easily guessed" in call("user", "add", site, "bob", text="password123\npassword123\n", code=1)
    assert PASSWORD not in call("user", "password", site, "alice", text=f"{PASSWORD}\n{PASSWORD}\n")
    assert call("project", "add", site, folder, "--owner", "alice").strip() == project.id
    assert "already" in call("project", "add", site, folder, "--owner", "alice", code=1)
    project.descriptors[0].comments = "beside the server"
    project.save()
    assert call("check", site) == "All agree.\n"
    assert "administrate" in call("user", "disable", site, "alice", code=1)
    actions = [row["action"] for row in json.loads(call("audit", site, "--json"))]
    assert actions == ["user added", "password changed", "project added", "commit"]
    call("audit", site, "--verify")
    call("project", "remove", site, project.id)
    assert not (folder / "events").exists()
    project.descriptors[0].comments = "alone again"
    project.save()
    call("project", "add", site, folder, "--owner", "alice")


def check_backup_while_written(folder, writers, database="", other=""):
    """Back up a server while clients write, restore elsewhere: each project is as its last event there left it."""
    of, of_other = ([*(["--database", url] if url else [])] for url in (database, other))
    (folder / "site").mkdir()
    running, over, written = Running(folder / "site", *of), threading.Event(), [0] * writers
    try:
        client = running.client()
        projects = [make_project(client), make_project(client)]

        def write(client, n):
            while not over.is_set():
                change = state(written[n] or None, written[n] + 1, f"writer{n}")
                answer = client.post(f"/projects/{projects[n % 2]}/commit", json=change)
                assert answer.status_code == 200, answer.text
                written[n] += 1

        with ThreadPoolExecutor(writers) as pool:
            jobs = [pool.submit(write, running.client(), n) for n in range(writers)]
            try:
                while min(written) < 3 and not any(job.done() for job in jobs):
                    over.wait(0.05)
                before = list(written)
                call("backup", running.root, folder / "copy.tar", *of)
                after = list(written)
            finally:
                over.set()
            for job in jobs:
                job.result()
    finally:
        running.stop()
    call("restore", folder / "copy.tar", folder / "other", *of_other)
    assert call("check", folder / "other", *of_other) == "All agree.\n"
    found = Running(folder / "other", *of_other)
    try:
        again = found.client(password=running.password)
        for number, project in enumerate(projects):
            events = []
            while page := again.get(f"/projects/{project}/events", params={"since": len(events)}).json()["events"]:
                events += page
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
            fields = [field for event in events for change in event["changes"] for field in change["fields"]]
            saved = Counter(field[-1] for field in fields)  # each commit counts one on
            assert again.get(f"/projects/{project}/documents/project").json()["configuration"] == saved
            for n in range(number, writers, 2):
                assert before[n] <= saved[f"writer{n}"] <= after[n] + 1
            answer = again.post(f"/projects/{project}/commit", json=state(None, 1, "later"))
            assert answer.json()["seq"] == len(events) + 1
    finally:
        found.stop()
    assert "not empty" in call("restore", folder / "copy.tar", folder / "other", code=1)


@pytest.mark.parametrize("writers", [2, pytest.param(10, marks=pytest.mark.long)])
def test_a_backup_of_a_server_that_is_written_to(tmp_path, writers):
    check_backup_while_written(tmp_path, writers)
    (tmp_path / "no.tar").write_bytes(b"x")
    assert "no backup" in call("restore", tmp_path / "no.tar", tmp_path / "third", code=1)


def test_check_finds_what_is_wrong(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    call("user", "add", site, "alice", "--admin", text=f"{PASSWORD}\n{PASSWORD}\n")
    Project.create(ProjectSettings("local"), tmp_path / "local")
    call("project", "add", site, tmp_path / "local", "--owner", "alice")
    (tmp_path / "local" / "project.json").write_text("{")
    assert "no JSON" in call("check", site, code=1)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_passwords_do_not_travel_without_encryption(host):
    with pytest.raises(ParameterError, match="encryption"):
        Listening(host).check()
    Listening(host, insecure=True).check()
    Listening(host, cert="a", key="b").check()
    with pytest.raises(ParameterError, match="key"):
        Listening(host, cert="a").check()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_alone_needs_no_encryption(host):
    Listening(host).check()


@pytest.mark.parametrize(
    ("listening", "link"),
    [
        (Listening(), "http://127.0.0.1:8123/link/x"),
        (Listening("0.0.0.0", proxy="172.17.0.1"), "http://127.0.0.1:8123/link/x"),
        (Listening("0.0.0.0", insecure=True), "http://127.0.0.1:8123/link/x"),
        (Listening("::", cert="a", key="b"), "https://[::1]:8123/link/x"),
        (Listening("::1"), "http://[::1]:8123/link/x"),
        (Listening("0.0.0.0", proxy="a", url="https://labels.example.org/"), "https://labels.example.org/link/x"),
        (Listening(path="/labels", url="https://a.b:1/labels"), "https://a.b:1/labels/link/x"),
        (Listening("0.0.0.0", proxy="a", path="/labels"), "proxy (--url tells it): /labels/link/x"),
    ],
)
def test_a_link_is_one_that_a_person_can_open(listening, link):
    listening.check()
    told = listening.invitation(8123, "/link/x")
    assert link in told.split(" (elsewhere")[0]
    assert "0.0.0.0" not in told
    assert "::/" not in told


@pytest.mark.parametrize(
    "url", ["labels.example.org", "ftp://a", "https://", "https://a/other", "https://a?b", "https://u:p@a"]
)
def test_an_address_where_nobody_is_found_is_refused(url):
    with pytest.raises(ParameterError, match="--url"):
        Listening(url=url).check()
