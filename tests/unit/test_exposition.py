"""Prometheus' text format, and numbers as Go writes them."""

from __future__ import annotations

import pytest

from lkpy.server.telemetry import metrics
from lkpy.server.telemetry.exposition import Counter, Gauge, Histogram, render


def test_counters_gauges_and_histograms() -> None:
    counter = Counter("calls", ("method", "code"), 'What\nwas "called".')
    counter.add("b", "")
    counter.add("a", 'quo"te\\\n', by=2.5)
    gauge = Gauge("rooms")
    histogram = Histogram("wait_ms", (1, 2.5), ("kind",))
    for value in (0.5, 1, 2, 9):
        histogram.observe(value, "x")
    assert render([histogram, gauge, counter], {"node": "n"}) == (
        '# HELP calls What\\nwas "called".\n'
        "# TYPE calls counter\n"
        'calls{code="quo\\"te\\\\\\n",method="a",node="n"} 2.5\n'
        'calls{code="",method="b",node="n"} 1\n'
        "# HELP rooms \n"
        "# TYPE rooms gauge\n"
        'rooms{node="n"} 0\n'
        "# HELP wait_ms \n"
        "# TYPE wait_ms histogram\n"
        'wait_ms_bucket{kind="x",node="n",le="1"} 2\n'
        'wait_ms_bucket{kind="x",node="n",le="2.5"} 3\n'
        'wait_ms_bucket{kind="x",node="n",le="+Inf"} 4\n'
        'wait_ms_sum{kind="x",node="n"} 12.5\n'
        'wait_ms_count{kind="x",node="n"} 4\n'
    )


def test_families_without_series_are_left_out() -> None:
    assert render([Counter("calls", ("method",)), Histogram("wait", (1,), ("kind",))], {}) == ""


def test_a_series_without_labels_is_there_from_the_start() -> None:
    assert render([Counter("calls")], {}).endswith("\ncalls 0\n")


def test_a_gauge_forgets_no_series() -> None:
    gauge = Gauge("tracks", ("kind",))
    gauge.add("AUDIO")
    gauge.zero()
    assert 'tracks{kind="AUDIO"} 0\n' in render([gauge], {})


def test_labels_have_to_fit() -> None:
    counter = Counter("calls", ("method", "code"))
    counter.add("only one")
    with pytest.raises(ValueError, match="zip"):
        render([counter], {})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-1, "-1"),
        (0.25, "0.25"),
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (999_999, "999999"),
        (1e6, "1e+06"),
        (-1_234_567.5, "-1.2345675e+06"),
        (1e21, "1e+21"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
    ],
)
def test_numbers_are_written_as_go_writes_them(value: float, text: str) -> None:
    gauge = Gauge("g")
    gauge.set(to=value)
    assert render([gauge], {}).endswith(f"g {text}\n")


def test_bounds_are_livekits_to_the_last_digit() -> None:
    """Recorded from livekit-server 1.13.11: other bounds could not be added up with its own."""

    def bounds(buckets: tuple[float, ...]) -> list[str]:
        text = render([Histogram("h", buckets)], {})
        return [line.split('le="')[1].split('"')[0] for line in text.splitlines() if "le=" in line]

    join, start = bounds(metrics._JOIN_MS), bounds(metrics._START_MS)
    session = bounds(metrics._SESSION_MS)
    assert join[:3] == ["10", "16.37893706954064", "26.826957952797258"]
    assert join[-2:] == ["10000.000000000004", "+Inf"]
    assert start[:3] == ["100", "138.94954943731375", "193.06977288832496"]
    assert start[-2:] == ["9999.999999999978", "+Inf"]
    assert session[:3] == ["100", "233.59011674382418", "545.6434264039341"]
    assert session[-3:] == ["6.164644378251824e+06", "1.440000000000003e+07", "+Inf"]
