"""Two processes of a server behind nginx, under a path, as docs/server.md has it configured."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from bioimage_py.projects import Project
from tests.debian import missing, program

from .conftest import make_settings
from .starting import Running

DOCS = Path(__file__).parents[2] / "docs" / "server.md"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Nginx:
    """nginx in the foreground, with the location of the page."""

    def __init__(self, folder, port):
        self.port = free_port()
        location = re.search(r"location /labels/ \{.*?\n    \}", DOCS.read_text(), re.DOTALL)[0]
        location = location.replace("127.0.0.1:8123", f"127.0.0.1:{port}")
        folder.mkdir()
        text = f"""
        daemon off; pid {folder}/pid; error_log {folder}/error.log; user root; worker_processes 1;
        events {{}}
        http {{ access_log {folder}/access.log; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{ listen 127.0.0.1:{self.port}; {location} }} }}
        """
        (folder / "nginx.conf").write_text(text)
        command = [program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}/labels"

    def stop(self):
        self.process.terminate()
        self.process.wait()


def check_page(url, password):
    """Somebody signs in and looks around: every link of every page stays under the path, and is there."""
    with httpx.Client(follow_redirects=True, timeout=60) as browser:
        # browsers send cookies that are secure to this machine without TLS, too
        trust = lambda _: [setattr(cookie, "secure", False) for cookie in browser.cookies.jar]  # noqa: E731
        browser.event_hooks = {"response": [browser.cookies.extract_cookies, trust]}
        page = browser.get(f"{url}/")
        assert str(page.url).startswith(f"{url}/sign-in")
        mark = re.search(r'name="mark" value="([0-9a-f]+)"', page.text)[1]
        page = browser.post(page.url, data={"mark": mark, "username": "admin", "password": password, "next": "/"})
        assert (page.status_code, "demo" in page.text) == (200, True), page.text
        seen, left = set(), {str(page.url)}
        while left and len(seen) < 30:
            page = browser.get(left.pop())
            assert (page.status_code, str(page.url).startswith(f"{url}/")) == (200, True), page.url
            seen.add(str(page.url))
            if "html" not in page.headers["content-type"]:
                continue
            links, forms = (re.findall(rf'(?:{kind})="([^"#]*)', page.text) for kind in ("href|src", "action"))
            assert all(link.startswith(("/labels/", "data:", "?")) or not link for link in (*links, *forms)), links
            found = {str(page.url.join(link.replace("&amp;", "&"))) for link in links if link[:1] == "/"}
            left |= found - seen
        assert len(seen) > 5


@pytest.mark.processes
@pytest.mark.long
def test_everything_works_under_a_path_of_nginx(tmp_path):
    if reason := missing(["nginx"], ["nginx-light"]):
        pytest.skip(reason)
    running = Running(tmp_path / "site", "--workers", "2", "--trusted-proxy", "127.0.0.1", "--path", "/labels")
    nginx = Nginx(tmp_path / "nginx", running.port)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{nginx.url}/api/v1/health").status_code == 200:
                    break
            except httpx.TransportError:
                assert time.monotonic() < deadline
            time.sleep(0.1)
        one = Project.create(make_settings(), nginx.url, "admin", running.password)
        two = Project.load(one.path, username="admin", password=running.password)
        seen, told = [], threading.Event()
        with two.watch(lambda event: (seen.append(event.seq), told.set())):
            time.sleep(1)
            one.configuration = {"a": 1}
            begun = time.monotonic()
            one.save()
            assert told.wait(30)  # nginx holds no event back
            assert time.monotonic() - begun < 15
        assert two.sync() == 1
        assert two.configuration == {"a": 1}
        check_page(nginx.url, running.password)
        # nobody pretends to come from elsewhere: the last address that the proxy has seen counts
        body = {"username": "admin", "password": "wrong"}
        forged = {"X-Forwarded-For": "6.6.6.6"}
        assert httpx.post(f"{nginx.url}/api/v1/auth/login", json=body, headers=forged).status_code == 401
        rows = running.client().get("/audit").json()["rows"]
        (refused,) = [row for row in rows if row["action"] == "login refused"]
        assert refused["address"] == "127.0.0.1"
        large = httpx.post(f"{nginx.url}/api/v1/auth/login", content=bytes(10**6))
        assert large.status_code in (413, 422)
    finally:
        nginx.stop()
        running.stop()
