"""Webhook queues under a made-up clock: order, back-off, age, bounds, the end."""

from __future__ import annotations

import pytest

from lkpy.limits import WEBHOOK_IN_FLIGHT, WEBHOOK_QUEUED, WEBHOOK_RETRIES
from lkpy.server.telemetry.webhook_queue import (
    Delivery,
    Drop,
    Outcome,
    WebhookQueue,
    backoff_s,
    is_recoverable,
)


def queue(*, max_depth: int = 200, max_age_s: float = 30.0) -> WebhookQueue[str]:
    return WebhookQueue(max_depth=max_depth, max_age_s=max_age_s)


def add(events: WebhookQueue[str], *items: str, now: float = 0.0) -> None:
    for item in items:
        assert events.add(now, item[0], item)[1] is None


def sent(events: WebhookQueue[str], now: float = 0.0) -> list[str]:
    return [delivery.item for delivery in events.due(now).send]


def test_events_of_one_resource_wait_for_each_other() -> None:
    events = queue()
    add(events, "a1", "a2", "b1")
    first, other = events.due(0).send
    assert (first.item, other.item) == ("a1", "b1")
    assert sent(events) == []
    assert events.finish(0, first, 200) is Outcome.SENT
    assert sent(events) == ["a2"]
    assert not events.idle


def test_a_failing_event_holds_up_its_own_resource_only() -> None:
    events = queue()
    add(events, "a1", "a2")
    (failing,) = events.due(0).send
    assert events.finish(0, failing, 500) is Outcome.RETRY
    add(events, "b1")
    assert sent(events) == ["b1"]
    assert events.next_deadline() == 1.0
    assert sent(events, 0.9) == []
    assert sent(events, 1.0) == ["a1"]


def test_attempts_end_after_the_last_retry() -> None:
    events = queue()
    add(events, "a1", "a2")
    now, waits = 0.0, []
    (delivery,) = events.due(now).send
    for _ in range(WEBHOOK_RETRIES):
        assert events.finish(now, delivery, None) is Outcome.RETRY
        at = events.next_deadline()
        assert at is not None
        waits.append(at - now)
        now = at
        assert events.due(now).send == [delivery]
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert events.finish(now, delivery, None) is Outcome.FAILED
    assert sent(events, now) == ["a2"]


@pytest.mark.parametrize(
    ("status", "recoverable"),
    [
        (None, True),
        (200, False),
        (302, True),
        (401, False),
        (404, False),
        (429, True),
        (500, True),
        (501, False),
        (503, True),
        (999, True),
    ],
)
def test_which_answers_are_worth_another_attempt(status: int | None, recoverable: bool) -> None:
    assert is_recoverable(status) is recoverable


def test_an_answer_that_refuses_counts_as_sent() -> None:
    events = queue()
    add(events, "a1")
    (delivery,) = events.due(0).send
    assert events.finish(0, delivery, 404) is Outcome.SENT
    assert events.idle


def test_nothing_is_retried_where_no_attempt_could_succeed() -> None:
    events = queue()
    add(events, "a1")
    (delivery,) = events.due(0).send
    assert events.finish(0, delivery, None, recoverable=False) is Outcome.FAILED


def test_back_off_doubles_up_to_its_bound_and_obeys_the_receiver() -> None:
    assert [backoff_s(n) for n in (1, 2, 3, 4, 5, 6, 60)] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff_s(1, 7) == 7
    assert backoff_s(1, 0) == 0
    assert backoff_s(1, 86_400) == 30


def test_events_that_waited_too_long_are_dropped() -> None:
    events = queue()
    add(events, "a1", "a2", "a3")
    add(events, "a4", now=20)
    (slow,) = events.due(0).send
    events.finish(30.5, slow, 200)
    due = events.due(30.5)
    assert [delivery.item for delivery in due.dropped] == ["a2", "a3"]
    assert [delivery.item for delivery in due.send] == ["a4"]
    assert len(events) == 0


def test_a_resource_whose_events_were_all_too_old_is_forgotten() -> None:
    events = queue()
    add(events, "a1", "a2")
    (slow,) = events.due(0).send
    events.finish(31, slow, 200)
    assert events.due(31).send == []
    assert events.idle
    add(events, "a3", now=31)
    assert sent(events, 31) == ["a3"]


def test_a_resource_is_bounded_and_the_others_are_not() -> None:
    events = queue(max_depth=3)
    add(events, "a0")
    (under_way,) = events.due(0).send
    add(events, "a1", "a2", "a3")
    assert events.add(0, "a", "a4") == (3, Drop.FULL)
    add(events, "b1")
    events.finish(0, under_way, 200)
    assert sent(events) == ["b1", "a1"]
    assert events.add(0, "a", "a5") == (3, None)


def test_everything_together_is_bounded() -> None:
    events = queue()
    for number in range(WEBHOOK_QUEUED):
        assert events.add(0, f"room {number}", "x")[1] is None
    assert events.add(0, "one more", "x") == (0, Drop.FULL)
    assert len(events) == WEBHOOK_QUEUED


def test_attempts_under_way_are_bounded_and_the_others_follow() -> None:
    events = queue()
    for number in range(WEBHOOK_IN_FLIGHT + 1):
        events.add(0, f"room {number}", str(number))
    under_way = events.due(0).send
    assert len(under_way) == WEBHOOK_IN_FLIGHT
    assert events.due(0).send == []
    events.finish(0, under_way[0], 200)
    assert sent(events) == [str(WEBHOOK_IN_FLIGHT)]


def test_a_closed_queue_takes_nothing_and_tries_the_rest_once() -> None:
    events = queue()
    add(events, "a1", "b1", "c1")
    resting, under_way, _ = events.due(0).send
    events.finish(0, resting, 500)
    events.close()
    assert events.add(0, "c", "c2") == (0, Drop.CLOSED)
    assert sent(events) == ["a1"]
    assert events.finish(0, resting, 500) is Outcome.FAILED
    assert events.finish(0, under_way, None) is Outcome.FAILED


def test_memory_of_a_resource_ends_with_its_events() -> None:
    events = queue()
    for number in range(100):
        events.add(0, f"room {number}", "x")
        delivery: Delivery[str]
        (delivery,) = events.due(0).send
        events.finish(0, delivery, 200)
    assert (events._waiting, events._busy, list(events._ready)) == ({}, set(), [])
