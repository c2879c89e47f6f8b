"""Join, order of messages, negotiation and updates, in both topologies."""

from __future__ import annotations

import json
import re
import time

import jwt
import pytest
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, Refused, wrap

both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])


# -- joining --------------------------------------------------------------------------------------


@pytest.mark.row(26, 30, 31, 42, 7, 8)
@both
async def test_join_response(lobby: Lobby, single: bool) -> None:
    first = await lobby.signal("carol", single=single)
    signal = await lobby.signal("alice", single=single, claims={"name": "Alice", "metadata": "m"})
    join = signal.join
    assert join.room.name == lobby.room
    assert join.room.sid.startswith("RM_")
    assert join.room.empty_timeout == 300
    assert join.room.departure_timeout == 20
    assert join.room.creation_time
    assert join.room.turn_password
    assert {c.mime.lower() for c in join.room.enabled_codecs} >= {"audio/opus", "video/vp8"}
    me = join.participant
    assert (me.identity, me.name, me.metadata) == ("alice", "Alice", "m")
    assert me.sid.startswith("PA_")
    assert me.state == models.ParticipantInfo.State.JOINING
    assert me.permission.can_publish
    assert me.permission.can_subscribe
    assert me.permission.can_publish_data
    assert not me.permission.can_update_metadata
    assert me.joined_at
    assert me.joined_at_ms // 1000 == me.joined_at
    assert [p.sid for p in join.other_participants] == [first.join.participant.sid]
    assert (join.ping_interval, join.ping_timeout) == (5, 15)
    assert join.server_info.edition == models.ServerInfo.Standard
    assert join.server_info.protocol >= 16
    assert join.server_info.agent_protocol == 1
    assert join.server_info.node_id.startswith("ND_")
    assert join.server_info.version == join.server_version
    assert join.sif_trailer == first.join.sif_trailer != b""
    assert join.fast_publish
    assert join.subscriber_primary is not single
    assert not join.alternative_url
    mimes = [c.mime.lower() for c in join.enabled_publish_codecs]
    assert mimes[:2] == ["video/vp8", "video/h264"]
    assert "video/rtx" not in mimes
    kinds = [mime.partition("/")[0] for mime in mimes]
    assert kinds == sorted(kinds, reverse=True), "video before audio"
    assert any(server.urls for server in join.ice_servers)


@pytest.mark.row(42)
async def test_the_publisher_is_primary_without_subscribing(lobby: Lobby) -> None:
    cannot = await lobby.signal("alice", canSubscribe=False)
    assert not cannot.join.subscriber_primary
    old = await lobby.signal("bob", protocol=2)
    assert not old.join.subscriber_primary


@pytest.mark.row(41)
async def test_fast_publish_needs_the_permission(lobby: Lobby) -> None:
    signal = await lobby.signal("alice", canPublish=False)
    assert not signal.join.fast_publish


@pytest.mark.row(37, 34, 36)
async def test_dual_session_starts_with_the_subscribers_offer(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    offer = await signal.expect("offer")
    assert 1 <= offer.id <= 257
    assert offer.type == "offer"
    assert "m=application" in offer.sdp
    assert "a=group:BUNDLE" in offer.sdp
    last = await signal.expect("trickle", lambda t: t.final)
    assert last.target == rtc.SignalTarget.SUBSCRIBER
    assert json.loads(last.candidateInit)["candidate"].startswith("candidate:")
    assert [t.final for t in signal.all("trickle")].count(True) == 1
    token = await signal.expect("refresh_token")
    assert signal.kinds[0] == "join"
    assert signal.kinds.index("offer") < signal.kinds.index("trickle")
    claims = jwt.decode(token, lobby.target.secret, algorithms=["HS256"])
    assert claims["sub"] == "alice"
    assert claims["video"]["room"] == lobby.room
    assert claims["exp"] > time.time() + 500


@pytest.mark.row(38, 40, 34, 36, 9)
async def test_single_session_starts_with_the_answer(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True, active=False)
    answer = alice.signal.all("answer")[0]
    assert answer.id == 1
    assert answer.type == "answer"
    await alice.signal.expect("trickle", lambda t: t.final)
    assert {t.target for t in alice.signal.all("trickle")} == {rtc.SignalTarget.PUBLISHER}
    kinds = alice.signal.kinds
    assert kinds[0] == "join"
    assert kinds.index("answer") < kinds.index("trickle")
    assert "offer" not in kinds, "the server never offers on a single connection"
    await alice.connected()
    # The same on /rtc: what makes a single connection is the join_request.
    assert not (await lobby.signal("bob", single=True, path="/rtc")).join.subscriber_primary


@pytest.mark.row(40, 43)
async def test_tracks_added_with_the_join(lobby: Lobby) -> None:
    adds = [
        rtc.AddTrackRequest(cid="a", name="voice", type=models.TrackType.AUDIO),
        rtc.AddTrackRequest(cid="b", name="face", type=models.TrackType.VIDEO),
    ]
    join = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk=models.ClientInfo.JS, protocol=16),
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
        add_track_requests=adds,
    )
    signal = await lobby.signal("alice", single=True, join=join)
    await signal.expect("track_published", lambda p: p.cid == "b")
    assert [(p.cid, p.track.name) for p in signal.all("track_published")] == [
        ("a", "voice"),
        ("b", "face"),
    ]
    assert signal.kinds[:3] == ["join", "track_published", "track_published"]


@pytest.mark.row(7)
async def test_v1_needs_a_join_request(lobby: Lobby) -> None:
    with pytest.raises(Refused) as refused:
        await lobby.signal("alice", path="/rtc/v1")
    assert refused.value.status == 400
    status, body, _ = await lobby.get("/rtc/v1/validate", lobby.target.token("alice", lobby.room))
    assert (status, body.strip()) == (400, "join_request is required")


@pytest.mark.row(10)
async def test_a_gzipped_join_request(lobby: Lobby) -> None:
    join = rtc.JoinRequest(client_info=models.ClientInfo(sdk=models.ClientInfo.JS, protocol=16))
    signal = await lobby.signal(
        "alice", path="/rtc/v1", params={"join_request": wrap(join, compress=True)}
    )
    assert signal.join.participant.identity == "alice"


# -- pings, errors --------------------------------------------------------------------------------


@pytest.mark.row(32)
async def test_pings(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    await signal.send(ping=7)
    pong = await signal.expect("pong")
    assert abs(pong / 1000 - time.time()) < 60
    await signal.send(ping_req=rtc.Ping(timestamp=42, rtt=3))
    answer = await signal.expect("pong_resp")
    assert answer.last_ping_timestamp == 42
    assert abs(answer.timestamp / 1000 - time.time()) < 60


@pytest.mark.row(69, 36)
async def test_a_candidate_that_is_none(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    await signal.send(trickle=rtc.TrickleRequest(candidateInit="{nonsense"))
    answer = await signal.expect("request_response")
    assert answer.reason == rtc.RequestResponse.Reason.UNCLASSIFIED_ERROR
    assert answer.trickle.candidateInit == "{nonsense"
    # It cost nothing else.
    await signal.send(ping=1)
    await signal.expect("pong")


@pytest.mark.row(26)
async def test_bytes_that_are_no_request_close_the_connection(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    await signal.send_raw(b"\xff\xff\xff\xff")
    await signal.ended()


# -- negotiation ----------------------------------------------------------------------------------


@pytest.mark.row(37, 38, 43, 35, 131, 116, 133)
@both
async def test_publish_and_subscribe(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    audio, _ = await alice.publish(name="voice")
    video, _ = await alice.publish(kind="video", width=640, height=480)
    assert audio.sid.startswith("TR_")
    assert (audio.name, audio.stream, audio.type) == ("voice", "camera", models.TrackType.AUDIO)
    assert (video.width, video.height) == (640, 480)
    info = await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 2)
    assert info.is_publisher
    assert {t.sid: t.mime_type for t in info.tracks} == {
        audio.sid: "audio/opus",
        video.sid: "video/VP8",
    }
    await bob.receives(audio.sid)
    await bob.receives(video.sid)
    # The mid of every track that is received is named.
    assert set(bob.mids.values()) == {audio.sid, video.sid}
    carol = await media.join(lobby, "carol", single=single)
    await carol.receives(audio.sid)


@pytest.mark.row(35)
@both
async def test_stream_and_track_ids_in_descriptions(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    audio, _ = await alice.publish()
    await bob.receives(audio.sid)
    described = (bob.signal.all("answer") if single else bob.signal.all("offer"))[-1]
    mid = next(mid for mid, sid in described.mid_to_track_id.items() if sid == audio.sid)
    section = next(
        s for s in re.split(r"(?m)^m=", described.sdp) if re.search(rf"(?m)^a=mid:{mid}\r?$", s)
    )
    assert f"a=msid:{alice.sid}|{audio.sid} {audio.sid}" in section
    assert "a=sendonly" in section or "a=sendrecv" in section


@pytest.mark.row(39)
async def test_more_media_sections_are_asked_for(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    audio, _ = await alice.publish()
    join = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk=models.ClientInfo.JS, protocol=16),
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
    )
    # An offer without receiving sections.
    bob = media.Participant("bob", single=True)
    join.publisher_offer.CopyFrom(await bob.offer())
    signal = await lobby.signal("bob", single=True, join=join)
    bob.listen(signal)
    lobby.opened(bob.close)
    bob.spawn(bob.follow())
    await bob.answered(join.publisher_offer)
    wanted = await signal.expect("media_sections_requirement")
    assert (wanted.num_audios, wanted.num_videos) == (1, 0)
    await bob.receives(audio.sid)


@pytest.mark.row(34)
@both
async def test_answers_echo_the_offers_id(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    for _ in range(2):
        answer = await alice.negotiate()
        assert answer.id == alice._offer_id


@pytest.mark.row(34)
async def test_one_offer_at_a_time(lobby: Lobby) -> None:
    """While an offer is out, changes wait for its answer and then lead to one more offer."""
    alice = await media.join(lobby, "alice", single=False)
    bob = await lobby.signal("bob")
    first = await bob.expect("offer")
    await alice.publish()
    await alice.publish(kind="video")
    await lobby.pause(0.5)
    assert len(bob.all("offer")) == 1
    assert first.id == bob.all("offer")[0].id


# -- updates --------------------------------------------------------------------------------------


@pytest.mark.row(61)
async def test_updates_of_participants(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    bob = await media.join(lobby, "bob", single=True)
    await bob.publish()
    published = await alice.signal.expect_participant("bob", lambda p: len(p.tracks) == 1)
    assert published.is_publisher
    await bob.publish(kind="video")
    second = await alice.signal.expect_participant("bob", lambda p: len(p.tracks) == 2)
    assert second.version > published.version
    await bob.signal.send(leave=rtc.LeaveRequest())
    gone = await alice.signal.expect_participant(
        "bob", lambda p: p.state == models.ParticipantInfo.State.DISCONNECTED
    )
    assert gone.disconnect_reason == models.DisconnectReason.CLIENT_INITIATED
    assert gone.version > second.version


@pytest.mark.row(61)
async def test_updates_of_watchers_come_in_batches(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    async with lobby.lateness() as late:
        began = time.monotonic()
        bob = await media.join(lobby, "bob", single=True)
        await alice.signal.expect_participant("bob")
        took = time.monotonic() - began
    assert took < 4.5 + late.total_s
    await bob.close()


@pytest.mark.row(60)
async def test_room_updates(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    await media.join(lobby, "bob", single=True)
    await alice.publish()
    update = await alice.signal.expect("room_update", lambda u: u.room.num_participants == 2)
    assert update.room.sid == alice.signal.join.room.sid


@pytest.mark.row(62, 126)
@both
async def test_active_speakers(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    carol = await media.join(lobby, "carol", single=single, auto_subscribe=False)
    tone = media.Tone()
    track, _ = await alice.publish(tone)
    await bob.receives(track.sid)

    def speaks(sid: str, active: bool):  # type: ignore[no-untyped-def]
        return lambda s: any(x.sid == sid and x.active is active for x in s.speakers)

    heard = await bob.signal.expect("speakers_changed", speaks(alice.sid, True))
    level = next(s.level for s in heard.speakers if s.sid == alice.sid)
    assert 0 < level <= 1
    assert level * 8 == int(level * 8), "levels are told in eighths"
    await alice.signal.expect("speakers_changed", speaks(alice.sid, True))
    tone.amplitude = 0.0
    silent = await bob.signal.expect("speakers_changed", speaks(alice.sid, False))
    assert next(s.level for s in silent.speakers if s.sid == alice.sid) == 0
    assert not carol.signal.all("speakers_changed"), "only those who receive it hear of it"


@pytest.mark.row(63, 127)
async def test_connection_quality(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=True)
    bob = await media.join(lobby, "bob", single=True)
    track, _ = await alice.publish()
    await bob.receives(track.sid)
    told: dict[str, rtc.ConnectionQualityInfo] = {}

    def both_are(update: rtc.ConnectionQualityUpdate) -> bool:
        # Together or one after the other: what is told is what changed.
        told.update((info.participant_sid, info) for info in update.updates)
        return {alice.sid, bob.sid} <= told.keys()

    await bob.signal.expect("connection_quality", both_are)
    assert {info.quality for info in told.values()} == {models.ConnectionQuality.EXCELLENT}
    assert all(4 < info.score <= 4.5 for info in told.values())


# -- clients and versions -------------------------------------------------------------------------


@pytest.mark.row(72, 148)
@pytest.mark.parametrize(
    ("info", "disabled"),
    [
        ({"browser": "safari", "browser_version": "17.0"}, {"video/av1"}),
        ({"browser": "safari", "browser_version": "18.4"}, {"video/av1", "video/vp9"}),
        ({"browser": "firefox", "os": "android"}, {"video/av1", "video/h264"}),
        ({"browser": "firefox mobile", "os": "android"}, {"video/av1", "video/h264"}),
        ({"browser": "Firefox", "browser_version": "157", "os": "linux"}, {"video/av1"}),
        ({"browser": "chrome", "os": "linux"}, set()),
        ({"device_model": "Xiaomi 2201117TI", "os": "android"}, {"video/h264"}),
    ],
)
async def test_client_configuration(lobby: Lobby, info: dict[str, str], disabled: set[str]) -> None:
    signal = await lobby.signal("alice", params=info)
    configuration = signal.join.client_configuration
    told = {c.mime.lower() for c in configuration.disabled_codecs.codecs} | {
        c.mime.lower() for c in configuration.disabled_codecs.publish
    }
    assert told == disabled
    enabled = {c.mime.lower() for c in signal.join.enabled_publish_codecs}
    assert not enabled & disabled


@pytest.mark.row(73)
async def test_older_protocols_have_no_newer_messages(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    old = await lobby.signal("old", protocol=2)
    await alice.publish(media.Tone())
    await alice.signal.expect("speakers_changed", lambda s: bool(s.speakers))
    await alice.signal.expect("connection_quality")
    assert not old.all("speakers_changed")
    assert not old.all("connection_quality")


@pytest.mark.row(73, 55, 115)
@pytest.mark.parametrize(("protocol", "has_action"), [(12, False), (13, True)])
async def test_leave_has_an_action_from_protocol_13(
    lobby: Lobby, protocol: int, has_action: bool
) -> None:
    old = await lobby.signal("alice", protocol=protocol)
    await lobby.signal("alice")
    leave = await old.expect("leave")
    assert leave.reason == models.DisconnectReason.DUPLICATE_IDENTITY
    assert leave.action == rtc.LeaveRequest.Action.DISCONNECT
    assert not leave.can_reconnect
    await old.ended()


@pytest.mark.row(73)
@pytest.mark.parametrize(("protocol", "answered"), [(14, False), (15, True)])
async def test_success_is_answered_from_protocol_15(
    lobby: Lobby, protocol: int, answered: bool
) -> None:
    signal = await lobby.signal("alice", protocol=protocol, canUpdateOwnMetadata=True)
    await signal.send(update_metadata=rtc.UpdateParticipantMetadata(metadata="x", request_id=9))
    await signal.expect("refresh_token")
    await signal.expect("refresh_token")
    await signal.send(ping=1)
    await signal.expect("pong")
    assert [r.request_id for r in signal.all("request_response")] == ([9] if answered else [])


# -- metadata -------------------------------------------------------------------------------------


@pytest.mark.row(51, 59, 81, 123)
async def test_update_own_metadata(lobby: Lobby) -> None:
    bob = await lobby.signal("bob")
    alice = await lobby.signal(
        "alice", canUpdateOwnMetadata=True, claims={"attributes": {"a": "1", "b": "2"}}
    )
    await alice.send(
        update_metadata=rtc.UpdateParticipantMetadata(
            name="New", metadata="data", attributes={"a": "", "c": "3"}, request_id=4
        )
    )
    # One update for all of it, or one for each field.
    attributes = {"b": "2", "c": "3"}
    for signal in (alice, bob):
        seen = await signal.expect_participant("alice", lambda p: dict(p.attributes) == attributes)
        assert (seen.name, seen.metadata) == ("New", "data")
    answer = await alice.expect("request_response")
    assert (answer.request_id, answer.reason) == (4, rtc.RequestResponse.Reason.OK)
    secret = lobby.target.secret

    def current(token: str) -> bool:
        claims = jwt.decode(token, secret, algorithms=["HS256"])
        return (claims.get("metadata"), claims["attributes"]) == ("data", {"b": "2", "c": "3"})

    await alice.expect("refresh_token", current)


@pytest.mark.row(51, 69, 81)
async def test_metadata_without_the_permission_or_too_large(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    await alice.send(update_metadata=rtc.UpdateParticipantMetadata(metadata="x", request_id=1))
    answer = await alice.expect("request_response")
    assert answer.reason == rtc.RequestResponse.Reason.NOT_ALLOWED
    assert answer.update_metadata.metadata == "x"
    bob = await lobby.signal("bob", canUpdateOwnMetadata=True)
    await bob.send(
        update_metadata=rtc.UpdateParticipantMetadata(attributes={"k": "v" * 70_000}, request_id=2)
    )
    answer = await bob.expect("request_response")
    assert (answer.request_id, answer.reason) == (2, rtc.RequestResponse.Reason.LIMIT_EXCEEDED)
