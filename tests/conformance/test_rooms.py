"""Rooms and who is in them: life, counts, visibility, live permissions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from livekit.protocol import agent_dispatch, models, rtc
from livekit.protocol import room as room_pb

from tests.conformance import media
from tests.conformance.kit import Lobby, Refused, Signal, Target, TwirpError
from tests.interop.conftest import run_server
from tests.patience import PATIENCE_S

Kind = models.ParticipantInfo.Kind
State = models.ParticipantInfo.State
Reason = models.DisconnectReason
Permission = models.ParticipantPermission
EVERYTHING = Permission(can_subscribe=True, can_publish=True, can_publish_data=True)
BIG_METADATA = "m" * (512 * 1024 + 1)
BIG_ATTRIBUTES = {"k": "v" * 64 * 1024}
both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])


async def create(lobby: Lobby, **values: Any) -> models.Room:
    request = room_pb.CreateRoomRequest(name=lobby.room, **values)
    return await lobby.call("CreateRoom", request, models.Room, roomCreate=True)


async def listed(lobby: Lobby) -> models.Room | None:
    """The lobby's room, if it exists."""
    request = room_pb.ListRoomsRequest(names=[lobby.room])
    answer = await lobby.call("ListRooms", request, room_pb.ListRoomsResponse, roomList=True)
    return answer.rooms[0] if answer.rooms else None


async def gone(lobby: Lobby) -> None:
    """Wait until the room does not exist."""
    async with asyncio.timeout(PATIENCE_S):
        while await listed(lobby) is not None:
            await lobby.pause(0.1)


async def permit(
    lobby: Lobby, identity: str, permission: models.ParticipantPermission
) -> models.ParticipantInfo:
    request = room_pb.UpdateParticipantRequest(
        room=lobby.room, identity=identity, permission=permission
    )
    return await lobby.call("UpdateParticipant", request, models.ParticipantInfo)


async def refused(lobby: Lobby, identity: str, **options: Any) -> int:
    """Status of an upgrade that must fail."""
    with pytest.raises(Refused) as error:
        await lobby.signal(identity, **options)
    return error.value.status


@pytest.fixture(scope="module")
def configured_target(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """With ``room.auto_create`` off and a preset; another server is asked whether it has them."""
    if not target.ours:
        yield target
        return
    directory = tmp_path_factory.mktemp("rooms")
    config = directory / "livekit.yaml"
    config.write_text(
        "room:\n"
        "  auto_create: false\n"
        "  room_configurations:\n"
        "    conformance:\n"
        "      max_participants: 2\n"
        "      empty_timeout: 77\n"
        "      metadata: from preset\n"
        "      agents: [{agent_name: from-preset}]\n"
    )
    with run_server(directory, "--config", str(config)) as running:
        yield Target(running.http_url, running.api_key, running.api_secret, ours=True)


@pytest_asyncio.fixture
async def configured(configured_target: Target) -> AsyncIterator[Lobby]:
    """A room on the server with that configuration."""
    async with aiohttp.ClientSession() as session, Lobby(configured_target, session) as lobby:
        yield lobby


# -- life -------------------------------------------------------------------------------------


@pytest.mark.row(111, 124)
async def test_a_room_begins_with_who_enters(lobby: Lobby) -> None:
    assert await listed(lobby) is None
    join = (await lobby.signal("alice")).join
    room = await listed(lobby)
    assert room is not None
    assert room.sid == join.room.sid
    assert room.sid.startswith("RM_")
    assert (room.empty_timeout, room.departure_timeout, room.max_participants) == (300, 20, 0)
    assert join.participant.sid.startswith("PA_")
    assert join.server_info.node_id.startswith("ND_")


@pytest.mark.row(111, 12)
async def test_without_auto_create(configured: Lobby) -> None:
    token = configured.target.token("alice", configured.room)
    status, body, _ = await configured.get("/rtc/validate", token)
    if status == 200:
        pytest.skip("the server has room.auto_create on")
    assert (status, body.strip()) == (404, "requested room does not exist")
    for _ in range(2):
        assert await refused(configured, "alice") == 404
    room = await create(configured)
    assert (await configured.signal("alice")).join.room.sid == room.sid
    # Or with the grant to create it.
    async with Lobby(configured.target, configured.session) as another:
        assert (await another.signal("bob", roomCreate=True)).join.participant.identity == "bob"


@pytest.mark.row(129, 91)
async def test_presets(configured: Lobby) -> None:
    try:
        room = await create(configured, room_preset="conformance", empty_timeout=5)
    except TwirpError:
        pytest.skip("the server has no room_configurations.conformance")
    assert (room.max_participants, room.empty_timeout) == (2, 5)
    assert room.metadata == "from preset"
    (dispatch,) = (
        await configured.call(
            "ListDispatch",
            {"room": configured.room},
            agent_dispatch.ListAgentDispatchResponse,
            service="AgentDispatchService",
        )
    ).agent_dispatches
    assert dispatch.agent_name == "from-preset"
    async with Lobby(configured.target, configured.session) as another:
        claims = {"roomPreset": "conformance"}
        join = (await another.signal("alice", claims=claims, roomCreate=True)).join
        assert (join.room.max_participants, join.room.empty_timeout) == (2, 77)


@pytest.mark.row(112)
async def test_a_room_that_nobody_enters_ends(lobby: Lobby) -> None:
    await create(lobby, empty_timeout=1, departure_timeout=60)
    await gone(lobby)


@pytest.mark.row(112)
async def test_a_room_that_everybody_has_left_ends(lobby: Lobby) -> None:
    room = await create(lobby, empty_timeout=60, departure_timeout=2)
    alice = await lobby.signal("alice")
    await alice.send(leave=rtc.LeaveRequest())
    await alice.ended()
    bob = await lobby.signal("bob")
    assert bob.join.room.sid == room.sid, "it waits for who comes back"
    await lobby.pause(3.5)
    assert await listed(lobby) is not None
    await bob.send(leave=rtc.LeaveRequest())
    await gone(lobby)


@pytest.mark.row(112, 114, 120)
async def test_who_is_there_for_others_does_not_keep_a_room(lobby: Lobby) -> None:
    await create(lobby, empty_timeout=1, departure_timeout=1)
    agent = await lobby.signal("agent", claims={"kind": "agent"})
    assert (await agent.expect("leave")).reason == Reason.ROOM_CLOSED
    await agent.ended()
    await gone(lobby)


# -- counts -----------------------------------------------------------------------------------


@pytest.mark.row(113, 114)
async def test_max_participants(lobby: Lobby) -> None:
    await create(lobby, max_participants=2)
    await lobby.signal("agent", claims={"kind": "agent"})
    await lobby.signal("alice", hidden=True)
    bob = await lobby.signal("bob")
    assert await refused(lobby, "carol") == 500
    for identity, options in (
        ("another agent", {"agent": True}),
        ("recorder", {"recorder": True}),
        ("egress", {"claims": {"kind": "egress"}}),
        ("bob", {}),
    ):
        joined = await lobby.signal(identity, **options)
        assert joined.join.participant.identity == identity
    assert (await bob.expect("leave")).reason == Reason.DUPLICATE_IDENTITY
    assert await refused(lobby, "sip", claims={"kind": "sip"}) == 500


@pytest.mark.row(114, 60, 92)
async def test_counts(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    assert (alice.join.room.num_participants, alice.join.room.num_publishers) == (0, 0)
    await lobby.signal("ghost", hidden=True)
    await lobby.signal("agent", claims={"kind": "agent"})
    publisher = await media.join(lobby, "publisher", single=True)
    await publisher.publish()
    told = await alice.expect("room_update", lambda u: u.room.num_publishers == 1)
    assert told.room.num_participants == 3
    room = await listed(lobby)
    assert room is not None
    assert (room.num_participants, room.num_publishers) == (3, 1)
    before = len(alice.all("room_update"))
    await lobby.pause(1)
    assert len(alice.all("room_update")) == before, "nothing changed"


@pytest.mark.row(125, 60, 85)
@pytest.mark.parametrize("by", ["grant", "kind"])
async def test_active_recording(lobby: Lobby, by: str) -> None:
    alice = await lobby.signal("alice")
    options: dict[str, Any] = {"recorder": True} if by == "grant" else {}
    claims = None if by == "grant" else {"kind": "egress"}
    recorder = await lobby.signal("recorder", claims=claims, hidden=True, **options)
    told = await alice.expect("room_update", lambda u: u.room.active_recording)
    assert told.room.num_participants == 1
    await recorder.send(leave=rtc.LeaveRequest())
    await alice.expect("room_update", lambda u: not u.room.active_recording)


# -- who is told of whom ----------------------------------------------------------------------


@pytest.mark.row(121, 85)
async def test_hidden_participants(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    ghost = await lobby.signal("ghost", hidden=True, canUpdateOwnMetadata=True)
    assert [p.identity for p in ghost.join.other_participants] == ["alice"]
    await ghost.send(update_metadata=rtc.UpdateParticipantMetadata(metadata="boo"))
    own = await ghost.expect_participant("ghost", lambda p: p.metadata == "boo")
    assert own.permission.hidden
    bob = await lobby.signal("bob")
    assert [p.identity for p in bob.join.other_participants] == ["alice"]
    await ghost.send(leave=rtc.LeaveRequest())
    await ghost.ended()
    await alice.expect_participant("bob")
    seen = {p.identity for update in alice.all("update") for p in update.participants}
    assert "ghost" not in seen


@pytest.mark.row(61, 121)
@both
async def test_a_hidden_participant_receives(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    ghost = await media.join(lobby, "ghost", single=single, hidden=True)
    audio, _ = await alice.publish()
    await ghost.receives(audio.sid)
    assert not alice.signal.all("track_subscribed")


@pytest.mark.row(61)
async def test_updates(lobby: Lobby) -> None:
    """About who only watches in batches, about publishers at once; versions rise."""
    alice = await lobby.signal("alice")
    bob = await media.join(lobby, "bob", single=True)
    joined = await alice.expect_participant("bob")
    assert joined.state >= State.JOINED
    await bob.publish()
    published = await alice.expect_participant("bob", lambda p: len(p.tracks) == 1)
    assert published.version > joined.version
    assert published.is_publisher
    assert published.permission.can_publish
    async with lobby.lateness() as late:
        began = time.monotonic()
        await bob.signal.send(leave=rtc.LeaveRequest())
        left = await alice.expect_participant("bob", lambda p: p.state == State.DISCONNECTED)
        took = time.monotonic() - began
    assert took < 1 + late.total_s, "of a publisher at once"
    assert left.disconnect_reason == Reason.CLIENT_INITIATED
    versions = [p.version for u in alice.all("update") for p in u.participants if p.sid == left.sid]
    assert versions == sorted(versions)


@pytest.mark.row(115)
@pytest.mark.parametrize("protocol", [11, 16])
async def test_one_session_per_identity(lobby: Lobby, protocol: int) -> None:
    watcher = await lobby.signal("watcher", protocol=protocol)
    first = await lobby.signal("alice")
    await watcher.expect_participant("alice")
    second = await lobby.signal("alice")
    leave = await first.expect("leave")
    assert leave.reason == Reason.DUPLICATE_IDENTITY
    assert leave.action == rtc.LeaveRequest.Action.DISCONNECT
    await first.ended()
    sid = second.join.participant.sid
    await watcher.expect_participant("alice", lambda p: p.sid == sid)
    ends = [
        p
        for update in watcher.all("update")
        for p in update.participants
        if p.identity == "alice" and p.state == State.DISCONNECTED
    ]
    # Clients that go by the identity are not told of the end of the session before.
    assert bool(ends) is (protocol < 12)
    assert await present(lobby, "alice") == sid


async def present(lobby: Lobby, identity: str) -> str:
    target = {"room": lobby.room, "identity": identity}
    return (await lobby.call("GetParticipant", target, models.ParticipantInfo)).sid


# -- metadata ---------------------------------------------------------------------------------


@pytest.mark.row(123)
async def test_metadata_at_join_is_limited(lobby: Lobby) -> None:
    def join(**values: Any) -> rtc.JoinRequest:
        return rtc.JoinRequest(
            client_info=models.ClientInfo(sdk=models.ClientInfo.JS, protocol=16), **values
        )

    options: dict[str, Any] = {"canUpdateOwnMetadata": True}
    # Too long for a request line without compression, so it comes in the token or packed.
    big = join(participant_attributes=BIG_ATTRIBUTES)
    assert await refused(lobby, "alice", single=True, join=big, **options) == 500
    attributes = {"a": "1", "b": ""}
    claims = {"attributes": {"b": "2", "c": "3"}, "metadata": "token"}
    small = join(participant_attributes=attributes, metadata="mine")
    joined = await lobby.signal("alice", single=True, join=small, claims=claims, **options)
    participant = joined.join.participant
    assert dict(participant.attributes) == {"a": "1", "b": "2", "c": "3"}
    assert participant.metadata == "mine"


@pytest.mark.row(123, 51)
async def test_metadata_by_signal(lobby: Lobby) -> None:
    alice = await lobby.signal("alice", canUpdateOwnMetadata=True)
    bob = await lobby.signal("bob")

    async def change(signal: Signal, number: int, **values: Any) -> rtc.RequestResponse:
        request = rtc.UpdateParticipantMetadata(request_id=number, **values)
        await signal.send(update_metadata=request)
        return await signal.expect("request_response", lambda r: r.request_id == number)

    response = await change(alice, 1, name="Al", metadata="m", attributes={"a": "1", "b": "2"})
    assert response.reason == rtc.RequestResponse.Reason.OK
    told = await bob.expect_participant("alice", lambda p: dict(p.attributes) != {})
    assert (told.name, told.metadata, dict(told.attributes)) == ("Al", "m", {"a": "1", "b": "2"})
    await change(alice, 2, attributes={"a": ""})
    await bob.expect_participant("alice", lambda p: dict(p.attributes) == {"b": "2"})
    for number, values in enumerate(
        ({"name": "n" * 257}, {"metadata": BIG_METADATA}, {"attributes": BIG_ATTRIBUTES}), 3
    ):
        response = await change(alice, number, **values)
        assert response.reason == rtc.RequestResponse.Reason.LIMIT_EXCEEDED
    response = await change(bob, 9, metadata="not allowed")
    assert response.reason == rtc.RequestResponse.Reason.NOT_ALLOWED


# -- live permissions -------------------------------------------------------------------------


@pytest.mark.row(122, 67, 59)
@both
async def test_the_permission_to_publish_is_taken_away(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    audio, _ = await alice.publish()
    video, _ = await alice.publish(kind="video", width=320, height=240)
    await bob.receives(audio.sid)
    only_audio = Permission(
        can_subscribe=True,
        can_publish=True,
        can_publish_data=True,
        can_publish_sources=[models.TrackSource.MICROPHONE],
    )
    info = await permit(lobby, "alice", only_audio)
    assert info.permission == only_audio
    assert (await alice.signal.expect("track_unpublished")).track_sid == video.sid
    told = await bob.signal.expect_participant("alice", lambda p: p.permission == only_audio)
    assert [track.sid for track in told.tracks] == [audio.sid]
    await bob.receives(audio.sid)

    info = await permit(lobby, "alice", Permission(can_subscribe=True))
    assert not info.is_publisher
    assert (await alice.signal.expect("track_unpublished")).track_sid == audio.sid
    await bob.signal.expect_participant("alice", lambda p: not p.tracks)
    add = rtc.AddTrackRequest(
        cid="another", type=models.TrackType.AUDIO, source=models.TrackSource.MICROPHONE
    )
    await alice.signal.send(add_track=add)
    response = await alice.signal.expect("request_response")
    assert response.reason == rtc.RequestResponse.Reason.NOT_ALLOWED
    while True:
        token = await alice.signal.expect("refresh_token")
        video_grant = jwt.decode(token, options={"verify_signature": False})["video"]
        if video_grant.get("canPublish") is False:
            break
    assert (video_grant["room"], video_grant["roomJoin"]) == (lobby.room, True)
    assert video_grant["canSubscribe"] is True

    assert (await permit(lobby, "alice", EVERYTHING)).is_publisher, "connected, and may publish"
    again, _ = await alice.publish(name="again")
    await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 1)
    await bob.receives(again.sid)


@pytest.mark.row(122, 132)
@both
async def test_the_permission_to_subscribe_comes_and_goes(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    audio, _ = await alice.publish()
    bob = await media.join(lobby, "bob", single=single, active=False, canSubscribe=False)
    assert not bob.signal.join.subscriber_primary
    if not single:
        # Its primary connection is the one that it publishes on.
        await bob.negotiate()
    await bob.ready()
    await alice.signal.never("track_subscribed", 0.5)
    await permit(lobby, "bob", EVERYTHING)
    await bob.receives(audio.sid)
    assert (await alice.signal.expect("track_subscribed")).track_sid == audio.sid
    await permit(lobby, "bob", Permission(can_publish=True, can_publish_data=True))
    await media.quiet(lobby, bob, audio.sid)


@pytest.mark.row(122, 151)
async def test_the_permission_to_send_data(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    bob = await media.join(lobby, "bob", single=True)
    await bob.ready()

    async def send(payload: bytes) -> None:
        await alice.send_data(models.DataPacket(user=models.UserPacket(payload=payload)))

    await send(b"one")
    await bob.packet("user")
    await permit(lobby, "alice", Permission(can_subscribe=True, can_publish=True))
    await send(b"two")
    await lobby.pause(0.3)
    await permit(lobby, "alice", EVERYTHING)
    await send(b"three")
    await bob.packet("user")
    async with asyncio.timeout(PATIENCE_S):
        while len(bob.received) < 2:  # noqa: ASYNC110 - packets have no event
            await asyncio.sleep(0.02)
    assert [packet.user.payload for packet in bob.received] == [b"one", b"three"]


@pytest.mark.row(122)
async def test_a_permission_reaches_everybody_at_once(lobby: Lobby) -> None:
    alice, bob = await lobby.signal("alice"), await lobby.signal("bob")
    permission = Permission(can_subscribe=True, can_update_metadata=True)
    await permit(lobby, "alice", permission)
    for signal in (alice, bob):
        async with asyncio.timeout(PATIENCE_S):
            await signal.expect_participant("alice", lambda p: p.permission == permission)
    await alice.send(update_metadata=rtc.UpdateParticipantMetadata(metadata="mine"))
    await bob.expect_participant("alice", lambda p: p.metadata == "mine")


@pytest.mark.row(124)
async def test_track_sids(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    for number, (kind, source, prefix) in enumerate(
        (
            ("AUDIO", "MICROPHONE", "TR_AM"),
            ("VIDEO", "CAMERA", "TR_VC"),
            ("VIDEO", "SCREEN_SHARE", "TR_VS"),
            ("AUDIO", "SCREEN_SHARE_AUDIO", "TR_As"),
            ("AUDIO", "UNKNOWN", "TR_A"),
        )
    ):
        add = rtc.AddTrackRequest(
            cid=f"track {number}",
            type=models.TrackType.Value(kind),
            source=models.TrackSource.Value(source),
        )
        await alice.send(add_track=add)
        published = await alice.expect("track_published", lambda p, cid=add.cid: p.cid == cid)
        assert published.track.sid.startswith(prefix)
