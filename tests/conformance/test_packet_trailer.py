"""What publishers put after their frames reaches those who know of it."""

from __future__ import annotations

import pytest
from aiortc.rtp import RtpPacket
from livekit.protocol import models

from tests.conformance import media
from tests.conformance.kit import Lobby, until
from tests.conformance.rtp_kit import RtpTap

KNOWS = [models.ClientInfo.CAP_PACKET_TRAILER]
FEATURES = [models.PTF_USER_TIMESTAMP]


def trailer(timestamp_us: int) -> bytes:
    """When the frame was captured, as LiveKit's SDKs write it."""
    element = bytes([1, 8]) + timestamp_us.to_bytes(8)
    return bytes(byte ^ 0xFF for byte in element + bytes([len(element) + 5])) + b"LKTS"


TRAILER = trailer(1_700_000_000_000_000)


def with_trailer(packet: bytes) -> bytes:
    """As sent: the last packet of a frame ends with it."""
    return packet + TRAILER if packet[1] & 0x80 else packet


def ends(packets: list[bytes]) -> list[bytes]:
    """The payloads of the last packets of frames."""
    parsed = map(RtpPacket.parse, packets)
    return [packet.payload for packet in parsed if packet.marker and packet.payload]


@pytest.fixture
def tap(monkeypatch: pytest.MonkeyPatch) -> RtpTap:
    """Publishers add trailers."""
    tap = RtpTap(monkeypatch)
    tap.outgoing = with_trailer
    return tap


@pytest.mark.row(146)
@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
async def test_it_is_taken_off_for_those_who_do_not_know_it(
    lobby: Lobby, tap: RtpTap, single: bool
) -> None:
    alice = await media.join(lobby, "alice", single=single, capabilities=KNOWS)
    bob = await media.join(lobby, "bob", single=single)
    carol = await media.join(lobby, "carol", single=single, capabilities=KNOWS)
    track, _ = await alice.publish(kind="video", packet_trailer_features=FEATURES * 2)
    assert track.packet_trailer_features == FEATURES
    await bob.receives(track.sid)
    await carol.receives(track.sid)
    known, unknown = ends(tap.video(carol)), ends(tap.video(bob))
    assert known
    assert unknown
    assert all(payload.endswith(TRAILER) for payload in known)
    assert not any(b"LKTS" in payload for payload in unknown)
    # The frames themselves are the same.
    assert {payload.removesuffix(TRAILER)[-200:] for payload in known} & {
        payload[-200:] for payload in unknown
    }


@pytest.mark.row(146)
async def test_packets_sent_again_do_not_have_it_either(lobby: Lobby, tap: RtpTap) -> None:
    alice = await media.join(lobby, "alice", single=True)
    bob = await media.join(lobby, "bob", single=True)
    track, _ = await alice.publish(kind="video", packet_trailer_features=FEATURES)
    await bob.receives(track.sid)
    ssrc = RtpPacket.parse(tap.video(bob)[0]).ssrc
    count = 0

    def every_fifth_end(packet: bytes) -> bool:
        nonlocal count
        parsed = RtpPacket.parse(packet)
        if parsed.ssrc != ssrc or not parsed.marker:
            return False
        count += 1
        return count % 5 == 0

    tap.lost = every_fifth_end
    await until(lambda: len(ends(tap.retransmissions(bob))) >= 2, "retransmissions")
    assert not any(b"LKTS" in payload for payload in ends(tap.retransmissions(bob)))


@pytest.mark.row(146)
async def test_what_was_not_announced_stays(lobby: Lobby, tap: RtpTap) -> None:
    alice = await media.join(lobby, "alice", single=True)
    bob = await media.join(lobby, "bob", single=True)
    track, _ = await alice.publish(kind="video")
    await bob.receives(track.sid)
    payloads = ends(tap.video(bob))
    assert payloads
    assert all(payload.endswith(TRAILER) for payload in payloads)
