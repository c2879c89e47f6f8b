"""Whether the server is still there during a run."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import psutil

from lkpy.sim.embedded import EmbeddedServer
from lkpy.sim.server_stats import process_of
from lkpy.sim.target import Target

PATIENCE_S = 4.0
"""A server that says nothing to anybody for this long, and does not answer us, is dead."""
REFUSALS = 2
"""Refused connections in a row that leave no doubt."""
STOPPED_S = 2.0
"""A stopped process may be continued; one that was not by then is dead to its clients."""
INTERVAL_S = 0.5
PROBE_TIMEOUT_S = 2.0
OWN_LAG_S = 1.0
"""Whoever wakes up this late cannot say who was silent meanwhile."""


class Liveness:
    """What was heard of a server, and what follows. Pure; times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._heard = now
        self._refused = 0
        self._why = ""

    def heard(self, now: float) -> None:
        """The server answered, or media came from it."""
        self._heard = max(self._heard, now)
        self._refused = 0
        self._why = ""

    def refused(self) -> None:
        """Nobody listens where the server was."""
        self._refused += 1
        self._why = "connections to it are refused"

    def unanswered(self, why: str) -> None:
        """A request came to nothing."""
        self._refused = 0
        self._why = why

    def quiet(self, now: float) -> bool:
        """Tell whether it is time to ask."""
        return now - self._heard > INTERVAL_S

    def died(self, now: float) -> str | None:
        """Say how the server ended; None as long as it may live."""
        if not self._why:
            return None
        if self._refused >= REFUSALS or now - self._heard >= PATIENCE_S:
            return self._why
        return None


class ServerWatch:
    """Watches one server. :meth:`run` returns, with words, when it has died."""

    def __init__(self, target: Target, embedded: EmbeddedServer | None) -> None:
        self._target = target
        self._embedded = embedded
        self._process = process_of(embedded.pid) if embedded is not None else None
        self._stopped_since: float | None = None
        self._liveness = Liveness(time.monotonic())

    def heard(self) -> None:
        """Clients received something from it."""
        self._liveness.heard(time.monotonic())

    async def run(self) -> str:
        """Wait until the server is dead; say how it died."""
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        # A new connection for each question: one that is kept says nothing about listening.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                before = time.monotonic()
                await asyncio.sleep(INTERVAL_S)
                now = time.monotonic()
                if now - before > INTERVAL_S + OWN_LAG_S:
                    self._liveness.heard(now)
                if (how := self._gone(now)) is not None:
                    return how
                if self._liveness.quiet(now):
                    await self._ask(session)
                if (how := self._liveness.died(time.monotonic())) is not None:
                    return f"the server died: {how}"

    def _gone(self, now: float) -> str | None:
        """Look at the process of a server of ours."""
        if self._embedded is None:
            return None
        if (how := self._embedded.ended()) is not None:
            return f"the embedded server {how}"
        try:
            stopped = self._process is not None and self._process.status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return None
        if not stopped:
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = now
        elif now - self._stopped_since >= STOPPED_S:
            return "the embedded server was stopped by a signal (SIGSTOP)"
        return None

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(self._target.http_url, allow_redirects=False):
                self._liveness.heard(time.monotonic())
        except aiohttp.ClientConnectorError:
            self._liveness.refused()
        except (TimeoutError, aiohttp.ClientError, OSError):
            self._liveness.unanswered(f"it has not answered for {PATIENCE_S:g} s")
