"""Ids, command submission and event dispatch around one engine.

The hub is the only reader of the engine's events: it drains them in batches when the engine's
descriptor polls readable and hands each to whoever is bound to the object it is about.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TypeAlias, assert_never

from lkpy.engine.api import (
    AudioLevels,
    CollectStats,
    Command,
    CommandFailed,
    DataChannelClosed,
    DataChannelOpened,
    DataChannelOverflow,
    DataReceived,
    DownTrackStalled,
    DtlsStateChanged,
    Engine,
    EngineInfo,
    Event,
    IceStateChanged,
    PacketsDropped,
    ReceiverLayersChanged,
    ReceiverStalled,
    StatsCollected,
    StreamStatesChanged,
    TransportClosed,
    WorkerFailed,
    WorkerStalled,
)
from lkpy.errors import LkpyError
from lkpy.limits import ENGINE_RELEASE_RETRY_S

logger = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Event], None]
WorkerHandler: TypeAlias = Callable[[WorkerFailed | WorkerStalled], None]

_BATCH = 1024
_RELEASES_PER_SUBMIT = 64
"""Of those refused before, tried again when the engine is given something else."""
"""Events per turn of the loop, so that a flood leaves time for the rest of the process."""


class EngineHub:
    """One per engine. Used from the event loop's thread only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids = itertools.count(1)
        self._handlers: dict[int, Handler] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stats: dict[int, tuple[asyncio.Future[list[StatsCollected]], list[StatsCollected]]]
        self._stats = {}
        self.on_worker: WorkerHandler | None = None
        """Who looks after the workers."""
        self.unhandled = 0
        """Events about objects that nobody is bound to, such as those just closed."""
        self.releases_refused = 0
        """Commands of :meth:`release` that the engine did not take the first time."""
        self._unreleased: deque[Command] = deque()
        """Those that it has not taken yet: as many as there are objects, at the most."""
        self._retry: asyncio.TimerHandle | None = None

    @property
    def info(self) -> EngineInfo:
        """Fingerprint and candidates."""
        return self._engine.info

    def new_id(self) -> int:
        """The next id; an id names one object of any kind."""
        return next(self._ids)

    def submit(self, *commands: Command) -> None:
        """Queue commands in order, all or none. Raises :class:`lkpy.errors.LkpyError`
        (``unavailable``) when the engine is closed or its queue is full."""
        if self._unreleased:
            self._give_back(_RELEASES_PER_SUBMIT)
        self._engine.submit(commands)

    def release(self, *commands: Command) -> None:
        """Queue commands that only give back what the engine has: ``Close…``. Never raises: what is
        refused is tried again until the engine takes it or is closed itself, without anybody else
        waiting for it: one worker may be full while the others have room, and what is to be closed
        gets no other command. Who owns something is rid of it at once."""
        try:
            self.submit(*commands)
        except LkpyError as error:
            self.releases_refused += len(commands)
            self._unreleased.extend(commands)
            logger.warning(
                "engine does not take %s, %d wait: %s",
                type(commands[0]).__name__,
                len(self._unreleased),
                error.message,
            )
            self._release_later()

    def _release_later(self, delay_s: float = ENGINE_RELEASE_RETRY_S) -> None:
        if self._loop is not None and self._retry is None:
            self._retry = self._loop.call_later(delay_s, self._release_again)

    def _release_again(self) -> None:
        self._retry = None
        taken = self._give_back(_BATCH)
        if self._unreleased:
            self._release_later(0 if taken else ENGINE_RELEASE_RETRY_S)

    def _give_back(self, most: int) -> int:
        """Try some of what waits, each by itself; what is refused goes to the end. Returns how
        many were taken."""
        taken = 0
        for _ in range(min(len(self._unreleased), most)):
            command = self._unreleased.popleft()
            try:
                self._engine.submit((command,))
                taken += 1
            except LkpyError:
                self._unreleased.append(command)
        return taken

    def bind(self, subject: int, handler: Handler) -> None:
        """Give events about the object ``subject`` to ``handler``, replacing the one before."""
        self._handlers[subject] = handler

    def unbind(self, subject: int) -> None:
        """Drop events about ``subject`` from now on. Idempotent."""
        self._handlers.pop(subject, None)

    async def collect_stats(self) -> list[StatsCollected]:
        """One answer per worker. Waits as long as a worker takes: callers set the limit."""
        request = self.new_id()
        future: asyncio.Future[list[StatsCollected]] = asyncio.get_running_loop().create_future()
        self._stats[request] = (future, [])
        try:
            self.submit(CollectStats(request))
            return await future
        finally:
            del self._stats[request]

    # -- events ---------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Dispatch events on ``loop`` from now on."""
        self._loop = loop
        loop.add_reader(self._engine.fileno(), self.dispatch)

    def stop(self) -> None:
        """Stop dispatching. Idempotent; the engine is closed by its owner."""
        if self._loop is not None:
            self._loop.remove_reader(self._engine.fileno())
            self._loop = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def dispatch(self) -> None:
        """Drain one batch and hand each event out."""
        for event in self._engine.drain(_BATCH):
            self._dispatch(event)

    def _dispatch(self, event: Event) -> None:
        match event:
            case (
                IceStateChanged()
                | DtlsStateChanged()
                | TransportClosed()
                | DataChannelOpened()
                | DataChannelClosed()
                | DataReceived()
                | DataChannelOverflow()
                | StreamStatesChanged()
                | PacketsDropped()
                | DownTrackStalled()
            ):
                self._hand_out(event.transport, event)
            case ReceiverLayersChanged() | ReceiverStalled():
                self._hand_out(event.receiver, event)
            case AudioLevels():
                self._split_levels(event)
            case CommandFailed():
                logger.warning(
                    "engine command failed: %s %s: %s", event.command, event.code, event.message
                )
                self._hand_out(event.subject, event)
            case WorkerFailed() | WorkerStalled():
                self._worker(event)
            case StatsCollected():
                self._collect(event)
            case _:
                assert_never(event)

    def _hand_out(self, subject: int, event: Event) -> None:
        handler = self._handlers.get(subject)
        if handler is None:
            self.unhandled += 1
            return
        try:
            handler(event)
        except Exception:
            # One owner's bug must not cost the others their events.
            logger.exception("handling %s failed", type(event).__name__)

    def _worker(self, event: WorkerFailed | WorkerStalled) -> None:
        if self.on_worker is None:
            logger.error("nobody looks after the media workers: %s", event)
            return
        try:
            self.on_worker(event)
        except Exception:
            logger.exception("handling %s failed", type(event).__name__)

    def _split_levels(self, event: AudioLevels) -> None:
        """One call per handler with the entries of its receivers."""
        entries: defaultdict[Handler, list[tuple[int, int, int]]] = defaultdict(list)
        subjects: dict[Handler, int] = {}
        for entry in event.levels:
            handler = self._handlers.get(entry[0])
            if handler is None:
                self.unhandled += 1
                continue
            entries[handler].append(entry)
            subjects[handler] = entry[0]
        for handler, levels in entries.items():
            self._hand_out(subjects[handler], AudioLevels(event.worker, tuple(levels)))

    def _collect(self, event: StatsCollected) -> None:
        waiting = self._stats.get(event.request)
        if waiting is None:
            return
        future, answers = waiting
        answers.append(event)
        if len(answers) == len(self.info.workers) and not future.done():
            future.set_result(sorted(answers, key=lambda answer: answer.worker.worker))
