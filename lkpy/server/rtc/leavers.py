"""Who left a room and is not forgotten yet: what was on its way to them still comes."""

from __future__ import annotations

from lkpy.clock import Clock
from lkpy.limits import PARTICIPANT_FORGET_S
from lkpy.server.rtc.participant import Participant
from lkpy.server.rtc.timers import Timers
from lkpy.slices import Slices


class Leavers:
    """Lets participants go (:meth:`Participant.forget`) some seconds after they left."""

    def __init__(self, timers: Timers, slices: Slices, clock: Clock) -> None:
        self._timers = timers
        self._slices = slices
        self._clock = clock
        self._waiting: list[Participant] = []
        self._settled = 0
        """How many of them had left when some were forgotten the last time."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, participant: Participant) -> None:
        """A participant left."""
        self._waiting.append(participant)
        self._later()

    def _later(self) -> None:
        at = self._clock.now() + PARTICIPANT_FORGET_S
        self._timers.set_if_absent("leavers", at, self._forget_settled)

    def _forget_settled(self) -> None:
        """Some of them left a moment ago."""
        self._forget(self._settled)
        self._settled = len(self._waiting)
        if self._waiting:
            self._later()

    def _forget(self, count: int) -> None:
        settled, self._waiting = self._waiting[:count], self._waiting[count:]
        self._slices.for_each(settled, Participant.forget)

    def forget_all(self) -> None:
        """Nothing comes any more."""
        self._forget(len(self._waiting))
