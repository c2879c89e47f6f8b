"""The receiving half of a client: everything that plain RTP headers tell, and the RTCP owed.

RTP headers are not encrypted, so packets are counted, gaps found and feedback built without
decrypting. Decrypted are: video until the first whole key frame, the first packets of a stream
and one in a hundred after them (to prove the keys), and every retransmission, whose original
sequence number is inside.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pylibsrtp

from lkpy.sim import rtcp, rtp
from lkpy.sim.histogram import Histogram
from lkpy.sim.peers.stream import Stream

TICK_S = 0.020
"""How often :meth:`Receiver.tick` is called."""
DECRYPT_FIRST = 10
DECRYPT_EVERY = 100
NACK_INTERVAL_S = 0.050
"""Between two requests for one packet."""
REPORT_INTERVAL_S = 1.0
TRANSPORT_CC_INTERVAL_S = 0.1
KEY_FRAME_PATIENCE_S = 0.5
"""A video stream that has packets but no key frame asks for one this often."""

_JITTER_SHIFT = 1 / 16


@dataclass(slots=True)
class Totals:
    """Counters over all streams of a client."""

    packets: int = 0
    bytes: int = 0
    frames: int = 0
    nacks: int = 0
    plis: int = 0
    decrypt_errors: int = 0
    unknown_retransmissions: int = 0


@dataclass(slots=True)
class FirstMedia:
    """When media first arrived, for the client's owner; monotonic seconds."""

    packet_at: float | None = None
    on_packet: Callable[[Stream, float], None] = lambda stream, at: None
    on_frame: Callable[[Stream, float], None] = lambda stream, at: None


class Receiver:
    """All streams of one peer connection."""

    def __init__(self, *, rtcp_ssrc: int, cname: str, send_rtcp: Callable[[bytes], None]) -> None:
        self.totals = Totals()
        self.first = FirstMedia()
        self.srtp: pylibsrtp.Session | None = None
        self.on_sender_rtcp: Callable[[rtcp.Packet], None] | None = None
        """Gets the RTCP packets that concern what this client publishes."""
        self.transport_cc_id = 0
        self.mid_id = 0
        self.streams: dict[int, Stream] = {}
        self._rtx: dict[int, Stream | None] = {}
        self._mids: dict[str, tuple[str, str]] = {}
        self._kinds: dict[int, tuple[str, bool]] = {}
        self._gaps: set[Stream] = set()
        self._rtcp_ssrc = rtcp_ssrc
        self._cname = cname
        self._send_rtcp = send_rtcp
        self._arrivals: dict[int, float] = {}
        self._transport_seq: int | None = None
        self._transport_fed = 0
        self._feedback_count = 0
        self._next_feedback = 0.0
        self._next_report = 0.0

    # -- what signalling tells --------------------------------------------------------------

    def declare_payload_type(self, number: int, kind: str, *, rtx: bool) -> None:
        """Say what a payload type carries, for SSRCs that no description named."""
        self._kinds[number] = (kind, rtx)

    def declare(
        self, *, mid: str, kind: str, track_sid: str, ssrc: int | None, rtx_ssrc: int | None
    ) -> None:
        """Bind a section's SSRCs to its track."""
        self._mids[mid] = (kind, track_sid)
        if ssrc is None:
            return
        stream = self.streams.get(ssrc)
        if stream is None:
            stream = self.streams[ssrc] = Stream(ssrc, kind)
        stream.track_sid = track_sid
        if rtx_ssrc is not None:
            self._rtx[rtx_ssrc] = stream

    # -- the hot path -----------------------------------------------------------------------

    def datagram(self, data: bytes) -> None:
        """Take one SRTP or SRTCP datagram."""
        if len(data) < 12:
            return
        second = data[1]
        if 192 <= second <= 223:
            self._control(data)
            return
        sequence, timestamp, ssrc = rtp.TAIL.unpack_from(data, 2)
        now = time.monotonic()
        if self.transport_cc_id and data[0] & 0x10:
            self._record_arrival(data, now)
        stream = self.streams.get(ssrc)
        if stream is None:
            if ssrc in self._rtx:
                self._retransmission(data, self._rtx[ssrc], now)
                return
            stream = self._discover(data, ssrc, second & 0x7F, now)
            if stream is None:
                return
        totals = self.totals
        totals.packets += 1
        totals.bytes += len(data)
        stream.bytes += len(data)
        if second & 0x80:
            stream.frames += 1
            totals.frames += 1
        new = stream.arrived(sequence, now)
        if new:
            if stream.missing:
                self._gaps.add(stream)
            if timestamp != stream.last_timestamp:
                transit = now * stream.clock_rate - timestamp
                if stream.last_timestamp is not None:
                    # Both wrap-around and a restart of the timestamps show as a jump; skip them.
                    difference = abs(transit - stream.last_transit)
                    if difference < stream.clock_rate * 10:
                        stream.jitter += (difference - stream.jitter) * _JITTER_SHIFT
                stream.last_transit = transit
                stream.last_timestamp = timestamp
        if stream.until_decrypt <= 0:
            self._sample(stream, data, sequence, timestamp, now, new=new)
        else:
            stream.until_decrypt -= 1

    def _sample(
        self, stream: Stream, data: bytes, sequence: int, timestamp: int, now: float, *, new: bool
    ) -> None:
        if stream.packets == 1:
            if self.first.packet_at is None:
                self.first.packet_at = now
            self.first.on_packet(stream, now)
        if self.srtp is None or not new:
            return
        try:
            plain = self.srtp.unprotect(data)
        except pylibsrtp.Error:
            self.totals.decrypt_errors += 1
            return
        if stream.first_frame_at is not None:
            enough = stream.packets > DECRYPT_FIRST
            stream.until_decrypt = DECRYPT_EVERY - 1 if enough else 0
            return
        body = rtp.payload(plain)
        if body:
            self._look_for_frame(stream, body, sequence, timestamp, bool(data[1] & 0x80), now)

    def _look_for_frame(
        self, stream: Stream, body: bytes, sequence: int, timestamp: int, marker: bool, now: float
    ) -> None:
        if stream.complete_first_frame(body, sequence, timestamp, marker=marker):
            stream.first_frame_at = now
            self.first.on_frame(stream, now)

    def _retransmission(self, data: bytes, stream: Stream | None, now: float) -> None:
        if stream is None or self.srtp is None:
            self.totals.unknown_retransmissions += 1
            return
        try:
            plain = self.srtp.unprotect(data)
        except pylibsrtp.Error:
            self.totals.decrypt_errors += 1
            return
        body = rtp.payload(plain)
        if body is None or len(body) < 2:
            return  # padding that probes for bandwidth carries no original packet
        sequence = int.from_bytes(body[:2], "big")
        if stream.recovered(sequence) and stream.first_frame_at is None:
            timestamp = rtp.TAIL.unpack_from(data, 2)[1]
            marker = bool(data[1] & 0x80)
            self._look_for_frame(stream, body[2:], sequence, timestamp, marker, now)

    def _discover(self, data: bytes, ssrc: int, payload_type: int, now: float) -> Stream | None:
        """Bind an SSRC that no description named, by its mid or its payload type."""
        kind, is_rtx = self._kinds.get(payload_type, ("", False))
        if is_rtx:
            self._rtx[ssrc] = None
            return None
        value = rtp.extension(data, self.mid_id) if self.mid_id else None
        mid = value.decode("ascii", "replace") if value else ""
        kind, track_sid = self._mids.get(mid, (kind, ""))
        if not kind:
            return None
        stream = self.streams[ssrc] = Stream(ssrc, kind)
        stream.track_sid = track_sid
        return stream

    def _record_arrival(self, data: bytes, now: float) -> None:
        value = rtp.extension(data, self.transport_cc_id)
        if value is None or len(value) < 2:
            return
        number = int.from_bytes(value[:2], "big")
        if self._transport_seq is None:
            self._transport_seq = number
        number = rtp.unwrap(self._transport_seq, number)
        self._transport_seq = max(self._transport_seq, number)
        if number >= self._transport_fed:
            self._arrivals.setdefault(number, now)

    def _control(self, data: bytes) -> None:
        if self.srtp is None:
            return
        try:
            plain = self.srtp.unprotect_rtcp(data)
        except pylibsrtp.Error:
            self.totals.decrypt_errors += 1
            return
        now = time.monotonic()
        for packet in rtcp.parse(plain):
            if packet.kind == rtcp.SENDER_REPORT:
                stream = self.streams.get(packet.sender)
                stamp = rtcp.sender_report_time(packet)
                if stream is not None and stamp is not None:
                    stream.last_sr, stream.last_sr_at = stamp, now
            elif self.on_sender_rtcp is not None:
                self.on_sender_rtcp(packet)

    # -- what is owed -----------------------------------------------------------------------

    def start(self, now: float, phase: float) -> None:
        """Begin reporting; ``phase`` (0 to 1) spreads clients over the interval."""
        self._next_report = now + REPORT_INTERVAL_S * phase
        self._next_feedback = now + TRANSPORT_CC_INTERVAL_S * phase

    def tick(self, now: float) -> None:
        """Send what is due: NACKs, transport-cc feedback, key frame requests, reports."""
        if self._gaps:
            self._ask_again(now)
        if self._arrivals and now >= self._next_feedback:
            self._next_feedback = now + TRANSPORT_CC_INTERVAL_S
            self._feed_back()
        if now >= self._next_report:
            self._next_report += REPORT_INTERVAL_S
            self._report(now)
            self._ask_for_key_frames(now)

    def _ask_again(self, now: float) -> None:
        for stream in list(self._gaps):
            due = stream.due_for_nack(now, NACK_INTERVAL_S)
            if due:
                self.totals.nacks += len(due)
                self._compound(rtcp.nack(self._rtcp_ssrc, stream.ssrc, due))
            if not stream.missing:
                self._gaps.discard(stream)

    def _feed_back(self) -> None:
        arrivals = sorted(self._arrivals.items())
        # One report covers at most a few thousand numbers; a larger jump means a restart.
        if arrivals[-1][0] - arrivals[0][0] > 4000:
            arrivals = arrivals[-1:]
        self._transport_fed = arrivals[-1][0] + 1
        self._arrivals = {}
        media = next(iter(self.streams), 0)
        feedback = rtcp.transport_cc(self._rtcp_ssrc, media, self._feedback_count, arrivals)
        self._feedback_count += 1
        self._compound(feedback)

    def _ask_for_key_frames(self, now: float) -> None:
        for stream in self.streams.values():
            overdue = stream.packets and stream.first_frame_at is None and stream.kind == "video"
            if overdue and now - stream.first_at > KEY_FRAME_PATIENCE_S:
                self.totals.plis += 1
                self._compound(rtcp.pli(self._rtcp_ssrc, stream.ssrc))

    def _report(self, now: float) -> None:
        blocks = [stream.report_block(now) for stream in self.streams.values() if stream.packets]
        for start in range(0, len(blocks), 31):
            self._send_rtcp(
                rtcp.receiver_report(self._rtcp_ssrc, blocks[start : start + 31])
                + rtcp.source_description(self._rtcp_ssrc, self._cname)
            )

    def _compound(self, packet: bytes) -> None:
        self._send_rtcp(rtcp.receiver_report(self._rtcp_ssrc, ()) + packet)

    def jitter(self) -> Histogram:
        """Return the current jitter of every stream, in seconds."""
        return Histogram.of(
            stream.jitter / stream.clock_rate for stream in self.streams.values() if stream.packets
        )
