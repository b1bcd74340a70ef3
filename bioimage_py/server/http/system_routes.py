"""Routes about the server itself: health, versions, metrics, audit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import text

from ... import __version__
from ..database import audit
from ..database.engine import HEAD
from .asking import AdminOf, SiteOf, giving, needing
from .bodies import AuditPage, AuditRow, State, Versions

API = 1
routes = APIRouter()


@routes.get("/health", **needing("nobody"))
def health() -> State:
    """Tell that the process answers."""
    return State(status="ok")


@routes.get("/ready", **needing("nobody"))
def ready(site: SiteOf) -> State:
    """Tell that the database and the folder can be read; else 503."""
    with site.database.reading() as connection:
        connection.execute(text("SELECT 1"))
    next(iter(site.root.iterdir()), None)
    return State(status="ok")


@routes.get("/version", **needing("nobody"))
def version() -> Versions:
    """Tell what runs here."""
    return Versions(server=__version__, api=API, schema_version=HEAD)


@routes.get("/metrics", response_class=Response, **giving("text/plain"), **needing("admin"))
def metrics(caller: AdminOf, request: Request) -> Response:
    """Give counts of requests, as Prometheus reads them."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4")


@routes.get("/audit", **needing("admin"))
def audit_rows(
    caller: AdminOf,
    site: SiteOf,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    project: Annotated[str, Query(max_length=100, pattern=r"^[A-Za-z0-9_.-]*$")] = "",
) -> AuditPage:
    """List rows of the audit log, those after an id."""
    with site.database.reading() as connection:
        rows = audit.entries(connection, after, limit, project)
    return AuditPage(rows=[AuditRow(**asdict(row)) for row in rows], next=rows[-1].id if rows else after)
