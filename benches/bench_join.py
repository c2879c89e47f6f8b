"""A join, from the session's parameters to the first responses, on the fake engine."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from livekit.protocol import models

from lkpy.sdp import SessionDescription
from tests.room_kit import JOIN_OFFER, World, camera, microphone, running

PRESENT = 100


def test_join_and_leave_of_the_101st(benchmark: Any) -> None:
    loop = asyncio.new_event_loop()
    numbers = itertools.count()
    room = running()

    async def fill(world: World) -> None:
        stage = await world.join("stage")
        await stage.publish(camera(), microphone())
        for index in range(PRESENT - 1):
            await world.join(f"viewer-{index}")

    async def join_and_leave(world: World) -> None:
        client = world.client(f"late-{next(numbers)}")
        await world.room.join(client.start, client.sink, client.source)
        world.hub.dispatch()
        await asyncio.sleep(0)
        await world.room.api.remove_participant(
            client.start.identity, models.DisconnectReason.PARTICIPANT_REMOVED
        )
        world.clients.remove(client)
        for other in world.clients:
            other.sink._messages.clear()
        world.engine.forget()

    assert SessionDescription.parse(JOIN_OFFER).media
    world = loop.run_until_complete(room.__aenter__())
    try:
        loop.run_until_complete(fill(world))
        assert len(world.room.participants()) == PRESENT
        benchmark(lambda: loop.run_until_complete(join_and_leave(world)))
        assert len(world.room.participants()) == PRESENT
    finally:
        loop.run_until_complete(room.__aexit__(None, None, None))
        loop.close()
