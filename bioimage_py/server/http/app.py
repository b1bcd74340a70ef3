"""The application: routes, problems, guard."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ... import __version__
from ..page import account_routes, data_set_routes, entry_routes, people_routes, sign_in_routes, viewer_routes
from ..page import project_routes as page_routes
from ..page.visits import Visiting
from ..site import Site
from ..together import Together
from . import data_routes, document_routes, event_routes, login_routes, project_routes, system_routes
from .guard import Guard
from .metrics import Metrics
from .news import News
from .problems import tell_problems
from .transfer import draft_routes, file_routes, upload_routes
from .transfer.straight import straight

PREFIX = "/api/v1"


def make_app(site: Site, *, secure: bool = False, insecure: bool = False, metrics: Metrics | None = None) -> FastAPI:
    """Return the application that serves a site.

    Parameters
    ----------
    site : Site
    secure : bool, default False
        Whether clients come by TLS.
    insecure : bool, default False
        Whether the operator lets browsers of other machines come without TLS.
    metrics : Metrics, optional
        Those of several processes; None: of this one.
    """
    app = FastAPI(
        title="Label projects",
        version=__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.site = site
    app.state.metrics = metrics or Metrics()
    app.state.news = News()
    app.state.checks = Together()
    for module in (system_routes, login_routes, project_routes, document_routes, event_routes, data_routes):
        app.include_router(module.routes, prefix=PREFIX)
    for module in (draft_routes, upload_routes, file_routes):
        app.include_router(module.routes, prefix=PREFIX)
    app.state.visiting = Visiting(insecure)
    for part in (
        sign_in_routes,
        entry_routes,
        account_routes,
        page_routes,
        data_set_routes,
        viewer_routes,
        people_routes,
    ):
        app.include_router(part.routes, include_in_schema=False)
    app.router.routes[:0] = straight(PREFIX)
    tell_problems(app)
    app.add_middleware(Guard, secure=secure)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
        schema.setdefault("components", {})["securitySchemes"] = schemes
        schema["components"].setdefault("schemas", {})["Problem"] = _PROBLEM
        told = {"description": "A problem", "content": {"application/problem+json": {"schema": _REFERENCE}}}
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"] = {**operation["responses"], "422": told, "default": told}
        app.openapi_schema = schema
    return app.openapi_schema


_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "stable code"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string"},
        "remedy": {"type": "string"},
        "request_id": {"type": "string"},
    },
}
