"""Answers to the offers of every client, in place and in form."""

from __future__ import annotations

import re

import pytest
from livekit.protocol import models

from lkpy.engine.api import CreateReceiver, MediaKind, RtpEncoding, RtpHeaderExtension
from lkpy.sdp import (
    Direction,
    MediaDescription,
    Rid,
    SdpError,
    SessionDescription,
    Setup,
    Simulcast,
)
from lkpy.server.rtc.media_sections import encodings
from tests.transport_kit import (
    FINGERPRINT,
    RecordingEngine,
    answer_of,
    offer,
    publisher,
    sample,
    single,
    track_info,
)

OFFERS = [
    "aiortc_offer",
    "chrome_join_offer",
    "chrome_offer",
    "firefox_offer",
    "libwebrtc_offer",
    "pion_offer",
    "safari_offer",
    "str0m_offer",
]


def pairs(name: str) -> list[tuple[MediaDescription, MediaDescription]]:
    text = sample(name)
    answer = answer_of(offer(single(RecordingEngine()), text))
    return list(zip(SessionDescription.parse(text).media, answer.media, strict=True))


@pytest.mark.parametrize("name", OFFERS)
def test_every_section_is_answered_in_place(name: str) -> None:
    for offered, answered in pairs(name):
        assert (answered.kind, answered.mid) == (offered.kind, offered.mid)
        assert answered.protocol == offered.protocol
        assert not answered.rejected


@pytest.mark.parametrize("name", OFFERS)
def test_an_answer_never_says_more_than_the_offer(name: str) -> None:
    for offered, answered in pairs(name):
        assert not answered.sends or answered.kind == "application"
        assert answered.receives == offered.sends
        payload_types = {c.payload_type: c.name for c in offered.codecs}
        for codec in answered.codecs:
            assert payload_types[codec.payload_type] == codec.name
        ids = {(extension.id, extension.uri) for extension in offered.header_extensions}
        assert {(e.id, e.uri) for e in answered.header_extensions} <= ids
        assert answered.rtcp_rsize <= offered.rtcp_rsize
        if answered.kind != "application":
            assert answered.rtcp_mux


@pytest.mark.parametrize("name", OFFERS)
def test_transport_part(name: str) -> None:
    offered = SessionDescription.parse(sample(name))
    answer = answer_of(offer(single(RecordingEngine()), sample(name)))
    assert answer.bundle == tuple(media.mid for media in offered.media)
    assert not answer.ice_lite
    assert answer.extmap_allow_mixed == offered.extmap_allow_mixed
    assert [f.value for f in answer.transport.fingerprints] == [FINGERPRINT]
    credentials = set()
    for media in answer.media:
        transport = answer.transport_of(media)
        credentials.add((transport.ice_ufrag, transport.ice_pwd))
        assert transport.setup is Setup.PASSIVE
    assert len(credentials) == 1


@pytest.mark.parametrize("name", OFFERS)
def test_data_section(name: str) -> None:
    result = offer(single(RecordingEngine()), sample(name))
    data = [media for media in answer_of(result).media if media.kind == "application"]
    assert [(d.formats, d.sctp_port, d.max_message_size) for d in data] == [
        (("webrtc-datachannel",), 5000, 65_535)
    ]


def test_answer_echoes_the_offer_id() -> None:
    result = offer(single(RecordingEngine()), sample("chrome_join_offer"))
    assert (result.answer.type, result.answer.id) == ("answer", 7)


def test_origin_keeps_its_session_and_counts_versions() -> None:
    transport = single(RecordingEngine())
    first, second = (
        answer_of(offer(transport, sample("chrome_join_offer"))).origin.split() for _ in range(2)
    )
    assert first[1] == second[1]
    assert int(second[2]) == int(first[2]) + 1


# -- published tracks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cids", "encodings"),
    [
        (
            "chrome_offer",
            ["7c10b47e-fc34-420f-843b-a5c1d8cc566e", "7377fe4b-3cad-43e0-9c31-8c13d0870e77"],
            [
                (RtpEncoding(0, rid="q"), RtpEncoding(1, rid="h")),
                (RtpEncoding(0, ssrc=1185628745),),
            ],
        ),
        (
            "libwebrtc_offer",
            ["ccae7a99-7d8c-4578-b50e-3f5cedbbeab6", "a52f3983-d633-47e9-8b74-1a3d7fae7eb6"],
            [
                (RtpEncoding(0, ssrc=2908203851),),
                (RtpEncoding(0, rid="q"), RtpEncoding(1, rid="h"), RtpEncoding(2, rid="f")),
            ],
        ),
        (
            "firefox_offer",
            [
                "{c6d5a9de-2f4e-4a5e-8f6c-1a2b3c4d5e6f}",
                "{9e8d7c6b-5a49-4838-9271-605f4e3d2c1b}",
            ],
            [
                (RtpEncoding(0, ssrc=776153908),),
                (RtpEncoding(0, rid="q"), RtpEncoding(1, rid="h"), RtpEncoding(2, rid="f")),
            ],
        ),
        (
            "safari_offer",
            ["2B7E1516-28AE-4D2A-A6AB-F7158809CF4F", "ABF71588-09CF-4F3C-8A2D-2B7E151628AE"],
            [
                (RtpEncoding(0, ssrc=3735928559),),
                (
                    RtpEncoding(0, ssrc=1000000001, rtx_ssrc=1000000002),
                    RtpEncoding(1, ssrc=1000000003, rtx_ssrc=1000000004),
                    RtpEncoding(2, ssrc=1000000005, rtx_ssrc=1000000006),
                ),
            ],
        ),
        (
            "aiortc_offer",
            ["e4e6b84f-7c1c-4f8f-9a9b-09862dcec974"],
            [(RtpEncoding(0, ssrc=1014842151, rtx_ssrc=2701987420),)],
        ),
        (
            "str0m_offer",
            ["str-aud", "str-vid"],
            [
                (RtpEncoding(0, ssrc=905637214),),
                (RtpEncoding(0, rid="lo"), RtpEncoding(1, rid="hi")),
            ],
        ),
    ],
)
def test_published_tracks(name: str, cids: list[str], encodings: list[object]) -> None:
    result = offer(single(RecordingEngine()), sample(name))
    assert [track.cid for track in result.tracks] == cids
    assert [track.encodings for track in result.tracks] == encodings


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        ("f,h,q", "q,h,f"),
        ("0,1,2", "2,1,0"),
        ("h,m,l", "l,m,h"),
        ("hi,lo", "lo,hi"),
        ("large,small", "small,large"),
        ("x,a,b", "x,a,b"),
        ("f", "f"),
        ("b,b,a", "b,a"),
        ("a,b,c,d", "a,b,c"),
    ],
)
def test_layers_are_in_the_order_of_their_rids_names(offered: str, expected: str) -> None:
    media = MediaDescription("video", simulcast=Simulcast(send=tuple(offered.split(","))))
    found = encodings(media)
    assert [e.rid for e in found] == expected.split(",")
    assert [e.spatial for e in found] == list(range(len(found)))


def test_simulcast_is_answered_with_the_rids_as_offered() -> None:
    answer = answer_of(offer(single(RecordingEngine()), sample("firefox_offer")))
    video = answer.media[3]
    assert video.direction is Direction.RECVONLY
    assert video.rids == [Rid("f", "recv"), Rid("h", "recv"), Rid("q", "recv")]
    assert video.simulcast == Simulcast(recv=("f", "h", "q"))


def test_firefox_payload_types_and_extensions_reach_the_engine() -> None:
    engine = RecordingEngine()
    transport = single(engine, browser="firefox", os="windows")
    result = offer(transport, sample("firefox_offer"))
    audio, video = (transport.create_receiver(track, clock_group=5) for track in result.tracks)
    by_id = {command.receiver: command for command in engine.of(CreateReceiver)}
    assert [codec.payload_type for codec in by_id[audio].codecs] == [109, 0, 8]
    assert [(c.payload_type, c.rtx_payload_type) for c in by_id[video].codecs] == [
        (120, 124),
        (121, 125),
        (126, 127),
        (97, 98),
    ]
    assert by_id[video].mid == "3"
    assert by_id[video].clock_group == 5
    assert RtpHeaderExtension(8, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id") in (
        by_id[video].header_extensions
    )


@pytest.mark.parametrize(
    ("client", "first", "count"),
    [
        ({"browser": "firefox", "os": "linux"}, "VP9", 1),
        ({"browser": "firefox", "os": "windows"}, "VP9", 3),
    ],
)
def test_the_tracks_codec_is_first_or_alone(client: dict[str, str], first: str, count: int) -> None:
    transport = single(RecordingEngine(), **client)
    info = track_info("video/VP9")
    result = offer(
        transport,
        sample("firefox_offer"),
        lookup=lambda cid, kind: info if kind == "video" else None,
    )
    video = answer_of(result).media[3]
    assert video.codecs[0].name == first
    assert len({codec.name for codec in video.codecs if codec.name != "rtx"}) == count
    assert result.tracks[1].mime_types[0] == "video/vp9"


def test_published_audio_has_nack_and_its_features() -> None:
    info = track_info(audio_features=[models.TF_STEREO, models.TF_NO_DTX])
    result = offer(single(RecordingEngine()), sample("chrome_offer"), lookup=lambda cid, kind: info)
    red, opus = answer_of(result).media[-1].codecs[:2]
    assert (red.name, red.feedback) == ("red", ())
    assert opus.name == "opus"
    assert opus.fmtp == "minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=510000"
    assert opus.feedback == ("nack",)


@pytest.mark.parametrize(
    ("disable_red", "named", "first"),
    [
        (False, "", "red"),
        (True, "", "opus"),
        (False, "audio/opus", "opus"),
        (True, "audio/red", "red"),
    ],
)
def test_red_first_where_it_is_wanted(disable_red: bool, named: str, first: str) -> None:
    info = track_info(named, disable_red=disable_red)
    transport = single(RecordingEngine())
    result = offer(transport, sample("chrome_offer"), lookup=lambda cid, kind: info)
    assert answer_of(result).media[-1].codecs[0].name == first


def test_dual_publisher_answers_without_remb_and_abs_send_time() -> None:
    answer = answer_of(offer(publisher(RecordingEngine()), sample("chrome_offer")))
    video = next(media for media in answer.media if media.direction is Direction.RECVONLY)
    assert "goog-remb" not in video.codecs[0].feedback
    assert "transport-cc" in video.codecs[0].feedback
    assert not any("abs-send-time" in e.uri for e in video.header_extensions)


# -- offers that cannot be answered ---------------------------------------------------------------


def without(text: str, prefix: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(prefix))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "line 1: a description begins with v=0"),
        (without(sample("chrome_offer"), "a=fingerprint"), "no a=fingerprint"),
        (without(sample("chrome_offer"), "a=ice-ufrag"), "no a=ice-ufrag"),
        (without(sample("chrome_offer"), "a=ice-pwd"), "no a=ice-pwd"),
        (
            sample("chrome_offer").replace("a=mid:1\r\n", "a=mid:0\r\n"),
            "two media sections have the same a=mid",
        ),
        (
            without(sample("chrome_offer"), "a=group").replace(" 9 UDP", " 0 UDP"),
            "every media section is rejected",
        ),
        (
            sample("chrome_offer").replace("sha-256", "sha-1"),
            "no a=fingerprint in sha-256, sha-384, sha-512",
        ),
        (
            re.sub(r"(a=fingerprint:sha-256 ..:..):.*", r"\1", sample("chrome_offer")),
            "no a=fingerprint in sha-256, sha-384, sha-512",
        ),
    ],
)
def test_unusable_offers(text: str, message: str) -> None:
    engine = RecordingEngine()
    transport = single(engine)
    with pytest.raises(SdpError) as error:
        offer(transport, text)
    assert error.value.message == message
    assert engine.commands == [], "a refused offer changes nothing"
    assert answer_of(offer(transport, sample("chrome_offer"))).media


def test_an_offer_may_not_lose_sections() -> None:
    transport = single(RecordingEngine())
    offer(transport, sample("chrome_offer"))
    with pytest.raises(SdpError, match="the offer has 7 media sections, the one before had 9"):
        offer(transport, sample("chrome_join_offer"))


def test_sections_outside_the_bundle_are_rejected() -> None:
    text = sample("safari_offer").replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 0 2")
    answer = answer_of(offer(single(RecordingEngine()), text))
    assert [media.rejected for media in answer.media] == [False, True, False]
    assert answer.bundle == ("0", "2")
    assert answer.media[1].mid == "1"


def test_sections_without_a_common_codec_are_rejected() -> None:
    text = sample("str0m_offer").replace("VP8/90000", "theora/90000")
    result = offer(single(RecordingEngine()), text)
    video = answer_of(result).media[1]
    assert (video.port, video.direction, video.formats) == (0, Direction.INACTIVE, ("96", "97"))
    assert [track.kind for track in result.tracks] == [MediaKind.AUDIO]


def test_unknown_kinds_and_a_second_data_section_are_rejected() -> None:
    text = sample("str0m_offer").replace("BUNDLE aud vid dat", "BUNDLE aud vid dat txt dat2")
    data = "UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:dat2\r\na=sctp-port:5001\r\n"
    text += "m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:txt\r\nm=application 9 " + data
    answer = answer_of(offer(single(RecordingEngine()), text))
    assert [media.rejected for media in answer.media] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("offered", "answered"),
    [("actpass", Setup.PASSIVE), ("active", Setup.PASSIVE), ("passive", Setup.ACTIVE)],
)
def test_we_are_the_dtls_server_where_we_may(offered: str, answered: Setup) -> None:
    text = sample("chrome_offer").replace("a=setup:actpass", f"a=setup:{offered}")
    answer = answer_of(offer(single(RecordingEngine()), text))
    assert {media.transport.setup for media in answer.media} == {answered}
