"""WHIP: a session that is one offer, one answer, and the ICE of a single connection (RFC 9725)."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import closing

import pytest
from aiortc.mediastreams import VideoStreamTrack
from livekit.protocol import models, rtc
from livekit.protocol import room as room_pb

from tests.conformance import media
from tests.conformance.kit import Lobby, until, within
from tests.conformance.whip_kit import ENDPOINT, FRAGMENT, SDP, Whip, publisher, value
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.row(17)
Source = models.TrackSource
State = models.ParticipantInfo.State
Reason = models.DisconnectReason


async def people(lobby: Lobby) -> dict[str, models.ParticipantInfo]:
    """Who is in the room, as the API says."""
    listed = await lobby.call(
        "ListParticipants", {"room": lobby.room}, room_pb.ListParticipantsResponse
    )
    return {p.identity: p for p in listed.participants}


def track_of(info: models.ParticipantInfo, source: Source) -> models.TrackInfo:
    """Its track of a source."""
    return next(track for track in info.tracks if track.source == source)


# -- a session -----------------------------------------------------------------------------------


@pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])
async def test_audio_and_video_reach_the_room(lobby: Lobby, single: bool) -> None:
    bob = await media.join(lobby, "bob", single=single)
    alice = publisher(lobby, claims={"name": "Alice", "metadata": "m", "kind": "ingress"})
    await alice.connect()
    info = await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 2)
    assert (info.sid, info.name, info.metadata) == (alice.sid, "Alice", "m")
    assert (info.state, info.kind) == (State.ACTIVE, models.ParticipantInfo.Kind.INGRESS)
    assert info.is_publisher
    microphone, camera = track_of(info, Source.MICROPHONE), track_of(info, Source.CAMERA)
    assert (microphone.type, camera.type) == (models.TrackType.AUDIO, models.TrackType.VIDEO)
    assert (microphone.name, camera.name) == ("synthesized-microphone", "synthesized-camera")
    assert (microphone.stream, camera.stream) == ("camera", "camera")
    assert (microphone.mime_type, camera.mime_type) == ("audio/opus", "video/VP8")
    assert (microphone.mid, camera.mid) == ("0", "1")
    assert microphone.disable_dtx
    assert not camera.simulcast
    assert [(layer.quality, layer.width) for layer in camera.layers] == [(0, 0)]
    assert microphone.codecs[0].cid == alice.pc.getSenders()[0].track.id
    await bob.receives(microphone.sid)
    await bob.receives(camera.sid)

    ended = await alice.request("DELETE", alice.location)
    assert (ended.status, ended.body) == (200, "")
    gone = await bob.signal.expect_participant("alice", lambda p: p.state == State.DISCONNECTED)
    assert gone.disconnect_reason == Reason.CLIENT_INITIATED
    assert set(await people(lobby)) == {"bob"}


async def test_the_answer_is_complete(lobby: Lobby) -> None:
    alice = publisher(lobby)
    await alice.describe()
    answer = await alice.post()
    assert answer.status == 201
    assert answer.headers["Content-Type"] == SDP
    assert re.fullmatch(rf"{ENDPOINT}/PA_\w{{12}}", answer.headers["Location"])
    assert answer.headers["ETag"] == value(answer.body, "ice-ufrag")
    assert re.fullmatch(r'<stuns?:[^>]+>; rel="ice-server"', answer.headers["Link"])
    sections = re.split(r"(?m)^m=", answer.body)[1:]
    assert [section.split()[0] for section in sections] == ["audio", "video"]
    assert all("\r\na=recvonly\r\n" in section for section in sections)
    assert "a=candidate:" in sections[0]
    assert "\r\na=end-of-candidates\r\n" in sections[0]
    assert "a=group:BUNDLE 0 1\r\n" in answer.body


async def test_simulcast_by_rid(lobby: Lobby) -> None:
    alice = publisher(lobby)
    await alice.describe()
    rids = "".join(f"a=rid:{rid} send\r\n" for rid in "qhf") + "a=simulcast:send q;h;f\r\n"
    sdp = alice.offer.replace("a=mid:1\r\n", f"a=mid:1\r\n{rids}")
    alice.created = await alice.post(sdp)
    assert alice.created.status == 201
    assert "a=simulcast:recv q;h;f\r\n" in alice.created.body
    assert "a=rid:h recv\r\n" in alice.created.body


async def test_a_session_replaces_the_one_before(lobby: Lobby) -> None:
    bob = await media.join(lobby, "bob", single=True)
    first, second = publisher(lobby), publisher(lobby)
    await first.connect()
    await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 2)
    await second.connect()
    await bob.signal.expect_participant(
        "alice", lambda p: p.sid == second.sid and len(p.tracks) == 2
    )
    assert (await first.patch(first.fragment())).status == 404
    # What is over already is not an error to end, and ends nothing else.
    assert (await first.request("DELETE", first.location)).status == 200
    assert (await people(lobby))["alice"].sid == second.sid


async def test_without_can_publish_nothing_is_published(lobby: Lobby) -> None:
    alice = publisher(lobby, canPublish=False)
    await alice.connect()

    async def active() -> bool:
        return (await people(lobby))["alice"].state == State.ACTIVE

    async with within(PATIENCE_S, "active"):
        while not await active():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.05)
    assert not (await people(lobby))["alice"].tracks


async def test_sources_that_may_be_published(lobby: Lobby) -> None:
    bob = await media.join(lobby, "bob", single=True)
    alice = publisher(lobby, canPublishSources=["microphone"])
    await alice.connect()
    info = await bob.signal.expect_participant("alice", lambda p: bool(p.tracks))
    await bob.receives(info.tracks[0].sid)
    assert [track.source for track in (await people(lobby))["alice"].tracks] == [Source.MICROPHONE]


async def test_tracks_that_are_asked_for_by_name(lobby: Lobby) -> None:
    """The answer waits for them, if the offer has sections to receive in."""
    alice = Whip(lobby, "alice")
    for kind in ("audio", "video"):
        alice.pc.addTransceiver(kind, direction="recvonly")
    bob = await media.join(lobby, "bob", single=False)
    names = '{"subscribedParticipantTrackNames": {"bob": ["voice", "face"]}}'
    connecting = asyncio.create_task(alice.connect(X_LiveKit_ClientInfo=names))
    await bob.publish(name="voice")
    await bob.publish(VideoStreamTrack(), kind="video", name="face")
    await connecting
    await alice.receives("audio")
    await alice.receives("video")


@pytest.mark.row(160)
async def test_bare_data_both_ways(lobby: Lobby) -> None:
    bob = await media.join(lobby, "bob", single=False)
    alice = publisher(lobby)
    channel, came = alice.pc.createDataChannel("mine"), []
    channel.on("message", came.append)
    await alice.connect()
    await until(lambda: channel.readyState == "open", "channel")
    channel.send(b"from alice")
    packet = await bob.packet("user")
    assert (packet.participant_identity, packet.user.payload) == ("alice", b"from alice")
    chat = models.DataPacket(chat_message=models.ChatMessage(message="no bytes"))
    await bob.send_data(chat)
    await bob.send_data(models.DataPacket(user=models.UserPacket(payload=b"from bob")))
    await until(lambda: came, "data")
    assert came == [b"from bob"]


# -- ICE -----------------------------------------------------------------------------------------


async def test_trickled_candidates_are_tried(lobby: Lobby) -> None:
    alice = publisher(lobby)
    await alice.describe()
    bare = re.sub(r"a=(candidate:.*|end-of-candidates)\r\n", "", alice.offer)
    alice.created = await alice.post(bare)
    alice.tag = alice.created.headers["ETag"]
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        candidate = f"a=candidate:1 1 udp 2122260223 127.0.0.1 {peer.getsockname()[1]} typ host"
        answer = await alice.patch(alice.fragment(candidate, "a=end-of-candidates"))
        assert (answer.status, answer.body) == (204, "")
        async with asyncio.timeout(PATIENCE_S):
            check = await asyncio.get_running_loop().sock_recv(peer, 1500)
    # A STUN binding request; its user name is ours and the server's (RFC 8445 7.2.2).
    assert check[:2] == b"\0\1"
    assert f"{value(alice.offer, 'ice-ufrag')}:{alice.tag}".encode() in check


async def test_media_goes_on_after_an_ice_restart(lobby: Lobby) -> None:
    bob = await media.join(lobby, "bob", single=False)
    alice = publisher(lobby)
    await alice.connect()
    info = await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 2)
    before = alice.tag
    answer = await alice.restart()
    assert answer.headers["Content-Type"] == FRAGMENT
    assert alice.tag == value(answer.body, "ice-ufrag") != before
    assert answer.body.startswith("a=group:BUNDLE 0")
    assert answer.body.count("\r\nm=") == 1
    assert value(answer.body, "mid") == "0"
    assert "a=candidate:" in answer.body
    for track in info.tracks:
        await bob.receives(track.sid, frames=20)
    over = await alice.patch(alice.fragment(), before)
    assert over.status == (412 if lobby.target.ours else 500)
    assert over.error.startswith("ice session mismatch")


async def test_a_lost_connection_ends_the_session(lobby: Lobby) -> None:
    """Nobody can be told to come back."""
    bob = await media.join(lobby, "bob", single=True)
    alice = publisher(lobby)
    await alice.connect()
    await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 2)
    await alice.close()

    def gone(update: rtc.ParticipantUpdate) -> bool:
        return any(p.state == State.DISCONNECTED for p in update.participants)

    # ICE has to fail first.
    update = await bob.signal.expect("update", gone)
    assert [p.disconnect_reason for p in update.participants] == [Reason.CONNECTION_TIMEOUT]
    late = await alice.request("DELETE", alice.location)
    assert late.status == 404


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "status", "error"),
    [
        ({"claims": {"video": None}}, 401, "no permissions to access the room"),
        ({"roomJoin": False}, 401, "permissions denied"),
        ({"claims": {"video": {"roomJoin": True}}}, 401, "room name cannot be empty"),
        (
            {"claims": {"video": {"roomJoin": True, "room": "r" * 257}}},
            400,
            "room name length exceeds limits: max length 256",
        ),
        ({"claims": {"sub": None}}, 400, "identity cannot be empty"),
        (
            {"claims": {"sub": "i" * 257}},
            400,
            "participant identity length exceeds limits: max length 256",
        ),
    ],
    ids=["no-grant", "no-join", "no-room", "long-room", "no-identity", "long-identity"],
)
async def test_tokens_that_create_nothing(
    lobby: Lobby, token: dict[str, object], status: int, error: str
) -> None:
    alice = publisher(lobby, **token)
    await alice.describe()
    answer = await alice.post()
    assert (answer.status, answer.error) == (status, error)


async def test_without_a_token(lobby: Lobby) -> None:
    alice = publisher(lobby)
    await alice.describe()
    alice.token = None
    refused = await alice.post()
    assert (refused.status, refused.error) == (401, "no permissions to access the room")
    alice.token = "rubbish"
    assert (await alice.post()).status == 401


@pytest.mark.parametrize(
    ("body", "headers", "status", "error"),
    [
        (None, {"Content_Type": "text/plain"}, 400, "unsupported content-type: text/plain"),
        (
            None,
            {"Content_Type": f"{SDP}; charset=utf-8"},
            400,
            f"unsupported content-type: {SDP}; charset=utf-8",
        ),
        (b"", {}, 400, "body does not have SDP offer"),
        (b"hello", {}, 400, "malformed SDP offer: "),
        (b"v" * (1024 * 1024 + 1), {}, 413, "request body exceeds 1048576 bytes"),
        (None, {"X_LiveKit_ClientInfo": "{"}, 400, "malformed json in client info header: "),
    ],
    ids=["content-type", "charset", "empty", "no-sdp", "large", "client-info"],
)
async def test_offers_that_create_nothing(
    lobby: Lobby, body: bytes | None, headers: dict[str, str], status: int, error: str
) -> None:
    alice = publisher(lobby)
    await alice.describe()
    refused = await alice.post(body, **headers)
    assert (refused.status, refused.error[: len(error)]) == (status, error)


async def test_fragments_that_change_nothing(lobby: Lobby) -> None:
    alice = publisher(lobby)
    await alice.connect()
    candidate = "a=candidate:1 1 udp 2122260223 127.0.0.1 61764 typ host"
    good = alice.fragment(candidate)
    for fragment, status, error in (
        ("", 400, "invalid sdp fragment"),
        ("hello", 400, "invalid sdp fragment"),
        (good + good, 400, "invalid sdp fragment"),
        (re.sub(r"a=ice-pwd:.*\r\n", "", good), 400, "invalid sdp fragment"),
        (alice.fragment(candidate, mid="7"), 400, "media mid does not match bundle mid"),
        (alice.fragment(candidate, ufrag="other"), 400, "ice credential mismatch"),
        (alice.fragment(candidate, pwd="p" * 24), 400, "ice credential mismatch"),
        ("a" * (1024 * 1024 + 1), 413, "request body exceeds 1048576 bytes"),
    ):
        refused = await alice.patch(fragment)
        assert (refused.status, refused.error[: len(error)]) == (status, error), fragment[:200]
    untagged = await alice.request("PATCH", alice.location, good, Content_Type=FRAGMENT)
    assert (untagged.status, untagged.error) == (428, "missing entity tag")
    wrong = await alice.request("PATCH", alice.location, good, Content_Type=SDP, If_Match="*")
    assert (wrong.status, wrong.error) == (400, f"unsupported content-type: {SDP}")
    assert (await alice.patch(good)).status == 204


async def test_sessions_that_are_not_there(lobby: Lobby) -> None:
    alice, stranger = publisher(lobby), publisher(lobby, "stranger")
    await alice.connect()
    unknown = await alice.request(
        "PATCH", f"{ENDPOINT}/PA_nobody", alice.fragment(), Content_Type=FRAGMENT, If_Match="*"
    )
    assert (unknown.status, unknown.error) == (404, "participant does not exist")
    await stranger.describe()
    stranger.created = alice.created
    ended = await stranger.request("DELETE", alice.location)
    assert ended.status == 404
    assert "alice" in await people(lobby)
    stranger.token = None
    for refused in (
        await stranger.patch(alice.fragment(), "*"),
        await stranger.request("DELETE", alice.location),
    ):
        assert (refused.status, refused.error) == (401, "no permissions to access the room")


async def test_what_else_the_routes_do(lobby: Lobby) -> None:
    client = Whip(lobby, "alice")
    for method, path, status in (
        ("GET", ENDPOINT, 204),
        ("HEAD", ENDPOINT, 204),
        ("PUT", ENDPOINT, 404),
        ("DELETE", ENDPOINT, 404),
        ("GET", f"{ENDPOINT}/PA_nobody", 204),
        ("POST", f"{ENDPOINT}/PA_nobody", 404),
        ("DELETE", f"{ENDPOINT}/PA_nobody/more", 404),
        ("DELETE", f"{ENDPOINT}/", 404),
    ):
        assert (await client.request(method, path)).status == status, (method, path)
    options = await client.request("OPTIONS", ENDPOINT)
    assert options.status == 200
    assert options.headers["Access-Control-Allow-Origin"] == "*"
    allowed = options.headers["Access-Control-Allow-Methods"]
    assert allowed == "PATCH, OPTIONS, GET, POST, DELETE"
