"""Two participants of the official Python SDK (PyPI ``livekit``) hear and see each other."""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from livekit import rtc

from .conftest import RunningServer

SAMPLE_RATE = 48_000
WIDTH, HEIGHT = 320, 240


@contextlib.asynccontextmanager
async def joined(server: RunningServer, room: str, identity: str) -> AsyncIterator[rtc.Room]:
    """Connect one participant and leave at the end."""
    client = rtc.Room()
    await client.connect(server.url, server.token(room, identity))
    try:
        yield client
    finally:
        await client.disconnect()


@pytest.fixture
def room_name() -> str:
    return f"sdk-{uuid.uuid4().hex[:8]}"


def first_track(room: rtc.Room, kind: rtc.TrackKind.ValueType) -> asyncio.Future[rtc.RemoteTrack]:
    """Resolve with the first subscribed track of ``kind``."""
    found: asyncio.Future[rtc.RemoteTrack] = asyncio.get_running_loop().create_future()

    @room.on("track_subscribed")
    def _subscribed(
        track: rtc.RemoteTrack,
        _publication: rtc.RemoteTrackPublication,
        _who: rtc.RemoteParticipant,
    ) -> None:
        if track.kind == kind and not found.done():
            found.set_result(track)

    return found


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
async def running(coroutine: object) -> AsyncIterator[None]:
    task = asyncio.ensure_future(coroutine)  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


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


async def test_audio_arrives_with_its_frequency(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        subscribed = first_track(bob, rtc.TrackKind.KIND_AUDIO)
        source = rtc.AudioSource(SAMPLE_RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("tone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await alice.local_participant.publish_track(track, options)
        async with running(play_tone(source, 440)):
            heard = await asyncio.wait_for(subscribed, 10)
            frequency = await asyncio.wait_for(dominant_frequency(heard), 15)
        assert abs(frequency - 440) < 5


async def test_video_arrives_with_its_colour(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        subscribed = first_track(bob, rtc.TrackKind.KIND_VIDEO)
        source = rtc.VideoSource(WIDTH, HEIGHT)
        track = rtc.LocalVideoTrack.create_video_track("colour", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
        await alice.local_participant.publish_track(track, options)
        async with running(play_colour(source, 200, 40, 40)):
            seen = await asyncio.wait_for(subscribed, 10)
            red, green, blue = await asyncio.wait_for(average_colour(seen), 20)
        assert red > 150
        assert green < 90
        assert blue < 90


async def test_late_joiner_gets_tracks_published_before(
    server: RunningServer, room_name: str
) -> None:
    async with joined(server, room_name, "alice") as alice:
        source = rtc.AudioSource(SAMPLE_RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("tone", source)
        await alice.local_participant.publish_track(track, rtc.TrackPublishOptions())
        async with running(play_tone(source, 880)):
            bob = rtc.Room()
            subscribed = first_track(bob, rtc.TrackKind.KIND_AUDIO)
            await bob.connect(server.url, server.token(room_name, "bob"))
            try:
                heard = await asyncio.wait_for(subscribed, 10)
                frequency = await asyncio.wait_for(dominant_frequency(heard), 15)
            finally:
                await bob.disconnect()
        assert abs(frequency - 880) < 5


@pytest.mark.parametrize("reliable", [True, False], ids=["reliable", "lossy"])
async def test_data_both_ways(server: RunningServer, room_name: str, reliable: bool) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        received: dict[str, asyncio.Queue[rtc.DataPacket]] = {}
        for name, room in (("alice", alice), ("bob", bob)):
            queue = received[name] = asyncio.Queue()
            room.on("data_received", queue.put_nowait)

        async def deliver(
            sender: rtc.Room, name: str, data: bytes, **values: Any
        ) -> rtc.DataPacket:
            """Send until it arrives: what is lossy may be lost while a channel still opens."""
            for _ in range(1 if reliable else 20):
                await sender.local_participant.publish_data(data, reliable=reliable, **values)
                with contextlib.suppress(TimeoutError):
                    return await asyncio.wait_for(received[name].get(), 10 if reliable else 0.5)
            pytest.fail(f"{name} received nothing")

        packet = await deliver(alice, "bob", b"from alice", topic="chat")
        assert bytes(packet.data) == b"from alice"
        assert packet.topic == "chat"
        assert packet.participant is not None
        assert packet.participant.identity == "alice"
        packet = await deliver(bob, "alice", b"to alice", destination_identities=["alice"])
        assert bytes(packet.data) == b"to alice"
        echoes = [received["bob"].get_nowait() for _ in range(received["bob"].qsize())]
        assert all(bytes(echo.data) == b"from alice" for echo in echoes)


async def test_rpc_and_text_stream(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:

        @bob.local_participant.register_rpc_method("greet")
        async def _greet(call: rtc.RpcInvocationData) -> str:
            return f"hello {call.caller_identity}: {call.payload}"

        answer = await alice.local_participant.perform_rpc(
            destination_identity="bob", method="greet", payload="ping"
        )
        assert answer == "hello alice: ping"

        texts: asyncio.Queue[str] = asyncio.Queue()

        def _on_text(reader: rtc.TextStreamReader, _identity: str) -> None:
            async def _read() -> None:
                texts.put_nowait(await reader.read_all())

            readers.append(asyncio.ensure_future(_read()))

        readers: list[asyncio.Future[None]] = []
        alice.register_text_stream_handler("notes", _on_text)
        text = "x" * 100_000
        await bob.local_participant.send_text(text, topic="notes")
        assert await asyncio.wait_for(texts.get(), 10) == text


async def test_mute_unpublish_and_leave_reach_the_other(
    server: RunningServer, room_name: str
) -> None:
    async with joined(server, room_name, "bob") as bob:
        events: asyncio.Queue[str] = asyncio.Queue()
        for name in ("track_published", "track_muted", "track_unmuted", "track_unpublished"):
            bob.on(name, lambda *_, name=name: events.put_nowait(name))
        bob.on("participant_connected", lambda _: events.put_nowait("connected"))
        bob.on("participant_disconnected", lambda _: events.put_nowait("disconnected"))

        async def expect(name: str) -> None:
            assert await asyncio.wait_for(events.get(), 10) == name

        async with joined(server, room_name, "alice") as alice:
            await expect("connected")
            source = rtc.AudioSource(SAMPLE_RATE, 1)
            track = rtc.LocalAudioTrack.create_audio_track("tone", source)
            publication = await alice.local_participant.publish_track(
                track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            )
            await expect("track_published")
            track.mute()
            await expect("track_muted")
            track.unmute()
            await expect("track_unmuted")
            await alice.local_participant.unpublish_track(publication.sid)
            await expect("track_unpublished")
        await expect("disconnected")
