"""A room's inbox and task: bounds, order, and nobody waits for a room that has ended."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from lkpy.clock import ManualClock
from lkpy.engine.api import DataChannelOpened
from lkpy.errors import Code, LkpyError
from lkpy.server.rtc.inbox import Inbox
from lkpy.server.rtc.room_task import RoomTask
from lkpy.server.telemetry import log
from lkpy.server.telemetry.events import MessageDropped
from tests.room_kit import running


def nothing() -> None:
    """A message."""


async def test_what_may_be_lost_is_refused_first() -> None:
    inbox = Inbox(size=2, reserve=1)
    assert inbox.offer(nothing)
    assert inbox.offer(nothing)
    assert not inbox.offer(nothing)
    assert inbox.post(nothing), "there is a reserve"
    assert not inbox.post(nothing), "which is bounded too"
    assert len(inbox) == 3


async def test_a_writer_waits_for_room() -> None:
    inbox = Inbox(size=1)
    assert await inbox.put(nothing)
    writer = asyncio.create_task(inbox.put(nothing))
    await asyncio.sleep(0)
    assert not writer.done()
    assert await inbox.take(None) is nothing
    assert await writer


async def test_closing_wakes_whoever_waits() -> None:
    full, empty = Inbox(size=1), Inbox()
    full.post(nothing)
    writers = [asyncio.create_task(full.put(nothing)) for _ in range(3)]
    reader = asyncio.create_task(empty.take(None))
    await asyncio.sleep(0)
    full.close()
    empty.close()
    assert await asyncio.gather(*writers) == [False] * 3
    assert await reader is None
    assert not full.post(nothing)
    assert await full.take(None) is None


@pytest.mark.filterwarnings("error")
async def test_a_call_fails_when_the_room_ends_before_there_is_room_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = RoomTask("lobby", ManualClock())
    while task.inbox.offer(nothing):
        pass
    calls = [asyncio.create_task(task.call(lambda: 1)) for _ in range(3)]
    await asyncio.sleep(0)
    task.stop()
    for call in calls:
        with pytest.raises(LkpyError) as error:
            await asyncio.wait_for(call, 60)
        assert error.value.code is Code.UNAVAILABLE
    del calls, call, error
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_call_that_nobody_waits_for_is_not_done() -> None:
    task = RoomTask("lobby", ManualClock())
    done: list[int] = []
    call = asyncio.create_task(task.call(lambda: done.append(1)))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    task.start()
    assert await task.call(lambda: 2) == 2
    assert done == []
    assert not task._calls
    task.stop()
    await task.join()


async def test_what_a_peer_sends_without_end_fills_no_memory() -> None:
    """Channels that are opened and closed again and again are told to the room one by one."""
    async with running() as world:
        alice = await world.join("alice")
        inbox = world.room._task.inbox
        inbox._size, inbox._reserve = 10, 10
        transport = alice.participant.transports.publisher.id
        event = DataChannelOpened(transport, 4, "x", "", True, None)
        for _ in range(50):
            world.room.deliver(alice.participant, event)
        assert len(inbox) == 20
        assert world.told.count(MessageDropped("room_inbox")) == 30
        await world.settle()
        assert len(inbox) == 0


async def test_lines_of_a_room_say_which(capsys: pytest.CaptureFixture[str]) -> None:
    root, ours = logging.getLogger(), logging.getLogger("lkpy")
    before = root.handlers[:], root.level, ours.level
    try:
        log.configure(level="info")
        task = RoomTask("lobby", ManualClock())
        task.start()

        def say() -> None:
            with log.about(participant="alice"):
                logging.getLogger("lkpy.part").info("something")
            logging.getLogger("lkpy.part").info("something else")

        await task.call(say)
        task.stop()
        await task.join()
        logging.getLogger("lkpy.part").info("elsewhere")
        first, second, third = capsys.readouterr().err.splitlines()
        assert first.endswith("something room=lobby participant=alice")
        assert second.endswith("something else room=lobby")
        assert third.endswith("elsewhere")
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        ours.setLevel(before[2])
