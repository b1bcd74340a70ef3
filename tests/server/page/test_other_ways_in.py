"""Signing in with a provider of identities, which the tests start, and letting in programs: what fits, and what not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bioimage_py.errors import ConflictError, ParameterError
from bioimage_py.projects import login
from bioimage_py.server.accounts.members import Role
from bioimage_py.server.accounts.provider import Identity, Provider, ProviderSettings

from .conftest import Browser

jwt = pytest.importorskip("joserfc.jwt")
from joserfc.jwk import ECKey, RSAKey  # noqa: E402

SESSION = "__Host-bioimage-py-session"
USER = {"sub": "0042", "preferred_username": "Nadia", "groups": ["neuro", "staff"]}


class Here:
    """A provider: it signs in whoever comes as USER, and remembers what a code was given for."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.published = [self.key]
        self.codes: dict[str, dict[str, str]] = {}
        self.claims: dict[str, Any] = dict(USER)
        self.change: Callable[[dict[str, Any]], Any] = lambda claims: claims
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "one"}
        self.forged = ""
        here = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                told = {
                    "/.well-known/openid-configuration": {
                        "issuer": here.issuer,
                        "authorization_endpoint": f"{here.issuer}/authorize",
                        "token_endpoint": f"{here.issuer}/token",
                        "jwks_uri": f"{here.issuer}/keys",
                    },
                    "/keys": {"keys": [key.as_dict(private=False) for key in here.published]},
                }.get(path)
                self.tell(404 if told is None else 200, told)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                asked = here.codes.pop(form["code"], None)
                secret = base64.b64encode(b"labels:a secret").decode()
                challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
                right = asked is not None and challenge.rstrip(b"=").decode() == asked["code_challenge"]
                if not right or self.headers["Authorization"] != f"Basic {secret}":
                    self.tell(400, {"error": "invalid_grant"})
                    return
                self.tell(200, {"access_token": "x", "token_type": "Bearer", "id_token": here.token(asked["nonce"])})

            def tell(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "labels", "iat": now, "exp": now + 300, "nonce": nonce, **self.claims}
        return self.forged or jwt.encode(self.header, self.change(claims), self.key, algorithms=[self.header["alg"]])

    def authorize(self, address: str) -> dict[str, str]:
        """What somebody does there: return the query with which the browser is sent back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["redirect_uri"] == "https://testserver/oidc/callback"
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}-{time.monotonic_ns()}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer}


@pytest.fixture(scope="module")
def running() -> Iterator[Here]:
    found = Here()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def provider(running: Here, demo: Any) -> Iterator[Here]:
    """A provider of which the demo's server knows."""
    before = {name: value for name, value in vars(running).items() if name not in ("server", "codes")}
    settings = ProviderSettings(
        running.issuer, "labels", "a secret", "https://testserver", roles={demo.id: {"neuro": Role.annotator}}
    )
    demo.web.site.provider = Provider(settings)
    yield running
    demo.web.site.provider.close()
    vars(running).update({**before, "claims": dict(USER)})


def begin(browser: Browser, onward: str = "/") -> str:
    answer = browser.client.get("/oidc/begin", params={"next": onward}, follow_redirects=False)
    assert answer.status_code == 303
    return str(answer.headers["location"])


def come_in(browser: Browser, provider: Here, status: int = 200, onward: str = "/", **changes: str) -> str:
    query = {**provider.authorize(begin(browser, onward)), **changes}
    return browser.get("/oidc/callback", status, params=query)


def test_somebody_whom_the_provider_knows_comes_in(demo, browsers, provider):
    browser = browsers.new()
    assert "Sign in with your organisation" in browser.get("/sign-in")
    page = come_in(browser, provider, onward=f"/projects/{demo.id}")
    assert f'content="0;url=/projects/{demo.id}"' in page  # a redirect would come without the strict cookie
    assert "you are annotator" in browser.get(f"/projects/{demo.id}")
    assert "nadia" in browser.last.text
    again = browsers.new()
    come_in(again, provider)
    assert len([user for user in demo.web.site.users.all() if user.name == "nadia"]) == 1
    browsers.new().sign_in("nadia", "", 401)


def test_the_cookie_that_waits_for_the_provider_is_lax_and_goes(demo, browsers, provider):
    browser = browsers.new()
    answer = browser.client.get("/oidc/begin", follow_redirects=False)
    told = answer.headers["set-cookie"]
    assert "SameSite=lax" in told
    assert "HttpOnly" in told
    assert "Secure" in told
    query = provider.authorize(answer.headers["location"])
    browser.get("/oidc/callback", params=query)
    assert "bioimage-py-abroad" not in "".join(browser.client.cookies.keys())
    assert "SameSite=strict" in next(one for one in browser.last.headers.get_list("set-cookie") if SESSION in one)


REFUSED = {
    "another issuer": {"iss": "https://evil.example"},
    "another audience": {"aud": "other"},
    "several audiences, for another": {"aud": ["labels", "other"], "azp": "other"},
    "no audience": {"aud": None},
    "over": {"exp": 1000},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "tomorrow"},
    "of the future": {"iat": 2**40},
    "another nonce": {"nonce": "x" * 43},
    "no nonce": {"nonce": None},
    "nobody": {"sub": ""},
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_token_for_something_else_is_refused(demo, browsers, provider, what):
    provider.change = lambda claims: {**claims, **REFUSED[what]}
    browser = browsers.new()
    page = come_in(browser, provider, 401)
    assert "refused" in page
    assert browser.cookie == ""
    assert not any(user.name == "nadia" for user in demo.web.site.users.all())


def test_a_key_that_is_not_published_any_more_signs_nothing(demo, browsers, provider):
    browser = browsers.new()
    come_in(browser, provider)
    provider.published = [RSAKey.generate_key(2048, {"kid": "two"})]
    page = come_in(browsers.new(), provider, 401)
    assert "signature" in page


@pytest.mark.parametrize("how", ["none", "shared secret", "other key of the same name", "nonsense"])
def test_a_forged_signature_is_refused(demo, browsers, provider, how):
    browser = browsers.new()
    query = provider.authorize(begin(browser))
    now = int(time.time())
    nonce = provider.codes[query["code"]]["nonce"]
    claims = {"iss": provider.issuer, "aud": "labels", "iat": now, "exp": now + 60, "nonce": nonce, **USER}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    if how == "none":
        provider.forged = f"{head}.{body}."
    elif how == "shared secret":
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode()
        proof = hmac.digest(provider.key.as_pem(private=False), f"{head}.{body}".encode(), "sha256")
        provider.forged = f"{head}.{body}.{base64.urlsafe_b64encode(proof).rstrip(b'=').decode()}"
    elif how == "nonsense":
        provider.forged = "a.b.c"
    else:
        other = ECKey.generate_key("P-256", {"kid": "one"})
        provider.forged = jwt.encode({"alg": "ES256", "kid": "one"}, claims, other, algorithms=["ES256"])
    assert "refused" in browser.get("/oidc/callback", 401, params=query)


def test_state_belongs_to_one_browser_and_is_used_once(demo, browsers, provider):
    victim, thief = browsers.new(), browsers.new()
    query = provider.authorize(begin(thief))
    victim.get("/oidc/callback", 401, params=query)  # the thief's sign-in, in somebody else's browser
    begin(victim)
    victim.get("/oidc/callback", 401, params=query)
    thief.get("/oidc/callback", 200, params=query)
    thief.get("/oidc/callback", 401, params=query)  # it comes again
    other = browsers.new()
    come_in(other, provider, 401, state="")
    come_in(other, provider, 401, state="x.Lw")
    come_in(other, provider, 401, iss="https://evil.example")
    come_in(other, provider, 401, code="made-up")
    come_in(other, provider, 401, error="access_denied")


def test_where_one_goes_afterwards_cannot_be_exchanged(demo, browsers, provider):
    browser = browsers.new()
    query = provider.authorize(begin(browser, "//evil.example"))
    proof, _, onward = query["state"].partition(".")
    assert base64.urlsafe_b64decode(onward + "==") == b"/"
    other = base64.urlsafe_b64encode(b"/account").rstrip(b"=").decode()
    browser.get("/oidc/callback", 401, params={**query, "state": f"{proof}.{other}"})


def test_a_provider_takes_over_no_account(demo, browsers, provider):
    provider.claims = {**USER, "preferred_username": "root"}
    page = come_in(browsers.new(), provider, 409)
    assert "another account" in page
    site = demo.web.site
    site.identities.link("root", provider.issuer, USER["sub"], "server")
    come_in(browsers.new(), provider)
    with pytest.raises(ConflictError):
        site.identities.link("viewer", provider.issuer, USER["sub"], "server")
    provider.claims = {**USER, "sub": "7", "preferred_username": "no name!"}
    come_in(browsers.new(), provider, 422)


def test_groups_give_and_take_roles(demo, browsers, provider):
    site = demo.web.site
    settings = ProviderSettings(
        provider.issuer,
        "labels",
        "a secret",
        "https://testserver",
        admins=("bosses",),
        roles={demo.id: {"neuro": Role.annotator, "leads": Role.maintainer}, "gone": {"neuro": Role.viewer}},
    )

    def member(*groups: str) -> str | None:
        site.identities.user_of(Identity(provider.issuer, "0042", "nadia", frozenset(groups)), settings)
        return next((role.name for name, role in site.members.of(demo.id) if name == "nadia"), None)

    assert member("neuro") == "annotator"
    assert member("neuro", "leads") == "maintainer"
    assert member("others") is None
    assert not site.users.named("nadia").admin
    member("bosses")
    assert site.users.named("nadia").admin
    member()
    assert not site.users.named("nadia").admin
    site.identities.link("owner", provider.issuer, "1", "server")
    site.identities.user_of(Identity(provider.issuer, "1", "owner", frozenset()), settings)
    assert dict(site.members.of(demo.id))["owner"] == Role.owner


def test_who_is_kept_out_does_not_come_in_by_the_provider(demo, browsers, provider):
    come_in(browsers.new(), provider)
    users = demo.web.site.users
    users.change(users.named("nadia").id, disabled=True, by="root")
    come_in(browsers.new(), provider, 401)


def test_a_provider_that_is_away_is_told_without_details(demo, browsers, provider):
    demo.web.site.provider = Provider(
        ProviderSettings("http://127.0.0.1:9", "labels", "a secret", "https://testserver")
    )
    page = browsers.new().get("/oidc/begin", 503)
    assert "127.0.0.1" not in page
    assert "secret" not in repr(demo.web.site.provider.settings)


def test_settings_are_read_and_checked(tmp_path: Path):
    path = tmp_path / "oidc.toml"
    text = 'issuer = "https://id.example"\nclient_id = "a"\nclient_secret = "b"\nurl = "https://labels.example/x"\n'
    path.write_text(text + '[roles.project-1]\nneuro = "annotator"\n')
    found = ProviderSettings.read(path)
    assert found.roles == {"project-1": {"neuro": Role.annotator}}
    assert Provider(found).callback == "https://labels.example/x/oidc/callback"
    for wrong in (
        text.replace("https://id", "http://id"),
        text.replace("client_id", "client"),
        text + "more = 1\n",
        text + '[roles.project-1]\nneuro = "king"\n',
        text + '[roles.project-1]\nneuro = "owner"\n',
        text.replace('"a"', "1"),
        "nonsense",
    ):
        path.write_text(wrong)
        with pytest.raises(ParameterError):
            ProviderSettings.read(path)


def test_a_program_is_let_in_by_a_browser(demo, browsers):
    nobody = demo.web.nobody
    asked = nobody.post("/auth/device", json={"client": "script on node-7"}).json()
    assert re.fullmatch(r"[A-Z]{4}-[A-Z]{4}", asked["words"])
    take = {"code": asked["code"]}
    assert nobody.post("/auth/device/token", json=take).json() == {"tokens": None}
    assert nobody.post("/auth/device/token", json=take).status_code == 429
    browser = browsers["annotator"]
    assert "script on node-7" in browser.get("/device", params={"code": asked["words"].lower()})
    browser.send("/device", on=f"/device?code={asked['words']}", code=asked["words"], what="let in")
    tokens = nobody.post("/auth/device/token", json=take).json()["tokens"]
    assert tokens["user"] == "annotator"
    assert demo.web.client(tokens["access"]).get(demo.path).status_code == 200
    assert nobody.post("/auth/device/token", json=take).status_code == 401  # once
    browser.send("/device", 422, "/account", code=asked["words"], what="let in")


def test_a_program_stays_out(demo, browsers, monkeypatch):
    nobody, devices = demo.web.nobody, demo.web.site.devices
    asked = nobody.post("/auth/device", json={}).json()
    browsers["annotator"].send("/device", on="/account", code=asked["words"], what="refuse")
    assert nobody.post("/auth/device/token", json={"code": asked["code"]}).status_code == 401
    late = nobody.post("/auth/device", json={}).json()
    now = devices._clock()
    monkeypatch.setattr(devices, "_clock", lambda: now + 601)
    browsers["annotator"].send("/device", 422, "/account", code=late["words"], what="let in")
    assert nobody.post("/auth/device/token", json={"code": late["code"]}).status_code == 401
    assert nobody.post("/auth/device/token", json={"code": "bid_made-up"}).status_code == 401


def test_codes_cannot_be_tried(demo, browsers):
    browser = browsers["annotator"]
    demo.web.nobody.post("/auth/device", json={})
    for _ in range(5):
        browser.get("/device", 422, params={"code": "AAAA-AAAA"})
    assert "Too many" in browser.get("/device", 422, params={"code": "AAAA-AAAA"})
    for _ in range(19):
        assert demo.web.nobody.post("/auth/device", json={}).status_code == 201
    assert demo.web.nobody.post("/auth/device", json={}).status_code == 429


def test_the_page_of_codes_says_who_is_asked(demo, browsers):
    asked = demo.web.nobody.post("/auth/device", json={"client": "<b>yours</b>"}).json()
    page = browsers["annotator"].get("/device", params={"code": asked["words"]})
    assert "&lt;b&gt;yours" in page
    assert "Only go on if you have started it yourself" in page
    assert login.__doc__ is not None
