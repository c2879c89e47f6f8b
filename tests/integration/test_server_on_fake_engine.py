"""Clients over real sockets, in real rooms, on an engine without a network."""

from __future__ import annotations

import json

import aiohttp
import pytest
from livekit import api
from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants
from lkpy.engine.fake import FakeEngine
from lkpy.server.app import Server
from lkpy.server.media import EnginePlane
from tests.control_plane import KEY, SECRET, Harness, MediaDouble, config_of, receive, serving
from tests.room_kit import JOIN_OFFER, microphone

Reason = models.DisconnectReason


@pytest.fixture
async def server():
    config = config_of({"room": {"max_participants": 2}})
    plane = EnginePlane(config, engine=FakeEngine(auto_connect=True))
    async with serving(Server(config, plane), MediaDouble()) as harness:
        yield harness


@pytest.fixture
async def livekit(server: Harness):
    async with api.LiveKitAPI(server.server.url, KEY, SECRET) as client:
        yield client


async def join(server: Harness, identity: str):
    """Join with one peer connection; returns the socket and the JoinResponse."""
    request = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk="JS", protocol=16, version="2.15.0"),
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
        publisher_offer=rtc.SessionDescription(type="offer", sdp=JOIN_OFFER, id=1),
        add_track_requests=[microphone()],
    )
    socket = await server.join(server.token(identity), join=request)
    first = await receive(socket)
    assert first.WhichOneof("message") == "join"
    return socket, first.join


async def until(socket, kind: str) -> rtc.SignalResponse:
    """Read on to the next response of one kind."""
    while (response := await receive(socket)).WhichOneof("message") != kind:
        pass
    return response


async def test_single_connection_session_starts(server: Harness) -> None:
    socket, joined = await join(server, "alice")
    assert joined.participant.identity == "alice"
    assert joined.room.name == "lobby"
    assert joined.server_info.protocol == 18
    assert (joined.ping_interval, joined.ping_timeout) == (5, 15)
    kinds = []
    while "refresh_token" not in kinds:
        kinds.append((await receive(socket)).WhichOneof("message"))
    assert {"track_published", "answer", "trickle"} <= set(kinds)


async def test_dual_connection_session_starts_with_an_offer(server: Harness) -> None:
    socket = await server.join(server.token(), path="/rtc", params={"protocol": "15"})
    assert (await receive(socket)).join.subscriber_primary
    assert (await until(socket, "offer")).offer.sdp.startswith("v=0")


async def test_refresh_tokens_are_accepted(server: Harness) -> None:
    socket, _ = await join(server, "alice")
    token = (await until(socket, "refresh_token")).refresh_token
    assert await server.get("/rtc/validate", token) == (200, "success")


async def test_the_second_participant_is_told_of_the_first(server: Harness) -> None:
    await join(server, "alice")
    _, joined = await join(server, "bob")
    assert [person.identity for person in joined.other_participants] == ["alice"]


async def test_a_second_session_of_an_identity_replaces_the_first(server: Harness) -> None:
    first, joined = await join(server, "alice")
    _, again = await join(server, "alice")
    assert again.participant.sid != joined.participant.sid
    assert (await until(first, "leave")).leave.reason == Reason.DUPLICATE_IDENTITY
    await first.receive()
    assert first.close_code == 1000


async def test_a_full_room(server: Harness) -> None:
    for name in ("alice", "bob"):
        await join(server, name)
    assert await server.refused("/rtc", server.token("carol")) == (
        500,
        "connection closed by media",
    )


def resuming(participant_sid: str) -> rtc.JoinRequest:
    client = models.ClientInfo(sdk="JS", protocol=16, version="2.15.0")
    return rtc.JoinRequest(client_info=client, reconnect=True, participant_sid=participant_sid)


async def test_resuming_takes_the_session_over(server: Harness) -> None:
    first, joined = await join(server, "alice")
    second = await server.join(server.token(), join=resuming(joined.participant.sid))
    assert (await receive(second)).WhichOneof("message") == "reconnect"
    update = (await until(second, "update")).update
    assert [p.sid for p in update.participants] == [joined.participant.sid]
    while (await first.receive()).type is aiohttp.WSMsgType.BINARY:
        pass
    assert first.close_code == 1000
    await second.send_bytes(rtc.SignalRequest(ping=1).SerializeToString())
    assert (await until(second, "pong")).pong > 0


async def test_resuming_what_is_not_here_is_answered_by_a_request_to_join_afresh(
    server: Harness,
) -> None:
    await join(server, "alice")
    socket = await server.join(server.token("bob"), join=resuming("PA_x"))
    leave = (await receive(socket)).leave
    assert (leave.reason, leave.action) == (
        Reason.STATE_MISMATCH,
        rtc.LeaveRequest.Action.RECONNECT,
    )
    await socket.receive()
    assert socket.close_code == 1000


async def test_room_service_acts_on_the_room(server: Harness, livekit: api.LiveKitAPI) -> None:
    socket, _ = await join(server, "alice")
    people = await livekit.room.list_participants(api.ListParticipantsRequest(room="lobby"))
    assert [person.identity for person in people.participants] == ["alice"]
    rooms = await livekit.room.list_rooms(api.ListRoomsRequest())
    assert rooms.rooms[0].num_participants == 1
    await livekit.room.send_data(api.SendDataRequest(room="lobby", data=b"hi"))
    await livekit.room.remove_participant(
        api.RoomParticipantIdentity(room="lobby", identity="alice")
    )
    assert (await until(socket, "leave")).leave.reason == Reason.PARTICIPANT_REMOVED
    people = await livekit.room.list_participants(api.ListParticipantsRequest(room="lobby"))
    assert list(people.participants) == []


async def test_deleting_the_room(server: Harness, livekit: api.LiveKitAPI) -> None:
    socket, _ = await join(server, "alice")
    await livekit.room.delete_room(api.DeleteRoomRequest(room="lobby"))
    assert (await until(socket, "leave")).leave.reason == Reason.ROOM_DELETED
    assert list((await livekit.room.list_rooms(api.ListRoomsRequest())).rooms) == []
    _, joined = await join(server, "bob")
    assert list(joined.other_participants) == []


async def test_leaving(server: Harness) -> None:
    alice, _ = await join(server, "alice")
    leave = rtc.LeaveRequest(reason=Reason.CLIENT_INITIATED)
    await alice.send_bytes(rtc.SignalRequest(leave=leave).SerializeToString())
    assert (await until(alice, "leave")).leave.action == rtc.LeaveRequest.Action.DISCONNECT
    await alice.receive()
    assert alice.close_code == 1000


async def test_statistics_show_the_room(server: Harness) -> None:
    await join(server, "alice")
    token = server.token_for(Grants(stats=True))
    status, body = await server.get("/lkpy/v1/stats?format=json", token)
    assert status == 200
    snapshot = json.loads(body)
    assert snapshot["server"]["rooms"] == 1
    person = snapshot["rooms"][0]["participants"][0]
    assert (person["identity"], person["topology"]) == ("alice", "single")
    assert person["transports"][0]["ice_state"] == "connected"


@pytest.mark.parametrize(
    "request_",
    [
        rtc.SignalRequest(offer=rtc.SessionDescription(type="offer", sdp="not sdp", id=9)),
        rtc.SignalRequest(offer=rtc.SessionDescription(type="offer", sdp="", id=9)),
        rtc.SignalRequest(answer=rtc.SessionDescription(type="answer", sdp="v=0\r\n")),
        rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit="{not json")),
        rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit='{"candidate": 5}')),
        rtc.SignalRequest(mute=rtc.MuteTrackRequest(sid="TR_unknown", muted=True)),
        rtc.SignalRequest(subscription=rtc.UpdateSubscription(track_sids=["TR_unknown"])),
        rtc.SignalRequest(track_setting=rtc.UpdateTrackSettings(track_sids=["TR_unknown"])),
        rtc.SignalRequest(update_layers=rtc.UpdateVideoLayers(track_sid="TR_unknown")),
        rtc.SignalRequest(add_track=rtc.AddTrackRequest()),
        rtc.SignalRequest(sync_state=rtc.SyncState()),
        rtc.SignalRequest(update_audio_track=rtc.UpdateLocalAudioTrack(track_sid="x")),
    ],
    ids=lambda request: request.WhichOneof("message"),
)
async def test_nonsense_hurts_nobody_else(server: Harness, request_: rtc.SignalRequest) -> None:
    mallory, _ = await join(server, "mallory")
    await mallory.send_bytes(request_.SerializeToString())
    alice, joined = await join(server, "alice")
    assert joined.participant.identity == "alice"
    await alice.send_bytes(rtc.SignalRequest(ping=1).SerializeToString())
    assert (await until(alice, "pong")).pong > 0
