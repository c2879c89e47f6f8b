"""A second HTTP port beside the main one, with a handler for every path."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import hdrs, web

from lkpy.errors import LkpyError
from lkpy.server.http import guard, site
from lkpy.server.http.listener import listen
from lkpy.server.http.service import path_of, text
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SideListener:
    """Serves one handler on a port of its own: no tokens, no CORS, GET and HEAD."""

    def __init__(
        self,
        handler: Handler,
        addresses: Sequence[str],
        port: int,
        unauthenticated: guard.Unauthenticated,
    ) -> None:
        self._handler = handler
        self._unauthenticated = unauthenticated
        self._addresses = addresses
        self._port = port
        self._runner: web.AppRunner | None = None
        self.port = 0
        """The bound port, once started."""

    async def start(self) -> None:
        """Listen. Raises :class:`lkpy.errors.LkpyError`."""
        sockets = listen(self._addresses, self._port)
        self.port = sockets[0].getsockname()[1]
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve)
        # Whoever asks for a profile and goes away wants it no more.
        self._runner = site.runner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        for listener in sockets:
            await site.GuardedSite(self._runner, listener, self._unauthenticated).start()

    async def stop(self) -> None:
        """Listen no more. Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        connection = guard.began(request)
        if connection is None:
            return text(400, "")
        try:
            connection.accept_nothing()
            return guard.closing(connection, await self._answer(request))
        finally:
            connection.answered()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={hdrs.ALLOW: "GET, HEAD"})
        try:
            return await self._handler(request)
        except LkpyError as error:
            return text(error.http_status, error.message)
        except web.HTTPException:
            raise
        except Exception:
            logger.exception("handling a request failed", extra=fields(path=path_of(request)))
            return text(500, "")
