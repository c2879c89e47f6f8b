"""What somebody without a token can make the server hold: rows W1 and J5.

Bytes are counted by the server itself (``lkpy_http_unauthenticated_bytes``); the fixture looks at
their most, and that nothing is left of them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from livekit.protocol import rtc

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import TokenError, verify
from lkpy.limits import HTTP_HEADER_MAX, HTTP_UNAUTHENTICATED_MAX
from lkpy.server.http.guard import Connection, Refusal, Unauthenticated
from tests.control_plane import KEY, SECRET, Harness, receive, running
from tests.patience import PATIENCE_S

LIST = b"POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: h\r\n"
JSON = b"Content-Type: application/json\r\n"
Socket = tuple[asyncio.StreamReader, asyncio.StreamWriter]
READ = 16 * 1024


class Most:
    """The most that was held by one connection and by all."""

    one = 0
    all = 0


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> Most:
    seen = Most()
    hold = Unauthenticated.hold

    def watched(self: Unauthenticated, connection: Connection, size: int) -> None:
        hold(self, connection, size)
        seen.one = max(seen.one, self._holders.get(connection, 0))
        seen.all = max(seen.all, self.held)

    monkeypatch.setattr(Unauthenticated, "hold", watched)
    return seen


@pytest.fixture
async def server(most: Most) -> AsyncIterator[Harness]:
    async with running() as harness:
        yield harness
        healthy = await harness.join(harness.token("healthy"))
        assert (await receive(healthy)).join.participant.identity == "healthy"
        await until(lambda: not held(harness).held and not held(harness).connections)


def held(server: Harness) -> Unauthenticated:
    return server.server._unauthenticated


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not happened():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def connect(server: Harness) -> Socket:
    return await asyncio.open_connection("127.0.0.1", int(server.server.url.rpartition(":")[2]))


async def send(socket: Socket, *chunks: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for chunk in chunks:
            socket[1].write(chunk)
            await socket[1].drain()


async def answer_of(socket: Socket) -> bytes:
    """Everything until the server ends the connection, which it must."""
    text = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_S):
            while chunk := await socket[0].read(65536):
                text += chunk
    socket[1].close()
    return text


async def ask(server: Harness, *chunks: bytes) -> bytes:
    socket = await connect(server)
    sending = asyncio.create_task(send(socket, *chunks))
    answer = await answer_of(socket)
    sending.cancel()
    return answer


# -- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [
        [b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X: " + b"a" * 60_000 + b"\r\n"] * 50],
        [b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X-%d: b\r\n" % n * 2000 for n in range(50)]],
        [b"GET /" + b"a" * 1_500_000],
        [b"GET /rtc?join_request=" + b"a" * 1_500_000],
        [b"GET /rtc HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_500_000],
        [b"a" * 1_500_000],
    ],
    ids=["fields", "many fields", "line", "line of rtc", "field of rtc", "noise"],
)
async def test_row_w1_a_header_without_end(
    server: Harness, most: Most, chunks: list[bytes]
) -> None:
    answer = await ask(server, *chunks)
    assert not answer or answer.split(b" ")[1] in (b"400", b"414", b"431")
    long_line = chunks[0].startswith(b"GET /rtc?")
    assert most.one <= (1024 * 1024 + 4096 if long_line else HTTP_HEADER_MAX) + READ


async def test_row_w1_all_connections_together(server: Harness, most: Most) -> None:
    """More clients than there is room for: the first ones lose, nobody else."""
    count = HTTP_UNAUTHENTICATED_MAX // 60_000 + 40
    sockets = [await connect(server) for _ in range(count)]
    for socket in sockets:
        await send(socket, b"GET / HTTP/1.1\r\nX: " + b"a" * 60_000)
    first = await asyncio.gather(*(answer_of(socket) for socket in sockets[:20]))
    assert {answer.split(b"\r\n")[0] for answer in first} <= {
        b"HTTP/1.1 503 Service Unavailable",
        b"",
    }
    # Several connections may be read before one of them is counted, but none is kept.
    assert most.all <= HTTP_UNAUTHENTICATED_MAX
    assert held(server).refused[Refusal.TOO_MUCH_HELD] >= 20
    assert (await receive(await server.join(server.token("alice")))).HasField("join")
    for socket in sockets[20:]:
        socket[1].close()


async def test_row_w1_long_lines_lose_first(server: Harness, most: Most) -> None:
    patient = await connect(server)
    await send(patient, b"GET / HTTP/1.1\r\nHost: x\r\n")
    long = [await connect(server) for _ in range(12)]
    for socket in long:
        await send(socket, b"GET /rtc/v1?join_request=" + b"a" * 1_000_000)
    await until(lambda: held(server).refused[Refusal.TOO_MUCH_HELD] > 0)
    await send(patient, b"Connection: close\r\n\r\n")
    assert (await answer_of(patient)).endswith(b"OK")
    assert most.all <= HTTP_UNAUTHENTICATED_MAX
    for socket in long:
        socket[1].close()


async def test_a_long_join_request_is_taken(server: Harness) -> None:
    """A client with hundreds of tracks resumes with descriptions of some hundred kilobytes."""
    grants = Grants(
        identity="alice",
        video=VideoGrant(room_join=True, room="lobby", can_update_own_metadata=True),
    )
    join = rtc.JoinRequest(metadata=secrets.token_hex(200_000))
    socket = await server.join(server.token_for(grants), join=join)
    assert (await receive(socket)).join.participant.metadata == join.metadata


# -- time ----------------------------------------------------------------------------------------


async def test_row_w1_empty_lines_are_no_header(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkpy.server.http.guard.HTTP_HEADER_TIMEOUT_S", 0.3)
    socket = await connect(server)
    await send(socket, b"\r\n\r\n")
    assert await answer_of(socket) == b""
    socket = await connect(server)
    await send(socket, b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await answer_of(socket)).endswith(b"OK")


async def test_row_w1_a_slow_header_of_a_later_request(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = await connect(server)
    await send(socket, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await socket[0].readuntil(b"\r\n\r\nOK")).startswith(b"HTTP/1.1 200")
    monkeypatch.setattr("lkpy.server.http.guard.HTTP_HEADER_TIMEOUT_S", 0.3)
    await send(socket, b"GET / HT")
    assert await answer_of(socket) == b""
    assert held(server).refused[Refusal.SLOW_HEADER] == 1


async def test_row_w1_an_answer_that_nobody_reads(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkpy.server.http.guard.HTTP_WRITE_TIMEOUT_S", 0.3)
    monkeypatch.setattr("lkpy.server.http.service.not_found", lambda *_: _large(), raising=True)
    socket = await connect(server)
    await send(socket, b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: held(server).refused[Refusal.SLOW_READER] > 0)
    socket[1].close()


async def _large() -> web.Response:
    return web.Response(body=bytes(64_000_000))


# -- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "length", [b"Content-Length: 9000000\r\n", b"Transfer-Encoding: chunked\r\n"]
)
async def test_a_bad_token_is_refused_before_its_body(
    server: Harness, most: Most, length: bytes
) -> None:
    """The answer comes though no byte of the body does, and though the client sends on."""
    for body in ([], [b"a" * 100_000] * 50):
        head = LIST + JSON + b"Authorization: Bearer a.b.c\r\n" + length + b"\r\n"
        answer = await ask(server, head, *body)
        assert not answer or answer.startswith(b"HTTP/1.1 401")
        assert answer or body
    assert most.one <= HTTP_HEADER_MAX


async def test_a_body_without_a_token(server: Harness, most: Most) -> None:
    head = LIST + JSON + b"Connection: close\r\nContent-Length: %d\r\n\r\n"
    short = await ask(server, head % 1, b"[")
    assert b"400 Bad Request" in short
    assert b"malformed" in short, "a short body is looked at first, as in LiveKit"
    long = await ask(server, head % 100_000)
    assert long.startswith(b"HTTP/1.1 401")
    chunk = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"
    endless = await ask(server, LIST + JSON + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 100)
    assert not endless or endless.split(b" ")[1] in (b"413", b"401")
    assert most.one <= HTTP_HEADER_MAX + READ


async def test_a_long_body_with_a_token(server: Harness) -> None:
    request = {"room": "lobby", "metadata": "a" * 400_000}
    token = server.token(room_create=True)
    assert (await server.twirp("CreateRoom", {"name": "lobby"}, token))[0] == 200
    token = server.token(room_admin=True, room="lobby")
    status, answer = await server.twirp("UpdateRoomMetadata", request, token)
    assert (status, len(answer["metadata"])) == (200, 400_000)


async def test_a_long_form_needs_a_token_before_it(server: Harness) -> None:
    head = (
        b"POST /rtc/validate HTTP/1.1\r\nHost: h\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n\r\n"
    )
    assert (await ask(server, head)).startswith(b"HTTP/1.1 401")


async def test_row_w3_a_compressed_body_is_not_inflated(server: Harness) -> None:
    body = zlib.compress(b" " * 50_000_000)
    head = LIST + JSON + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n" % len(body)
    assert len(body) < HTTP_HEADER_MAX // 8 * 7
    began = time.process_time()
    assert b" 400 " in (await ask(server, head + b"Connection: close\r\n\r\n" + body))[:40]
    assert time.process_time() - began < 1


async def test_a_client_that_goes_away_is_no_error(
    server: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "lkpy")
    for authorization in (b"", b"Authorization: Bearer " + server.token().encode() + b"\r\n"):
        for length in (b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n"):
            for end in ("close", "abort"):
                socket = await connect(server)
                await send(socket, LIST + JSON + authorization + length + b"\r\n")
                await asyncio.sleep(0.02)
                getattr(socket[1].transport, end)()
    await until(lambda: sum("client went away" in line for line in caplog.messages) == 8)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_body_that_breaks_the_rules(
    server: Harness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkpy.server.http.body.HTTP_BODY_TIMEOUT_S", 0.3)
    caplog.set_level(logging.DEBUG, "lkpy")
    head = LIST + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await ask(server, head, b"zz\r\n")
    assert answer.split(b" ")[1] in (b"400", b"408")
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_handler_that_takes_too_long_is_no_slow_body(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*_: object) -> object:
        raise TimeoutError

    monkeypatch.setattr("lkpy.server.http.service.not_found", late)
    assert await server.get("/nope") == (500, "")


# -- one after the other ---------------------------------------------------------------------------


async def test_row_w13_requests_sent_ahead_are_answered_in_order(server: Harness) -> None:
    body = b"{}"
    post = LIST + JSON + b"Content-Length: 2\r\n\r\n" + body
    get = b"GET /%s HTTP/1.1\r\nHost: h\r\n%s\r\n"
    stream = get % (b"", b"") + post + get % (b"nope", b"") + get % (b"", b"Connection: close\r\n")
    for size in (len(stream), 7, 64):
        answer = await ask(server, *(stream[i : i + size] for i in range(0, len(stream), size)))
        statuses = re.findall(rb"HTTP/1.1 (\d+)", answer)
        assert statuses == [b"200", b"401", b"404", b"200"], size


async def test_row_w13_no_request_hides_in_another(server: Harness) -> None:
    hidden = b"GET /rtc/validate HTTP/1.1\r\nHost: h\r\n\r\n"
    for length in (
        b"Content-Length: 0\r\nContent-Length: 45\r\n",
        b"Content-Length: 45\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length: +45\r\n",
        b"Content-Length : 45\r\n",
        b"Content-Length:\r\n 45\r\n",
    ):
        head = b"POST / HTTP/1.1\r\nHost: h\r\n" + length + b"\r\n"
        answer = await ask(server, head + b"0\r\n\r\n" + hidden)
        statuses = re.findall(rb"HTTP/1.1 (\d+)", answer)
        assert statuses in ([b"400"], []), (length, statuses)


# -- tokens ----------------------------------------------------------------------------------------


def _large_tokens() -> list[str]:
    def part(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    head = part('{"alg":"HS256"}')
    dense = part('{"iss":"nobody","x":[' + ",".join(["[]"] * 250_000) + "]}")
    return [f"{head}.{dense}.x", "." * 1_000_000, "a" * 1_000_000, f"{'a' * 500_000}.{dense}.x"]


def test_row_j5_a_large_token_costs_nothing() -> None:
    for token in _large_tokens():
        began = time.process_time()
        for _ in range(20):
            with pytest.raises(TokenError, match=r"^invalid authorization token$"):
                verify(token, {KEY: SECRET}, now=0)
        assert (time.process_time() - began) / 20 < 0.001


def test_row_j5_the_largest_token_that_is_looked_at() -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    token = f"{part({'alg': 'HS256'})}.{part({'iss': 'x', 'y': [[]] * 11_000})}.x"
    assert 50_000 < len(token) < 64_000
    costs = []
    for _ in range(20):
        began = time.thread_time()
        with pytest.raises(TokenError):
            verify(token, {KEY: SECRET}, now=0)
        costs.append(time.thread_time() - began)
    # The cheapest: a processor that others use too is slower for a while.
    assert min(costs) < 0.02


async def test_row_j5_a_large_token_over_http(server: Harness, most: Most) -> None:
    for token in _large_tokens():
        head = f"GET /rtc/validate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        answer = await ask(server, head.encode())
        assert not answer or answer.split(b" ")[1] in (b"431", b"401")
    assert most.one <= HTTP_HEADER_MAX + READ
    status, _ = await server.get(f"/rtc/validate?access_token={'a' * 200_000}")
    assert status == 401


async def test_a_client_that_asks_before_it_sends(server: Harness) -> None:
    """``Expect: 100-continue``: the header is answered first, whatever becomes of the body."""
    headers = LIST + JSON + b"Expect: 100-continue\r\nContent-Length: 2\r\n"
    known = b"Authorization: Bearer " + server.token(room_list=True).encode() + b"\r\n\r\n"
    socket = await connect(server)
    await send(socket, headers + known)
    assert (await socket[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    await send(socket, b"{}")
    assert (await socket[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    socket[1].close()
    answer = await ask(server, headers + b"Authorization: Bearer a.b.c\r\n\r\n")
    assert b"HTTP/1.1 401" in answer
    answer = await ask(server, headers.replace(b"100-continue", b"tea") + b"\r\n{}")
    assert answer.startswith(b"HTTP/1.1 417")


@pytest.mark.parametrize(
    "request_line",
    [b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"],
    ids=["options", "connect"],
)
async def test_what_no_handler_gets_ends_the_connection(
    server: Harness, request_line: bytes
) -> None:
    """aiohttp answers it by itself: a request after it would wait for ever."""
    port = int(server.server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_line)
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert answer.startswith(b"HTTP/1.1 4")
    writer.close()
