"""The verdict on a run, and what a server's life says."""

from __future__ import annotations

import itertools

import pytest

from lkpy.sim.judge.liveness import PATIENCE_S, Liveness
from lkpy.sim.judge.verdict import STARVED_LEAST, Findings, conclude, doubts
from lkpy.sim.result import EXIT_CODES, Sample, Status
from lkpy.sim.server_stats import ServerSample

ALL = {
    "failures": ("worker 1 was killed",),
    "interrupted": True,
    "server_died": "the server died",
    "faults": ("it stood still",),
    "breached": True,
}
PRECEDENCE = {
    "failures": Status.FAILED,
    "interrupted": Status.INTERRUPTED,
    "server_died": Status.SERVER_DIED,
    "faults": Status.INVALID,
    "breached": Status.BREACHED,
}


def test_of_several_findings_the_first_decides() -> None:
    for count in range(len(ALL) + 1):
        for names in itertools.combinations(ALL, count):
            status, _ = conclude(Findings(**{name: ALL[name] for name in names}))
            expected = next((PRECEDENCE[name] for name in names), Status.PASSED)
            assert status is expected, names


def test_a_busy_machine_takes_back_a_breach_and_nothing_else() -> None:
    busy = ("this machine was too busy",)
    assert conclude(Findings(doubts=busy, breached=True)) == (Status.INVALID, [*busy])
    assert conclude(Findings(doubts=busy)) == (Status.PASSED, [])
    died, reasons = conclude(Findings(doubts=busy, breached=True, server_died="it died"))
    assert (died, reasons) == (Status.SERVER_DIED, ["it died"])


def test_exit_codes_are_those_documented() -> None:
    assert {str(status): code for status, code in EXIT_CODES.items()} == {
        "passed": 0,
        "failed": 1,
        "invalid": 4,
        "breached": 99,
        "server_died": 99,
        "interrupted": 130,
    }


@pytest.mark.parametrize("who", ["generator", "server"])
def test_a_machine_is_busy_when_somebody_waited_for_it_in_many_seconds(who: str) -> None:
    def waited(*waits: float) -> list[str]:
        mine = [Sample(at, waited=wait) for at, wait in enumerate(waits)]
        servers = [ServerSample(at, 0.1, None, 0, None, wait) for at, wait in enumerate(waits)]
        return doubts(mine if who == "generator" else [], servers if who == "server" else [])

    assert waited(*[0.1] * 60) == []
    assert waited(*[0.9] * STARVED_LEAST, *[0.0] * 8) == []
    (said,) = waited(*[0.0] * 40, *[0.5] * 20)
    assert "20 of 60 s" in said
    assert who in said


def test_a_server_that_refuses_twice_is_dead() -> None:
    life = Liveness(100.0)
    life.refused()
    assert life.died(101.0) is None
    life.refused()
    assert "refused" in (life.died(101.0) or "")


def test_a_server_that_is_silent_to_all_is_dead_in_time() -> None:
    life = Liveness(100.0)
    assert life.died(500.0) is None, "nobody has asked"
    life.unanswered("no answer")
    assert life.died(100.0 + PATIENCE_S / 2) is None
    assert life.died(100.0 + PATIENCE_S) == "no answer"


def test_whoever_sends_media_lives() -> None:
    life = Liveness(100.0)
    life.unanswered("no answer")
    life.heard(103.0)
    assert not life.quiet(103.2)
    assert life.died(105.0) is None
    life.refused()
    life.heard(106.0)
    life.refused()
    assert life.died(106.5) is None
