"""The result as one HTML file: no other file, no network, light and dark."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from lkpy.sim import units
from lkpy.sim.metrics import METRICS
from lkpy.sim.report import words
from lkpy.sim.report.document import WHOLE
from lkpy.text import printable

_RANGE_WIDTH = 220.0


def render(document: Mapping[str, Any]) -> str:
    """Return the page."""
    charts = _charts(document)
    # "</" inside a script element would end it, wherever it stands.
    data = json.dumps({"charts": charts}, separators=(",", ":")).replace("</", "<\\/")
    body = "\n".join(
        [
            _header(document),
            _reasons(document),
            _tiles(document),
            _slos(document),
            _events(document),
            _chart_holders(charts),
            _timings(document),
            _groups(document),
            _processes(document),
            _footer(document),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(str(document['name']))} - lkpy sim</title>"
        f"<style>\n{_asset('report.css')}</style></head>\n<body><main>\n{body}\n</main>\n"
        f'<script type="application/json" id="data">{data}</script>\n'
        f"<script>\n{_asset('report.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return resources.files("lkpy.sim.report").joinpath("assets", name).read_text("utf-8")


def _header(document: Mapping[str, Any]) -> str:
    status = str(document["status"])
    target = document["target"]
    where = "embedded server" if target["embedded"] else str(target["url"])
    details = [
        str(document["started_at"]).replace("T", " ").replace("+00:00", " UTC"),
        units.format_duration(document["elapsed_s"]),
        f"seed {document['seed']}",
        where,
    ]
    if target.get("version"):
        details.append(f"server {target['version']}")
    return (
        f"<header><div><h1>{escape(str(document['name']))}</h1>"
        f"<p>{escape(words.headline(document))}</p>"
        f'<p class="soft">{escape("  ·  ".join(details))}</p></div>'
        f'<span class="status {escape(status)}">{escape(words.STATUS_WORDS[status])}</span>'
        '<button id="theme" type="button">Theme</button></header>'
    )


def _reasons(document: Mapping[str, Any]) -> str:
    if not document["reasons"]:
        return ""
    lines = "".join(f"<p>{escape(printable(reason))}</p>" for reason in document["reasons"])
    return f'<section class="reasons">{lines}</section>'


def _tiles(document: Mapping[str, Any]) -> str:
    figures = document["metrics"][WHOLE]
    series = document["series"]["groups"].values()
    seconds = zip(*(values["received_bps"] for values in series), strict=True)
    peak = max((sum(second) for second in seconds), default=0)
    tiles = [
        (f"{figures['joined']} / {figures['clients']}", "participants joined"),
        (f"{figures['errors']:,}", "participants with errors"),
        (_statistic(figures, "join", "p95"), "join, p95"),
        (_statistic(figures, "ttff", "p95"), "first frame, p95"),
        (_statistic(figures, "residual_loss", "mean"), "residual loss, mean"),
        (units.format_bitrate(peak), "received, highest second"),
    ]
    per_packet = document["server"]["cpu_per_packet_us"]
    if per_packet is not None:
        tiles.append((f"{per_packet:.1f} us", "server CPU per packet"))
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _statistic(figures: Mapping[str, Any], metric: str, statistic: str) -> str:
    return words.metric_value(metric, figures.get(metric, {}).get(statistic))


def _slos(document: Mapping[str, Any]) -> str:
    if not document["slos"]:
        return ""
    rows = []
    for slo in document["slos"]:
        mark, style = ("✓", "pass") if slo["passed"] else ("✗", "fail")
        rows.append(
            f'<tr><td><span class="mark {style}">{mark}</span>'
            f"<code>{escape(words.condition(slo))}</code></td>"
            f"<td>{escape(words.verdict(slo))}</td><td>{slo['samples']:,}</td></tr>"
        )
    head = "<tr><th>condition</th><th>observed</th><th>samples</th></tr>"
    return _section("Service level objectives", _table(head, rows))


def _charts(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    series = document["series"]
    times = series["t_s"]
    groups: Mapping[str, Mapping[str, list[float]]] = series["groups"]

    def per_group(key: str) -> list[dict[str, Any]]:
        return [
            {"name": name, "t": times, "v": values[key]}
            for name, values in groups.items()
            if any(values[key])
        ]

    def summed(key: str, name: str) -> dict[str, Any]:
        columns = zip(*(values[key] for values in groups.values()), strict=True)
        return {"name": name, "t": times, "v": [sum(column) for column in columns]}

    generator = {"name": "generator", "t": times, "v": series["generator_cpu"]}
    server_times = series["server_t_s"]
    server = {"name": "server", "t": server_times, "v": series["server_cpu"]}
    memory = {"name": "server", "t": server_times, "v": series["server_memory_mb"]}
    lag = {"name": "event loop lag", "t": times, "v": series["generator_lag_ms"]}
    charts = [
        ("Participants connected", "count", 1, per_group("connected")),
        ("Received by clients", "bitrate", 1000, per_group("received_bps")),
        ("Packets received per second", "count", 10, per_group("received_pps")),
        ("Video frames per second, all streams", "count", 1, per_group("frames_per_s")),
        (
            "Loss and recovery per second",
            "count",
            5,
            [
                summed("lost_per_s", "lost"),
                summed("nacks_per_s", "NACKed"),
                summed("plis_per_s", "PLI"),
            ],
        ),
        ("CPU cores used", "cores", 0.1, [generator, *([server] if server_times else [])]),
        ("Generator: longest wait for the event loop, per second", "milliseconds", 5, [lag]),
    ]
    if any(series.get("silent_tracks", ())):
        silent = {"name": "silent", "t": times, "v": series["silent_tracks"]}
        charts.insert(1, ("Tracks that should flow and do not", "count", 1, [silent]))
    if any(series["server_memory_mb"]):
        charts.append(("Server memory", "megabytes", 10, [memory]))
    return [
        {"title": title, "unit": unit, "least": least, "lines": lines}
        for title, unit, least, lines in charts
    ]


def _chart_holders(charts: Sequence[Mapping[str, Any]]) -> str:
    holders = "".join(
        f'<section data-chart="{index}"><h3>{escape(chart["title"])}</h3>'
        '<div class="legend"></div><div class="chart"></div></section>'
        for index, chart in enumerate(charts)
    )
    return f'<div class="charts">{holders}</div>'


def _timings(document: Mapping[str, Any]) -> str:
    figures = document["metrics"][WHOLE]
    present = [name for name in words.TIMINGS if name in figures]
    if not present:
        return ""
    longest = max(figures[name]["max"] for name in present) or 1.0
    rows = [
        f"<tr><td>{name}</td>"
        + "".join(
            f"<td>{escape(words.metric_value(name, figures[name][key]))}</td>"
            for key in words.SHOWN_STATISTICS
        )
        + f"<td>{figures[name]['count']:,}</td>"
        + f'<td class="note">{_range(figures[name], longest)}</td>'
        + f'<td class="note">{escape(METRICS[name].description)}</td></tr>'
        for name in present
    ]
    head = "<tr><th>time</th>" + "".join(f"<th>{key}</th>" for key in words.SHOWN_STATISTICS)
    head += '<th>samples</th><th class="note">min to max, p50 to p95, p50</th><th></th></tr>'
    return _section("Times", _table(head, rows))


def _range(values: Mapping[str, float], longest: float) -> str:
    def x(seconds: float) -> float:
        # A square root scale keeps milliseconds visible beside seconds.
        return round(6 + (_RANGE_WIDTH - 12) * math.sqrt(seconds / longest), 1)

    return (
        f'<svg class="range" viewBox="0 0 {_RANGE_WIDTH:.0f} 16" aria-hidden="true">'
        f'<line class="track" x1="{x(values["min"])}" x2="{x(values["max"])}" y1="8" y2="8"/>'
        f'<line class="span" x1="{x(values["p50"])}" x2="{x(values["p95"])}" y1="8" y2="8"/>'
        f'<circle class="dot" cx="{x(values["p50"])}" cy="8" r="3.5"/></svg>'
    )


def _groups(document: Mapping[str, Any]) -> str:
    names = [name for name in document["metrics"] if name != WHOLE]
    names = names if len(names) == 1 else [*names, WHOLE]
    rows = []
    for name in names:
        figures = document["metrics"][name]
        cells = [words.count(figures, key) for key in words.COUNTERS]
        cells += [_statistic(figures, key, "mean") for key in words.MEDIA]
        rows.append("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in [name, *cells]) + "</tr>")
    titles = [name.removeprefix("packets_") for name in words.COUNTERS]
    titles += [f"{name.replace('_', ' ')}, mean" for name in words.MEDIA]
    head = "<tr><th>group</th>" + "".join(f"<th>{escape(title)}</th>" for title in titles)
    return _section("Groups", _table(head + "</tr>", rows))


def _processes(document: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td>process {index}</td><td>{p['cpu_cores']:.2f}</td><td>{p['packets']:,}</td>"
        f"<td>{_number(p['cpu_per_packet_us'], 'us')}</td><td>{_number(p['lag_p99_ms'], 'ms')}</td>"
        f"<td>{_number(p.get('lag_max_ms'), 'ms')}</td><td>{p.get('ticks_missed', 0):,}</td>"
        f"<td>{_number(p['late_p99_ms'], 'ms')}</td><td>{p['socket_drops']:,}</td>"
        f"<td>{p['frames_skipped']:,}</td></tr>"
        for index, p in enumerate(document["generator"]["processes"])
    ]
    if not rows:
        return ""
    titles = ("cores", "packets", "CPU per packet", "loop lag p99", "longest", "ticks missed")
    head = "<tr><th>generator</th>" + "".join(
        f"<th>{title}</th>"
        for title in (*titles, "frames late p99", "socket drops", "frames skipped")
    )
    return _section("Load generator", _table(head + "</tr>", rows))


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f} {unit}"


def _events(document: Mapping[str, Any]) -> str:
    if not document["events"]:
        return ""
    rows = [
        f'<tr><td>{at:.1f} s</td><td class="wrap">{escape(who)}</td>'
        f'<td class="wrap">{escape(text)}</td></tr>'
        for at, who, text in words.events(document)
    ]
    if document["events_dropped"]:
        more = f"and {document['events_dropped']} more"
        rows.append(f'<tr><td></td><td></td><td class="wrap">{more}</td></tr>')
    head = '<tr><th>at</th><th class="note">client</th><th class="note">what happened</th></tr>'
    return _section("Failures", _table(head, rows))


def _footer(document: Mapping[str, Any]) -> str:
    host = document["host"]
    parts = (
        f"lkpy {document['lkpy_version']}",
        f"scenario {document['scenario_hash']}",
        str(host["platform"]),
        f"{host['cpus']} CPUs",
        f"Python {host['python']}",
    )
    return f"<footer>{escape('  ·  '.join(parts))}</footer>"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(head: str, rows: Iterable[str]) -> str:
    body = "".join(rows)
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'
