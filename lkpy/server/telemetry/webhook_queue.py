"""Which webhook is sent when: one first-in-first-out queue per resource, retries with back-off.

Pure; told ``now`` in monotonic seconds. Sources: protocol ``webhook/resource_url_notifier.go`` and
``resource_queue.go``; the retries are the defaults of hashicorp/go-retryablehttp.
"""

from __future__ import annotations

import enum
import heapq
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Generic, TypeVar

from lkpy.limits import (
    WEBHOOK_IN_FLIGHT,
    WEBHOOK_QUEUED,
    WEBHOOK_RETRIES,
    WEBHOOK_RETRY_MAX_S,
    WEBHOOK_RETRY_MIN_S,
)

T = TypeVar("T")


class Drop(enum.StrEnum):
    """Why an event is not sent: the ``reason`` of ``livekit_webhook_dispatch_total``."""

    FULL = "queue is full"
    AGE = "age"
    CLOSED = "queue is closed"


class Outcome(enum.Enum):
    """What an attempt meant."""

    SENT = enum.auto()
    RETRY = enum.auto()
    FAILED = enum.auto()


@dataclass(slots=True, eq=False)
class Delivery(Generic[T]):
    """One event on its way to one URL."""

    key: str
    """The resource that the event is about."""
    item: T
    queued_at: float
    attempts: int = 0
    """Attempts that failed."""


@dataclass(frozen=True, slots=True)
class Due(Generic[T]):
    """What to do at one time."""

    send: list[Delivery[T]] = field(default_factory=list)
    dropped: list[Delivery[T]] = field(default_factory=list)
    """Waited too long behind others of their resource."""


def is_recoverable(status: int | None) -> bool:
    """Whether an attempt is worth repeating; None: there was no answer. A redirect is not followed:
    nobody has taken the event, and the next answer may be another."""
    if status is None:
        return True
    redirects = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
    return (
        redirects
        or status == HTTPStatus.TOO_MANY_REQUESTS
        or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED)
    )


def backoff_s(attempts: int, retry_after_s: float | None = None) -> float:
    """Seconds to wait after ``attempts`` failures. A receiver may ask for its own time, up to the
    longest of ours."""
    if retry_after_s is not None:
        return min(max(retry_after_s, 0.0), WEBHOOK_RETRY_MAX_S)
    return min(WEBHOOK_RETRY_MIN_S * 2.0 ** (attempts - 1), WEBHOOK_RETRY_MAX_S)


class WebhookQueue(Generic[T]):
    """The events for one URL.

    Events of one resource (a room, mostly) are sent one after the other; resources do not wait for
    each other. Bounded per resource by depth and age, and as a whole.
    """

    def __init__(self, *, max_depth: int, max_age_s: float) -> None:
        self._max_depth = max_depth
        self._max_age_s = max_age_s
        self._waiting: dict[str, deque[Delivery[T]]] = {}
        """By resource; without the one that is being sent."""
        self._busy: set[str] = set()
        """Resources whose first event is being sent or rests before its next attempt."""
        self._ready: deque[str] = deque()
        self._resting: list[tuple[float, int, Delivery[T]]] = []
        self._order = 0
        self._size = 0
        self._in_flight = 0
        self._closed = False

    def __len__(self) -> int:
        """Events that wait, without those being sent or resting."""
        return self._size

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being sent."""
        return not (self._size or self._busy)

    def add(self, now: float, key: str, item: T) -> tuple[int, Drop | None]:
        """Queue an event. Returns the depth of its resource's queue, and why it was not taken."""
        queue = self._waiting.get(key)
        depth = 0 if queue is None else len(queue)
        if self._closed:
            return depth, Drop.CLOSED
        if depth >= self._max_depth or self._size >= WEBHOOK_QUEUED:
            return depth, Drop.FULL
        if queue is None:
            queue = self._waiting[key] = deque()
            if key not in self._busy:
                self._ready.append(key)
        queue.append(Delivery(key, item, now))
        self._size += 1
        return depth + 1, None

    def due(self, now: float) -> Due[T]:
        """What to send now; each delivery has to come back to :meth:`finish`."""
        due: Due[T] = Due()
        while self._in_flight < WEBHOOK_IN_FLIGHT and self._resting:
            if self._resting[0][0] > now and not self._closed:
                break
            due.send.append(heapq.heappop(self._resting)[2])
            self._in_flight += 1
        while self._in_flight < WEBHOOK_IN_FLIGHT and self._ready:
            delivery = self._next(self._ready.popleft(), now, due.dropped)
            if delivery is not None:
                due.send.append(delivery)
                self._busy.add(delivery.key)
                self._in_flight += 1
        return due

    def _next(self, key: str, now: float, dropped: list[Delivery[T]]) -> Delivery[T] | None:
        queue = self._waiting[key]
        found = None
        while queue and found is None:
            delivery = queue.popleft()
            self._size -= 1
            if now - delivery.queued_at > self._max_age_s:
                dropped.append(delivery)
            else:
                found = delivery
        if not queue:
            del self._waiting[key]
        return found

    def finish(
        self,
        now: float,
        delivery: Delivery[T],
        status: int | None,
        *,
        recoverable: bool = True,
        retry_after_s: float | None = None,
    ) -> Outcome:
        """An attempt ended with an HTTP ``status``, or None without an answer. ``recoverable``
        False: no other attempt could succeed. Any answer that need not be repeated counts as sent,
        as in LiveKit."""
        self._in_flight -= 1
        failed = not recoverable or is_recoverable(status)
        if failed and recoverable and delivery.attempts < WEBHOOK_RETRIES and not self._closed:
            delivery.attempts += 1
            self._order += 1
            at = now + backoff_s(delivery.attempts, retry_after_s)
            heapq.heappush(self._resting, (at, self._order, delivery))
            return Outcome.RETRY
        self._busy.discard(delivery.key)
        if delivery.key in self._waiting:
            self._ready.append(delivery.key)
        return Outcome.FAILED if failed else Outcome.SENT

    def next_deadline(self) -> float | None:
        """When :meth:`due` has more to say, unless something is added or finished before."""
        if not self._resting or self._in_flight >= WEBHOOK_IN_FLIGHT:
            return None
        return self._resting[0][0]

    def close(self) -> None:
        """Take no more events; everything left has one more attempt, at once."""
        self._closed = True
