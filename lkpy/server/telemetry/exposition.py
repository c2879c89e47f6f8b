"""Metrics in Prometheus' text format, version 0.0.4.

Written here because the usual client library ends every counter's name in ``_total``, which a third
of LiveKit's counters do not (``livekit_node_messages``, ``livekit_packet_bytes``); dashboards and
alerts look for those names.
https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PLAIN_FROM, _PLAIN_BELOW = -4, 6
"""Powers of ten between which numbers are written without an exponent."""

Labels = tuple[str, ...]
"""Values, in the order of an instrument's label names."""


class Instrument:
    """A named family of series, one per combination of label values."""

    kind = "untyped"

    def __init__(self, name: str, labels: Sequence[str] = (), help_text: str = "") -> None:
        self.name = name
        self.labels = tuple(labels)
        self.help_text = help_text

    def samples(self) -> Iterator[tuple[str, Sequence[tuple[str, str]], float]]:
        """Suffix of the name, labels and value of every series."""
        raise NotImplementedError

    def _pairs(self, values: Labels) -> list[tuple[str, str]]:
        return list(zip(self.labels, values, strict=True))


class _Scalar(Instrument):
    def __init__(self, name: str, labels: Sequence[str] = (), help_text: str = "") -> None:
        super().__init__(name, labels, help_text)
        self._values: dict[Labels, float] = {}
        if not labels:
            self._values[()] = 0.0

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Add to a series, which begins at zero."""
        self._values[labels] = self._values.get(labels, 0.0) + by

    def set(self, *labels: str, to: float) -> None:
        """Replace a series' value, of a counter by the total that somebody else keeps."""
        self._values[labels] = to

    def value(self, *labels: str) -> float:
        """A series' value."""
        return self._values.get(labels, 0.0)

    def samples(self) -> Iterator[tuple[str, Sequence[tuple[str, str]], float]]:
        for labels, value in sorted(self._values.items()):
            yield "", self._pairs(labels), value


class Counter(_Scalar):
    """A number that only grows."""

    kind = "counter"


class Gauge(_Scalar):
    """A number that comes and goes."""

    kind = "gauge"

    def zero(self) -> None:
        """Set every known series to zero: what is gone is told as gone, not left out."""
        self._values = dict.fromkeys(self._values, 0.0)


class Histogram(Instrument):
    """How often a value was at most each of ``buckets``, which rise."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        buckets: Sequence[float],
        labels: Sequence[str] = (),
        help_text: str = "",
    ) -> None:
        super().__init__(name, labels, help_text)
        self._buckets = tuple(buckets)
        self._series: dict[Labels, tuple[list[int], list[float]]] = {}
        """Counts per bucket with one more for what is above, and the sum."""
        if not labels:
            self._of(())

    def _of(self, labels: Labels) -> tuple[list[int], list[float]]:
        return self._series.setdefault(labels, ([0] * (len(self._buckets) + 1), [0.0]))

    def observe(self, value: float, *labels: str) -> None:
        """Count a value."""
        counts, total = self._of(labels)
        counts[bisect_left(self._buckets, value)] += 1
        total[0] += value

    def count(self, *labels: str) -> int:
        """How many values were counted."""
        return sum(self._series.get(labels, ([0], [0.0]))[0])

    def samples(self) -> Iterator[tuple[str, Sequence[tuple[str, str]], float]]:
        for labels, (counts, total) in sorted(self._series.items()):
            pairs = self._pairs(labels)
            below = 0
            for bound, count in zip((*self._buckets, math.inf), counts, strict=True):
                below += count
                yield "_bucket", [*pairs, ("le", _number(bound))], below
            yield "_sum", pairs, total[0]
            yield "_count", pairs, below


def exponential_buckets(low: float, factor: float, count: int) -> tuple[float, ...]:
    """``count`` bounds from ``low`` on that grow by ``factor``.

    Bounds become label values: they have to be LiveKit's to the last digit to be added up with
    them, so powers are taken as Go takes them.
    """
    return tuple(low * _power(factor, step) for step in range(count))


def _power(base: float, exponent: int) -> float:
    """Go's ``math.Pow`` for whole exponents: repeated squaring of the fraction."""
    fraction, power = math.frexp(base)
    result, scale = 1.0, 0
    while exponent:
        if exponent & 1:
            result *= fraction
            scale += power
        fraction *= fraction
        power *= 2
        if fraction < 0.5:
            fraction += fraction
            power -= 1
        exponent >>= 1
    return math.ldexp(result, scale)


def render(instruments: Iterable[Instrument], constant: Mapping[str, str]) -> str:
    """The text of a scrape; ``constant`` labels are on every series. Families without any series
    are left out."""
    fixed = list(constant.items())
    lines: list[str] = []
    for instrument in sorted(instruments, key=lambda item: item.name):
        head = [
            f"# HELP {instrument.name} {_escape_help(instrument.help_text)}",
            f"# TYPE {instrument.name} {instrument.kind}",
        ]
        for suffix, pairs, value in instrument.samples():
            lines += head
            head = []
            # `le` stays last, the others are sorted as the Go client sorts them.
            last = [pair for pair in pairs if pair[0] == "le"]
            first = sorted([*fixed, *(pair for pair in pairs if pair[0] != "le")])
            text = ",".join(f'{name}="{_escape(text)}"' for name, text in (*first, *last))
            labels = f"{{{text}}}" if text else ""
            lines.append(f"{instrument.name}{suffix}{labels} {_number(value)}")
    return "\n".join(lines) + "\n" if lines else ""


def _number(value: float) -> str:
    """As Go writes it (``strconv.FormatFloat`` with ``'g'``)."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    number = Decimal(repr(float(value))).normalize()
    if _PLAIN_FROM <= number.adjusted() < _PLAIN_BELOW or not number:
        return f"{number:f}"
    _, digits, _ = number.as_tuple()
    first, *rest = map(str, digits)
    mantissa = first + ("." + "".join(rest) if rest else "")
    return f"{'-' if number < 0 else ''}{mantissa}e{number.adjusted():+03d}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
