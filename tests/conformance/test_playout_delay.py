"""How long subscribers are asked to hold video back."""

from __future__ import annotations

import re

import pytest
from aiortc.codecs import HEADER_EXTENSIONS
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters

from tests.conformance import media
from tests.conformance.api_kit import create
from tests.conformance.kit import Lobby, until
from tests.conformance.rtp_kit import PLAYOUT_DELAY, RtpTap, extension, video_section

MIN_MS, MAX_MS = 4000, 7000
"""More than the jitter of this machine asks for, so that it stays at the minimum."""


@pytest.fixture
def tap(monkeypatch: pytest.MonkeyPatch) -> RtpTap:
    """Clients that negotiate playout delay: aiortc takes it for one that it does not know."""
    own = RTCRtpHeaderExtensionParameters(id=9, uri=PLAYOUT_DELAY)
    monkeypatch.setitem(HEADER_EXTENSIONS, "video", [*HEADER_EXTENSIONS["video"], own])
    return RtpTap(monkeypatch)


async def call(lobby: Lobby, *, single: bool) -> tuple[media.Participant, str]:
    """Someone who receives video, and its track."""
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    track, _ = await alice.publish(kind="video")
    await bob.receives(track.sid)
    return bob, track.sid


def limits(packet: bytes, number: int) -> tuple[int, int] | None:
    """Least and greatest delay in ms that a packet says."""
    value = extension(packet, number)
    if value is None:
        return None
    both = int.from_bytes(value)
    return (both >> 12) * 10, (both & 0xFFF) * 10


@pytest.mark.row(128)
@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
async def test_packets_say_the_delay_until_the_subscriber_knows(
    lobby: Lobby, tap: RtpTap, single: bool
) -> None:
    await create(lobby, min_playout_delay=MIN_MS, max_playout_delay=MAX_MS)
    bob, _ = await call(lobby, single=single)
    found = re.search(rf"a=extmap:(\d+) {PLAYOUT_DELAY}", video_section(bob))
    assert found is not None
    number = int(found.group(1))

    def told() -> list[tuple[int, int] | None]:
        return [limits(packet, number) for packet in tap.video(bob)]

    await until(lambda: told()[-1] is None, "packets that say nothing more")
    said = told()
    assert said[0] == (MIN_MS, MAX_MS)
    assert said == [said[0]] * said.index(None) + [None] * said.count(None)


@pytest.mark.row(128)
@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
async def test_without_a_delay_it_is_not_negotiated(
    lobby: Lobby, tap: RtpTap, single: bool
) -> None:
    bob, _ = await call(lobby, single=single)
    assert PLAYOUT_DELAY not in bob.subscriber.remoteDescription.sdp
