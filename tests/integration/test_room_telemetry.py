"""What a room tells its listeners, and in which order."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from lkpy.engine.api import DataChannelOverflow, DataReceived
from lkpy.server.rtc.participant import Reason
from lkpy.server.telemetry.events import (
    NO_TELEMETRY,
    DataStreamBegan,
    MessageDropped,
    ParticipantActive,
    ParticipantLeft,
    QualityMeasured,
    RoomEnded,
    RoomStarted,
    Telemetry,
    TelemetryEvent,
    TrackUnpublished,
    TransportChanged,
)
from tests.room_kit import camera, microphone, running


def names(told: list[TelemetryEvent]) -> list[str]:
    return [type(event).__name__ for event in told]


async def test_a_session_is_told_in_the_order_in_which_it_happens() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone())
        await world.room.close(Reason.SERVER_SHUTDOWN)
        assert names(world.told) == [
            "RoomStarted",
            "ParticipantJoined",
            "TransportChanged",
            "TransportChanged",
            "ParticipantActive",
            "TrackPublishRequested",
            "TrackPublished",
            "TrackUnpublished",
            "ParticipantLeft",
            "RoomEnded",
        ]
        states = [event.state for event in world.told if isinstance(event, TransportChanged)]
        assert states == ["ice_connected", "connected"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Reason.ROOM_DELETED, "ROOM_END_API_DELETE"),
        (Reason.SERVER_SHUTDOWN, "ROOM_END_SERVER_SHUTDOWN"),
        (Reason.UNKNOWN_REASON, "ROOM_END_UNKNOWN"),
    ],
)
async def test_why_a_room_ended(reason: models.DisconnectReason, said: str) -> None:
    async with running() as world:
        await world.join("alice")
        await world.room.close(reason)
        await world.room.close(Reason.ROOM_DELETED)
        (ended,) = [event for event in world.told if isinstance(event, RoomEnded)]
        assert models.RoomEndReason.Name(ended.reason) == said


async def test_a_room_that_nobody_comes_to_ends_as_idle() -> None:
    async with running() as world:
        await world.advance(world.room.to_proto().empty_timeout + 1)
        (ended,) = [event for event in world.told if isinstance(event, RoomEnded)]
        assert ended.reason == models.RoomEndReason.ROOM_END_IDLE_TIMEOUT


async def test_a_subscription_is_told_with_its_participant() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await world.join("bob", single=False)
        (info,) = await alice.publish(camera())
        await world.advance(0.5)
        told = [event for event in world.told if "Subscribe" in type(event).__name__]
        assert names(told) == ["TrackSubscribeRequested", "TrackSubscribed"]
        assert all(event.track.sid == info.sid for event in told)  # type: ignore[union-attr]
        assert {event.participant.to_proto().identity for event in told} == {"bob"}  # type: ignore[union-attr]


async def test_a_participant_that_never_connects_is_never_active() -> None:
    async with running(auto_connect=False) as world:
        alice = await world.join("alice")
        await alice.send(leave=rtc.LeaveRequest())
        assert names(world.told) == ["RoomStarted", "ParticipantJoined", "ParticipantLeft"]


async def test_a_leaving_participant_is_told_with_its_reason() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.send(leave=rtc.LeaveRequest())
        (left,) = [event for event in world.told if isinstance(event, ParticipantLeft)]
        info = left.participant.to_proto()
        assert info.state == models.ParticipantInfo.State.DISCONNECTED
        assert info.disconnect_reason == models.DisconnectReason.CLIENT_INITIATED


async def test_an_unpublished_track_is_told_once() -> None:
    async with running() as world:
        alice = await world.join("alice")
        (info,) = await alice.publish(camera())
        track = alice.participant.publishing.tracks.get(info.sid)
        assert track is not None
        alice.participant.publishing.unpublish(track)
        await alice.send(leave=rtc.LeaveRequest())
        assert names(world.told).count("TrackUnpublished") == 1
        (gone,) = [event for event in world.told if isinstance(event, TrackUnpublished)]
        assert gone.track.sid == info.sid


async def test_a_failing_listener_costs_nobody_anything() -> None:
    heard: list[TelemetryEvent] = []

    def broken(event: TelemetryEvent) -> None:
        raise RuntimeError("listener was told to fail")

    async with running() as world:
        world.room.telemetry = Telemetry(broken, heard.append)
        alice = await world.join("alice")
        assert alice.kinds()[0] == "join"
        assert any(isinstance(event, ParticipantActive) for event in heard)


async def test_nobody_has_to_listen() -> None:
    async with running() as world:
        assert isinstance(world.told[0], RoomStarted)
        world.room.telemetry = NO_TELEMETRY
        await world.join("alice")
        assert names(world.told) == ["RoomStarted"]


async def test_what_a_slow_reader_misses_is_told() -> None:
    async with running() as world:
        alice = await world.join("alice")
        transport = alice.participant.transports.publisher.id
        world.engine.inject(DataChannelOverflow(transport, 0, 4_000_000))
        await world.settle()
        assert world.told[-1] == MessageDropped("data_channel")


async def test_what_a_full_inbox_refuses_is_told() -> None:
    async with running() as world:
        alice = await world.join("alice")
        inbox = world.room._task.inbox
        size, inbox._size = inbox._size, 0
        event = DataReceived(alice.participant.transports.publisher.id, 0, b"x", True)
        world.room.deliver(alice.participant, event)
        inbox._size = size
        assert world.told[-1] == MessageDropped("room_inbox")


async def test_a_data_stream_is_told_when_it_begins() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.open_channels()
        header = models.DataStream.Header(mime_type="text/plain", total_length=3)
        await alice.send_data(
            models.DataPacket(stream_header=header, destination_identities=["bob", "carol"])
        )
        await alice.send_data(models.DataPacket(stream_chunk=models.DataStream.Chunk()))
        (told,) = [event for event in world.told if isinstance(event, DataStreamBegan)]
        assert told.header.mime_type == "text/plain"
        assert told.destinations == 2


async def test_a_connection_with_data_channels_is_fully_established() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.open_channels()
        states = [event.state for event in world.told if isinstance(event, TransportChanged)]
        assert states == ["ice_connected", "connected", "fully_established"]


async def test_connection_quality_is_told_per_window() -> None:
    async with running() as world:
        await world.join("alice")
        world.room.measure([])
        await world.settle()
        measured = [event for event in world.told if isinstance(event, QualityMeasured)]
        assert [event.quality.participant_sid for event in measured] == [
            world.clients[0].participant.sid
        ]


async def test_numbers_without_a_name_cost_nobody_their_statistics() -> None:
    async with running() as world:
        alice = await world.join("alice", client={"sdk": 999})
        await alice.publish(camera(source=999))
        (person,) = (await world.room.snapshot([])).participants
        assert person.sdk == "unknown"
        assert [track.source for track in person.published] == ["unknown"]
