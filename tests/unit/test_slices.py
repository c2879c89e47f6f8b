"""Work over many that lets others have their turn."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from lkpy.clock import SystemClock
from lkpy.limits import SLICE_S, SLICE_STEPS, WAKES_PER_TURN
from lkpy.server.routing.channel import MessageChannel
from lkpy.server.rtc.room_task import RoomTask
from lkpy.server.worker_loads import WorkerLoads
from lkpy.slices import Slices, paced
from lkpy.wakes import wake
from tests.loop_probe import probe, run
from tests.patience import PATIENCE_S


class Clock:
    """Every step takes a millisecond."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Made:
    def __init__(self) -> None:
        self.clock = Clock()
        self.woken = 0
        self.done: list[object] = []
        self.slices = Slices(self._wake, self.clock)
        self.slices.begin()

    def _wake(self) -> None:
        self.woken += 1

    def step(self, item: object) -> None:
        self.clock.now += 0.001
        self.done.append(item)


def test_few_are_done_at_once_however_long_they_take() -> None:
    made = Made()
    made.clock.now = 1000.0
    made.slices.for_each(range(SLICE_STEPS), made.step)
    assert len(made.done) == SLICE_STEPS
    assert made.slices.spent


async def test_many_are_done_in_slices_and_in_order() -> None:
    made = Made()
    made.slices.for_each(range(100), made.step)
    made.slices.then(lambda: made.done.append("then"))
    assert len(made.done) == SLICE_STEPS
    assert made.slices.waiting
    assert made.woken
    slices = 0
    while made.slices.waiting:
        before = len(made.done)
        await made.slices.rest()
        slices += 1
        assert len(made.done) - before <= max(SLICE_STEPS, SLICE_S / 0.001) + 1
    assert made.done == [*range(100), "then"]
    assert slices >= 100 // SLICE_STEPS - 1


async def test_what_a_step_adds_is_done_after_what_waits() -> None:
    made = Made()

    def first(item: int) -> None:
        made.step(item)
        if item == 0:
            made.slices.for_each(["added"], made.step)

    made.slices.for_each(range(40), first)
    while made.slices.waiting:
        await made.slices.rest()
    assert made.done == [*range(40), "added"]


def test_a_step_that_fails_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    made = Made()

    def step(item: int) -> None:
        made.step(item)
        if item == 1:
            raise ValueError(item)

    made.slices.for_each(range(3), step)
    assert made.done == [0, 1, 2]
    assert "ValueError" in caplog.text


def test_what_is_left_can_be_hurried() -> None:
    made = Made()
    made.slices.for_each(range(100), made.step)
    made.slices.hurry()
    assert made.done == [*range(100)]
    assert not made.slices.waiting


async def test_others_have_their_turn_between_paced_items() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert [item async for item in paced(range(100), most=10)] == [*range(100)]
    task.cancel()
    assert turns >= 9


def test_readers_are_woken_a_few_at_a_time_and_in_order() -> None:
    async def main() -> None:
        order: list[int] = []
        turns: list[int] = []
        turn = 0

        async def reader(number: int, channel: MessageChannel) -> None:  # type: ignore[type-arg]
            async for _ in channel:
                order.append(number)
                turns.append(turn)

        async def count() -> None:
            nonlocal turn
            while len(order) < 600:
                turn += 1
                await asyncio.sleep(0)

        channels: list[MessageChannel] = [MessageChannel("x") for _ in range(300)]  # type: ignore[type-arg]
        tasks = [asyncio.create_task(reader(n, channel)) for n, channel in enumerate(channels)]
        await asyncio.sleep(0)
        for channel in channels:
            channel.write(object())  # type: ignore[arg-type]
            channel.write(object())  # type: ignore[arg-type]
        await count()
        await asyncio.sleep(0)
        assert list(dict.fromkeys(order)) == [*range(300)]
        assert max(turns.count(n) for n in set(turns)) <= 2 * WAKES_PER_TURN
        for task in tasks:
            task.cancel()

    asyncio.run(main())


async def test_a_few_readers_are_woken_at_once() -> None:
    events = [asyncio.Event() for _ in range(WAKES_PER_TURN + 1)]
    for event in events:
        wake(event)
    assert [event.is_set() for event in events] == [True] * WAKES_PER_TURN + [False]
    await asyncio.sleep(0)
    assert events[-1].is_set()


def test_the_probe_sees_a_long_turn() -> None:
    def burn(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    async def main() -> None:
        probe().begin_probe()
        await asyncio.sleep(0)
        for seconds in (0.002, 0.03, 0.002):
            burn(seconds)
            await asyncio.sleep(0)
        cost = probe().end_probe()
        assert 0.03 <= cost.longest_s < cost.cpu_s

    run(main())


# -- workers --------------------------------------------------------------------------------------


def _measured(*objects: int) -> list[object]:
    class Worker:
        def __init__(self, worker: int) -> None:
            self.worker = worker

    class Stats:
        layers = down_tracks = ()

        def __init__(self, worker: int, transports: int) -> None:
            self.worker = Worker(worker)
            self.transports = range(transports)

    return [Stats(worker, count) for worker, count in enumerate(objects)]


def test_rooms_go_in_turn_to_workers_that_do_nothing() -> None:
    loads = WorkerLoads(3)
    assert [loads.place() for _ in range(6)] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("objects", "rooms", "chosen"),
    [
        ((4000, 10, 20), [0, 1, 1, 1, 2], 1),
        ((0, 0, 0), [0, 0, 1, 2, 2], 1),
        ((100, 100, 0), [0, 1], 2),
    ],
)
def test_a_room_goes_to_the_least_loaded(
    objects: tuple[int, ...], rooms: list[int], chosen: int
) -> None:
    loads = WorkerLoads(3)
    loads.measured(_measured(*objects), rooms)  # type: ignore[arg-type]
    assert loads.place() == chosen


def test_many_rooms_at_once_do_not_all_go_to_the_same() -> None:
    loads = WorkerLoads(2)
    loads.measured(_measured(110, 100), [0] * 10 + [1] * 10)  # type: ignore[arg-type]
    placed = [loads.place() for _ in range(20)]
    assert 8 <= placed.count(0) <= 12


def test_a_turn_has_one_slice_for_everybody() -> None:
    """However many rooms have work at the same time."""

    async def main() -> None:
        turn = 0
        worked: list[int] = []
        clock = Clock()

        async def room(number: int) -> None:
            slices = Slices(lambda: None, clock)
            slices.begin()

            def step(_: object) -> None:
                clock.now += 0.001
                worked.append(turn)

            slices.for_each(range(200), step)
            while slices.waiting:
                await slices.rest()
            slices.end()
            finished.append(number)

        finished: list[int] = []
        rooms = [asyncio.create_task(room(number)) for number in range(8)]
        while not all(task.done() for task in rooms):
            await asyncio.sleep(0)
            turn += 1
        begun = worked.count(worked[0])
        assert begun <= 8 * SLICE_STEPS
        later = [worked.count(n) for n in set(worked) if n != worked[0]]
        assert max(later) <= SLICE_STEPS + SLICE_S / 0.001
        assert sorted(finished) == [*range(8)]

    asyncio.run(main())


@pytest.mark.parametrize("readers_of_all", [2, 500])
async def test_work_over_many_waits_for_those_it_writes_to(
    monkeypatch: pytest.MonkeyPatch, readers_of_all: int
) -> None:
    """However much it could do in a slice: it would fill the queues of all of them at once."""
    monkeypatch.setattr("lkpy.slices.SLICE_S", 1e9)
    channels = [MessageChannel[int]("x") for _ in range(readers_of_all)]

    async def read(channel: MessageChannel[int]) -> None:
        async for _ in channel:
            pass

    readers = [asyncio.create_task(read(channel)) for channel in channels]
    await asyncio.sleep(0)
    task = RoomTask("r", SystemClock())
    task.start()
    for number in range(2_000):
        task.inbox.post(
            partial(task.slices.for_each, channels, lambda channel, n=number: channel.write(n))
        )
    async with asyncio.timeout(PATIENCE_S):
        while len(task.inbox) or task.slices.waiting or any(map(len, channels)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not any(channel.closed for channel in channels)
    task.stop()
    for reader in readers:
        reader.cancel()
