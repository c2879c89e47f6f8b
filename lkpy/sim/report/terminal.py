"""The result as tables in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from lkpy.sim.report import words
from lkpy.sim.report.document import WHOLE
from lkpy.text import printable

MAX_EVENTS = 8
WIDTH = 500
_STYLES = {"passed": "bold green", "interrupted": "bold yellow"}


def show(console: Console, document: Mapping[str, Any]) -> None:
    """Print the result. Where the terminal is narrow lines go on in the next: no figure is cut."""
    console.width = max(console.width, WIDTH)
    console.print(render(document), soft_wrap=True)


def render(document: Mapping[str, Any]) -> Group:
    """Return the result as something Rich can print."""
    parts: list[Table | Text] = [
        _title(document),
        Text(words.headline(document)),
        Text(),
        _groups(document),
        Text(),
        _timings(document),
        Text(),
    ]
    for label, line in (
        ("server", words.server_line(document)),
        ("generator", words.generator_line(document)),
    ):
        if line:
            parts.append(Text.assemble((f"{label:<10}", "dim"), line))
    parts.append(Text())
    parts.extend(_events(document))
    parts.extend(_verdicts(document))
    parts.extend(
        Text(f"! {printable(reason)}", style="bold yellow") for reason in document["reasons"]
    )
    status = str(document["status"])
    parts.append(Text(words.STATUS_WORDS[status], style=_STYLES.get(status, "bold red")))
    return Group(*parts)


def _title(document: Mapping[str, Any]) -> Text:
    target = document["target"]
    where = "embedded server" if target["embedded"] else target["url"]
    details = f"  {document['elapsed_s']:.0f} s, seed {document['seed']}, {where}"
    return Text.assemble((str(document["name"]), "bold"), (details, "dim"))


def _table(first: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(first, no_wrap=True)
    return table


def _names(document: Mapping[str, Any]) -> list[str]:
    groups = [name for name in document["metrics"] if name != WHOLE]
    return groups if len(groups) == 1 else [*groups, WHOLE]


def _groups(document: Mapping[str, Any]) -> Table:
    """The table of groups; it fits 80 columns as long as names and numbers are moderate."""
    table = _table("group")
    for name in (
        "joined",
        "errors",
        "tracks",
        "packets",
        "lost",
        "residual",
        "bitrate",
        "fps",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for name in _names(document):
        figures = document["metrics"][name]
        short = figures["joined"] < figures["clients"]
        joined = Text(f"{figures['joined']}/{figures['clients']}", style="red" if short else "")
        residual = figures["packets_residual"]
        table.add_row(
            name,
            joined,
            Text(f"{figures['errors']:,}", style="red" if figures["errors"] else ""),
            *(words.count(figures, key) for key in ("tracks", "packets", "packets_lost")),
            Text(f"{residual:,}", style="red" if residual else ""),
            *(_mean(figures, key) for key in ("bitrate", "fps")),
        )
    return table


def _mean(figures: Mapping[str, Any], metric: str) -> str:
    return words.metric_value(metric, figures.get(metric, {}).get("mean"))


def _timings(document: Mapping[str, Any]) -> Table:
    table = _table("time")
    for name in (*words.SHOWN_STATISTICS, "samples"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("from", style="dim", no_wrap=True)
    figures = document["metrics"][WHOLE]
    for name in words.TIMINGS:
        if name in figures:
            values = figures[name]
            table.add_row(
                name,
                *(words.metric_value(name, values[key]) for key in words.SHOWN_STATISTICS),
                f"{values['count']:,}",
                words.SHORT_DEFINITIONS[name],
            )
    return table


def _events(document: Mapping[str, Any]) -> list[Text]:
    events = words.events(document)
    lines = [
        Text(f"{at:7.1f} s  {who}: {text}", style="yellow") for at, who, text in events[:MAX_EVENTS]
    ]
    hidden = len(events) - len(lines) + document["events_dropped"]
    if hidden:
        lines.append(Text(f"           and {hidden} more, in the report", style="dim"))
    return lines


def _verdicts(document: Mapping[str, Any]) -> list[Text]:
    lines = []
    for slo in document["slos"]:
        mark, style = ("✓", "green") if slo["passed"] else ("✗", "bold red")
        lines.append(
            Text.assemble(
                (f"{mark} ", style),
                words.condition(slo),
                (f"   {words.verdict(slo)}", "dim"),
            )
        )
    return lines
