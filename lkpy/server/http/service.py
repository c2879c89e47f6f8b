"""The HTTP application: a table of routes behind the middleware that every request passes."""

from __future__ import annotations

import html
import logging
import posixpath
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import hdrs, web

from lkpy.auth.token import TokenError, Verified
from lkpy.clock import Clock
from lkpy.errors import LkpyError
from lkpy.limits import Limits
from lkpy.server.http import auth, cors, form, guard
from lkpy.server.http.body import TOO_LARGE, BodyRefused, read_body
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request, Verified | None], Awaitable[web.StreamResponse]]
"""Answers a request, given its token if it carries one."""
Gate = Callable[[], Awaitable[web.Response | None]]
"""The answer to everybody while there is one."""

_SWITCHING_PROTOCOLS = 101
_ANY_ORIGIN_PATHS = frozenset({"/rtc/validate", "/rtc/v1/validate"})


class HttpService:
    """Dispatches requests by exact path, or by prefix for the APIs.

    The route is looked up by hand because authentication and CORS also cover paths that do not
    exist, and because one leading slash too many is forgiven.
    """

    def __init__(self, keys: Mapping[str, str], limits: Limits, clock: Clock) -> None:
        self._keys = keys
        self._limits = limits
        self._clock = clock
        self._routes: dict[str, Handler] = {}
        self._prefixes: dict[str, Handler] = {}
        self._gates: dict[str, Gate] = {}

    @property
    def routes(self) -> list[str]:
        """Every path and prefix that is served."""
        return [*self._routes, *self._prefixes]

    def add(self, path: str, handler: Handler, gate: Gate | None = None) -> None:
        """Serve one path, unless its ``gate`` answers before anything is looked at."""
        self._routes[path] = handler
        if gate is not None:
            self._gates[path] = gate

    def add_prefix(self, prefix: str, handler: Handler) -> None:
        """Serve everything below a path that ends in a slash."""
        self._prefixes[prefix] = handler

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(client_max_size=self._limits.max_api_request_body_size)
        application.router.add_route("*", "/{path:.*}", self._serve)
        application.on_response_prepare.append(self._add_headers)
        return application

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        connection = guard.began(request)
        if connection is None:  # it has ended meanwhile
            return text(400, "")
        try:
            return guard.closing(connection, await self._answer(request, connection))
        finally:
            connection.answered()

    async def _answer(
        self, request: web.Request, connection: guard.Connection
    ) -> web.StreamResponse:
        try:
            return await self._handle(request, connection)
        except BodyRefused as refused:
            return text(refused.status, refused.reason)
        except web.HTTPRequestEntityTooLarge:
            return text(413, TOO_LARGE)
        except web.HTTPException:
            raise
        except LkpyError as error:
            return text(error.http_status, error.message)
        except ConnectionError:
            # Nobody is there any more to read an answer.
            logger.debug("client went away", extra=fields(path=path_of(request)))
            return text(400, "")
        except Exception:
            # A request must not take the server down; its client learns no details.
            logger.exception("handling a request failed", extra=fields(path=path_of(request)))
            return text(500, "")

    async def _handle(
        self, request: web.Request, connection: guard.Connection
    ) -> web.StreamResponse:
        if cors.is_preflight(request.method, request.headers):
            connection.accept_nothing()
            return web.Response(status=204)
        gate = None if connection.was_let_in else self._gates.get(path_of(request))
        if gate is not None and (refused := await gate()) is not None:
            return refused
        try:
            token = await self._admit(request, connection)
        except TokenError as error:
            logger.info("refused a token", extra=fields(path=path_of(request), error=error.message))
            return text(401, error.message)
        path = path_of(request)
        clean = clean_path(path)
        if clean != path:
            return _redirect(request, clean)
        return await self._handler(path)(request, token)

    async def _admit(self, request: web.Request, connection: guard.Connection) -> Verified | None:
        """Verify the token, then read the body: of somebody unknown only a short one. Raises
        :class:`TokenError`, :class:`BodyRefused`."""
        form.check_query(request)
        length = request.content_length or 0
        if length > self._limits.max_api_request_body_size:
            raise BodyRefused(413, TOO_LARGE)
        token = auth.authenticate(request, self._keys, now=self._clock.wall())
        if token is None and request.body_exists:
            # LiveKit looks at some bodies before it looks for a token.
            await _read_unauthenticated(request, connection, length)
        connection.accept()
        await read_body(request)
        return token

    def _handler(self, path: str) -> Handler:
        handler = self._routes.get(path)
        if handler is not None:
            return handler
        for prefix, handler in self._prefixes.items():
            if path.startswith(prefix):
                return handler
        return not_found

    async def _add_headers(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        # Which software answers helps only those who look for its holes.
        response.headers.popall(hdrs.SERVER, None)
        connection = guard.guarding(request)
        if connection is not None and connection.request is not request:
            # aiohttp answers by itself, and nobody tells the guard so.
            response.force_close()
        if response.status == _SWITCHING_PROTOCOLS:
            if connection is not None:
                connection.leave()
            return
        if cors.is_preflight(request.method, request.headers):
            response.headers.update(cors.preflight_headers(request.headers))
            return
        response.headers.update(cors.response_headers(request.headers, request.method))
        if path_of(request) in _ANY_ORIGIN_PATHS:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"


def path_of(request: web.BaseRequest) -> str:
    """The path, without one slash of a double one: clients are given URLs that end in a slash."""
    path = request.rel_url.path
    return path[1:] if path.startswith("//") else path


async def _read_unauthenticated(
    request: web.Request, connection: guard.Connection, length: int
) -> None:
    if not connection.room_for(length):
        raise BodyRefused(401, "a body of this size needs a token in a header or in the query")
    connection.read_unauthenticated()
    await read_body(request)


def clean_path(path: str) -> str:
    """The path without empty, ``.`` and ``..`` parts; a slash at the end stays."""
    if "//" not in path and "/." not in path:
        return path
    # Two leading slashes mean something to POSIX, and are kept by normpath.
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def _redirect(request: web.Request, path: str) -> web.Response:
    """Go's answer to a path that is not clean, for whatever there is at the clean one."""
    location = str(request.rel_url.with_path(path, keep_query=True))
    response = web.Response(status=307, headers={hdrs.LOCATION: location})
    if request.method in ("GET", "HEAD"):
        response.content_type = "text/html"
        response.charset = "utf-8"
        response.text = f'<a href="{html.escape(location)}">Temporary Redirect</a>.\n\n'
    return response


def text(status: int, body: str) -> web.Response:
    """A plain-text answer, as Go's handlers give."""
    return web.Response(status=status, text=body, content_type="text/plain", charset="utf-8")


async def not_found(_request: web.Request, _token: Verified | None) -> web.StreamResponse:
    """Go's default answer. Clients tell it from a room that does not exist by its words."""
    response = text(404, "404 page not found\n")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
