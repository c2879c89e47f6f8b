"""A server from outside: tokens, Twirp calls, raw signal connections. Media is in :mod:`media`.

Nothing of ``lkpy.server`` is used, so that the suite says the same of any server.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import aiohttp
import jwt
from google.protobuf import json_format
from google.protobuf.message import Message
from livekit.protocol import models, rtc

from tests.patience import PATIENCE_S, Lateness, pass_time

PROTOCOL = 16
"""Signal protocol version that the raw clients announce unless told otherwise."""

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Target:
    """A server and a key that it trusts."""

    url: str
    """``http://host:port``."""
    key: str
    secret: str
    ours: bool
    """Whether the suite started it: then it is lkpy with development settings."""

    def token(
        self,
        identity: str = "",
        room: str = "",
        *,
        ttl_s: float = 3600,
        claims: dict[str, Any] | None = None,
        secret: str | None = None,
        **video: Any,
    ) -> str:
        """A token with the VideoGrant ``video`` (camelCase); with ``room`` it may join there.
        ``claims`` are merged in at the top level, None deletes one."""
        if room:
            video = {"roomJoin": True, "room": room} | video
        now = int(time.time())
        payload: dict[str, Any] = {"iss": self.key, "nbf": now - 5, "exp": now + int(ttl_s)}
        payload |= {"sub": identity} if identity else {}
        payload |= {"video": video} if video else {}
        payload |= claims or {}
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, self.secret if secret is None else secret, algorithm="HS256")


class TwirpError(Exception):
    """A refused call: HTTP status and the body's ``code`` and ``msg``."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.code: str = body.get("code", "")
        self.message: str = body.get("msg", "")
        self.meta: dict[str, str] = body.get("meta", {})


@dataclass(slots=True)
class Closed:
    """How a signal connection ended."""

    code: int | None


class Refused(Exception):
    """The upgrade was refused; ``body`` is what a plain GET of the same address says."""

    def __init__(self, status: int, body: str = "") -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


class Signal:
    """One signal connection. Everything received is kept in order in :attr:`log`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.log: list[rtc.SignalResponse] = []
        self.text_frames = 0
        """Responses that came as JSON."""
        self.closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self.on_response: list[Callable[[rtc.SignalResponse], None]] = []
        self._socket = socket
        self._taken: set[int] = set()
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                response = rtc.SignalResponse()
                if message.type is aiohttp.WSMsgType.BINARY:
                    response.ParseFromString(message.data)
                elif message.type is aiohttp.WSMsgType.TEXT:
                    json_format.Parse(message.data, response)
                    self.text_frames += 1
                else:
                    break
                async with self._changed:
                    self.log.append(response)
                    self._changed.notify_all()
                for listener in self.on_response:
                    listener(response)
        finally:
            async with self._changed:
                if not self.closed.done():
                    self.closed.set_result(Closed(self._socket.close_code))
                self._changed.notify_all()

    @property
    def kinds(self) -> list[str]:
        """Names of the responses so far, in order."""
        return [response.WhichOneof("message") or "" for response in self.log]

    def all(self, kind: str) -> list[Any]:
        """The responses of one kind so far."""
        return [getattr(r, kind) for r in self.log if r.WhichOneof("message") == kind]

    @property
    def join(self) -> rtc.JoinResponse:
        """The first response."""
        assert self.kinds[:1] == ["join"], self.kinds
        return self.log[0].join

    async def send(self, **message: Any) -> None:
        """Send ``SignalRequest(**message)``."""
        await self._socket.send_bytes(rtc.SignalRequest(**message).SerializeToString())

    async def send_raw(self, frame: bytes | str) -> None:
        """Send any frame."""
        if isinstance(frame, bytes):
            await self._socket.send_bytes(frame)
        else:
            await self._socket.send_str(frame)

    async def expect(
        self,
        kind: str,
        where: Callable[[Any], bool] = lambda _: True,
        *,
        timeout_s: float = PATIENCE_S,
    ) -> Any:
        """The first response of ``kind`` that fulfils ``where`` and was not returned before."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                while True:
                    for index, response in enumerate(self.log):
                        if index in self._taken or response.WhichOneof("message") != kind:
                            continue
                        value = getattr(response, kind)
                        if where(value):
                            self._taken.add(index)
                            return value
                    if self.closed.done():
                        raise AssertionError(f"closed without {kind}; received {self.kinds}")
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {kind} in {timeout_s} s; received {self.kinds}") from None

    async def expect_participant(
        self, identity: str, where: Callable[[models.ParticipantInfo], bool] = lambda _: True
    ) -> models.ParticipantInfo:
        """The first update in which the participant fulfils ``where``."""

        def matches(update: rtc.ParticipantUpdate) -> bool:
            return any(p.identity == identity and where(p) for p in update.participants)

        update = await self.expect("update", matches)
        return next(p for p in update.participants if p.identity == identity and where(p))

    async def never(self, kind: str, within_s: float) -> None:
        """Nothing of ``kind`` comes for a while."""
        before = len(self.all(kind))
        await pass_time(within_s)
        assert len(self.all(kind)) == before, self.all(kind)[before:]

    async def ended(self, timeout_s: float = PATIENCE_S) -> Closed:
        """Wait until the server has closed the connection."""
        return await asyncio.wait_for(asyncio.shield(self.closed), timeout_s)

    async def close(self) -> None:
        """Close the socket. Idempotent."""
        await self._socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)

    def drop(self) -> None:
        """Lose the connection: no close frame."""
        response = self._socket._response  # aiohttp has no public way to lose one
        if response.connection is not None and response.connection.transport is not None:
            response.connection.transport.abort()


def wrap(request: rtc.JoinRequest, *, compress: bool = False) -> str:
    """The ``join_request`` parameter."""
    data = request.SerializeToString()
    wrapped = rtc.WrappedJoinRequest(join_request=data)
    if compress:
        wrapped.compression = rtc.WrappedJoinRequest.Compression.GZIP
        wrapped.join_request = gzip.compress(data, mtime=0)
    return base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()


@dataclass
class Lobby:
    """A room of its own name on the target; leaving the context closes what was opened."""

    target: Target
    session: aiohttp.ClientSession
    room: str = field(default_factory=lambda: f"conformance-{uuid.uuid4().hex[:10]}")
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        with contextlib.suppress(TwirpError, aiohttp.ClientError):
            await self.call("DeleteRoom", {"room": self.room}, Message, roomCreate=True)

    def opened(self, close: Callable[[], Any]) -> None:
        """Await ``close()`` at the end."""
        self._stack.push_async_callback(close)

    # -- time -----------------------------------------------------------------------------------

    async def pause(self, seconds: float) -> None:
        """Let time pass in which the server and this process ran on time."""
        await pass_time(seconds, self._probe)

    def lateness(self) -> Lateness:
        """How late the server and this process ran inside the context."""
        return Lateness(self._probe)

    async def _probe(self) -> None:
        await self.get("/")

    # -- HTTP -----------------------------------------------------------------------------------

    async def get(
        self, path: str, token: str | None = None, *, method: str = "GET", **options: Any
    ) -> tuple[int, str, Any]:
        """A plain request: status, body, headers."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = f"{self.target.url}{path}"
        async with self.session.request(method, url, headers=headers, **options) as response:
            return response.status, await response.text(), response.headers

    async def call(
        self,
        method: str,
        request: Message | dict[str, Any],
        answer: type[M],
        *,
        service: str = "RoomService",
        token: str | None = None,
        as_json: bool | None = None,
        request_id: str = "",
        **video: Any,
    ) -> M:
        """One Twirp call with a token of the VideoGrant ``video`` (default: admin of the lobby's
        room). Protobuf, or JSON for a dict. Raises :class:`TwirpError`. ``answer`` Message: the
        answer is not read."""
        if token is None:
            grant = video or {"roomAdmin": True, "room": self.room}
            token = self.target.token("api", **grant)
        as_json = isinstance(request, dict) if as_json is None else as_json
        if isinstance(request, Message):
            body = (
                json_format.MessageToJson(request).encode()
                if as_json
                else request.SerializeToString()
            )
        else:
            body = json.dumps(request).encode()
        content_type = "application/json" if as_json else "application/protobuf"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        if request_id:
            headers["X-Livekit-Request-Id"] = request_id
        url = f"{self.target.url}/twirp/livekit.{service}/{method}"
        async with self.session.post(url, data=body, headers=headers) as response:
            data = await response.read()
            if response.status != 200:
                try:
                    raise TwirpError(response.status, json.loads(data))
                except json.JSONDecodeError:
                    raise TwirpError(response.status, {"msg": data.decode()}) from None
        if answer is Message:
            return None  # type: ignore[return-value]
        parsed = answer()
        if as_json:
            json_format.Parse(data, parsed)
        else:
            parsed.ParseFromString(data)
        return parsed

    # -- signalling -----------------------------------------------------------------------------

    async def signal(
        self,
        identity: str = "",
        *,
        single: bool = False,
        path: str | None = None,
        token: str | None = None,
        params: dict[str, Any] | None = None,
        join: rtc.JoinRequest | None = None,
        protocol: int = PROTOCOL,
        sdk: str = "js",
        claims: dict[str, Any] | None = None,
        first: bool = True,
        compress: int = 0,
        **video: Any,
    ) -> Signal:
        """Open a raw signal connection: ``/rtc`` with query parameters, or with ``single``
        ``/rtc/v1`` with a ``JoinRequest``. Waits for the first response unless ``first`` is false.
        Raises :class:`Refused`."""
        token = token or self.target.token(identity, self.room, claims=claims, **video)
        query: dict[str, Any] = {"access_token": token}
        if single or join is not None:
            join = join or rtc.JoinRequest(
                client_info=models.ClientInfo(
                    sdk=models.ClientInfo.SDK.Value(sdk.upper()), protocol=protocol
                ),
                connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
            )
            query["join_request"] = wrap(join)
        else:
            query |= {"protocol": protocol, "sdk": sdk, "auto_subscribe": "1"}
        query |= params or {}
        path = path or ("/rtc/v1" if single else "/rtc")
        url = f"{self.target.url}{path}?{urlencode(query)}"
        try:
            socket = await self.session.ws_connect(url, compress=compress, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(error.status) from None
        signal = Signal(socket)
        self.opened(signal.close)
        if first:
            async with asyncio.timeout(PATIENCE_S), signal._changed:
                await signal._changed.wait_for(lambda: signal.log or signal.closed.done())
        return signal


@contextlib.asynccontextmanager
async def within(seconds: float, what: str) -> AsyncIterator[None]:
    """Fail with words when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds} s") from None


async def until(
    condition: Callable[[], Any], what: str = "condition", *, timeout_s: float = PATIENCE_S
) -> None:
    """Poll until ``condition()`` is true."""
    async with within(timeout_s, what):
        while not condition():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.02)
