"""The node's gate for joins, on the event loop: see :mod:`lkpy.server.routing.admission_gate`."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Callable

from lkpy.clock import Clock
from lkpy.errors import Blame, Code, LkpyError
from lkpy.limits import (
    ADMISSION_PACE_S,
    ADMISSION_PATIENCE_S,
    ADMISSION_REFUSED_PER_TURN,
    ADMISSION_RETRY_MAX_S,
    ADMISSION_STARTING,
    ADMISSION_TAKEN_PER_TURN,
    ADMISSION_WAIT_S,
    ADMISSION_WAITING,
)
from lkpy.server.routing.admission_gate import AdmissionGate, Refused, Ticket
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


class Turnstile:
    """Lets a few through in each turn of the event loop: hundreds that come at once, each of them
    quickly done with, would together keep waiting those who are under way."""

    def __init__(self, per_turn: int) -> None:
        self._per_turn = per_turn
        self._left = per_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def enter(self) -> None:
        """Return when it is one's turn, in order."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _next(self) -> None:
        """A turn of the loop is over."""
        self._left = self._per_turn
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        self._scheduled = bool(self._waiting) or self._left < self._per_turn
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._next)


class Admission:
    """Lets joins start in order, as many as the node can take."""

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
        self._taken = Turnstile(ADMISSION_TAKEN_PER_TURN)
        self._sent_away = Turnstile(ADMISSION_REFUSED_PER_TURN)
        self._turns: dict[Ticket, asyncio.Event] = {}

    async def check(self) -> None:
        """Raise :class:`Overloaded` when whoever asks now is refused: before anything was spent
        on it."""
        if not self.gate.is_full(len(self._taken)):
            await self._taken.enter()
            if not self.gate.is_full():
                return
        await self._sent_away.enter()
        raise self._refused(self.gate.refuse(self._clock.now()))

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
                self._turns[following].set()

    async def _wait(self, ticket: Ticket) -> None:
        self._telemetry.tell(JoinHandled("queued"))
        turn = self._turns[ticket] = asyncio.Event()
        try:
            async with asyncio.timeout(ADMISSION_PATIENCE_S):
                await turn.wait()
        except TimeoutError:
            raise self._refused(self.gate.refuse(self._clock.now())) from None

    def _refused(self, refused: Refused) -> Overloaded:
        self._telemetry.tell(JoinHandled("refused"))
        return Overloaded(refused.retry_after_s)
