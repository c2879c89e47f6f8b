"""Joining over HTTP: what is refused with which words, and what a socket gets first."""

from __future__ import annotations

import base64
import json

import pytest
from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.signal.join_request import wrap
from tests.control_plane import Harness, receive, running

LOBBY = VideoGrant(room_join=True, room="lobby")


@pytest.fixture
async def server():
    async with running() as harness:
        yield harness


async def test_v1_takes_a_join_request_and_answers_join_first(server: Harness) -> None:
    request = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk="PYTHON", protocol=16),
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True, adaptive_stream=True),
        add_track_requests=[rtc.AddTrackRequest(cid="mic", type="AUDIO")],
        publisher_offer=rtc.SessionDescription(type="offer", sdp="v=0", id=1),
    )
    socket = await server.join(server.token(), join=request)
    assert (await receive(socket)).join.participant.identity == "alice"
    session = server.media.rooms["lobby"].sessions[0]
    assert session.single_pc
    assert session.auto_subscribe
    assert session.adaptive_stream
    assert not session.auto_subscribe_data_track
    assert session.subscriber_allow_pause is None
    assert session.add_track_requests[0].cid == "mic"
    assert session.publisher_offer is not None
    assert session.client.address == "127.0.0.1"
    assert session.connection_id.startswith("CO_")


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, "127.0.0.1"),
        ({"X-Real-IP": "192.0.2.1"}, "192.0.2.1"),
        (
            {"X-Real-IP": "192.0.2.1", "X-Forwarded-For": "192.0.2.2, 10.0.0.1"},
            "192.0.2.2, 10.0.0.1",
        ),
        ({"X-Forwarded-For": "192.0.2.2", "CF-Connecting-IP": "192.0.2.3"}, "192.0.2.3"),
    ],
)
async def test_the_address_that_a_proxy_reports(
    server: Harness, headers: dict[str, str], address: str
) -> None:
    for path in ("/rtc", "/rtc/v1"):
        join = rtc.JoinRequest(client_info=models.ClientInfo(address="203.0.113.9"))
        socket = await server.join(
            server.token(), path=path, headers=headers, join=join if path == "/rtc/v1" else None
        )
        await receive(socket)
        assert server.media.rooms["lobby"].sessions[-1].client.address == address


async def test_v0_takes_query_parameters(server: Harness) -> None:
    socket = await server.join(
        server.token(),
        path="/rtc",
        params={"protocol": "9", "sdk": "swift", "adaptive_stream": "1", "auto_subscribe": "0"},
    )
    assert (await receive(socket)).WhichOneof("message") == "join"
    session = server.media.rooms["lobby"].sessions[0]
    assert not session.single_pc
    assert not session.auto_subscribe
    assert session.adaptive_stream
    assert session.subscriber_allow_pause is None
    assert session.client.protocol == 9
    assert session.client.sdk == models.ClientInfo.SDK.SWIFT


async def test_v0_with_a_join_request_uses_one_peer_connection(server: Harness) -> None:
    socket = await server.join(server.token(), path="/rtc", join=rtc.JoinRequest())
    assert (await receive(socket)).WhichOneof("message") == "join"
    assert server.media.rooms["lobby"].sessions[0].single_pc


async def test_a_leading_double_slash_is_forgiven(server: Harness) -> None:
    assert await server.get("//rtc/validate", server.token()) == (200, "success")
    socket = await server.join(server.token(), path="//rtc")
    assert (await receive(socket)).WhichOneof("message") == "join"


async def test_token_may_come_as_bearer(server: Harness) -> None:
    headers = {"Authorization": f"Bearer {server.token()}"}
    async with server.http.ws_connect(server.url("/rtc"), headers=headers) as socket:
        assert (await receive(socket)).WhichOneof("message") == "join"


async def test_without_an_upgrade_the_route_does_not_exist(server: Harness) -> None:
    assert await server.get("/rtc", server.token()) == (404, "")
    assert await server.get("/rtc/v1", server.token()) == (404, "")


@pytest.mark.parametrize(
    ("grants", "status", "body"),
    [
        (Grants(identity="a"), 401, "no permissions to access the room"),
        (Grants(identity="a", video=VideoGrant(room="r")), 401, "permissions denied"),
        (Grants(video=LOBBY), 400, "identity cannot be empty"),
        (Grants(identity="a", video=VideoGrant(room_join=True)), 400, "no room name"),
        (
            Grants(identity="é" * 129, video=LOBBY),
            400,
            "participant identity length exceeds limits: max length 256",
        ),
        (
            Grants(identity="a", video=VideoGrant(room_join=True, room="r" * 257)),
            400,
            "room name length exceeds limits: max length 256",
        ),
    ],
)
async def test_refusals_by_token(server: Harness, grants: Grants, status: int, body: str) -> None:
    token = server.token_for(grants)
    assert await server.get("/rtc/validate", token) == (status, body)
    assert await server.refused("/rtc", token) == (status, body)
    assert not server.media.rooms


async def test_no_token(server: Harness) -> None:
    expected = (401, "no permissions to access the room")
    assert await server.get("/rtc/validate") == expected
    assert await server.refused("/rtc/v1", join_request=wrap(rtc.JoinRequest())) == expected


async def test_v1_requires_the_join_request(server: Harness) -> None:
    expected = (400, "join_request is required")
    assert await server.get("/rtc/v1/validate", server.token()) == expected
    assert await server.refused("/rtc/v1", server.token()) == expected


async def test_undecodable_attributes_only_fail_validation(server: Harness) -> None:
    path = "/rtc/validate?attributes=%25%25"
    assert await server.get(path, server.token()) == (400, "cannot decode attributes")
    socket = await server.join(server.token(), path="/rtc", params={"attributes": "%%"})
    assert (await receive(socket)).WhichOneof("message") == "join"


async def test_own_attributes_need_the_grant(server: Harness) -> None:
    encoded = base64.urlsafe_b64encode(json.dumps({"seat": "12", "gone": ""}).encode()).decode()
    params = {"attributes": encoded}
    assert await server.refused("/rtc", server.token(), **params) == (
        401,
        "no permissions to access the room",
    )
    allowed = Grants(
        identity="alice",
        video=VideoGrant(room_join=True, room="lobby", can_update_own_metadata=True),
        attributes={"gone": "kept", "role": "guest"},
    )
    socket = await server.join(server.token_for(allowed), path="/rtc", params=params)
    person = (await receive(socket)).join.participant
    assert dict(person.attributes) == {"seat": "12", "gone": "kept", "role": "guest"}


async def test_metadata_of_the_join_request_overrides_the_token(server: Harness) -> None:
    grants = Grants(
        identity="alice",
        video=VideoGrant(room_join=True, room="lobby", can_update_own_metadata=True),
        metadata="token",
    )
    join = rtc.JoinRequest(metadata="own")
    socket = await server.join(server.token_for(grants), join=join)
    assert (await receive(socket)).join.participant.metadata == "own"


async def test_publish_only_connection_has_its_own_identity(server: Harness) -> None:
    socket = await server.join(server.token(), path="/rtc", params={"publish": "screen"})
    assert (await receive(socket)).join.participant.identity == "alice#screen"
    video = server.media.rooms["lobby"].sessions[0].grants.video
    assert video is not None
    assert not video.get_can_subscribe()
    cannot = server.token("bob", room_join=True, room="lobby", can_publish=False)
    assert await server.refused("/rtc", cannot, publish="screen") == (
        401,
        "no permissions to access the room",
    )


async def test_without_auto_create_the_room_must_exist() -> None:
    async with running({"room": {"auto_create": False}}) as server:
        expected = (404, "requested room does not exist")
        assert await server.get("/rtc/validate", server.token()) == expected
        assert await server.refused("/rtc", server.token()) == expected
        creator = server.token("carol", room_join=True, room="lobby", room_create=True)
        socket = await server.join(creator)
        assert (await receive(socket)).WhichOneof("message") == "join"
        assert await server.get("/rtc/validate", server.token()) == (200, "success")


async def test_a_full_room_closes_the_connection_by_media() -> None:
    async with running({"room": {"max_participants": 1}}) as server:
        await receive(await server.join(server.token("alice")))
        assert await server.refused("/rtc", server.token("bob")) == (
            500,
            "connection closed by media",
        )
        assert len(server.media.rooms["lobby"].sessions) == 1 + 1


async def test_oversize_metadata_is_refused_by_the_room_node() -> None:
    async with running({"limit": {"max_metadata_size": 10}}) as server:
        grants = Grants(identity="alice", video=LOBBY, metadata="x" * 11)
        assert await server.refused("/rtc", server.token_for(grants)) == (
            500,
            "connection closed by media",
        )


async def test_a_crash_in_a_room_is_a_500_and_the_server_goes_on(server: Harness) -> None:
    assert await server.refused("/rtc", server.token("crash")) == (
        500,
        "connection closed by media",
    )
    assert (await receive(await server.join(server.token()))).WhichOneof("message") == "join"


async def test_no_first_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lkpy.server.http.rtc_service.SIGNAL_FIRST_RESPONSE_S", 0.02)
    async with running() as server:
        assert await server.refused("/rtc", server.token("silent")) == (
            500,
            "timed out while waiting for signal response",
        )


async def test_an_unknown_preset_fails_the_session(server: Harness) -> None:
    grants = Grants(identity="alice", video=LOBBY, room_preset="nope")
    status, body = await server.refused("/rtc", server.token_for(grants))
    assert (status, body) == (500, "connection closed by media")


@pytest.mark.parametrize("protocol", [12, 13])
async def test_resuming_while_absent_is_answered_by_leave(server: Harness, protocol: int) -> None:
    join = rtc.JoinRequest(
        client_info=models.ClientInfo(protocol=protocol), reconnect=True, participant_sid="PA_old"
    )
    socket = await server.join(server.token(), join=join)
    leave = (await receive(socket)).leave
    assert leave.reason == models.DisconnectReason.STATE_MISMATCH
    if protocol < 13:
        assert leave.can_reconnect
    else:
        assert leave.action == rtc.LeaveRequest.Action.RECONNECT
        assert not leave.can_reconnect
    await socket.receive()
    assert socket.close_code == 1000
    assert not server.media.rooms


async def test_resuming_finds_the_participant_by_identity(server: Harness) -> None:
    await receive(await server.join(server.token()))
    params = {"reconnect": "1", "sid": "PA_stale", "reconnect_reason": "1"}
    socket = await server.join(server.token(), path="/rtc", params=params)
    assert (await receive(socket)).WhichOneof("message") == "reconnect"
    session = server.media.rooms["lobby"].sessions[-1]
    assert session.participant_id == "PA_stale"
    assert session.reconnect_reason == models.ReconnectReason.RR_SIGNAL_DISCONNECTED


async def test_room_configuration_of_the_token_shapes_the_room(server: Harness) -> None:
    from livekit.protocol import room as room_pb

    config = room_pb.RoomConfiguration(max_participants=7, empty_timeout=11, metadata="m")
    grants = Grants(identity="alice", video=LOBBY, room_config=config)
    room = (await receive(await server.join(server.token_for(grants)))).join.room
    assert (room.max_participants, room.empty_timeout, room.metadata) == (7, 11, "m")
    assert room.departure_timeout == 20
    assert room.sid.startswith("RM_")
    assert [codec.mime for codec in room.enabled_codecs][:3] == [
        "audio/PCMU",
        "audio/PCMA",
        "audio/opus",
    ]
