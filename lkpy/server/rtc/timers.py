"""Named deadlines of one room. Pure: it is told ``now``."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Hashable

_SPARE = 64
"""Outdated entries that may be kept on top of as many as there are deadlines."""


class Timers:
    """At most one deadline per key; setting a key again moves its deadline. A key that is a tuple
    belongs to whom it begins with.

    What is outdated is forgotten when there is more of it than of what is set: clients decide how
    often and how far away some deadlines are."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable]] = []
        self._set: dict[Hashable, tuple[int, Callable[[], None]]] = {}
        self._owned: dict[Hashable, set[Hashable]] = {}
        """Keys by owner."""
        self._numbers = itertools.count()

    def set(self, key: Hashable, at: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` at ``at``, and not when ``key`` was due before."""
        number = next(self._numbers)
        self._set[key] = (number, callback)
        if isinstance(key, tuple):
            self._owned.setdefault(key[0], set()).add(key)
        heapq.heappush(self._heap, (at, number, key))
        if len(self._heap) > 2 * len(self._set) + _SPARE:
            # All at once, so without a call for each of what may be ten thousands.
            current = {number for number, _ in self._set.values()}
            self._heap = [entry for entry in self._heap if entry[1] in current]
            heapq.heapify(self._heap)

    def _is_current(self, entry: tuple[float, int, Hashable]) -> bool:
        _, number, key = entry
        current = self._set.get(key)
        return current is not None and current[0] == number

    def set_if_absent(self, key: Hashable, at: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` at ``at``, unless ``key`` is due anyway."""
        if key not in self._set:
            self.set(key, at, callback)

    def cancel(self, key: Hashable) -> None:
        """Forget the key. Idempotent."""
        self._take(key)

    def cancel_of(self, owner: Hashable) -> None:
        """Forget every key of ``owner``. Idempotent."""
        for key in self._owned.pop(owner, ()):
            del self._set[key]

    def next_deadline(self) -> float | None:
        """The earliest deadline."""
        while self._heap:
            if self._is_current(self._heap[0]):
                return self._heap[0][0]
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> Callable[[], None] | None:
        """Take one callback whose deadline has passed."""
        at = self.next_deadline()
        if at is None or at > now:
            return None
        return self._take(heapq.heappop(self._heap)[2])

    def _take(self, key: Hashable) -> Callable[[], None] | None:
        number_and_callback = self._set.pop(key, None)
        if number_and_callback is None:
            return None
        if isinstance(key, tuple):
            owned = self._owned[key[0]]
            owned.discard(key)
            if not owned:
                del self._owned[key[0]]
        return number_and_callback[1]
