"""SLOs: conditions on a run's result. Pure grammar and evaluation.

[group.]metric[.statistic] operator value[unit]

join.p95 < 800ms      audience.residual_loss.mean < 0.1%      joined == 101
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from lkpy.sim.metrics import METRICS, STATISTICS, Dimension, Kind

RESERVED = frozenset(METRICS) | frozenset(STATISTICS)
"""Words that cannot name a group."""

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_UNITS: dict[Dimension, dict[str, float]] = {
    Dimension.TIME: {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0},
    Dimension.RATIO: {"%": 0.01, "": 1.0},
    Dimension.BITRATE: {"bps": 1.0, "kbps": 1e3, "mbps": 1e6, "gbps": 1e9},
    Dimension.COUNT: {"": 1.0, "k": 1e3},
    Dimension.NUMBER: {"": 1.0},
}
_TOKEN = re.compile(
    r"\s*(?P<name>[A-Za-z][\w-]*(?:\.[A-Za-z][\w-]*)*)"
    r"\s*(?P<operator><=|>=|==|!=|<|>|=)?"
    r"\s*(?P<value>-?\d+(?:\.\d+)?)?"
    r"\s*(?P<unit>%|[A-Za-z]+)?\s*"
)


class SloError(ValueError):
    """An SLO does not parse; ``offset`` is the column of the fault, from 0."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Slo:
    """A parsed condition; ``threshold`` is in base units (seconds, ratio, bit/s)."""

    text: str
    group: str | None
    metric: str
    statistic: str | None
    operator: str
    threshold: float
    implied: bool = False
    """The scenario says nothing about it, so this holds."""

    @property
    def dimension(self) -> Dimension:
        """Dimension of both sides."""
        return METRICS[self.metric].dimension


@dataclass(frozen=True, slots=True)
class Verdict:
    """An SLO beside what was measured; ``observed`` is None when there was nothing to measure."""

    slo: Slo
    observed: float | None
    samples: int
    passed: bool


Lookup = Callable[[str | None, str, str | None], tuple[float | None, int]]
"""(group, metric, statistic) → (value in base units or None, number of samples)."""


def parse(text: str, groups: Iterable[str]) -> Slo:
    """Parse one SLO. Raises :class:`SloError`."""
    match = _TOKEN.match(text)
    if match is None or match["name"] is None:
        raise SloError("expected a metric's name, as in `join.p95 < 800ms`", 0)
    group, metric, statistic = _split(match["name"], match.start("name"), list(groups))
    if match["operator"] is None:
        raise SloError("expected one of < <= > >= == !=", match.end("name"))
    if match["operator"] == "=":
        raise SloError("use == to compare", match.start("operator"))
    if match["value"] is None:
        raise SloError("expected a number", match.end("operator"))
    factor = _factor(metric, match["unit"] or "", match.start("unit"), match.end("value"))
    if match.end() != len(text):
        raise SloError(f"unexpected text {text[match.end() :].strip()!r}", match.end())
    return Slo(
        text=text.strip(),
        group=group,
        metric=metric,
        statistic=statistic,
        operator=match["operator"],
        threshold=float(match["value"]) * factor,
    )


def _split(name: str, start: int, groups: list[str]) -> tuple[str | None, str, str | None]:
    parts = name.split(".")
    offset = start
    group = None
    if parts[0] in groups:
        group = parts.pop(0)
        offset += len(group) + 1
    elif len(parts) > 1 and parts[0] not in METRICS and parts[1] in METRICS:
        raise SloError(_unknown("group", parts[0], groups), offset)
    if not parts:
        raise SloError(f"group {group!r} is followed by a metric, as in {group}.join.p95", offset)
    metric = parts[0]
    if metric not in METRICS:
        raise SloError(_unknown("metric", metric, [*METRICS, *groups]), offset)
    if METRICS[metric].scope == "run" and group is not None:
        raise SloError(f"{metric} is a figure of the whole run, not of a group", offset)
    offset += len(metric) + 1
    distribution = METRICS[metric].kind is Kind.DISTRIBUTION
    if len(parts) == 1:
        if distribution:
            raise SloError(
                f"{metric} needs a statistic: one of {', '.join(STATISTICS)}", offset - 1
            )
        return group, metric, None
    statistic = parts[1]
    if not distribution:
        raise SloError(f"{metric} is a single number: it has no .{statistic}", offset)
    if statistic not in STATISTICS:
        raise SloError(_unknown("statistic", statistic, STATISTICS), offset)
    if len(parts) > 2:
        raise SloError(f"unexpected .{parts[2]}", offset + len(statistic))
    return group, metric, statistic


def _factor(metric: str, unit: str, unit_start: int, value_end: int) -> float:
    dimension = METRICS[metric].dimension
    allowed = _UNITS[dimension]
    if unit.lower() in allowed:
        return allowed[unit.lower()]
    names = ", ".join(name for name in allowed if name)
    if not unit:
        raise SloError(f"{metric} needs a unit: one of {names}", value_end)
    if not names:
        raise SloError(f"{metric} has no unit", unit_start)
    raise SloError(f"{unit!r} does not measure {metric}; use one of {names}", unit_start)


def _unknown(what: str, word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    suggestion = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {word!r}{suggestion}"


def implied(slos: Iterable[Slo], groups: Iterable[str]) -> list[Slo]:
    """Return ``errors == 0`` for everybody about whose errors ``slos`` say nothing."""
    names = list(groups)
    judged = {slo.group for slo in slos if slo.metric == "errors"}
    if None in judged:
        return []
    texts = [f"{name}.errors == 0" for name in names if name not in judged]
    if not judged:
        texts = ["errors == 0"]
    return [replace(parse(text, names), implied=True) for text in texts]


def evaluate(slos: Iterable[Slo], lookup: Lookup) -> list[Verdict]:
    """Compare each SLO with what ``lookup`` tells. Nothing measured is a breach."""
    verdicts = []
    for slo in slos:
        observed, samples = lookup(slo.group, slo.metric, slo.statistic)
        passed = observed is not None and _OPERATORS[slo.operator](
            _rounded(observed), _rounded(slo.threshold)
        )
        verdicts.append(Verdict(slo, observed, samples, passed))
    return verdicts


def _rounded(value: float) -> float:
    # 0.1 % read from text and 1 lost in 1000 computed differ in the last bit; neither is meant.
    return float(f"{value:.12g}")


def breached(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts that did not hold."""
    return [verdict for verdict in verdicts if not verdict.passed]


def constant_lookup(
    table: Mapping[tuple[str | None, str, str | None], tuple[float | None, int]],
) -> Lookup:
    """Return a lookup in a table, for reports read back from a file."""
    return lambda group, metric, statistic: table.get((group, metric, statistic), (None, 0))
