"""Clips on disk: made at first use, found again afterwards, never half written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from lkpy.sim.media.clip import FORMAT, Clip, ClipError
from lkpy.sim.scenario import PublishAudio, PublishVideo

# Raise when encode.py draws or encodes differently.
_GENERATION = 1


def directory() -> Path:
    """Return the cache directory: ``LKPY_CACHE_DIR``, else ``$XDG_CACHE_HOME/lkpy``."""
    if chosen := os.environ.get("LKPY_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lkpy"


def video_clips(track: PublishVideo) -> list[Clip]:
    """Return one clip per layer of ``track``, small to large."""
    return [_video_clip(*layer.size, track.fps, layer.bitrate) for layer in track.layers]


def _video_clip(width: int, height: int, fps: int, bitrate: int) -> Clip:
    def make() -> Clip:
        from lkpy.sim.media import encode  # PyAV and NumPy load only when a clip must be made

        return encode.vp8(width, height, fps, bitrate)

    return _cached(f"vp8-{width}x{height}-{fps}fps-{bitrate}", make)


def audio_clip(track: PublishAudio) -> Clip:
    """Return the clip of a microphone."""

    def make() -> Clip:
        from lkpy.sim.media import encode

        return encode.opus(track.bitrate, track.tone)

    return _cached(f"opus-{track.tone}hz-{track.bitrate}", make)


def _cached(name: str, make: Callable[[], Clip]) -> Clip:
    path = directory() / "media" / f"{name}.f{FORMAT}g{_GENERATION}.clip"
    try:
        return Clip.from_bytes(path.read_bytes())
    except (OSError, ClipError):
        clip = make()
    # A cache that cannot be written costs time at every start, but stops nobody.
    with contextlib.suppress(OSError):
        _write(path, clip.to_bytes())
    return clip


def _write(path: Path, data: bytes) -> None:
    """Write so that a reader sees all of it or nothing, whatever dies meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".clip-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
