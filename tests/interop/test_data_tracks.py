"""Data tracks of the official Python SDK (PyPI ``livekit``)."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import pytest
from livekit import rtc

from tests.patience import PATIENCE_S

from .conftest import RunningServer


@contextlib.asynccontextmanager
async def joined(
    server: RunningServer, room: str, identity: str
) -> AsyncIterator[tuple[rtc.Room, asyncio.Queue[rtc.RemoteDataTrack], asyncio.Queue[str]]]:
    """A participant, the data tracks that it hears of, and the sids of those that go."""
    client = rtc.Room()
    published: asyncio.Queue[rtc.RemoteDataTrack] = asyncio.Queue()
    gone: asyncio.Queue[str] = asyncio.Queue()
    client.on("data_track_published", published.put_nowait)
    client.on("data_track_unpublished", gone.put_nowait)
    await client.connect(server.url, server.token(room, identity))
    try:
        yield client, published, gone
    finally:
        await client.disconnect()


async def receive(local: rtc.LocalDataTrack, remote: rtc.RemoteDataTrack, payload: bytes) -> None:
    """Push a frame until it arrives: frames may be lost while the subscription begins."""
    stream = remote.subscribe()
    reading = asyncio.ensure_future(stream.read())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not reading.done():
                local.try_push(rtc.DataTrackFrame(payload=payload, user_timestamp=7))
                await asyncio.wait([reading], timeout=0.1)
        frame = reading.result()
        assert frame is not None
        assert (frame.payload, frame.user_timestamp) == (payload, 7)
    finally:
        reading.cancel()
        await stream.aclose()


async def test_frames_reach_those_who_were_there_and_those_who_come(server: RunningServer) -> None:
    room = f"data-{uuid.uuid4().hex[:8]}"
    async with (
        joined(server, room, "alice") as (alice, _, _),
        joined(server, room, "bob") as (_, published, gone),
    ):
        local = await alice.local_participant.publish_data_track(name="pose")
        assert local.info.sid.startswith("DTR_")
        remote = await asyncio.wait_for(published.get(), PATIENCE_S)
        assert (remote.info.sid, remote.info.name) == (local.info.sid, "pose")
        assert remote.publisher_identity == "alice"
        # More than one packet, and one.
        await receive(local, remote, bytes(range(256)) * 100)
        await receive(local, remote, b"small")
        async with joined(server, room, "late") as (_, known, _):
            await receive(local, await asyncio.wait_for(known.get(), PATIENCE_S), b"late")
        with pytest.raises(rtc.participant.PublishDataTrackError, match="already taken"):
            await alice.local_participant.publish_data_track(name="pose")
        await local.unpublish()
        assert await asyncio.wait_for(gone.get(), PATIENCE_S) == local.info.sid
