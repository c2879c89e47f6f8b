"""Channels, the relay's order, the bus, the router."""

from __future__ import annotations

import asyncio

import pytest
from livekit.protocol import rtc

from lkpy.auth.grants import Grants
from lkpy.clock import ManualClock
from lkpy.errors import Code, LkpyError
from lkpy.ids import ConnectionID, NodeID, ParticipantIdentity, RoomName
from lkpy.server.routing.channel import ChannelClosed, ChannelFull, MessageChannel
from lkpy.server.routing.local_bus import LocalBus
from lkpy.server.routing.node import LocalNode, NodeStats
from lkpy.server.routing.relay import RelayBatch, RelayGap, RelayReader, RelayWriter
from lkpy.server.routing.router import LocalRouter
from lkpy.server.routing.signal_client import SignalClient
from lkpy.server.routing.signal_server import SignalServer
from lkpy.server.rtc.session import MessageSink, MessageSource, StartSession


def response(number: int) -> rtc.SignalResponse:
    return rtc.SignalResponse(pong=number)


async def test_channel_delivers_what_was_written_before_it_closed() -> None:
    channel: MessageChannel[rtc.SignalResponse] = MessageChannel("test", size=3)
    for number in range(3):
        channel.write(response(number))
    channel.close("done")
    assert [message.pong async for message in channel] == [0, 1, 2]
    assert channel.reason == "done"
    with pytest.raises(ChannelClosed, match="done"):
        channel.write(response(9))


async def test_a_full_channel_closes_and_drops() -> None:
    channel: MessageChannel[rtc.SignalResponse] = MessageChannel("test", size=2)
    closed: list[bool] = []
    channel.on_close(lambda: closed.append(True))
    channel.write(response(0))
    channel.write(response(1))
    with pytest.raises(ChannelFull, match="test channel is full"):
        channel.write(response(2))
    assert channel.closed
    assert closed == [True]
    assert [message async for message in channel] == []


async def test_a_waiting_reader_wakes_up() -> None:
    channel: MessageChannel[rtc.SignalResponse] = MessageChannel("test")
    reader = asyncio.ensure_future(anext(channel))
    await asyncio.sleep(0)
    channel.write(response(5))
    assert (await reader).pong == 5
    reader = asyncio.ensure_future(anext(channel))
    await asyncio.sleep(0)
    channel.close()
    with pytest.raises(StopAsyncIteration):
        await reader


async def test_what_is_taken_first_is_not_read() -> None:
    channel: MessageChannel[rtc.SignalRequest] = MessageChannel("test", size=2)
    ping = rtc.SignalRequest(ping_req=rtc.Ping(timestamp=1))
    offered: list[rtc.SignalRequest] = []

    def take(request: rtc.SignalRequest) -> bool:
        offered.append(request)
        return request.HasField("ping_req")

    mute = rtc.SignalRequest(mute=rtc.MuteTrackRequest(sid="TR_a"))
    channel.write(ping)
    channel.write(mute)
    channel.offer_first(take)
    for _ in range(10):
        channel.write(ping)
    assert len(channel) == 1
    assert offered == [ping, mute] + [ping] * 10
    channel.close()
    assert [request async for request in channel] == [mute]
    with pytest.raises(ChannelClosed):
        channel.write(ping)
    assert len(offered) == 12


def test_relay_trims_what_was_seen_and_refuses_gaps() -> None:
    writer: RelayWriter[rtc.SignalResponse] = RelayWriter()
    reader: RelayReader[rtc.SignalResponse] = RelayReader()
    first = writer.batch(response(1), response(2))
    second = writer.batch(response(3))
    last = writer.batch(close=True)
    assert (first.seq, second.seq, last.seq) == (1, 3, 4)
    assert [m.pong for m in reader.accept(first)] == [1, 2]
    assert reader.accept(first) == ()
    overlap = RelayBatch(2, (response(2), response(3)))
    assert [m.pong for m in reader.accept(overlap)] == [3]
    assert reader.accept(second) == ()
    assert reader.accept(last) == ()
    with pytest.raises(RelayGap) as gap:
        reader.accept(RelayBatch(6, (response(6),)))
    assert gap.value.code is Code.DATA_LOSS


class Handler:
    """Echoes pings as pongs; refuses who is called `refused`."""

    def __init__(self) -> None:
        self.sinks: list[MessageSink] = []
        self.given_up: list[str] = []
        self.ended: list[str] = []
        self._readers: list[asyncio.Task[None]] = []

    async def start_session(
        self, start: StartSession, sink: MessageSink, source: MessageSource
    ) -> None:
        if start.identity == "refused":
            raise LkpyError(Code.RESOURCE_EXHAUSTED, "full")
        if start.identity == "broken":
            raise RuntimeError("bug")
        if start.identity == "slow":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.given_up.append(start.identity)
                raise
        self.sinks.append(sink)
        sink.write(response(0))
        self._readers.append(asyncio.create_task(self._read(start, sink, source)))

    async def _read(self, start: StartSession, sink: MessageSink, source: MessageSource) -> None:
        async for request in source:
            sink.write(response(request.ping))
        self.ended.append(start.identity)


def start(identity: str) -> StartSession:
    return StartSession(
        RoomName("room"), ParticipantIdentity(identity), Grants(), ConnectionID("CO_x")
    )


@pytest.fixture
async def routed():
    bus, handler = LocalBus(), Handler()
    node = LocalNode(ip="127.0.0.1")
    server = SignalServer(node.id, bus, handler)
    server.start()
    router = LocalRouter(node, SignalClient(bus), ManualClock())
    router.set_node_for_room(RoomName("room"), node.id)
    yield router, handler, server
    await server.stop()


async def test_a_local_session_runs_over_the_bus(routed) -> None:
    router, handler, _ = routed
    connection = router.start_participant_signal(start("alice"))
    assert (await anext(connection.responses)).pong == 0
    for number in (4, 5):
        connection.requests.write(rtc.SignalRequest(ping=number))
        assert (await anext(connection.responses)).pong == number
    connection.close("bye")
    await asyncio.sleep(0)
    assert handler.ended == ["alice"]
    with pytest.raises(LkpyError):
        handler.sinks[0].write(response(1))
    assert handler.sinks[0].closed


async def test_when_the_room_closes_its_last_words_are_read(routed) -> None:
    router, handler, _ = routed
    connection = router.start_participant_signal(start("alice"))
    await anext(connection.responses)
    handler.sinks[0].write(response(9))
    handler.sinks[0].close("kicked")
    assert [message.pong async for message in connection.responses] == [9]
    with pytest.raises(LkpyError):
        connection.requests.write(rtc.SignalRequest(ping=1))


@pytest.mark.parametrize("identity", ["refused", "broken"])
async def test_a_refused_session_ends_without_a_response(routed, identity: str) -> None:
    router, _, _ = routed
    connection = router.start_participant_signal(start(identity))
    assert [message async for message in connection.responses] == []


async def test_whoever_gives_up_before_the_session_has_started_ends_its_start(routed) -> None:
    router, handler, server = routed
    connection = router.start_participant_signal(start("slow"))
    await asyncio.sleep(0)
    connection.close("no first response")
    await asyncio.sleep(0)
    assert handler.given_up == ["slow"]
    await asyncio.sleep(0)
    assert not server._starting


async def test_stopping_gives_up_joins_that_hang(routed) -> None:
    router, _, server = routed
    connection = router.start_participant_signal(start("slow"))
    await asyncio.sleep(0)
    await server.stop()
    assert connection.responses.closed
    with pytest.raises(LkpyError, match="no response from servers"):
        router.start_participant_signal(start("late"))


async def test_a_slow_reader_loses_the_stream(routed) -> None:
    router, handler, _ = routed
    connection = router.start_participant_signal(start("alice"))
    await anext(connection.responses)
    for number in range(200):
        handler.sinks[0].write(response(number))
    with pytest.raises(ChannelFull):
        handler.sinks[0].write(response(200))
    assert handler.sinks[0].closed
    assert connection.responses.closed
    await asyncio.sleep(0)
    assert handler.ended == ["alice"]


def test_router_places_rooms_and_drains() -> None:
    node = LocalNode(ip="127.0.0.1")
    router = LocalRouter(node, SignalClient(LocalBus()), ManualClock())
    room = RoomName("room")
    assert router.node_for_room(room) is None
    with pytest.raises(LkpyError) as lost:
        router.start_participant_signal(start("alice"))
    assert lost.value.code is Code.NOT_FOUND
    assert router.available_nodes() == [node.id]
    router.set_node_for_room(room, NodeID("ND_x"))
    assert router.node_for_room(room) == "ND_x"
    router.clear_room(room)
    router.clear_room(room)
    assert router.node_for_room(room) is None
    router.drain()
    assert router.available_nodes() == []


def test_node_health_follows_its_statistics() -> None:
    clock = ManualClock()
    router = LocalRouter(LocalNode(ip="127.0.0.1"), SignalClient(LocalBus()), clock)
    assert not router.node.is_fresh(clock.wall())
    router.update_stats(NodeStats(num_tracks_in=2, num_tracks_out=3))
    assert router.num_tracks() == 5
    clock.advance(4)
    assert router.node.is_fresh(clock.wall())
    clock.advance(0.1)
    assert not router.node.is_fresh(clock.wall())
