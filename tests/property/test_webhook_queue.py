"""Webhook queues under any order of events, outcomes and time: nothing is lost, doubled or
overtaken within its resource, and every bound holds."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from lkpy.limits import WEBHOOK_RETRIES
from lkpy.server.telemetry.webhook_queue import Delivery, Outcome, WebhookQueue

MAX_DEPTH, MAX_AGE_S = 4, 30.0

Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(0, 20)),
        st.tuples(st.sampled_from(["ok", "fail", "lost"]), st.integers(0, 9)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    max_size=80,
)


@given(STEPS)
def test_nothing_is_lost_doubled_or_overtaken(steps: list[Step]) -> None:
    queue: WebhookQueue[int] = WebhookQueue(max_depth=MAX_DEPTH, max_age_s=MAX_AGE_S)
    now, number, closed = 0.0, 0, False
    taken: dict[str, list[int]] = defaultdict(list)
    over: dict[str, list[int]] = defaultdict(list)
    flying: list[Delivery[int]] = []

    def pump() -> None:
        due = queue.due(now)
        for old in due.dropped:
            assert now - old.queued_at > MAX_AGE_S
            over[old.key].append(old.item)
        flying.extend(due.send)
        keys = [delivery.key for delivery in flying]
        assert len(keys) == len(set(keys)), "two events of one resource at a time"

    def land(index: int, status: int | None) -> None:
        if not flying:
            return
        delivery = flying.pop(index % len(flying))
        outcome = queue.finish(now, delivery, status)
        assert delivery.attempts <= WEBHOOK_RETRIES
        assert outcome is not Outcome.RETRY or not closed
        if outcome is not Outcome.RETRY:
            over[delivery.key].append(delivery.item)

    for kind, value in steps:
        match kind:
            case "add":
                number += 1
                depth, drop = queue.add(now, str(value), number)
                assert depth <= MAX_DEPTH
                assert drop is not None or not closed
                if drop is None:
                    taken[str(value)].append(number)
            case "wait":
                now += value
            case "close":
                queue.close()
                closed = True
            case _:
                land(value, {"ok": 200, "fail": 500, "lost": None}[kind])
        pump()

    queue.close()
    closed = True
    for _ in range(number + 1):
        pump()
        while flying:
            land(0, 200)
    assert queue.idle
    assert len(queue) == 0
    assert dict(over) == {key: items for key, items in taken.items() if items}
