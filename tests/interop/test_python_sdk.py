"""Two participants of the official Python SDK (PyPI ``livekit``) hear and see each other."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from livekit import rtc

from tests.patience import PATIENCE_S

from .conftest import RunningServer
from .sdk_kit import (
    HEIGHT,
    SAMPLE_RATE,
    WIDTH,
    average_colour,
    dominant_frequency,
    joined,
    play_colour,
    play_tone,
    running,
)


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


async def test_audio_arrives_with_its_frequency(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        subscribed = first_track(bob, rtc.TrackKind.KIND_AUDIO)
        source = rtc.AudioSource(SAMPLE_RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("tone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await alice.local_participant.publish_track(track, options)
        async with running(play_tone(source, 440)):
            heard = await asyncio.wait_for(subscribed, PATIENCE_S)
            frequency = await asyncio.wait_for(dominant_frequency(heard), PATIENCE_S)
        assert abs(frequency - 440) < 5


async def test_video_arrives_with_its_colour(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        subscribed = first_track(bob, rtc.TrackKind.KIND_VIDEO)
        source = rtc.VideoSource(WIDTH, HEIGHT)
        track = rtc.LocalVideoTrack.create_video_track("colour", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
        await alice.local_participant.publish_track(track, options)
        async with running(play_colour(source, 200, 40, 40)):
            seen = await asyncio.wait_for(subscribed, PATIENCE_S)
            red, green, blue = await asyncio.wait_for(average_colour(seen), PATIENCE_S)
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
                heard = await asyncio.wait_for(subscribed, PATIENCE_S)
                frequency = await asyncio.wait_for(dominant_frequency(heard), PATIENCE_S)
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
        assert await asyncio.wait_for(texts.get(), PATIENCE_S) == text


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
            assert await asyncio.wait_for(events.get(), PATIENCE_S) == name

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
