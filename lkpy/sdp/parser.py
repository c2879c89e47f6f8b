"""Text to description: strict about its frame, liberal about everything in it.

A line that is malformed or unknown says nothing: it is listed in ``SessionDescription.ignored``,
and what is missed then is for the reader to find. Errors are what makes the whole unreadable: no
``v=0``, a malformed m-line, more than is allowed.

Speed matters here (a join waits for it): see :mod:`lkpy.sdp.codec_block`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeAlias

from lkpy.limits import (
    MAX_MEDIA_SECTIONS,
    SDP_CANDIDATES,
    SDP_CODEC_BLOCK,
    SDP_CODEC_LINES,
    SDP_FORMATS,
    SDP_IGNORED,
    SDP_LINE,
    SDP_LINES,
    SDP_SLICE,
)
from lkpy.sdp.candidate import Candidate
from lkpy.sdp.codec_block import cut, parse_block
from lkpy.sdp.errors import SdpError, SdpTooLarge
from lkpy.sdp.model import (
    Direction,
    Fingerprint,
    Group,
    MediaDescription,
    Msid,
    Rid,
    SessionDescription,
    Setup,
    Simulcast,
    SsrcGroup,
)

_HEX = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2})*")
_BARE_HEX = re.compile(r"(?:[0-9A-F]{2}){2,}")
_VISIBLE = re.compile(r"[!-~]{1,256}")
# Patterns that begin with a character to look for are a third of the work of `in`.
_BLANK_BEFORE = re.compile(r"\n ")
_BLANK_AFTER = re.compile(r" \n")
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+")
"""RFC 8866 9."""


def parse(text: str) -> SessionDescription:
    """Parse ``text``. Raises :class:`SdpError`, :class:`SdpTooLarge` for more than is allowed."""
    done = _prepared.pop(text, None)
    if done is None:
        done = _finish(_Parser(text, 1))
    if isinstance(done, SdpError):
        raise done
    return done


def parse_fragment(text: str) -> SessionDescription:
    """Parse lines that lack the head of a description (RFC 8840 9). Raises :class:`SdpError`, also
    for a line that says nothing: there is little else in a fragment."""
    done = _finish(_Parser(f"v=0\n{text}", 0))
    if isinstance(done, SdpError):
        raise done
    if done.ignored:
        raise SdpError(done.ignored[0])
    return done


def prepare(text: str) -> Iterator[None]:
    """Parse ``text`` in slices of about a millisecond. :func:`parse` has it at once afterwards,
    once; so has its error."""
    parser = _Parser(text, 1)
    for _ in parser.slices():
        yield
    _prepared[text] = parser.outcome
    if len(_prepared) > _PREPARED_MAX:
        _prepared.popitem(last=False)


def discard(text: str) -> None:
    """Nobody will :func:`parse` it any more."""
    _prepared.pop(text, None)


_PREPARED_MAX = 16
_prepared: OrderedDict[str, SessionDescription | SdpError] = OrderedDict()
"""What nobody has asked for yet; each outcome is given to one."""


def _finish(parser: _Parser) -> SessionDescription | SdpError:
    for _ in parser.slices():
        pass
    return parser.outcome


_Described: TypeAlias = SessionDescription | MediaDescription


class _Parser:
    """One description, section by section. ``line`` is the number of its first one."""

    def __init__(self, text: str, line: int) -> None:
        self._text = text
        self._line = line
        self._lines = 0
        self._codec_lines = 0
        self._candidates = 0
        self._blocks: set[tuple[str, str]] = set()
        self.outcome: SessionDescription | SdpError = SessionDescription()

    def slices(self) -> Iterator[None]:
        """Parse; there is something else to do after each step."""
        try:
            yield from self._parse(SessionDescription())
        except SdpError as error:
            self.outcome = error

    def _parse(self, description: SessionDescription) -> Iterator[None]:
        head, *sections = _lines(self._text).split("\nm=")
        if len(sections) > MAX_MEDIA_SECTIONS:
            raise SdpTooLarge(f"more than {MAX_MEDIA_SECTIONS} media sections")
        # Each piece lost the LF it was split at; the last has it.
        chunk = head if head.endswith("\n") else head + "\n"
        self._count(chunk)
        self._ignore(description, "session", _session(description, chunk, self._line))
        self._count_candidates(description)
        done = 0
        for index, section in enumerate(sections):
            self._line += chunk.count("\n")
            chunk = "m=" + (section if section.endswith("\n") else section + "\n")
            media, ignored = self._media(chunk)
            description.media.append(media)
            self._ignore(description, f"section {index}", ignored)
            if self._lines + self._codec_lines - done > SDP_SLICE:
                done = self._lines + self._codec_lines
                yield
        self.outcome = description

    def _ignore(self, description: SessionDescription, where: str, reasons: list[str]) -> None:
        room = SDP_IGNORED - len(description.ignored)
        description.ignored += [f"{where}: {reason}" for reason in reasons[:room]]

    def _media(self, chunk: str) -> tuple[MediaDescription, list[str]]:
        block, rest = cut(chunk)
        self._count(rest)
        if len(block) > SDP_CODEC_BLOCK:
            raise SdpTooLarge(f"codecs of more than {SDP_CODEC_BLOCK} characters", line=self._line)
        # Codecs are parsed once for the same lines and the same m-line.
        about = rest.partition("\n")[0], block
        if about not in self._blocks:
            self._blocks.add(about)
            self._codec_lines += block.count("\n")
            if self._codec_lines > SDP_CODEC_LINES:
                raise SdpTooLarge(f"more than {SDP_CODEC_LINES} lines about codecs")
        try:
            media, ignored = _media(block, rest)
        except ValueError as error:
            raise SdpError(f"m=: {error}", line=self._line) from None
        self._count_candidates(media)
        return media, ignored

    def _count_candidates(self, described: _Described) -> None:
        self._candidates += len(described.candidates)
        if self._candidates > SDP_CANDIDATES:
            raise SdpTooLarge(f"more than {SDP_CANDIDATES} candidates", line=self._line)

    def _count(self, text: str) -> None:
        lines = text.split("\n")
        self._lines += len(lines)
        if self._lines > SDP_LINES:
            raise SdpTooLarge(f"more than {SDP_LINES} lines", line=self._line)
        if max(map(len, lines)) > SDP_LINE:
            raise SdpTooLarge(f"a line of more than {SDP_LINE} characters", line=self._line)


def _lines(text: str) -> str:
    """``text`` with LF line ends, the last line's among them, and no blanks around lines."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\t" in text or text[-1:] == " " or _BLANK_BEFORE.search(text) or _BLANK_AFTER.search(text):
        text = "\n".join([line.strip(" \t") for line in text.split("\n")])
    return text.rstrip("\n") + "\n"


def _session(description: SessionDescription, text: str, line_number: int) -> list[str]:
    """Read the session part. Returns what is wrong with lines that say nothing."""
    lines = text.split("\n")
    first = next((line for line in lines if line), "")
    if first.strip(" \t") != "v=0":
        where = line_number + lines.index(first)
        raise SdpError("a description begins with v=0", line=where)
    ignored: list[str] = []
    for line in lines[lines.index(first) + 1 :]:
        value = line[2:]
        match line[:2]:
            case "a=":
                _attribute(description, line, _SESSION, ignored)
            case "":
                pass
            case "o=":
                description.origin = value
            case "s=":
                description.name = value or "-"
            case "t=":
                description.timing = value
            case _ if line[1:2] == "=":
                description.other_lines.append(line)
            case _:
                ignored.append("expected 'x=value'")
    return ignored


def _media(block: str, rest: str) -> tuple[MediaDescription, list[str]]:
    """A section, whose lines about codecs and header extensions are ``block``, and what is wrong
    with lines that say nothing. Raises ValueError for its m-line."""
    lines = rest.split("\n")
    fields = lines[0][2:].split()
    if len(fields) < 3:
        raise ValueError("expected 'kind port protocol formats'")
    port = fields[1].partition("/")[0]
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65_535:
        raise ValueError("port must be a number from 0 to 65535")
    if len(fields) > 3 + SDP_FORMATS:
        raise ValueError(f"more than {SDP_FORMATS} formats")
    media = MediaDescription(
        fields[0], int(port), fields[2], formats=tuple(fields[3:]), connection=None
    )
    ignored: list[str] = []
    for line in lines[1:]:
        match line[:2]:
            case "a=":
                _attribute(media, line, _MEDIA, ignored)
            case "c=":
                media.connection = line[2:]
            case "b=":
                media.bandwidth.append(line[2:])
            case "":
                pass
            case _ if line[1:2] == "=":
                pass
            case _:
                ignored.append("expected 'x=value'")
    if "RTP/" in media.protocol.upper():
        parsed = parse_block(media.formats, block)
        media.codecs, media.header_extensions = parsed.codecs, parsed.header_extensions
        if media.codecs:
            media.formats = parsed.formats
        ignored += parsed.ignored
    return media, ignored


# -- attributes -------------------------------------------------------------------------------


def _attribute(
    described: _Described,
    line: str,
    handlers: dict[str, Callable[..., None]],
    ignored: list[str],
) -> None:
    name, colon, value = line[2:].partition(":")
    handler = handlers.get(name)
    if handler is None:
        described.attributes.append((name, value if colon else None))
        return
    try:
        handler(described, value)
    except ValueError as error:
        ignored.append(f"a={name}: {error}")


def _number(value: str, largest: int) -> int:
    text = value.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > largest:
        raise ValueError(f"expected a number from 0 to {largest}")
    return int(text)


def _fingerprint(described: _Described, value: str) -> None:
    algorithm, _, digest = value.strip().partition(" ")
    digest = digest.strip().upper()
    if _BARE_HEX.fullmatch(digest):
        digest = ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
    if not _HEX.fullmatch(digest):
        raise ValueError("expected 'algorithm AA:BB:...'")
    described.transport.fingerprints.append(Fingerprint(algorithm.lower(), digest))


def _ice_ufrag(described: _Described, value: str) -> None:
    described.transport.ice_ufrag = _visible(value)


def _ice_pwd(described: _Described, value: str) -> None:
    described.transport.ice_pwd = _visible(value)


def _visible(value: str) -> str:
    # RFC 8839 5.4 and RFC 5888 4 allow fewer characters, and RFC 8839 not so few; clients write
    # others, and nobody who takes them is at a loss.
    text = value.strip()
    if not _VISIBLE.fullmatch(text):
        raise ValueError("expected 1 to 256 visible ASCII characters")
    return text


def _ice_options(described: _Described, value: str) -> None:
    described.transport.ice_options = value.strip()


# A look into a mapping takes a fifth of what a call of the enumeration does.
_SETUPS = {str(setup): setup for setup in Setup}


def _setup(described: _Described, value: str) -> None:
    setup = _SETUPS.get(value.strip().lower())
    if setup is None:
        raise ValueError(f"expected one of {', '.join(Setup)}")
    described.transport.setup = setup


def _extmap_allow_mixed(described: _Described, value: str) -> None:
    described.extmap_allow_mixed = True


def _group(description: SessionDescription, value: str) -> None:
    semantics, *mids = value.split() or [""]
    if not semantics:
        raise ValueError("expected 'semantics mids'")
    description.groups.append(Group(semantics, tuple(mids)))


def _ice_lite(description: SessionDescription, value: str) -> None:
    description.ice_lite = True


def _msid_semantic(description: SessionDescription, value: str) -> None:
    description.msid_semantic = value


def _mid(media: MediaDescription, value: str) -> None:
    media.mid = _visible(value)


def _msid(media: MediaDescription, value: str) -> None:
    stream, _, track = value.strip().partition(" ")
    if not stream:
        raise ValueError("expected 'stream track'")
    media.msids.append(Msid(stream, track.strip()))


def _ssrc(media: MediaDescription, value: str) -> None:
    number, _, attribute = value.partition(" ")
    name, _, text = attribute.partition(":")
    if not name:
        raise ValueError("expected 'ssrc attribute'")
    media.ssrcs.setdefault(_number(number, 2**32 - 1), {})[name] = text


def _ssrc_group(media: MediaDescription, value: str) -> None:
    semantics, *numbers = value.split() or [""]
    if not semantics:
        raise ValueError("expected 'semantics ssrcs'")
    ssrcs = tuple(_number(number, 2**32 - 1) for number in numbers)
    media.ssrc_groups.append(SsrcGroup(semantics, ssrcs))


def _rid(media: MediaDescription, value: str) -> None:
    fields = value.split(maxsplit=2)
    if len(fields) < 2 or fields[1] not in ("send", "recv"):
        raise ValueError("expected 'id send' or 'id recv'")
    if not _TOKEN.fullmatch(fields[0]) or len(fields[0]) > 255:
        raise ValueError("id must be a token of at most 255 characters")
    media.rids.append(Rid(fields[0], fields[1], fields[2] if len(fields) > 2 else ""))


def _simulcast(media: MediaDescription, value: str) -> None:
    fields = value.split()
    if len(fields) not in (2, 4) or any(name not in ("send", "recv") for name in fields[::2]):
        raise ValueError("expected 'send rids', 'recv rids' or both")
    lists = {
        name: tuple(
            alternatives.partition(",")[0].removeprefix("~")
            # Drafts before RFC 8853 wrote "rid=" before the list.
            for alternatives in rids.removeprefix("rid=").split(";")
            if alternatives
        )
        for name, rids in zip(fields[::2], fields[1::2], strict=True)
    }
    media.simulcast = Simulcast(send=lists.get("send", ()), recv=lists.get("recv", ()))


def _candidate(described: _Described, value: str) -> None:
    described.candidates.append(Candidate.parse_value(value))


def _sctp_port(media: MediaDescription, value: str) -> None:
    media.sctp_port = _number(value, 65_535)


def _max_message_size(media: MediaDescription, value: str) -> None:
    text = value.strip()
    # Some write more than 32 bits for as much as may be.
    largest = 2**32 - 1
    big = text.isascii() and text.isdigit() and len(text) > 10
    media.max_message_size = largest if big else min(_number(text, 10**10), largest)


def _direction(direction: Direction) -> Callable[[MediaDescription, str], None]:
    def handler(media: MediaDescription, value: str) -> None:
        media.direction = direction

    return handler


def _flag(name: str) -> Callable[[MediaDescription, str], None]:
    def handler(media: MediaDescription, value: str) -> None:
        setattr(media, name, True)

    return handler


_TRANSPORT: dict[str, Callable[..., None]] = {
    "fingerprint": _fingerprint,
    "ice-ufrag": _ice_ufrag,
    "ice-pwd": _ice_pwd,
    "ice-options": _ice_options,
    "setup": _setup,
    "extmap-allow-mixed": _extmap_allow_mixed,
    "candidate": _candidate,
}
_SESSION: dict[str, Callable[..., None]] = _TRANSPORT | {
    "group": _group,
    "ice-lite": _ice_lite,
    "msid-semantic": _msid_semantic,
}
_MEDIA: dict[str, Callable[..., None]] = _TRANSPORT | {
    "mid": _mid,
    "msid": _msid,
    "ssrc": _ssrc,
    "ssrc-group": _ssrc_group,
    "rid": _rid,
    "simulcast": _simulcast,
    "end-of-candidates": _flag("end_of_candidates"),
    "rtcp-mux": _flag("rtcp_mux"),
    "rtcp-rsize": _flag("rtcp_rsize"),
    "bundle-only": _flag("bundle_only"),
    "sctp-port": _sctp_port,
    "max-message-size": _max_message_size,
    **{direction.value: _direction(direction) for direction in Direction},
}
