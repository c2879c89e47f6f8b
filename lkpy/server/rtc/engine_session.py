"""What one participant has of the engine, so that nothing of it stays when the participant goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from lkpy.engine.api import CloseTransport, Command, CreateTransport, EngineInfo
from lkpy.engine.hub import EngineHub, Handler
from lkpy.errors import LkpyError
from lkpy.limits import ENGINE_COMMANDS_TOGETHER

Refused = Callable[[Command, LkpyError], None]
"""A command that the engine did not take, and why."""


def _nobody(_command: Command, _error: LkpyError) -> None:
    """The session is over anyway."""


class EngineSession:
    """One participant's way to the engine. Used as :class:`lkpy.engine.hub.EngineHub` is.

    A session that enters is refused with what the engine refuses. One that has entered is in the
    middle of something that others know of already: it goes on as if the command had been taken,
    and it is told, once, that the session is of no use any more.
    """

    def __init__(self, hub: EngineHub) -> None:
        self._hub = hub
        self._refused: Refused | None = None
        self._broken = False
        self._held: list[Command] | None = None
        """What waits for the end of :meth:`together`."""
        self._held_failure: LkpyError | None = None
        self._bound: set[int] = set()
        self._transports: set[int] = set()

    @property
    def info(self) -> EngineInfo:
        """Fingerprint and candidates."""
        return self._hub.info

    def new_id(self) -> int:
        """The next id."""
        return self._hub.new_id()

    def entered(self, refused: Refused) -> None:
        """From now on what is refused is told to ``refused`` and raises nothing."""
        self._refused = refused

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is submitted inside is queued as one, at the end: a worker that sleeps is woken
        once for all of it. The end raises as :meth:`submit` does."""
        if self._held is not None:
            yield
            return
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            failure, self._held_failure = self._held_failure, None
            self._queue(held)
            if failure is not None:
                raise failure

    def submit(self, *commands: Command) -> None:
        """Queue commands, all or none. Before :meth:`entered` it raises :class:`LkpyError`
        (``unavailable``) when the engine does not take them."""
        if self._held is None:
            self._queue(commands)
            return
        self._held += commands
        if len(self._held) >= ENGINE_COMMANDS_TOGETHER:
            held, self._held = self._held, []
            self._queue(held)

    def _queue(self, commands: Sequence[Command]) -> None:
        if not commands:
            return
        try:
            self._hub.submit(*commands)
        except LkpyError as error:
            if self._refused is None:
                raise
            if not self._broken:
                self._broken = True
                self._refused(commands[0], error)
            return
        for command in commands:
            if isinstance(command, CreateTransport):
                self._transports.add(command.transport)

    def release(self, *commands: Command) -> None:
        """Queue commands that only give back; never raises."""
        self._queue_held()
        self._hub.release(*commands)
        for command in commands:
            if isinstance(command, CloseTransport):
                self._transports.discard(command.transport)

    def _queue_held(self) -> None:
        """Queue what waits before it is taken back."""
        if self._held:
            held, self._held = self._held, []
            try:
                self._queue(held)
            except LkpyError as error:
                self._held_failure = error

    def bind(self, subject: int, handler: Handler) -> None:
        """Give events about ``subject`` to ``handler``."""
        self._bound.add(subject)
        self._hub.bind(subject, handler)

    def unbind(self, subject: int) -> None:
        """Drop events about ``subject`` from now on. Idempotent."""
        self._bound.discard(subject)
        self._hub.unbind(subject)

    def close(self) -> None:
        """Give back whatever has not been given back. Idempotent."""
        for subject in self._bound:
            self._hub.unbind(subject)
        self._bound.clear()
        self._queue_held()
        for transport in list(self._transports):
            self.release(CloseTransport(transport))
        if self._refused is not None:
            self._refused = _nobody
