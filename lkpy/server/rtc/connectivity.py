"""Whether a participant is still there: its deadlines, and what follows from its transports'
states (livekit-server ``pkg/rtc/participant.go`` onAnyTransportFailed, ``pkg/rtc/transport.go``).

A lost connection is the client's to repair: it is asked to resume, its signal connection is closed
and it has :data:`lkpy.limits.PC_CLEANUP_S` to come back. The engine reports a silent peer as failed
15 s after it was last heard.
"""

from __future__ import annotations

import logging
from typing import Protocol

from livekit.protocol import models, rtc

from lkpy.engine.api import Event, IceState, IceStateChanged
from lkpy.limits import (
    CONNECT_AFTER_ICE_FACTOR,
    CONNECT_AFTER_ICE_MAX_S,
    CONNECT_AFTER_ICE_MIN_S,
    JOIN_VERIFY_S,
    PC_CLEANUP_S,
    PING_TIMEOUT_S,
    RESUME_REPAIR_S,
    SHORT_CONNECTION_S,
)
from lkpy.server.rtc.ice_path import IcePath
from lkpy.server.rtc.signals import Action, SignalSender
from lkpy.server.rtc.timers import Timers
from lkpy.server.rtc.transport import PeerTransport
from lkpy.server.rtc.transport_manager import TransportManager

logger = logging.getLogger(__name__)

Reason = models.DisconnectReason


class ConnectivityOwner(Protocol):
    """The participant, as its deadlines see it."""

    @property
    def sid(self) -> str:
        """Participant sid."""

    @property
    def closed(self) -> bool:
        """The session has ended."""

    @property
    def active(self) -> bool:
        """Its primary connection was there once."""

    def now(self) -> float:
        """Monotonic seconds."""

    def log_fields(self) -> dict[str, object]:
        """For log lines about it."""

    def give_up(
        self, reason: models.DisconnectReason, action: rtc.LeaveRequest.Action | None
    ) -> None:
        """End the session; None: without saying so."""


class Connectivity:
    """The deadlines of one participant's connection."""

    def __init__(
        self,
        owner: ConnectivityOwner,
        transports: TransportManager,
        signals: SignalSender,
        path: IcePath,
        timers: Timers,
        *,
        can_come_back: bool = True,
    ) -> None:
        self._owner = owner
        self._can_come_back = can_come_back
        """Whether the client can be told that its connection is lost."""
        self._path = path
        self._transports = transports
        self._signals = signals
        self._timers = timers
        self._lost = False
        self._checking_since: dict[int, float] = {}
        self._ice_connected_at: dict[int, float] = {}
        self._ice_ever_connected = False
        self._dead = False
        self.began_at = self.last_signal_at = owner.now()
        """When the client last sent a signal request, in monotonic seconds."""

    @property
    def beyond_repair(self) -> bool:
        """A transport is gone that no ICE restart brings back: only a fresh session helps."""
        return (
            not self._can_come_back
            or self._dead
            or any(transport.dead for transport in self._transports.all)
        )

    def start(self) -> None:
        """The participant has to become active within a minute."""
        at = self._owner.now() + JOIN_VERIFY_S
        self._timers.set((self._owner.sid, "join"), at, self._verify)

    def _verify(self) -> None:
        if not self._owner.active:
            self._owner.give_up(Reason.JOIN_FAILURE, Action.DISCONNECT)

    def activated(self) -> None:
        """The participant became active."""
        self._timers.cancel((self._owner.sid, "join"))

    # -- transports -------------------------------------------------------------------------------

    def transport_changed(self, transport: PeerTransport, event: Event) -> None:
        """Take the state that ``transport`` is in after ``event``."""
        key = (self._owner.sid, "established", transport.id)
        if transport.failure:
            self._timers.cancel(key)
            self._failed(transport)
            self.lose(transport.failure)
            return
        if transport.connected:
            self._timers.cancel(key)
        elif isinstance(event, IceStateChanged):
            self._ice_changed(transport, event, key)

    def _ice_changed(
        self, transport: PeerTransport, event: IceStateChanged, key: tuple[str, str, int]
    ) -> None:
        """DTLS has three times as long as ICE took, within bounds, the first time."""
        now = self._owner.now()
        if event.state is IceState.CHECKING:
            self._checking_since.setdefault(transport.id, now)
        elif event.state is IceState.CONNECTED and transport.id not in self._ice_connected_at:
            self._ice_ever_connected = True
            self._ice_connected_at[transport.id] = now
            took = now - self._checking_since.get(transport.id, now)
            wait = min(
                max(CONNECT_AFTER_ICE_FACTOR * took, CONNECT_AFTER_ICE_MIN_S),
                CONNECT_AFTER_ICE_MAX_S,
            )
            self._timers.set(key, now + wait, lambda: self._not_established(transport))

    def _failed(self, transport: PeerTransport) -> None:
        self._path.failed(
            transport.path[2], short=self._is_short(transport), signal_alive=self.signal_alive
        )

    def _is_short(self, transport: PeerTransport) -> bool:
        at = self._ice_connected_at.get(transport.id)
        return at is not None and self._owner.now() - at < SHORT_CONNECTION_S

    @property
    def signal_alive(self) -> bool:
        """The client was heard on a signal connection that is open."""
        recent = self._owner.now() - self.last_signal_at < PING_TIMEOUT_S
        return recent and not self._signals.closed

    def _not_established(self, transport: PeerTransport) -> None:
        if not transport.connected:
            self._failed(transport)
            self.lose("ICE is connected and DTLS is not")

    def lose(self, why: str, *, for_good: bool = False) -> None:
        """Ask the client to come back, and clean up if it does not. ``for_good``: it will have to
        join afresh."""
        self._dead = self._dead or for_good
        if self._lost or self._owner.closed:
            return
        self._lost = True
        logger.info("peer connection lost: %s", why, extra=self._owner.log_fields())
        if not self._can_come_back:
            self._owner.give_up(Reason.CONNECTION_TIMEOUT, None)
            return
        self._signals.leave(Reason.CONNECTION_TIMEOUT, Action.RESUME)
        self._signals.close("peer connection lost")
        self._timers.set(
            (self._owner.sid, "cleanup"),
            self._owner.now() + PC_CLEANUP_S,
            lambda: self._owner.give_up(Reason.CONNECTION_TIMEOUT, Action.DISCONNECT),
        )

    # -- signals ----------------------------------------------------------------------------------

    def signal_received(self) -> None:
        """The client sent a request."""
        self.last_signal_at = self._owner.now()

    def signal_closed(self) -> None:
        """The signal connection ended. A participant that ICE has connected stays until its media
        ends too; one that never was has nothing to stay for."""
        ever = self._ice_ever_connected or self._transports.ever_connected
        if not self._owner.closed and not ever:
            self._owner.give_up(Reason.SIGNAL_CLOSE, None)

    def resumed(self, reason: models.ReconnectReason) -> None:
        """The client came back. It may have seen a connection fail that is alive here."""
        failed = {
            models.ReconnectReason.RR_PUBLISHER_FAILED: self._transports.publisher,
            models.ReconnectReason.RR_SUBSCRIBER_FAILED: self._transports.subscriber,
        }.get(reason)
        if failed is not None:
            if self._is_short(failed):
                self._path.failed(failed.path[2], short=True, signal_alive=self.signal_alive)
            self._ice_connected_at.clear()
        self._path.resumed()
        self.repair()

    def repair(self) -> None:
        """What has failed must be repaired by an ICE restart."""
        self._lost = False
        self._timers.cancel((self._owner.sid, "cleanup"))
        at = self._owner.now() + RESUME_REPAIR_S
        self._timers.set((self._owner.sid, "repair"), at, self._check_repaired)

    def _check_repaired(self) -> None:
        for transport in self._transports.all:
            if transport.failure:
                self.lose(f"still after a resume: {transport.failure}")
