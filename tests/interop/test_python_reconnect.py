"""The official Python SDK loses its signal connection and resumes: nothing else is lost."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid

from livekit import rtc

from tests.patience import PATIENCE_S, Lateness

from .conftest import RunningServer
from .sdk_kit import SAMPLE_RATE, joined, play_tone, running
from .tcp_proxy import tcp_proxy
from .test_python_sdk import first_track

GAP_S = 0.5
"""Longest silence that is borne; livekit-server's was 14 ms on the machine of the first run."""


async def hear(track: rtc.RemoteTrack, times: list[float]) -> None:
    """Note when audio comes."""
    async for _ in rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1):
        times.append(time.monotonic())


async def test_a_signal_connection_that_is_cut(server: RunningServer) -> None:
    room = f"cut-{uuid.uuid4().hex[:8]}"
    async with (
        tcp_proxy(server.url) as (proxy, url),
        joined(server, room, "bob") as bob,
        joined(server, room, "alice", url=url) as alice,
    ):
        received: dict[str, list[str]] = {"alice": [], "bob": []}
        alice.on("data_received", lambda p: received["alice"].append(p.data.decode()))
        bob.on("data_received", lambda p: received["bob"].append(p.data.decode()))
        reconnected = asyncio.Event()
        alice.on("reconnected", reconnected.set)
        sid, heard = alice.local_participant.sid, first_track(bob, rtc.TrackKind.KIND_AUDIO)
        source = rtc.AudioSource(SAMPLE_RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("tone", source)
        await alice.local_participant.publish_track(track, rtc.TrackPublishOptions())
        times: list[float] = []
        async with running(play_tone(source, 440)), running(hear(await heard, times)):
            async with asyncio.timeout(PATIENCE_S):
                while len(times) < 20:  # noqa: ASYNC110 - what it looks at has no event
                    await asyncio.sleep(0.05)
            async with Lateness() as late:
                began = time.monotonic()
                proxy.cut()
                for number in range(8):
                    await alice.local_participant.publish_data(str(number), reliable=True)
                    await bob.local_participant.publish_data(str(number), reliable=True)
                    await asyncio.sleep(0.2)
                await asyncio.wait_for(reconnected.wait(), PATIENCE_S)
                await asyncio.sleep(0.5)
                ended = time.monotonic()
        after = [began, *(at for at in times if began < at < ended), ended]
        # Whoever plays the tone, the server and whoever hears it run on the same processors.
        assert max(b - a for a, b in itertools.pairwise(after)) < GAP_S + 4 * late.worst_s
        everything = [str(number) for number in range(8)]
        assert received == {"alice": everything, "bob": everything}
        assert alice.local_participant.sid == sid
        assert {p.identity for p in bob.remote_participants.values()} == {"alice"}
