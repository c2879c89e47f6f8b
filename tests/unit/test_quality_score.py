"""Scores of streams, window by window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkpy.server.rtc.quality_score import (
    MIN_SCORE,
    Quality,
    QualityScore,
    Window,
    loss_weight,
    mos_of,
    quality_of,
)

PERIOD = 5.0


def after(mime: str, *windows: Window, fec: bool = False) -> QualityScore:
    score = QualityScore(0.0, loss_weight(mime, fec=fec))
    for number, window in enumerate(windows, start=1):
        score.update(number * PERIOD, window)
    return score


def lossy(percent: float) -> Window:
    return Window(packets=1000, lost=round(percent * 10))


@pytest.mark.parametrize(
    ("mime", "percent", "quality"),
    [
        # Thresholds of LiveKit's comments, behind the smoothing of one window (0.8).
        ("audio/opus", 0, Quality.EXCELLENT),
        ("audio/opus", 3.0, Quality.EXCELLENT),
        ("audio/opus", 3.2, Quality.GOOD),
        ("audio/opus", 10, Quality.POOR),
        ("audio/red", 5.0, Quality.EXCELLENT),
        ("audio/red", 7.0, Quality.GOOD),
        ("video/vp8", 2.4, Quality.EXCELLENT),
        ("video/vp8", 3, Quality.GOOD),
        ("video/vp8", 8, Quality.POOR),
    ],
)
def test_loss(mime: str, percent: float, quality: int) -> None:
    assert quality_of(after(mime, lossy(percent)).score) == quality


def test_fec_hides_some_loss() -> None:
    assert after("audio/opus", lossy(3), fec=True).score > after("audio/opus", lossy(3)).score


def test_missing_layers() -> None:
    one = after("video/vp8", Window(500, 0, layer_distance=1))
    two = after("video/vp8", Window(500, 0, layer_distance=2))
    assert quality_of(one.score) == Quality.GOOD
    assert two.score < one.score


def test_nothing_arrives() -> None:
    assert quality_of(after("video/vp8", Window(0, 0)).score) == Quality.POOR
    assert quality_of(after("video/vp8", Window(0, 0, silent=True)).score) == Quality.LOST


def test_it_recovers_slowly() -> None:
    bad = after("video/vp8", lossy(20))
    assert bad.score == MIN_SCORE
    scores = []
    for number in range(2, 7):
        bad.update(number * PERIOD, lossy(0))
        scores.append(bad.score)
    assert scores == sorted(scores)
    assert quality_of(scores[0]) == Quality.GOOD
    assert quality_of(scores[-1]) == Quality.EXCELLENT


def test_a_muted_stream_is_excellent() -> None:
    score = after("audio/opus", lossy(20))
    score.mute(6.0, muted=True)
    score.update(10.0, Window(0, 0))
    assert quality_of(score.score) == Quality.EXCELLENT
    # Unmuted for less than half of a window: it does not count yet.
    score.mute(13.0, muted=False)
    score.update(15.0, lossy(50))
    assert quality_of(score.score) == Quality.EXCELLENT
    score.update(20.0, lossy(50))
    assert quality_of(score.score) == Quality.POOR


def test_loss_in_silence_counts_less() -> None:
    talking = [Window(250, 0)] * 30
    loud, silent = after("audio/opus", *talking), after("audio/opus", *talking)
    loud.update(31 * PERIOD, Window(250, 25))
    silent.update(31 * PERIOD, Window(20, 2))
    assert silent.score > loud.score


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 3))))
def test_scores_stay_in_range(windows: list[tuple[int, int, float]]) -> None:
    score = after("video/vp8", *(Window(p, lost, d) for p, lost, d in windows))
    assert 20 <= score.score <= 100
    assert 1.0 <= mos_of(score.score) <= 4.5
