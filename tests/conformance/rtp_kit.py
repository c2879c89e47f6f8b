"""The packets of RTP themselves, as aiortc's transports send and receive them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable

import pytest
from aiortc import RTCDtlsTransport
from aiortc.rtp import RtpPacket, is_rtcp, unpack_header_extensions

from tests.conformance.media import Participant

PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"


class RtpTap:
    """Notes what every client of the test receives, and changes what it sends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._received: dict[RTCDtlsTransport, list[bytes]] = defaultdict(list)
        self.outgoing: Callable[[bytes], bytes] = bytes
        """What a packet of RTP is sent as."""
        self.lost: Callable[[bytes], bool] = lambda _: False
        """Packets that are noted and do not arrive."""
        receive, send = RTCDtlsTransport._handle_rtp_data, RTCDtlsTransport._send_rtp

        async def note(transport: RTCDtlsTransport, data: bytes, arrival_time_ms: int) -> None:
            self._received[transport].append(data)
            if not self.lost(data):
                await receive(transport, data, arrival_time_ms)

        async def change(transport: RTCDtlsTransport, data: bytes) -> None:
            await send(transport, data if is_rtcp(data) else self.outgoing(data))

        monkeypatch.setattr(RTCDtlsTransport, "_handle_rtp_data", note)
        monkeypatch.setattr(RTCDtlsTransport, "_send_rtp", change)

    def video(self, participant: Participant) -> list[bytes]:
        """What was received of the one track of video that a participant subscribes to, without
        retransmissions."""
        return self._of(participant, int(_ssrcs(participant)[0]))

    def retransmissions(self, participant: Participant) -> list[bytes]:
        """What was received again of that track."""
        return self._of(participant, int(_ssrcs(participant)[1]))

    def _of(self, participant: Participant, ssrc: int) -> list[bytes]:
        transports = {t.receiver.transport for t in participant.subscriber.getTransceivers()}
        packets = (packet for transport in transports for packet in self._received[transport])
        return [packet for packet in packets if RtpPacket.parse(packet).ssrc == ssrc]


def video_section(participant: Participant) -> str:
    """The media section of the one track of video that a participant subscribes to."""
    sections = re.split(r"(?m)^m=", participant.subscriber.remoteDescription.sdp)
    (found,) = (part for part in sections if part.startswith("video") and "a=ssrc:" in part)
    return found


def _ssrcs(participant: Participant) -> list[str]:
    found = re.search(r"a=ssrc-group:FID (\d+) (\d+)", video_section(participant))
    assert found is not None
    return list(found.groups())


def extension(packet: bytes, number: int) -> bytes | None:
    """The header extension with this id."""
    if not packet[0] & 0x10:
        return None
    at = 12 + 4 * (packet[0] & 0x0F)
    profile, words = (int.from_bytes(packet[i : i + 2]) for i in (at, at + 2))
    block = packet[at + 4 : at + 4 + 4 * words]
    return dict(unpack_header_extensions(profile, block)).get(number)
