from __future__ import annotations

import re
from collections import Counter

import pytest

from lkpy.limits import MAX_MEDIA_SECTIONS, SDP_IGNORED
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
        "esp32",
        "ffmpeg",
        "firefox",
        "gstreamer",
        "libwebrtc",
        "obs",
        "pion",
        "safari",
        "str0m",
    }


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_between_parsing_and_writing(name: str) -> None:
    def small(match: re.Match[str]) -> str:
        return match[0].lower()

    text = re.sub(r"(?m)^a=candidate:\S+ \d+ (UDP|TCP)", small, sample(name))
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
        ("hello\r\n", "line 1: a description begins with v=0"),
        ("\r\n\r\nv=1\r\n", "line 3: a description begins with v=0"),
        (HEAD + "m=video\r\n", "line 5: m=: expected 'kind port protocol formats'"),
        (HEAD + "m=video x UDP/TLS/RTP/SAVPF 96\r\n", "line 5: m=: port must be"),
        (HEAD + VIDEO + "m=video 70000 RTP/AVP 96\r\n", "line 6: m=: port must be"),
    ],
)
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(SdpError) as error:
        SessionDescription.parse(text)
    assert error.value.message.startswith(message)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "session: expected 'x=value'"),
        ("a=fingerprint:sha-256", "session: a=fingerprint: expected 'algorithm AA:BB:"),
        ("a=setup:maybe", "session: a=setup: expected one of actpass, active"),
        ("a=group:", "session: a=group: expected 'semantics mids'"),
        ("a=candidate:1 1 udp", "session: a=candidate: expected"),
        (VIDEO + "junk", "section 0: expected 'x=value'"),
        (VIDEO + "a=mid:a b", "section 0: a=mid: expected 1 to 256 visible"),
        (VIDEO + "a=mid:", "section 0: a=mid: expected 1 to 256 visible"),
        (VIDEO + "a=msid:", "section 0: a=msid: expected 'stream track'"),
        (VIDEO + "a=rtpmap:96", "section 0: a=rtpmap: expected 'number value'"),
        (VIDEO + "a=rtpmap:x VP8/90000", "section 0: a=rtpmap: payload type must be"),
        (VIDEO + "a=rtpmap:96 VP8/fast", "section 0: a=rtpmap: clock rate and"),
        (VIDEO + "a=rtpmap:96 VP8/1/2/3", "section 0: a=rtpmap: expected 'name/clock rate'"),
        (VIDEO + "a=fmtp:all x=1", "section 0: a=fmtp: payload type must be"),
        (VIDEO + "a=rtcp-fb:", "section 0: a=rtcp-fb: expected 'number value'"),
        (VIDEO + "a=extmap:0 urn:x", "section 0: a=extmap: id must be"),
        (VIDEO + "a=extmap:4096 urn:x", "section 0: a=extmap: id must be"),
        (VIDEO + "a=extmap:1", "section 0: a=extmap: expected 'number value'"),
        (VIDEO + "a=extmap:1/up urn:x", "section 0: a=extmap: unknown direction"),
        (VIDEO + "a=ssrc:4294967296 cname:x", "section 0: a=ssrc: expected a number"),
        (VIDEO + "a=ssrc:1", "section 0: a=ssrc: expected 'ssrc attribute'"),
        (VIDEO + "a=ssrc-group:FID a", "section 0: a=ssrc-group: expected a number"),
        (VIDEO + "a=rid:q", "section 0: a=rid: expected 'id send'"),
        (VIDEO + "a=simulcast:q", "section 0: a=simulcast: expected 'send rids'"),
        (VIDEO + "a=ice-ufrag:", "section 0: a=ice-ufrag: expected 1 to 256 visible"),
        (VIDEO + "a=ice-pwd:two words", "section 0: a=ice-pwd: expected 1 to 256 visible"),
        (VIDEO + "a=sctp-port:70000", "section 0: a=sctp-port: expected a number"),
        (VIDEO + "a=max-message-size:much", "section 0: a=max-message-size: expected a number"),
        (VIDEO + VIDEO + "a=setup:x", "section 1: a=setup: expected"),
        ("m=video 9 UDP/TLS/RTP/SAVPF 96 999", "section 0: m=: payload type must be"),
    ],
)
def test_malformed_lines_say_nothing(text: str, reason: str) -> None:
    """They are listed, and the rest is read as if they were not there."""
    description = SessionDescription.parse(HEAD + text + "\r\n")
    assert len(description.ignored) == 1
    assert description.ignored[0].startswith(reason)
    without = "".join(f"{line}\r\n" for line in text.split("\r\n")[:-1])
    if not text.startswith("m=video 9 UDP/TLS/RTP/SAVPF 96 "):
        assert description == SessionDescription.parse(HEAD + without)


def test_reasons_kept_are_bounded() -> None:
    text = HEAD + "junk\r\n" * 2 * SDP_IGNORED + VIDEO + "junk\r\n"
    assert len(SessionDescription.parse(text).ignored) == SDP_IGNORED


@pytest.mark.parametrize(
    "text",
    [
        "\r\n" + HEAD + VIDEO,
        HEAD.replace("v=0", "v=0 ") + VIDEO,
        HEAD.replace("s=-", "s= ") + VIDEO,
        HEAD + "\r\n" + VIDEO,
        HEAD + VIDEO + "\r\n\r\n",
        HEAD.replace("t=0 0", "\r\n  \r\nt=0 0") + VIDEO,
        HEAD + VIDEO + "y=unknown\r\nk=prompt\r\n",
        HEAD + "m=video  9  UDP/TLS/RTP/SAVPF\t96 \r\n",
        HEAD + " m=video 9 UDP/TLS/RTP/SAVPF 96",
        HEAD.replace("t=0 0", "t=0 0\t") + VIDEO,
        HEAD.replace("t=0 0", "\tt=0 0") + VIDEO,
        HEAD + VIDEO.rstrip() + "\t",
        HEAD + VIDEO.rstrip() + " ",
    ],
)
def test_blanks_and_unknown_lines_change_nothing(text: str) -> None:
    assert SessionDescription.parse(text) == SessionDescription.parse(HEAD + VIDEO)


def test_names_are_read_in_either_case_and_digests_without_colons() -> None:
    plain = HEAD + "a=setup:active\r\na=fingerprint:sha-256 AA:BB:CC\r\n"
    loose = HEAD + "a=setup:ACTIVE\r\na=fingerprint:SHA-256 aabbcc\r\n"
    assert SessionDescription.parse(loose) == SessionDescription.parse(plain)


def test_the_first_of_two_lines_about_a_number_counts() -> None:
    media = _section(
        VIDEO
        + "a=rtpmap:96 VP8/90000\r\na=rtpmap:96 H264/90000\r\n"
        + "a=extmap:1 urn:x\r\na=extmap:1 urn:y\r\n"
    )
    assert [codec.name for codec in media.codecs] == ["VP8"]
    assert [extension.uri for extension in media.header_extensions] == ["urn:x"]


def test_a_clock_rate_may_be_left_out() -> None:
    codec = _section(VIDEO + "a=rtpmap:96 VP8\r\n").codecs[0]
    assert (codec.name, codec.clock_rate) == ("VP8", 0)
    assert codec.lines == ("a=rtpmap:96 VP8",)


@pytest.mark.parametrize(
    ("value", "size"), [("0", 0), ("262144", 262_144), ("9" * 11, 2**32 - 1), ("9" * 30, 2**32 - 1)]
)
def test_message_sizes(value: str, size: int) -> None:
    media = _section(f"m=application 9 UDP/DTLS/SCTP x\r\na=max-message-size:{value}\r\n")
    assert media.max_message_size == size


def test_reasons_keep_secrets() -> None:
    description = SessionDescription.parse(HEAD + VIDEO + "a=ice-pwd:hunter 2\r\n")
    assert "hunter" not in description.ignored[0]


def test_number_of_sections_is_bounded() -> None:
    SessionDescription.parse(HEAD + VIDEO * MAX_MEDIA_SECTIONS)
    with pytest.raises(SdpError, match=f"more than {MAX_MEDIA_SECTIONS} media sections"):
        SessionDescription.parse(HEAD + VIDEO * (MAX_MEDIA_SECTIONS + 1))
