"""Descriptions of a client that are legal and too much: what is refused leaves the session as it
was, and what is allowed does not hold up the event loop."""

from __future__ import annotations

import asyncio
import asyncio.events
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from livekit.protocol import rtc

from lkpy.limits import MAX_OFFERED_SECTIONS, SDP_LINE, SDP_LINES
from lkpy.sdp import SdpError, SdpTooLarge, SessionDescription, discard, parser, prepare
from tests.room_kit import PUBLISH_OFFER, camera, microphone
from tests.room_kit import running as room_running
from tests.transport_kit import DIGEST, sample

NONE = rtc.SessionDescription()
"""Whoever joins with it offers later."""
EXCEEDED = rtc.RequestResponse.Reason.LIMIT_EXCEEDED
HEAD = sample("chrome_offer").split("m=")[0]
VIDEO = next(s for s in sample("chrome_offer").split("m=") if s.startswith("video"))
CANDIDATE = "a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host\r\n"


def offer(count: int, section: Callable[[int], str]) -> str:
    """A bundle of so many sections."""
    lines = HEAD.split("\r\n")
    bundle = f"a=group:BUNDLE {' '.join(map(str, range(count)))}"
    head = "\r\n".join(bundle if line.startswith("a=group:BUNDLE") else line for line in lines)
    return head + "".join(map(section, range(count)))


def minimal(number: int, more: str = "") -> str:
    return (
        f"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{number}\r\na=ice-ufrag:abcd\r\n"
        f"a=ice-pwd:{'p' * 24}\r\na=fingerprint:sha-256 {DIGEST}\r\na=setup:actpass\r\n"
        f"a=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n{more}"
    )


def browser(number: int) -> str:
    """A section in which a browser receives video."""
    lines = [
        f"a=mid:{number}" if line.startswith("a=mid:") else line
        for line in VIDEO.split("\r\n")
        if not line.startswith(("a=ssrc", "a=msid", "a=rid", "a=simulcast"))
    ]
    return "m=" + "\r\n".join(lines).replace("a=sendrecv", "a=recvonly")


TOO_LARGE: list[tuple[str, str]] = [
    ("more than 16384 lines", minimal(0, "a=x\r\n" * SDP_LINES)),
    ("more than 16384 lines", minimal(0, "a=ssrc:1 cname:x\r\n" * 100_000)),
    ("more than 1024 media sections", offer(10_000, minimal)),
    ("more than 256 candidates", minimal(0, CANDIDATE * 257)),
    ("a line of more than 8192 characters", minimal(0, f"a=x:{'y' * SDP_LINE}\r\n")),
    ("codecs of more than 16384 characters", minimal(0, "a=fmtp:111 x=1\r\n" * 5000)),
    (
        "more than 2048 lines about codecs",
        offer(512, lambda n: minimal(n, f"a=fmtp:111 x={n}\r\n" * 10)),
    ),
]


@pytest.mark.parametrize(("why", "text"), TOO_LARGE, ids=[why for why, _ in TOO_LARGE])
def test_caps(why: str, text: str) -> None:
    """Row W5."""
    if not text.startswith("v="):
        text = HEAD + text
    with pytest.raises(SdpTooLarge, match=why):
        SessionDescription.parse(text)


def test_more_formats_than_there_are_payload_types() -> None:
    text = minimal(0).replace("SAVPF 111", "SAVPF" + " 111" * 200)
    with pytest.raises(SdpError, match="more than 128 formats"):
        SessionDescription.parse(HEAD + text)


@pytest.mark.parametrize("why", ["lines", "sections"])
async def test_an_offer_that_is_too_large_is_refused_and_the_session_lives(why: str) -> None:
    """Row W5: the client is told, and its next offer is answered."""
    async with room_running() as world:
        alice = await world.join("alice", publisher_offer=NONE)
        answers = len(alice.all("answer"))
        if why == "lines":
            await alice.offer(HEAD + minimal(0, "a=x\r\n" * SDP_LINES), offer_id=2)
        else:
            await alice.offer(offer(MAX_OFFERED_SECTIONS + 1, minimal), offer_id=2)
        refusal = alice.last("request_response")
        assert refusal.reason == EXCEEDED
        assert "more than" in refusal.message
        assert len(alice.all("answer")) == answers
        assert not alice.left
        await alice.send(add_track=camera())
        await alice.send(add_track=microphone())
        await alice.offer(PUBLISH_OFFER, offer_id=3)
        assert alice.last("answer").id == 3
        assert len(alice.participant.to_proto().tracks) == 2


@contextmanager
def turns() -> Iterator[list[float]]:
    """CPU seconds of every callback of the event loop."""
    spent: list[float] = []
    plain = asyncio.events.Handle._run

    def run(handle: asyncio.events.Handle) -> None:
        began = time.thread_time()
        plain(handle)
        spent.append(time.thread_time() - began)

    # As in a server: what other tests left is not searched for garbage in a turn of this one.
    gc.collect()
    gc.freeze()
    asyncio.events.Handle._run = run  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        asyncio.events.Handle._run = plain  # type: ignore[method-assign]
        gc.unfreeze()


@pytest.mark.parametrize(
    "text",
    [
        offer(300, browser),
        offer(MAX_OFFERED_SECTIONS, minimal),
        offer(140, lambda n: minimal(n, f"a=fmtp:111 x={n}\r\n" * 12)),
        HEAD + minimal(0, "a=x\r\n" * (SDP_LINES - 100)),
    ],
    ids=["300 sections of a browser", "512 sections", "140 ways to say opus", "16,000 lines"],
)
async def test_what_is_allowed_does_not_hold_up_the_loop(text: str) -> None:
    """Row W5: 20 ms, with a factor of ten for a machine that is busy."""
    async with room_running() as world:
        alice = await world.join("alice", publisher_offer=NONE)
        with turns() as spent:
            alice.source.write(
                rtc.SignalRequest(offer=rtc.SessionDescription(type="offer", sdp=text, id=2))
            )
            while not (alice.all("answer") or alice.left):
                await world.settle()
        assert max(spent) < 0.2
    assert not parser._prepared


def test_what_was_prepared_is_given_once() -> None:
    text = offer(100, browser)
    assert sum(1 for _ in prepare(text)) == len(range(1000, 100 * 12, 1000))
    first, second = SessionDescription.parse(text), SessionDescription.parse(text)
    assert first is not second
    assert first == second
    wrong = text + "m=video\r\n"
    for _ in prepare(wrong):
        pass
    for _ in range(2):
        with pytest.raises(SdpError, match="expected 'kind port"):
            SessionDescription.parse(wrong)
    for number in range(100):
        for _ in prepare(f"{text}a=x:{number}\r\n"):
            pass
    assert len(parser._prepared) == parser._PREPARED_MAX
    for prepared in list(parser._prepared):
        discard(prepared)


async def test_sections_are_used_again() -> None:
    """Row W6: a track that comes and goes for ever does not make descriptions longer."""
    async with room_running() as world:
        alice, bob = (
            await world.join("alice", publisher_offer=NONE),
            await world.join("bob", single=False),
        )
        sizes = []
        for number in range(2, 30, 2):
            await alice.send(add_track=microphone())
            await alice.offer(PUBLISH_OFFER, offer_id=number)
            await world.advance(1)
            quiet = PUBLISH_OFFER.replace("a=sendrecv", "a=inactive")
            quiet = quiet.replace("a=sendonly", "a=inactive")
            await alice.offer(quiet, offer_id=number + 1)
            await world.advance(1)
            sizes.append(len(bob.last("offer").sdp))
        assert len(bob.all("offer")) > 10
        assert sizes[-1] <= max(sizes[:3]) + 10


async def test_new_sections_without_end_are_refused() -> None:
    """Row W6: also where it is the client that makes them."""
    async with room_running() as world:
        alice = await world.join("alice", publisher_offer=NONE)
        for count in range(100, 700, 100):
            await alice.offer(offer(count, minimal), offer_id=count)
        assert alice.last("request_response").reason == EXCEEDED
        assert [answer.id for answer in alice.all("answer")] == [100, 200, 300, 400, 500]
        assert not alice.left
