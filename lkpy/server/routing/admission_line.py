"""Requests to join that nobody has looked at yet, in order. Pure; told ``now``.

Looking at one (HTTP, its token, its parameters) costs a tenth of a join, so the line keeps them as
the bytes that they are until few others are before them: a thousand that come at once cost a node
those whose turn it is.

There are two lanes, which take turns: clients differ in how long they wait for an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from lkpy.server.routing.admission_gate import AdmissionGate, Refused

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long clients wait: they come in when they have their turn within ``wait_s``, and are sent
    away when they have not had it after ``patience_s``."""

    wait_s: float
    patience_s: float


class _Lane(Generic[V]):
    """Those who wait equally long, in order: since when, and what they hold."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.visitors: OrderedDict[V, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.visitors)

    @property
    def until(self) -> float | None:
        for since, _ in self.visitors.values():
            return since + self.patience.patience_s
        return None

    def late(self, now: float) -> list[V]:
        late: list[V] = []
        for visitor, (since, _) in self.visitors.items():
            if since + self.patience.patience_s > now:
                break
            late.append(visitor)
        return late


class Line(Generic[V]):
    """In front of a gate: ``per_turn`` visitors are let in in each turn of the event loop, and none
    while ``ahead`` of those before them wait at the gate."""

    def __init__(
        self,
        gate: AdmissionGate,
        *,
        per_turn: int,
        ahead: int,
        others: Patience,
        browsers: Patience,
        max_bytes: int,
    ) -> None:
        """``max_bytes`` bounds what all visitors hold together."""
        self._gate = gate
        self._per_turn = per_turn
        self._ahead = ahead
        self._max_bytes = max_bytes
        self._left = per_turn
        """Visitors that may still be let in in this turn."""
        self._lanes: tuple[_Lane[V], _Lane[V]] = (_Lane(others), _Lane(browsers))
        self._next = 0
        """The lane whose turn it is."""
        self.held = 0
        """Bytes of all visitors."""

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def arrive(self, now: float, visitor: V, size: int, *, browser: bool = False) -> Refused | None:
        """Somebody comes with ``size`` bytes. They are at the end of their lane, or refused."""
        lane, other = self._lanes[browser], self._lanes[not browser]
        # The lanes take turns.
        before = len(lane) + min(len(other), len(lane) + 1)
        full = self._gate.is_full(before, lane.patience.wait_s)
        if full or self.held + size > self._max_bytes:
            return self._gate.refuse(now)
        lane.visitors[visitor] = (now, size)
        self.held += size
        return None

    def leave(self, visitor: V) -> bool:
        """Whether they were in the line. Idempotent."""
        for lane in self._lanes:
            found = lane.visitors.pop(visitor, None)
            if found is not None:
                self.held -= found[1]
                return True
        return False

    def follow(self) -> V | None:
        """Who is let in now, and is in the line no more."""
        if not self.moves or not self._left:
            return None
        self._left -= 1
        lane = self._lanes[self._next] or self._lanes[not self._next]
        self._next = 1 - self._next
        visitor = next(iter(lane.visitors))
        self.leave(visitor)
        return visitor

    @property
    def moves(self) -> bool:
        """Whether somebody waits who is let in in this turn or the next."""
        return len(self) > 0 and self._gate.waiting < self._ahead

    def turn_over(self) -> None:
        """As many as before may be let in."""
        self._left = self._per_turn

    @property
    def patient_until(self) -> float | None:
        """When somebody will have waited for too long."""
        return min((lane.until for lane in self._lanes if lane.until is not None), default=None)

    def late(self, now: float) -> list[V]:
        """Those who have waited for too long: they are in the line no more."""
        gone = [visitor for lane in self._lanes for visitor in lane.late(now)]
        for visitor in gone:
            self.leave(visitor)
        return gone
