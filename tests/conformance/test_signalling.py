"""Join, frames and negotiation in both topologies."""

from __future__ import annotations

import time

import pytest
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, Refused

both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])


@pytest.mark.row(26, 30, 31, 42)
@both
async def test_join_response(lobby: Lobby, single: bool) -> None:
    signal = await lobby.signal("alice", single=single)
    join = signal.join
    assert join.room.name == lobby.room
    assert join.room.sid.startswith("RM_")
    assert join.participant.identity == "alice"
    assert join.participant.sid.startswith("PA_")
    assert join.participant.state == models.ParticipantInfo.State.JOINING
    assert (join.ping_interval, join.ping_timeout) == (5, 15)
    assert join.server_info.protocol >= 16
    assert join.server_info.node_id.startswith("ND_")
    assert join.sif_trailer
    assert join.fast_publish
    assert join.subscriber_primary is not single
    assert next(c.mime.lower() for c in join.enabled_publish_codecs) == "video/vp8"


@pytest.mark.row(32)
async def test_pings(lobby: Lobby) -> None:
    signal = await lobby.signal("alice")
    await signal.send(ping=7)
    pong = await signal.expect("pong")
    assert abs(pong / 1000 - time.time()) < 60
    await signal.send(ping_req=rtc.Ping(timestamp=42, rtt=3))
    answer = await signal.expect("pong_resp")
    assert answer.last_ping_timestamp == 42


@pytest.mark.row(37, 38, 43, 35, 131, 116)
@both
async def test_publish_and_subscribe(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    audio, _ = await alice.publish(name="voice")
    video, _ = await alice.publish(kind="video", width=640, height=480)
    assert audio.sid.startswith("TR_")
    assert audio.name == "voice"
    await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 2)
    await bob.receives(audio.sid)
    await bob.receives(video.sid)
    carol = await media.join(lobby, "carol", single=single)
    await carol.receives(audio.sid)


@pytest.mark.row(151, 152)
@both
async def test_data(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    await bob.ready()
    packet = models.DataPacket(user=models.UserPacket(payload=b"hello", topic="greeting"))
    await alice.send_data(packet)
    received = await bob.packet("user")
    assert received.user.payload == b"hello"
    assert received.participant_identity == "alice"


@pytest.mark.row(8)
async def test_bad_token_is_refused(lobby: Lobby) -> None:
    with pytest.raises(Refused) as refused:
        await lobby.signal("alice", token="nonsense")
    assert refused.value.status == 401
