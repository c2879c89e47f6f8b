"""What a publisher asks for and what its media turns out to be, as a TrackInfo. Pure.

The fields are filled as in LiveKit's ``pkg/rtc/participant.go`` (addPendingTrack).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from livekit.protocol import models, rtc

from lkpy.ids import TRACK_PREFIX, new_id
from lkpy.server.rtc.media_sections import MediaSectionTrack
from lkpy.server.rtc.quality import number_layers

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


def mime_name(mime_type: str) -> str:
    """``vp8`` or ``video/vp8`` as LiveKit writes it: ``video/VP8``."""
    name = mime_type.rpartition("/")[2].lower()
    return _MIME_NAMES.get(name, mime_type)


def same_mime(ours: str, theirs: str) -> bool:
    """Whether two mime types name one codec."""
    return mime_name(ours) == mime_name(theirs)


# -- asked for ------------------------------------------------------------------------------------


def new_track_sid(request: rtc.AddTrackRequest) -> str:
    """A sid whose letters say what the track is."""
    kind = "A" if request.type == models.TrackType.AUDIO else "V"
    return new_id(TRACK_PREFIX + kind + _SOURCE_LETTERS.get(request.source, ""))


def requested_info(
    request: rtc.AddTrackRequest, enabled: Sequence[str], sid: str
) -> models.TrackInfo:
    """The TrackInfo of a new track; ``enabled`` are the codecs that the publisher may send."""
    audio = request.type == models.TrackType.AUDIO
    info = models.TrackInfo(
        sid=sid,
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
        packet_trailer_features=dict.fromkeys(request.packet_trailer_features),
        layers=_by_quality(request.layers),
    )
    if audio and request.backup_codec_policy != models.BackupCodecPolicy.REGRESSION:
        info.backup_codec_policy = models.BackupCodecPolicy.SIMULCAST
    features = dict.fromkeys(request.audio_features)
    if request.stereo:
        features[models.AudioTrackFeature.TF_STEREO] = None
    if request.disable_dtx:
        features[models.AudioTrackFeature.TF_NO_DTX] = None
    set_audio_features(info, features)
    info.codecs.extend(_codecs(request, enabled))
    if not audio and request.simulcast_codecs:
        first = info.codecs[0]
        single = first.video_layer_mode == models.VideoLayer.MULTIPLE_SPATIAL_LAYERS_PER_STREAM
        info.simulcast = not single and len(first.layers) > 1
    return info


def set_audio_features(
    info: models.TrackInfo, features: Iterable[models.AudioTrackFeature]
) -> None:
    """Replace a track's features, and the older fields that say the same of two of them."""
    del info.audio_features[:]
    info.audio_features.extend(dict.fromkeys(features))
    info.stereo = models.AudioTrackFeature.TF_STEREO in info.audio_features
    info.disable_dtx = models.AudioTrackFeature.TF_NO_DTX in info.audio_features


def _codecs(
    request: rtc.AddTrackRequest, enabled: Sequence[str]
) -> list[models.SimulcastCodecInfo]:
    if not request.simulcast_codecs:
        # Which codec it is, the media section says.
        return [
            models.SimulcastCodecInfo(
                cid=request.cid,
                layers=_by_quality(request.layers),
                video_layer_mode=models.VideoLayer.ONE_SPATIAL_LAYER_PER_STREAM,
            )
        ]
    kind = "audio/" if request.type == models.TrackType.AUDIO else "video/"
    found: dict[str, models.SimulcastCodecInfo] = {}
    for codec in request.simulcast_codecs:
        # What is not published yet is named as the client names it.
        mime = codec.codec
        if not mime.startswith(kind):
            mime = kind + mime
        if mime_name(mime) not in enabled:
            mime = next((known for known in enabled if known.startswith(kind)), mime)
        name = mime_name(mime)
        if name in found:
            continue
        mode = codec.video_layer_mode
        if kind == "video/" and mode == models.VideoLayer.MODE_UNUSED:
            mode = (
                models.VideoLayer.MULTIPLE_SPATIAL_LAYERS_PER_STREAM
                if name in _SVC
                else models.VideoLayer.ONE_SPATIAL_LAYER_PER_STREAM
            )
        found[name] = models.SimulcastCodecInfo(
            mime_type=mime,
            cid=codec.cid,
            layers=_by_quality(codec.layers or request.layers),
            video_layer_mode=mode,
        )
    return list(found.values())


def update_codecs(info: models.TrackInfo, codecs: Iterable[rtc.SimulcastCodec]) -> None:
    """Take over what a later request says of codecs that the first one named."""
    for codec in codecs:
        known = next((c for c in info.codecs if same_mime(c.mime_type, codec.codec)), None)
        if known is None:
            continue
        known.cid = codec.cid
        if codec.layers:
            del known.layers[:]
            known.layers.extend(_by_quality(codec.layers))


def _by_quality(layers: Iterable[models.VideoLayer]) -> list[models.VideoLayer]:
    return sorted(layers, key=lambda layer: layer.quality)


# -- negotiated -----------------------------------------------------------------------------------


def codec_of(info: models.TrackInfo, cid: str) -> models.SimulcastCodecInfo:
    """The codec that a section with ``cid`` carries; the first if none is named so."""
    for codec in info.codecs:
        if cid and cid in (codec.cid, codec.sdp_cid):
            return codec
    return info.codecs[0]


def describe_section(
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
    set_mime(info, section.mid, mime)


def set_mime(info: models.TrackInfo, mid: str, mime: str) -> None:
    """The section ``mid`` carries this codec."""
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
