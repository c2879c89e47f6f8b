"""The data tracks that a participant receives (livekit-server ``pkg/rtc/subscriptionmanager.go``).

Each has a handle of 16 bits, which its packets carry. The client learns the whole map of handles
whenever it changes. Wishes about tracks that do not exist yet, or may not be received yet, wait as
those about media tracks do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from livekit.protocol import rtc

from lkpy.engine.api import CloseDataDownTrack, CreateDataDownTrack
from lkpy.limits import RECONCILE_INTERVAL_S
from lkpy.server.rtc.data_tracks import DataTrack
from lkpy.server.rtc.ice_dtls import EngineLink
from lkpy.server.rtc.signals import SignalSender
from lkpy.server.rtc.subscriptions import ActionKind, Availability, Resolution, Subscriptions
from lkpy.server.rtc.timers import Timers
from lkpy.server.rtc.transport_manager import TransportManager

_HANDLES = 1 << 16


class DataSubscriber(Protocol):
    """The participant, as its subscriptions see it."""

    @property
    def sid(self) -> str:
        """Participant sid."""

    @property
    def identity(self) -> str:
        """Participant identity."""

    @property
    def is_recorder(self) -> bool:
        """It records, and may subscribe to whatever there is."""

    @property
    def can_subscribe(self) -> bool:
        """The permission."""

    def now(self) -> float:
        """Monotonic seconds."""


@dataclass(slots=True, eq=False)
class DataSubscription:
    """One data track that is received."""

    track: DataTrack
    handle: int
    engine_id: int | None = None
    """The engine's data down track; None until both transports exist."""


class DataSubscriptions:
    """Owns the data down tracks of one participant."""

    def __init__(
        self,
        owner: DataSubscriber,
        engine: EngineLink,
        signals: SignalSender,
        transports: TransportManager,
        timers: Timers,
        find: Callable[[str], DataTrack | None],
    ) -> None:
        self._owner = owner
        self._engine = engine
        self._signals = signals
        self._transports = transports
        self._timers = timers
        self._find = find
        # No description is negotiated that should lose one track before it gains another.
        self._wishes = Subscriptions(settle_s=0.0)
        self._received: dict[str, DataSubscription] = {}
        """By track sid."""
        self._handles: set[int] = set()
        """Those in use."""
        self._last_handle = secrets.randbelow(256)

    @property
    def received(self) -> list[DataSubscription]:
        """What is received."""
        return list(self._received.values())

    # -- what is wanted ---------------------------------------------------------------------------

    def update(self, request: rtc.UpdateDataSubscription) -> None:
        """The client subscribes or unsubscribes. The rate that it asks for is not enforced, as in
        LiveKit."""
        now = self._owner.now()
        for update in request.updates:
            self._wishes.want(now, update.track_sid, update.subscribe)
        self.reconcile(update.track_sid for update in request.updates)

    def want(self, sids: Iterable[str]) -> None:
        """Subscribe without being asked."""
        chosen = list(sids)
        now = self._owner.now()
        for sid in chosen:
            self._wishes.want(now, sid, True)
        self.reconcile(chosen)

    def lost(self, sids: Iterable[str]) -> None:
        """Tracks were unpublished."""
        changed = False
        for sid in sids:
            changed |= self._unsubscribe(sid)
            self._wishes.lost(sid)
        if changed:
            self._send_handles()

    def reconcile(self, sids: Iterable[str] | None = None) -> None:
        """Bring what is received in line with what is wanted, of ``sids`` or of everything.

        To be called when a permission has changed: what is not allowed ends, but stays wanted.
        """
        changed = False
        sids = None if sids is None else list(sids)
        for action in self._wishes.reconcile(self._owner.now(), self._resolve, sids):
            match action.kind:
                case ActionKind.SUBSCRIBE:
                    changed |= self._subscribe(action.sid)
                case ActionKind.UNSUBSCRIBE:
                    changed |= self._unsubscribe(action.sid)
                case ActionKind.ALLOWED | ActionKind.DISALLOWED:
                    self._tell_permission(action.sid, action.kind is ActionKind.ALLOWED)
                case ActionKind.GIVE_UP | ActionKind.NOT_BOUND:
                    # LiveKit says so of media tracks only.
                    pass
        if changed:
            self._send_handles()
        if self._wishes.any_unsettled(sids):
            at = self._owner.now() + RECONCILE_INTERVAL_S
            self._timers.set_if_absent((self._owner.sid, "retry data"), at, self._retry)

    def _retry(self) -> None:
        """Try again what was not possible."""
        sids = self._wishes.unsettled()
        if sids:
            self.reconcile(sids)

    def _resolve(self, sid: str) -> Resolution:
        if not self._owner.can_subscribe:
            return Resolution(Availability.NOT_ALLOWED)
        track = self._find(sid)
        if track is None:
            return Resolution(Availability.NOT_FOUND)
        allowed = self._owner.is_recorder or track.publisher.subscriber_permissions.allows(
            sid, self._owner.identity
        )
        return Resolution(Availability.READY if allowed else Availability.NOT_ALLOWED, allowed)

    def _tell_permission(self, sid: str, allowed: bool) -> None:
        track = self._find(sid)
        if track is not None:
            update = rtc.SubscriptionPermissionUpdate(
                participant_sid=track.publisher.sid, track_sid=sid, allowed=allowed
            )
            self._signals.send(rtc.SignalResponse(subscription_permission_update=update))

    # -- what is received -------------------------------------------------------------------------

    def _subscribe(self, sid: str) -> bool:
        track = self._find(sid)
        if track is None:
            return False
        received = self._received[sid] = DataSubscription(track, self._next_handle())
        # The client has nothing to negotiate.
        self._wishes.bound(sid)
        self._attach(received)
        return True

    def _next_handle(self) -> int:
        """The next that is free; 0 is none."""
        handle = (self._last_handle + 1) % _HANDLES
        while handle == 0 or handle in self._handles:
            handle = (handle + 1) % _HANDLES
        self._handles.add(handle)
        self._last_handle = handle
        return handle

    def _unsubscribe(self, sid: str) -> bool:
        received = self._received.pop(sid, None)
        if received is None:
            return False
        self._handles.discard(received.handle)
        if received.engine_id is not None:
            self._engine.release(CloseDataDownTrack(received.engine_id))
        return True

    def attach(self) -> None:
        """Let packets flow of what has a transport at both ends."""
        for received in self._received.values():
            self._attach(received)

    def _attach(self, received: DataSubscription) -> None:
        transport, source = self._transports.primary, received.track.engine_id
        if received.engine_id is None and source is not None and transport.created:
            received.engine_id = self._engine.new_id()
            self._engine.submit(
                CreateDataDownTrack(received.engine_id, transport.id, source, received.handle)
            )

    def _send_handles(self) -> None:
        handles = rtc.DataTrackSubscriberHandles()
        for sid, received in self._received.items():
            entry = handles.sub_handles[received.handle]
            entry.publisher_identity = received.track.publisher.identity
            entry.publisher_sid = received.track.publisher.sid
            entry.track_sid = sid
        self._signals.send(rtc.SignalResponse(data_track_subscriber_handles=handles))
