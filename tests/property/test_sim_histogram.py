"""Histograms: merging loses nothing, percentiles are near the truth."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from lkpy.sim.histogram import Histogram
from lkpy.sim.metrics import Summary, merged

VALUES = st.lists(
    st.floats(min_value=0, max_value=1e9, allow_nan=False, allow_infinity=False), max_size=200
)


def exact(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


@given(VALUES, st.sampled_from([0, 1, 25, 50, 90, 95, 99, 99.9, 100]))
def test_percentiles_are_within_one_percent(values: list[float], percent: float) -> None:
    found = Histogram.of(values).percentile(percent)
    if not values:
        assert found is None
        return
    truth = exact(values, percent)
    assert found is not None
    assert abs(found - truth) <= 0.008 * truth + 1e-300


@given(VALUES, VALUES)
def test_merging_is_as_if_recorded_together(first: list[float], second: list[float]) -> None:
    one, other, both = Histogram.of(first), Histogram.of(second), Histogram.of(first + second)
    one.merge(other)
    assert one.counts == both.counts
    assert (one.count, one.minimum, one.maximum) == (both.count, both.minimum, both.maximum)
    assert math.isclose(one.total, both.total, rel_tol=1e-9, abs_tol=1e-9)


@given(VALUES)
def test_the_wire_form_keeps_everything(values: list[float]) -> None:
    histogram = Histogram.of(values)
    copy = Histogram.from_dict(json.loads(json.dumps(histogram.to_dict())))
    for name in ("min", "max", "mean", "p50", "p99"):
        assert copy.statistic(name) == histogram.statistic(name)


@given(st.lists(st.dictionaries(st.sampled_from(["packets", "nack"]), st.integers(0, 99))))
def test_summaries_add_up(counts: list[dict[str, int]]) -> None:
    whole = merged(Summary(counts=dict(item)) for item in counts)
    for name in ("packets", "nack"):
        assert whole.counts.get(name, 0) == sum(item.get(name, 0) for item in counts)


def test_an_empty_histogram_has_no_statistics() -> None:
    assert Histogram().statistic("mean") is None
    assert Histogram().statistic("p99") is None
    assert Histogram.from_dict(Histogram().to_dict()).count == 0


def test_repeats_and_negatives() -> None:
    histogram = Histogram()
    histogram.record(0.5, times=99)
    histogram.record(-1)
    assert histogram.statistic("min") == 0
    assert histogram.statistic("p50") == 0.5
