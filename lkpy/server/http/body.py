"""Reading a request's body: in time, and without making a client's end our error."""

from __future__ import annotations

import asyncio

from aiohttp import web

from lkpy.limits import HTTP_BODY_TIMEOUT_S

TOO_LARGE = "request body too large"


class BodyRefused(Exception):
    """The answer to a body that is not read."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


async def read_body(request: web.Request) -> None:
    """Read a body; aiohttp keeps it for the handler.

    Raises :class:`BodyRefused` for one that is slow or breaks the rules of HTTP, and
    :class:`ConnectionError` when the client went away.
    """
    if not request.can_read_body:
        return
    try:
        async with asyncio.timeout(HTTP_BODY_TIMEOUT_S):
            await request.read()
    except TimeoutError:
        raise BodyRefused(408, "request body took too long") from None
    except web.RequestPayloadError as error:
        if request.transport is None:
            raise ConnectionResetError from error
        raise BodyRefused(400, "malformed request body") from error
