"""A clip: encoded frames cut into RTP payloads, ready to be sent in a loop."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from lkpy.sim.plan import PAYLOAD_MAX

FORMAT = 1
"""Version of the file format; a cached file of another version is made again."""


class ClipError(ValueError):
    """A stored clip cannot be read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One encoded frame. ``payloads`` are RTP payloads without a payload descriptor."""

    key: bool
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """A loop of frames at a constant interval; the first frame is a key frame."""

    codec: str
    clock_rate: int
    frame_ticks: int
    """RTP timestamp units between frames."""
    frames: tuple[Frame, ...]

    @property
    def duration(self) -> float:
        """Length of the loop in seconds."""
        return len(self.frames) * self.frame_ticks / self.clock_rate

    @property
    def bitrate(self) -> float:
        """Media bits per second."""
        size = sum(len(payload) for frame in self.frames for payload in frame.payloads)
        return size * 8 / self.duration

    def to_bytes(self) -> bytes:
        """Serialise: one line of JSON, then the payloads."""
        head = {
            "format": FORMAT,
            "codec": self.codec,
            "clock_rate": self.clock_rate,
            "frame_ticks": self.frame_ticks,
            "frames": [
                [frame.key, [len(part) for part in frame.payloads]] for frame in self.frames
            ],
        }
        body = b"".join(part for frame in self.frames for part in frame.payloads)
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read :meth:`to_bytes`. Raises :class:`ClipError` for anything else."""
        line, separator, body = data.partition(b"\n")
        try:
            head = json.loads(line)
            if not separator or head["format"] != FORMAT:
                raise ClipError("not a clip of this version")
            frames = []
            offset = 0
            for key, lengths in head["frames"]:
                parts = []
                for length in lengths:
                    parts.append(body[offset : offset + length])
                    offset += length
                frames.append(Frame(bool(key), tuple(parts)))
            clip = cls(head["codec"], head["clock_rate"], head["frame_ticks"], tuple(frames))
        except (ValueError, KeyError, TypeError) as error:
            raise ClipError(f"damaged clip: {error}") from error
        if offset != len(body) or not frames:
            raise ClipError("damaged clip: its length is wrong")
        return clip


def split_vp8(frame: bytes, limit: int = PAYLOAD_MAX) -> tuple[bytes, ...]:
    """Cut an encoded VP8 frame into parts of nearly equal size, none above ``limit``.

    The VP8 payload format (RFC 7741) lets a frame be cut anywhere; equal parts avoid a tiny last
    packet.
    """
    count = max(1, -(-len(frame) // limit))
    size, extra = divmod(len(frame), count)
    parts = []
    offset = 0
    for index in range(count):
        end = offset + size + (1 if index < extra else 0)
        parts.append(frame[offset:end])
        offset = end
    return tuple(parts)


def from_frames(
    codec: str, clock_rate: int, frame_ticks: int, frames: Iterable[tuple[bool, bytes]]
) -> Clip:
    """Packetise encoded frames given as (is a key frame, bytes)."""
    split = split_vp8 if codec == "vp8" else lambda data: (data,)
    return Clip(
        codec, clock_rate, frame_ticks, tuple(Frame(key, split(data)) for key, data in frames)
    )
