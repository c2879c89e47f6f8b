"""The active speakers of a room: levels from the engine, changes to those whom they concern."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from lkpy.clock import Clock
from lkpy.engine.api import AudioLevels
from lkpy.server.rtc.options import AudioOptions
from lkpy.server.rtc.signals import speakers_changed
from lkpy.server.rtc.speakers import Speakers
from lkpy.server.rtc.timers import Timers
from lkpy.slices import Slices

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

_MERGE_S = 0.02
"""The engine tells one window of several receivers at once; this long it takes to come through."""
_LATE = 1.5
"""Windows after which nobody was heard in one."""


class ActiveSpeakers:
    """Collects the levels of each window and tells what has changed."""

    def __init__(
        self,
        options: AudioOptions,
        members: Callable[[], Iterable[Participant]],
        timers: Timers,
        slices: Slices,
        clock: Clock,
    ) -> None:
        self._speakers = Speakers(options)
        self._window_s = options.update_interval_ms / 1000
        self._members = members
        self._timers = timers
        self._slices = slices
        self._clock = clock
        self._heard: dict[str, tuple[int, int]] = {}

    def hear(self, participant: Participant, event: AudioLevels) -> None:
        """Take one window of a participant's receivers; only microphones make a speaker."""
        for receiver, loudest, active_ms in event.levels:
            track = participant.publishing.tracks.by_receiver(receiver)
            microphone = (
                track is not None
                and not track.info.muted
                and track.info.source == models.TrackSource.MICROPHONE
            )
            known = self._heard.get(participant.sid)
            if microphone and (known is None or loudest < known[0]):
                if not self._heard:
                    self._timers.set("speakers", self._clock.now() + _MERGE_S, self._end_window)
                self._heard[participant.sid] = (loudest, active_ms)

    def level(self, sid: str) -> float | None:
        """What was last told of a participant who speaks."""
        return self._speakers.level(sid)

    def silence(self, sid: str) -> None:
        """A participant has no microphone any more."""
        self._heard.pop(sid, None)
        self._speakers.silence(sid)

    def forget(self, sid: str) -> None:
        """A participant left."""
        self._heard.pop(sid, None)
        self._speakers.forget(sid)

    def tell(self, participant: Participant, publisher: Participant) -> None:
        """Tell one participant that a publisher which it has begun to receive speaks, if so."""
        level = self.level(publisher.sid)
        if level is not None:
            speaker = models.SpeakerInfo(sid=publisher.sid, level=level, active=True)
            participant.signals.speakers(speakers_changed([speaker]))

    def tell_all(self, changes: list[models.SpeakerInfo]) -> None:
        """Tell everybody of those whom it receives, and of itself: one message for all who hear
        the same."""
        messages: dict[tuple[str, ...], rtc.SignalResponse] = {}

        def tell(participant: Participant) -> None:
            received = participant.subscribing.receives_from
            heard = [c for c in changes if c.sid == participant.sid or received(c.sid)]
            if not heard:
                return
            key = tuple(change.sid for change in heard)
            message = messages.get(key)
            if message is None:
                message = messages[key] = speakers_changed(heard)
            participant.signals.speakers(message)

        self._slices.for_each(self._members(), tell)

    def _end_window(self) -> None:
        heard, self._heard = self._heard, {}
        changes = self._speakers.window(heard)
        if changes:
            self.tell_all(changes)
        if not self._speakers.idle:
            late = self._clock.now() + _LATE * self._window_s
            self._timers.set("speakers", late, self._end_window)
