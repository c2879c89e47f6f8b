"""The sending half of a client: one paced loop per published track.

Payloads come from a :class:`~lkpy.sim.media.clip.Clip`; what is made per packet is the RTP header,
its extensions and the VP8 descriptor. A layer answers NACK from its history on the RTX stream,
starts its loop again (at the key frame) on PLI and FIR, and pauses when the server says that
nobody wants it.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lkpy.sim import rtcp, rtp
from lkpy.sim.media.clip import Clip
from lkpy.sim.peers import sdp

HISTORY = 512
"""Packets kept per stream for retransmission."""
KEY_FRAME_INTERVAL_S = 0.3
"""Requests for key frames are answered this often at most."""
REPORT_INTERVAL_S = 1.0
SPEAKING_DBOV = 20
"""Audio level sent with the tone: RFC 6464 counts down from full scale."""
LATE_RESET_S = 0.5
"""A loop that is later than this skips frames instead of sending them in a burst."""


@dataclass(slots=True)
class SendTotals:
    """Counters over all published streams of a client."""

    packets: int = 0
    bytes: int = 0
    retransmissions: int = 0
    key_frames: int = 0
    nacks: int = 0
    plis: int = 0
    frames_skipped: int = 0
    transport_feedback: int = 0


class Outbound:
    """State shared by a connection's streams: the socket, transport-cc numbers, counters."""

    def __init__(
        self, send_rtp: Callable[[bytes], None], send_rtcp: Callable[[bytes], None]
    ) -> None:
        self.send_rtp = send_rtp
        self.send_rtcp = send_rtcp
        self.totals = SendTotals()
        self.transport_seq = 0
        self.on_late: Callable[[float], None] = lambda seconds: None
        """Called with how late each frame was sent, for the generator's health."""


class _Extensions:
    """Header extension bytes of one stream; only the transport-cc number changes per packet."""

    def __init__(
        self, negotiated: dict[str, int], mid: str, rid: str, rid_uri: str, level: int | None
    ) -> None:
        values = []
        if identifier := negotiated.get(rtp.MID_URI):
            values.append((identifier, mid.encode()))
        if rid and (identifier := negotiated.get(rid_uri)):
            values.append((identifier, rid.encode()))
        if level is not None and (identifier := negotiated.get(rtp.AUDIO_LEVEL_URI)):
            values.append((identifier, bytes([0x80 | level])))
        self._numbered = negotiated.get(rtp.TRANSPORT_CC_URI)
        if self._numbered:
            values.append((self._numbered, b"\0\0"))
        self._block = bytearray(rtp.pack_extensions(values)) if values else bytearray()
        # The number is the last value: it ends where the padding begins.
        used = 4 + sum(1 + len(value) for _, value in values)
        self._offset = used - 2

    def write(self, out: Outbound) -> bytes:
        """Return the block for the next packet."""
        if self._numbered:
            struct.pack_into("!H", self._block, self._offset, out.transport_seq)
            out.transport_seq = (out.transport_seq + 1) & 0xFFFF
        return bytes(self._block)


class OutStream:
    """One RTP stream and its retransmissions."""

    def __init__(
        self,
        out: Outbound,
        encoding: sdp.Encoding,
        section: sdp.RemoteSection,
        clip: Clip,
        seed: random.Random,
    ) -> None:
        self.ssrc = encoding.ssrc
        self.rtx_ssrc = encoding.rtx_ssrc
        self.clip = clip
        self.paused = False
        self.packets = 0
        self.octets = 0
        self._out = out
        self._payload_type = section.payload_types.get(clip.codec, 0)
        self._rtx_type = section.payload_types.get("rtx", 0)
        level = SPEAKING_DBOV if clip.codec == "opus" else None
        names = section.extensions
        self._extensions = _Extensions(names, section.mid, encoding.rid, rtp.RID_URI, level)
        self._rtx_extensions = _Extensions(
            names, section.mid, encoding.rid, rtp.REPAIRED_RID_URI, None
        )
        self._sequence = seed.randrange(1 << 15)
        self._rtx_sequence = seed.randrange(1 << 15)
        self._timestamp_base = seed.randrange(1 << 32)
        self._picture_id = seed.randrange(1 << 15)
        self._tl0 = seed.randrange(256)
        self._key_index = 0
        self._position = 0
        self._last_key_request = 0.0
        self._history: OrderedDict[int, tuple[int, bool, bytes]] = OrderedDict()

    def timestamp(self, elapsed: float) -> int:
        """Return the RTP timestamp ``elapsed`` seconds after the track's first frame."""
        return (self._timestamp_base + round(elapsed * self.clip.clock_rate)) & 0xFFFFFFFF

    def send_frame(self, number: int) -> None:
        """Send the loop's next frame as the track's frame ``number``."""
        if self.paused:
            return
        frame = self.clip.frames[self._position]
        self._position = (self._position + 1) % len(self.clip.frames)
        timestamp = (self._timestamp_base + number * self.clip.frame_ticks) & 0xFFFFFFFF
        last = len(frame.payloads) - 1
        if self.clip.codec != "vp8":
            for body in frame.payloads:
                # RFC 7587: the marker bit begins a talkspurt; this one never pauses.
                self._send(timestamp, body, marker=False)
            return
        if frame.key:
            self._key_index += 1
            self._out.totals.key_frames += 1
        self._picture_id = (self._picture_id + 1) & 0x7FFF
        self._tl0 = (self._tl0 + 1) & 0xFF
        for index, body in enumerate(frame.payloads):
            descriptor = rtp.vp8_descriptor(
                start=index == 0,
                picture_id=self._picture_id,
                tl0=self._tl0,
                key_index=self._key_index,
            )
            self._send(timestamp, descriptor + body, marker=index == last)

    def _send(self, timestamp: int, body: bytes, *, marker: bool) -> None:
        sequence = self._sequence
        self._sequence = (sequence + 1) & 0xFFFF
        self._history[sequence] = (timestamp, marker, body)
        if len(self._history) > HISTORY:
            self._history.popitem(last=False)
        self.packets += 1
        self.octets += len(body)
        self._out.totals.packets += 1
        self._write(
            self._payload_type,
            sequence,
            timestamp,
            self.ssrc,
            self._extensions,
            body,
            marker=marker,
        )

    def _write(
        self,
        payload_type: int,
        sequence: int,
        timestamp: int,
        ssrc: int,
        extensions: _Extensions,
        body: bytes,
        *,
        marker: bool,
    ) -> None:
        block = extensions.write(self._out)
        flags = 0x90 if block else 0x80
        second = payload_type | (0x80 if marker else 0)
        packet = rtp.HEADER.pack(flags, second, sequence, timestamp, ssrc) + block + body
        self._out.totals.bytes += len(packet)
        self._out.send_rtp(packet)

    def resend(self, sequence: int) -> None:
        """Answer a NACK: on the RTX stream (RFC 4588) if there is one, else the packet again."""
        kept = self._history.get(sequence)
        if kept is None:
            return
        timestamp, marker, body = kept
        self._out.totals.retransmissions += 1
        if self.rtx_ssrc is None or not self._rtx_type:
            self._write(
                self._payload_type,
                sequence,
                timestamp,
                self.ssrc,
                self._extensions,
                body,
                marker=marker,
            )
            return
        self._rtx_sequence = (self._rtx_sequence + 1) & 0xFFFF
        self._write(
            self._rtx_type,
            self._rtx_sequence,
            timestamp,
            self.rtx_ssrc,
            self._rtx_extensions,
            struct.pack("!H", sequence) + body,
            marker=marker,
        )

    def request_key_frame(self, now: float) -> None:
        """Begin the loop again, unless that was just done."""
        if now - self._last_key_request >= KEY_FRAME_INTERVAL_S:
            self._last_key_request = now
            self._position = 0

    def set_paused(self, paused: bool) -> None:
        """Pause or resume; what resumes begins with a key frame."""
        if self.paused and not paused:
            self._position = 0
        self.paused = paused

    def report(self, elapsed: float) -> bytes:
        """Return the sender report of this moment."""
        return rtcp.sender_report(
            self.ssrc, time.time(), self.timestamp(elapsed), self.packets, self.octets
        )


class TrackSender:
    """A published track: its streams share one clock and are sent by one task."""

    def __init__(
        self,
        out: Outbound,
        section: sdp.Section,
        remote: sdp.RemoteSection,
        clips: Sequence[Clip],
        *,
        track_sid: str,
        phase: float,
        cname: str,
        seed: random.Random,
    ) -> None:
        self.track_sid = track_sid
        self.streams = [
            OutStream(out, encoding, remote, clip, seed)
            for encoding, clip in zip(section.encodings, clips, strict=True)
        ]
        self._out = out
        self._phase = phase
        self._cname = cname
        clip = clips[0]
        self._interval = clip.frame_ticks / clip.clock_rate

    async def run(self) -> None:
        """Send until cancelled."""
        start = time.monotonic() + self._phase * self._interval
        next_report = start
        number = 0
        while True:
            delay = start + number * self._interval - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            now = time.monotonic()
            late = now - start - number * self._interval
            self._out.on_late(max(late, 0.0))
            if late > LATE_RESET_S:
                skipped = int(late / self._interval)
                self._out.totals.frames_skipped += skipped
                number += skipped
            for stream in self.streams:
                stream.send_frame(number)
            number += 1
            if now >= next_report:
                next_report = now + REPORT_INTERVAL_S
                self._report(now - start)
            if delay <= 0:
                await asyncio.sleep(0)

    def _report(self, elapsed: float) -> None:
        for stream in self.streams:
            if stream.packets:
                name = rtcp.source_description(stream.ssrc, self._cname)
                self._out.send_rtcp(stream.report(elapsed) + name)


class Feedback:
    """Gives the server's RTCP to the stream it is about."""

    def __init__(self, out: Outbound) -> None:
        self._out = out
        self._streams: dict[int, OutStream] = {}

    def add(self, track: TrackSender) -> None:
        """Route feedback about ``track``'s streams."""
        for stream in track.streams:
            self._streams[stream.ssrc] = stream

    def __call__(self, packet: rtcp.Packet) -> None:
        """Take one RTCP packet."""
        totals = self._out.totals
        if packet.kind == rtcp.TRANSPORT_FEEDBACK:
            if packet.count == rtcp.TRANSPORT_CC:
                totals.transport_feedback += 1
            elif packet.count == rtcp.NACK and (stream := self._streams.get(packet.media)):
                numbers = rtcp.nacked(packet)
                totals.nacks += len(numbers)
                for number in numbers:
                    stream.resend(number)
        elif packet.kind == rtcp.PAYLOAD_FEEDBACK and packet.count in (rtcp.PLI, rtcp.FIR):
            for stream in self._wanted(packet):
                totals.plis += 1
                stream.request_key_frame(time.monotonic())

    def _wanted(self, packet: rtcp.Packet) -> Iterator[OutStream]:
        targets = rtcp.fir_targets(packet) if packet.count == rtcp.FIR else [packet.media]
        return (self._streams[ssrc] for ssrc in targets if ssrc in self._streams)
