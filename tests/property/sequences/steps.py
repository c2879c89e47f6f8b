"""What may happen to a room, one small function per kind.

Each takes the stage, a person and a random generator of its own, so that a sequence without one of
its actions has the others unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from tests.property.sequences.calls import api
from tests.property.sequences.clients import attention, drop_signal, join, publish, request, resume
from tests.property.sequences.events import channels, data, media, wander
from tests.property.sequences.people import Person
from tests.property.sequences.stage import Stage
from tests.property.sequences.values import Random

Step = Callable[[Stage, Person, Random], Awaitable[object]]


async def wait(stage: Stage, person: Person, rng: Random) -> str:
    """Time passes."""
    seconds = rng.choice([0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 4.0, 16.0, 30.0])
    await stage.advance(seconds)
    return f"{seconds} s"


async def measure(stage: Stage, person: Person, rng: Random) -> None:
    """A window of connection quality ends."""
    asking = asyncio.ensure_future(stage.world.hub.collect_stats())
    await stage.settle()
    stats = await asking
    stage.room.measure(stats)
    await stage.room.snapshot(stats)


STEPS: Mapping[str, tuple[int, Step]] = {
    "join": (2, join),
    "resume": (5, resume),
    "drop_signal": (3, drop_signal),
    "request": (40, request),
    "publish": (8, publish),
    "wait": (10, wait),
    "wander": (6, wander),
    "media": (6, media),
    "channels": (3, channels),
    "data": (7, data),
    "api": (9, api),
    "measure": (2, measure),
    "attention": (2, attention),
}
"""With their weights."""
