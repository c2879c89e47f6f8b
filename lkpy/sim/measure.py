"""A client's figures: the counters of a moment, and the summary of its whole life."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lkpy.sim.judge.expected import Arrivals
from lkpy.sim.metrics import Summary
from lkpy.sim.peers.peer import Peer

RESIDUAL_GRACE_S = 1.0
"""Packets missed this shortly before the end may still be on their way: not counted as lost."""


@dataclass(slots=True)
class Times:
    """Monotonic seconds at which things first happened."""

    started: float = 0.0
    joined: float | None = None
    connected: float | None = None
    added: dict[str, float] = field(default_factory=dict)
    """AddTrack sent, by client track id."""
    announced: dict[str, float] = field(default_factory=dict)
    """Track of somebody else announced, by track SID."""


def counters(times: Times, peers: Iterable[Peer], *, present: bool, failed: bool) -> dict[str, int]:
    """Return the counters of this moment, under the names of a worker's sample."""
    result = {
        "joined": int(present and times.joined is not None),
        "connected": int(present and times.connected is not None),
        "errors": int(failed),
    }
    for peer in peers:
        totals, sent = peer.receiver.totals, peer.out.totals
        for name, value in (
            ("packets", totals.packets),
            ("bytes", totals.bytes),
            ("frames", totals.frames),
            ("nacks", totals.nacks),
            ("plis", totals.plis),
            ("lost", sum(stream.lost for stream in peer.receiver.streams.values())),
            ("packets_sent", sent.packets),
            ("bytes_sent", sent.bytes),
        ):
            result[name] = result.get(name, 0) + value
    return result


def arrivals(peers: Iterable[Peer]) -> dict[str, Arrivals]:
    """Return what came of each received track, by its SID; gaps are those since the last call."""
    found: dict[str, Arrivals] = {}
    for peer in peers:
        for stream in peer.receiver.streams.values():
            if stream.packets:
                new = Arrivals(stream.last_at, *stream.take_gap())
                found[stream.track_sid] = max(new, found.get(stream.track_sid, new))
    return found


def conclude(
    summary: Summary, times: Times, peers: list[Peer], *, failed: bool, now: float
) -> None:
    """Add to ``summary`` what is known at a client's end."""
    summary.add("clients")
    summary.add("joined", int(times.joined is not None))
    summary.add("connected", int(times.connected is not None))
    summary.add("errors", int(failed))
    for name, at in (
        ("join", times.joined),
        ("ice", _first(peer.link.ice_at for peer in peers)),
        ("dtls", times.connected),
        ("ttfp", _first(peer.receiver.first.packet_at for peer in peers)),
    ):
        if at is not None:
            summary.record(name, at - times.started)
    _count_media(summary, times, peers, now)


def _first(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)


def _count_media(summary: Summary, times: Times, peers: list[Peer], now: float) -> None:
    expected = lost = residual = size = 0
    for peer in peers:
        totals, sent = peer.receiver.totals, peer.out.totals
        summary.add("packets", totals.packets)
        summary.add("nack", totals.nacks)
        summary.add("pli", totals.plis)
        summary.add("decrypt_errors", totals.decrypt_errors)
        summary.add("packets_sent", sent.packets)
        size += totals.bytes
        for stream in peer.receiver.streams.values():
            if not stream.packets:
                continue
            summary.add("tracks")
            summary.add("packets_recovered", stream.restored)
            summary.record("jitter", stream.jitter / stream.clock_rate)
            expected += stream.expected
            lost += stream.lost
            residual += stream.residual(now, RESIDUAL_GRACE_S)
            if stream.kind == "video" and stream.first_frame_at is not None:
                summary.record("fps", stream.frames / max(now - stream.first_at, 1e-3))
    summary.add("packets_lost", lost)
    summary.add("packets_residual", residual)
    if expected:
        summary.record("fraction_lost", max(lost, 0) / expected)
        summary.record("residual_loss", residual / expected)
    if size and times.connected is not None and now > times.connected:
        summary.record("bitrate", size * 8 / (now - times.connected))
