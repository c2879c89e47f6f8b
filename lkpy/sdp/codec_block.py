"""The lines of a media section that describe codecs and header extensions.

A client repeats these lines, most of a description's bytes, in every section of a kind and in
every offer of a session. They are cut out in one regular expression and parsed once: the result
is immutable and cached by its text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from lkpy.sdp.model import Codec, Direction, Hashed, HeaderExtension

# Possessive quantifiers and the common prefix make it twice as fast: there is nothing to try again.
_BLOCK = re.compile(r"((?:^a=(?:rt(?:pmap|cp-fb)|fmtp|extmap):.*+\n)++)", re.MULTILINE)

_STATIC = {0: ("PCMU", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000), 13: ("CN", 8000)}
"""Payload types that need no rtpmap (RFC 3551 6)."""


_DIRECTIONS = frozenset(Direction)


class Parsed(NamedTuple):
    """What the lines say."""

    codecs: tuple[Codec, ...]
    """In the order of the m-line's formats."""
    formats: tuple[str, ...]
    """The codecs' payload types."""
    header_extensions: tuple[HeaderExtension, ...]
    ignored: tuple[str, ...]
    """What is wrong with the lines that say nothing."""


def cut(section: str) -> tuple[str, str]:
    """Split ``section``, whose lines end in LF, into these lines and the others."""
    parts = _BLOCK.split(section)
    return "".join(parts[1::2]), "".join(parts[0::2])


def parse_block(formats: tuple[str, ...], block: str) -> Parsed:
    """Read the lines of a section with these formats.

    What is larger than :data:`lkpy.limits.SDP_CODEC_BLOCK` must not come here: it is kept."""
    return _parse_cached(formats, block)


def _parse(formats: tuple[str, ...], block: str) -> Parsed:
    maps: dict[int, tuple[str, int, int]] = {}
    fmtp: dict[int, list[str]] = {}
    feedback: dict[int, list[str]] = {}
    to_all: list[str] = []
    extensions: dict[int, HeaderExtension] = {}
    ignored: list[str] = []
    for line in filter(None, block.split("\n")):
        name, _, value = line.partition(":")
        head, _, rest = value.strip().partition(" ")
        rest = rest.strip()
        if not rest:
            ignored.append(f"{name}: expected 'number value'")
            continue
        try:
            if name == "a=extmap":
                extension = _extension(head, rest)
                extensions.setdefault(extension.id, extension)
            elif name == "a=rtcp-fb" and head == "*":
                to_all.append(rest)
            elif name == "a=rtpmap":
                maps.setdefault(_payload_type(head), _encoding(rest))
            elif name == "a=fmtp":
                fmtp.setdefault(_payload_type(head), []).append(rest)
            else:
                feedback.setdefault(_payload_type(head), []).append(rest)
        except ValueError as error:
            ignored.append(f"{name}: {error}")
    numbers: dict[int, None] = {}
    for text in formats:
        try:
            numbers[_payload_type(text)] = None
        except ValueError as error:
            ignored.append(f"m=: {error}")
    codecs = []
    for number in numbers:
        encoding, rate, channels = maps.get(number) or (*_STATIC.get(number, ("", 0)), 0)
        codecs.append(
            Codec(
                payload_type=number,
                name=encoding,
                clock_rate=rate,
                channels=channels,
                fmtp=";".join(fmtp.get(number, ())),
                feedback=tuple(dict.fromkeys(feedback.get(number, []) + to_all)),
            )
        )
    return Parsed(
        Hashed(codecs),
        tuple([str(codec.payload_type) for codec in codecs]),
        Hashed(extensions.values()),
        tuple(ignored),
    )


_parse_cached = lru_cache(maxsize=512)(_parse)


def _payload_type(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or int(text) > 127:
        raise ValueError("payload type must be a number from 0 to 127")
    return int(text)


def _encoding(text: str) -> tuple[str, int, int]:
    """Name, clock rate, channels; the rate is 0 where it is not written, as some devices do."""
    name, *numbers = text.split("/")
    if not name or " " in name or len(numbers) > 2:
        raise ValueError("expected 'name/clock rate' or 'name/clock rate/channels'")
    if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in numbers):
        raise ValueError("clock rate and channels must be numbers")
    rate, channels = (*map(int, numbers), 0, 0)[:2]
    return name, rate, channels


def _extension(head: str, rest: str) -> HeaderExtension:
    number, _, direction = head.partition("/")
    # Ids above 255 are legal only inside an offer that wants them renumbered (RFC 8285 7), and
    # an answer may go without the extension.
    if not (number.isascii() and number.isdigit()) or not 1 <= int(number[:5]) <= 255:
        raise ValueError("id must be a number from 1 to 255")
    if direction and direction not in _DIRECTIONS:
        raise ValueError("unknown direction")
    uri, _, attributes = rest.partition(" ")
    return HeaderExtension(
        id=int(number),
        uri=uri,
        direction=Direction(direction) if direction else None,
        attributes=attributes.strip(),
    )
