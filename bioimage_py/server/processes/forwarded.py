"""What a proxy tells of a request that it hands on, believed of those proxies only that the operator names."""

from __future__ import annotations

from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class Forwarded(ProxyHeadersMiddleware):
    """ASGI middleware: X-Forwarded-For and -Proto as uvicorn has it, and -Host, as the state ``hosts``."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        client = scope.get("client")
        if scope["type"] == "http" and client and client[0] in self.trusted_hosts:
            told = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-host"]
            scope.setdefault("state", {})["hosts"] = [one.strip() for text in told for one in text.split(",")]
        await super().__call__(scope, receive, send)
