"""The generator's health: when a run may not be trusted."""

from __future__ import annotations

from lkpy.sim.health import Health, socket_drops
from lkpy.sim.histogram import Histogram

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


def test_a_single_hiccup_is_no_fault() -> None:
    health = healthy()
    health.lag.record(0.5)
    assert health.faults() == []


def test_the_wire_form_keeps_everything() -> None:
    health = healthy()
    health.socket_drops, health.samples_dropped = 7, 3
    assert Health.from_dict(health.to_dict()).to_dict() == health.to_dict()
