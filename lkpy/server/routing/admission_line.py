"""Requests to join that nobody has looked at yet, in order. Pure; told ``now``.

Looking at one (HTTP, its token, its parameters) costs a tenth of a join, so the line keeps them as
the bytes that they are until few others are before them: a thousand that come at once cost a node
those whose turn it is.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from lkpy.server.routing.admission_gate import AdmissionGate, Refused

V = TypeVar("V")


class Line(Generic[V]):
    """In front of a gate: ``per_turn`` visitors are let in in each turn of the event loop, and none
    while ``ahead`` of those before them wait at the gate."""

    def __init__(
        self, gate: AdmissionGate, *, per_turn: int, ahead: int, patience_s: float, max_bytes: int
    ) -> None:
        """``patience_s``: who has waited for so long is sent away. ``max_bytes`` bounds what all
        visitors hold together."""
        self._gate = gate
        self._per_turn = per_turn
        self._ahead = ahead
        self._patience_s = patience_s
        self._max_bytes = max_bytes
        self._left = per_turn
        """Visitors that may still be let in in this turn."""
        self._visitors: OrderedDict[V, tuple[float, int]] = OrderedDict()
        """Since when they wait, and what they hold."""
        self.held = 0
        """Bytes of all visitors."""

    def __len__(self) -> int:
        return len(self._visitors)

    def arrive(self, now: float, visitor: V, size: int) -> Refused | None:
        """Somebody comes with ``size`` bytes. They are at the end of the line, or refused."""
        if self._gate.is_full(len(self._visitors)) or self.held + size > self._max_bytes:
            return self._gate.refuse(now)
        self._visitors[visitor] = (now, size)
        self.held += size
        return None

    def leave(self, visitor: V) -> bool:
        """Whether they were in the line. Idempotent."""
        _, size = self._visitors.pop(visitor, (0.0, -1))
        self.held -= max(0, size)
        return size >= 0

    def follow(self) -> V | None:
        """Who is let in now, and is in the line no more."""
        if not self.moves or not self._left:
            return None
        self._left -= 1
        visitor = next(iter(self._visitors))
        self.leave(visitor)
        return visitor

    @property
    def moves(self) -> bool:
        """Whether somebody waits who is let in in this turn or the next."""
        return bool(self._visitors) and self._gate.waiting < self._ahead

    def turn_over(self) -> None:
        """As many as before may be let in."""
        self._left = self._per_turn

    @property
    def patient_until(self) -> float | None:
        """When somebody will have waited for too long."""
        for since, _ in self._visitors.values():
            return since + self._patience_s
        return None

    def late(self, now: float) -> list[V]:
        """Those who have waited for too long: they are in the line no more."""
        gone: list[V] = []
        for visitor, (since, _) in self._visitors.items():
            if since + self._patience_s > now:
                break
            gone.append(visitor)
        for visitor in gone:
            self.leave(visitor)
        return gone
