"""The signal socket: frames, encodings, pings, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os

import aiohttp
import pytest
from livekit.protocol import models, rtc

from lkpy.errors import LkpyError
from tests.control_plane import Harness, receive, running
from tests.patience import PATIENCE_S


@pytest.fixture
async def server():
    async with running() as harness:
        yield harness


@pytest.fixture
async def socket(server: Harness):
    socket = await server.join(server.token())
    assert (await receive(socket)).WhichOneof("message") == "join"
    yield socket
    await socket.close()


async def send(socket: aiohttp.ClientWebSocketResponse, **fields: object) -> None:
    await socket.send_bytes(rtc.SignalRequest(**fields).SerializeToString())


async def test_pings_are_answered_at_the_socket(server: Harness, socket) -> None:
    await send(socket, ping=5)
    assert (await receive(socket)).pong > 1_600_000_000_000
    await send(socket, ping_req=rtc.Ping(timestamp=1234, rtt=9))
    pong = (await receive(socket)).pong_resp
    assert pong.last_ping_timestamp == 1234
    assert pong.timestamp > 1_600_000_000_000
    await asyncio.wait_for(server.media.rooms["lobby"].received.wait(), PATIENCE_S)
    kinds = [r.WhichOneof("message") for r in server.media.rooms["lobby"].requests]
    assert kinds == ["ping_req"], "the room learns that the client is there"


async def test_answers_come_in_the_encoding_of_the_last_frame(server: Harness, socket) -> None:
    await socket.send_str(json.dumps({"ping": "5"}))
    assert "pong" in json.loads(await socket.receive_str(timeout=PATIENCE_S))
    sink = server.media.rooms["lobby"].sinks["alice"]
    sink.write(rtc.SignalResponse(refresh_token="next"))
    assert json.loads(await socket.receive_str(timeout=PATIENCE_S)) == {"refreshToken": "next"}
    await send(socket, ping=5)
    assert (await receive(socket)).WhichOneof("message") == "pong"


async def test_requests_reach_the_room_in_order(server: Harness, socket) -> None:
    for sid in ("TR_1", "TR_2", "TR_3"):
        await send(socket, mute=rtc.MuteTrackRequest(sid=sid, muted=True))
    await send(socket, ping=1)
    await receive(socket)
    room = server.media.rooms["lobby"]
    while len(room.requests) < 3:
        room.received.clear()
        await room.received.wait()
    assert [request.mute.sid for request in room.requests] == ["TR_1", "TR_2", "TR_3"]


async def test_leave_is_echoed_then_the_socket_closes_normally(socket) -> None:
    await send(socket, leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))
    assert (await receive(socket)).leave.reason == models.DisconnectReason.CLIENT_INITIATED
    message = await socket.receive(timeout=PATIENCE_S)
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert (message.data, message.extra) == (1000, "")


async def test_what_the_room_says_last_is_flushed(server: Harness, socket) -> None:
    sink = server.media.rooms["lobby"].sinks["alice"]
    for number in range(50):
        sink.write(rtc.SignalResponse(refresh_token=str(number)))
    sink.close("done")
    received = [(await receive(socket)).refresh_token for _ in range(50)]
    assert received == [str(number) for number in range(50)]
    assert (await socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE


async def test_an_unknown_request_is_ignored(server: Harness, socket) -> None:
    # Field 99 as a varint: a request that is not invented yet.
    await socket.send_bytes(b"\x98\x06\x01")
    await socket.send_str('{"tomorrow": {}}')
    await send(socket, ping=1)
    assert (await receive(socket)).WhichOneof("message") == "pong"
    assert server.media.rooms["lobby"].requests == []


@pytest.mark.parametrize("frame", [b"\xff\xff\xff", "not json", "[]"])
async def test_an_undecodable_frame_closes_the_socket(socket, frame: bytes | str) -> None:
    await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_str(frame))
    message = await socket.receive(timeout=PATIENCE_S)
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert message.data == 1000


async def test_a_frame_over_the_limit_closes_with_1009() -> None:
    async with running({"limit": {"signal_message_size_limit": 4096}}) as server:
        socket = await server.join(server.token())
        await receive(socket)
        await socket.send_bytes(b"\x00" * 5000)
        message = await socket.receive(timeout=PATIENCE_S)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)


async def test_the_code_is_read_by_a_client_that_is_still_sending(server: Harness) -> None:
    """Also after a frame of which most is still on its way."""
    socket = await server.join(server.token())
    await receive(socket)
    await socket.send_bytes(bytes(2 * 1024 * 1024 + 1))
    message = await socket.receive(timeout=PATIENCE_S)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)


async def test_a_compressed_frame_is_limited_by_what_it_inflates_to() -> None:
    async with running({"limit": {"signal_message_size_limit": 4096}}) as server:
        socket = await server.join(server.token(), compress=15)
        assert socket.compress
        await receive(socket)
        await socket.send_bytes(b"\x00" * 1_000_000)
        assert (await socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE
        assert (await receive(await server.join(server.token("bob")))).HasField("join")


async def test_permessage_deflate_is_negotiated_and_used(server: Harness) -> None:
    socket = await server.join(server.token(), compress=15)
    assert socket.compress
    assert (await receive(socket)).join.participant.identity == "alice"


async def test_compressed_messages_of_many_sockets_stand_alone(server: Harness) -> None:
    """All sockets share one compressor, also for messages that are large."""
    sockets = [await server.join(server.token(f"p{i}"), compress=15) for i in range(3)]
    for socket in sockets:
        extensions = socket._response.headers["Sec-WebSocket-Extensions"]
        assert extensions == (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        )
        await receive(socket)
    sinks = server.media.rooms["lobby"].sinks
    tokens = ["same" * 10, "same" * 20_000, "same" * 11, os.urandom(90_000).hex(), "same" * 12]
    for token in tokens:
        for sink in sinks.values():
            sink.write(rtc.SignalResponse(refresh_token=token))
    for socket in sockets:
        assert [(await receive(socket)).refresh_token for _ in tokens] == tokens


async def test_an_unknown_extension_or_protocol_is_not_answered(server: Harness) -> None:
    headers = {"Sec-WebSocket-Extensions": "x-webkit", "Sec-WebSocket-Protocol": "chat"}
    socket = await server.join(server.token(), headers=headers)
    await receive(socket)
    answered = socket._response.headers
    assert not {"Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Vary"} & answered.keys()


async def test_control_pings(monkeypatch: pytest.MonkeyPatch, server: Harness) -> None:
    monkeypatch.setattr("lkpy.server.http.signal_socket.WS_PING_INTERVAL_S", 0.01)
    monkeypatch.setattr("lkpy.server.http.signal_socket.WS_PING_TICK_S", 0.01)
    socket = await server.join(server.token(), autoping=False)
    await receive(socket)
    assert (await socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.PING


async def test_a_client_that_pings_gets_no_control_pings(
    monkeypatch: pytest.MonkeyPatch, server: Harness
) -> None:
    monkeypatch.setattr("lkpy.server.http.signal_socket.WS_PING_INTERVAL_S", 1.0)
    socket = await server.join(server.token(), autoping=False)
    await receive(socket)
    ping = rtc.SignalRequest(ping_req=rtc.Ping(timestamp=1)).SerializeToString()
    for _ in range(15):
        await socket.send_bytes(ping)
        assert (await receive(socket)).HasField("pong_resp")
        await asyncio.sleep(0.1)
    assert (await socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.PING


async def test_a_client_that_goes_away_ends_the_rooms_source(server: Harness, socket) -> None:
    room = server.media.rooms["lobby"]
    reader = next(iter(room._readers))
    await socket.close()
    await asyncio.wait_for(reader, PATIENCE_S)
    assert room.sinks["alice"].closed


async def test_a_client_that_does_not_read_loses_its_connection(server: Harness) -> None:
    """200 messages wait at most; the room's write says so and the socket ends."""
    socket = await server.join(server.token(), compress=0)
    await receive(socket)
    socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]
    sink = server.media.rooms["lobby"].sinks["alice"]
    filler = rtc.SignalResponse(refresh_token=os.urandom(256 * 1024).hex())

    async def write_until_refused() -> None:
        while True:
            sink.write(filler)
            await asyncio.sleep(0)

    with pytest.raises(LkpyError, match="full"):
        await asyncio.wait_for(write_until_refused(), PATIENCE_S)
    assert sink.closed
    await asyncio.wait_for(server.server._rtc.sockets.wait_empty(), PATIENCE_S)
