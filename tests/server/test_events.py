"""Events as a stream: each once and at once, ended with the right to read them, and without a thread for each."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from bioimage_py.errors import StorageError
from bioimage_py.projects import Project
from bioimage_py.server.http import event_routes
from bioimage_py.server.http.news import News
from bioimage_py.server.together import Together

from .http.test_http import ok


class Stream:
    """What an application sends to a client that reads until it goes."""

    def __init__(self, app, path, token, seconds, headers=()):
        self.text, self.status, self.seconds = "", 0, seconds
        self.more = asyncio.Event()
        asked, _, query = path.partition("?")
        given = [(b"authorization", f"Bearer {token}".encode()), *headers]
        self.scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": asked, "raw_path": asked.encode(), "query_string": query.encode(), "root_path": "",
            "headers": given, "client": ("testclient", 1), "server": ("testserver", 80),
        }  # fmt: skip
        self.app, self.gone, self.first = app, False, True

    async def run(self):
        async def receive():
            if self.first:
                self.first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.sleep(self.seconds)
            self.gone = True
            return {"type": "http.disconnect"}

        async def send(message):
            self.status = message.get("status", self.status)
            self.text += message.get("body", b"").decode()

        await self.app(self.scope, receive, send)

    @property
    def events(self):
        return [json.loads(line[5:]) for line in self.text.splitlines() if line.startswith("data:")]


def token_of(web, name):
    return web[name].headers["Authorization"].split()[1]


def stream(demo, seconds, name="viewer", query="", headers=()):
    path = f"/api/v1{demo.path}/events/stream{query}"
    return Stream(demo.web.app, path, token_of(demo.web, name), seconds, headers)


def commits(demo, n, every=0.0):
    for k in range(n):
        ok(demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment(demo.document()["comments"], f"{k}")))
        time.sleep(every)


def last(demo):
    return ok(demo.web["owner"].get(demo.path))["last"]


def test_a_stream_sends_old_events_and_new_ones_each_once(demo):
    commits(demo, 3)
    since = last(demo)
    one, two = stream(demo, 3.0), stream(demo, 3.0, headers=[(b"last-event-id", str(since - 1).encode())])
    writer = threading.Thread(target=commits, args=(demo, 4, 0.1))

    async def both():
        asyncio.get_running_loop().call_later(0.3, writer.start)
        await asyncio.gather(one.run(), two.run())

    asyncio.run(both())
    writer.join()
    assert one.status == two.status == 200
    assert [event["seq"] for event in one.events] == list(range(1, since + 5))
    assert [event["seq"] for event in two.events] == list(range(since, since + 5))
    ids = [int(line[3:]) for line in one.text.splitlines() if line.startswith("id:")]
    assert ids == [event["seq"] for event in one.events]
    assert one.events == ok(demo.web["viewer"].get(f"{demo.path}/events", params={"since": 0}))["events"]


def test_a_stream_on_which_nothing_happens_sends_comments_and_ends_with_its_client(demo, monkeypatch):
    monkeypatch.setattr(event_routes, "BEAT", 0.2)
    one = stream(demo, 1.5, query=f"?since={last(demo)}")
    asyncio.run(one.run())
    assert one.events == []
    assert one.text.count(":\n\n") >= 3
    assert demo.web.app.state.news._streams == 0
    assert demo.web.app.state.news._bells == {}


def test_a_stream_ends_when_its_reader_may_not_read_any_more(demo):
    one = stream(demo, 20.0, query=f"?since={last(demo)}")

    def remove():
        assert demo.web["owner"].delete(f"{demo.path}/members/viewer").status_code == 204
        commits(demo, 1)

    async def run():
        timer = threading.Timer(0.3, remove)
        timer.start()
        await one.run()

    asyncio.run(run())
    assert not one.gone  # the server ended it
    assert one.events == []


def test_what_is_not_kept_is_told_before_the_stream_begins(demo):
    answer = demo.web["viewer"].get(f"{demo.path}/events/stream", params={"since": 10**6})
    assert answer.status_code == 410
    answer = demo.web["viewer"].get(f"{demo.path}/events/stream", headers={"Last-Event-ID": "x"})
    assert answer.status_code == 422


def test_a_server_that_ends_ends_its_streams_and_opens_no_more(demo):
    one, news = stream(demo, 20.0), demo.web.app.state.news

    async def run():
        asyncio.get_running_loop().call_later(0.3, news.close)
        await one.run()

    begun = time.monotonic()
    asyncio.run(run())
    assert not one.gone
    assert time.monotonic() - begun < 15
    assert demo.web["viewer"].get(f"{demo.path}/events/stream").status_code == 503


def test_there_are_not_more_streams_than_a_process_takes(demo, monkeypatch):
    monkeypatch.setattr("bioimage_py.server.http.news.MOST_STREAMS", 2)
    many = [stream(demo, 1.5) for _ in range(3)]

    async def run():
        await asyncio.gather(*(one.run() for one in many))

    asyncio.run(run())
    assert sorted(one.status for one in many) == [200, 200, 503]


def test_those_who_wait_look_once_and_those_who_ask_at_once_read_once():
    class Served:
        id = "p"
        looks = reads = 0

        def newest(self):
            self.looks += 1
            return 0 if self.looks < 4 else 1

        def events(self, since, limit):
            self.reads += 1
            time.sleep(0.2)
            return "page"

    served, news = Served(), News()

    async def run():
        waits = [news.wait(served, 0, 60.0) for _ in range(50)]
        assert await asyncio.gather(*waits) == [True] * 50
        assert await asyncio.gather(*(news.page(served, 0, 9) for _ in range(50))) == ["page"] * 50
        assert await news.wait(served, 5, 0.3) is False

    asyncio.run(run())
    assert served.reads == 1
    assert served.looks < 12
    assert news._bells == {}
    assert news._reading._asked == {}


def test_the_rights_of_many_are_looked_at_by_few_threads_and_the_same_ones_once(demo):
    """After every commit the database has changed, and all who listen are asked for anew."""
    names = ("owner", "maintainer", "annotator", "viewer")
    many = [stream(demo, 3.0, name, f"?since={last(demo)}") for name in names for _ in range(5)]
    site, seen = demo.web.site, []
    read = site.sessions.caller

    def caller(token):
        seen.append(token)
        return read(token)

    async def run():
        streams = [asyncio.ensure_future(one.run()) for one in many]
        await asyncio.sleep(0.8)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(site.sessions, "caller", caller)
            local = Project.load(demo.folder.root)  # nobody asks the server for it
            local.descriptors[0].comments = "new"
            local.save()
            await asyncio.gather(*streams)

    asyncio.run(run())
    assert [len(one.events) for one in many] == [1] * len(many)
    assert len({one.text for one in many}) == 1
    assert len(seen) <= 2 * len(names)  # the event may come while they are being asked for
    assert demo.web.app.state.checks._asked == {}


def test_one_question_that_fails_stops_no_other():
    async def run():
        together, asked = Together(), []

        def question(n):
            asked.append(n)
            return 60 // n

        keys = [*range(-50, 50)] * 3
        found = await asyncio.gather(
            *(together.ask(None, n, lambda n=n: question(n)) for n in keys), return_exceptions=True
        )
        assert [str(one) if n == 0 else one for n, one in zip(keys, found, strict=True)] == [
            "integer division or modulo by zero" if n == 0 else 60 // n for n in keys
        ]
        assert sorted(asked) == [*range(-50, 50)]
        gone = asyncio.ensure_future(together.ask(None, 0, lambda: question(0)))
        await asyncio.sleep(0)
        gone.cancel()
        assert await together.ask(None, 1, lambda: question(1)) == 60
        await asyncio.sleep(0)
        return together._asked

    assert asyncio.run(run()) == {}


def test_a_folder_that_cannot_be_read_wakes_who_waits():
    class Served:
        id = "p"

        def newest(self):
            raise PermissionError("no")

    assert asyncio.run(News().wait(Served(), 0, 60.0)) is True


@pytest.mark.parametrize("error", [StorageError("a disk", remedy=""), ValueError("mine")])
def test_what_a_callback_raises_is_not_taken_for_a_server_that_is_away(error):
    from contextlib import contextmanager

    from bioimage_py.projects.remote.watching import Event, Watch

    class Store:
        id, calls = "p", 0

        @contextmanager
        def stream(self, since):
            self.calls += 1
            yield iter([Event(since + 1, "u", "c", "t")])

    def fail(event):
        raise error

    store = Store()
    watch = Watch(store, 0, fail)
    watch.join(60)
    assert watch.error is error
    assert store.calls == 1


NAME = "20260101-120000-000000-abcdef"
SENT = {"seq": 7, "user": "u", "client": "c", "time": "t", "changes": []}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([], ("changed", None, None, [])),
        ([(NAME, "added", [])], ("added", NAME, None, [])),
        ([("project", "changed", [["name"]])], ("changed", None, None, ["name"])),
        ([(NAME, "changed", [["layers", "l"], ["tags", "t"]])], ("changed", NAME, "l", ["layers.l", "tags.t"])),
        ([(NAME, "removed", []), ("project", "changed", [["layers"]])], ("changed", NAME, None, ["layers"])),
        ([(NAME, "removed", []), ("other", "removed", [])], ("removed", None, None, [])),
        ([(NAME, "changed", [["layers", "a", "version"], ["layers", "b"]])] * 2, ("changed", NAME, None, None)),
    ],
    ids=["nothing", "added", "settings", "layer", "removed", "several", "several layers"],
)
def test_an_event_tells_what_one_commit_did(changes, told):
    from bioimage_py.projects import Event

    listed = [{"name": name, "kind": kind, "fields": fields} for name, kind, fields in changes]
    event = Event.of(SENT | {"changes": listed, "of a newer server": {}})
    assert (event.kind, event.descriptor, event.layer) == told[:3]
    assert event.fields == (told[3] if told[3] is not None else ["layers.a.version", "layers.b"])


@pytest.mark.parametrize(
    "sent",
    [{}, None, [], SENT | {"seq": "x"}, SENT | {"changes": 7}, SENT | {"changes": [{}]}, SENT | {"changes": [None]}]
    + [SENT | {"changes": [{"name": NAME, "kind": "changed", "fields": [path]}]} for path in (7, None, [])],
    ids=repr,
)
def test_what_is_no_event_is_told_as_such(sent):
    from bioimage_py.errors import FormatError
    from bioimage_py.projects import Event

    with pytest.raises(FormatError, match="no event"):
        Event.of(sent)
