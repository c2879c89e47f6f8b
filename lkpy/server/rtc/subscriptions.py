"""What a participant wants to receive and what it does receive. Pure; told ``now``.

Join step 14: :meth:`Subscriptions.reconcile` compares desired with actual and returns what to do.
It is called on every change and every few seconds, because what stood in the way may have gone
(LiveKit ``pkg/rtc/subscriptionmanager.go``).
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from livekit.protocol import rtc

from lkpy.limits import (
    MAX_SUBSCRIPTIONS,
    SUBSCRIPTION_FAILED_S,
    SUBSCRIPTION_NOT_FOUND_S,
    UNSUBSCRIBE_SETTLE_S,
    UNSUBSCRIBE_WAIT_S,
)


class Availability(enum.Enum):
    """Whether a track can be subscribed to right now."""

    READY = enum.auto()
    NOT_FOUND = enum.auto()
    NOT_ALLOWED = enum.auto()
    """A permission is missing, or a limit is reached; that may change."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the room knows of a track."""

    availability: Availability
    allowed: bool | None = None
    """Whether its publisher lets this participant subscribe; None while that is not known."""


class ActionKind(enum.Enum):
    """What to do about one track."""

    SUBSCRIBE = enum.auto()
    UNSUBSCRIBE = enum.auto()
    ALLOWED = enum.auto()
    """The publisher lets the participant subscribe: tell the client."""
    DISALLOWED = enum.auto()
    """The publisher does not let the participant subscribe: tell the client."""
    GIVE_UP = enum.auto()
    """It was not found for too long: tell the client."""
    NOT_BOUND = enum.auto()
    """The client does not negotiate it: tell the client."""


@dataclass(frozen=True, slots=True)
class Action:
    """One step from actual to desired."""

    kind: ActionKind
    sid: str


@dataclass(slots=True)
class _Subscription:
    desired: bool = False
    active: bool = False
    bound: bool = False
    """The client has negotiated it."""
    allowed: bool | None = None
    """What the client was last told."""
    started: float = 0.0
    """When it was last wished for, or first failed, or was allowed: what takes too long is
    counted from here."""
    failed: bool = False
    """It was not found, since ``started``."""
    settings: rtc.UpdateTrackSettings | None = None

    @property
    def settled(self) -> bool:
        """Only a change from outside gives it something to do."""
        return self.desired == self.active and self.desired == self.bound

    @property
    def idle(self) -> bool:
        """Nothing is left to remember."""
        return not (self.desired or self.active or self.settings is not None)


class Subscriptions:
    """Desired and actual subscriptions by track sid."""

    def __init__(self, *, settle_s: float = UNSUBSCRIBE_SETTLE_S) -> None:
        """``settle_s``: how long after an unsubscription others wait."""
        self._tracks: dict[str, _Subscription] = {}
        self._unfulfilled: OrderedDict[str, None] = OrderedDict()
        """Those that are not active, oldest first. Not a dict: whatever its first entries were,
        looking for the first passes over them."""
        self._settle_s = settle_s
        self._closing_until = 0.0

    def want(self, now: float, sid: str, desired: bool) -> None:
        """Say whether ``sid`` should be received. The track need not exist yet."""
        if desired:
            track = self._get_or_create(sid)
            track.desired = True
            # A repeated wish has its time anew.
            track.started = now
            track.failed = False
        elif (known := self._tracks.get(sid)) is not None:
            known.desired = False
            # A client's settings are of one subscription.
            known.settings = None

    def _get_or_create(self, sid: str) -> _Subscription:
        track = self._tracks.get(sid)
        if track is None:
            self._make_room()
            track = self._tracks[sid] = _Subscription()
            self._unfulfilled[sid] = None
        return track

    def _forget(self, sid: str) -> None:
        self._tracks.pop(sid, None)
        self._unfulfilled.pop(sid, None)

    def _make_room(self) -> None:
        """Forget the oldest wish that is not fulfilled when a client names tracks without end.
        Those that are fulfilled are bounded by the tracks that exist."""
        if len(self._tracks) >= MAX_SUBSCRIPTIONS and self._unfulfilled:
            oldest, _ = self._unfulfilled.popitem(last=False)
            self._tracks.pop(oldest, None)

    def set_settings(self, sid: str, settings: rtc.UpdateTrackSettings) -> None:
        """Remember the client's settings; they may come before the subscription."""
        self._get_or_create(sid).settings = settings

    def settings(self, sid: str) -> rtc.UpdateTrackSettings | None:
        """The client's settings for ``sid``."""
        track = self._tracks.get(sid)
        return None if track is None else track.settings

    def bound(self, sid: str) -> None:
        """The client has negotiated the track."""
        track = self._tracks.get(sid)
        if track is not None:
            track.bound = True

    def closed(self, sid: str) -> None:
        """What was received is received no more, though it may still be desired."""
        track = self._tracks.get(sid)
        if track is not None:
            self._close(sid, track)

    def lost(self, sid: str) -> None:
        """The track has gone: nothing is received and nothing wanted any more."""
        self._forget(sid)

    def unsettled(self) -> list[str]:
        """Tracks whose subscription is under way or not possible so far."""
        return [sid for sid, track in self._tracks.items() if not track.settled]

    def any_unsettled(self, sids: Iterable[str] | None = None) -> bool:
        """Whether there are such tracks, among ``sids`` or at all."""
        tracks = self._tracks.values() if sids is None else map(self._tracks.get, sids)
        return any(track is not None and not track.settled for track in tracks)

    def retry_at(self) -> float:
        """When to reconcile again because of subscriptions that are being closed."""
        return self._closing_until

    def reconcile(
        self,
        now: float,
        resolve: Callable[[str], Resolution],
        sids: Iterable[str] | None = None,
        *,
        active_since: float | None = None,
    ) -> Iterator[Action]:
        """Say what to do, and count it as done. Do each step before taking the next: what is
        possible may depend on it. ``sids``: only these. ``active_since``: when the participant
        became active, None while it is not."""
        for sid in list(self._tracks if sids is None else dict.fromkeys(sids)):
            track = self._tracks.get(sid)
            if track is None:
                continue
            for kind in self._steps(track, now, resolve, sid, active_since):
                yield Action(kind, sid)
            if track.idle:
                self._forget(sid)

    def _steps(
        self,
        track: _Subscription,
        now: float,
        resolve: Callable[[str], Resolution],
        sid: str,
        active_since: float | None,
    ) -> Iterator[ActionKind]:
        if not track.desired:
            if track.active:
                self._closing_until = now + self._settle_s
                yield self._close(sid, track)
            return
        found = resolve(sid)
        if track.active:
            if found.availability is Availability.READY:
                if not track.bound and active_since is not None:
                    since = max(active_since, track.started)
                    if now - since > SUBSCRIPTION_FAILED_S:
                        yield ActionKind.NOT_BOUND
                return
            yield self._close(sid, track)
        yield from self._subscribe(sid, track, now, found)

    def _close(self, sid: str, track: _Subscription) -> ActionKind:
        track.active = track.bound = False
        self._unfulfilled[sid] = None
        return ActionKind.UNSUBSCRIBE

    def _subscribe(
        self, sid: str, track: _Subscription, now: float, found: Resolution
    ) -> Iterator[ActionKind]:
        # The client's description should lose the one before it gains the other, so that its media
        # section is free again.
        if now < self._closing_until and now - track.started < UNSUBSCRIBE_WAIT_S:
            return
        if found.allowed is not None and found.allowed != track.allowed:
            track.allowed = found.allowed
            if found.allowed:
                track.started = now
            yield ActionKind.ALLOWED if found.allowed else ActionKind.DISALLOWED
        if found.availability is Availability.READY:
            track.active = True
            self._unfulfilled.pop(sid, None)
            track.failed = False
            yield ActionKind.SUBSCRIBE
            return
        if found.availability is Availability.NOT_ALLOWED:
            track.failed = False
        elif not track.failed:
            track.failed = True
            track.started = now
        elif now - track.started > SUBSCRIPTION_NOT_FOUND_S:
            track.desired = False
            yield ActionKind.GIVE_UP
