"""The opening handshake of a WebSocket (RFC 6455 4.2), refused as livekit-server refuses it.

aiohttp checks it too, but accepts drafts and methods that LiveKit does not, and in other words.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
"""The only form of RFC 7692 that LiveKit's library offers: no window is kept between messages."""

_VERSION = "13"
_LINE_MAX = 1024
"""Of a header that is a list; whoever sends a longer one means nothing good."""


def wants_upgrade(headers: CIMultiDictProxy[str]) -> bool:
    """Whether a request asks for a WebSocket at all."""
    upgrade = headers.get(hdrs.UPGRADE, "").strip().lower()
    return upgrade == "websocket" and "upgrade" in _tokens(headers, hdrs.CONNECTION)


def wants_deflate(headers: CIMultiDictProxy[str]) -> bool:
    """Whether the client offers to compress messages."""
    offers = _tokens(headers, hdrs.SEC_WEBSOCKET_EXTENSIONS)
    return any(offer.partition(";")[0].strip() == "permessage-deflate" for offer in offers)


def refusal(request: web.BaseRequest) -> web.Response | None:
    """The answer to a handshake that cannot succeed, else None."""
    headers = request.headers
    if request.method != "GET":
        return _refused(
            405,
            "the client is not using the websocket protocol: request method is not GET",
        )
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION, "").strip() != _VERSION:
        return _refused(400, "unsupported version: 13 not found in 'Sec-Websocket-Version' header")
    if not _is_key(headers.get(hdrs.SEC_WEBSOCKET_KEY, "")):
        return _refused(
            400,
            "not a websocket handshake: 'Sec-WebSocket-Key' header must be Base64 encoded value "
            "of 16-byte in length",
        )
    return None


def canonical(request: web.Request) -> web.Request:
    """The same request, offering compression in the one form that is used, and no sub-protocol,
    of which there is none."""
    if not {hdrs.SEC_WEBSOCKET_EXTENSIONS, hdrs.SEC_WEBSOCKET_PROTOCOL} & request.headers.keys():
        return request
    headers = CIMultiDict(request.headers)
    headers.popall(hdrs.SEC_WEBSOCKET_PROTOCOL, None)
    headers.popall(hdrs.SEC_WEBSOCKET_EXTENSIONS, None)
    if wants_deflate(request.headers):
        headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = DEFLATE
    return request.clone(headers=headers)


def _tokens(headers: CIMultiDictProxy[str], name: str) -> Iterator[str]:
    for line in headers.getall(name, ()):
        yield from (token.strip().lower() for token in line[:_LINE_MAX].split(","))


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _refused(status: int, reason: str) -> web.Response:
    phrase = {400: "Bad Request", 405: "Method Not Allowed"}[status]
    return web.Response(
        status=status,
        text=f"{phrase}\nwebsocket: {reason}",
        headers={
            "Sec-WebSocket-Version": _VERSION,
            "X-Content-Type-Options": "nosniff",
        },
    )
