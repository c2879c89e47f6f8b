"""One process of the load generator: ``python -m lkpy.sim.worker``, started by the runner.

Speaks JSON lines: a job, then ``start`` and ``stop`` come in on stdin; ``ready``, one ``sample``
per second, ``event``, the ``figures`` so far and the ``result`` go out on stdout. End of stdin
means that the runner is gone: stop at once.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from lkpy import descriptors
from lkpy.sim import plan as planning
from lkpy.sim.client import ClientSettings, seed_of
from lkpy.sim.judge.health import Health, ProcessorWait, socket_drops
from lkpy.sim.judge.silence import SilentTrack, planned_tracks
from lkpy.sim.lives import Participant
from lkpy.sim.media import cache
from lkpy.sim.media.clip import Clip
from lkpy.sim.metrics import Summary
from lkpy.sim.peers.link import local_addresses
from lkpy.sim.peers.peer import PeerSettings
from lkpy.sim.peers.receive import TICK_S
from lkpy.sim.plan import Action, ActionKind
from lkpy.sim.scenario import PublishAudio, Scenario

MAX_LINE = 64 * 1024 * 1024
MAX_UNSENT = 4 * 1024 * 1024
"""Bytes of samples waiting for the runner; further samples are dropped and counted."""
SAMPLE_INTERVAL_S = 1.0
FIGURES_EVERY_S = 5
"""All figures go to the runner this often: what a process measured survives it."""
CLOSE_TIMEOUT_S = 5.0

SAMPLE_COUNTERS = (
    "joined",
    "connected",
    "errors",
    "packets",
    "bytes",
    "frames",
    "lost",
    "nacks",
    "plis",
    "packets_sent",
    "bytes_sent",
)
"""Cumulative counters of a sample, per group; ``joined`` to ``errors`` are levels."""
MAX_SILENT = 1000
"""Silent tracks told about in one sample: more say nothing more."""


class Worker:
    """The clients of this process and their clock."""

    def __init__(self, job: Mapping[str, Any], send: _Output) -> None:
        self._scenario = Scenario.model_validate(job["scenario"])
        self._plan = planning.make(self._scenario)
        self._index = int(job["index"])
        self._processes = int(job["processes"])
        self._job = job
        self._send = send
        self._clients: dict[int, Participant] = {}
        self._tracks = planned_tracks(self._scenario, self._plan)
        self._waits = ProcessorWait()
        self._tasks: set[asyncio.Task[None]] = set()
        self._health = Health()
        self._stop = asyncio.Event()
        self._reported: set[int] = set()
        self._drops = 0
        self._lags: dict[int, float] = {}
        """How late the loop was in a second of the run, as far as no sample told it yet."""
        self._start_at = 0.0
        self._cpu = 0.0

    def _mine(self, number: int) -> bool:
        return number % self._processes == self._index

    def prepare(self) -> None:
        """Load media and build the clients, so that nothing slow is left for the run."""
        clips: dict[str, list[Clip]] = {}
        family, addresses = local_addresses(self._job["host"], self._job["port"])
        for client in self._plan.clients:
            if not self._mine(client.number):
                continue
            group = self._scenario.groups[client.group]
            tracks = []
            for track in group.publish:
                key = track.model_dump_json()
                if key not in clips:
                    is_audio = isinstance(track, PublishAudio)
                    clips[key] = (
                        [cache.audio_clip(track)] if is_audio else cache.video_clips(track)  # type: ignore[arg-type]
                    )
                tracks.append(clips[key])
            settings = ClientSettings(
                url=self._job["url"],
                token=self._job["tokens"][str(client.number)],
                mode=self._job["mode"],
                join_timeout=self._scenario.defaults.join_timeout,
                peer=PeerSettings(
                    family=family,
                    addresses=addresses,
                    cname=client.identity,
                    phase=client.phase,
                    seed=seed_of(self._scenario.seed, client.number),
                ),
                clips=tracks,
                on_late=self._health.late.record,
            )
            self._clients[client.number] = Participant(
                client, group, functools.partial(self._settings_of, settings, client.number)
            )

    def _settings_of(self, settings: ClientSettings, number: int, life: int) -> ClientSettings:
        seed = seed_of(self._scenario.seed, number, life)
        return replace(settings, peer=replace(settings.peer, seed=seed))

    def stop(self) -> None:
        """End the run before its time."""
        self._stop.set()

    async def run(self, start_at: float) -> None:
        """Carry out the plan from ``start_at`` (monotonic) and send the result."""
        gc.collect()
        gc.freeze()
        self._start_at = start_at
        await self._sleep_until(start_at)
        self._cpu = time.process_time()
        self._waits.read()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            background = [
                asyncio.create_task(self._tick()),
                asyncio.create_task(self._sample()),
                asyncio.create_task(self._act(session)),
            ]
            end = start_at + self._plan.duration
            await self._sleep_until(end)
            late = time.monotonic() - end
            if late > self._health.lag_max_s:  # stopped until after the end: no tick has told it
                self._health.ticked(self._plan.duration + late, late, TICK_S)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            self._finish()
            await self._close()

    async def _sleep_until(self, at: float) -> None:
        delay = at - time.monotonic()
        if delay > 0:
            try:
                await asyncio.wait_for(self._stop.wait(), delay)
            except TimeoutError:
                return

    async def _act(self, session: aiohttp.ClientSession) -> None:
        for action in self._plan.actions:
            if self._mine(action.client):
                delay = self._start_at + action.at - time.monotonic()
                if delay > 0:
                    await asyncio.sleep(delay)
                task = asyncio.create_task(self._do(action, session))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _do(self, action: Action, session: aiohttp.ClientSession) -> None:
        client = self._clients[action.client]
        if action.kind is ActionKind.JOIN:
            await client.join(session)
        else:
            await client.leave()

    async def _tick(self) -> None:
        due = time.monotonic()
        while True:
            due += TICK_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self._health.ticked(now - self._start_at, now - due, TICK_S)
            self._note_lag(due - self._start_at, now - self._start_at)
            due = max(due, now - TICK_S)
            for client in self._clients.values():
                client.tick(now)

    def _note_lag(self, due: float, now: float) -> None:
        """A tick that came late was so in every second that it let pass."""
        for second in range(math.ceil(due), math.ceil(now) + 1):
            self._lags[second] = max(self._lags.get(second, 0.0), now - due)

    async def _sample(self) -> None:
        due = self._start_at
        cpu, wall = time.process_time(), time.monotonic()
        while True:
            due += SAMPLE_INTERVAL_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now, used = time.monotonic(), time.process_time()
            self._drops = max(self._drops, self._read_drops())
            self._report_errors(now)
            second = round(due - self._start_at)
            cores = (used - cpu) / max(now - wall, 1e-6)
            self._health.used(cores)
            message = {
                "type": "sample",
                "at": second,
                "groups": self._counters(),
                "cpu": cores,
                # A late sample is the sample of a late loop, whichever of its tasks came first.
                "lag": max(self._lags.pop(second, 0.0), now - due),
                "waited": min(1.0, self._waits.read() / SAMPLE_INTERVAL_S),
                "silent": self._silent(now),
                "idle": {n: why for client in self._clients.values() for n, why in client.idle()},
            }
            if not self._send(message, droppable=True):
                self._health.samples_dropped += 1
            elif second % FIGURES_EVERY_S == 0:
                self._send({"type": "figures", **self._figures(now)}, droppable=True)
            cpu, wall = used, now

    def _silent(self, now: float) -> list[SilentTrack]:
        start = self._start_at
        found = (
            SilentTrack(number, name, since - start, until - start if until is not None else None)
            for number, participant in self._clients.items()
            for name, since, until in participant.client.silent(now, self._patience)
        )
        return list(itertools.islice(found, MAX_SILENT))

    def _patience(self, name: str) -> float | None:
        track = self._tracks.get(name)
        return track.patience if track is not None else None

    def _figures(self, now: float) -> dict[str, Any]:
        """Return everything measured up to ``now``, as the runner takes it."""
        groups: dict[str, Summary] = {}
        health = self._health
        health.packets = health.frames_skipped = 0
        for client in self._clients.values():
            summary = client.figures(now)
            groups.setdefault(client.group.name, Summary()).merge(summary)
            health.packets += summary.counts.get("packets", 0)
            health.frames_skipped += client.skipped()
        health.cpu_s = time.process_time() - self._cpu
        health.wall_s = now - self._start_at
        health.socket_drops = self._drops
        first = next((c.client for c in self._clients.values() if c.client.join_response), None)
        return {
            "groups": {name: summary.to_dict() for name, summary in groups.items()},
            "server": first.server_info() if first is not None else {},
            "health": health.to_dict(),
        }

    def _counters(self) -> dict[str, dict[str, float]]:
        groups: dict[str, dict[str, float]] = {}
        for client in self._clients.values():
            into = groups.setdefault(client.group.name, dict.fromkeys(SAMPLE_COUNTERS, 0))
            for name, value in client.sample().items():
                into[name] += value
        return groups

    def _report_errors(self, now: float) -> None:
        for number, client in self._clients.items():
            if number in self._reported or (fault := client.fault) is None:
                continue
            self._reported.add(number)
            text, lacking = fault
            if lacking is not None:
                exhausted = self._health.exhausted
                exhausted[lacking] = exhausted.get(lacking, 0) + 1
            event = {"client": client.plan.identity, "number": number, "text": text}
            self._send({"type": "event", "at": now - self._start_at, **event})

    def _read_drops(self) -> int:
        inodes = frozenset(
            inode for item in self._clients.values() for inode in item.client.socket_inodes()
        )
        drops = 0
        for name in ("/proc/self/net/udp", "/proc/self/net/udp6"):
            try:
                drops += socket_drops(Path(name).read_text(), inodes)
            except OSError:
                return 0  # not Linux: the counter does not exist
        return drops

    def _finish(self) -> None:
        now = time.monotonic()
        self._drops = max(self._drops, self._read_drops())
        for client in self._clients.values():
            client.finish(now)
        self._report_errors(now)
        self._send({"type": "result", **self._figures(now)})

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        closing = [asyncio.create_task(client.leave()) for client in self._clients.values()]
        await asyncio.wait(closing, timeout=CLOSE_TIMEOUT_S)


class _Output(asyncio.BaseProtocol):
    """Lines to the runner. Never blocks the loop: samples that do not fit are dropped."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._closed.set()

    def __call__(self, message: Mapping[str, Any], *, droppable: bool = False) -> bool:
        transport = self._transport
        if transport is None or (droppable and transport.get_write_buffer_size() > MAX_UNSENT):
            return False
        transport.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        return True

    async def close(self) -> None:
        """Wait until everything is written, or the runner is gone."""
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()


async def _main() -> int:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    # Libraries that print must not end up between the lines: they get stderr.
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _, output = await loop.connect_write_pipe(_Output, lines)
    line = await reader.readline()
    if not line:
        return 0
    worker = Worker(json.loads(line), output)
    worker.prepare()
    output({"type": "ready"})
    line = await reader.readline()
    if not line:
        return 0
    message = json.loads(line)
    if message["type"] == "start":
        watcher = asyncio.create_task(_watch(reader, worker))
        await worker.run(float(message["at"]))
        watcher.cancel()
    await output.close()
    return 0


async def _watch(reader: asyncio.StreamReader, worker: Worker) -> None:
    await reader.readline()
    worker.stop()


def main() -> int:
    """Run one worker. The runner, not the terminal, says when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptors.raise_limit()
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    for noisy in ("aiortc", "aioice", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        import uvloop
    except ImportError:  # not on this platform
        return asyncio.run(_main())
    return int(uvloop.run(_main()))


if __name__ == "__main__":
    sys.exit(main())
