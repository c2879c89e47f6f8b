"""How figures are written for people: one place for units, titles and what a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lkpy.sim import units
from lkpy.sim.metrics import METRICS, Dimension
from lkpy.text import one_line

STATUS_WORDS: dict[str, str] = {
    "passed": "passed",
    "breached": "SLO breached",
    "server_died": "the server died",
    "invalid": "invalid: no verdict on the server",
    "interrupted": "interrupted",
    "failed": "failed",
}

TIMINGS = ("join", "ice", "dtls", "ttfp", "ttff", "publish", "subscribe", "signal_rtt", "jitter")
"""Distributions in the timing table, in the order of a client's life."""
SHORT_DEFINITIONS: dict[str, str] = {
    "join": "connect to response",
    "ice": "start to ICE pair",
    "dtls": "start to DTLS done",
    "ttfp": "start to first packet",
    "ttff": "start to first frame",
    "publish": "AddTrack to answer",
    "subscribe": "announced to packet",
    "signal_rtt": "ping to pong",
    "jitter": "RFC 3550",
}
"""A metric's definition in a few words; :data:`~lkpy.sim.metrics.METRICS` has the whole one."""
MEDIA = ("bitrate", "fps", "fraction_lost", "residual_loss")
"""Distributions in the media table."""
COUNTERS = (
    "clients",
    "joined",
    "errors",
    "silences",
    "tracks",
    "packets",
    "packets_lost",
    "packets_recovered",
    "packets_residual",
    "nack",
    "pli",
)
"""Counts in the group table."""
SHOWN_STATISTICS = ("p50", "p95", "p99", "max")


def value(number: float | None, dimension: Dimension | str) -> str:
    """Return a figure with its unit; a dash where there is none."""
    if number is None:
        return "-"
    match Dimension(dimension):
        case Dimension.TIME:
            return units.format_duration(number) if number >= 1e-4 else f"{number * 1e6:.1f} us"
        case Dimension.RATIO:
            return units.format_ratio(number)
        case Dimension.BITRATE:
            return units.format_bitrate(number)
        case Dimension.COUNT:
            return f"{number:,.0f}"
        case Dimension.NUMBER:
            return f"{number:.1f}"


def count(figures: Mapping[str, Any], name: str) -> str:
    """Return a count; repeats can make RFC 3550's loss negative, which people read as none."""
    return f"{max(figures[name], 0):,}"


def metric_value(name: str, number: float | None) -> str:
    """Return a metric's figure with its unit."""
    return value(number, METRICS[name].dimension)


def verdict(slo: Mapping[str, Any]) -> str:
    """Return what was observed for an SLO, in words."""
    if slo["observed"] is None:
        return "nothing was measured"
    return value(slo["observed"], slo["dimension"])


def condition(slo: Mapping[str, Any]) -> str:
    """Return an SLO's text; what the scenario does not say is marked."""
    return f"{slo['text']} (implied)" if slo.get("implied") else str(slo["text"])


def events(document: Mapping[str, Any]) -> list[tuple[float, str, str]]:
    """Return (second, who, what) of what went wrong; what many clients say alike is said once."""
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for event in document["events"]:
        alike.setdefault(event["text"], []).append(event)
    lines = []
    for text, found in alike.items():
        who = str(found[0]["client"])
        if len(found) > 1:
            who += f" and {len(found) - 1} more"
        lines.append((float(found[0]["at_s"]), one_line(who), one_line(text)))
    return lines


def headline(document: Mapping[str, Any]) -> str:
    """Return one sentence: who took part, and what came through."""
    figures = document["metrics"]["all"]
    loss = figures.get("residual_loss")
    if not figures["clients"]:
        return "nothing was measured"
    text = f"{figures['joined']} of {figures['clients']} participants joined"
    text += f", {figures['packets']:,} packets received"
    if loss is not None:
        text += f", residual loss {units.format_ratio(loss['mean'])}"
    return text


def server_line(document: Mapping[str, Any]) -> str:
    """Return what is known of the server's effort; empty when nothing is."""
    server = document["server"]
    parts = []
    if server["cpu_per_packet_us"] is not None:
        parts.append(f"{server['cpu_per_packet_us']:.1f} us of CPU per forwarded packet")
    if server["cpu_cores_max"]:
        parts.append(f"at most {server['cpu_cores_max']:.2f} cores")
    if server["memory_bytes_max"]:
        parts.append(f"{server['memory_bytes_max'] / 1e6:.0f} MB")
    return ", ".join(parts)


def generator_line(document: Mapping[str, Any]) -> str:
    """Return how the load generator did."""
    processes = document["generator"]["processes"]
    if not processes:
        return ""
    count = len(processes)
    cpu = sum(process["cpu_cores"] for process in processes)
    lag = max(process["lag_p99_ms"] or 0.0 for process in processes)
    worst = max(process.get("lag_max_ms") or 0.0 for process in processes)
    drops = sum(process["socket_drops"] for process in processes)
    plural = "es" if count > 1 else ""
    lags = f"lag p99 {lag:.1f} ms (max {worst:.0f})"
    return f"{count} process{plural}, {cpu:.2f} cores, {lags}, {drops} drops"
