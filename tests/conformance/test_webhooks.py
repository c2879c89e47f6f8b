"""Webhooks: which events, what is in them, how they are signed, and in which order they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, until
from tests.conformance.reporting_kit import (
    Receiver,
    Reporting,
    receiving,
    reporting_server,
)
from tests.conformance.whip_kit import publisher


@pytest_asyncio.fixture
async def receiver(reporting: Reporting) -> AsyncIterator[Receiver]:
    """Whoever the server tells."""
    async with receiving(reporting) as opened:
        yield opened


@pytest_asyncio.fixture
async def told(reporting: Reporting, receiver: Receiver) -> AsyncIterator[Lobby]:
    """A room of the test's own on the server that reports."""
    async with aiohttp.ClientSession() as session, Lobby(reporting.target, session) as opened:
        yield opened


async def delete_room(lobby: Lobby) -> None:
    await lobby.call("DeleteRoom", {"room": lobby.room}, Message, roomCreate=True)


@pytest.mark.row(206, 207, 209, 87)
async def test_a_session(told: Lobby, receiver: Receiver) -> None:
    alice = await media.join(told, "alice", single=True, claims={"name": "A", "metadata": "m"})
    track, _ = await alice.publish(name="voice")
    await receiver.expect(told.room, "track_published")
    await alice.signal.send(leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))
    await receiver.expect(told.room, "participant_left")
    await delete_room(told)
    await receiver.expect(told.room, "room_finished")
    came = receiver.of(told.room)
    assert [webhook.name for webhook in came] == [
        "room_started",
        "participant_joined",
        "track_published",
        "track_unpublished",
        "participant_left",
        "room_finished",
    ]
    for webhook in came:
        claims = webhook.verify(told.target)
        assert claims["exp"] - claims["nbf"] == 300
        assert webhook.headers["Content-Type"] == "application/webhook+json"
        assert webhook.headers["User-Agent"] == "LiveKit"
        assert webhook.event["id"].startswith("EV_")
        assert abs(int(webhook.event["createdAt"]) - time.time()) < 30
    assert len({webhook.event["id"] for webhook in came}) == len(came)

    started, joined, published, unpublished, left, finished = (webhook.event for webhook in came)
    assert finished["roomEndReason"] == "ROOM_END_API_DELETE"
    sid = started["room"]["sid"]
    assert set(started) == {"event", "id", "createdAt", "room"}
    assert started["room"]["emptyTimeout"] == 300
    assert started["room"]["departureTimeout"] == 20
    assert int(started["room"]["creationTimeMs"]) // 1000 == int(started["room"]["creationTime"])
    assert {"mime": "audio/opus"} in started["room"]["enabledCodecs"]

    assert set(joined) == {"event", "id", "createdAt", "room", "participant"}
    assert joined["room"]["sid"] == sid
    assert joined["participant"]["sid"] == alice.sid
    assert joined["participant"]["identity"] == "alice"
    assert joined["participant"]["name"] == "A"
    assert joined["participant"]["metadata"] == "m"
    assert joined["participant"]["state"] == "ACTIVE"
    assert "isPublisher" not in joined["participant"]

    who = {"sid": alice.sid, "identity": "alice"}
    for event in (published, unpublished):
        assert set(event) == {"event", "id", "createdAt", "room", "participant", "track"}
        assert event["room"] == {"sid": sid, "name": told.room}
        assert event["participant"] == who
        assert event["track"]["sid"] == track.sid
        assert event["track"]["name"] == "voice"
        assert "type" not in event["track"]

    assert left["participant"]["state"] == "DISCONNECTED"
    assert left["participant"]["disconnectReason"] == "CLIENT_INITIATED"
    assert left["participant"]["isPublisher"] is True
    assert set(finished) == {"event", "id", "createdAt", "room", "roomEndReason"}
    assert finished["room"]["sid"] == sid


@pytest.mark.row(17, 206, 209)
async def test_a_whip_session(told: Lobby, receiver: Receiver) -> None:
    alice = publisher(told)
    await alice.connect()
    await until(lambda: receiver.names(told.room).count("track_published") == 2, "tracks")
    await alice.request("DELETE", alice.location)
    left = await receiver.expect(told.room, "participant_left")
    assert left.event["participant"]["sid"] == alice.sid
    assert receiver.names(told.room) == [
        "room_started",
        "participant_joined",
        *["track_published"] * 2,
        *["track_unpublished"] * 2,
        "participant_left",
    ]


@pytest.mark.row(206, 209)
async def test_a_participant_without_media_has_not_joined(told: Lobby, receiver: Receiver) -> None:
    signal = await told.signal("alice", single=True)
    await signal.send(leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))
    aborted = await receiver.expect(told.room, "participant_connection_aborted")
    assert receiver.names(told.room) == ["room_started", "participant_connection_aborted"]
    assert aborted.event["participant"]["identity"] == "alice"
    assert aborted.event["participant"]["state"] == "DISCONNECTED"


@pytest.mark.row(206)
async def test_a_room_that_is_created_and_deleted(told: Lobby, receiver: Receiver) -> None:
    request = {"name": told.room, "metadata": "m", "max_participants": 7}
    await told.call("CreateRoom", request, Message, roomCreate=True)
    await delete_room(told)
    await receiver.expect(told.room, "room_finished")
    assert receiver.names(told.room) == ["room_started", "room_finished"]
    started = receiver.of(told.room)[0].event["room"]
    assert (started["metadata"], started["maxParticipants"]) == ("m", 7)


@pytest.mark.row(206, 112)
async def test_a_room_that_nobody_is_in_any_more_says_so(told: Lobby, receiver: Receiver) -> None:
    request = {"name": told.room, "empty_timeout": 1}
    await told.call("CreateRoom", request, Message, roomCreate=True)
    await receiver.expect(told.room, "room_finished")
    finished = receiver.of(told.room)[-1].event
    assert finished["roomEndReason"] == "ROOM_END_IDLE_TIMEOUT"


@pytest.mark.row(207)
async def test_an_event_that_failed_is_sent_again_before_the_next(
    told: Lobby, receiver: Receiver
) -> None:
    receiver.statuses[told.room] = [503]
    await told.call("CreateRoom", {"name": told.room}, Message, roomCreate=True)
    await delete_room(told)
    await receiver.expect(told.room, "room_finished")
    first, again, _ = receiver.of(told.room)
    assert receiver.names(told.room) == ["room_started", "room_started", "room_finished"]
    assert first.body == again.body
    assert 0.8 < again.at - first.at < 3


@pytest.mark.row(207)
async def test_an_event_that_is_refused_is_not_sent_again(told: Lobby, receiver: Receiver) -> None:
    receiver.statuses[told.room] = [404]
    await told.call("CreateRoom", {"name": told.room}, Message, roomCreate=True)
    await delete_room(told)
    await receiver.expect(told.room, "room_finished")
    assert receiver.names(told.room) == ["room_started", "room_finished"]


@pytest.mark.row(207)
async def test_a_room_whose_receiver_hangs_holds_up_no_other(
    told: Lobby, receiver: Receiver
) -> None:
    held = receiver.held[told.room] = asyncio.Event()
    await told.call("CreateRoom", {"name": told.room}, Message, roomCreate=True)
    await receiver.expect(told.room, "room_started")
    await delete_room(told)
    async with Lobby(told.target, told.session) as other:
        await other.call("CreateRoom", {"name": other.room}, Message, roomCreate=True)
        await receiver.expect(other.room, "room_started")
    assert receiver.names(told.room) == ["room_started"]
    held.set()
    await receiver.expect(told.room, "room_finished")


@pytest.mark.row(208)
async def test_events_are_filtered(
    reporting: Reporting, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not reporting.target.ours:
        pytest.skip("another server is not configured by the suite")
    directory = tmp_path_factory.mktemp("filter")
    with reporting_server(directory, excluded="room_started") as filtering:
        async with (
            receiving(filtering) as receiver,
            aiohttp.ClientSession() as session,
            Lobby(filtering.target, session) as lobby,
        ):
            await lobby.call("CreateRoom", {"name": lobby.room}, Message, roomCreate=True)
            await delete_room(lobby)
            await receiver.expect(lobby.room, "room_finished")
            assert receiver.names(lobby.room) == ["room_finished"]
