"""The offer that comes with the request to join, and when it is answered. Pure; told ``now``.

The Go SDK reads signals before it has set that offer (server-sdk-go 2.19.0, engine.go
``OnJoinResponse``), so it fails on an answer that is already there, and does not connect. Its
candidates come when the offer is set.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from livekit.protocol import rtc

from lkpy.limits import JOIN_ANSWER_S
from lkpy.server.rtc.timers import Timers


class JoinOffer:
    """Holds the offer back where its sender may not be ready for the answer."""

    def __init__(
        self,
        owner: Hashable,
        timers: Timers,
        answer: Callable[[rtc.SessionDescription], None],
    ) -> None:
        self._key = (owner, "join offer")
        self._timers = timers
        self._answer = answer
        self._held: rtc.SessionDescription | None = None

    def take(self, now: float, offer: rtc.SessionDescription, *, hold: bool) -> None:
        """Answer ``offer``: at once, or with ``hold`` as soon as the client is ready."""
        self._held = offer
        if hold:
            self._timers.set(self._key, now + JOIN_ANSWER_S, self.client_is_ready)
        else:
            self.client_is_ready()

    def client_is_ready(self) -> None:
        """The client's signals, or the time that has passed, tell that it has set its offer."""
        offer, self._held = self._held, None
        if offer is not None:
            self._timers.cancel(self._key)
            self._answer(offer)
