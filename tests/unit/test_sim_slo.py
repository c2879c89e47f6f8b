"""The SLO language."""

from __future__ import annotations

import pytest

from lkpy.sim import slo
from lkpy.sim.metrics import Dimension

GROUPS = ["audience", "stage"]


def test_what_is_written_is_understood() -> None:
    parsed = slo.parse(" audience.residual_loss.mean<=0.1% ", GROUPS)
    assert (parsed.group, parsed.metric, parsed.statistic) == ("audience", "residual_loss", "mean")
    assert parsed.operator == "<="
    assert parsed.threshold == pytest.approx(0.001)
    assert parsed.text == "audience.residual_loss.mean<=0.1%"
    assert slo.parse("join.p95 < 1.5s", []).threshold == pytest.approx(1.5)
    assert slo.parse("bitrate.p50 > 1mbps", []).threshold == pytest.approx(1e6)
    assert slo.parse("joined == 101", []).dimension is Dimension.COUNT


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("", 0, "expected a metric"),
        ("< 3", 0, "expected a metric"),
        ("joinn.p95 < 1s", 0, "did you mean 'join'"),
        ("audiense.join.p95 < 1s", 0, "unknown group 'audiense'; did you mean 'audience'"),
        ("audience < 3", 9, "is followed by a metric"),
        ("join < 1s", 4, "needs a statistic"),
        ("join.p97 < 1s", 5, "unknown statistic"),
        ("joined.p95 < 1", 7, "single number"),
        ("join.p95.max < 1s", 8, "unexpected .max"),
        ("join.p95 1s", 8, "expected one of"),
        ("join.p95 = 1s", 9, "use =="),
        ("join.p95 <", 10, "expected a number"),
        ("join.p95 < 1", 12, "needs a unit"),
        ("join.p95 < 1kbps", 12, "does not measure join"),
        ("joined == 5 please", 12, "does not measure joined"),
        ("joined == 5 and more", 12, "does not measure joined"),
        ("join.p95 < 1s s", 14, "unexpected text 's'"),
        ("audience.cpu_per_packet < 5us", 9, "whole run"),
    ],
)
def test_mistakes_have_a_place(text: str, offset: int, words: str) -> None:
    with pytest.raises(slo.SloError, match=words) as caught:
        slo.parse(text, GROUPS)
    assert caught.value.offset == offset


def evaluate(text: str, observed: float | None) -> slo.Verdict:
    parsed = slo.parse(text, GROUPS)
    (verdict,) = slo.evaluate([parsed], lambda group, metric, statistic: (observed, 1))
    return verdict


def test_evaluation() -> None:
    assert evaluate("join.p95 < 800ms", 0.799).passed
    assert not evaluate("join.p95 < 800ms", 0.8).passed
    assert evaluate("join.p95 <= 800ms", 0.8).passed
    assert evaluate("joined == 101", 101.0).passed
    assert not evaluate("joined != 101", 101.0).passed
    # 0.1 % as text and one packet in a thousand are the same number.
    assert evaluate("residual_loss.max <= 0.1%", 1 / 1000).passed


def test_nothing_measured_is_a_breach() -> None:
    verdict = evaluate("join.p95 < 800ms", None)
    assert not verdict.passed
    assert slo.breached([verdict]) == [verdict]


def test_each_question_is_asked_with_its_group() -> None:
    asked = []
    slos = [slo.parse(text, GROUPS) for text in ("stage.joined == 1", "ttff.p99 < 2s")]
    slo.evaluate(slos, lambda *question: asked.append(question) or (1.0, 1))
    assert asked == [("stage", "joined", None), (None, "ttff", "p99")]


def test_no_errors_are_allowed_unless_the_scenario_says_so() -> None:
    def implied(*texts: str) -> list[str]:
        names = ["stage", "crowd"]
        return [made.text for made in slo.implied([slo.parse(t, names) for t in texts], names)]

    assert implied() == ["errors == 0"]
    assert implied("join.p95 < 1s") == ["errors == 0"]
    assert implied("errors <= 5") == []
    assert implied("crowd.errors < 3") == ["stage.errors == 0"]
    assert implied("crowd.errors < 3", "stage.errors == 1") == []
    assert all(made.implied for made in slo.implied([], ["stage"]))
