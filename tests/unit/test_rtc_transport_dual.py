"""The subscriber's connection of a pair: our offers, the client's answers."""

from __future__ import annotations

import pytest
from livekit.protocol import rtc

from lkpy.engine.api import (
    CloseDownTrack,
    CreateDownTrack,
    CreateTransport,
    DtlsRole,
    MediaKind,
    RenegotiateDownTrack,
    RestartIce,
    RtpCodec,
    RtpHeaderExtension,
    SetMaxMessageSize,
    SetRemoteParameters,
    UpdateDownTrack,
)
from lkpy.sdp import Direction, SdpError, SessionDescription, Setup
from lkpy.server.rtc.direction_config import DEPENDENCY_DESCRIPTOR, PLAYOUT_DELAY
from lkpy.server.rtc.media_sections import DownTrackHandle
from lkpy.server.rtc.options import PlayoutDelay
from lkpy.server.rtc.transport import PeerTransport
from lkpy.server.rtc.transport_types import AnswerResult, NegotiationFailed, SendOffer
from tests.transport_kit import (
    DIGEST,
    FINGERPRINT,
    VP8,
    RecordingEngine,
    add,
    connect,
    sample,
    subscriber,
)

AUDIO, VIDEO = MediaKind.AUDIO, MediaKind.VIDEO


class Client:
    """Answers offers as a browser does: same sections, what it can receive it receives."""

    def __init__(self, transport: PeerTransport) -> None:
        self.transport = transport
        self.now = 0.0
        self.ufrag = "clnt"
        self.setup = Setup.ACTIVE
        self.offers: list[SendOffer] = []

    def next_offer(self) -> SessionDescription:
        """Wait for an offer."""
        self.now += 1
        (output,) = self.transport.poll(self.now)
        assert isinstance(output, SendOffer)
        self.offers.append(output)
        return SessionDescription.parse(output.offer.sdp)

    def text(self, offered: SessionDescription) -> str:
        """The answer to ``offered``."""
        for media in offered.media:
            if media.direction is Direction.SENDONLY:
                media.direction = Direction.RECVONLY
            media.transport.ice_ufrag, media.transport.ice_pwd = self.ufrag, "p" * 24
            media.transport.setup = self.setup
            media.msids, media.ssrcs, media.ssrc_groups = [], {}, []
        offered.transport.fingerprints = [
            type(offered.transport.fingerprints[0])("sha-256", DIGEST)
        ]
        return str(offered)

    def send(self, text: str, answer_id: int | None = None) -> AnswerResult:
        """Send an answer."""
        if answer_id is None:
            answer_id = self.offers[-1].offer.id
        description = rtc.SessionDescription(type="answer", sdp=text, id=answer_id)
        return self.transport.handle_answer(self.now, description)

    def negotiate(self) -> AnswerResult:
        """One whole negotiation."""
        self.transport.negotiate(self.now)
        return self.send(self.text(self.next_offer()))


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
def transport(engine: RecordingEngine) -> PeerTransport:
    return subscriber(engine)


@pytest.fixture
def client(transport: PeerTransport) -> Client:
    return Client(transport)


def test_the_transport_exists_at_once_and_controls(
    engine: RecordingEngine, transport: PeerTransport
) -> None:
    (create,) = engine.of(CreateTransport)
    assert (create.transport, create.controlling, create.ice_lite) == (transport.id, True, False)


def test_a_lite_offerer_does_not_control(engine: RecordingEngine) -> None:
    subscriber(engine, ice_lite=True)
    (create,) = engine.of(CreateTransport)
    assert (create.controlling, create.ice_lite) == (False, True)


def test_the_first_offer_has_only_data(transport: PeerTransport, client: Client) -> None:
    transport.negotiate(0.0, force=True)
    offered = client.next_offer()
    assert [(m.kind, m.mid) for m in offered.media] == [("application", "0")]
    assert offered.media[0].transport.setup is Setup.ACTPASS
    assert [f.value for f in offered.transport.fingerprints] == [FINGERPRINT]
    assert client.offers[0].send_candidates
    assert 1 <= client.offers[0].offer.id <= 256


@pytest.mark.parametrize(
    ("setup", "role"), [(Setup.ACTIVE, DtlsRole.SERVER), (Setup.PASSIVE, DtlsRole.CLIENT)]
)
def test_the_answer_chooses_the_dtls_role(
    engine: RecordingEngine, client: Client, setup: Setup, role: DtlsRole
) -> None:
    client.setup = setup
    client.negotiate()
    (remote,) = engine.of(SetRemoteParameters)
    assert (remote.dtls.role, remote.dtls.fingerprint) == (role, DIGEST)
    assert remote.ice.ufrag == "clnt"


def test_down_tracks_begin_with_the_answer(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    client.negotiate()
    audio, video = add(transport, AUDIO, "a"), add(transport, VIDEO, "v")
    transport.negotiate(client.now)
    offered = client.next_offer()
    assert [(m.kind, m.mid, m.direction) for m in offered.media[1:]] == [
        ("audio", "1", Direction.SENDONLY),
        ("video", "2", Direction.SENDONLY),
    ]
    assert dict(client.offers[-1].offer.mid_to_track_id) == {"1": "TR_a", "2": "TR_v"}
    assert not client.offers[-1].send_candidates
    assert client.offers[-1].offer.id == client.offers[0].offer.id + 1
    assert offered.media[2].codecs[0].feedback == ("ccm fir", "nack", "nack pli", "goog-remb")
    assert not engine.of(CreateDownTrack)

    result = client.send(client.text(offered))
    assert result.bound == (audio, video)
    created = engine.of(CreateDownTrack)[1]
    assert (created.mid, created.ssrc, created.rtx_ssrc) == ("2", video.ssrc, video.rtx_ssrc)
    assert [(c.payload_type, c.rtx_payload_type) for c in created.codecs] == [(96, 97)]
    assert {e.uri.rpartition("/")[2] for e in created.header_extensions} == {
        "abs-send-time",
        "abs-capture-time",
        "#dependency-descriptor-rtp-header-extension",
    }


def test_a_playout_delay_is_offered_for_video(engine: RecordingEngine) -> None:
    transport = subscriber(engine, playout_delay=PlayoutDelay(100, 2000))
    client = Client(transport)
    client.negotiate()
    add(transport, AUDIO, "a"), add(transport, VIDEO, "v")
    transport.negotiate(client.now)
    offered = client.next_offer()
    uris = [{e.uri for e in media.header_extensions} for media in offered.media[1:]]
    assert [PLAYOUT_DELAY in found for found in uris] == [False, True]
    client.send(client.text(offered))
    audio, video = engine.of(CreateDownTrack)
    assert (audio.playout_delay, video.playout_delay) == (None, (100, 2000))
    assert PLAYOUT_DELAY in {e.uri for e in video.header_extensions}


def test_extension_ids_are_the_same_in_every_section(
    transport: PeerTransport, client: Client
) -> None:
    add(transport, AUDIO, "a")
    add(transport, VIDEO, "v")
    transport.negotiate(0.0)
    ids: dict[int, str] = {}
    for media in client.next_offer().media:
        for extension in media.header_extensions:
            assert ids.setdefault(extension.id, extension.uri) == extension.uri
    assert len(set(ids.values())) == len(ids) == 3


def test_rtx_only_if_answered(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    add(transport, VIDEO, "v")
    transport.negotiate(0.0)
    offered = client.next_offer()
    offered.media[1].codecs = tuple(c for c in offered.media[1].codecs if c.name == "VP8")
    client.send(client.text(offered))
    (created,) = engine.of(CreateDownTrack)
    assert created.rtx_ssrc is None


def test_sections_are_reused_after_they_were_quiet(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    first = add(transport, VIDEO, "1")
    client.negotiate()
    transport.down_tracks.remove(first)
    assert engine.commands[-1] == CloseDownTrack(first.id)
    transport.negotiate(client.now)
    offered = client.next_offer()
    assert offered.media[1].direction is Direction.RECVONLY
    assert offered.media[1].msids == []
    client.send(client.text(offered))
    second = add(transport, VIDEO, "2")
    client.negotiate()
    assert second.mid == "1"

    transport.down_tracks.remove(second)
    third = add(transport, VIDEO, "3")
    client.negotiate()
    assert third.mid == "2", "section 1 has not been quiet yet"


def test_safari_gets_a_section_per_track(engine: RecordingEngine) -> None:
    transport = subscriber(engine, browser="Safari")
    client = Client(transport)
    for index in range(3):
        handle = add(transport, AUDIO, str(index))
        client.negotiate()
        assert handle.mid == str(index + 1)
        transport.down_tracks.remove(handle)
        client.negotiate()


def test_removal_while_the_offer_is_out(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    handle = add(transport, VIDEO, "v")
    transport.negotiate(0.0)
    offered = client.next_offer()
    transport.down_tracks.remove(handle)
    transport.negotiate(client.now)
    assert client.send(client.text(offered)) == AnswerResult()
    assert not engine.of(CreateDownTrack)
    assert client.next_offer().media[1].direction is Direction.RECVONLY


def test_changes_while_an_offer_is_out_go_into_one_more_offer(
    transport: PeerTransport, client: Client
) -> None:
    transport.negotiate(0.0)
    offered = client.next_offer()
    for index in range(3):
        add(transport, AUDIO, str(index))
        transport.negotiate(client.now)
        client.now += 1
        assert transport.poll(client.now) == []
    client.send(client.text(offered))
    assert len(client.next_offer().media) == 4


@pytest.mark.parametrize("how", ["reject", "inactive", "other codecs"])
def test_refused_tracks_are_reported(
    engine: RecordingEngine, transport: PeerTransport, client: Client, how: str
) -> None:
    handle = add(transport, VIDEO, "v")
    transport.negotiate(0.0)
    offered = client.next_offer()
    media = offered.media[1]
    match how:
        case "reject":
            media.port = 0
        case "inactive":
            media.direction = Direction.INACTIVE
        case _:
            media.codecs = tuple(c for c in media.codecs if c.name == "H264")
    result = client.send(client.text(offered))
    assert (result.bound, result.unsupported) == ((), (handle,))
    assert handle.unsupported
    assert not engine.of(CreateDownTrack)
    if how == "reject":
        another = add(transport, VIDEO, "w")
        client.negotiate()
        assert another.mid == "2", "a rejected section stays rejected"


@pytest.mark.parametrize("answer_id", [0, None])
def test_answers_are_taken_with_their_id_or_none(
    transport: PeerTransport, client: Client, answer_id: int | None
) -> None:
    handle = add(transport, AUDIO, "a")
    transport.negotiate(0.0)
    result = client.send(client.text(client.next_offer()), answer_id)
    assert result.bound == (handle,)


def test_strange_answers(transport: PeerTransport, client: Client) -> None:
    handle = add(transport, AUDIO, "a")
    transport.negotiate(0.0)
    offered = client.next_offer()
    right = client.text(offered)
    assert client.send(right, 9999) == AnswerResult()
    extra = right + "m=" + right.split("m=")[-1]
    with pytest.raises(SdpError, match="the answer has 3 media sections, the offer had 2"):
        client.send(extra)
    with pytest.raises(SdpError, match="the answer has 3 media sections, the offer had 2"):
        client.send(right.replace("a=mid:1", "a=mid:x").replace("BUNDLE 0 1", "BUNDLE 0 x"))
    with pytest.raises(SdpError, match="the answer to section 1 is for another section"):
        client.send(right.replace("m=audio", "m=video"))
    with pytest.raises(SdpError, match="no a=fingerprint"):
        client.send(right.replace("a=fingerprint", "a=x"))
    assert client.send(right).bound == (handle,)
    assert client.send(right) == AnswerResult(), "nothing is out any more"


def test_answers_without_names_are_read_by_their_place(
    transport: PeerTransport, client: Client
) -> None:
    audio, video = add(transport, AUDIO, "a"), add(transport, VIDEO, "v")
    transport.negotiate(0.0)
    text = client.text(client.next_offer())
    bare = "".join(line for line in text.splitlines(True) if not line.startswith("a=mid:"))
    assert client.send(bare).bound == (audio, video)


def test_a_section_that_an_answer_leaves_out_is_rejected(
    transport: PeerTransport, client: Client
) -> None:
    audio, video = add(transport, AUDIO, "a"), add(transport, VIDEO, "v")
    transport.negotiate(0.0)
    data, first, second = client.text(client.next_offer()).split("m=")[1:]
    head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
    head += f"a=fingerprint:sha-256 {DIGEST}\r\n"
    assert first.startswith("audio")
    result = client.send(head + "m=" + first)
    assert (result.bound, result.unsupported) == ((audio,), (video,))
    assert not data.startswith("audio")
    assert second.startswith("video")


def test_payload_types_are_those_of_the_answer(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    add(transport, VIDEO, "v")
    transport.negotiate(0.0)
    text = client.text(client.next_offer())
    for ours, theirs in ((96, 120), (97, 121)):
        text = text.replace(f":{ours} ", f":{theirs} ").replace(f" {ours} ", f" {theirs} ")
    client.send(text.replace("apt=96", "apt=120"))
    (down_track,) = engine.of(CreateDownTrack)
    assert [(c.payload_type, c.rtx_payload_type) for c in down_track.codecs] == [(120, 121)]


def video_call(transport: PeerTransport, client: Client, **options: object) -> DownTrackHandle:
    """A down track of video that is bound."""
    handle = add(transport, VIDEO, "v", **options)
    assert client.negotiate().bound == (handle,)
    return handle


def renumbered(text: str) -> str:
    for ours, theirs in ((96, 120), (97, 121)):
        text = text.replace(f":{ours} ", f":{theirs} ").replace(f" {ours} ", f" {theirs} ")
    return text.replace("apt=96", "apt=120")


def test_a_later_answer_counts_like_the_first(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    handle = video_call(transport, client)
    client.negotiate()
    assert engine.of(RenegotiateDownTrack) == [], "nothing has changed"
    transport.negotiate(client.now)
    text = renumbered(client.text(client.next_offer()))
    result = client.send("".join(x for x in text.splitlines(True) if not x.startswith("a=extmap:")))
    assert (result.bound, result.unsupported) == ((), ())
    (again,) = engine.of(RenegotiateDownTrack)
    assert (again.down_track, again.header_extensions) == (handle.id, ())
    assert [(c.payload_type, c.rtx_payload_type) for c in again.codecs] == [(120, 121)]


def test_a_section_that_stops_receiving_is_paused(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    handle = video_call(transport, client)
    for direction, muted in (("inactive", True), ("sendonly", True), ("recvonly", False)):
        transport.negotiate(client.now)
        text = client.text(client.next_offer())
        result = client.send(text.replace("a=recvonly", f"a={direction}"))
        assert (result.bound, result.unsupported) == ((), ())
        assert engine.of(UpdateDownTrack)[-1].muted is muted
    assert len(engine.of(UpdateDownTrack)) == 2
    transport.down_tracks.update(handle, max_spatial=0, max_temporal=0, muted=False)
    assert engine.of(UpdateDownTrack)[-1] == UpdateDownTrack(handle.id, 0, 0, muted=False)


def test_a_subscriber_that_mutes_a_paused_track_hears_nothing_of_it_later(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    handle = video_call(transport, client)
    transport.negotiate(client.now)
    client.send(client.text(client.next_offer()).replace("a=recvonly", "a=inactive"))
    transport.down_tracks.update(handle, max_spatial=2, max_temporal=3, muted=True)
    client.negotiate()
    assert [update.muted for update in engine.of(UpdateDownTrack)] == [True] * 3


def test_a_section_that_is_rejected_later_gives_its_track_up(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    handle = video_call(transport, client)
    transport.negotiate(client.now)
    text = client.text(client.next_offer()).replace("m=video 9", "m=video 0")
    assert client.send(text).unsupported == (handle,)
    assert [closed.down_track for closed in engine.of(CloseDownTrack)] == [handle.id]
    assert transport.mid_to_track_id() == {}


def test_a_codec_that_is_dropped_later_is_replaced_by_another_stream(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    h264 = RtpCodec(108, "video/h264", 90_000, fmtp="packetization-mode=1", nack=True, pli=True)
    handle = transport.down_tracks.add(
        receivers={"video/vp8": 77, "video/h264": 78},
        kind=VIDEO,
        track_sid="TR_v",
        stream_id="PA_p|TR_v",
        codecs=(VP8, h264),
    )
    assert client.negotiate().bound == (handle,)
    ssrc = handle.ssrc
    for _ in range(2):
        transport.negotiate(client.now)
        text = client.text(client.next_offer())
        last = client.send(text.replace("a=rtpmap:96 VP8", "a=rtpmap:96 none"))
    assert last.bound == (handle,), "the second answer is to an offer with another ssrc"
    first, second = engine.of(CreateDownTrack)
    assert (first.ssrc, first.receiver, second.receiver) == (ssrc, 77, 78)
    assert second.ssrc != ssrc


@pytest.mark.parametrize(
    ("line", "size"),
    [("", 65_535), ("a=max-message-size:0\r\n", 65_535), ("a=max-message-size:1200\r\n", 1200)],
)
def test_the_size_of_messages_is_what_the_last_answer_says(
    engine: RecordingEngine, transport: PeerTransport, client: Client, line: str, size: int
) -> None:
    for text in ("a=max-message-size:16384\r\n", line):
        transport.negotiate(client.now)
        answer = client.text(client.next_offer())
        client.send(answer.replace("a=max-message-size:65535\r\n", text))
    assert [command.bytes for command in engine.of(SetMaxMessageSize)] == [16_384, size]


def test_without_channels_of_ours_only_media_is_offered(engine: RecordingEngine) -> None:
    transport = subscriber(engine, opens_channels=False)
    client = Client(transport)
    transport.negotiate(0.0)
    assert transport.poll(1.0) == [], "there is nothing to offer"
    handle = add(transport, AUDIO, "a")
    transport.negotiate(2.0)
    client.now = 2.0
    offered = client.next_offer()
    assert [(media.kind, media.mid) for media in offered.media] == [("audio", "0")]
    assert client.send(client.text(offered)).bound == (handle,)


def test_no_answer_fails_a_connected_client(transport: PeerTransport, client: Client) -> None:
    client.negotiate()
    connect(transport)
    transport.negotiate(client.now)
    client.next_offer()
    assert transport.poll(client.now + 14.9) == []
    assert transport.poll(client.now + 15.0) == [NegotiationFailed()]


def test_offers_belong_to_the_other_connection(transport: PeerTransport) -> None:
    description = rtc.SessionDescription(type="offer", sdp=sample("chrome_offer"))
    with pytest.raises(SdpError):
        transport.handle_offer(0.0, description, lambda cid, kind: None)


# -- ICE restart ----------------------------------------------------------------------------------


def test_ice_restart(engine: RecordingEngine, transport: PeerTransport, client: Client) -> None:
    client.negotiate()
    before = engine.of(CreateTransport)[0].ice
    transport.restart_ice(client.now)
    (restart,) = engine.of(RestartIce)
    offered = client.next_offer()
    assert offered.media[0].transport.ice_ufrag == restart.ice.ufrag != before.ufrag
    assert client.offers[-1].send_candidates
    client.ufrag = "next"
    client.send(client.text(offered))
    assert [c.ice.ufrag for c in engine.of(SetRemoteParameters)] == ["clnt", "next"]
    assert [c.dtls.role for c in engine.of(SetRemoteParameters)] == [DtlsRole.SERVER] * 2


@pytest.mark.parametrize("echoes_ids", [True, False])
def test_ice_restart_replaces_the_offer_that_is_out(
    engine: RecordingEngine, transport: PeerTransport, client: Client, echoes_ids: bool
) -> None:
    client.negotiate()
    handle = add(transport, AUDIO, "a")
    transport.negotiate(client.now)
    late = client.text(client.next_offer())
    late_id = client.offers[-1].offer.id if echoes_ids else 0
    transport.restart_ice(client.now)
    offered = client.next_offer()
    assert len(offered.media) == 2
    assert client.send(late, late_id) == AnswerResult(), "the answer to the offer before"
    client.ufrag = "next"
    result = client.send(client.text(offered), None if echoes_ids else 0)
    assert result.bound == (handle,)
    assert engine.of(SetRemoteParameters)[-1].ice.ufrag == "next"


def test_ice_restart_before_the_first_offer_is_nothing(
    engine: RecordingEngine, transport: PeerTransport
) -> None:
    transport.restart_ice(0.0)
    assert not engine.of(RestartIce)
    assert transport.poll(1.0) == []


def test_a_track_offered_before_a_restart_is_not_swapped(
    transport: PeerTransport, client: Client
) -> None:
    """The client may have seen the abandoned offer, so its section counts as in use."""
    before = add(transport, AUDIO, "0")
    client.negotiate()
    transport.down_tracks.remove(before)
    client.negotiate()
    first = add(transport, AUDIO, "1")
    transport.negotiate(client.now)
    client.next_offer()
    assert first.mid == "1"
    transport.down_tracks.remove(first)
    second = add(transport, AUDIO, "2")
    transport.restart_ice(client.now)
    offered = client.next_offer()
    assert second.mid == "2"
    assert offered.media[1].direction is Direction.RECVONLY


def test_extension_of_the_answer_is_what_is_sent(
    engine: RecordingEngine, transport: PeerTransport, client: Client
) -> None:
    add(transport, VIDEO, "v")
    transport.negotiate(0.0)
    offered = client.next_offer()
    offered.media[1].header_extensions = offered.media[1].header_extensions[:1]
    client.send(client.text(offered))
    (created,) = engine.of(CreateDownTrack)
    assert created.header_extensions == (RtpHeaderExtension(1, DEPENDENCY_DESCRIPTOR),)
