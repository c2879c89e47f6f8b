"""How many joins a node takes at a time. Pure; told ``now``.

A join that takes longer than its client waits is work for nobody, and the client tries again: past
that point a node that admits everybody serves nobody. So few sessions start at a time, those that
will have their turn soon wait for it in order, and the others are told at once when to come back.

How soon is measured: the time between two sessions that have started, while others wait, is what
a join costs on this machine now, whatever else it does. Who is refused is told to come back rather
too soon than too late: another refusal costs a tenth of a join, and a node that waits for those it
has sent away serves nobody.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

_MEASURED = 128
"""Joins that are measured together: those that start together are done together."""
_HURRY = 0.8
"""Those who are sent away are told to come back at so much of the time between two joins."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One join: it waits for its turn, or starts."""

    since: float
    admitted: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Too many are before it."""

    retry_after_s: float
    """When there will be room for it, those refused before it counted."""


class AdmissionGate:
    """``starting`` sessions at a time, and behind them as many as have their turn within
    ``wait_s``, but at most ``waiting``. ``pace_s`` is what a join is taken to cost until that is
    measured, ``retry_max_s`` bounds what is told to those refused."""

    def __init__(
        self, *, starting: int, waiting: int, wait_s: float, pace_s: float, retry_max_s: float
    ) -> None:
        self._starting_max = starting
        self._waiting_max = waiting
        self._wait_s = wait_s
        self._retry_max_s = retry_max_s
        self.pace_s = pace_s
        """Seconds between two joins that have started, on average."""
        self._starting: set[Ticket] = set()
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()
        self._done: deque[float] = deque(maxlen=_MEASURED + 1)
        """When the last joins had started, without a moment between them in which none was under
        way."""
        self._promised_until = 0.0
        """When those refused so far will have had their turn."""

    @property
    def starting(self) -> int:
        """Sessions that start now."""
        return len(self._starting)

    @property
    def waiting(self) -> int:
        """Joins that wait for their turn."""
        return len(self._waiting)

    def ask(self, now: float) -> Ticket | Refused:
        """Somebody wants to join. Give the ticket back with :meth:`done`, admitted or not."""
        if not self._waiting and len(self._starting) < self._starting_max:
            ticket = Ticket(now)
            self._start(ticket)
            return ticket
        if self.is_full():
            return self.refuse(now)
        ticket = Ticket(now)
        self._waiting[ticket] = None
        return ticket

    def is_full(self, coming: int = 0, wait_s: float | None = None) -> bool:
        """Whether somebody is refused who asks after ``coming`` others have asked, and who may wait
        for ``wait_s``, if not for as long as others."""
        waiting = len(self._waiting) + coming
        if not waiting and len(self._starting) < self._starting_max:
            return False
        delay = (waiting + len(self._starting) + 1) * self.pace_s
        limit = self._wait_s if wait_s is None else wait_s
        return waiting >= self._waiting_max or delay > limit

    def refuse(self, now: float) -> Refused:
        """The answer to somebody for whom it :meth:`is_full`."""
        # Each is told another time, as far apart as joins start, so that they do not all come back
        # at once.
        turn = max(self._promised_until, now) + _HURRY * self.pace_s
        self._promised_until = min(turn, now + self._retry_max_s)
        return Refused(self._promised_until - now)

    def _start(self, ticket: Ticket) -> None:
        ticket.admitted = True
        self._starting.add(ticket)

    def done(self, now: float, ticket: Ticket, *, started: bool = True) -> list[Ticket]:
        """A join has started, failed or given up (``started`` false: it says nothing of what a
        join costs). Returns those whose turn it is now. Idempotent."""
        self._waiting.pop(ticket, None)
        if ticket in self._starting:
            busy = self._waiting or len(self._starting) == self._starting_max
            self._starting.remove(ticket)
            if not busy:
                # Joins come one by one: the time between them is theirs, not the machine's.
                self._done.clear()
            elif started:
                self._measure(now)
        admitted = []
        while self._waiting and len(self._starting) < self._starting_max:
            following, _ = self._waiting.popitem(last=False)
            self._start(following)
            admitted.append(following)
        if not self._starting:
            self._done.clear()
        return admitted

    def _measure(self, now: float) -> None:
        self._done.append(now)
        known = len(self._done) - 1
        if known:
            took = (now - self._done[0]) / known
            # Few say little.
            self.pace_s += min(1.0, known / _MEASURED) * (took - self.pace_s)
