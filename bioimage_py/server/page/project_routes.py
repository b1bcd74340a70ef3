"""Pages of projects: which there are, their data sets, how far they are, what has happened, who holds locks."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from ...errors import ParameterError
from ...projects.values.kinds import TagKind
from ...projects.values.merge import MISSING
from ...projects.values.models import Tag
from ..accounts.locks import held, locks_of
from ..commits import Field, Wish
from ..index import Wanted, index_of
from ..values import NAME, checked
from .answers import PageRoute, wants_words
from .forms import Form, FormOf
from .history import newest, progress_of
from .looking import Annotates, Looking, Name, Reads
from .visits import VisitOf, local

routes = APIRouter(route_class=PageRoute)
Cursor = Annotated[str, Query(max_length=2000)]
_PROJECTS = 25


@routes.get("/projects")
def projects(visit: VisitOf, after: Annotated[str, Query(max_length=100, pattern=rf"^$|{NAME}")] = "") -> Response:
    """Show the projects of which the visitor is a member."""
    site, rows = visit.site, []
    found = site.projects.of(visit.user, after, _PROJECTS + 1)
    for entry in found[:_PROJECTS]:
        served = site.projects.served(entry.id)
        sight = site.sights.of(visit.user, entry.id, entry.role)
        index = index_of(served)
        count = index.count() if sight.only is None else len(sight.only & index.summaries().keys())
        rows.append((entry, count, served.changed() or entry.created))
    following = found[_PROJECTS - 1].id if len(found) > _PROJECTS else ""
    return visit.show("projects", rows=rows, following=following)


@routes.get("/projects/{project}")
def data_sets(
    looking: Reads,
    after: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    sort: Literal["identifier", "name"] = "identifier",
    name: Annotated[str, Query(max_length=200)] = "",
    tag: Annotated[str, Query(max_length=500)] = "",
    group: Annotated[str, Query(max_length=200)] = "",
    annotated: Literal["", "yes", "no"] = "",
    layer: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Show data sets that fit a filter."""
    layer = "" if layer in looking.sight.hidden else layer
    pattern = name if not name or any(sign in name for sign in "*?") else f"*{name}*"
    groups = tuple(part.strip() for part in group.split("/")) if group.strip() else ()
    state = {"yes": True, "no": False}.get(annotated)
    wanted = Wanted(pattern, _tag(tag), groups, state, layer, looking.sight.only)
    rows, following = index_of(looking.served).page(wanted, after, limit, sort, looking.sight)
    asked = {"name": name, "tag": tag, "group": group, "annotated": annotated, "layer": layer, "sort": sort}
    asked["limit"] = "" if limit == 50 else str(limit)
    ids = [row.identifier for row in rows]
    return looking.show(
        "data_sets",
        rows=rows,
        following=following,
        asked=asked,
        first=not after,
        locked=locks_of(looking.served, ids),
        assigned=looking.visit.site.sights.assigned(looking.id, ids[:500]) if looking.manages else {},
        tag_choices=choices_of(looking),
        filters=_filters(looking),
        layer_names={one.id: one.name for one in looking.settings.layers},
        here=looking.visit.here,
    )


def choices_of(looking: Looking) -> list[tuple[Tag, list[tuple[str, str]]]]:
    """Return the tags of a project, each with what it can be."""
    return [(tag, _choices(tag)) for tag in looking.settings.tags]


def _filters(looking: Looking) -> list[tuple[str, str]]:
    """Return what a list can be filtered by, as `_tag` reads it and as text."""
    found = []
    for tag, choices in choices_of(looking):
        values = [*((json.loads(value), text) for value, text in choices), (None, "not set")]
        found += [(json.dumps([tag.id, value]), f"{tag.name}: {text}") for value, text in values]
    return found


def _choices(tag: Tag) -> list[tuple[str, str]]:
    """Values of a tag that one can choose, as JSON and as text."""
    if tag.kind == TagKind.Bool:
        return [("true", "yes"), ("false", "no")]
    return [(json.dumps(option), option) for option in tag.options]


def _tag(text: str) -> dict[str, Any]:
    """Return what a filter says of tags: a list of the id and the value, null for one that is not set."""
    if not text:
        return {}
    try:
        id, value = json.loads(text)
        if not isinstance(id, str) or not isinstance(value, str | bool | float | int | None):
            raise TypeError
    except (ValueError, TypeError, RecursionError):
        raise ParameterError("That is no filter by a tag.", remedy="choose from the list") from None
    return {id: checked(value, "tag")}


@routes.post("/projects/{project}/data/{descriptor}/tags")
def set_tags(descriptor: Name, looking: Annotates, form: FormOf) -> Response:
    """Change tags, unless somebody else has changed the same ones since the page was drawn."""
    record = looking.record(descriptor)
    changes, values = [], {}
    for tag in looking.settings.tags:
        if not tag.readonly and f"tag-{tag.id}" in form and f"was-{tag.id}" in form:
            old, new = form.value(f"was-{tag.id}"), _value(tag, form)
            values[f"was-{tag.id}"] = json.dumps(new)
            if new != old:
                changes.append(Field(("tags", tag.id), _stored(old), _stored(new)))
    if changes:
        looking.change(Wish(record.identifier, tuple(changes)))
    if wants_words(looking.visit.request):
        return JSONResponse(values)
    return looking.visit.go(local(form.text("back", 2000)))


def _stored(value: Any) -> Any:
    return MISSING if value is None else value


def _value(tag: Tag, form: Form) -> Any:
    text = form.text(f"tag-{tag.id}", 1000)
    if not text:
        return None
    if tag.kind == TagKind.Float:
        try:
            return tag.check(float(text))
        except ValueError:
            raise ParameterError(f"{tag.name} is a number, not {text!r}.", remedy="give a number") from None
    return tag.check(form.value(f"tag-{tag.id}"))


@routes.get("/projects/{project}/progress")
def progress(looking: Reads) -> Response:
    """Show how many data sets have what, and who has done it."""
    visit = looking.visit
    found = progress_of(looking.served, looking.sight, visit.user.name, visit.site.users.known)
    return looking.show("progress", progress=found)


@routes.get("/projects/{project}/history")
def history(
    looking: Reads,
    before: Annotated[int, Query(ge=0, le=2**53)] = 0,
    descriptor: Annotated[str, Query(max_length=100, pattern=rf"^$|{NAME}")] = "",
    user: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Show what has happened, the newest first."""
    page = newest(looking.served, looking.sight, before, descriptor, user)
    names = {one: summary.name for one, summary in index_of(looking.served).summaries(looking.sight).items()}
    return looking.show(
        "history",
        page=page,
        names=names,
        asked={"descriptor": descriptor, "user": user},
        layer_names={one.id: one.name for one in looking.settings.layers},
        tag_names={one.id: one.name for one in looking.settings.tags},
    )


@routes.get("/projects/{project}/locks")
def locks(looking: Reads) -> Response:
    """Show who holds locks."""
    rows = [(one, lease) for one, lease in held(looking.served) if looking.sight.sees(one)]
    summaries = index_of(looking.served).summaries(looking.sight)
    return looking.show("locks", rows=rows, names={one: summary.name for one, summary in summaries.items()})
