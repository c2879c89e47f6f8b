"""Which layers a subscriber wants (LiveKit ``pkg/rtc/subscribedtrack.go``). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from livekit.protocol import models, rtc

MAX_SPATIAL = 2
MAX_TEMPORAL = 3
_FULL_FPS = 30.0
"""Frame rate assumed of the highest of three temporal layers; each lower one has half."""
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
    quality = models.VideoQuality.LOW if adaptive_stream else models.VideoQuality.HIGH
    return rtc.UpdateTrackSettings(quality=quality)


def wanted_layers(settings: rtc.UpdateTrackSettings, info: models.TrackInfo) -> WantedLayers:
    """The layers for ``settings`` of the track ``info``. A size goes before a quality."""
    if settings.width and settings.height:
        quality = _quality_for_size(settings.width, settings.height, info)
    else:
        quality = settings.quality
    return WantedLayers(
        max_spatial=spatial_layer(quality, info),
        max_temporal=_temporal_layer(settings.fps),
        muted=settings.disabled,
    )


def spatial_layer(quality: models.VideoQuality, info: models.TrackInfo) -> int:
    """The spatial layer that carries ``quality``: the n-th of the layers that the track has."""
    known = sorted({layer.quality for layer in info.layers})
    if not known or quality == models.VideoQuality.HIGH:
        return MAX_SPATIAL
    if quality == models.VideoQuality.OFF:
        return -1
    below = [index for index, have in enumerate(known) if have <= quality]
    return below[-1] if below else 0


def _quality_for_size(width: int, height: int, info: models.TrackInfo) -> models.VideoQuality:
    """The smallest layer that fills the wanted size; portrait tracks compare widths."""
    portrait = info.width < info.height
    wanted = width if portrait else height
    sizes = sorted(
        (layer.width if portrait else layer.height, layer.quality) for layer in info.layers
    ) or [
        (_DEFAULT_HEIGHTS[0], models.VideoQuality.LOW),
        (_DEFAULT_HEIGHTS[1], models.VideoQuality.MEDIUM),
        (info.width if portrait else info.height, models.VideoQuality.HIGH),
    ]
    for size, quality in sizes:
        if size >= wanted * _TOLERANCE:
            return quality
    return sizes[-1][1]


def _temporal_layer(fps: int) -> int:
    if fps <= 0:
        return MAX_TEMPORAL
    for temporal in range(2):
        if _FULL_FPS / 2 ** (2 - temporal) >= fps * _TOLERANCE:
            return temporal
    return MAX_TEMPORAL
