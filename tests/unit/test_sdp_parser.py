from __future__ import annotations

from collections import Counter

import pytest

from lkpy.limits import MAX_MEDIA_SECTIONS
from lkpy.sdp import (
    Codec,
    Direction,
    Group,
    HeaderExtension,
    MediaDescription,
    Msid,
    Rid,
    SdpError,
    SessionDescription,
    Setup,
    Simulcast,
    SsrcGroup,
    TransportAttributes,
)
from tests.transport_kit import SAMPLES, sample

NAMES = sorted(path.stem for path in SAMPLES.glob("*.sdp"))


def test_samples_cover_the_clients() -> None:
    assert {name.partition("_")[0] for name in NAMES} == {
        "aiortc",
        "chrome",
        "firefox",
        "libwebrtc",
        "pion",
        "safari",
        "str0m",
    }


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_between_parsing_and_writing(name: str) -> None:
    text = sample(name)
    description = SessionDescription.parse(text)
    assert Counter(str(description).splitlines()) == Counter(filter(None, text.splitlines()))
    assert SessionDescription.parse(str(description)) == description


@pytest.mark.parametrize("name", NAMES)
def test_line_ends_may_be_lf(name: str) -> None:
    text = sample(name)
    assert SessionDescription.parse(text.replace("\r\n", "\n")) == SessionDescription.parse(text)


def test_session_part() -> None:
    description = SessionDescription.parse(sample("firefox_offer"))
    assert description.origin.startswith("mozilla...")
    assert description.bundle == ("0", "1", "2", "3")
    assert description.transport.ice_options == "trickle"
    assert not description.ice_lite
    assert SessionDescription.parse(sample("str0m_offer")).ice_lite


def test_transport_attributes_come_from_the_session_where_a_section_has_none() -> None:
    description = SessionDescription.parse(sample("firefox_offer"))
    transport = description.transport_of(description.media[1])
    assert transport.ice_ufrag == "5f1c9a20"
    assert transport.setup is Setup.ACTPASS
    assert [f.algorithm for f in transport.fingerprints] == ["sha-256"]
    assert transport.fingerprints[0].value.startswith("1F:0C:5B")


def test_simulcast_section() -> None:
    media = SessionDescription.parse(sample("firefox_offer")).media[3]
    assert media.direction is Direction.SENDONLY
    assert media.msids == [
        Msid("{0a3a1f0c-7e0b-4f51-b0f5-cbb1a1f3f8a0}", "{9e8d7c6b-5a49-4838-9271-605f4e3d2c1b}")
    ]
    assert media.simulcast == Simulcast(send=("f", "h", "q"))
    assert media.rids[0] == Rid("f", "send")
    assert HeaderExtension(
        6, "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", Direction.RECVONLY
    ) in (media.header_extensions)
    vp8 = media.codecs[0]
    assert (vp8.payload_type, vp8.name, vp8.clock_rate) == (120, "VP8", 90_000)
    assert vp8.feedback == ("nack", "nack pli", "ccm fir", "goog-remb", "transport-cc")
    assert vp8.parameters == {"max-fs": "12288", "max-fr": "60"}


def test_ssrc_groups_and_restrictions() -> None:
    safari = SessionDescription.parse(sample("safari_offer")).media[1]
    assert safari.ssrc_groups[0] == SsrcGroup("SIM", (1000000001, 1000000003, 1000000005))
    assert list(safari.ssrcs) == [1000000001 + n for n in range(6)]
    assert safari.ssrcs[1000000001] == {"cname": "Qf0vR1hJpZk8sWxY"}
    str0m = SessionDescription.parse(sample("str0m_offer")).media[1]
    assert str0m.rids == [Rid("hi", "send", "max-br=1000000"), Rid("lo", "send")]


def test_data_section() -> None:
    media = SessionDescription.parse(sample("chrome_join_offer")).media[-1]
    assert media.kind == "application"
    assert media.formats == ("webrtc-datachannel",)
    assert (media.sctp_port, media.codecs) == (5000, ())


def test_static_payload_types_need_no_rtpmap() -> None:
    media = _section("m=audio 9 UDP/TLS/RTP/SAVPF 0 8 101\r\n")
    assert [(c.name, c.clock_rate) for c in media.codecs] == [
        ("PCMU", 8000),
        ("PCMA", 8000),
        ("", 0),
    ]


def test_feedback_for_all_payload_types() -> None:
    media = _section(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=rtcp-fb:* nack\r\na=rtcp-fb:97 nack pli\r\n"
    )
    assert [codec.feedback for codec in media.codecs] == [("nack",), ("nack pli", "nack")]


def test_paused_and_alternative_rids() -> None:
    media = _section("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=simulcast:send q,qq;~h recv f\r\n")
    assert media.simulcast == Simulcast(send=("q", "h"), recv=("f",))
    draft = _section("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=simulcast:send rid=q;h\r\n")
    assert draft.simulcast == Simulcast(send=("q", "h"))


@pytest.mark.parametrize(
    ("port", "bundle_only", "rejected"), [(9, False, False), (0, False, True), (0, True, False)]
)
def test_port_zero_rejects(port: int, bundle_only: bool, rejected: bool) -> None:
    text = f"m=audio {port} UDP/TLS/RTP/SAVPF 0\r\n" + "a=bundle-only\r\n" * bundle_only
    assert _section(text).rejected is rejected


def test_writing_a_built_description() -> None:
    media = MediaDescription(
        "video",
        mid="1",
        direction=Direction.SENDONLY,
        codecs=(
            Codec(96, "VP8", 90_000, feedback=("nack", "nack pli")),
            Codec(97, "rtx", 90_000, fmtp="apt=96"),
        ),
        transport=TransportAttributes(ice_ufrag="abcd", setup=Setup.PASSIVE),
        rtcp_mux=True,
        ssrcs={5: {"cname": "c"}},
    )
    description = SessionDescription(groups=[Group("BUNDLE", ("1",))], media=[media])
    assert str(description) == "\r\n".join(
        [
            "v=0",
            "o=- 0 0 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 1",
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
            "c=IN IP4 0.0.0.0",
            "a=ice-ufrag:abcd",
            "a=setup:passive",
            "a=mid:1",
            "a=sendonly",
            "a=rtcp-mux",
            "a=rtpmap:96 VP8/90000",
            "a=rtcp-fb:96 nack",
            "a=rtcp-fb:96 nack pli",
            "a=rtpmap:97 rtx/90000",
            "a=fmtp:97 apt=96",
            "a=ssrc:5 cname:c",
            "",
        ]
    )


HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"


def _section(text: str) -> MediaDescription:
    return SessionDescription.parse(HEAD + text).media[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: a description begins with v=0"),
        ("hello\r\n", "line 1: he: a description begins with v=0"),
        (HEAD + "nonsense\r\n", "line 5: no: expected 'x=value'"),
        (HEAD + "a=fingerprint:sha-256\r\n", "line 5: a=fingerprint: expected 'algorithm AA:BB:"),
        (HEAD + "a=setup:maybe\r\n", "line 5: a=setup: expected one of actpass, active"),
        (HEAD + "m=video\r\n", "line 5: m=: expected 'kind port protocol formats'"),
        (HEAD + "m=video x UDP/TLS/RTP/SAVPF 96\r\n", "line 5: m=: port must be"),
        (HEAD + "m=video 9 UDP/TLS/RTP/SAVPF 999\r\n", "line 5: m=: payload type must be"),
        (HEAD + VIDEO + "junk\r\n", "line 6: ju: expected 'x=value'"),
        (HEAD + VIDEO + "a=mid:a b\r\n", "line 6: a=mid: expected a token"),
        (HEAD + VIDEO + "a=mid:\r\n", "line 6: a=mid: expected a token"),
        (HEAD + VIDEO + "a=msid:\r\n", "line 6: a=msid: expected 'stream track'"),
        (HEAD + VIDEO + "a=rtpmap:96 VP8\r\n", "line 6: a=rtpmap: expected 'name/clock rate'"),
        (HEAD + VIDEO + "a=rtpmap:x VP8/90000\r\n", "line 6: a=rtpmap: payload type must be"),
        (HEAD + VIDEO + "a=rtpmap:96 VP8/0\r\n", "line 6: a=rtpmap: clock rate out of range"),
        (HEAD + VIDEO + "a=extmap:0 urn:x\r\n", "line 6: a=extmap: id must be"),
        (HEAD + VIDEO + "a=extmap:1\r\n", "line 6: a=extmap: expected 'id uri'"),
        (HEAD + VIDEO + "a=extmap:1/up urn:x\r\n", "line 6: a=extmap: 'up' is not"),
        (HEAD + VIDEO + "a=ssrc:4294967296 cname:x\r\n", "line 6: a=ssrc: expected a number"),
        (HEAD + VIDEO + "a=ssrc:1\r\n", "line 6: a=ssrc: expected 'ssrc attribute'"),
        (HEAD + VIDEO + "a=rid:q\r\n", "line 6: a=rid: expected 'id send'"),
        (HEAD + VIDEO + "a=simulcast:q\r\n", "line 6: a=simulcast: expected 'send rids'"),
        (HEAD + VIDEO + "a=candidate:1 1 udp\r\n", "line 6: a=candidate: expected"),
        (HEAD + VIDEO + "a=ice-ufrag:abc\r\n", "line 6: a=ice-ufrag: expected 4 to 256"),
        (HEAD + VIDEO + "a=ice-pwd:short\r\n", "line 6: a=ice-pwd: expected 22 to 256"),
        (HEAD + VIDEO + "a=sctp-port:70000\r\n", "line 6: a=sctp-port: expected a number"),
        (HEAD + VIDEO + "a=mid:0\r\n" + VIDEO + "a=setup:x\r\n", "line 8: a=setup: expected"),
    ],
)
def test_errors_name_line_and_attribute(text: str, message: str) -> None:
    with pytest.raises(SdpError) as error:
        SessionDescription.parse(text)
    assert error.value.message.startswith(message)


def test_errors_keep_secrets() -> None:
    with pytest.raises(SdpError) as error:
        SessionDescription.parse(HEAD + VIDEO + "a=ice-pwd:hunter2\r\n")
    assert "hunter2" not in error.value.message


def test_number_of_sections_is_bounded() -> None:
    SessionDescription.parse(HEAD + VIDEO * MAX_MEDIA_SECTIONS)
    with pytest.raises(SdpError, match=f"more than {MAX_MEDIA_SECTIONS} media sections"):
        SessionDescription.parse(HEAD + VIDEO * (MAX_MEDIA_SECTIONS + 1))
