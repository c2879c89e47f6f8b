"""Who of a room is told what about a participant, and when (reference: livekit-server
``pkg/rtc/room.go`` broadcastParticipantState)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from lkpy.clock import Clock
from lkpy.limits import SUBSCRIBER_UPDATE_INTERVAL_S, UPDATE_CHUNK
from lkpy.server.rtc.client_info import takes_sessions_by_identity
from lkpy.server.rtc.timers import Timers
from lkpy.server.rtc.updates import UpdateQueue, responses
from lkpy.slices import Slices

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

_SOME = 32
"""Receivers that are written to in one step."""


class Announcements:
    """Sends participant updates: about publishers at once, about others in batches."""

    def __init__(
        self,
        members: Callable[[], Iterable[Participant]],
        timers: Timers,
        slices: Slices,
        clock: Clock,
        *,
        target_size: int = UPDATE_CHUNK,
    ) -> None:
        self._members = members
        self._timers = timers
        self._slices = slices
        self._clock = clock
        self._target_size = target_size
        self._waiting = UpdateQueue()
        self._began = clock.now()

    def announce(self, about: Participant, *, immediate: bool = False) -> None:
        """Tell everybody, the participant too. Of a hidden one only itself hears, and only what
        is immediate."""
        info = about.to_proto()
        if about.hidden:
            # It may have been hidden a moment ago, with an older update still waiting.
            self._waiting.drop(info)
            if immediate:
                self._send(about, responses([info]))
            return
        before = self._waiting.supersede(info)
        if before is not None:
            # The next session begins: said at once, so that none hears of its end after that.
            self._tell_older(before)
            immediate = True
        if self._waiting.push(info, immediate=immediate or about.is_publisher):
            messages = responses([info])
            # Itself first: what it is told next is told at once.
            self._send(about, messages)
            self.send((m for m in self._members() if m is not about), messages)
        else:
            self._timers.set_if_absent("updates", self._next_batch(), self._flush)

    def replaced(self, about: Participant) -> None:
        """Another session took the participant's identity: clients that go by the identity hear
        of that one only."""
        info = about.to_proto()
        if not about.hidden and self._waiting.push(info, immediate=True):
            self._tell_older(info)

    def _tell_older(self, ended: models.ParticipantInfo) -> None:
        """Tell clients that take every session for a participant of its own."""
        older = [m for m in self._members() if not takes_sessions_by_identity(m.client)]
        self.send(older, responses([ended]))

    def _next_batch(self) -> float:
        """Batches go out at fixed beats, so that each waits three seconds at the most."""
        now = self._clock.now()
        since = (now - self._began) % SUBSCRIBER_UPDATE_INTERVAL_S
        return now + SUBSCRIBER_UPDATE_INTERVAL_S - since

    def _flush(self) -> None:
        self.send(self._members(), responses(self._waiting.take(), self._target_size))

    def send(
        self, receivers: Iterable[Participant], messages: Iterable[rtc.SignalResponse]
    ) -> None:
        """The same message objects go to everybody, so that they are serialised once; in slices,
        and to each in the order of the calls."""
        messages = list(messages)
        everybody = list(receivers)

        def some(at: int) -> None:
            for receiver in everybody[at : at + _SOME]:
                self._send(receiver, messages)

        self._slices.for_each(range(0, len(everybody), _SOME), some)

    @staticmethod
    def _send(receiver: Participant, messages: Iterable[rtc.SignalResponse]) -> None:
        for message in messages:
            receiver.signals.send(message)
