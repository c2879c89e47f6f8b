"""A planned client over the whole run: it may leave and join again, each time as a new client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import aiohttp

from lkpy.sim.client import ClientSettings, SimClient
from lkpy.sim.judge.silence import track_name
from lkpy.sim.metrics import Summary, merged
from lkpy.sim.plan import ClientPlan
from lkpy.sim.scenario import Group

_ONCE = ("clients", "joined", "connected", "errors")
"""Counts of clients: whoever joins twice is one."""
_LEVELS = ("joined", "connected")
"""Counters of a sample that say how it is now."""


class Participant:
    """One :class:`~lkpy.sim.client.SimClient` at a time, and what was measured by those before."""

    def __init__(
        self, plan: ClientPlan, group: Group, settings: Callable[[int], ClientSettings]
    ) -> None:
        """``settings`` gives a client's settings by the number of its life, from 0."""
        self.plan = plan
        self.group = group
        self._fault: tuple[str, str | None] | None = None
        self._settings = settings
        self._client = SimClient(plan, group, settings(0))
        self._lives = 0
        self._past: list[Summary] = []
        self._counted: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self._skipped = 0
        self._turn = asyncio.Lock()
        self._wanted = False
        self._inside = False

    @property
    def client(self) -> SimClient:
        """The client of the present, or of the last time."""
        return self._client

    @property
    def fault(self) -> tuple[str, str | None] | None:
        """Why it failed for the first time, and what this machine lacked if that was the cause."""
        if self._fault is None and self._client.error is not None:
            self._fault = self._client.error, self._client.own_fault
        return self._fault

    async def join(self, session: aiohttp.ClientSession) -> None:
        """Join, once a departure that is under way is done."""
        self._wanted = True
        async with self._turn:
            if not self._wanted or self._inside:
                return  # it was to leave again before this came to its turn
            self._inside = True
            if self._lives:
                self._bury()
                self._client = SimClient(self.plan, self.group, self._settings(self._lives))
            self._lives += 1
            try:
                await self._client.start(session)
            except Exception as error:  # noqa: BLE001 - one client's fault is that client's failure
                self._client.fail(f"{type(error).__name__}: {error}", error)

    async def leave(self) -> None:
        """Leave the room; a join under way gives up. The figures stay. Idempotent."""
        self._wanted = False
        self._client.give_up()
        async with self._turn:
            if self._inside:
                self._inside = False
                await self._client.close()

    def _bury(self) -> None:
        self._fault = self.fault
        self._past.append(self._client.finish(time.monotonic()))
        for name, value in self._client.sample().items():
            self._counted[name] = self._counted.get(name, 0) + value
        self._skipped += self._client.frames_skipped()
        self._sent = {}

    def tick(self, now: float) -> None:
        """Let the client send what is due."""
        self._client.tick(now)

    def sample(self) -> dict[str, int]:
        """Return the counters of this moment, those of earlier lives included."""
        counters = self._client.sample()
        for name, value in self._counted.items():
            if name not in _LEVELS:
                counters[name] = counters.get(name, 0) + value
        counters["errors"] = int(self.fault is not None)
        return counters

    def idle(self) -> Iterator[tuple[str, str]]:
        """Yield each published track of which nothing was sent since the last call, and why."""
        before, now = self._sent, self._client.published() if self._client.present else {}
        for index in range(len(self.group.publish) if self._lives else 0):
            name = track_name(self.plan.identity, index)
            sent, paused = now.get(name, (0, False))
            if sent <= before.get(name, 0):
                yield name, "paused" if paused else "stopped"
        self._sent = {name: sent for name, (sent, _) in now.items()}

    def figures(self, now: float) -> Summary:
        """Return the figures of all lives up to ``now``."""
        if not self._past:
            return self._client.figures(now)
        whole = merged([*self._past, self._client.figures(now)])
        for name in _ONCE:
            whole.counts[name] = min(whole.counts.get(name, 0), 1)
        return whole

    def finish(self, now: float) -> Summary:
        """Freeze the present client's figures, and return those of all lives."""
        self._client.finish(now)
        return self.figures(now)

    def skipped(self) -> int:
        """Frames not sent because sending fell behind."""
        return self._skipped + self._client.frames_skipped()
