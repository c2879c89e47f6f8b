"""When clients hear of the room's record (livekit-server ``pkg/rtc/room.go``, protocol
``utils/protoproxy.go``)."""

from __future__ import annotations

from collections.abc import Callable

from livekit.protocol import models, rtc

from lkpy.clock import Clock
from lkpy.limits import ROOM_UPDATE_INTERVAL_S
from lkpy.server.rtc.timers import Timers

_KEY = "room update"


class RoomUpdates:
    """Changes of metadata and recording are told at once. Counts are told five seconds after the
    last update at the earliest, and only if they are others by then."""

    def __init__(
        self,
        info: models.Room,
        timers: Timers,
        clock: Clock,
        tell: Callable[[rtc.SignalResponse], None],
    ) -> None:
        self._info = info
        self._timers = timers
        self._clock = clock
        self._tell = tell
        self._told_at = self._began = clock.now()
        self.seen = models.Room()
        """The record that clients know. A participant that enters is given this one too, so what
        changed by its coming is not in it."""
        self.seen.CopyFrom(info)

    def changed(self, *, urgent: bool = False) -> None:
        """The record changed."""
        now = self._clock.now()
        if urgent:
            self._flush()
        elif now - self._told_at > ROOM_UPDATE_INTERVAL_S:
            # After what is being done: who is entering hears of it too.
            self._timers.set(_KEY, now, self._flush)
        else:
            since = (now - self._began) % ROOM_UPDATE_INTERVAL_S
            self._timers.set_if_absent(_KEY, now + ROOM_UPDATE_INTERVAL_S - since, self._flush)

    def _flush(self) -> None:
        self._timers.cancel(_KEY)
        if self._info == self.seen:
            return
        self.seen.CopyFrom(self._info)
        self._told_at = self._clock.now()
        self._tell(rtc.SignalResponse(room_update=rtc.RoomUpdate(room=self.seen)))
