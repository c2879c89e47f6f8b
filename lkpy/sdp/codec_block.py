"""The lines of a media section that describe codecs and header extensions.

A client repeats these lines, most of a description's bytes, in every section of a kind and in
every offer of a session. They are cut out in one regular expression and parsed once: the result
is immutable and cached by its text.
"""

from __future__ import annotations

import re
from functools import lru_cache

from lkpy.sdp.model import Codec, Direction, HeaderExtension

# Possessive quantifiers and the common prefix make it twice as fast: there is nothing to try again.
_BLOCK = re.compile(r"((?:^a=(?:rt(?:pmap|cp-fb)|fmtp|extmap):.*+\n)++)", re.MULTILINE)

_STATIC = {0: ("PCMU", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000), 13: ("CN", 8000)}
"""Payload types that need no rtpmap (RFC 3551 6)."""

Parsed = tuple[tuple[Codec, ...], tuple[HeaderExtension, ...]]


class LineError(ValueError):
    """``line`` is at fault."""

    def __init__(self, line: str, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def cut(section: str) -> tuple[str, str]:
    """Split ``section``, whose lines end in LF, into these lines and the others."""
    parts = _BLOCK.split(section)
    return "".join(parts[1::2]), "".join(parts[0::2])


def parse_block(formats: tuple[str, ...], block: str) -> Parsed:
    """Codecs in the order of ``formats``, and header extensions. Raises :class:`LineError`.

    What is larger than :data:`lkpy.limits.SDP_CODEC_BLOCK` must not come here: it is kept."""
    return _parse_cached(formats, block)


def _parse(formats: tuple[str, ...], block: str) -> Parsed:
    maps: dict[int, tuple[str, int, int]] = {}
    fmtp: dict[int, list[str]] = {}
    feedback: dict[int, list[str]] = {}
    to_all: list[str] = []
    extensions: list[HeaderExtension] = []
    for line in filter(None, block.split("\n")):
        name, _, value = line.partition(":")
        head, _, rest = value.partition(" ")
        try:
            if name == "a=extmap":
                extensions.append(_extension(head, rest.strip()))
            elif name == "a=rtcp-fb" and head == "*":
                to_all.append(rest)
            elif name == "a=rtpmap":
                maps[_payload_type(head)] = _encoding(rest.strip())
            elif name == "a=fmtp":
                fmtp.setdefault(_payload_type(head), []).append(rest)
            else:
                feedback.setdefault(_payload_type(head), []).append(rest)
        except ValueError as error:
            raise LineError(line, str(error)) from None
    codecs = []
    for number in dict.fromkeys(map(_payload_type, formats)):
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
    return tuple(codecs), tuple(extensions)


_parse_cached = lru_cache(maxsize=512)(_parse)


def _payload_type(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or int(text) > 127:
        raise ValueError("payload type must be a number from 0 to 127")
    return int(text)


def _encoding(text: str) -> tuple[str, int, int]:
    fields = text.split("/")
    if len(fields) not in (2, 3) or not all(fields) or not all(map(str.isdigit, fields[1:])):
        raise ValueError("expected 'name/clock rate' or 'name/clock rate/channels'")
    if not 0 < int(fields[1][:10]) < 2**31:
        raise ValueError("clock rate out of range")
    return fields[0], int(fields[1]), int(fields[2][:4]) if len(fields) == 3 else 0


def _extension(head: str, rest: str) -> HeaderExtension:
    number, _, direction = head.partition("/")
    # Ids above 255 are legal only inside an offer that wants them renumbered (RFC 8285 8).
    if not (number.isascii() and number.isdigit()) or not 1 <= int(number[:5]) <= 255:
        raise ValueError("id must be a number from 1 to 255")
    uri, _, attributes = rest.partition(" ")
    if not uri:
        raise ValueError("expected 'id uri'")
    return HeaderExtension(
        id=int(number),
        uri=uri,
        direction=Direction(direction) if direction else None,
        attributes=attributes,
    )
