"""What later descriptions change of tracks that go on, in either direction."""

from __future__ import annotations

import pytest
from livekit.protocol import rtc

from lkpy.engine.api import (
    CloseDownTrack,
    CloseReceiver,
    CreateDownTrack,
    CreateReceiver,
    MediaKind,
    RenegotiateDownTrack,
    RenegotiateReceiver,
    UpdateDownTrack,
)
from lkpy.sdp import Direction, MediaDescription, SessionDescription, Setup, SsrcGroup
from lkpy.server.rtc.transport import PeerTransport
from tests.room_kit import VIDEO_CID, camera, running
from tests.transport_kit import (
    DIGEST,
    RecordingEngine,
    add,
    answer_of,
    offer,
    sample,
    single,
    subscriber,
    track_info,
)

AUDIO, VIDEO = MediaKind.AUDIO, MediaKind.VIDEO
PUBLISH = sample("chrome_offer")
JOIN = sample("chrome_join_offer")


def changed(text: str, old: int, new: int) -> str:
    """Another payload type in a description."""
    return (
        text.replace(f":{old} ", f":{new} ")
        .replace(f" {old} ", f" {new} ")
        .replace(f" {old}\r", f" {new}\r")
        .replace(f"apt={old}", f"apt={new}")
    )


def video_of(text: str) -> tuple[SessionDescription, MediaDescription]:
    description = SessionDescription.parse(text)
    media = next(m for m in description.media if m.kind == "video" and m.sends)
    return description, media


# -- what the client sends ------------------------------------------------------------------------


def published(engine: RecordingEngine) -> tuple[PeerTransport, int]:
    """A client that publishes a camera."""
    transport = single(engine)
    result = offer(transport, PUBLISH, lookup=lambda *_: track_info("video/VP8"))
    (track,) = (track for track in result.tracks if track.kind is VIDEO)
    return transport, transport.create_receiver(track, clock_group=1)


def test_the_same_offer_again_changes_nothing() -> None:
    engine = RecordingEngine()
    transport, _ = published(engine)
    result = offer(transport, PUBLISH, lookup=lambda *_: track_info("video/VP8"))
    assert (result.tracks, result.changed, result.closed) == ((), (), ())
    assert engine.of(RenegotiateReceiver) == []


def test_payload_types_and_extension_ids_of_a_later_offer_count() -> None:
    engine = RecordingEngine()
    transport, receiver = published(engine)
    description, media = video_of(PUBLISH)
    media.header_extensions = tuple(
        type(e)(e.id + 1 if e.id < 14 else 2, e.uri) for e in media.header_extensions
    )
    text = changed(str(description), 96, 66)
    result = offer(transport, text, lookup=lambda *_: track_info("video/VP8"))
    assert (result.tracks, result.closed) == ((), ())
    assert [track.mid for track in result.changed] == [media.mid]
    (command,) = engine.of(RenegotiateReceiver)
    assert command.receiver == receiver
    assert command.codecs[0].payload_type == 66
    (created,) = engine.of(CreateReceiver)
    before = {e.uri: e.id for e in created.header_extensions}
    assert all(before[e.uri] != e.id for e in command.header_extensions)
    assert answer_of(result).section(media.mid or "").codecs[0].payload_type == 66


def test_rids_become_ssrcs_and_the_track_goes_on() -> None:
    engine = RecordingEngine()
    transport, receiver = published(engine)
    description, media = video_of(PUBLISH)
    media.rids, media.simulcast = [], None
    media.ssrc_groups = [SsrcGroup("SIM", (11, 12)), SsrcGroup("FID", (11, 21))]
    result = offer(transport, str(description), lookup=lambda *_: track_info("video/VP8"))
    assert (result.tracks, result.closed) == ((), ())
    (command,) = engine.of(RenegotiateReceiver)
    assert (command.receiver, len(command.encodings)) == (receiver, 2)
    assert [(e.ssrc, e.rtx_ssrc) for e in command.encodings] == [(11, 21), (12, None)]
    assert engine.of(CloseReceiver) == []


def test_a_track_that_is_not_named_again_goes_on_and_another_name_is_another_track() -> None:
    engine = RecordingEngine()
    transport, receiver = published(engine)
    description, media = video_of(PUBLISH)
    named = media.msids
    media.msids = []
    for attributes in media.ssrcs.values():
        attributes.pop("msid", None)
    result = offer(transport, str(description), lookup=lambda *_: track_info("video/VP8"))
    assert (result.tracks, result.closed) == ((), ())
    media.msids = [type(named[0])("stream", "another")]
    result = offer(transport, str(description), lookup=lambda *_: track_info("video/VP8"))
    assert [track.cid for track in result.tracks] == ["another"]
    assert engine.of(CloseReceiver) == [CloseReceiver(receiver)]


def test_a_track_ends_when_its_direction_changes() -> None:
    for direction in (Direction.INACTIVE, Direction.RECVONLY):
        engine = RecordingEngine()
        transport, receiver = published(engine)
        description, media = video_of(PUBLISH)
        media.direction = direction
        result = offer(transport, str(description))
        assert [closed.receiver for closed in result.closed if closed.kind is VIDEO] == [receiver]


async def test_what_changed_is_in_the_tracks_description() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(camera())
        bob = await world.join("bob", single=False)
        description, media = video_of(PUBLISH)
        media.rids, media.simulcast = [], None
        media.ssrc_groups = [SsrcGroup("SIM", (11, 12))]
        await alice.offer(str(description), 3)
        (info,) = alice.participant.to_proto().tracks
        assert [(layer.spatial_layer, layer.ssrc) for layer in info.codecs[0].layers] == [
            (0, 11),
            (1, 12),
        ]
        assert info.codecs[0].cid == VIDEO_CID
        (receiver,) = world.engine.receivers.values()
        assert [encoding.ssrc for encoding in receiver.encodings] == [11, 12]
        (down,) = world.engine.down_tracks.values()
        assert down.receiver == receiver.receiver
        assert bob.participant.subscribing.tracks


async def test_numbers_that_change_are_told_to_nobody() -> None:
    async with running() as world:
        alice = await world.join("alice")
        await alice.publish(camera())
        bob = await world.join("bob", single=False)
        bob.fresh()
        await alice.offer(changed(PUBLISH, 96, 66), 3)
        await world.advance(1)
        assert len(world.engine.of(RenegotiateReceiver)) == 1
        assert bob.fresh() == []


# -- what the client receives ---------------------------------------------------------------------


class Answers:
    """Answers offers, as the test changes them."""

    def __init__(self, engine: RecordingEngine) -> None:
        self.transport = subscriber(engine)
        self.now = 0.0

    def next_offer(self) -> SessionDescription:
        self.now += 1
        self.transport.negotiate(self.now)
        self.now += 1
        (output,) = self.transport.poll(self.now)
        self.id = output.offer.id
        offered = SessionDescription.parse(output.offer.sdp)
        for media in offered.media:
            media.direction = Direction.RECVONLY
            media.transport.ice_ufrag, media.transport.ice_pwd = "clnt", "p" * 24
            media.transport.setup = Setup.ACTIVE
            media.msids, media.ssrcs, media.ssrc_groups = [], {}, []
        offered.transport.fingerprints = [
            type(offered.transport.fingerprints[0])("sha-256", DIGEST)
        ]
        return offered

    def answer(self, text: str) -> object:
        description = rtc.SessionDescription(type="answer", sdp=text, id=self.id)
        return self.transport.handle_answer(self.now, description)


def test_an_answer_with_other_payload_types_and_ids_counts() -> None:
    engine = RecordingEngine()
    client = Answers(engine)
    video = add(client.transport, VIDEO, "v")
    client.answer(str(client.next_offer()))
    client.answer(str(client.next_offer()))
    assert engine.of(RenegotiateDownTrack) == []
    offered = client.next_offer()
    offered.media[1].header_extensions = tuple(
        type(e)(e.id + 3, e.uri) for e in offered.media[1].header_extensions
    )
    result = client.answer(changed(changed(str(offered), 96, 120), 97, 121))
    assert (result.bound, result.unsupported) == ((), ())
    (command,) = engine.of(RenegotiateDownTrack)
    assert command.down_track == video.id
    assert [(c.payload_type, c.rtx_payload_type) for c in command.codecs] == [(120, 121)]
    (created,) = engine.of(CreateDownTrack)
    ids = {e.uri: e.id for e in created.header_extensions}
    assert all(e.id == ids[e.uri] + 3 for e in command.header_extensions)


def test_an_answer_without_rtx_and_then_without_the_codec() -> None:
    engine = RecordingEngine()
    client = Answers(engine)
    video = add(client.transport, VIDEO, "v")
    client.answer(str(client.next_offer()))
    offered = client.next_offer()
    offered.media[1].codecs = tuple(c for c in offered.media[1].codecs if c.name == "VP8")
    client.answer(str(offered))
    (command,) = engine.of(RenegotiateDownTrack)
    assert [codec.rtx_payload_type for codec in command.codecs] == [None]
    offered = client.next_offer()
    offered.media[1].codecs = tuple(c for c in offered.media[1].codecs if c.name == "H264")
    result = client.answer(str(offered))
    assert result.unsupported == (video,)
    assert engine.of(CloseDownTrack) == [CloseDownTrack(video.id)]


@pytest.mark.parametrize("direction", [Direction.INACTIVE, Direction.SENDONLY])
def test_a_section_that_does_not_receive_is_held(direction: Direction) -> None:
    engine = RecordingEngine()
    client = Answers(engine)
    video = add(client.transport, VIDEO, "v")
    client.answer(str(client.next_offer()))
    offered = client.next_offer()
    offered.media[1].direction = direction
    client.answer(str(offered))
    assert engine.of(UpdateDownTrack) == [UpdateDownTrack(video.id, 2, 3, muted=True)]
    down_tracks = client.transport.down_tracks
    down_tracks.update(video, max_spatial=1, max_temporal=3, muted=False)
    assert engine.of(UpdateDownTrack)[-1].muted, "it is held still"
    client.answer(str(client.next_offer()))
    assert engine.of(UpdateDownTrack)[-1] == UpdateDownTrack(video.id, 1, 3, muted=False)


def test_an_offer_with_other_payload_types_counts_for_what_it_receives() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    video = add(transport, VIDEO, "v")
    offer(transport, JOIN)
    offer(transport, JOIN)
    assert engine.of(RenegotiateDownTrack) == []
    offer(transport, changed(changed(JOIN, 96, 66), 97, 67))
    (command,) = engine.of(RenegotiateDownTrack)
    assert command.down_track == video.id
    assert [(c.payload_type, c.rtx_payload_type) for c in command.codecs] == [(66, 67)]
