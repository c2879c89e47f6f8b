"""What a participant receives: its down tracks, by which codec, in which layers (LiveKit
``pkg/rtc/subscribedtrack.go``, ``mediatracksubscriptions.go``)."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from livekit.protocol import models, rtc

from lkpy.engine.api import MediaKind
from lkpy.limits import TRACK_SETTINGS_DEBOUNCE_S
from lkpy.server.rtc.codecs import red_enabled
from lkpy.server.rtc.dynacast import OFF
from lkpy.server.rtc.media_sections import DownTrackHandle
from lkpy.server.rtc.media_track import MediaTrack
from lkpy.server.rtc.quality import initial_settings, quality_of_layer, wanted_layers
from lkpy.server.rtc.timers import Timers
from lkpy.server.rtc.transport_manager import TransportManager

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

_PACKED_STREAM_ID = 1


class ReceiverOwner(Protocol):
    """The participant, as its down tracks see it."""

    @property
    def sid(self) -> str:
        """Participant sid."""

    def now(self) -> float:
        """Monotonic seconds."""


@dataclass(slots=True, eq=False)
class SubscribedTrack:
    """One track being received."""

    publisher: Participant
    track: MediaTrack
    handle: DownTrackHandle
    settings: rtc.UpdateTrackSettings
    """What the client asked for, or what it is given unasked."""
    begun: bool = False
    """The client has negotiated it, in whichever codec."""

    @property
    def sid(self) -> str:
        """Of the track."""
        return self.track.sid


class Followed(enum.Enum):
    """What came of a change of a track that is received."""

    NOTHING = enum.auto()
    FLOWS = enum.auto()
    """The codec that was negotiated is published now."""
    RENEGOTIATE = enum.auto()
    """It has to be received by another codec."""
    RESUBSCRIBE = enum.auto()
    """It has to be received by another codec, and the client cannot change codecs."""


class SubscribedTracks:
    """Owns the down tracks of one participant and their settings."""

    def __init__(
        self,
        owner: ReceiverOwner,
        transports: TransportManager,
        timers: Timers,
        *,
        adaptive_stream: bool,
        protocol: int,
        sync_streams: bool,
        changes_codec: bool,
        reads_trailers: bool,
    ) -> None:
        self._owner = owner
        self._transports = transports
        self._timers = timers
        self._adaptive_stream = adaptive_stream
        self._initial = initial_settings(adaptive_stream=adaptive_stream)
        self._packs_stream_id = protocol >= _PACKED_STREAM_ID
        self._sync_streams = sync_streams
        self._changes_codec = changes_codec
        self._reads_trailers = reads_trailers
        self._tracks: dict[str, SubscribedTrack] = {}
        self._publishers: Counter[str] = Counter()
        """Tracks being received by the sid of their publisher."""

    @property
    def all(self) -> list[SubscribedTrack]:
        """What is being received."""
        return list(self._tracks.values())

    def get(self, sid: str) -> SubscribedTrack | None:
        """By track sid."""
        return self._tracks.get(sid)

    def of(self, handle: DownTrackHandle) -> SubscribedTrack | None:
        """The one that a down track still belongs to."""
        subscribed = self._tracks.get(handle.track_sid)
        return subscribed if subscribed is not None and subscribed.handle is handle else None

    @property
    def publishers(self) -> list[str]:
        """Sids of the participants of whom something is received."""
        return list(self._publishers)

    def receives_from(self, publisher: str) -> bool:
        """Whether any track of the participant with this sid is received."""
        return publisher in self._publishers

    def __len__(self) -> int:
        return len(self._tracks)

    def count(self, kind: MediaKind) -> int:
        """How many of one kind are received."""
        return sum(subscribed.track.kind is kind for subscribed in self._tracks.values())

    # -- coming and going -------------------------------------------------------------------------

    def add(
        self, publisher: Participant, track: MediaTrack, settings: rtc.UpdateTrackSettings | None
    ) -> None:
        """Begin to receive a track, in every codec that it is or may be published in: which one it
        is, the client's description decides."""
        codecs, receivers = track.upstream()
        chosen = rtc.UpdateTrackSettings()
        chosen.CopyFrom(settings or self._initial)
        if self._adaptive_stream:
            # The client finds out what is visible by what it sees.
            chosen.disabled = False
        mime = codecs[0].mime_type if codecs else ""
        layers = wanted_layers(chosen, track.info, mime, track.encodings_of(mime))
        handle = self._transports.sending.down_tracks.add(
            receivers=receivers,
            kind=track.kind,
            track_sid=track.sid,
            stream_id=self._stream_id(publisher, track),
            codecs=codecs,
            stereo=models.AudioTrackFeature.TF_STEREO in track.info.audio_features,
            red=red_enabled(track.info),
            encrypted=track.info.encryption != models.Encryption.NONE,
            strip_trailer=bool(track.info.packet_trailer_features) and not self._reads_trailers,
            max_spatial=layers.max_spatial,
            max_temporal=layers.max_temporal,
            muted=layers.muted,
        )
        self._tracks[track.sid] = SubscribedTrack(publisher, track, handle, chosen)
        self._publishers[publisher.sid] += 1

    def _stream_id(self, publisher: Participant, track: MediaTrack) -> str:
        """Of the subscriber's MediaStream: clients tell by it whose the track is."""
        if self._sync_streams and track.info.stream:
            return f"{publisher.sid}|{track.info.stream}"
        return f"{publisher.sid}|{track.sid}" if self._packs_stream_id else publisher.sid

    def remove(self, sid: str) -> SubscribedTrack | None:
        """Stop receiving a track; None: it was not received."""
        subscribed = self._tracks.pop(sid, None)
        if subscribed is None:
            return None
        self._needs_nothing(subscribed)
        self._transports.sending.down_tracks.remove(subscribed.handle)
        self._timers.cancel(self._key(sid))
        self._publishers -= Counter({subscribed.publisher.sid: 1})
        return subscribed

    def close(self) -> None:
        """The participant leaves: its connections go, and publishers need not send for it."""
        for subscribed in self._tracks.values():
            self._needs_nothing(subscribed)
        self._tracks.clear()
        self._publishers.clear()

    # -- negotiation ------------------------------------------------------------------------------

    def bound(self, subscribed: SubscribedTrack) -> None:
        """The client has negotiated the track."""
        handle = subscribed.handle
        if not subscribed.begun or not handle.forwarding:
            dynacast = subscribed.publisher.dynacast
            dynacast.codec_subscribed(subscribed.sid, handle.mime_type, self._owner.sid)
        if self._adaptive_stream and not subscribed.begun:
            subscribed.settings.disabled = False
        subscribed.begun = True
        self._apply(subscribed.sid)

    def follow(self, track: MediaTrack) -> Followed:
        """The track's description or its codecs changed."""
        subscribed = self._tracks.get(track.sid)
        if subscribed is None:
            return Followed.NOTHING
        handle = subscribed.handle
        codecs, receivers = track.upstream()
        gone = handle.bound and all(codec.mime_type != handle.mime_type for codec in codecs)
        if gone and codecs:
            return self._change_codec(subscribed)
        flows = self._transports.sending.down_tracks.published(handle, codecs, receivers)
        self._apply(track.sid)
        return Followed.FLOWS if flows else Followed.NOTHING

    def _change_codec(self, subscribed: SubscribedTrack) -> Followed:
        if not self._changes_codec:
            return Followed.RESUBSCRIBE
        self._needs_nothing(subscribed)
        sending = self._transports.sending
        sending.down_tracks.renew(subscribed.handle)
        sending.down_tracks.published(subscribed.handle, *subscribed.track.upstream())
        return Followed.RENEGOTIATE

    # -- settings ---------------------------------------------------------------------------------

    def set_settings(self, sid: str, settings: rtc.UpdateTrackSettings) -> None:
        """The client asks for other layers. What becomes visible changes at once, the rest when
        the client has made up its mind."""
        subscribed = self._tracks.get(sid)
        if subscribed is None or subscribed.settings == settings:
            return
        appears = subscribed.settings.disabled and not settings.disabled
        subscribed.settings.CopyFrom(settings)
        if appears:
            self._apply(sid)
        else:
            at = self._owner.now() + TRACK_SETTINGS_DEBOUNCE_S
            self._timers.set(self._key(sid), at, partial(self._apply, sid))

    def _key(self, sid: str) -> tuple[str, str, str]:
        return self._owner.sid, "settings", sid

    def _apply(self, sid: str) -> None:
        subscribed = self._tracks[sid]
        handle, info = subscribed.handle, subscribed.track.info
        encodings = subscribed.track.encodings_of(handle.mime_type)
        layers = wanted_layers(subscribed.settings, info, handle.mime_type, encodings)
        known = (handle.max_spatial, handle.max_temporal, handle.muted)
        if (layers.max_spatial, layers.max_temporal, layers.muted) != known:
            self._transports.sending.down_tracks.update(
                handle,
                max_spatial=layers.max_spatial,
                max_temporal=layers.max_temporal,
                muted=layers.muted,
            )
        if handle.forwarding:
            spatial = -1 if layers.muted else layers.max_spatial
            quality = quality_of_layer(info, handle.mime_type, spatial)
            self._needs(subscribed, quality)

    def _needs(self, subscribed: SubscribedTrack, quality: models.VideoQuality) -> None:
        mime = subscribed.handle.mime_type
        subscribed.publisher.dynacast.quality_needed(subscribed.sid, mime, self._owner.sid, quality)

    def _needs_nothing(self, subscribed: SubscribedTrack) -> None:
        if subscribed.handle.bound:
            self._needs(subscribed, OFF)
