"""The gate for joins: who starts, who waits, who is sent away, and how many are served by it."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections import Counter

import pytest

from lkpy.clock import ManualClock
from lkpy.errors import LkpyError
from lkpy.server.routing import admission
from lkpy.server.routing.admission import Abandoned, Admission, Overloaded, Turnstile
from lkpy.server.routing.admission_gate import AdmissionGate, Refused, Ticket
from lkpy.server.telemetry.events import JoinHandled, Telemetry, TelemetryEvent


def gate(**values: float) -> AdmissionGate:
    defaults = {"starting": 2, "waiting": 10, "wait_s": 1.0, "pace_s": 0.1, "retry_max_s": 30.0}
    return AdmissionGate(**(defaults | values))  # type: ignore[arg-type]


def ask(gate: AdmissionGate, now: float = 0.0) -> Ticket:
    ticket = gate.ask(now)
    assert isinstance(ticket, Ticket)
    return ticket


def test_few_start_at_a_time_and_the_others_follow_in_order() -> None:
    joins = gate()
    first, second, third, fourth = (ask(joins) for _ in range(4))
    assert [t.admitted for t in (first, second, third, fourth)] == [True, True, False, False]
    assert joins.done(0.1, second) == [third]
    assert joins.done(0.1, second) == [], "idempotent"
    assert joins.done(0.2, first) == [fourth]
    assert (joins.starting, joins.waiting) == (2, 0)


def test_whoever_gives_up_while_waiting_has_no_turn() -> None:
    joins = gate(starting=1)
    first, second, third = (ask(joins) for _ in range(3))
    assert joins.done(0.1, second, started=False) == []
    assert joins.done(0.2, first) == [third]


def test_only_those_wait_whose_turn_comes_soon() -> None:
    joins = gate()
    tickets = [joins.ask(0.0) for _ in range(20)]
    refused = [ticket for ticket in tickets if isinstance(ticket, Refused)]
    # Ten of them take a second.
    assert len(refused) == 10
    assert joins.waiting == 8


def test_those_sent_away_are_told_different_times() -> None:
    joins = gate(wait_s=0.0)
    ask(joins), ask(joins)
    told = [joins.ask(0.0) for _ in range(400)]
    after = [refused.retry_after_s for refused in told if isinstance(refused, Refused)]
    assert len(after) == 400
    assert after == sorted(after)
    assert after[9] == pytest.approx(10 * 0.8 * 0.1)
    assert after[-1] == 30.0


def test_the_pace_is_measured_while_there_is_always_one_starting() -> None:
    joins = gate(starting=1, waiting=10_000, wait_s=1000.0)
    now, current = 0.0, ask(joins)
    for _ in range(500):
        ask(joins, now)
    for _ in range(300):
        now += 0.02
        (current,) = joins.done(now, current)
    assert joins.pace_s == pytest.approx(0.02, rel=0.05)


def test_time_in_which_nobody_joins_is_not_measured() -> None:
    joins = gate()
    for second in range(100):
        joins.done(second + 0.003, ask(joins, float(second)))
    assert joins.pace_s == 0.1


# -- served under load -----------------------------------------------------------------------------


def storm(count: int, *, slowness: float = 1.0, seed: int = 1) -> list[int]:
    """Sessions begun in each second of a processor that takes 2.5 ms for a join in four steps and a
    quarter of a millisecond for whoever comes, in the turns of an event loop. Clients that are
    sent away come back when they were told."""
    chance = random.Random(seed)
    joins = AdmissionGate(
        starting=admission.ADMISSION_STARTING,
        waiting=admission.ADMISSION_WAITING,
        wait_s=admission.ADMISSION_WAIT_S,
        pace_s=admission.ADMISSION_PACE_S,
        retry_max_s=admission.ADMISSION_RETRY_MAX_S,
    )
    now, begun = 0.0, Counter[int]()
    arrivals = [(0.0, client) for client in range(count)]
    steps: dict[Ticket, int] = {}
    waiting: set[Ticket] = set()

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds * slowness * chance.uniform(0.3, 1.7)

    while sum(begun.values()) < count:
        for _ in range(admission.ADMISSION_TAKEN_PER_TURN):
            if not arrivals or arrivals[0][0] > now:
                break
            _, client = heapq.heappop(arrivals)
            spend(0.000_25)
            ticket = joins.ask(now)
            if isinstance(ticket, Refused):
                heapq.heappush(arrivals, (now + math.ceil(ticket.retry_after_s), client))
            elif ticket.admitted:
                steps[ticket] = 4
            else:
                waiting.add(ticket)
        for ticket in list(steps):
            spend(0.0025 / 4)
            steps[ticket] -= 1
            if not steps[ticket]:
                del steps[ticket]
                begun[int(now)] += 1
                for following in joins.done(now, ticket):
                    waiting.remove(following)
                    steps[following] = 4
        late = [ticket for ticket in waiting if now - ticket.since > admission.ADMISSION_PATIENCE_S]
        assert not late, "nobody who was let wait is sent away"
        if not steps and arrivals:
            now = max(now, arrivals[0][0])
    return [begun[second] for second in range(max(begun) + 1)]


@pytest.mark.parametrize("slowness", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("count", [300, 1000, 2000, 5000])
def test_more_joins_than_a_node_can_take_do_not_cost_it_joins(count: int, slowness: float) -> None:
    """Every second but the last has at least 80 % of what few at once are served with."""
    capacity = 1 / (slowness * (0.0025 + 0.000_25))
    served = storm(count, slowness=slowness)
    assert sum(served) == count
    assert all(second >= 0.8 * capacity for second in served[:-1]), served


# -- on the event loop -----------------------------------------------------------------------------


async def test_a_few_pass_in_each_turn_of_the_loop_in_order() -> None:
    turnstile, loop = Turnstile(3), asyncio.get_running_loop()
    turn = 0
    passed: list[tuple[int, int]] = []

    def count() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(count)

    async def one(number: int) -> None:
        await turnstile.enter()
        passed.append((number, turn))

    loop.call_soon(count)
    await asyncio.gather(*(one(number) for number in range(12)))
    assert [number for number, _ in passed] == list(range(12))
    per_turn = Counter(turn for _, turn in passed)
    assert max(per_turn.values()) == 3


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def joins(told: list[str], monkeypatch: pytest.MonkeyPatch) -> Admission:
    def listen(event: TelemetryEvent) -> None:
        assert isinstance(event, JoinHandled)
        told.append(event.outcome)

    monkeypatch.setattr(admission, "ADMISSION_STARTING", 1)
    monkeypatch.setattr(admission, "ADMISSION_WAITING", 2)
    return Admission(ManualClock(), Telemetry(listen))


async def test_turns_are_taken_and_told(joins: Admission, told: list[str]) -> None:
    order: list[int] = []
    release = asyncio.Event()

    async def one(number: int, gone: bool = False) -> None:
        async with joins.turn(lambda: gone):
            order.append(number)
            await release.wait()

    tasks = [asyncio.create_task(one(n, n == 1)) for n in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await tasks[3]
    assert refused.value.http_status == 503
    assert refused.value.retry_after_s > 0
    with pytest.raises(Overloaded):
        await joins.check()
    release.set()
    with pytest.raises(Abandoned):
        await tasks[1]
    await asyncio.gather(tasks[0], tasks[2])
    assert order == [0, 2]
    assert Counter(told) == {"admitted": 2, "queued": 2, "refused": 2, "abandoned": 1}
    assert (joins.gate.starting, joins.gate.waiting) == (0, 0)
    await joins.check()


async def test_a_start_that_fails_or_is_cancelled_gives_its_place_back(joins: Admission) -> None:
    with pytest.raises(LkpyError):
        async with joins.turn(lambda: False):
            raise Abandoned
    waiting = asyncio.Event()

    async def hang() -> None:
        async with joins.turn(lambda: False):
            await waiting.wait()

    first, second = asyncio.create_task(hang()), asyncio.create_task(hang())
    await asyncio.sleep(0)
    assert (joins.gate.starting, joins.gate.waiting) == (1, 1)
    for task in (second, first):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert (joins.gate.starting, joins.gate.waiting) == (0, 0)


async def test_a_turn_that_comes_too_late_is_refused(
    joins: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "ADMISSION_PATIENCE_S", 0.01)
    async with joins.turn(lambda: False):
        with pytest.raises(Overloaded):
            async with joins.turn(lambda: False):
                pass
    assert (joins.gate.starting, joins.gate.waiting) == (0, 0)
