"""Twirp: one POST per call, protobuf or JSON.

https://twitchtv.github.io/twirp/docs/spec_v7.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from lkpy.auth.grants import Grants
from lkpy.auth.token import Verified
from lkpy.errors import Code, LkpyError, TwirpError
from lkpy.limits import API_JSON_MAX, API_VALUES_MAX
from lkpy.server import request_id
from lkpy.server.http import proto_json
from lkpy.server.http.proto_json import write_json
from lkpy.server.http.service import path_of
from lkpy.server.telemetry.events import NO_TELEMETRY, ApiCalled
from lkpy.server.telemetry.log import fields
from lkpy.signal import weight
from lkpy.signal.codec import parse_json

logger = logging.getLogger(__name__)

Method = Callable[[Any, Grants | None], Awaitable[Message]]

_PROTOBUF = "application/protobuf"
_MAX_TIMEOUT_DIGITS = 12
"""Milliseconds of a longer number are more than a call can take: 30 years."""
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class _BadRoute(Exception):
    message: str


class TwirpService:
    """Serves the methods of one protobuf service below :attr:`prefix`."""

    def __init__(self, descriptor: ServiceDescriptor, methods: Mapping[str, Method]) -> None:
        unknown = set(methods) - {method.name for method in descriptor.methods}
        if unknown:
            raise ValueError(f"{descriptor.full_name} has no methods {sorted(unknown)}")
        self._descriptor = descriptor
        self._methods = methods
        self.telemetry = NO_TELEMETRY
        """Hears of every call."""

    @property
    def prefix(self) -> str:
        """The path of all methods, with a slash at the end."""
        return f"/twirp/{self._descriptor.full_name}/"

    async def serve(self, request: web.Request, token: Verified | None) -> web.StreamResponse:
        """Answer one call and tell of it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer, code = await self._answer(request, token)
        method = path_of(request).removeprefix(self.prefix)
        called = ApiCalled(
            service=self._descriptor.name,
            # What clients make up must not become labels without end.
            method=method if method in self._descriptor.methods_by_name else "",
            status=answer.status,
            code=code,
            duration_s=loop.time() - began,
        )
        self.telemetry.tell(called)
        return answer

    async def _answer(
        self, request: web.Request, token: Verified | None
    ) -> tuple[web.Response, str]:
        """The response, and its error code."""
        try:
            method = self._route(request)
            call = _decode(method, await request.read(), request.content_type)
            answer = await self._call(
                method, call, request, None if token is None else token.grants
            )
        except _BadRoute as error:
            route = f"{request.method} {path_of(request)}"
            return _error("bad_route", error.message, 404, {"twirp_invalid_route": route})
        except TwirpError as error:
            return _error(error.code, error.message, error.http_status, error.meta)
        except LkpyError as error:
            return _error(error.code, error.message, error.http_status)
        except web.HTTPException:
            raise
        except Exception:
            # One call's failure stays its own; the client learns no details.
            logger.exception("API call failed", extra=fields(path=path_of(request)))
            return _error(Code.INTERNAL, "internal error", 500)
        return await _encode(answer, request.content_type), ""

    def _route(self, request: web.Request) -> MethodDescriptor:
        path = path_of(request)
        if request.method != "POST":
            raise _BadRoute(f'unsupported method "{request.method}" (only POST is allowed)')
        method = self._descriptor.methods_by_name.get(path.removeprefix(self.prefix))
        if method is None:
            raise _BadRoute(f'no handler for path "{path}"')
        if request.content_type not in (_PROTOBUF, _JSON):
            given = request.headers.get("Content-Type", "")
            raise _BadRoute(f'unexpected Content-Type: "{given}"')
        return method

    async def _call(
        self,
        method: MethodDescriptor,
        call: Message,
        request: web.Request,
        grants: Grants | None,
    ) -> Message:
        handler = self._methods.get(method.name)
        if handler is None:
            raise TwirpError(Code.UNIMPLEMENTED, f"{method.name} is not implemented by this server")
        # One task answers every call of a connection, one after the other.
        request_id.current.set(request.headers.get(request_id.HEADER, ""))
        try:
            async with asyncio.timeout(_timeout_s(request)):
                return await handler(call, grants)
        except TimeoutError as error:
            raise LkpyError(Code.DEADLINE_EXCEEDED, "request timed out") from error


def _timeout_s(request: web.Request) -> float | None:
    """The time that the caller leaves; what is no number of milliseconds is passed over, as in
    LiveKit (protocol ``utils/xtwirp/timeout.go``)."""
    text = request.headers.get("X-Twirp-Timeout-Ms", "")
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_TIMEOUT_DIGITS):
        return None
    return int(text) / 1000


def _decode(method: MethodDescriptor, body: bytes, content_type: str) -> Message:
    call: Message = message_factory.GetMessageClass(method.input_type)()
    as_json = content_type == _JSON
    if as_json and len(body) > API_JSON_MAX:
        raise web.HTTPRequestEntityTooLarge(API_JSON_MAX, len(body))
    try:
        if as_json:
            weight.check_json(body, max_values=API_VALUES_MAX)
            parse_json(body, call)
        else:
            weight.check_protobuf(body, call, max_values=API_VALUES_MAX)
            call.ParseFromString(body)
    except weight.TooMuchError as error:
        raise TwirpError(Code.MALFORMED, f"the request has {error}") from error
    except (DecodeError, json_format.ParseError) as error:
        form = "json" if as_json else "protobuf"
        raise TwirpError(Code.MALFORMED, f"the {form} request could not be decoded") from error
    return call


async def _encode(answer: Message, content_type: str) -> web.Response:
    if content_type == _JSON:
        # It may be a room's own record, which changes while a long one is written.
        frozen = type(answer)()
        frozen.CopyFrom(answer)
        body = await proto_json.in_slices(frozen, proto_json.full_dict)
    else:
        body = answer.SerializeToString()
    return web.Response(body=body, content_type=content_type)


def _error(
    code: str, message: str, status: int, meta: Mapping[str, str] | None = None
) -> tuple[web.Response, str]:
    body: dict[str, Any] = {"code": str(code), "msg": message}
    if meta:
        body["meta"] = meta
    response = web.Response(status=status, body=write_json(body), content_type=_JSON)
    return response, str(code)
