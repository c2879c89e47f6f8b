"""What a participant wants to receive and what it does receive. Pure; told ``now``.

Join step 14: :meth:`Subscriptions.reconcile` compares desired with actual and returns what to do.
It is called on every change and every few seconds, because what stood in the way may have gone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from livekit.protocol import rtc

from lkpy.limits import MAX_SUBSCRIPTIONS, SUBSCRIPTION_NOT_FOUND_S


class Availability(enum.Enum):
    """Whether a track can be subscribed to right now."""

    READY = enum.auto()
    NOT_FOUND = enum.auto()
    NOT_ALLOWED = enum.auto()
    """A permission is missing; it may come."""


class ActionKind(enum.Enum):
    """What to do about one track."""

    SUBSCRIBE = enum.auto()
    UNSUBSCRIBE = enum.auto()
    GIVE_UP = enum.auto()
    """It was not found for too long: tell the client."""


@dataclass(frozen=True, slots=True)
class Action:
    """One step from actual to desired."""

    kind: ActionKind
    sid: str


@dataclass(slots=True)
class _Subscription:
    desired: bool = False
    active: bool = False
    missing_since: float | None = None
    settings: rtc.UpdateTrackSettings | None = None

    @property
    def idle(self) -> bool:
        """Nothing is left to remember."""
        return not (self.desired or self.active or self.settings is not None)


class Subscriptions:
    """Desired and actual subscriptions by track sid."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Subscription] = {}

    def want(self, sid: str, desired: bool) -> None:
        """Say whether ``sid`` should be received. The track need not exist yet."""
        if desired:
            track = self._get_or_create(sid)
            track.desired = True
            # A repeated wish has its time anew.
            track.missing_since = None
        elif (known := self._tracks.get(sid)) is not None:
            known.desired = False
            known.missing_since = None

    def _get_or_create(self, sid: str) -> _Subscription:
        track = self._tracks.get(sid)
        if track is None:
            self._make_room()
            track = self._tracks[sid] = _Subscription()
        return track

    def _make_room(self) -> None:
        """Forget the oldest wish that is not fulfilled when a client names tracks without end.
        Those that are fulfilled are bounded by the tracks that exist."""
        if len(self._tracks) >= MAX_SUBSCRIPTIONS:
            unfulfilled = (sid for sid, track in self._tracks.items() if not track.active)
            oldest = next(unfulfilled, None)
            if oldest is not None:
                del self._tracks[oldest]

    def set_settings(self, sid: str, settings: rtc.UpdateTrackSettings) -> None:
        """Remember the client's settings; they may come before the subscription."""
        self._get_or_create(sid).settings = settings

    def settings(self, sid: str) -> rtc.UpdateTrackSettings | None:
        """The client's settings for ``sid``."""
        track = self._tracks.get(sid)
        return None if track is None else track.settings

    def lost(self, sid: str) -> None:
        """The track has gone: nothing is received and nothing wanted any more."""
        self._tracks.pop(sid, None)

    def reconcile(
        self,
        now: float,
        check: Callable[[str], Availability],
        sids: Iterable[str] | None = None,
    ) -> list[Action]:
        """Return what to do, and count it as done. ``sids``: only these."""
        named = self._tracks if sids is None else dict.fromkeys(sids)
        chosen = [sid for sid in named if sid in self._tracks]
        actions: list[Action] = []
        for sid in chosen:
            action = self._step(self._tracks[sid], now, check, sid)
            if action is not None:
                actions.append(Action(action, sid))
            if self._tracks[sid].idle:
                del self._tracks[sid]
        return actions

    def _step(
        self, track: _Subscription, now: float, check: Callable[[str], Availability], sid: str
    ) -> ActionKind | None:
        available = check(sid)
        if track.active:
            if track.desired and available is Availability.READY:
                return None
            track.active = False
            return ActionKind.UNSUBSCRIBE
        if not track.desired:
            return None
        if available is Availability.READY:
            track.active = True
            track.missing_since = None
            return ActionKind.SUBSCRIBE
        if available is Availability.NOT_ALLOWED:
            track.missing_since = None
            return None
        if track.missing_since is None:
            track.missing_since = now
        elif now - track.missing_since >= SUBSCRIPTION_NOT_FOUND_S:
            track.desired = False
            track.missing_since = None
            return ActionKind.GIVE_UP
        return None
