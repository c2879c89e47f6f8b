"""What the server says about itself during a run: CPU, memory, participants.

From ``/lkpy/v1/stats`` where the server has it, and from the process table for a server of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass

import aiohttp
import psutil
from google.protobuf.message import DecodeError

from lkpy.sim.judge.health import ProcessorWait
from lkpy.sim.target import Target
from lkpy.stats.v1.stats_pb2 import Snapshot

_TIMEOUT_S = 2.0
_FETCH_EVERY_S = 5
"""Statistics of a full room are work for the server; its CPU time is read every second."""


@dataclass(frozen=True, slots=True)
class ServerSample:
    """One observation. ``cpu_s`` counts since the server started."""

    at: float
    cpu_cores: float
    cpu_s: float | None
    memory_bytes: int
    participants: int | None
    waited: float = 0.0
    """Part of the last second for which one of its threads waited for a processor of this
    machine."""


def process_of(pid: int) -> psutil.Process | None:
    """Return the process, unless it has ended already."""
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


class ServerSampler:
    """Observes the server once per second until cancelled; without statistics it stays empty."""

    def __init__(self, target: Target, pid: int | None, *, ask: bool = True) -> None:
        """Without ``ask`` only what the process table says is known."""
        self.samples: list[ServerSample] = []
        self._target = target
        self._ask = ask
        self._process = process_of(pid) if pid else None
        self._waits = ProcessorWait(pid) if pid else None

    async def run(self, start_at: float) -> None:
        """Sample at whole seconds after ``start_at`` (monotonic, as the event loop's clock)."""
        loop = asyncio.get_running_loop()
        headers = {"Accept": "application/x-protobuf"}
        if token := self._target.stats_token():
            headers["Authorization"] = f"Bearer {token}"
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            second = 0
            while True:
                await asyncio.sleep(max(0.0, start_at + second - loop.time()))
                snapshot = None
                if second % _FETCH_EVERY_S == 0:
                    snapshot = await self._fetch(session)
                    if snapshot is None and self._process is None:
                        return
                # A second of which nothing is known is no sample: it would count as idle.
                if snapshot is not None or self._process is not None:
                    self._add(float(second), snapshot)
                second = int(loop.time() - start_at) + 1

    async def _fetch(self, session: aiohttp.ClientSession) -> Snapshot | None:
        if not self._ask:
            return None
        try:
            async with session.get(f"{self._target.http_url}/lkpy/v1/stats") as response:
                if response.status != 200:
                    return None
                return Snapshot.FromString(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, DecodeError):
            return None

    def _add(self, at: float, snapshot: Snapshot | None) -> None:
        cpu_s, memory, cores = None, 0, 0.0
        since = at - self.samples[-1].at if self.samples else 1.0
        waited = self._waits.read() / since if self._waits is not None else 0.0
        if self._process is not None:
            with contextlib.suppress(psutil.Error):
                times = self._process.cpu_times()
                cpu_s = times.user + times.system
                memory = self._process.memory_info().rss
                previous = self.samples[-1] if self.samples else None
                if previous is not None and previous.cpu_s is not None and at > previous.at:
                    cores = (cpu_s - previous.cpu_s) / (at - previous.at)
        if snapshot is not None:
            memory = memory or snapshot.server.memory_bytes
            cores = cores or snapshot.server.cpu_cores
        self.samples.append(
            ServerSample(
                at=at,
                cpu_cores=cores,
                cpu_s=cpu_s,
                memory_bytes=memory,
                participants=snapshot.server.participants if snapshot is not None else None,
                waited=min(waited, 1.0),
            )
        )

    def cpu_between(self, begin: float, end: float) -> float | None:
        """CPU seconds the server used between two times of the run; None when unknown."""
        inside = [sample for sample in self.samples if begin <= sample.at <= end]
        if len(inside) < 2:
            return None
        first, last = inside[0], inside[-1]
        if first.cpu_s is not None and last.cpu_s is not None:
            return last.cpu_s - first.cpu_s
        return sum(
            after.cpu_cores * (after.at - before.at) for before, after in itertools.pairwise(inside)
        )
