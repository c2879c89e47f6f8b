"""What a participant publishes: tracks asked for, tracks that have media, and how they meet. Pure.

Join step 12: an AddTrackRequest makes a pending track; the media section with its cid, or else the
first of its kind, makes it a published one. Either may come first (LiveKit
``pkg/rtc/participant.go``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from livekit.protocol import models, rtc

from lkpy.engine.api import MediaKind, RtpCodec
from lkpy.ids import TRACK_PREFIX, new_id
from lkpy.limits import MAX_PENDING_TRACKS, MAX_QUEUED_TRACKS_PER_CID
from lkpy.server.rtc.media_sections import MediaSectionTrack
from lkpy.server.rtc.quality import number_layers

Reason = rtc.RequestResponse.Reason

_SOURCE_LETTERS = {
    models.TrackSource.CAMERA: "C",
    models.TrackSource.MICROPHONE: "M",
    models.TrackSource.SCREEN_SHARE: "S",
    models.TrackSource.SCREEN_SHARE_AUDIO: "s",
}
_STREAMS = {
    models.TrackSource.CAMERA: "camera",
    models.TrackSource.MICROPHONE: "camera",
    models.TrackSource.SCREEN_SHARE: "screen",
    models.TrackSource.SCREEN_SHARE_AUDIO: "screen",
}
_MIME_NAMES = {
    name.lower(): f"{kind}/{name}"
    for kind, names in {
        "video": ("VP8", "VP9", "H264", "AV1", "H265"),
        "audio": ("opus", "red", "PCMU", "PCMA"),
    }.items()
    for name in names
}
_SVC = ("video/VP9", "video/AV1")
_NAMELESS = "-"
"""``sdp_cid`` of a track whose section names no track id."""


def mime_name(mime_type: str) -> str:
    """``vp8`` or ``video/vp8`` as LiveKit writes it: ``video/VP8``."""
    name = mime_type.rpartition("/")[2].lower()
    return _MIME_NAMES.get(name, mime_type)


@dataclass(slots=True)
class PendingTrack:
    """A track that was asked for and has no media section yet."""

    info: models.TrackInfo
    cids: set[str]
    sdp_cid: str = ""
    """The section that it was matched with, if that names the track otherwise than AddTrack did."""


@dataclass(slots=True, eq=False)
class Source:
    """One codec of a published track: its media section and receiver."""

    mid: str
    receiver: int
    mime_type: str
    """Lower-case; what the client was told to send."""
    codecs: tuple[RtpCodec, ...]
    """What a subscriber has to accept one of."""


@dataclass(slots=True, eq=False)
class MediaTrack:
    """A published track."""

    info: models.TrackInfo
    cids: set[str]
    sources: list[Source] = field(default_factory=list)
    announced: bool = False
    """Others know of it."""
    flowing: bool = False
    """Its media has begun."""
    seen: bool = False
    """Its publisher was told that somebody subscribed."""

    @property
    def sid(self) -> str:
        return self.info.sid

    @property
    def kind(self) -> MediaKind:
        audio = self.info.type == models.TrackType.AUDIO
        return MediaKind.AUDIO if audio else MediaKind.VIDEO


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an AddTrackRequest was not taken."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Added:
    """An AddTrackRequest was taken; the client is told with ``track_published``."""

    cid: str
    info: models.TrackInfo


class PublishedTracks:
    """The pending and published tracks of one participant.

    ``may_publish`` says whether a source is allowed; ``enabled`` are the mime types that the room
    and the client have, in the room's order.
    """

    def __init__(
        self, enabled: tuple[str, ...], may_publish: Callable[[models.TrackSource], bool]
    ) -> None:
        self._enabled = tuple(mime_name(mime) for mime in enabled)
        self.may_publish = may_publish
        self._pending: list[PendingTrack] = []
        self._queued: dict[str, deque[rtc.AddTrackRequest]] = {}
        self._tracks: dict[str, MediaTrack] = {}

    def __iter__(self) -> Iterator[MediaTrack]:
        return iter(list(self._tracks.values()))

    def get(self, sid: str) -> MediaTrack | None:
        """A published track."""
        return self._tracks.get(sid)

    def pending(self, sid: str) -> PendingTrack | None:
        """A pending track."""
        return next((p for p in self._pending if p.info.sid == sid), None)

    def by_receiver(self, receiver: int) -> MediaTrack | None:
        """The track that a receiver of the engine belongs to."""
        for track in self._tracks.values():
            if any(source.receiver == receiver for source in track.sources):
                return track
        return None

    # -- AddTrack ---------------------------------------------------------------------------------

    def add(self, request: rtc.AddTrackRequest) -> Added | Refusal:
        """Take a request. A refusal with QUEUED is taken too, and comes up in :meth:`remove`."""
        if not self.may_publish(request.source):
            return Refusal(Reason.NOT_ALLOWED, "does not have permission to publish this source")
        if request.type not in (models.TrackType.AUDIO, models.TrackType.VIDEO):
            return Refusal(Reason.UNSUPPORTED_TYPE, "only audio and video tracks are published so")
        if request.sid:
            return self._add_codec(request)
        if len(self._pending) >= MAX_PENDING_TRACKS:
            return Refusal(Reason.LIMIT_EXCEEDED, "too many tracks are pending")
        if self._is_taken(request):
            queue = self._queued.setdefault(request.cid, deque())
            if len(queue) >= MAX_QUEUED_TRACKS_PER_CID:
                return Refusal(Reason.LIMIT_EXCEEDED, "too many tracks are queued for this cid")
            queue.append(request)
            return Refusal(Reason.QUEUED, "a track with this cid is published")
        return self._add(request)

    def _is_taken(self, request: rtc.AddTrackRequest) -> bool:
        cids = _cids(request)
        return any(cids & track.cids for track in self._all())

    def _add(self, request: rtc.AddTrackRequest) -> Added:
        info = self._info(request)
        self._pending.append(PendingTrack(info, _cids(request)))
        return Added(request.cid, _copy(info))

    def _add_codec(self, request: rtc.AddTrackRequest) -> Added | Refusal:
        track = self._tracks.get(request.sid) or self.pending(request.sid)
        if track is None:
            return Refusal(Reason.NOT_FOUND, f"no track {request.sid}")
        for codec in self._codecs(request):
            known = next(
                (c for c in track.info.codecs if mime_name(c.mime_type) == codec.mime_type), None
            )
            if known is None:
                track.info.codecs.append(codec)
            else:
                known.cid = codec.cid
                if codec.layers:
                    del known.layers[:]
                    known.layers.extend(codec.layers)
        track.cids |= _cids(request)
        return Added(request.cid, _copy(track.info))

    def _info(self, request: rtc.AddTrackRequest) -> models.TrackInfo:
        audio = request.type == models.TrackType.AUDIO
        info = models.TrackInfo(
            sid=new_id(
                TRACK_PREFIX + ("A" if audio else "V") + _SOURCE_LETTERS.get(request.source, "")
            ),
            type=request.type,
            name=request.name,
            source=request.source,
            width=request.width,
            height=request.height,
            muted=request.muted,
            encryption=request.encryption,
            stream=request.stream or _STREAMS.get(request.source, "unknown"),
            backup_codec_policy=request.backup_codec_policy,
            disable_red=request.disable_red,
            packet_trailer_features=request.packet_trailer_features,
            layers=_by_quality(request.layers),
        )
        if audio and request.backup_codec_policy != models.BackupCodecPolicy.REGRESSION:
            info.backup_codec_policy = models.BackupCodecPolicy.SIMULCAST
        features = set(request.audio_features)
        if request.stereo:
            features.add(models.AudioTrackFeature.TF_STEREO)
        if request.disable_dtx:
            features.add(models.AudioTrackFeature.TF_NO_DTX)
        info.audio_features.extend(sorted(features))
        info.stereo = models.AudioTrackFeature.TF_STEREO in features
        info.disable_dtx = models.AudioTrackFeature.TF_NO_DTX in features
        info.codecs.extend(self._codecs(request))
        if not audio:
            first = info.codecs[0]
            single = first.video_layer_mode == models.VideoLayer.MULTIPLE_SPATIAL_LAYERS_PER_STREAM
            info.simulcast = not single and len(first.layers) > 1
        return info

    def _codecs(self, request: rtc.AddTrackRequest) -> list[models.SimulcastCodecInfo]:
        asked = list(request.simulcast_codecs) or [rtc.SimulcastCodec(cid=request.cid)]
        kind = "audio/" if request.type == models.TrackType.AUDIO else "video/"
        found: dict[str, models.SimulcastCodecInfo] = {}
        for codec in asked:
            mime = mime_name(kind + codec.codec.rpartition("/")[2]) if codec.codec else ""
            if mime and mime not in self._enabled:
                mime = next((known for known in self._enabled if known.startswith(kind)), mime)
            if mime in found:
                continue
            mode = codec.video_layer_mode
            if kind == "video/" and mode == models.VideoLayer.MODE_UNUSED:
                mode = (
                    models.VideoLayer.MULTIPLE_SPATIAL_LAYERS_PER_STREAM
                    if mime in _SVC
                    else models.VideoLayer.ONE_SPATIAL_LAYER_PER_STREAM
                )
            found[mime] = models.SimulcastCodecInfo(
                mime_type=mime,
                cid=codec.cid,
                layers=_by_quality(codec.layers or request.layers),
                video_layer_mode=mode,
            )
        return list(found.values())

    # -- media sections ---------------------------------------------------------------------------

    def _all(self) -> Iterator[PendingTrack | MediaTrack]:
        yield from self._pending
        yield from self._tracks.values()

    def lookup(self, cid: str, kind: MediaKind) -> models.TrackInfo | None:
        """The track that a media section with ``cid`` carries. A pending track that no section
        names is given to the first section of its kind that names nothing known."""
        found = self._match(cid, kind)
        return None if found is None else found.info

    def _match(self, cid: str, kind: MediaKind) -> PendingTrack | MediaTrack | None:
        if cid:
            for track in self._all():
                if cid in track.cids:
                    return track
            for pending in self._pending:
                if pending.sdp_cid == cid:
                    return pending
        wanted = models.TrackType.AUDIO if kind is MediaKind.AUDIO else models.TrackType.VIDEO
        for pending in self._pending:
            if pending.info.type == wanted and pending.sdp_cid in ("", cid or _NAMELESS):
                pending.sdp_cid = cid or _NAMELESS
                if cid and pending.info.codecs:
                    pending.info.codecs[0].sdp_cid = cid
                return pending
        return None

    def publish(
        self, section: MediaSectionTrack, receiver: Callable[[models.TrackInfo], int]
    ) -> tuple[MediaTrack, bool] | None:
        """Join a section with its track; ``receiver`` makes the engine's receiver for it. Returns
        the track and whether it begins now, or None while no AddTrackRequest fits."""
        match = self._match(section.cid, section.kind)
        if match is None:
            return None
        if isinstance(match, MediaTrack):
            track, begins = match, False
        else:
            self._pending.remove(match)
            track, begins = MediaTrack(match.info, match.cids | {section.cid}), True
            self._tracks[track.sid] = track
        codec = _codec_of(track.info, section.cid)
        mime = section.mime_types[0] if section.mime_types else ""
        # A client that names its codec sends it. Otherwise, and between Opus and RED, it may send
        # any that was negotiated.
        named = bool(codec.mime_type) and section.kind is MediaKind.VIDEO
        codecs = tuple(c for c in section.codecs if not named or c.mime_type == mime)
        track.sources.append(Source(section.mid, receiver(track.info), mime, codecs))
        _describe(track.info, codec, section, mime_name(mime))
        return track, begins

    def media_began(self, receiver: int, mime_type: str) -> MediaTrack | None:
        """Media came in. Returns the track if its codec is another than was negotiated first."""
        track = self.by_receiver(receiver)
        if track is None:
            return None
        track.flowing = True
        for source in track.sources:
            if source.receiver == receiver and mime_type and source.mime_type != mime_type:
                source.mime_type = mime_type
                _set_mime(track.info, source.mid, mime_name(mime_type))
                return track
        return None

    def section_closed(self, mid: str) -> tuple[MediaTrack, bool] | None:
        """A section's sender went away. Returns its track and whether that was its last source."""
        for track in self._tracks.values():
            for source in track.sources:
                if source.mid == mid:
                    track.sources.remove(source)
                    return track, not track.sources
        return None

    def remove(self, sid: str) -> list[Added]:
        """Forget a published track. Returns what was queued behind its cid and is pending now."""
        track = self._tracks.pop(sid, None)
        added: list[Added] = []
        for cid in track.cids if track is not None else ():
            queue = self._queued.get(cid)
            if queue:
                added.append(self._add(queue.popleft()))
                if not queue:
                    del self._queued[cid]
        return added


def _cids(request: rtc.AddTrackRequest) -> set[str]:
    return {cid for cid in (request.cid, *(c.cid for c in request.simulcast_codecs)) if cid}


def _copy(info: models.TrackInfo) -> models.TrackInfo:
    copy = models.TrackInfo()
    copy.CopyFrom(info)
    return copy


def _by_quality(layers: Iterable[models.VideoLayer]) -> list[models.VideoLayer]:
    return sorted(layers, key=lambda layer: layer.quality)


def _codec_of(info: models.TrackInfo, cid: str) -> models.SimulcastCodecInfo:
    """The codec that a section with ``cid`` carries; the first if none is named so."""
    for codec in info.codecs:
        if cid and cid in (codec.cid, codec.sdp_cid):
            return codec
    return info.codecs[0]


def _describe(
    info: models.TrackInfo,
    codec: models.SimulcastCodecInfo,
    section: MediaSectionTrack,
    mime: str,
) -> None:
    """Write what the section's negotiation decided into the track's description."""
    codec.mid = section.mid
    _describe_layers(codec.layers, section)
    if info.codecs[0].mid == section.mid:
        info.mid = section.mid
        _describe_layers(info.layers, section)
    _set_mime(info, section.mid, mime)


def _set_mime(info: models.TrackInfo, mid: str, mime: str) -> None:
    for codec in info.codecs:
        if codec.mid == mid:
            codec.mime_type = mime
    if info.mid == mid:
        info.mime_type = mime


def _describe_layers(layers: Sequence[models.VideoLayer], section: MediaSectionTrack) -> None:
    number_layers(layers, [encoding.rid or "" for encoding in section.encodings])
    for layer in layers:
        for encoding in section.encodings:
            if encoding.spatial == layer.spatial_layer:
                layer.ssrc = encoding.ssrc or 0
                layer.repair_ssrc = encoding.rtx_ssrc or 0
