"""The generator's health: when a run may not be trusted."""

from __future__ import annotations

import errno
import resource

from lkpy.errors import Code, LkpyError
from lkpy.sim.histogram import Histogram
from lkpy.sim.judge.health import (
    Health,
    ProcessorWait,
    descriptor_shortage,
    own_fault,
    socket_drops,
)

HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"
    " inode ref pointer drops\n"
)
PROC_NET_UDP = HEAD + "".join(
    f"  {inode % 100}: 00000000:D431 00000000:0000 07 00000000:00000000 00:00000000 00000000"
    f"     0        0 {inode} 2 0 {drops}\n"
    for inode, drops in ((70001, 3), (70002, 40), (70003, 500))
)


def test_only_our_sockets_count() -> None:
    assert socket_drops(PROC_NET_UDP, frozenset({70001, 70003})) == 503
    assert socket_drops(PROC_NET_UDP, frozenset()) == 0
    assert socket_drops("", frozenset({1})) == 0


def healthy() -> Health:
    return Health(
        lag=Histogram.of([0.001] * 1000),
        late=Histogram.of([0.002] * 1000),
        cpu_s=10,
        wall_s=20,
        packets=100_000,
    )


def test_a_healthy_generator_has_no_faults() -> None:
    assert healthy().faults() == []


def test_each_limit_is_a_fault() -> None:
    lagging, late, busy, dropping, skipping = (healthy() for _ in range(5))
    lagging.lag = Histogram.of([0.2] * 20 + [0.0] * 980)
    late.late = Histogram.of([0.2] * 20 + [0.0] * 980)
    busy.cpu_s = 19.9
    dropping.socket_drops = 200
    skipping.frames_skipped = 20
    for health, word in (
        (lagging, "lag"),
        (late, "late"),
        (busy, "core"),
        (dropping, "dropped"),
        (skipping, "skipped"),
    ):
        (fault,) = health.faults()
        assert word in fault


TICK = 0.02


def ticking(seconds: float, *stalls: tuple[float, float]) -> Health:
    """A process whose loop ticks for so long, and is late as told: (at, for how long)."""
    health = healthy()
    health.lag = Histogram()
    at, waiting = 0.0, sorted(stalls)
    while at < seconds:
        late = waiting.pop(0)[1] if waiting and at >= waiting[0][0] else 0.001
        health.ticked(at + late, late, TICK)
        at += TICK + (late if late > TICK else 0.0)
    return health


def test_a_single_hiccup_is_no_fault() -> None:
    health = ticking(60, (30, 0.5))
    assert health.faults() == []
    assert health.lag_max_s == 0.5


def test_one_long_stall_is_seen_whatever_the_percentile() -> None:
    health = ticking(3600, (1800, 1.5))
    (fault,) = health.faults()
    assert "stood still for 1.5 s, until second 1802 (75 ticks missed" in fault


def test_ticks_that_never_came_count_in_the_percentile() -> None:
    health = ticking(25, (9, 8.0))
    assert (health.lag.percentile(99) or 0) > 5
    assert health.ticks_missed == 400
    assert health.stalled_s == 8.0
    assert any("p99" in fault for fault in health.faults())


def test_a_process_may_be_saturated_while_clients_join_and_not_for_long() -> None:
    health = healthy()
    for second in range(60):
        health.used(1.0 if second < 5 else 0.5)
    assert health.faults() == []
    for _ in range(10):
        health.used(0.99)
    (fault,) = health.faults()
    assert "a whole core in 15 of 70 s" in fault


def test_what_this_machine_lacks_is_its_own_fault() -> None:
    def refused(error: OSError) -> LkpyError:
        try:
            try:
                raise error
            except OSError:
                raise LkpyError(Code.UNAVAILABLE, "cannot connect") from None
        except LkpyError as wrapped:
            return wrapped

    assert own_fault(refused(OSError(errno.EMFILE, "Too many open files"))) == "too many open files"
    assert own_fault(refused(OSError(errno.ECONNREFUSED, "Connection refused"))) is None
    assert own_fault(None) is None
    health = healthy()
    health.exhausted["too many open files"] = 3
    (fault,) = health.faults()
    assert fault == "too many open files (3 clients failed by it)"


def test_descriptors_are_counted_before_they_run_out() -> None:
    assert descriptor_shortage(10, 1024) is None
    assert descriptor_shortage(10_000, resource.RLIM_INFINITY) is None
    assert "664 open files" in (descriptor_shortage(150, 128) or "")


def test_waiting_for_a_processor_is_told_per_call() -> None:
    wait = ProcessorWait()
    assert 0 <= wait.read() < 60
    assert ProcessorWait(2**22 + 1).read() == 0


def test_the_wire_form_keeps_everything() -> None:
    health = healthy()
    health.socket_drops, health.samples_dropped = 7, 3
    health.exhausted["no buffer space available"] = 2
    health.ticked(5.0, 2.0, TICK)
    assert Health.from_dict(health.to_dict()).to_dict() == health.to_dict()
