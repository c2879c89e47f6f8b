"""The official Python SDK on a server whose media worker fails: it joins afresh and goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid

import pytest
from livekit import rtc

from lkpy.server.app import Server
from lkpy.server.media import EnginePlane, engine_config
from tests.control_plane import KEY, SECRET, config_of

from .conftest import RunningServer
from .sdk_kit import SAMPLE_RATE, Events, joined, play_tone, running

native = pytest.importorskip("lkpy.engine.native", reason="the media engine is not built")


async def hear(heard: asyncio.Event, track: rtc.Track) -> None:
    async for _ in rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1):
        heard.set()


async def test_media_goes_on_after_a_worker_failed() -> None:
    config = config_of({"rtc": {"udp_port": 0, "tcp_port": 0}})
    engine = native.NativeEngine(
        dataclasses.replace(engine_config(config), fault_injection=True, workers=1)
    )
    plane = EnginePlane(config, engine=engine)
    room = f"worker-{uuid.uuid4().hex[:8]}"
    async with Server(config, plane) as server:
        there = RunningServer(server.url, KEY, SECRET)
        async with joined(there, room, "bob") as bob, joined(there, room, "alice") as alice:
            heard, tasks = asyncio.Event(), []

            def listen(track: rtc.Track, *_: object) -> None:
                tasks.append(asyncio.create_task(hear(heard, track)))

            bob.on("track_subscribed", listen)
            events = {"alice": Events(alice), "bob": Events(bob)}
            source = rtc.AudioSource(SAMPLE_RATE, 1)
            track = rtc.LocalAudioTrack.create_audio_track("tone", source)
            await alice.local_participant.publish_track(track, rtc.TrackPublishOptions())
            async with running(play_tone(source, 440)):
                await asyncio.wait_for(heard.wait(), 10)
                before = {alice.local_participant.sid, bob.local_participant.sid}
                engine.inject_fault(0, "panic")
                for of in events.values():
                    await of.wait("reconnected", seconds=20)
                heard.clear()
                await asyncio.wait_for(heard.wait(), 20)
            after = {alice.local_participant.sid, bob.local_participant.sid}
            assert not before & after
            assert {p.identity for p in bob.remote_participants.values()} == {"alice"}
            for task in tasks:
                task.cancel()
