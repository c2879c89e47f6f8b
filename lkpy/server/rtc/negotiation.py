"""When to negotiate: one offer at a time, debounced, with a deadline. Pure; told ``now``.

Times and states are LiveKit's (``pkg/rtc/transport.go``): the first request after a quiet 150 ms
waits 10 ms, others 150 ms; requests made while an offer is out are answered by one more offer.
"""

from __future__ import annotations

import enum

from lkpy.limits import NEGOTIATION_DEBOUNCE_S, NEGOTIATION_FAILED_S, NEGOTIATION_FAST_S


class NegotiationState(enum.StrEnum):
    """Whose turn it is."""

    NONE = "none"
    REMOTE = "remote"
    """An offer is out."""
    RETRY = "retry"
    """An offer is out and another is wanted after its answer."""


class Action(enum.Enum):
    """What to do now."""

    SEND_OFFER = enum.auto()
    """Send an offer with :attr:`Negotiation.offer_id`."""
    REQUEST_OFFER = enum.auto()
    """Ask the client for an offer."""
    FAIL = enum.auto()
    """No answer came in time."""


class Negotiation:
    """The negotiation state of one peer connection.

    ``offers`` says who offers: we (then ids, answers and the deadline matter) or the client (then
    only the debounce does, because we can but ask it).
    """

    def __init__(self, *, offers: bool, first_offer_id: int = 1) -> None:
        self.offers = offers
        self.offer_id = first_offer_id - 1
        """Of the last offer sent."""
        self.state = NegotiationState.NONE
        self._due: float | None = None
        self._last = float("-inf")
        self._answer_by: float | None = None

    def request(self, now: float, *, force: bool = False) -> None:
        """Something changed that a negotiation must carry; ``force`` skips the debounce."""
        if force:
            self._due = now
        elif self._due is None:
            idle = now - self._last > NEGOTIATION_DEBOUNCE_S
            self._due = now + (NEGOTIATION_FAST_S if idle else NEGOTIATION_DEBOUNCE_S)

    def settled(self) -> None:
        """A description came that carries everything wanted so far (the client offers)."""
        self._due = None

    def next_deadline(self) -> float | None:
        """When to call :meth:`poll` next."""
        return min((t for t in (self._due, self._answer_by) if t is not None), default=None)

    def poll(self, now: float, *, connected: bool) -> list[Action]:
        """What to do now. An offer that is out when nothing is ``connected`` does not fail: the
        connection has its own deadline then."""
        actions: list[Action] = []
        if self._answer_by is not None and now >= self._answer_by:
            self._answer_by = None
            if connected:
                actions.append(Action.FAIL)
        if self._due is not None and now >= self._due:
            self._due = None
            self._last = now
            if not self.offers:
                actions.append(Action.REQUEST_OFFER)
            elif self.state is NegotiationState.NONE:
                self.state = NegotiationState.REMOTE
                self.offer_id = self.offer_id % 0xFFFF_FFFF + 1
                self._answer_by = now + NEGOTIATION_FAILED_S
                actions.append(Action.SEND_OFFER)
            else:
                self.state = NegotiationState.RETRY
        return actions

    def expects(self, answer_id: int) -> bool:
        """Whether an answer with this id answers the offer that is out; 0: a client without ids."""
        return self.state is not NegotiationState.NONE and answer_id in (0, self.offer_id)

    def answered(self, now: float) -> None:
        """The expected answer came."""
        if self.state is NegotiationState.RETRY:
            self._due = now
        self.state = NegotiationState.NONE
        self._answer_by = None

    def abandon(self) -> None:
        """Forget the offer that is out: its answer will not be taken."""
        self.state = NegotiationState.NONE
        self._answer_by = None
