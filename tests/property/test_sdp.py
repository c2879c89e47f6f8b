"""Descriptions of any kind meet an answer or an SdpError, nothing else."""

from __future__ import annotations

import contextlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from lkpy.engine.api import MediaKind
from lkpy.limits import SDP_IGNORED
from lkpy.sdp import Candidate, SdpError, SessionDescription
from tests.transport_kit import SAMPLES, RecordingEngine, add, answer_of, offer, single

TEXTS = [path.read_bytes().decode() for path in sorted(SAMPLES.glob("*.sdp"))]


@given(st.text(max_size=2000))
def test_any_text(text: str) -> None:
    for prefix in ("", "v=0\r\n", "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"):
        with contextlib.suppress(SdpError):
            SessionDescription.parse(prefix + text)


names = st.sampled_from(
    (
        *("candidate", "rtpmap", "fmtp", "rtcp-fb", "extmap", "mid", "msid", "ssrc", "ssrc-group"),
        *("rid", "simulcast", "group", "setup", "fingerprint", "ice-ufrag", "ice-pwd", "sctp-port"),
        *("max-message-size", "bundle-only", "rtcp-mux", "sendonly", "inactive", "x"),
    )
)
values = st.text("abc019 ./:;,=~-*%\t", max_size=30) | st.text(max_size=10)
lines = (
    st.builds("a={}:{}".format, names, values)
    | st.builds("a={}".format, names)
    | st.builds("m={} {} {} {}".format, values, values, values, values)
    | st.just("m=video 9 UDP/TLS/RTP/SAVPF 96 97")
    | st.just("m=application 9 DTLS/SCTP 5000")
    | values
)


@settings(max_examples=300)
@given(st.lists(lines, max_size=30))
def test_lines_of_any_kind(chosen: list[str]) -> None:
    """What is read of them is what is written, and is read of that."""
    try:
        description = SessionDescription.parse("\r\n".join(["v=0", *chosen]))
    except SdpError:
        return
    again = SessionDescription.parse(str(description))
    assert str(again) == str(description)
    assert again.media == description.media
    assert len(description.ignored) <= SDP_IGNORED
    assert all(len(reason) < 200 for reason in description.ignored)


def damage(text: str, chance: random.Random, times: int) -> str:
    """``text`` with lines lost, doubled, cut short, or with characters that do not belong."""
    lines = text.split("\r\n")
    for _ in range(times):
        at = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(at, lines[chance.randrange(len(lines))])
            case 2:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            case 3:
                position = chance.randrange(len(lines[at]) + 1)
                character = chr(chance.choice([0, 10, 13, 32, 45, 58, 0x85, 0x2028, 0x1F600]))
                lines[at] = lines[at][:position] + character + lines[at][position:]
            case _:
                lines[at] = lines[at].replace("0", "99999999999999")
    return "\r\n".join(lines)


@settings(max_examples=300)
@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False), st.integers(1, 5))
def test_damaged_descriptions(text: str, chance: random.Random, times: int) -> None:
    try:
        description = SessionDescription.parse(damage(text, chance, times))
    except SdpError:
        return
    written = str(description)
    assert str(SessionDescription.parse(written)) == written


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(TEXTS),
    st.lists(st.tuples(st.randoms(use_true_random=False), st.integers(0, 4)), max_size=4),
)
def test_damaged_offers_are_answered_or_refused(
    text: str, damages: list[tuple[random.Random, int]]
) -> None:
    """A refused offer leaves the connection as it was, so the sound one still gets its answer."""
    transport = single(RecordingEngine())
    for kind in MediaKind:
        add(transport, kind, kind)
    refused = True
    for chance, times in damages:
        with contextlib.suppress(SdpError):
            answer = answer_of(offer(transport, damage(text, chance, times)))
            mids = [media.mid for media in answer.media if media.mid is not None]
            assert len(set(mids)) == len(mids)
            refused = False
    if refused:
        assert answer_of(offer(transport, text)).media


words = st.text("abcXYZ0189+/.:-", min_size=1, max_size=12)


@given(
    st.builds(
        Candidate,
        foundation=words,
        component=st.integers(0, 256),
        protocol=st.sampled_from(["udp", "tcp"]),
        priority=st.integers(0, 2**32 - 1),
        address=words,
        port=st.integers(0, 65_535),
        type=st.sampled_from(["host", "srflx", "prflx", "relay"]),
        related_address=st.none() | words,
        related_port=st.none() | st.integers(0, 65_535),
        tcp_type=st.none() | st.sampled_from(["active", "passive", "so"]),
        extensions=st.dictionaries(st.sampled_from(["ufrag", "generation", "x"]), words).map(
            lambda extra: tuple(extra.items())
        ),
    )
)
def test_candidates_round_trip(candidate: Candidate) -> None:
    assert Candidate.parse(str(candidate)) == candidate
