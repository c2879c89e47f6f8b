"""Loose offers: what can be understood is answered, what cannot be used is named."""

from __future__ import annotations

import pytest

from lkpy.engine.api import AddRemoteCandidate, SetRemoteParameters
from lkpy.sdp import SdpError, SessionDescription
from tests.transport_kit import DIGEST, RecordingEngine, answer_of, offer, single

HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
ICE = "a=ice-ufrag:abcd\r\na=ice-pwd:" + "p" * 22 + "\r\n"
DTLS = f"a=fingerprint:sha-256 {DIGEST}\r\na=setup:actpass\r\n"
OPUS = "a=rtpmap:111 opus/48000/2\r\n"
VP8 = "a=rtpmap:96 VP8/90000\r\n"


def audio(mid: str | None = "0", more: str = OPUS, ice: str = ICE + DTLS, port: int = 9) -> str:
    name = "" if mid is None else f"a=mid:{mid}\r\n"
    cid = "a" if mid is None else f"a{mid}"
    return (
        f"m=audio {port} UDP/TLS/RTP/SAVPF 111\r\n{ice}{name}a=sendonly\r\na=msid:- {cid}\r\n"
        f"a=rtcp-mux\r\n{more}"
    )


def video(mid: str | None = "1", more: str = VP8, ice: str = ICE + DTLS, port: int = 9) -> str:
    return (
        audio(mid, more, ice, port).replace("m=audio", "m=video").replace("SAVPF 111", "SAVPF 96")
    )


def bundle(*mids: str) -> str:
    return f"{HEAD}a=group:BUNDLE {' '.join(mids)}\r\n"


def data(first: str = "UDP/DTLS/SCTP webrtc-datachannel", more: str = "") -> str:
    return f"m=application 9 {first}\r\n{ICE}{DTLS}a=mid:d\r\n{more}"


def ports(text: str) -> list[int]:
    return [media.port for media in answer_of(offer(single(RecordingEngine()), text)).media]


# -- sections and their bundle ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (bundle("0") + audio(), [True]),
        (HEAD + audio(), [True]),
        (HEAD + audio(mid=None), [True]),
        (HEAD + audio(mid=None) + video(mid=None), [True, True]),
        (HEAD + audio() + video(), [True, True]),
        (HEAD + audio() + video(ice=ICE.replace("abcd", "efgh") + DTLS), [True, False]),
        (HEAD + ICE + DTLS + audio(ice="") + video(ice=""), [True, True]),
        (bundle("0") + audio() + video(), [True, False]),
        (bundle("0", "1") + audio() + video(ice=""), [True, True]),
        (bundle("0", "1") + audio(ice="") + video(), [True, True]),
        (bundle("0", "1") + audio() + video(port=0), [True, True]),
        (bundle("0") + audio() + video(port=0), [True, False]),
        (bundle("0", "1") + audio() + video(port=0, more=VP8 + "a=bundle-only\r\n"), [True, True]),
        (bundle("9", "0", "1") + audio() + video(), [True, True]),
        (HEAD + "a=group:LS 0 1\r\na=group:BUNDLE 0 1\r\n" + audio() + video(), [True, True]),
        (bundle("x/y@z") + audio(mid="x/y@z"), [True]),
        (bundle("0", "t") + audio() + audio("t").replace("m=audio", "m=text"), [True, False]),
    ],
)
def test_sections(text: str, accepted: list[bool]) -> None:
    assert [port != 0 for port in ports(text)] == accepted


def test_sections_without_a_name_are_answered_without_and_keep_their_place() -> None:
    transport = single(RecordingEngine())
    text = HEAD + audio(mid=None) + video(mid=None)
    for _ in range(2):
        answer = answer_of(offer(transport, text))
        assert [media.mid for media in answer.media] == [None, None]
        assert answer.bundle == (), "there is no name to say it by"
    assert [track.mid for track in transport.section_tracks()] == ["0", "1"]


def test_a_name_that_is_made_up_is_nobody_elses() -> None:
    result = offer(single(RecordingEngine()), HEAD + video(mid="1") + audio(mid=None))
    assert sorted(track.mid for track in result.tracks) == ["1", "1-"]


def test_what_was_not_offered_as_a_bundle_is_not_answered_as_one() -> None:
    assert answer_of(offer(single(RecordingEngine()), HEAD + audio())).bundle == ()


def test_a_section_that_was_in_use_is_stopped_by_port_0() -> None:
    transport = single(RecordingEngine())
    offer(transport, bundle("0", "1") + audio() + video())
    result = offer(transport, bundle("0", "1") + audio() + video(port=0))
    assert [closed.mid for closed in result.closed] == ["1"]
    assert result.refused == (), "it was the client"


# -- the transport ------------------------------------------------------------------------------


def test_candidates_are_found_wherever_they_are() -> None:
    engine = RecordingEngine()

    def candidate(number: int) -> str:
        return f"a=candidate:1 1 udp 1 192.0.2.{number} 5 typ host\r\n"

    offer(
        single(engine),
        bundle("0", "1")
        + candidate(1)
        + audio(more=OPUS + candidate(2))
        + video(more=VP8 + candidate(3) + "a=end-of-candidates\r\n"),
    )
    addresses = [command.candidate.address for command in engine.of(AddRemoteCandidate)]
    assert addresses == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


@pytest.mark.parametrize(
    "candidate",
    [
        "",
        "foo",
        "1 1 udp 1 192.0.2.4 5",
        "1 1 udp 1 192.0.2.4 5 typ odd",
        "1 1 udp 1 host.example 5 typ host",
        "1 1 udp 1 9b36eaac-bb2e-49bb-bb78-21c41c499900.local 5 typ host",
        "1 1 udp 1 fe80::1%eth0 5 typ host",
        "1 1 tcp 1 192.0.2.4 9 typ host tcptype active",
        "1 1 ssltcp 1 192.0.2.4 443 typ host",
        "1 2 udp 1 192.0.2.4 5 typ host",
        "1 1 udp 99999999999 192.0.2.4 5 typ host",
        "1 1 udp 1 192.0.2.4 99999 typ host",
    ],
)
def test_candidates_of_no_use_do_no_harm(candidate: str) -> None:
    engine = RecordingEngine()
    good = "a=candidate: 1 UDP 1 192.0.2.9 5 typ host generation 0 network-id\r\n"
    offer(single(engine), HEAD + audio(more=f"{OPUS}a=candidate:{candidate}\r\n{good}"))
    assert [c.candidate.address for c in engine.of(AddRemoteCandidate)] == ["192.0.2.9"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (f"a=fingerprint:sha-1 {DIGEST[:59]}\r\na=fingerprint:sha-256 {DIGEST}", DIGEST),
        (f"a=fingerprint:md5 AA\r\na=fingerprint:SHA-256 {DIGEST.lower()}", DIGEST),
        (f"a=fingerprint:sha-256 {DIGEST.replace(':', '')}", DIGEST),
        (f"a=fingerprint:sha-512 {DIGEST}:{DIGEST}\r\na=fingerprint:sha-256 {DIGEST}", DIGEST),
    ],
)
def test_fingerprints(lines: str, expected: str) -> None:
    engine = RecordingEngine()
    offer(single(engine), HEAD + audio(ice=f"{ICE}{lines}\r\na=setup:active\r\n"))
    (remote,) = engine.of(SetRemoteParameters)
    assert remote.dtls.fingerprint == expected


def test_another_hash_of_the_certificate_may_be_written_later() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    sha512 = ":".join(["AB"] * 64)
    more = f"a=fingerprint:sha-512 {sha512}\r\n"
    offer(transport, HEAD + audio(ice=ICE + DTLS))
    offer(transport, HEAD + audio(ice=ICE + more + DTLS))
    offer(transport, HEAD + audio(ice=ICE.replace("abcd", "efgh") + more + DTLS))
    assert [c.dtls.fingerprint for c in engine.of(SetRemoteParameters)] == [DIGEST, DIGEST]
    with pytest.raises(SdpError, match="a=fingerprint differs"):
        offer(transport, HEAD + audio(ice=ICE + more))


@pytest.mark.parametrize(
    "ice", ["a=ice-ufrag:a\r\na=ice-pwd:b\r\n", "a=ice-ufrag:{_}\r\na=ice-pwd:~\r\n"]
)
def test_credentials_may_be_short_and_odd(ice: str) -> None:
    assert ports(HEAD + audio(ice=ice + DTLS)) == [9]


# -- data -----------------------------------------------------------------------------------------


def test_data_sections_of_drafts_are_answered_in_their_form() -> None:
    text = bundle("d") + data("DTLS/SCTP 5000", "a=sctpmap:5000 webrtc-datachannel 256\r\n")
    (media,) = answer_of(offer(single(RecordingEngine()), text)).media
    assert (media.port, media.protocol, media.formats) == (9, "DTLS/SCTP", ("5000",))
    assert ("sctpmap", "5000 webrtc-datachannel 1024") in media.attributes
    assert media.sctp_port is None


@pytest.mark.parametrize(
    "first",
    ["UDP/DTLS/SCTP webrtc-datachannel", "TCP/DTLS/SCTP x", "udp/dtls/sctp y", "UDP/DTLS/SCTP"],
)
def test_data_sections(first: str) -> None:
    (media,) = answer_of(offer(single(RecordingEngine()), bundle("d") + data(first))).media
    assert (media.port, media.protocol) == (9, first.split()[0])
    assert (media.formats, media.sctp_port) == (("webrtc-datachannel",), 5000)


# -- what cannot be used --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "why"),
    [
        (
            video(more="a=rtpmap:96 theora/90000\r\n"),
            "no codec of it is enabled: theora/90000",
        ),
        (video(more=""), "no codec of it is enabled: ?/0"),
        (video().replace(" 96\r\n", "\r\n"), "no codec of it is enabled: it names none"),
        (video().replace("m=video", "m=text"), "it is neither audio nor video nor"),
        (video(mid="2"), "it is not on the transport of the bundle"),
        (data().replace("a=mid:d", "a=mid:1"), "there is another one for data channels"),
    ],
)
def test_a_section_that_cannot_be_used_is_named_once(section: str, why: str) -> None:
    transport = single(RecordingEngine())
    text = bundle("0", "d", "1") + audio() + data() + section
    (refused,) = offer(transport, text).refused
    assert refused.why.startswith(why)
    assert refused.mid in ("1", "2")
    assert refused.cid == ("" if section.startswith("m=application") else f"a{refused.mid}")
    assert offer(transport, text).refused == ()
    again = bundle("0", "d", "1") + audio() + data() + video()
    assert offer(transport, again).refused == (), "it can be used now"


def test_names_in_a_refusal_are_bounded() -> None:
    names = "".join(f"a=rtpmap:{n} {n}{'x' * 500}/1\r\n" for n in range(96, 116))
    formats = " ".join(str(n) for n in range(96, 116))
    section = video(more=names).replace("SAVPF 96", f"SAVPF {formats}")
    (refused,) = offer(single(RecordingEngine()), bundle("0", "1") + audio() + section).refused
    assert len(refused.why) < 400


def test_lines_that_say_nothing_are_told() -> None:
    result = offer(single(RecordingEngine()), HEAD + audio(more=OPUS + "a=ssrc:x y\r\n"))
    assert result.ignored == ("section 0: a=ssrc: expected a number from 0 to 4294967295",)


def test_what_is_answered_reads_as_it_was_meant() -> None:
    answer = answer_of(offer(single(RecordingEngine()), HEAD + audio()))
    assert SessionDescription.parse(str(answer)) == answer
