"""FFmpeg's own WHIP client, through PyAV: ``ffmpeg_whip.py URL TOKEN PROFILE``.

Publishes H.264 and Opus until it is killed.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import av
import numpy as np

RATE, AUDIO_RATE, FRAME = 25, 48_000, 960


def publish(url: str, token: str, profile: str) -> None:
    """Open the session and send in real time."""
    options = {"authorization": token}
    with av.open(url, "w", format="whip", options=options) as output:
        video = output.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        video.time_base = Fraction(1, RATE)
        video.options = {"profile": profile, "tune": "zerolatency", "bf": "0", "g": "25"}
        audio = output.add_stream("libopus", rate=AUDIO_RATE)
        audio.layout = "stereo"
        began, tones = time.monotonic(), 0
        for number in range(1_000_000):
            pixels = np.full((240, 320, 3), number % 255, np.uint8)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            output.mux(video.encode(picture))
            while tones * FRAME / AUDIO_RATE < number / RATE:
                at = np.arange(tones * FRAME, (tones + 1) * FRAME) / AUDIO_RATE
                tone = (np.sin(2 * np.pi * 440 * at) * 8000).astype(np.int16)
                samples = np.repeat(tone, 2)[None, :]
                sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
                sound.sample_rate = AUDIO_RATE
                sound.pts, sound.time_base = tones * FRAME, Fraction(1, AUDIO_RATE)
                output.mux(audio.encode(sound))
                tones += 1
            time.sleep(max(0, began + number / RATE - time.monotonic()))


if __name__ == "__main__":
    publish(*sys.argv[1:])
