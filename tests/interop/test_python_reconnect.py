"""The official Python SDK loses its signal connection and resumes: nothing else is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from livekit import rtc

from .conftest import RunningServer
from .sdk_kit import SAMPLE_RATE, joined, play_tone, running
from .test_python_sdk import first_track

GAP_S = 0.5
"""Longest silence that is borne; livekit-server's was 14 ms on the machine of the first run."""


class Proxy:
    """TCP connections to the server that can be cut, all at once."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; returns the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        down, up = await asyncio.open_connection(*self._target)
        self._open |= {writer, up}
        await asyncio.gather(_pipe(reader, up), _pipe(down, writer))

    def cut(self) -> None:
        """Lose every connection."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def proxied(server: RunningServer) -> AsyncIterator[tuple[RunningServer, Proxy]]:
    address = urlsplit(server.url)
    proxy = Proxy(address.hostname or "127.0.0.1", address.port or 7880)
    url = await proxy.start()
    try:
        yield RunningServer(url, server.api_key, server.api_secret), proxy
    finally:
        proxy.close()


async def hear(track: rtc.RemoteTrack, times: list[float]) -> None:
    """Note when audio comes."""
    async for _ in rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1):
        times.append(time.monotonic())


async def test_a_signal_connection_that_is_cut(server: RunningServer) -> None:
    room = f"cut-{uuid.uuid4().hex[:8]}"
    async with (
        proxied(server) as (through, proxy),
        joined(server, room, "bob") as bob,
        joined(through, room, "alice") as alice,
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
            async with asyncio.timeout(10):
                while len(times) < 20:  # noqa: ASYNC110 - what it looks at has no event
                    await asyncio.sleep(0.05)
            began = time.monotonic()
            proxy.cut()
            for number in range(8):
                await alice.local_participant.publish_data(str(number), reliable=True)
                await bob.local_participant.publish_data(str(number), reliable=True)
                await asyncio.sleep(0.2)
            await asyncio.wait_for(reconnected.wait(), 10)
            await asyncio.sleep(0.5)
        after = [began, *(at for at in times if at > began)]
        assert max(b - a for a, b in itertools.pairwise(after)) < GAP_S
        assert time.monotonic() - after[-1] < 1
        everything = [str(number) for number in range(8)]
        assert received == {"alice": everything, "bob": everything}
        assert alice.local_participant.sid == sid
        assert {p.identity for p in bob.remote_participants.values()} == {"alice"}
