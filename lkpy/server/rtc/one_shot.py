"""Sessions that are one offer and one answer, without a signal connection: those of WHIP
(livekit-server's one-shot signalling, ``pkg/rtc/participant.go`` synthesizeAddTrackRequests). Pure.

What a client says elsewhere with AddTrackRequest is made up from its offer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from livekit.protocol import models, rtc

from lkpy.ids import TRACK_PREFIX, new_id
from lkpy.sdp import MediaDescription, SessionDescription, Setup
from lkpy.server.rtc import descriptions
from lkpy.server.rtc.ice_dtls import remote_end
from lkpy.server.rtc.media_sections import encodings, track_id

TrackName = tuple[str, str]
"""Identity of the publisher and name of the track."""

_TYPES = {"audio": models.TrackType.AUDIO, "video": models.TrackType.VIDEO}
_NAMES = {"audio": "synthesized-microphone", "video": "synthesized-camera"}
_SHOWN = 16
"""Sections, codecs and characters of names in what a client is told."""
_QUALITIES = (models.VideoQuality.LOW, models.VideoQuality.MEDIUM, models.VideoQuality.HIGH)
_SOURCES = {"audio": models.TrackSource.MICROPHONE, "video": models.TrackSource.CAMERA}


@dataclass(frozen=True, slots=True)
class OneShot:
    """What the only offer leaves room for: nothing can be asked of the client later."""

    sections: Mapping[models.TrackType, int] = field(default_factory=dict)
    """In which the client receives."""
    wanted: frozenset[TrackName] = frozenset()
    """Tracks that the client asks for by name."""

    def choose(self, tracks: Iterable[tuple[str, models.TrackInfo]]) -> list[str]:
        """Sids of the tracks that there is room for, those asked for first. ``tracks`` come with
        their publishers' identities."""
        free = dict(self.sections)
        chosen = []
        by_wish = sorted(tracks, key=lambda track: (track[0], track[1].name) not in self.wanted)
        for _, info in by_wish:
            if free.get(info.type, 0) > 0:
                free[info.type] -= 1
                chosen.append(info.sid)
        return chosen


def check(offer: SessionDescription) -> None:
    """Raise :class:`lkpy.sdp.SdpError` when no session can begin with ``offer``, which is
    completed."""
    descriptions.complete(offer)
    descriptions.check_mids(offer)
    remote_end(offer, default_setup=Setup.ACTIVE)


def no_section(offer: str) -> str:
    """Tell that no section of ``offer`` can be used, and what is in it."""
    media = SessionDescription.parse(offer).media[:_SHOWN]
    shown = [" ".join([m.kind[:_SHOWN], *_names(m)]) for m in media]
    return f"no media section of the offer can be used: {', '.join(shown)}"


def _names(media: MediaDescription) -> list[str]:
    return [codec.name[:_SHOWN] for codec in media.codecs if codec.name][:_SHOWN]


def one_shot(offer: SessionDescription, wanted: frozenset[TrackName] = frozenset()) -> OneShot:
    """What ``offer`` leaves room for."""
    receiving = (media.kind for media in offer.active_media() if media.receives)
    return OneShot(Counter(_TYPES[kind] for kind in receiving if kind in _TYPES), wanted)


def track_requests(offer: SessionDescription) -> tuple[rtc.AddTrackRequest, ...]:
    """A request for each track that the client sends, in the order of the offer."""
    return tuple(
        _request(media) for media in offer.active_media() if media.kind in _TYPES and media.sends
    )


def _request(media: MediaDescription) -> rtc.AddTrackRequest:
    _, cid = track_id(media)
    return rtc.AddTrackRequest(
        cid=cid or new_id(TRACK_PREFIX),
        name=_NAMES[media.kind],
        source=_SOURCES[media.kind],
        type=_TYPES[media.kind],
        disable_dtx=True,
        stream="camera",
        layers=_layers(media) if media.kind == "video" else (),
    )


def _layers(media: MediaDescription) -> list[models.VideoLayer]:
    """One per encoding, lowest first: the offer says nothing of sizes."""
    return [
        models.VideoLayer(quality=quality)
        for quality, _ in zip(_QUALITIES, encodings(media), strict=False)
    ]


class OneShotSink:
    """Where the responses of such a session go: those that the client is told of are kept."""

    def __init__(self) -> None:
        self.join: rtc.JoinResponse | None = None
        self.answer: rtc.SessionDescription | None = None
        self.closed = False

    def write(self, message: rtc.SignalResponse) -> None:
        """Take a response."""
        match message.WhichOneof("message"):
            case "join":
                self.join = message.join
            case "answer":
                self.answer = message.answer
            case _:
                pass

    def close(self, reason: str = "") -> None:
        """The session is over. Idempotent."""
        self.closed = True
