"""Signing in and out, and all that a hostile page or a thief could try about it."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from bioimage_py.server.page import account_routes, data_set_routes, people_routes, project_routes, sign_in_routes
from bioimage_py.server.page.visits import local
from bioimage_py.server.processes.forwarded import Forwarded

from ..conftest import PASSWORD

PARTS = (sign_in_routes, account_routes, project_routes, data_set_routes, people_routes)
ROUTES = [route for part in PARTS for route in part.routes.routes]
SESSION = "__Host-bioimage-py-session"


def test_somebody_signs_in_and_out(demo, browsers):
    browser = browsers.new()
    assert "Sign in" in browser.get("/")
    assert str(browser.last.url) == "https://testserver/sign-in?next=%2F"
    assert "demo" in browser.sign_in("owner")
    cookie = browser.cookie
    assert "Sign in" in browser.send("/sign-out", on="/account")
    assert browser.cookie == ""
    browser.sign_in("stranger")
    assert "https://testserver&#34;" in browser.get("/projects").replace("&quot;", "&#34;").replace('"', "&#34;")
    browser.send("/sign-out", on="/account")
    browser.client.cookies.set(SESSION, cookie)
    assert "Sign in" in browser.get("/projects")  # a cookie that was kept is worth nothing


def test_the_cookie_is_for_this_server_only(demo, browsers):
    browser = browsers.new()
    mark = browser.mark("/sign-in")
    data = {"mark": mark, "username": "owner", "password": PASSWORD}
    answer = browser.client.post("/sign-in", data=data, follow_redirects=False)
    told = next(one for one in answer.headers.get_list("set-cookie") if one.startswith(SESSION))
    for part in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert part in told
    assert "Domain" not in told
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("field", ["name", "password"])
def test_a_wrong_name_and_a_wrong_password_read_alike(demo, browsers, field):
    browser = browsers.new()
    name, password = ("nobody", PASSWORD) if field == "name" else ("owner", "wrong password")
    assert "Name or password is wrong." in browser.sign_in(name, password, 401)
    assert browser.cookie == ""


def test_too_many_attempts_wait(demo, browsers):
    browser = browsers.new()
    for _ in range(5):
        browser.sign_in("owner", "wrong password", 401)
    assert "Too many attempts" in browser.sign_in("owner", PASSWORD, 429)
    assert int(browser.last.headers["retry-after"]) >= 1


def test_a_session_that_was_planted_is_not_kept(demo, browsers):
    """Fixation: what the browser had before is another one after signing in, and ends."""
    planted = browsers["stranger"].cookie
    victim = browsers.new()
    victim.client.cookies.set(SESSION, planted, domain="testserver.local", path="/")
    victim.client.cookies.set(SESSION, planted)
    mark = re.search(r'name="mark" value="([0-9a-f]+)"', victim.get("/sign-in"))[1]
    data = {"mark": mark, "username": "owner", "password": PASSWORD}
    answer = victim.client.post("/sign-in", data=data, follow_redirects=False)
    assert answer.status_code == 303
    assert planted not in " ".join(answer.headers.get_list("set-cookie"))
    assert "Sign in" in browsers["stranger"].get("/projects")


def test_a_form_of_another_page_is_refused(demo, browsers):
    owner, other = browsers["owner"], browsers["viewer"]
    for mark in ("", "0" * 64, other.mark("/account")):
        answer = owner.client.post("/account/tokens", data={"mark": mark, "name": "x", "scope": "read", "days": "7"})
        assert answer.status_code == 403
    headers = {"Sec-Fetch-Site": "cross-site"}
    data = {"mark": owner.mark("/account"), "name": "x", "scope": "read", "days": "7"}
    assert owner.client.post("/account/tokens", data=data, headers=headers).status_code == 403
    for origin in (
        "https://evil.example", "http://testserver", "https://testserver:444", "https://testserver.evil.example",
        "https://evil.example/https://testserver", "null", "", "testserver", "https://testserver@evil.example",
    ):  # fmt: skip
        for more in ({}, {"X-Forwarded-Host": "evil.example"}):  # no proxy is trusted
            headers = {"Origin": origin, **more}
            assert owner.client.post("/account/tokens", data=data, headers=headers).status_code == 403, headers
    as_text = owner.client.post("/account/tokens", json=data)
    assert as_text.status_code == 422
    assert demo.web.site.tokens.of(demo.web.site.sessions.visitor(owner.cookie)) == []


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({"Origin": "https://labels.example.org", "Host": "labels.example.org"}, True),
        ({"Origin": "https://Labels.example.org:443", "Host": "labels.example.org"}, True),
        ({"Origin": "https://labels.example.org:8443", "Host": "labels.example.org:8443"}, True),
        ({"Origin": "https://labels.example.org:8443", "Host": "labels.example.org"}, True),  # nginx's $host
        ({"Origin": "https://labels.example.org:8443", "Host": "labels.example.org:9"}, False),
        ({"Origin": "https://labels.example.org", "X-Forwarded-Host": "labels.example.org"}, True),
        ({"Origin": "https://labels.example.org", "X-Forwarded-Host": "labels.example.org, inner:8123"}, True),
        ({"Origin": "http://labels.example.org", "X-Forwarded-Host": "labels.example.org"}, False),
        ({"Origin": "https://evil.example", "X-Forwarded-Host": "labels.example.org"}, False),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "null"}, False),
        ({}, True),
    ],
)
def test_a_form_through_a_proxy_is_taken_from_the_address_that_the_proxy_tells(demo, browsers, headers, taken):
    owner = browsers["owner"]
    data = {"mark": owner.mark("/account"), "name": "x", "scope": "read", "days": "7"}
    behind = TestClient(Forwarded(demo.web.app, "testclient"), base_url="http://inner:8123")
    cookies = {"Cookie": f"{SESSION}={owner.cookie}", "X-Forwarded-Proto": "https"}
    answer = behind.post("/account/tokens", data=data, headers={**cookies, **headers}, follow_redirects=False)
    assert (answer.status_code != 403) == taken, answer.text


def test_every_form_that_changes_something_takes_a_mark(demo, browsers):
    """Generated from the routes: none can be sent without."""
    owner, tried = browsers["owner"], 0
    browsers["root"].get("/users")
    for route in ROUTES:
        if "POST" in route.methods:
            path = route.path.format(
                project=demo.id, descriptor=demo.descriptor, token="0" * 16, user="1", link="bil_" + "x" * 43
            )
            sender = browsers["root"] if path.startswith("/users") else owner
            answer = sender.client.post(path, data={"note": "x", "name": "x"}, follow_redirects=False)
            assert answer.status_code in (401, 403), (path, answer.status_code)
            tried += 1
    assert tried >= 15


def test_signing_in_cannot_be_forged(demo, browsers):
    """A hostile page lets no browser sign in as somebody else."""
    browser = browsers.new()
    data = {"username": "stranger", "password": PASSWORD}
    assert browser.client.post("/sign-in", data=data).status_code == 403
    stolen = browsers.new().mark("/sign-in")
    assert browser.client.post("/sign-in", data={**data, "mark": stolen}).status_code == 403


@pytest.mark.parametrize(
    "where",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x=1 ",
        "/\t/evil",
    ],
)
def test_one_is_led_nowhere_else(demo, browsers, where):
    browser = browsers.new()
    data = {"mark": browser.mark("/sign-in"), "username": "owner", "password": PASSWORD, "next": where}
    answer = browser.client.post("/sign-in", data=data, follow_redirects=False)
    assert answer.status_code == 303
    target = answer.headers["location"]
    assert target == "/" or (target == where == "/%0d%0aSet-Cookie:x=1 ")
    assert local(where) == "/"


def test_one_comes_to_where_one_wanted(demo, browsers):
    browser = browsers.new()
    browser.get(f"/projects/{demo.id}/history?user=owner")
    assert str(browser.last.url).endswith(f"sign-in?next=%2Fprojects%2F{demo.id}%2Fhistory%3Fuser%3Downer")
    browser.sign_in("owner", onward=f"/projects/{demo.id}/history?user=owner")
    assert str(browser.last.url) == f"https://testserver/projects/{demo.id}/history?user=owner"


def test_a_link_from_another_site_comes_again_by_itself(demo, browsers):
    """The browser sends no cookie with it; the second request is of our own page."""
    browser = browsers.new()
    page = browser.get(f"/projects/{demo.id}", headers={"Sec-Fetch-Site": "cross-site"})
    assert f'content="0;url=/projects/{demo.id}"' in page


def test_a_new_password_ends_what_else_is_signed_in(demo, browsers):
    here, elsewhere = browsers["owner"], browsers.new()
    elsewhere.sign_in("owner")
    here.send("/account/password", 422, "/account", old=PASSWORD, new="another good one", again="another one")
    here.send("/account/password", 422, "/account", old="wrong", new="another good one", again="another good one")
    before = here.cookie
    page = here.send(
        "/account/password", 200, "/account", old=PASSWORD, new="another good one", again="another good one"
    )
    assert "owner" in page
    assert here.cookie != before
    assert "Sign in" in elsewhere.get("/projects")


def test_signing_out_everywhere(demo, browsers):
    here, elsewhere, program = browsers["owner"], browsers.new(), demo.web["owner"]
    elsewhere.sign_in("owner")
    assert program.get("/users/me").status_code == 200
    here.send("/account/sign-out-everywhere", on="/account")
    for browser in (here, elsewhere):
        assert "Sign in" in browser.get("/projects")
    assert program.get("/users/me").status_code == 401


def test_a_session_ends(demo, browsers, monkeypatch):
    browser = browsers["owner"]
    now = demo.web.site.sessions._clock()
    monkeypatch.setattr(demo.web.site.sessions, "_clock", lambda: now + 12 * 3600 + 1)
    assert "Sign in" in browser.get("/projects")


def test_who_is_kept_out_is_out_at_once(demo, browsers):
    browser = browsers["viewer"]
    demo.web.site.users.change(demo.web.site.users.named("viewer").id, disabled=True, by="root")
    assert "Sign in" in browser.get("/projects")


def test_the_interface_takes_no_cookie(demo, browsers):
    """So no form of another site can reach it."""
    owner = browsers["owner"]
    assert owner.client.get("/api/v1/projects").status_code == 401
    answer = owner.client.get("/api/v1/projects", headers={"Authorization": f"Bearer {owner.cookie}"})
    assert answer.status_code == 401


def test_a_link_lets_choose_a_password_once(web, browsers):
    _, link = web.site.first_admin()
    assert web.site.first_admin() is None
    browser = browsers.new()
    assert "admin" in browser.get(f"/link/{link}")
    assert "not the same" in browser.send(f"/link/{link}", 422, password="a good password", again="another")
    browser.send(f"/link/{link}", 422, password="short", again="short")
    assert "Users" in browser.send(f"/link/{link}", password="a good password", again="a good password")
    assert "Sign in again" in browsers.new().get(f"/link/{link}", 401)
    other = browsers.new()
    assert "Projects" in other.sign_in("admin", "a good password")


def test_a_newer_link_ends_an_older_one(demo, browsers):
    sessions, user = demo.web.site.sessions, demo.web.site.users.named("viewer").id
    old, new = sessions.link(user, "root"), sessions.link(user, "root")
    browsers.new().get(f"/link/{old}", 401)
    assert "viewer" in browsers.new().get(f"/link/{new}")


def test_no_page_is_shown_inside_another_and_none_loads_from_elsewhere(demo, browsers):
    owner = browsers["owner"]
    for path in ("/sign-in", "/projects", f"/projects/{demo.id}", "/account", "/nothing-here"):
        answer = owner.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)
        assert " style=" not in answer.text
        assert not re.search(r"<script(?! src=\"/static/page\.js\" defer></script>)", answer.text)


def test_a_false_host_appears_nowhere(demo, browsers):
    owner = browsers["owner"]
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    cookie = {"Cookie": f"{SESSION}={owner.cookie}"}
    for path in ("/", "/sign-in", "/projects", f"/projects/{demo.id}", "/account"):
        answer = owner.client.get(path, headers={**headers, **cookie}, follow_redirects=False)
        assert answer.status_code in (200, 303)
        assert "evil" not in answer.text + str(answer.headers)
