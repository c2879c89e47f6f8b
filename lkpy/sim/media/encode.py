"""Encoding the test pattern and the tone, through PyAV (FFmpeg with libvpx and libopus)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from lkpy.sim.media.clip import Clip, from_frames

VIDEO_LOOP_S = 6
"""Longest time between key frames when nobody asks for one: the loop begins with one."""
AUDIO_LOOP_S = 2
OPUS_FRAME_MS = 20
_SAMPLE_RATE = 48_000
_VIDEO_CLOCK = 90_000
_AMPLITUDE = 0.3
# The picture needs detail that moves, or the encoder cannot fill its bitrate; with too much it
# cannot keep to it. Amplitude of the detail in luma steps, per bit per pixel:
_DETAIL = 80.0
_NOISE_BLOCK = 8
_SEED = 20_240_101


def vp8(width: int, height: int, fps: int, bitrate: int) -> Clip:
    """Encode the moving test pattern with constant bitrate; only the first frame is a key frame."""
    context = av.CodecContext.create("libvpx", "w")
    context.width, context.height = width, height
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, fps)
    context.framerate = Fraction(fps, 1)
    context.bit_rate = bitrate
    count = VIDEO_LOOP_S * fps
    context.gop_size = count + 1
    context.options = {
        "deadline": "realtime",
        "cpu-used": "8",
        "minrate": str(bitrate),
        "maxrate": str(bitrate),
        "bufsize": str(bitrate // 2),
        "undershoot-pct": "50",
        "overshoot-pct": "25",
        "max-intra-rate": "300",
        "error-resilient": "default",
        "lag-in-frames": "0",
        "keyint_min": str(count + 1),
    }
    frames: list[tuple[bool, bytes]] = []
    detail = _DETAIL * bitrate / (width * height * fps)
    for index, picture in enumerate(_pictures(width, height, count, detail)):
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = index
        frames.extend((packet.is_keyframe, bytes(packet)) for packet in context.encode(frame))
    frames.extend((packet.is_keyframe, bytes(packet)) for packet in context.encode(None))
    return from_frames("vp8", _VIDEO_CLOCK, _VIDEO_CLOCK // fps, frames)


def _pictures(width: int, height: int, count: int, detail: float) -> Iterator[np.ndarray]:
    """Yield I420 pictures: a drifting gradient, colour bars, a sweeping line and moving noise."""
    random = np.random.default_rng(_SEED)
    rows, columns = np.mgrid[0:height, 0:width]
    amplitude = min(max(round(detail), 3), 40)
    blocks = (height // _NOISE_BLOCK + 2, width // _NOISE_BLOCK + 2)
    coarse = random.integers(-amplitude, amplitude, blocks, dtype=np.int16)
    noise = coarse.repeat(_NOISE_BLOCK, axis=0).repeat(_NOISE_BLOCK, axis=1)
    bars = (np.arange(width // 2) * 8 // (width // 2)).astype(np.int16)
    for index in range(count):
        step = index * max(1, width // 160)
        luma = (rows + columns + 2 * step) % 160 + 48
        luma = luma + np.roll(noise, (step, 2 * step), axis=(0, 1))[:height, :width]
        luma[:, step % width] = 235
        blue = np.broadcast_to(64 + bars * 16, (height // 2, width // 2))
        red = np.broadcast_to(192 - np.roll(bars, step // 2) * 16, (height // 2, width // 2))
        planes = (luma.clip(16, 235), blue, red)
        flat = np.concatenate([plane.astype(np.uint8).ravel() for plane in planes])
        yield flat.reshape(height * 3 // 2, width)


def opus(bitrate: int, tone: int) -> Clip:
    """Encode a tone in 20 ms frames."""
    context = av.CodecContext.create("libopus", "w")
    context.sample_rate = _SAMPLE_RATE
    context.format = "s16"
    context.layout = "mono"
    context.bit_rate = bitrate
    context.time_base = Fraction(1, _SAMPLE_RATE)
    context.options = {"application": "voip", "frame_duration": str(OPUS_FRAME_MS), "vbr": "on"}
    samples = _SAMPLE_RATE * OPUS_FRAME_MS // 1000
    frames: list[tuple[bool, bytes]] = []
    count = AUDIO_LOOP_S * 1000 // OPUS_FRAME_MS
    for index in range(count):
        position = np.arange(index * samples, (index + 1) * samples)
        wave = np.sin(2 * np.pi * tone * position / _SAMPLE_RATE) * _AMPLITUDE * 32767
        frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None, :], "s16", "mono")
        frame.sample_rate = _SAMPLE_RATE
        frame.pts = index * samples
        frames.extend((True, bytes(packet)) for packet in context.encode(frame))
    frames.extend((True, bytes(packet)) for packet in context.encode(None))
    # The encoder's look-ahead makes it end with one frame more than went in.
    return from_frames("opus", _SAMPLE_RATE, samples, frames[:count])
