"""``run.json``: the one document that every other report is made from."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lkpy import __version__
from lkpy.errors import ConfigError
from lkpy.sim.metrics import METRICS, STATISTICS, Kind, Summary
from lkpy.sim.plan import Load
from lkpy.sim.result import RunResult, Sample
from lkpy.sim.samples import MAX_EVENTS

SCHEMA = "lkpy.sim/1"
WHOLE = "all"
"""Name under which the figures of all groups together are kept."""


def build(result: RunResult) -> dict[str, Any]:
    """Return the document of a run; contains no secret."""
    scenario = result.scenario.model_dump(mode="json", by_alias=True)
    scenario["target"] = {"mode": result.scenario.target.mode}
    canonical = json.dumps(scenario, sort_keys=True).encode()
    summaries = {WHOLE: result.whole, **result.groups}
    return {
        "schema": SCHEMA,
        "lkpy_version": __version__,
        "name": result.scenario.name,
        "seed": result.scenario.seed,
        "scenario_hash": hashlib.sha256(canonical).hexdigest()[:16],
        "scenario": scenario,
        "started_at": datetime.fromtimestamp(result.started_at, UTC).isoformat(timespec="seconds"),
        "duration_s": result.scenario.duration,
        "elapsed_s": round(result.elapsed, 3),
        "status": str(result.status),
        "exit_code": result.exit_code,
        "reasons": result.reasons,
        "host": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
        },
        "target": {
            "url": result.target.url,
            "embedded": result.target.embedded,
            "rooms": [room + result.target.room_suffix for room in result.plan.rooms],
            **result.server_info,
        },
        "plan": _plan(result),
        "slos": _slos(result),
        "metrics": {name: _figures(summary) for name, summary in summaries.items()},
        "summaries": {name: summary.to_dict() for name, summary in summaries.items()},
        "series": _series(result),
        "server": _server(result),
        "generator": _generator(result),
        "events": [
            {"at_s": round(event.at, 3), "client": event.client, "text": event.text}
            for event in result.events
        ],
        "events_dropped": result.events_dropped,
        "silences": _silences(result),
        "server_died_at_s": _rounded(result.server_died_at),
    }


def read(text: str, name: str) -> dict[str, Any]:
    """Read a document back. Raises :class:`ConfigError` when it is not one."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name}: not JSON: {error}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        found = f"its schema is {schema!r}" if schema else "it has no schema"
        raise ConfigError(
            f"{name}: not a result of `lkpy sim run`: {found}",
            hint=f"this version reads {SCHEMA}",
        )
    return dict(document)


def _load(load: Load) -> dict[str, int]:
    return {"packets_per_s": round(load.packets), "bits_per_s": round(load.bits)}


def _plan(result: RunResult) -> dict[str, Any]:
    plan = result.plan
    return {
        "clients": len(plan.clients),
        "rooms": len(plan.rooms),
        "processes": result.processes,
        "sent": _load(plan.sent),
        "received": _load(plan.received),
        "tracks_received": sum(load.tracks for load in plan.loads),
    }


def _slos(result: RunResult) -> list[dict[str, Any]]:
    return [
        {
            "text": verdict.slo.text,
            "group": verdict.slo.group,
            "metric": verdict.slo.metric,
            "statistic": verdict.slo.statistic,
            "operator": verdict.slo.operator,
            "threshold": verdict.slo.threshold,
            "dimension": str(verdict.slo.dimension),
            "observed": verdict.observed,
            "samples": verdict.samples,
            "passed": verdict.passed,
            "implied": verdict.slo.implied,
        }
        for verdict in result.verdicts
    ]


def _silences(result: RunResult) -> list[dict[str, Any]]:
    clients = result.plan.clients
    return [
        {
            "client": clients[silence.client].identity,
            "publisher": clients[silence.publisher].identity,
            "track": silence.track,
            "source": silence.source,
            "from_s": _rounded(silence.began),
            "to_s": _rounded(silence.ended),
            "publisher_was": "paused by the server" if silence.paused else "sending",
        }
        for silence in result.silences[:MAX_EVENTS]
    ]


def _rounded(seconds: float | None) -> float | None:
    return round(seconds, 3) if seconds is not None else None


def _figures(summary: Summary) -> dict[str, Any]:
    """Return every metric by name: a number, or its statistics with the number of samples."""
    figures: dict[str, Any] = {}
    for metric in METRICS.values():
        if metric.scope == "run":
            continue
        if metric.kind is Kind.SCALAR:
            figures[metric.name] = summary.counts.get(metric.name, 0)
            continue
        histogram = summary.distributions.get(metric.name)
        if histogram is not None and histogram.count:
            figures[metric.name] = {
                "count": histogram.count,
                **{name: histogram.statistic(name) for name in STATISTICS},
            }
    return figures


def _series(result: RunResult) -> dict[str, Any]:
    """Return per-second series: levels as they are, counters as differences."""
    samples = result.samples
    groups = sorted({name for sample in samples for name in sample.groups})
    return {
        "t_s": [sample.at for sample in samples],
        "groups": {name: _group_series(samples, name) for name in groups},
        "generator_cpu": [round(sum(sample.cpu), 3) for sample in samples],
        "generator_lag_ms": [round(sample.lag * 1000, 2) for sample in samples],
        "generator_waited": [round(sample.waited, 3) for sample in samples],
        "silent_tracks": [sample.silent_tracks for sample in samples],
        "server_t_s": [sample.at for sample in result.server_samples],
        "server_cpu": [round(sample.cpu_cores, 3) for sample in result.server_samples],
        "server_waited": [round(sample.waited, 3) for sample in result.server_samples],
        "server_memory_mb": [
            round(sample.memory_bytes / 1e6, 1) for sample in result.server_samples
        ],
    }


def _group_series(samples: list[Sample], group: str) -> dict[str, list[float]]:
    empty: Mapping[str, float] = {}

    def level(name: str) -> list[float]:
        return [sample.groups.get(group, empty).get(name, 0) for sample in samples]

    def rate(name: str, factor: float = 1.0) -> list[float]:
        values = [0.0, *level(name)]
        pairs = itertools.pairwise(values)
        return [round((after - before) * factor, 3) for before, after in pairs]

    series: dict[str, Callable[[], list[float]]] = {
        "connected": lambda: level("connected"),
        "errors": lambda: level("errors"),
        "received_bps": lambda: rate("bytes", 8),
        "received_pps": lambda: rate("packets"),
        "sent_bps": lambda: rate("bytes_sent", 8),
        "frames_per_s": lambda: rate("frames"),
        "lost_per_s": lambda: rate("lost"),
        "nacks_per_s": lambda: rate("nacks"),
        "plis_per_s": lambda: rate("plis"),
    }
    return {name: make() for name, make in series.items()}


def _server(result: RunResult) -> dict[str, Any]:
    samples = result.server_samples
    participants = [s.participants for s in samples if s.participants is not None]
    per_packet = result.cpu_per_packet
    return {
        "cpu_per_packet_us": round(per_packet * 1e6, 3) if per_packet is not None else None,
        "measured_packets": result.measured_packets,
        "cpu_cores_max": max((s.cpu_cores for s in samples), default=None),
        "memory_bytes_max": max((s.memory_bytes for s in samples), default=None),
        "participants_max": max(participants, default=None),
    }


def _generator(result: RunResult) -> dict[str, Any]:
    return {
        "processes": [
            {
                "cpu_cores": round(health.cpu, 3),
                "cpu_per_packet_us": round(health.cpu_s / health.packets * 1e6, 2)
                if health.packets
                else None,
                "packets": health.packets,
                "lag_p99_ms": _milliseconds(health.lag.percentile(99)),
                "lag_max_ms": _milliseconds(health.lag_max_s),
                "lag_max_at_s": round(health.lag_max_at, 1),
                "ticks_missed": health.ticks_missed,
                "stalled_s": round(health.stalled_s, 3),
                "saturated_s": health.saturated,
                "late_p99_ms": _milliseconds(health.late.percentile(99)),
                "socket_drops": health.socket_drops,
                "frames_skipped": health.frames_skipped,
                "samples_dropped": health.samples_dropped,
                "faults": health.faults(),
            }
            for health in result.health
        ],
    }


def _milliseconds(seconds: float | None) -> float | None:
    return round(seconds * 1000, 2) if seconds is not None else None
