"""Which layers a subscriber wants (livekit-server ``pkg/rtc/subscribedtrack.go``). Pure.

A track publishes one to three of the qualities LOW, MEDIUM and HIGH; its spatial layers are those
that it publishes, counted from the lowest (``pkg/sfu/buffer/videolayerutils.go``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from livekit.protocol import models, rtc

MAX_SPATIAL = 2
MAX_TEMPORAL = 3
"""What stands for "everything"."""
_QUALITIES = (models.VideoQuality.LOW, models.VideoQuality.MEDIUM, models.VideoQuality.HIGH)
_LOW, _MEDIUM, _HIGH = _QUALITIES
_CAMERA_FPS, _SCREEN_FPS = 30.0, 15.0
"""Frame rates assumed of the highest of three temporal layers; each lower one has half. LiveKit
measures them."""
_TOLERANCE = 0.9
"""A layer that falls short of the request by less than a tenth is good enough."""
_DEFAULT_HEIGHTS = (180, 360)
"""Of the lower two layers when a track names none."""


@dataclass(frozen=True, slots=True)
class WantedLayers:
    """What a down track may send."""

    max_spatial: int
    max_temporal: int
    muted: bool


def initial_settings(*, adaptive_stream: bool) -> rtc.UpdateTrackSettings:
    """What a subscriber gets before it asks: adaptive clients begin low and ask for more."""
    return rtc.UpdateTrackSettings(quality=_LOW if adaptive_stream else _HIGH)


def wanted_layers(
    settings: rtc.UpdateTrackSettings,
    info: models.TrackInfo,
    mime_type: str = "",
    encodings: int = 0,
) -> WantedLayers:
    """The layers for ``settings`` of the track ``info`` in its codec ``mime_type``, of which
    ``encodings`` streams were negotiated (0: not known). A size goes before a quality."""
    quality = settings.quality
    if settings.width:
        quality = quality_for_size(info, settings.width, settings.height, mime_type)
    spatial = spatial_layer(quality, layers_of(info, mime_type), encodings)
    return WantedLayers(
        max_spatial=spatial,
        max_temporal=temporal_layer(info, settings.fps),
        # Quality OFF has no layer, so nothing may be sent.
        muted=settings.disabled or spatial < 0,
    )


def layers_of(info: models.TrackInfo, mime_type: str = "") -> Sequence[models.VideoLayer]:
    """The layers of one codec of a track, else those of the whole track."""
    for codec in info.codecs:
        if codec.mime_type.lower() == mime_type.lower() and codec.layers:
            return codec.layers
    return info.layers


def spatial_layer(
    quality: models.VideoQuality, published: Sequence[models.VideoLayer], encodings: int = 0
) -> int:
    """The spatial layer that carries ``quality``; -1 for OFF.

    A quality that is not published is served by a neighbour that is. One that nobody knows is the
    best. Where more ``encodings`` were negotiated than qualities were announced, the announcement
    says nothing about them.
    """
    if quality == models.VideoQuality.OFF:
        return -1
    if quality not in _QUALITIES:
        quality = _HIGH
    qualities = {layer.quality for layer in published} & set(_QUALITIES)
    if len(qualities) < max(encodings, 1):
        return min(int(quality), encodings - 1 if encodings > 1 else MAX_SPATIAL)
    if quality == _LOW:
        return 0
    if quality == _MEDIUM:
        return 1 if _LOW in qualities and len(qualities) > 1 else 0
    return len(qualities) - 1


def quality_of_layer(info: models.TrackInfo, mime: str, spatial: int) -> models.VideoQuality:
    """The quality that is published as the spatial layer; -1: OFF. A track that names no layers
    has one, which is all of it."""
    if spatial < 0:
        return models.VideoQuality.OFF
    layers = layers_of(info, mime)
    if not layers:
        return _HIGH
    for layer in layers:
        if layer.spatial_layer == spatial:
            return layer.quality
    return _HIGH


def quality_for_size(
    info: models.TrackInfo, width: int, height: int, mime_type: str = ""
) -> models.VideoQuality:
    """The lowest quality whose picture fills ``width`` by ``height``."""
    if info.height == 0:
        return _HIGH
    portrait = info.width < info.height
    heights = sorted(layer.height for layer in layers_of(info, mime_type))
    wanted = height
    if not heights or heights[0] == 0:
        heights = [*_DEFAULT_HEIGHTS, info.width if portrait else info.height]
        wanted = width if portrait else height
    wanted = int(wanted * _TOLERANCE)
    for index, (size, following) in enumerate(pairwise(heights)):
        # Of layers of one size the highest is the best.
        if size >= wanted and size != following:
            return _QUALITIES[min(index, MAX_SPATIAL)]
    return _QUALITIES[min(len(heights) - 1, MAX_SPATIAL)]


def temporal_layer(info: models.TrackInfo, fps: int) -> int:
    """The lowest temporal layer with ``fps`` frames per second; 0: all of them."""
    if fps <= 0:
        return MAX_TEMPORAL
    full = _SCREEN_FPS if info.source == models.TrackSource.SCREEN_SHARE else _CAMERA_FPS
    for layer, rate in enumerate((full / 4, full / 2, full)):
        if fps * _TOLERANCE <= rate:
            return layer
    return MAX_TEMPORAL


def number_layers(layers: Sequence[models.VideoLayer], rids: Sequence[str]) -> None:
    """Write spatial layer and rid into a track's ``layers``; ``rids`` are those of its media
    section, lowest first."""
    for layer in layers:
        layer.spatial_layer = max(0, spatial_layer(layer.quality, layers, len(rids)))
        layer.rid = rids[layer.spatial_layer] if layer.spatial_layer < len(rids) else ""
