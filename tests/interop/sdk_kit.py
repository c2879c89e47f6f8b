"""What the tests of the Python SDK share: participants, their events, tones and colours."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from livekit import rtc

from tests.patience import PATIENCE_S

from .conftest import RunningServer

SAMPLE_RATE = 48_000
WIDTH, HEIGHT = 320, 240
EVENTS = (
    "participant_connected", "participant_disconnected", "local_track_published",
    "local_track_unpublished", "local_track_republished", "local_track_subscribed",
    "track_published", "track_unpublished", "track_subscribed", "track_unsubscribed",
    "track_subscription_failed", "track_muted", "track_unmuted", "active_speakers_changed",
    "room_metadata_changed", "participant_metadata_changed", "participant_name_changed",
    "participant_attributes_changed", "connection_quality_changed",
    "participant_permissions_changed", "data_received", "e2ee_state_changed",
    "connection_state_changed", "disconnected", "reconnecting", "reconnected", "token_refreshed",
    "data_track_published", "data_track_unpublished",
)  # fmt: skip


class Events:
    """Every event of one room from the moment this is made, in order."""

    def __init__(self, room: rtc.Room) -> None:
        self.seen: list[tuple[str, tuple[Any, ...]]] = []
        self._changed = asyncio.Event()
        for name in EVENTS:
            room.on(name, self._recorder(name))

    def _recorder(self, name: str) -> Callable[..., None]:
        def record(*values: Any) -> None:
            self.seen.append((name, values))
            self._changed.set()

        return record

    def names(self) -> list[str]:
        return [name for name, _ in self.seen]

    def all(self, name: str) -> list[tuple[Any, ...]]:
        """Return the values of each event ``name`` so far."""
        return [values for seen, values in self.seen if seen == name]

    def forget(self) -> None:
        self.seen.clear()

    async def wait(
        self,
        name: str,
        accept: Callable[..., object] = lambda *_: True,
        seconds: float = PATIENCE_S,
    ) -> tuple[Any, ...]:
        """Return the values of the first event ``name`` that is accepted, seen or to come."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self._changed.clear()
                    for seen, values in self.seen:
                        if seen == name and accept(*values):
                            return values
                    await self._changed.wait()
        except TimeoutError:
            pytest.fail(f"no {name} in {seconds} s; seen: {self.names()}")


@contextlib.asynccontextmanager
async def joined(
    server: RunningServer,
    room: str,
    identity: str,
    options: rtc.RoomOptions | None = None,
    *,
    client: rtc.Room | None = None,
    url: str = "",
    **grants: object,
) -> AsyncIterator[rtc.Room]:
    """Connect one participant and leave at the end.

    ``client`` is a room object to which handlers are attached already.
    """
    client = client or rtc.Room()
    token = server.token(room, identity, **grants)
    await client.connect(url or server.url, token, options or rtc.RoomOptions())
    try:
        yield client
    finally:
        await client.disconnect()


@contextlib.asynccontextmanager
async def running(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(coroutine)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(
    what: str, check: Callable[[], Any | Coroutine[Any, Any, Any]], seconds: float = PATIENCE_S
) -> Any:
    """Return what ``check`` says once it is true; ``what`` is what was waited for."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        value = check()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"timed out waiting for {what}")
        await asyncio.sleep(0.05)


async def play_tone(source: rtc.AudioSource, frequency: float) -> None:
    """Feed a sine for ever, paced by the source's own queue."""
    samples = SAMPLE_RATE // 100
    position = 0
    while True:
        time = (np.arange(samples) + position) / SAMPLE_RATE
        data = (np.sin(2 * math.pi * frequency * time) * 12_000).astype(np.int16)
        await source.capture_frame(rtc.AudioFrame(data.tobytes(), SAMPLE_RATE, 1, samples))
        position += samples


async def play_colour(source: rtc.VideoSource, red: int, green: int, blue: int) -> None:
    """Feed one colour at 15 frames a second for ever."""
    pixels = np.empty((HEIGHT, WIDTH, 4), np.uint8)
    pixels[:] = (red, green, blue, 255)
    frame = rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, pixels.tobytes())
    while True:
        source.capture_frame(frame)
        await asyncio.sleep(1 / 15)


@contextlib.asynccontextmanager
async def tone(
    room: rtc.Room, frequency: float = 440
) -> AsyncIterator[tuple[rtc.LocalAudioTrack, rtc.LocalTrackPublication]]:
    """Publish a sine as the participant's microphone."""
    source = rtc.AudioSource(SAMPLE_RATE, 1)
    track = rtc.LocalAudioTrack.create_audio_track("tone", source)
    publication = await room.local_participant.publish_track(
        track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    )
    async with running(play_tone(source, frequency)):
        yield track, publication


@contextlib.asynccontextmanager
async def colour(
    room: rtc.Room, red: int, green: int, blue: int
) -> AsyncIterator[tuple[rtc.LocalVideoTrack, rtc.LocalTrackPublication]]:
    """Publish one colour as the participant's camera."""
    source = rtc.VideoSource(WIDTH, HEIGHT)
    track = rtc.LocalVideoTrack.create_video_track("colour", source)
    publication = await room.local_participant.publish_track(
        track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
    )
    async with running(play_colour(source, red, green, blue)):
        yield track, publication


async def dominant_frequency(track: rtc.RemoteTrack, seconds: float = 0.5) -> float:
    """Return the strongest frequency of the first ``seconds`` that are not silent."""
    heard: list[np.ndarray] = []
    stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1)
    try:
        async for event in stream:
            data = np.frombuffer(event.frame.data, np.int16).astype(np.float64)
            if heard or np.abs(data).max() > 1_000:
                heard.append(data)
            if sum(map(len, heard)) >= seconds * SAMPLE_RATE:
                break
    finally:
        await stream.aclose()
    signal = np.concatenate(heard)
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal))))
    return float(np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)[spectrum.argmax()])


async def hears(track: rtc.RemoteTrack, frequency: float, seconds: float = PATIENCE_S) -> bool:
    """Say whether ``track`` carries ``frequency`` within ``seconds``."""
    try:
        heard = await asyncio.wait_for(dominant_frequency(track), seconds)
    except TimeoutError:
        return False
    return abs(heard - frequency) < 5


async def falls_silent(track: rtc.RemoteTrack, seconds: float = PATIENCE_S) -> None:
    """Return once ``track`` was silent for half a second; fails if it plays on for ``seconds``.

    The SDK tells the application nothing when the server takes a track away that is still
    published: its receiver plays silence.
    """
    quiet = 0.0
    frames: asyncio.Queue[np.ndarray] = asyncio.Queue()
    stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1)

    async def read() -> None:
        async for event in stream:
            frames.put_nowait(np.frombuffer(event.frame.data, np.int16).astype(np.int32))

    try:
        async with asyncio.timeout(seconds), running(read()):
            while quiet < 0.5:
                try:
                    data = await asyncio.wait_for(frames.get(), 0.5)
                except TimeoutError:
                    return
                quiet = 0.0 if np.abs(data).max() > 1_000 else quiet + len(data) / SAMPLE_RATE
    except TimeoutError:
        pytest.fail(f"the track still plays after {seconds} s")
    finally:
        await stream.aclose()


async def average_colour(track: rtc.RemoteTrack, skip: int = 3) -> tuple[float, float, float]:
    """Return the mean red, green and blue of a frame after the first ``skip``."""
    stream = rtc.VideoStream(track, format=rtc.VideoBufferType.RGBA)
    try:
        async for event in stream:
            if skip:
                skip -= 1
                continue
            frame = event.frame
            pixels = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 4)
            red, green, blue = pixels[..., :3].reshape(-1, 3).mean(axis=0)
            return float(red), float(green), float(blue)
    finally:
        await stream.aclose()
    pytest.fail("the video stream ended")
