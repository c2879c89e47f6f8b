"""A client of LiveKit's server API: Twirp over HTTP, for this server and any other.

:func:`room_call` describes a call of ``livekit.RoomService``; :class:`ApiClient` makes it. Messages
of errors are the server's words without Twirp's decoration.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message
from livekit.protocol import room

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import mint
from lkpy.clock import SystemClock
from lkpy.errors import Code, LkpyError
from lkpy.server_url import UnreachableError, http_url

TOKEN_TTL_S = 300.0
TIMEOUT_S = 15.0
"""Above what LiveKit's server itself waits for rooms and participants to answer (7 s)."""
ANSWER_MAX = 64 * 1024 * 1024

_CODED = "twirp error unknown: "
"""What servers of LiveKit before 1.13.8 put before most messages (``utils/xtwirp/errors.go``)."""


class ApiError(LkpyError):
    """The server refused a call. ``status`` is the HTTP status."""

    def __init__(self, code: Code, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(code, message, hint=hint)
        self.status = status


class NoSuchServiceError(ApiError):
    """What answers at the address is no LiveKit server, or one that does not know the call."""

    def __init__(self, url: str, reason: str, status: int) -> None:
        super().__init__(
            Code.UNIMPLEMENTED,
            f"{url} does not serve LiveKit's API, or not this call: {reason}",
            status=status,
            hint="is that the address of a LiveKit-compatible server, and is it recent enough?",
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its path below the server's address, the request, and what a token must allow."""

    path: str
    request: Message
    answer: type[Message]
    grant: VideoGrant
    timeout_s: float = TIMEOUT_S


def room_call(
    method: str, request: Message, grant: VideoGrant, *, timeout_s: float = TIMEOUT_S
) -> Call:
    """A call of a method of ``livekit.RoomService``."""
    service = room.DESCRIPTOR.services_by_name["RoomService"]
    answer = message_factory.GetMessageClass(service.methods_by_name[method].output_type)
    return Call(f"/twirp/{service.full_name}/{method}", request, answer, grant, timeout_s)


class ApiClient:
    """Makes calls with tokens of its own, each allowing what its call needs. Use ``async with``."""

    def __init__(self, url: str, api_key: str, api_secret: str) -> None:
        self.url = url
        self._base = http_url(url)
        self._api_key, self._api_secret = api_key, api_secret
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def token(self, grant: VideoGrant) -> str:
        """A token that allows this for :data:`TOKEN_TTL_S` seconds."""
        return mint(
            Grants(video=grant),
            api_key=self._api_key,
            api_secret=self._api_secret,
            ttl_s=TOKEN_TTL_S,
            now=SystemClock().wall(),
        )

    async def call(self, call: Call) -> Any:  # noqa: ANN401 - a message of type ``call.answer``
        """Make a call. Raises :class:`ApiError` and :class:`UnreachableError`."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        headers = {
            "Authorization": f"Bearer {self.token(call.grant)}",
            "Content-Type": "application/protobuf",
        }
        timeout = aiohttp.ClientTimeout(total=call.timeout_s)
        try:
            async with self._session.post(
                f"{self._base}{call.path}",
                data=call.request.SerializeToString(),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                body = await _read(response)
                status = response.status
        except TimeoutError:
            raise UnreachableError(self.url, f"no answer within {call.timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(self.url, error) from None
        if status != 200:
            raise refusal(self.url, status, body)
        answer = call.answer()
        try:
            answer.ParseFromString(body)
        except DecodeError:
            raise NoSuchServiceError(self.url, "its answer is not protobuf", status) from None
        return answer


def refusal(url: str, status: int, body: bytes) -> ApiError:
    """The error that an answer which is not 200 stands for."""
    text = body.decode("utf-8", "replace").strip()
    try:
        document = json.loads(text)
        message = str(document["msg"]).removeprefix(_CODED).strip()
        code = Code(document["code"])
    except (ValueError, KeyError, TypeError):
        # Not Twirp's: LiveKit answers tokens that it cannot read with plain words.
        if status in (401, 403):
            return ApiError(Code.UNAUTHENTICATED, text[:200] or f"status {status}", status=status)
        return NoSuchServiceError(url, f"it answers {status}", status)
    return ApiError(code, message or str(code), status=status)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > ANSWER_MAX:
            raise aiohttp.ClientPayloadError(f"an answer of more than {ANSWER_MAX} bytes")
    return bytes(body)
