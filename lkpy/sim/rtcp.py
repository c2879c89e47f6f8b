"""RTCP as the simulator needs it: reading what a server sends, writing what clients send. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SENDER_REPORT = 200
RECEIVER_REPORT = 201
SOURCE_DESCRIPTION = 202
TRANSPORT_FEEDBACK = 205
PAYLOAD_FEEDBACK = 206

NACK = 1
TRANSPORT_CC = 15
PLI = 1
FIR = 4

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970."""
_TICK_S = 0.000_25
_REFERENCE_TICKS = 256


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTCP packet of a compound; ``count`` is the report count or feedback format."""

    kind: int
    count: int
    body: bytes

    @property
    def sender(self) -> int:
        """SSRC of the packet's sender."""
        return int(struct.unpack_from("!I", self.body)[0])

    @property
    def media(self) -> int:
        """SSRC a feedback packet is about."""
        return int(struct.unpack_from("!I", self.body, 4)[0])


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """RFC 3550 6.4.1."""

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest: int
    jitter: int
    last_sr: int
    delay: int


def parse(data: bytes) -> Iterator[Packet]:
    """Yield the packets of a decrypted compound; stops where lengths stop making sense."""
    position = 0
    while position + 4 <= len(data):
        first, kind, words = struct.unpack_from("!BBH", data, position)
        end = position + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            return
        body = data[position + 4 : end]
        minimum = 8 if kind in (TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK) else 4
        if len(body) >= minimum:
            yield Packet(kind, first & 0x1F, body)
        position = end


def sender_report_time(packet: Packet) -> int | None:
    """Return the middle 32 bits of a sender report's NTP time, for LSR."""
    if len(packet.body) < 24:
        return None
    return int(struct.unpack_from("!I", packet.body, 6)[0])


def nacked(packet: Packet) -> list[int]:
    """Return the sequence numbers a generic NACK asks for (RFC 4585 6.2.1)."""
    numbers = []
    for position in range(8, len(packet.body) - 3, 4):
        base, mask = struct.unpack_from("!HH", packet.body, position)
        numbers.append(base)
        numbers.extend((base + bit + 1) & 0xFFFF for bit in range(16) if mask >> bit & 1)
    return numbers


def fir_targets(packet: Packet) -> list[int]:
    """Return the SSRCs a FIR asks a key frame of (RFC 5104 4.3.1)."""
    return [
        struct.unpack_from("!I", packet.body, position)[0]
        for position in range(8, len(packet.body) - 7, 8)
    ]


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def receiver_report(sender: int, blocks: Sequence[ReportBlock]) -> bytes:
    """Return a receiver report with at most 31 blocks."""
    return _packet(
        RECEIVER_REPORT,
        len(blocks[:31]),
        struct.pack("!I", sender) + b"".join(_block(block) for block in blocks[:31]),
    )


def sender_report(sender: int, wall: float, rtp_timestamp: int, packets: int, octets: int) -> bytes:
    """Return a sender report; ``wall`` is Unix seconds."""
    seconds, fraction = divmod(wall + NTP_EPOCH, 1)
    body = struct.pack(
        "!IIIIII",
        sender,
        int(seconds) & 0xFFFFFFFF,
        int(fraction * (1 << 32)),
        rtp_timestamp & 0xFFFFFFFF,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )
    return _packet(SENDER_REPORT, 0, body)


def _block(block: ReportBlock) -> bytes:
    lost = min(max(block.packets_lost, -(1 << 23)), (1 << 23) - 1) & 0xFFFFFF
    return struct.pack(
        "!IIIIII",
        block.ssrc,
        block.fraction_lost << 24 | lost,
        block.highest & 0xFFFFFFFF,
        block.jitter & 0xFFFFFFFF,
        block.last_sr,
        block.delay & 0xFFFFFFFF,
    )


def source_description(sender: int, name: str) -> bytes:
    """Return an SDES packet with a CNAME."""
    text = name.encode()[:255]
    body = struct.pack("!IBB", sender, 1, len(text)) + text + b"\0"
    return _packet(SOURCE_DESCRIPTION, 1, body + bytes(-len(body) % 4))


def nack(sender: int, media: int, numbers: Iterable[int]) -> bytes:
    """Return a generic NACK for 16-bit sequence numbers given in order."""
    items: list[list[int]] = []
    for number in numbers:
        distance = (number - items[-1][0]) & 0xFFFF if items else 17
        if 1 <= distance <= 16:
            items[-1][1] |= 1 << (distance - 1)
        else:
            items.append([number & 0xFFFF, 0])
    body = struct.pack("!II", sender, media)
    return _packet(
        TRANSPORT_FEEDBACK, NACK, body + b"".join(struct.pack("!HH", *item) for item in items)
    )


def pli(sender: int, media: int) -> bytes:
    """Return a picture loss indication (RFC 4585 6.3.1)."""
    return _packet(PAYLOAD_FEEDBACK, PLI, struct.pack("!II", sender, media))


def transport_cc(
    sender: int, media: int, count: int, arrivals: Sequence[tuple[int, float]]
) -> bytes:
    """Return transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).

    ``arrivals`` are (unwrapped sequence, seconds), in order of sequence, without repeats.
    """
    base, end = arrivals[0][0], arrivals[-1][0] + 1
    reference = int(arrivals[0][1] / _TICK_S) // _REFERENCE_TICKS
    previous = reference * _REFERENCE_TICKS
    symbols = bytearray(end - base)
    deltas = bytearray()
    for number, at in arrivals:
        ticks = int(at / _TICK_S)
        delta = min(max(ticks - previous, -32768), 32767)
        previous += delta
        if 0 <= delta <= 255:
            symbols[number - base] = 1
            deltas.append(delta)
        else:
            symbols[number - base] = 2
            deltas += struct.pack("!h", delta)
    body = struct.pack(
        "!IIHHI",
        sender,
        media,
        base & 0xFFFF,
        len(symbols),
        (reference & 0xFFFFFF) << 8 | count & 0xFF,
    )
    body += _status_chunks(symbols) + deltas
    return _packet(TRANSPORT_FEEDBACK, TRANSPORT_CC, body + bytes(-len(body) % 4))


def _status_chunks(symbols: bytearray) -> bytes:
    chunks = bytearray()
    position = 0
    while position < len(symbols):
        symbol = symbols[position]
        run = position
        while run < len(symbols) and symbols[run] == symbol and run - position < 8191:
            run += 1
        if run - position >= 7 or run == len(symbols):
            chunks += struct.pack("!H", symbol << 13 | (run - position))
            position = run
            continue
        value = 0
        for offset in range(7):
            at = position + offset
            value = value << 2 | (symbols[at] if at < len(symbols) else 0)
        chunks += struct.pack("!H", 0xC000 | value)
        position += 7
    return bytes(chunks)
