"""RTP as the simulator needs it: headers, extensions, VP8 descriptors. Pure.

An implementation of its own, so that a mistake in the engine's is not repeated here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

HEADER = struct.Struct("!BBHII")
"""Fixed header: flags, marker and payload type, sequence, timestamp, SSRC (RFC 3550 5.1)."""
TAIL = struct.Struct("!HII")
"""Sequence, timestamp and SSRC, at offset 2."""

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID_URI = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID_URI = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
TRANSPORT_CC_URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"

_ONE_BYTE = 0xBEDE
_TWO_BYTE_MASK = 0xFFF0
_TWO_BYTE = 0x1000


def unwrap(reference: int, number: int, bits: int = 16) -> int:
    """Return the unwrapped form of ``number`` that is nearest to ``reference``."""
    half = 1 << (bits - 1)
    return reference + ((number - reference + half) & ((1 << bits) - 1)) - half


def extensions(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (id, value) of a packet's header extensions (RFC 8285); stops at malformed ones."""
    if len(packet) < 12 or not packet[0] & 0x10:
        return
    start = 12 + 4 * (packet[0] & 0x0F)
    if len(packet) < start + 4:
        return
    profile, words = struct.unpack_from("!HH", packet, start)
    position, end = start + 4, start + 4 + 4 * words
    if len(packet) < end:
        return
    two_byte = profile & _TWO_BYTE_MASK == _TWO_BYTE
    if not two_byte and profile != _ONE_BYTE:
        return
    while position < end:
        if packet[position] == 0:
            position += 1
            continue
        if two_byte:
            if position + 2 > end:
                return
            identifier, length = packet[position], packet[position + 1]
            position += 2
        else:
            identifier, length = packet[position] >> 4, (packet[position] & 0x0F) + 1
            position += 1
            if identifier == 15:
                return
        if position + length > end:
            return
        yield identifier, packet[position : position + length]
        position += length


def extension(packet: bytes, wanted: int) -> bytes | None:
    """Return one header extension's value."""
    for identifier, value in extensions(packet):
        if identifier == wanted:
            return value
    return None


def pack_extensions(values: Iterable[tuple[int, bytes]]) -> bytes:
    """Return an extension block in the one-byte form, header included."""
    body = b"".join(
        bytes([identifier << 4 | len(value) - 1]) + value for identifier, value in values
    )
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", _ONE_BYTE, len(body) // 4) + body


def payload(packet: bytes) -> bytes | None:
    """Return a decrypted packet's payload without padding; None when its lengths lie."""
    if len(packet) < 12:
        return None
    start = 12 + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        if len(packet) < start + 4:
            return None
        start += 4 + 4 * int(struct.unpack_from("!H", packet, start + 2)[0])
    end = len(packet)
    if packet[0] & 0x20 and end > start:
        end -= packet[-1]
    return packet[start:end] if start <= end else None


def vp8_descriptor(*, start: bool, picture_id: int, tl0: int, key_index: int) -> bytes:
    """Return a VP8 payload descriptor (RFC 7741 4.2): 15-bit picture id, temporal layer 0."""
    return struct.pack(
        "!BBHBB",
        0x90 if start else 0x80,
        0xF0,
        0x8000 | picture_id & 0x7FFF,
        tl0 & 0xFF,
        key_index & 0x1F,
    )


def vp8_start(data: bytes) -> tuple[bool, bool] | None:
    """Return (starts a frame, is a key frame) of a VP8 payload; None when it is too short.

    The key frame bit is only in a frame's first packet (RFC 7741 4.3: P, inverted).
    """
    if not data:
        return None
    position = 1
    if data[0] & 0x80:
        if len(data) < 2:
            return None
        flags = data[1]
        position = 2
        if flags & 0x80:
            if len(data) <= position:
                return None
            position += 2 if data[position] & 0x80 else 1
        position += 1 if flags & 0x40 else 0
        position += 1 if flags & 0x30 else 0
    first = bool(data[0] & 0x10) and data[0] & 0x0F == 0
    if len(data) <= position:
        return None
    return first, first and not data[position] & 0x01
