"""Routes of documents, commits and lists of data sets."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic_core import to_json

from ...errors import KeyNotFoundError, ParameterError
from ...projects.storage.events import Origin
from ...projects.values.merge import MISSING, digest
from ..accounts.sights import Sight, seen
from ..commits import Commit, Field, Wish, check_sight, commit
from ..documents import Sent
from ..index import Wanted, index_of
from ..served import MOST, Served
from ..values import checked
from .answers import Accepts, json_answer
from .asking import Annotates, Client, Key, Name, Reads, needing
from .bodies import CommitBody, Committed, DescriptorPage, DocumentChange, MadeCommit
from .project_routes import Limit

routes = APIRouter()
RowField = Literal["name", "tags", "grouping", "layers", "annotated"]
_MOST_PAGES = 20
"""Of events that a list looks through."""


@routes.get("/projects/{project}/documents/{name}", response_model=dict[str, Any], **needing("read"))
def document(
    name: Name, asked: Reads, if_none_match: Annotated[str, Header(max_length=1000)] = "", accepts: Accepts = ""
) -> Response:
    """Give a document as it is saved: "project", or the identifier of a data set."""
    found = asked.served.documents.sent(name) if asked.sight.sees(name) else None
    if found is None:
        raise KeyNotFoundError(f"There is no document {name!r} (any more).", remedy="project.sync()")
    found = _seen(asked.served, found, name, asked.sight)
    headers = {"ETag": f'"{found.etag}"', "Cache-Control": "private, no-cache"}
    if headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    return json_answer(found.text, accepts, headers)


@routes.get("/projects/{project}/descriptors", response_model=DescriptorPage, **needing("read"))
def descriptors(
    asked: Reads,
    after: Annotated[str, Query(max_length=2000)] = "",
    limit: Limit = 1000,
    sort: Literal["identifier", "name"] = "identifier",
    name: Annotated[str, Query(max_length=200)] = "",
    tags: Annotated[str, Query(max_length=4000, description="JSON: values by id of the tag")] = "{}",
    group: Annotated[list[str], Query(max_length=16)] = [],  # noqa: B006 - FastAPI copies it
    annotated: bool | None = None,
    layer: Annotated[str, Query(max_length=100, description="id of a layer")] = "",
    changed: Annotated[int | None, Query(ge=0, le=2**53, description="since the event of this number")] = None,
    fields: Annotated[list[RowField], Query(max_length=16, description="what is told; none: all")] = [],  # noqa: B006
    accepts: Accepts = "",
) -> Response:
    """List data sets that fit all that is asked for; none of their files is opened."""
    sight = asked.sight
    only = frozenset[str]() if layer in sight.hidden else sight.only
    if changed is not None:
        names = changed_since(asked.served, changed, sight)
        only = names if only is None else only & names
    wanted = Wanted(name, _tags(tags), tuple(group), annotated, layer, only)
    rows, following = index_of(asked.served).page(wanted, after, limit, sort, sight)
    kept = ("identifier", *(fields or get_args(RowField)))
    found = [{"identifier": row.identifier, **row.summary._asdict()} for row in rows]
    found = [{key: row[key] for key in kept} for row in found]
    if sight.hidden and "layers" in kept:
        found = [{**row, "layers": sight.layers(row["layers"])} for row in found]
    return json_answer({"descriptors": found, "next": following}, accepts)


def changed_since(served: Served, since: int, sight: Sight) -> frozenset[str]:
    """Return the documents that somebody sees to have changed after an event.

    Raises
    ------
    Gone
        It is not kept any more.
    ParameterError
        There were very many events since.
    """
    found, at = set[str](), since
    for _ in range(_MOST_PAGES):
        page = served.events(at, MOST)
        if not page.events:
            return frozenset(found)
        found.update(change["name"] for event in page.events for change in sight.event(event)["changes"])
        at = page.events[-1]["seq"]
    raise ParameterError(f"There were more than {at - since} events since {since}.", remedy="list all data sets")


def _tags(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ParameterError("tags is no JSON object.", remedy='tags={"<id of the tag>": true}')
    return dict(checked(found, "tags"))


@routes.post("/projects/{project}/commit", **needing("annotate"))
def make_commit(body: CommitBody, asked: Annotates, key: Key = "", client: Client = "") -> Committed:
    """Change documents, all of them or none; fields that others changed meanwhile keep their values."""
    wanted = Commit(tuple(_wish(change) for change in body.changes), body.locks, tuple(body.guarded))
    check_sight(asked.sight, wanted)
    mark = digest(body.model_dump(mode="json", exclude_unset=True)) if key else ""
    origin = Origin(asked.caller.name, client, f"{key} {mark}" if key else "")
    answer = commit(asked.projects, asked.served, wanted, asked.role, origin)
    documents = {
        name: None if one.document is None else seen(name, one.document, asked.sight, asked.served.documents)
        for name, one in (answer.saved or {}).items()
    }
    etags = {name: None if one is None else digest(one) for name, one in documents.items()}
    return Committed(seq=answer.seq, repeated=answer.saved is None, etags=etags, documents=documents)


@routes.get("/projects/{project}/commits/{commit}", **needing("read"))
def made_commit(asked: Reads, commit: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{8,100}$")]) -> MadeCommit:
    """Tell whether the caller has made a commit with an idempotency key."""
    return MadeCommit(seq=asked.served.made(asked.caller.name, commit))


def _wish(change: DocumentChange) -> Wish:
    if sum((bool(change.fields), change.document is not None, change.remove)) != 1:
        raise ParameterError(
            f"The change of {change.name!r} is not one thing.", remedy="send fields, or a document, or remove"
        )
    fields = tuple(
        Field(
            tuple(one.path),
            checked(one.old, "old") if "old" in one.model_fields_set else MISSING,
            checked(one.new, "new") if "new" in one.model_fields_set else MISSING,
        )
        for one in change.fields
    )
    orders = tuple((tuple(one.path), tuple(one.keys)) for one in change.orders)
    return Wish(change.name, fields, checked(change.document, "document"), change.remove, change.etag, orders)


def _seen(served: Served, sent: Sent, name: str, sight: Sight) -> Sent:
    """Return a document as it is there for somebody; one of which nothing is hidden is sent as it is kept."""
    if not sight.hidden and not sight.withholds:
        return sent
    document = seen(name, json.loads(sent.text), sight, served.documents)
    return Sent(to_json(document), digest(document))
