"""Metrics for Prometheus, on any path of their own port."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from lkpy.server.telemetry.exposition import CONTENT_TYPE


class PrometheusService:
    """Answers scrapes; with ``username`` and ``password`` to those who know them."""

    def __init__(
        self, scrape: Callable[[], Awaitable[str]], *, username: str = "", password: str = ""
    ) -> None:
        self._scrape = scrape
        self._credentials = f"{username}:{password}".encode() if username and password else None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """The metrics, whatever the path."""
        if not self._is_allowed(request.headers.get(hdrs.AUTHORIZATION, "")):
            return web.Response(
                status=401, headers={hdrs.WWW_AUTHENTICATE: 'Basic realm="Protected Area"'}
            )
        text = await self._scrape()
        return web.Response(body=text.encode(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    def _is_allowed(self, header: str) -> bool:
        if self._credentials is None:
            return True
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except ValueError:
            return False
        return hmac.compare_digest(given, self._credentials)
