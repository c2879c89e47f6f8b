"""Clips on disk: made at first use, found again afterwards, never half written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lkpy.sim.media.clip import FORMAT, Clip, ClipError
from lkpy.sim.scenario import Layer, Publish, PublishAudio, PublishVideo

# Raise when encode.py draws or encodes differently.
_GENERATION = 1


def directory() -> Path:
    """Return the cache directory: ``LKPY_CACHE_DIR``, else ``$XDG_CACHE_HOME/lkpy``."""
    if chosen := os.environ.get("LKPY_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lkpy"


Maker = Callable[[], Clip]


def video_clips(track: PublishVideo) -> list[Clip]:
    """Return one clip per layer of ``track``, small to large."""
    return [_cached(name, make) for name, make in _makers(track)]


def audio_clip(track: PublishAudio) -> Clip:
    """Return the clip of a microphone."""
    ((name, make),) = _makers(track)
    return _cached(name, make)


def missing(track: Publish) -> list[str]:
    """Return the names of the clips of ``track`` that have yet to be made."""
    return [name for name, _ in _makers(track) if _read(name) is None]


def make(track: Publish) -> Iterator[str]:
    """Make the clips of ``track`` that are missing; yield the name of each when it is there."""
    for name, maker in _makers(track):
        if _read(name) is None:
            _cached(name, maker)
            yield name


def _makers(track: Publish) -> Iterator[tuple[str, Maker]]:
    """Yield the name of each clip of ``track``, and what makes it."""
    # PyAV and NumPy load only when a clip must be made.
    if isinstance(track, PublishAudio):

        def opus() -> Clip:
            from lkpy.sim.media import encode

            return encode.opus(track.bitrate, track.tone)

        yield f"opus-{track.tone}hz-{track.bitrate}", opus
        return
    for layer in track.layers:

        def vp8(layer: Layer = layer) -> Clip:
            from lkpy.sim.media import encode

            return encode.vp8(*layer.size, track.fps, layer.bitrate)

        yield f"vp8-{layer.size[0]}x{layer.size[1]}-{track.fps}fps-{layer.bitrate}", vp8


def _path(name: str) -> Path:
    return directory() / "media" / f"{name}.f{FORMAT}g{_GENERATION}.clip"


def _read(name: str) -> Clip | None:
    try:
        return Clip.from_bytes(_path(name).read_bytes())
    except (OSError, ClipError):
        return None


def _cached(name: str, make: Maker) -> Clip:
    clip = _read(name)
    if clip is not None:
        return clip
    clip = make()
    # A cache that cannot be written costs time at every start, but stops nobody.
    with contextlib.suppress(OSError):
        _write(_path(name), clip.to_bytes())
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
