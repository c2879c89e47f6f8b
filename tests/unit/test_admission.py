"""The gate for joins: who starts, who waits, who is sent away, and how many are served by it."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from lkpy.clock import ManualClock, SystemClock
from lkpy.errors import LkpyError
from lkpy.limits import HTTP_ACCEPTED_PER_TURN
from lkpy.server.routing import admission
from lkpy.server.routing.admission import Abandoned, Admission, Overloaded
from lkpy.server.routing.admission_gate import AdmissionGate, Refused, Ticket
from lkpy.server.routing.admission_line import Line, Patience
from lkpy.server.telemetry.events import JoinHandled, Telemetry, TelemetryEvent
from tests.control_plane import until


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


# -- the line -------------------------------------------------------------------------------------


def line(gate: AdmissionGate, wait_s: float = 1.0, **values: int) -> Line[str]:
    """Who wait twice as long are browsers."""
    return Line(
        gate,
        others=Patience(wait_s, 4.0),
        browsers=Patience(2 * wait_s, 8.0),
        **({"per_turn": 2, "ahead": 3, "max_bytes": 1000} | values),
    )


def let_in(visitors: Line[str]) -> list[str]:
    """Who is let in in the rest of this turn."""
    return list(iter(visitors.follow, None))


def test_a_few_are_let_in_in_each_turn_in_order() -> None:
    visitors = line(gate())
    assert [visitors.arrive(0.0, name, 10) for name in "abcde"] == [None] * 5
    assert let_in(visitors) == ["a", "b"]
    visitors.turn_over()
    assert visitors.leave("c")
    assert not visitors.leave("c"), "idempotent"
    assert let_in(visitors) == ["d", "e"]
    assert (len(visitors), visitors.held, visitors.moves) == (0, 0, False)


def test_nobody_is_looked_at_while_enough_wait_at_the_gate() -> None:
    joins = gate(starting=1, wait_s=100.0)
    visitors = line(joins, per_turn=100)
    current, *waiting = [ask(joins) for _ in range(4)]
    assert visitors.arrive(0.0, "a", 0) is None
    assert (visitors.moves, let_in(visitors)) == (False, [])
    assert joins.done(0.1, current) == waiting[:1]
    assert let_in(visitors) == ["a"]


def test_the_line_counts_for_those_who_come() -> None:
    """Ten joins take a second, wherever they wait; and bytes are bounded."""
    visitors = line(gate())
    ask_all = [visitors.arrive(0.0, f"{number}", 10) for number in range(20)]
    assert ask_all.count(None) == len(visitors) == 10
    roomy = line(gate(), wait_s=100.0)
    assert [roomy.arrive(0.0, name, 400) is None for name in "abcd"] == [True, True, False, False]
    assert roomy.held == 800
    roomy.leave("a")
    assert roomy.arrive(0.0, "c", 400) is None


def test_who_has_waited_too_long_is_late() -> None:
    visitors = line(gate())
    assert visitors.patient_until is None
    for second, name in enumerate("abc"):
        visitors.arrive(float(second), name, 10)
    assert visitors.patient_until == 4.0
    assert visitors.late(3.9) == []
    assert visitors.late(5.0) == ["a", "b"]
    assert (visitors.patient_until, len(visitors), visitors.held) == (6.0, 1, 10)
    visitors.arrive(5.0, "browser", 10, browser=True)
    assert visitors.late(12.9) == ["c"]
    assert visitors.patient_until == 13.0
    assert visitors.late(13.0) == ["browser"]
    assert len(visitors) == visitors.held == 0


def test_those_who_wait_longer_take_turns_with_the_others() -> None:
    """Neither lane waits longer for the other than as if both were one."""
    visitors = line(gate(waiting=100), per_turn=100)
    browsers = [visitors.arrive(0.0, f"b{n}", 0, browser=True) for n in range(40)]
    assert browsers.count(None) == 20
    others = [visitors.arrive(0.0, f"o{n}", 0) for n in range(20)]
    assert others.count(None) == 5
    first = let_in(visitors)[:12]
    assert first == ["o0", "b0", "o1", "b1", "o2", "b2", "o3", "b3", "o4", "b4", "b5", "b6"]


# -- served under load -----------------------------------------------------------------------------

ACCEPT_S, LOOK_S, JOIN_S, STEPS = 0.000_05, 0.000_25, 0.002, 8
"""What one of each costs, and in how many turns of the event loop a join is done."""
BACK_OFF_S = [0.3, 1.2, 2.7, 4.8, 7.0]
"""livekit-client's pauses, to all but the first of which it adds up to a second."""


@dataclass
class Storm:
    """A processor, and clients that all come at once; those who are sent away come back when they
    were told, or as browsers do, which do not know what they were told."""

    count: int
    slowness: float = 1.0
    browsers: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.now = 0.0
        self.begun: Counter[int] = Counter()
        self.refusals: Counter[int] = Counter()
        self.gate = AdmissionGate(
            starting=admission.ADMISSION_STARTING,
            waiting=admission.ADMISSION_WAITING,
            wait_s=admission.ADMISSION_WAIT_S,
            pace_s=admission.ADMISSION_PACE_S,
            retry_max_s=admission.ADMISSION_RETRY_MAX_S,
        )
        self.line: Line[int] = Line(
            self.gate,
            per_turn=admission.ADMISSION_TAKEN_PER_TURN,
            ahead=admission.ADMISSION_AHEAD,
            others=Patience(admission.ADMISSION_WAIT_S, admission.ADMISSION_PATIENCE_S),
            browsers=Patience(
                admission.ADMISSION_BROWSER_WAIT_S, admission.ADMISSION_BROWSER_PATIENCE_S
            ),
            max_bytes=admission.ADMISSION_LINE_BYTES,
        )
        self.arrivals = [(0.0, client) for client in range(self.count)]
        self.waiting: set[Ticket] = set()
        self.steps: dict[Ticket, int] = {}

    def spend(self, seconds: float) -> None:
        self.now += seconds * self.slowness * self.chance.uniform(0.3, 1.7)

    def send_away(self, client: int, refused: Refused) -> None:
        after = float(math.ceil(refused.retry_after_s))
        if self.browsers:
            times = min(self.refusals[client], len(BACK_OFF_S) - 1)
            after = BACK_OFF_S[times] + (self.chance.random() if times else 0.0)
        self.refusals[client] += 1
        heapq.heappush(self.arrivals, (self.now + after, client))

    def accept(self) -> None:
        for _ in range(HTTP_ACCEPTED_PER_TURN):
            if not self.arrivals or self.arrivals[0][0] > self.now:
                return
            _, client = heapq.heappop(self.arrivals)
            self.spend(ACCEPT_S)
            refused = self.line.arrive(self.now, client, 5000, browser=self.browsers)
            if refused is not None:
                self.send_away(client, refused)

    def look(self) -> None:
        while (client := self.line.follow()) is not None:
            self.spend(LOOK_S)
            ticket = self.gate.ask(self.now)
            if isinstance(ticket, Refused):
                self.send_away(client, ticket)
            elif ticket.admitted:
                self.steps[ticket] = STEPS
            else:
                self.waiting.add(ticket)
        self.line.turn_over()

    def start(self) -> None:
        for ticket in list(self.steps):
            self.spend(JOIN_S / STEPS)
            self.steps[ticket] -= 1
            if self.steps[ticket]:
                continue
            del self.steps[ticket]
            self.begun[int(self.now)] += 1
            for following in self.gate.done(self.now, ticket):
                self.waiting.remove(following)
                self.steps[following] = STEPS

    def run(self) -> list[int]:
        """Sessions begun in each second."""
        while sum(self.begun.values()) < self.count:
            self.accept()
            assert not self.line.late(self.now), "nobody who was let wait is sent away"
            self.look()
            self.start()
            late = [t for t in self.waiting if self.now - t.since > admission.ADMISSION_PATIENCE_S]
            assert not late, "nobody who was let wait is sent away"
            if not self.steps and not len(self.line) and self.arrivals:
                self.now = max(self.now, self.arrivals[0][0])
        return [self.begun[second] for second in range(max(self.begun) + 1)]


def least(slowness: float) -> float:
    """80 % of the rate at which a hundred at once are served, less those who start together, and
    are done a moment before the second ends or after."""
    few = Storm(100, slowness)
    few.run()
    return 0.8 * 100 / few.now - admission.ADMISSION_STARTING


@pytest.mark.parametrize("slowness", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("count", [300, 1000, 2000, 5000])
def test_more_joins_than_a_node_can_take_do_not_cost_it_joins(count: int, slowness: float) -> None:
    """Every second but the last has at least 80 % of what a hundred at once are served with."""
    served = Storm(count, slowness).run()
    assert sum(served) == count
    assert min(served[:-1], default=math.inf) >= least(slowness), served


@pytest.mark.parametrize("slowness", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("count", [300, 1000, 2000, 5000])
def test_clients_that_come_back_when_they_like_are_served_as_fast(
    count: int, slowness: float
) -> None:
    """They wait longer, so that there are some to serve while others do what they like."""
    storm = Storm(count, slowness, browsers=True)
    served = storm.run()
    assert sum(served) == count
    assert min(served[:-1], default=math.inf) >= least(slowness), served


# -- on the event loop -----------------------------------------------------------------------------


@dataclass(eq=False)
class Visit:
    """What became of a visitor."""

    turns: list[int]
    name: int = 0
    passed: list[tuple[int, int]] = field(default_factory=list)
    away: list[str] = field(default_factory=list)

    def let_in(self) -> None:
        self.passed.append((self.name, self.turns[0]))

    def send_away(self, retry_after: str) -> None:
        self.away.append(retry_after)


async def test_a_few_pass_in_each_turn_of_the_loop(joins: Admission) -> None:
    loop, turns = asyncio.get_running_loop(), [0]
    passed: list[tuple[int, int]] = []
    done = asyncio.Event()

    def count() -> None:
        turns[0] += 1
        if len(passed) < 14:
            loop.call_soon(count)
        else:
            done.set()

    loop.call_soon(count)
    joins.gate._waiting_max = 100
    for number in range(14):
        joins.arrive(Visit(turns, number, passed))
    assert len(passed) == admission.ADMISSION_TAKEN_PER_TURN, "nobody waits without need"
    await done.wait()
    assert [number for number, _ in passed] == list(range(14))
    per_turn = Counter(turn for _, turn in passed)
    assert max(per_turn.values()) == admission.ADMISSION_TAKEN_PER_TURN


async def test_the_line_moves_on_whatever_becomes_of_one(joins: Admission) -> None:
    class Broken(Visit):
        def let_in(self) -> None:
            raise RuntimeError("broken")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    joins.gate._waiting_max = 100
    passed: list[tuple[int, int]] = []
    per_turn = admission.ADMISSION_TAKEN_PER_TURN
    with pytest.raises(RuntimeError):
        joins.arrive(Broken([0]))
    for number in range(2 * per_turn):
        kind = Broken if number == per_turn else Visit
        joins.arrive(kind([0], number, passed))
    await until(lambda: len(passed) == 2 * per_turn - 1)
    assert joins.waiting == 0


async def test_who_waits_in_line_for_too_long_is_sent_away(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "ADMISSION_PATIENCE_S", 0.01)
    monkeypatch.setattr(admission, "ADMISSION_AHEAD", 0)
    joins = Admission(SystemClock(), Telemetry(lambda event: told.append(event.outcome)))
    visits = [Visit([0]) for _ in range(3)]
    for visit in visits:
        joins.arrive(visit)
    joins.leave(visits[1])
    joins.leave(visits[1])
    with pytest.raises(Overloaded) as refused:
        await joins.check()
    assert refused.value.retry_after == "1"
    assert [visit.away for visit in visits] == [["1"], [], ["1"]]
    assert not any(visit.passed for visit in visits)
    assert joins.waiting == 0
    assert Counter(told) == {"abandoned": 1, "refused": 3}


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
