"""Codecs: what is registered, how an offer is matched, in which order an answer lists them.

Payload types and parameters are LiveKit's (protocol ``codecs/codecs.go``); an answer repeats the
offer's payload types, so ours appear only in our own offers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from livekit.protocol import models

from lkpy.engine.api import MediaKind, RtpCodec
from lkpy.sdp import Codec, Hashed

OPUS = "audio/opus"
RED = "audio/red"
RTX = "video/rtx"
H264 = "video/h264"

_H264_FMTP = "level-asymmetry-allowed=1;packetization-mode={};profile-level-id={}"
_AUDIO = (
    Codec(111, "opus", 48_000, 2, "minptime=10;useinbandfec=1"),
    Codec(63, "red", 48_000, 2, "111/111"),
    Codec(0, "PCMU", 8_000),
    Codec(8, "PCMA", 8_000),
)
_VIDEO = (
    Codec(96, "VP8", 90_000),
    Codec(98, "VP9", 90_000, 0, "profile-id=0"),
    Codec(100, "VP9", 90_000, 0, "profile-id=1"),
    Codec(125, "H264", 90_000, 0, _H264_FMTP.format(0, "42e01f")),
    Codec(108, "H264", 90_000, 0, _H264_FMTP.format(1, "42e01f")),
    Codec(123, "H264", 90_000, 0, _H264_FMTP.format(1, "640032")),
    Codec(35, "AV1", 90_000),
    Codec(116, "H265", 90_000),
)
_VIDEO_BY_FMTP = (
    Codec(104, "H264", 90_000, 0, _H264_FMTP.format(0, "42001f")),
    Codec(102, "H264", 90_000, 0, _H264_FMTP.format(1, "42001f")),
    Codec(39, "H264", 90_000, 0, _H264_FMTP.format(0, "4d001f")),
    Codec(106, "H264", 90_000, 0, _H264_FMTP.format(1, "4d001f")),
)
"""Registered only when the configuration names exactly these parameters."""


@dataclass(frozen=True, slots=True, eq=False)
class CodecTable:
    """The codecs of one direction, with our payload types. There is one of each: it is a part of
    cache keys by its identity."""

    audio: tuple[Codec, ...]
    video: tuple[Codec, ...]
    rtx: bool

    def of(self, kind: MediaKind) -> tuple[Codec, ...]:
        """Those of ``kind``, without RTX."""
        return self.audio if kind is MediaKind.AUDIO else self.video


def mime_type(kind: str, codec: Codec) -> str:
    """Lower-case mime type of ``codec`` in a section of ``kind``."""
    return f"{kind}/{codec.name.lower()}"


def codec_table(enabled: Iterable[models.Codec]) -> CodecTable:
    """Register the ``enabled`` codecs (LiveKit ``registerCodecs``)."""
    return _codec_table(tuple((codec.mime.lower(), codec.fmtp_line) for codec in enabled))


@lru_cache(maxsize=256)
def _codec_table(enabled: tuple[tuple[str, str], ...]) -> CodecTable:
    def is_enabled(kind: str, codec: Codec, *, exactly: bool = False) -> bool:
        wanted = mime_type(kind, codec)
        return any(
            mime == wanted and ((not fmtp and not exactly) or fmtp.lower() == codec.fmtp.lower())
            for mime, fmtp in enabled
        )

    audio = tuple(codec for codec in _AUDIO if is_enabled("audio", codec))
    if not any(codec.name == "opus" for codec in audio):
        audio = tuple(codec for codec in audio if codec.name != "red")
    video = tuple(codec for codec in _VIDEO if is_enabled("video", codec)) + tuple(
        codec for codec in _VIDEO_BY_FMTP if is_enabled("video", codec, exactly=True)
    )
    return CodecTable(audio, video, rtx=any(mime == RTX for mime, _ in enabled))


# -- matching ---------------------------------------------------------------------------------


def same_codec(ours: Codec, theirs: Codec) -> bool:
    """Whether both have the same name, clock rate and channels. What a client does not write is as
    we have it; of channels it is one where we have none (RFC 8866 6.6)."""
    return (
        ours.name.lower() == theirs.name.lower()
        and theirs.clock_rate in (0, ours.clock_rate)
        and (theirs.channels or ours.channels or 1) == (ours.channels or 1)
    )


def same_encoding(ours: Codec, theirs: Codec) -> bool:
    """Whether both are the same codec in the same profile. We take H.265 in every one."""
    return same_codec(ours, theirs) and (
        ours.name == "H265" or same_profile(ours.name, ours.parameters, theirs.parameters)
    )


def same_profile(name: str, ours: dict[str, str], theirs: dict[str, str]) -> bool:
    """Compare the format parameters that name a profile."""
    match name.lower():
        case "h264":
            # Profile and constraints must match, the level may differ (RFC 6184 8.2.2).
            return h264_profile(ours) == h264_profile(theirs) and _packetization(
                ours
            ) == _packetization(theirs)
        case "vp9":
            return ours.get("profile-id", "0") == theirs.get("profile-id", "0")
        case "av1":
            return ours.get("profile", "0") == theirs.get("profile", "0")
        case "h265":
            return ours.get("profile-id", "1") == theirs.get("profile-id", "1")
        case _:
            return True


def h264_profile(parameters: dict[str, str]) -> str:
    """The profile by one name, which several values of ``profile-level-id`` have (RFC 6184 table
    5); others stand for themselves."""
    # Without the parameter it is baseline (RFC 6184 8.1).
    text = parameters.get("profile-level-id", "42000a").lower()
    if not _H264_PROFILE.fullmatch(text):
        return text
    idc, iop = int(text[:2], 16), int(text[2:4], 16)
    for name, wanted_idc, mask, bits in _H264_PROFILES:
        if idc == wanted_idc and iop & mask == bits:
            return name
    return text[:4]


_H264_PROFILE = re.compile(r"[0-9a-f]{6}")
_H264_PROFILES = (
    ("constrained baseline", 0x42, 0b0100_1111, 0b0100_0000),
    ("constrained baseline", 0x4D, 0b1000_1111, 0b1000_0000),
    ("constrained baseline", 0x58, 0b1100_1111, 0b1100_0000),
    ("baseline", 0x42, 0b0100_1111, 0),
    ("baseline", 0x58, 0b1100_1111, 0b1000_0000),
    ("main", 0x4D, 0b1010_1111, 0),
    ("high", 0x64, 0b1111_1111, 0),
    ("constrained high", 0x64, 0b1111_1111, 0b0000_1100),
)
"""Name, profile_idc, bits of profile-iop that count, their value."""


def _packetization(parameters: dict[str, str]) -> str:
    return parameters.get("packetization-mode", "0")


def is_h264_high(codec: Codec) -> bool:
    """Whether ``codec`` is H.264 in its High profile, which many decoders lack."""
    return codec.name.lower() == "h264" and h264_profile(codec.parameters).endswith("high")


def registered_as(offered: tuple[Codec, ...], registered: tuple[Codec, ...]) -> dict[int, Codec]:
    """What each payload type that we take is registered as.

    A name counts in its registered profiles. Of one that is offered in none of them all count that
    are the same codec (pion ``codecParametersFuzzySearch``): decoders take more than they announce,
    and the encoders of devices know one profile.
    """

    def search(same: Callable[[Codec, Codec], bool], without: set[str]) -> dict[int, Codec]:
        return {
            theirs.payload_type: ours
            for theirs in offered
            if theirs.name.lower() not in without
            and (ours := next((o for o in registered if same(o, theirs)), None)) is not None
        }

    exact = search(same_encoding, set())
    return exact | search(same_codec, {ours.name.lower() for ours in exact.values()})


@lru_cache(maxsize=1024)
def answer_codecs(
    kind: MediaKind,
    offered: tuple[Codec, ...],
    table: CodecTable,
    feedback: tuple[str, ...],
    *,
    h264_high: bool,
) -> tuple[Codec, ...]:
    """The offered codecs that are registered, in the offer's order, each followed by its RTX.

    Payload types and format parameters are the offer's, except Opus' parameters: those tell the
    client how to send, so they are ours. Without ``h264_high`` it is left out where there is other
    H.264.
    """
    rtx_of = rtx_by_payload_type(offered) if table.rtx else {}
    registered = tuple(c for c in table.of(kind) if h264_high or not is_h264_high(c))
    known = registered_as(offered, registered)
    high = h264_high or all(
        is_h264_high(codec)
        for codec in offered
        if codec.payload_type in known and codec.name.lower() == "h264"
    )
    accepted: list[Codec] = []
    for theirs in offered:
        ours = known.get(theirs.payload_type)
        if ours is None or (is_h264_high(theirs) and not high):
            continue
        accepted.append(
            replace(
                theirs,
                clock_rate=ours.clock_rate,
                fmtp=ours.fmtp if ours.name == "opus" else theirs.fmtp,
                feedback=tuple(item for item in feedback if item in theirs.feedback),
            )
        )
        rtx = rtx_of.get(theirs.payload_type)
        if rtx is not None:
            accepted.append(Codec(rtx, "rtx", ours.clock_rate, 0, f"apt={theirs.payload_type}"))
    opus = {str(codec.payload_type) for codec in accepted if codec.name.lower() == "opus"}
    return Hashed(
        codec
        for codec in accepted
        # RED names the payload type it repeats (RFC 2198 5); without it there is nothing to carry.
        if codec.name.lower() != "red" or set(codec.fmtp.split("/")) <= opus
    )


def rtx_by_payload_type(codecs: tuple[Codec, ...]) -> dict[int, int]:
    """RTX payload type by the payload type that its ``apt`` names (RFC 4588 8.6)."""
    found: dict[int, int] = {}
    for codec in codecs:
        apt = codec.parameters.get("apt", "") if codec.name.lower() == "rtx" else ""
        if apt.isdigit():
            found.setdefault(int(apt), codec.payload_type)
    return found


@lru_cache(maxsize=256)
def offer_codecs(
    kind: MediaKind, table: CodecTable, feedback: tuple[str, ...]
) -> tuple[Codec, ...]:
    """Codecs of our own offers: without H.264 High, RTX at the next payload type."""
    codecs: list[Codec] = []
    for codec in table.of(kind):
        if is_h264_high(codec):
            continue
        codecs.append(replace(codec, feedback=feedback if codec.name != "red" else ()))
        if kind is MediaKind.VIDEO and table.rtx:
            number = codec.payload_type
            codecs.append(Codec(number + 1, "rtx", codec.clock_rate, 0, f"apt={number}"))
    return tuple(codecs)


# -- order and parameters ---------------------------------------------------------------------


def prefer(kind: str, codecs: tuple[Codec, ...], mime: str, *, only: bool) -> tuple[Codec, ...]:
    """Put the codecs of ``mime`` first, with their RTX; ``only``: drop the others.

    The first codec of an answer is what the client sends. Some do not keep to the order and are
    left no choice (LiveKit ``configureReceiverCodecs``).
    """
    wanted = {c.payload_type for c in codecs if mime_type(kind, c) == mime.lower()}
    if not wanted:
        return codecs
    wanted |= {rtx for apt, rtx in rtx_by_payload_type(codecs).items() if apt in wanted}
    first = tuple(codec for codec in codecs if codec.payload_type in wanted)
    if only:
        return first
    return first + tuple(codec for codec in codecs if codec.payload_type not in wanted)


def preferred_mime(info: models.TrackInfo, cid: str) -> str:
    """The mime type that ``info`` wants for the media section with this cid; may be empty."""
    for codec in info.codecs:
        if cid and cid in (codec.cid, codec.sdp_cid):
            return codec.mime_type
    return info.codecs[0].mime_type if info.codecs else info.mime_type


def red_enabled(info: models.TrackInfo) -> bool:
    """Whether a track may be sent as RED: what it names, else unless it forbids it (LiveKit
    ``IsRedEnabled``)."""
    named = info.codecs[0].mime_type if info.codecs else ""
    return named.lower() == RED if named else not info.disable_red


def prefer_audio(codecs: tuple[Codec, ...], info: models.TrackInfo, cid: str) -> tuple[Codec, ...]:
    """Put first what a published audio track is to be sent in."""
    wanted = preferred_mime(info, cid) or (RED if red_enabled(info) else OPUS)
    return prefer("audio", codecs, wanted, only=False)


def publisher_opus(codecs: tuple[Codec, ...], info: models.TrackInfo) -> tuple[Codec, ...]:
    """Set Opus' parameters as the published track's audio features want them."""
    features = info.audio_features
    extra = {}
    if models.AudioTrackFeature.TF_NO_DTX not in features:
        extra["usedtx"] = "1"
    if models.AudioTrackFeature.TF_STEREO in features:
        extra |= {"stereo": "1", "maxaveragebitrate": "510000"}
    return _with_opus(codecs, extra)


def offered_stereo(codecs: tuple[Codec, ...], offered: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """Ask for the stereo, and its bitrate, that a publisher offers: it sends it only if asked (RFC
    7587 7.1)."""
    named = {codec.payload_type: codec for codec in offered}
    result = codecs
    for codec in codecs:
        if codec.name.lower() == "opus":
            theirs = named[codec.payload_type].parameters
            if theirs.get("stereo") == "1":
                keep = ("stereo", "maxaveragebitrate")
                result = _with_opus(result, {name: theirs[name] for name in keep if name in theirs})
    return result


def _with_opus(codecs: tuple[Codec, ...], parameters: dict[str, str]) -> tuple[Codec, ...]:
    """Set these format parameters of Opus."""

    def fmtp(codec: Codec) -> str:
        merged = codec.parameters | parameters
        return ";".join(f"{name}={value}" for name, value in merged.items())

    return tuple(
        replace(codec, fmtp=fmtp(codec)) if codec.name.lower() == "opus" else codec
        for codec in codecs
    )


@lru_cache(maxsize=256)
def with_nack(codecs: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """Add NACK to published audio: browsers do not offer it, but honour it in an answer."""
    return Hashed(
        codec
        if codec.name.lower() == "red" or "nack" in codec.feedback
        else replace(codec, feedback=(*codec.feedback, "nack"))
        for codec in codecs
    )


def subscriber_opus(codecs: tuple[Codec, ...], *, stereo: bool, nack: bool) -> tuple[Codec, ...]:
    """Set Opus' parameters for a subscriber. RED repairs losses itself and needs no NACK."""
    return tuple(
        codec
        if codec.name.lower() != "opus"
        else replace(
            codec,
            fmtp=codec.fmtp + ";sprop-stereo=1" if stereo else codec.fmtp,
            feedback=tuple(f for f in codec.feedback if nack or f != "nack"),
        )
        for codec in codecs
    )


# -- engine -----------------------------------------------------------------------------------


def engine_codecs(kind: MediaKind, codecs: tuple[Codec, ...]) -> tuple[RtpCodec, ...]:
    """``codecs`` as the engine takes them: RTX folded into the codec it repairs."""
    rtx_of = rtx_by_payload_type(codecs)
    return tuple(
        RtpCodec(
            payload_type=codec.payload_type,
            mime_type=mime_type(kind, codec),
            clock_rate=codec.clock_rate,
            channels=codec.channels,
            rtx_payload_type=rtx_of.get(codec.payload_type),
            fmtp=codec.fmtp,
            nack="nack" in codec.feedback,
            pli="nack pli" in codec.feedback,
            transport_cc="transport-cc" in codec.feedback,
            remb="goog-remb" in codec.feedback,
        )
        for codec in codecs
        if codec.name.lower() != "rtx"
    )


def codecs_for_source(
    source: tuple[RtpCodec, ...], subscriber: tuple[RtpCodec, ...]
) -> tuple[RtpCodec, ...]:
    """For each codec of a published track the best of the subscriber's, if it has one.

    The same profile is best, then the same packetization, then the same mime type: decoders
    accept more than they announce.
    """
    chosen: dict[str, RtpCodec] = {}
    for codec in source:
        ours = _parameters(codec)

        def rank(
            candidate: RtpCodec, ours: dict[str, str] = ours, mime: str = codec.mime_type
        ) -> int:
            theirs = _parameters(candidate)
            if same_profile(mime.partition("/")[2], ours, theirs):
                return 0
            return 1 if _packetization(ours) == _packetization(theirs) else 2

        same = [candidate for candidate in subscriber if candidate.mime_type == codec.mime_type]
        if same:
            chosen.setdefault(codec.mime_type, min(same, key=rank))
    return tuple(chosen.values())


def add_red(chosen: tuple[RtpCodec, ...], subscriber: tuple[RtpCodec, ...]) -> tuple[RtpCodec, ...]:
    """Let the engine send Opus as RED, if the subscriber has it: RED goes after what it is made
    from here, and :func:`red_first` before."""
    mimes = {codec.mime_type for codec in chosen}
    if OPUS not in mimes or RED in mimes:
        return chosen
    return chosen + tuple(codec for codec in subscriber if codec.mime_type == RED)[:1]


def red_first(codecs: tuple[RtpCodec, ...]) -> tuple[RtpCodec, ...]:
    """The order in which the engine turns Opus into RED."""
    return tuple(sorted(codecs, key=lambda codec: codec.mime_type != RED))


def _parameters(codec: RtpCodec) -> dict[str, str]:
    return Codec(codec.payload_type, "", fmtp=codec.fmtp).parameters
