"""The node's gate for joins, on the event loop: see :mod:`lkpy.server.routing.admission_gate`."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from lkpy.clock import Clock
from lkpy.errors import Blame, Code, LkpyError
from lkpy.limits import (
    ADMISSION_AHEAD,
    ADMISSION_BROWSER_PATIENCE_S,
    ADMISSION_BROWSER_WAIT_S,
    ADMISSION_LINE_BYTES,
    ADMISSION_PACE_S,
    ADMISSION_PATIENCE_S,
    ADMISSION_RETRY_MAX_S,
    ADMISSION_STARTING,
    ADMISSION_TAKEN_PER_TURN,
    ADMISSION_WAIT_S,
    ADMISSION_WAITING,
)
from lkpy.server.routing.admission_gate import AdmissionGate, Refused, Ticket
from lkpy.server.routing.admission_line import Line, Patience
from lkpy.server.telemetry.events import NO_TELEMETRY, JoinHandled, Telemetry


class Overloaded(LkpyError):
    """More want to join than the node can take now."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(Code.UNAVAILABLE, "too many joins at once", blame=Blame.OPERATOR)
        self.retry_after_s = retry_after_s

    @property
    def retry_after(self) -> str:
        """As a ``Retry-After`` header has it (RFC 9110 10.2.3)."""
        return str(math.ceil(self.retry_after_s))


class Abandoned(LkpyError):
    """The client went away before its turn."""

    def __init__(self) -> None:
        super().__init__(Code.CANCELED, "client went away", blame=Blame.CLIENT)


class Visitor(Protocol):
    """A request that nobody has looked at."""

    def let_in(self) -> None:
        """Look at it."""

    def send_away(self, retry_after: str) -> None:
        """Answer 503, with this as ``Retry-After``."""


class _Call:
    """A visitor that awaits its turn."""

    def __init__(self) -> None:
        self.turn: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def let_in(self) -> None:
        if not self.turn.done():
            self.turn.set_result("")

    def send_away(self, retry_after: str) -> None:
        if not self.turn.done():
            self.turn.set_result(retry_after)


class Admission:
    """Lets joins start in order, as many as the node can take.

    A request :meth:`arrives <arrive>` before anything was spent on it, and waits in a line to be
    looked at; what turns out to be a join then has its :meth:`turn` at the gate.
    """

    def __init__(self, clock: Clock, telemetry: Telemetry = NO_TELEMETRY) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self.gate = AdmissionGate(
            starting=ADMISSION_STARTING,
            waiting=ADMISSION_WAITING,
            wait_s=ADMISSION_WAIT_S,
            pace_s=ADMISSION_PACE_S,
            retry_max_s=ADMISSION_RETRY_MAX_S,
        )
        self.line: Line[Visitor] = Line(
            self.gate,
            per_turn=ADMISSION_TAKEN_PER_TURN,
            ahead=ADMISSION_AHEAD,
            others=Patience(ADMISSION_WAIT_S, ADMISSION_PATIENCE_S),
            browsers=Patience(ADMISSION_BROWSER_WAIT_S, ADMISSION_BROWSER_PATIENCE_S),
            max_bytes=ADMISSION_LINE_BYTES,
        )
        self._turns: dict[Ticket, asyncio.Future[bool]] = {}
        """Of those who wait at the gate; false: it has not come in time."""
        self._turn_ends = False
        """Whether we hear of the end of this turn of the event loop."""
        self._late_timer: asyncio.TimerHandle | None = None
        self._watched = math.inf
        """When that is due."""

    @property
    def waiting(self) -> int:
        """Requests that wait, in the line and at the gate."""
        return len(self.line) + self.gate.waiting

    # -- the line --------------------------------------------------------------------------------

    def arrive(self, visitor: Visitor, size: int = 0, *, browser: bool = False) -> None:
        """Somebody comes, and holds ``size`` bytes: is let in or sent away, now or later."""
        refused = self.line.arrive(self._clock.now(), visitor, size, browser=browser)
        if refused is not None:
            self._send_away(visitor, refused)
            return
        self._advance()
        until = self.line.patient_until
        if until is not None and until < self._watched:
            self._watch()

    def leave(self, visitor: Visitor) -> None:
        """A visitor went away. Idempotent."""
        if self.line.leave(visitor):
            self._telemetry.tell(JoinHandled("abandoned"))

    async def check(self) -> None:
        """As :meth:`arrive`, for whoever can wait: raise :class:`Overloaded` if sent away."""
        call = _Call()
        self.arrive(call)
        try:
            retry_after = await call.turn
        finally:
            self.leave(call)
        if retry_after:
            raise Overloaded(float(retry_after))

    def _advance(self) -> None:
        """Let in whose turn it is."""
        while (visitor := self.line.follow()) is not None:
            # First, so that the line moves on whatever becomes of this one.
            self._hear_of_turn_end()
            visitor.let_in()
        if self.line.moves:
            self._hear_of_turn_end()

    def _hear_of_turn_end(self) -> None:
        if not self._turn_ends:
            self._turn_ends = True
            asyncio.get_running_loop().call_soon(self._turn_over)

    def _turn_over(self) -> None:
        self._turn_ends = False
        self.line.turn_over()
        self._advance()

    def _watch(self) -> None:
        """See that nobody waits for too long."""
        if self._late_timer is not None:
            self._late_timer.cancel()
        self._late_timer, self._watched = None, math.inf
        until = self.line.patient_until
        if until is not None:
            self._watched = until
            self._late_timer = asyncio.get_running_loop().call_later(
                max(0.0, until - self._clock.now()), self._send_late_away
            )

    def _send_late_away(self) -> None:
        self._late_timer = None
        now = self._clock.now()
        for visitor in self.line.late(now):
            self._send_away(visitor, self.gate.refuse(now))
        self._watch()

    def _send_away(self, visitor: Visitor, refused: Refused) -> None:
        visitor.send_away(self._refused(refused).retry_after)

    # -- the gate --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def turn(self, gone: Callable[[], bool]) -> AsyncIterator[None]:
        """Start a session inside. Raises :class:`Overloaded`, or :class:`Abandoned` for a client
        that is ``gone`` when its turn comes."""
        ticket = self.gate.ask(self._clock.now())
        if isinstance(ticket, Refused):
            raise self._refused(ticket)
        started = False
        try:
            if not ticket.admitted:
                await self._wait(ticket)
            if gone():
                self._telemetry.tell(JoinHandled("abandoned"))
                raise Abandoned
            self._telemetry.tell(JoinHandled("admitted"))
            yield
            started = True
        finally:
            self._turns.pop(ticket, None)
            for following in self.gate.done(self._clock.now(), ticket, started=started):
                _settle(self._turns[following], True)
            self._advance()

    async def _wait(self, ticket: Ticket) -> None:
        self._telemetry.tell(JoinHandled("queued"))
        loop = asyncio.get_running_loop()
        turn = self._turns[ticket] = loop.create_future()
        late = loop.call_later(ADMISSION_PATIENCE_S, _settle, turn, False)
        try:
            if not await turn:
                raise self._refused(self.gate.refuse(self._clock.now()))
        finally:
            late.cancel()

    def _refused(self, refused: Refused) -> Overloaded:
        self._telemetry.tell(JoinHandled("refused"))
        return Overloaded(refused.retry_after_s)


def _settle(turn: asyncio.Future[bool], value: bool) -> None:
    if not turn.done():
        turn.set_result(value)
