"""The single connection: what the client publishes and where subscriptions are placed."""

from __future__ import annotations

import re

import pytest
from livekit.protocol import rtc

from lkpy.engine.api import (
    CloseDownTrack,
    CloseReceiver,
    CloseTransport,
    CreateDownTrack,
    CreateReceiver,
    CreateTransport,
    DtlsRole,
    IceState,
    IceStateChanged,
    MediaKind,
    RenegotiateDownTrack,
    RenegotiateReceiver,
    RestartIce,
    RtpCodec,
    RtpEncoding,
    RtpHeaderExtension,
    SetMaxMessageSize,
    SetRemoteParameters,
    TransportClosed,
    UpdateDownTrack,
)
from lkpy.errors import LkpyError
from lkpy.sdp import (
    Direction,
    HeaderExtension,
    Msid,
    SdpError,
    SessionDescription,
    Setup,
    SsrcGroup,
)
from lkpy.server.rtc.direction_config import ABS_SEND_TIME, DEPENDENCY_DESCRIPTOR, PLAYOUT_DELAY
from lkpy.server.rtc.options import PlayoutDelay
from lkpy.server.rtc.transport import PeerTransport
from lkpy.server.rtc.transport_types import SendMediaSectionsRequirement
from tests.transport_kit import (
    DIGEST,
    RecordingEngine,
    add,
    answer_of,
    connect,
    offer,
    sample,
    single,
    track_info,
)

AUDIO, VIDEO = MediaKind.AUDIO, MediaKind.VIDEO
JOIN, PUBLISH = sample("chrome_join_offer"), sample("chrome_offer")


def directions(description: SessionDescription) -> list[str]:
    return [str(media.direction or "-") for media in description.media]


def requirement(transport: PeerTransport, now: float) -> SendMediaSectionsRequirement | None:
    outputs = transport.poll(now)
    assert len(outputs) <= 1
    assert all(isinstance(output, SendMediaSectionsRequirement) for output in outputs)
    return outputs[0] if outputs else None  # type: ignore[return-value]


def more_sections(text: str, *kinds: MediaKind) -> str:
    """The client's next offer with further receive-only sections."""
    description = SessionDescription.parse(text)
    for kind in kinds:
        like = next(m for m in description.media if m.kind == kind)
        media = SessionDescription.parse(text).section(like.mid or "")
        assert media is not None
        media.mid = str(len(description.media))
        description.media.append(media)
    mids = tuple(media.mid or "" for media in description.media)
    description.groups = [type(description.groups[0])("BUNDLE", mids)]
    return str(description)


# -- transport --------------------------------------------------------------------------------


def test_the_first_offer_creates_the_transport() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    assert engine.commands == []
    result = offer(transport, JOIN)
    create, remote = engine.commands[:2]
    assert isinstance(create, CreateTransport)
    assert (create.worker, create.controlling, create.ice_lite) == (1, False, False)
    ours = answer_of(result).media[0].transport
    assert (create.ice.ufrag, create.ice.pwd) == (ours.ice_ufrag, ours.ice_pwd)
    assert isinstance(remote, SetRemoteParameters)
    theirs = SessionDescription.parse(JOIN).media[0].transport
    assert (remote.ice.ufrag, remote.ice.pwd) == (theirs.ice_ufrag, theirs.ice_pwd)
    assert remote.dtls.role is DtlsRole.SERVER
    assert remote.dtls.fingerprint == theirs.fingerprints[0].value
    assert result.send_candidates


def test_further_offers_leave_the_transport_alone() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    offer(transport, JOIN)
    before = list(engine.commands)
    result = offer(transport, JOIN)
    assert engine.commands == before
    assert not result.send_candidates


def test_changed_credentials_restart_ice() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    first = answer_of(offer(transport, JOIN))
    ufrag = SessionDescription.parse(JOIN).media[0].transport.ice_ufrag
    result = offer(transport, JOIN.replace(f"a=ice-ufrag:{ufrag}", "a=ice-ufrag:Next"))
    restart, remote = engine.commands[-2:]
    assert isinstance(restart, RestartIce)
    assert isinstance(remote, SetRemoteParameters)
    assert remote.ice.ufrag == "Next"
    ours = answer_of(result).media[0].transport.ice_ufrag
    assert ours == restart.ice.ufrag != first.media[0].transport.ice_ufrag
    assert result.send_candidates


def test_the_dtls_role_stays() -> None:
    transport = single(RecordingEngine())
    passive = JOIN.replace("a=setup:actpass", "a=setup:passive")
    for text in (passive, JOIN):
        answer = answer_of(offer(transport, text))
        assert answer.media[0].transport.setup is Setup.ACTIVE


def test_another_certificate_is_refused() -> None:
    transport = single(RecordingEngine())
    offer(transport, JOIN)
    fingerprint = SessionDescription.parse(JOIN).media[0].transport.fingerprints[0].value
    with pytest.raises(SdpError, match="a=fingerprint differs"):
        offer(transport, JOIN.replace(fingerprint, DIGEST))


def test_lite_only_for_clients_that_can() -> None:
    for browser, lite in (("Chrome", True), ("Firefox", False)):
        engine = RecordingEngine()
        answer = answer_of(offer(single(engine, ice_lite=True, browser=browser), JOIN))
        assert answer.ice_lite is lite
        assert engine.of(CreateTransport)[0].ice_lite is lite


def test_we_control_a_lite_client() -> None:
    engine = RecordingEngine()
    offer(single(engine), sample("str0m_offer"))
    assert engine.of(CreateTransport)[0].controlling
    assert engine.of(SetRemoteParameters)[0].remote_lite


def test_connection_states() -> None:
    transport = single(RecordingEngine())
    assert not transport.connected
    connect(transport)
    assert transport.connected
    assert transport.path == ("192.0.2.1:7882", "192.0.2.50:5000", "udp")
    assert transport.srtp_profile == "AEAD_AES_128_GCM"
    transport.handle_event(IceStateChanged(transport.id, IceState.DISCONNECTED))
    assert not transport.connected
    assert transport.ever_connected
    transport.handle_event(IceStateChanged(transport.id, IceState.FAILED))
    assert transport.failure == "ICE failed"
    transport.handle_event(TransportClosed(transport.id, "panic"))
    assert transport.failure == "panic"


def test_close_is_idempotent() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    offer(transport, JOIN)
    transport.close()
    transport.close()
    assert engine.of(CloseTransport) == [CloseTransport(transport.id)]


def test_closing_before_the_first_offer_needs_no_engine() -> None:
    engine = RecordingEngine()
    single(engine).close()
    assert engine.commands == []


# -- published tracks ---------------------------------------------------------------------------


def test_a_published_track_begins_once_and_ends_with_its_sender() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    video, audio = offer(transport, PUBLISH).tracks
    assert (video.kind, audio.kind) == (VIDEO, AUDIO)
    receiver = transport.create_receiver(video, clock_group=3, screen_share=True)
    assert transport.create_receiver(video, clock_group=3) == receiver
    (created,) = engine.of(CreateReceiver)
    assert (created.receiver, created.mid, created.screen_share) == (receiver, "7", True)
    assert transport.section_tracks() == (audio,)

    again = offer(transport, PUBLISH)
    assert (again.tracks, again.closed) == ((), ())

    sections = PUBLISH.split("m=")
    sections[8] = sections[8].replace("a=sendonly", "a=inactive")
    result = offer(transport, "m=".join(sections))
    assert [(c.mid, c.cid, c.receiver) for c in result.closed] == [("7", video.cid, receiver)]
    assert engine.commands[-1] == CloseReceiver(receiver)
    assert directions(answer_of(result))[7] == "inactive"
    with pytest.raises(LkpyError, match="section 7 does not send"):
        transport.create_receiver(video, clock_group=3)


def test_another_track_in_the_same_section() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    video, _ = offer(transport, PUBLISH).tracks
    receiver = transport.create_receiver(video, clock_group=3)
    result = offer(transport, PUBLISH.replace(video.cid, "another"))
    assert [c.receiver for c in result.closed] == [receiver]
    assert [track.cid for track in result.tracks] == ["another"]


def test_numbers_that_change_while_a_track_goes_on() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    video, _ = offer(transport, PUBLISH).tracks
    receiver = transport.create_receiver(video, clock_group=1)
    offer(transport, PUBLISH)
    assert engine.of(RenegotiateReceiver) == [], "nothing has changed"
    again = PUBLISH
    for ours, theirs in ((96, 60), (97, 61)):
        again = again.replace(f":{ours} ", f":{theirs} ").replace(f" {ours} ", f" {theirs} ")
    again = again.replace("apt=96", "apt=60").replace("a=extmap:4 ", "a=extmap:13 ")
    result = offer(transport, again)
    assert (result.tracks, result.closed) == ((), ())
    (command,) = engine.of(RenegotiateReceiver)
    assert command.receiver == receiver
    numbers = {c.mime_type: (c.payload_type, c.rtx_payload_type) for c in command.codecs}
    assert numbers["video/vp8"] == (60, 61)
    assert 13 in {extension.id for extension in command.header_extensions}
    offer(transport, PUBLISH)
    assert engine.of(RenegotiateReceiver)[-1].codecs == video.codecs, "and back"


def test_a_track_without_any_of_its_codecs_is_another_one() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    video, audio = offer(transport, PUBLISH).tracks
    for track in (video, audio):
        transport.create_receiver(track, clock_group=1)
    only = re.sub(r"(a=rtpmap:\d+) (?!opus|VP9|rtx)\S+/", r"\1 none/", PUBLISH)
    result = offer(transport, only)
    assert result.closed == (), "each goes on in one of its codecs"
    result = offer(transport, re.sub(r"(a=rtpmap:\d+) (?!opus|rtx)\S+/", r"\1 none/", PUBLISH))
    assert [closed.mid for closed in result.closed] == [video.mid]


def test_down_tracks_follow_the_numbers_of_later_offers() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    offer(transport, JOIN)
    handle = add(transport, VIDEO, "v")
    transport.negotiate(0.0)
    assert offer(transport, JOIN).bound == (handle,)
    again = JOIN
    for ours, theirs in ((96, 60), (97, 61)):
        again = again.replace(f":{ours} ", f":{theirs} ").replace(f" {ours} ", f" {theirs} ")
    result = offer(transport, again.replace("apt=96", "apt=60"))
    assert (result.bound, result.unsupported) == ((), ())
    (command,) = engine.of(RenegotiateDownTrack)
    assert [(c.payload_type, c.rtx_payload_type) for c in command.codecs] == [(60, 61)]


def test_no_data_is_sent_to_who_offers_no_section_for_it() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    head, *sections = JOIN.split("m=")
    media = [section for section in sections if not section.startswith("application")]
    offer(transport, "m=".join([head, *media]))
    assert [command.bytes for command in engine.of(SetMaxMessageSize)] == [0]
    offer(transport, JOIN)
    assert [command.bytes for command in engine.of(SetMaxMessageSize)][1:] == [65_535]


def test_late_add_track() -> None:
    """An AddTrack that comes after the offer finds the section, and the next answer its codec."""
    transport = single(RecordingEngine())
    video, _ = offer(transport, PUBLISH).tracks
    assert video in transport.section_tracks()
    info = track_info("video/VP9")
    result = offer(transport, PUBLISH, lookup=lambda cid, kind: info if kind == "video" else None)
    assert answer_of(result).media[7].codecs[0].name == "VP9"
    (later,) = (t for t in transport.section_tracks() if t.mid == "7")
    assert later.mime_types[0] == "video/vp9"
    assert result.tracks == ()


def test_given_encodings_replace_those_of_the_section() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    video, _ = offer(transport, PUBLISH).tracks
    layers = (RtpEncoding(0, rid="h"), RtpEncoding(1, rid="q"))
    transport.create_receiver(video, clock_group=3, encodings=layers)
    assert engine.of(CreateReceiver)[0].encodings == layers


def test_a_recycled_section_ends_what_it_carried() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    video, _ = offer(transport, PUBLISH).tracks
    receiver = transport.create_receiver(video, clock_group=1)
    stopped = PUBLISH.split("m=")
    stopped[8] = stopped[8].replace("video 9", "video 0", 1)
    result = offer(transport, "m=".join(stopped))
    assert [c.receiver for c in result.closed] == [receiver]
    assert answer_of(result).media[7].rejected
    assert "7" not in answer_of(result).bundle
    recycled = PUBLISH.replace("a=mid:7", "a=mid:20").replace(
        "BUNDLE 0 1 2 3 4 5 6 7 8", "BUNDLE 0 1 2 3 4 5 6 20 8"
    )
    result = offer(transport, recycled)
    assert [track.mid for track in result.tracks] == ["20"]
    assert answer_of(result).media[7].mid == "20"


# -- subscriptions ------------------------------------------------------------------------------


def test_receiving_sections_wait_inactive() -> None:
    answer = answer_of(offer(single(RecordingEngine()), JOIN))
    assert directions(answer) == ["inactive"] * 6 + ["-"]


def test_down_tracks_take_waiting_sections() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    offer(transport, JOIN)
    audio, video = add(transport, AUDIO, "a"), add(transport, VIDEO, "v", max_spatial=1)
    transport.negotiate(0.0)
    assert requirement(transport, 0.010) == SendMediaSectionsRequirement(0, 0)
    assert not engine.of(CreateDownTrack)

    result = offer(transport, JOIN, now=0.1)
    answer = answer_of(result)
    assert directions(answer)[:6] == ["sendonly", "inactive", "inactive"] * 2
    assert dict(result.answer.mid_to_track_id) == {"0": "TR_a", "3": "TR_v"}
    assert result.bound == (audio, video)
    assert requirement(transport, 9.0) is None

    section = answer.media[3]
    assert section.msids == [Msid("PA_p|TR_v", "TR_v")]
    assert section.ssrc_groups == [SsrcGroup("FID", (video.ssrc, video.rtx_ssrc or 0))]
    assert section.ssrcs[video.ssrc] == {"cname": "PA_p|TR_v", "msid": "PA_p|TR_v TR_v"}
    assert answer.media[0].ssrc_groups == []

    created = engine.of(CreateDownTrack)[1]
    assert (created.down_track, created.receiver, created.mid) == (video.id, 77, "3")
    assert (created.ssrc, created.rtx_ssrc) == (video.ssrc, video.rtx_ssrc)
    assert [(c.mime_type, c.payload_type, c.rtx_payload_type) for c in created.codecs] == [
        ("video/vp8", 96, 97)
    ]
    assert created.max_spatial == 1
    assert created.header_extensions == (
        RtpHeaderExtension(2, ABS_SEND_TIME),
        RtpHeaderExtension(12, DEPENDENCY_DESCRIPTOR),
    ), "neither mid, which the SSRC makes superfluous, nor transport-cc"


def test_a_playout_delay_is_negotiated_and_told_for_video() -> None:
    engine = RecordingEngine()
    transport = single(engine, playout_delay=PlayoutDelay(100, 2000))
    offer(transport, JOIN)
    add(transport, AUDIO, "a"), add(transport, VIDEO, "v")
    answer = answer_of(offer(transport, JOIN, now=0.1))
    assert [HeaderExtension(5, PLAYOUT_DELAY) in m.header_extensions for m in answer.media] == [
        media.kind == "video" for media in answer.media
    ]
    audio, video = engine.of(CreateDownTrack)
    assert (audio.playout_delay, video.playout_delay) == (None, (100, 2000))
    assert RtpHeaderExtension(5, PLAYOUT_DELAY) in video.header_extensions


def test_more_sections_are_asked_for_once() -> None:
    transport = single(RecordingEngine())
    offer(transport, JOIN)
    for index in range(5):
        add(transport, VIDEO, str(index))
    add(transport, AUDIO, "a")
    transport.negotiate(0.0)
    assert requirement(transport, 0.010) == SendMediaSectionsRequirement(0, 2)
    add(transport, VIDEO, "late")
    transport.negotiate(0.1)
    assert requirement(transport, 1.0) == SendMediaSectionsRequirement(0, 1)
    transport.negotiate(2.0)
    assert requirement(transport, 3.0) == SendMediaSectionsRequirement(0, 0)

    result = offer(transport, more_sections(JOIN, VIDEO, VIDEO), now=4.0)
    assert len(result.bound) == 6
    assert requirement(transport, 5.0) == SendMediaSectionsRequirement(0, 1), "still one waiting"
    result = offer(transport, more_sections(JOIN, VIDEO, VIDEO, VIDEO), now=6.0)
    assert [handle.track_sid for handle in result.bound] == ["TR_late"]
    assert requirement(transport, 7.0) is None


def test_a_client_that_adds_no_sections_is_not_asked_for_ever() -> None:
    transport = single(RecordingEngine())
    offer(transport, JOIN)
    for index in range(4):
        add(transport, VIDEO, str(index))
    transport.negotiate(0.0)
    assert requirement(transport, 1.0) == SendMediaSectionsRequirement(0, 1)
    assert len(offer(transport, JOIN, now=2.0).bound) == 3
    assert requirement(transport, 3.0) == SendMediaSectionsRequirement(0, 1)
    offer(transport, JOIN, now=4.0)
    assert requirement(transport, 5.0) is None


def test_a_section_is_quiet_for_one_negotiation_between_two_tracks() -> None:
    """A client reports a track when its section begins to receive, so it must have stopped."""
    engine = RecordingEngine()
    transport = single(engine)
    handles = [add(transport, AUDIO, str(index)) for index in range(3)]
    offer(transport, JOIN)
    transport.down_tracks.remove(handles[0])
    assert engine.commands[-1] == CloseDownTrack(handles[0].id)
    assert "0" not in transport.mid_to_track_id()
    waiting = add(transport, AUDIO, "next")
    transport.negotiate(1.0)
    assert requirement(transport, 2.0) == SendMediaSectionsRequirement(1, 0)

    result = offer(transport, JOIN, now=3.0)
    assert directions(answer_of(result))[:3] == ["inactive", "sendonly", "sendonly"]
    assert answer_of(result).media[0].msids == []
    assert requirement(transport, 4.0) == SendMediaSectionsRequirement(0, 0)
    result = offer(transport, JOIN, now=5.0)
    assert result.bound == (waiting,)
    assert waiting.mid == "0"


def test_removal_before_a_section_was_found() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    handle = add(transport, VIDEO, "v")
    transport.down_tracks.remove(handle)
    transport.down_tracks.remove(handle)
    offer(transport, JOIN)
    assert not engine.of(CreateDownTrack)
    assert not engine.of(CloseDownTrack)


def test_a_section_that_stops_receiving_gives_its_track_back() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    handle = add(transport, AUDIO, "a")
    offer(transport, JOIN)
    assert handle.mid == "0"
    known = handle.id, handle.ssrc
    quiet = JOIN.replace("a=mid:0\r\n", "a=mid:0\r\na=x-quiet\r\n").split("m=")
    quiet[1] = quiet[1].replace("a=recvonly", "a=inactive")
    offer(transport, "m=".join(quiet))
    assert engine.of(CloseDownTrack) == [CloseDownTrack(known[0])]
    assert handle.bound
    assert handle.mid == "1"
    assert handle.ssrc != known[1], "another stream's numbers begin"
    assert [c.mid for c in engine.of(CreateDownTrack)] == ["0", "1"]


def test_tracks_the_client_cannot_decode_are_reported() -> None:
    transport = single(RecordingEngine())
    handle = transport.down_tracks.add(
        receivers={"video/h265": 1},
        kind=VIDEO,
        track_sid="TR_v",
        stream_id="PA_p|TR_v",
        codecs=(RtpCodec(116, "video/h265", 90_000),),
    )
    result = offer(transport, JOIN)
    assert result.unsupported == (handle,)
    assert handle.unsupported
    assert directions(answer_of(result))[3] == "inactive"
    assert requirement(transport, 9.0) is None


@pytest.mark.parametrize(
    ("active_red", "published", "encrypted", "created"),
    [
        (True, "opus", False, (["audio/red", "audio/opus"], True)),
        (False, "opus", False, (["audio/opus"], True)),
        (True, "opus", True, (["audio/opus"], False)),
        (False, "red opus", False, (["audio/red", "audio/opus"], True)),
    ],
)
def test_red_is_made_and_taken_apart_where_it_may_be(
    active_red: bool, published: str, encrypted: bool, created: tuple[list[str], bool]
) -> None:
    engine = RecordingEngine()
    transport = single(engine, active_red=active_red)
    codecs = tuple(RtpCodec(1, f"audio/{name}", 48_000, 2) for name in published.split())
    transport.down_tracks.add(
        receivers={codec.mime_type: 1 for codec in codecs},
        kind=AUDIO,
        track_sid="TR_a",
        stream_id="PA_p|TR_a",
        codecs=codecs,
        red=True,
        encrypted=encrypted,
    )
    offer(transport, JOIN)
    command = engine.of(CreateDownTrack)[0]
    assert ([codec.mime_type for codec in command.codecs], command.translate_red) == created


def test_updates_are_kept_until_bound() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    handle = add(transport, VIDEO, "v")
    transport.down_tracks.update(handle, max_spatial=0, max_temporal=1, muted=True)
    assert engine.commands == []
    offer(transport, JOIN)
    created = engine.of(CreateDownTrack)[0]
    assert (created.max_spatial, created.max_temporal, created.muted) == (0, 1, True)
    transport.down_tracks.update(handle, max_spatial=2, max_temporal=3, muted=False)
    assert engine.commands[-1] == UpdateDownTrack(handle.id, 2, 3, False)


def test_both_ways_in_one_section() -> None:
    transport = single(RecordingEngine())
    add(transport, AUDIO, "a")
    result = offer(transport, sample("safari_offer"))
    assert answer_of(result).media[0].direction is Direction.SENDRECV
    assert [track.kind for track in result.tracks] == [AUDIO, VIDEO]
    assert len(result.bound) == 1


@pytest.mark.parametrize(
    ("options", "fmtp", "feedback"),
    [
        ({}, "minptime=10;useinbandfec=1", ("nack",)),
        ({"stereo": True}, "minptime=10;useinbandfec=1;sprop-stereo=1", ("nack",)),
        ({"red": True}, "minptime=10;useinbandfec=1", ()),
    ],
)
def test_audio_options(options: dict[str, bool], fmtp: str, feedback: tuple[str, ...]) -> None:
    transport = single(RecordingEngine(), browser="chrome")
    add(transport, AUDIO, "a", **options)
    text = JOIN.replace("a=rtcp-fb:111 transport-cc", "a=rtcp-fb:111 nack")
    opus = answer_of(offer(transport, text)).media[0].codecs[0]
    assert (opus.fmtp, opus.feedback) == (fmtp, feedback)


def test_answers_belong_to_the_other_connection() -> None:
    transport = single(RecordingEngine())
    with pytest.raises(SdpError):
        transport.handle_answer(0.0, rtc.SessionDescription(type="answer", sdp=JOIN))
