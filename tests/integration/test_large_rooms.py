"""A room of many costs what its size is, and nobody waits for it.

CPU time of the thread and turns of the event loop are measured, so that a busy machine is no
failure; the factors are generous.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import pytest
from livekit.protocol import models, rtc

from lkpy.errors import LkpyError
from lkpy.limits import TOKEN_REFRESH_S
from lkpy.server.rtc.room import Room
from tests.loop_probe import Cost, probe, run
from tests.room_kit import Client, Observer, World, microphone

T = TypeVar("T")

SMALL, LARGE = 50, 200
LONGEST_S = 0.02
"""No turn of the loop takes longer."""
LINEAR = 7.0
"""Times that four times as many may cost; they would cost sixteen times as much if everybody looked
at everybody."""
DELETED = models.DisconnectReason.ROOM_DELETED


class Left(Observer):
    """Who left, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    def participant_left(self, room: Room, info: models.ParticipantInfo) -> None:
        self.order.append(info.identity)


class Sink:
    """Counts what is written, by object: the same one is serialised once."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self.closed = False

    def write(self, message: rtc.SignalResponse) -> None:
        self._crowd.messages += 1
        self._crowd.distinct[id(message)] = message

    def close(self, reason: str = "") -> None:
        self.closed = True


class Crowd:
    """A speaker and many who listen."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.world = World(observer=Left())
        self.room = self.world.room
        self.messages = 0
        self.distinct: dict[int, rtc.SignalResponse] = {}
        self.speaker: Client

    async def fill(self) -> None:
        self.room.start()
        self.speaker = await self.world.join("speaker")
        await self.speaker.publish(microphone())
        for number in range(self.size):
            client = self.world.client(f"p{number}")
            self.world.clients.clear()
            await self.room.join(client.start, Sink(self), client.source)
            self.world.clock.advance(0.01)
        await self.quiet()
        self.advance(6.0)
        await self.quiet()
        self.room.measure([self.world.engine._stats(1, 0)])
        await self.quiet()
        self.world.engine.forget()

    async def quiet(self) -> None:
        calm = 0
        while calm < 20:
            self.world.hub.dispatch()
            loop = asyncio.get_running_loop()
            calm = 0 if loop._ready or self.world.engine._events else calm + 1  # type: ignore[attr-defined]
            await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.room._task.wake()

    async def cost(self, action: Callable[[], Awaitable[object]]) -> Cost:
        await self.quiet()
        self.messages, self.distinct = 0, {}
        probe().begin_probe()
        await asyncio.sleep(0)
        await action()
        await self.quiet()
        return probe().end_probe()

    def kinds(self) -> list[str]:
        """Of the distinct messages."""
        return [message.WhichOneof("message") or "" for message in self.distinct.values()]

    # -- what happens -----------------------------------------------------------------------------

    async def close(self) -> None:
        await self.room.close(DELETED)

    async def speak(self) -> None:
        (track,) = self.speaker.participant.publishing.tracks
        participant = self.speaker.participant
        self.room.tell_speakers([models.SpeakerInfo(sid=participant.sid, level=1, active=True)])
        assert track.info.sid

    async def quality(self) -> None:
        self.room._quality._infos.clear()
        self.room.measure([self.world.engine._stats(1, 0)])

    async def tokens(self) -> None:
        self.advance(TOKEN_REFRESH_S)

    async def mute(self) -> None:
        (track,) = self.speaker.participant.publishing.tracks
        await self.room.call(
            lambda: self.speaker.participant.publishing.mute(track.sid, muted=not track.info.muted)
        )


ACTIONS: dict[str, Callable[[Crowd], Awaitable[object]]] = {
    "a speaker changes": Crowd.speak,
    "a quality window passes": Crowd.quality,
    "the publisher mutes": Crowd.mute,
    "tokens are refreshed": Crowd.tokens,
    "the room closes": Crowd.close,
}
TIMES = 3
"""What the machine does to one run it does not do to three. A room closes once."""


def with_crowd(size: int, what: Callable[[Crowd], Awaitable[T]]) -> T:
    async def main() -> T:
        crowd = Crowd(size)
        await crowd.fill()
        try:
            return await what(crowd)
        finally:
            await crowd.room.close(DELETED)
            crowd.world.engine.close()

    return run(main())


def costs(size: int) -> dict[str, Cost]:
    async def measure(crowd: Crowd) -> dict[str, Cost]:
        found = {}
        for name, action in ACTIONS.items():
            times = 1 if action is Crowd.close else TIMES
            each = [await crowd.cost(partial(action, crowd)) for _ in range(times)]
            found[name] = Cost(min(c.cpu_s for c in each), min(c.longest_s for c in each))
        return found

    return with_crowd(size, measure)


def test_the_cost_is_linear_and_nobody_waits() -> None:
    small, large = costs(SMALL), costs(LARGE)
    for name in ACTIONS:
        assert large[name].cpu_s <= LINEAR * max(small[name].cpu_s, 0.001), name
        assert large[name].longest_s <= LONGEST_S, name


def test_whoever_hears_the_same_speakers_is_sent_the_same_message() -> None:
    async def speak(crowd: Crowd) -> None:
        await crowd.cost(crowd.speak)
        assert crowd.messages >= SMALL
        assert crowd.kinds() == ["speakers_changed"]

    with_crowd(SMALL, speak)


def test_everybody_leaves_a_room_that_closes_in_order_and_hears_nothing_else() -> None:
    async def close(crowd: Crowd) -> None:
        closing = [asyncio.create_task(crowd.room.close(DELETED)) for _ in range(2)]
        await crowd.room.closed.wait()
        assert crowd.room.size > 0, "it is not done in one turn"
        with pytest.raises(LkpyError, match="room is closed"):
            await crowd.world.join("late")
        crowd.messages, crowd.distinct = 0, {}
        await asyncio.gather(*closing)
        assert crowd.room.size == 0
        assert set(crowd.kinds()) == {"leave"}
        observer = crowd.world.observer
        assert isinstance(observer, Left)
        assert observer.order == ["speaker", *(f"p{number}" for number in range(SMALL))]
        assert observer.closed
        assert not crowd.world.hub._handlers
        assert not crowd.world.engine.transports

    with_crowd(SMALL, close)


def test_each_token_is_refreshed_after_its_own_time() -> None:
    async def main() -> None:
        crowd = Crowd(20)
        await crowd.fill()
        crowd.world.tokens.clear()
        crowd.advance(TOKEN_REFRESH_S - 6.0 - 0.205)
        await crowd.quiet()
        assert not crowd.world.tokens
        refreshed = []
        for _ in range(21):
            crowd.advance(0.01)
            await crowd.quiet()
            refreshed.append(len(crowd.world.tokens))
        assert refreshed[-1] == 21
        assert len(set(refreshed)) > 10, "not all at the same moment"
        await crowd.room.close(DELETED)
        crowd.world.engine.close()

    run(main())


def test_an_empty_room_waits_for_one_deadline() -> None:
    async def main() -> None:
        world = World(observer=Left(), empty_timeout=300)
        world.room.start()
        await asyncio.sleep(0)
        assert set(world.room.timers._set) == {"idle"}
        assert world.room.timers.next_deadline() == 300.0
        await world.advance(300.0)
        assert world.room.closed.is_set()
        assert world.observer.closed
        world.engine.close()

    run(main())


def test_a_data_packet_looks_at_nobody() -> None:
    """Work per packet is one command, whoever is here."""

    async def main() -> None:
        crowd = Crowd(SMALL)
        await crowd.fill()
        await crowd.speaker.open_channels()
        room = crowd.room
        room.data._members = None  # type: ignore[assignment]
        await crowd.speaker.send_data(
            models.DataPacket(user=models.UserPacket(payload=b"x")), reliable=False
        )
        await room.close(DELETED)
        crowd.world.engine.close()

    run(main())
