"""The runner's side of the load generator's processes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from lkpy.sim.worker import MAX_LINE

_STDERR_LINES = 12
_KILL_AFTER_S = 5.0


class WorkerProcess:
    """One ``python -m lkpy.sim.worker``. ``on_message`` gets every line it sends."""

    def __init__(self, index: int, on_message: Callable[[int, dict[str, Any]], None]) -> None:
        self.index = index
        self.result: dict[str, Any] | None = None
        self.figures: dict[str, Any] | None = None
        """What was measured, as it was told last."""
        self.ready = asyncio.Event()
        self.finished = asyncio.Event()
        """The result is there, or none will come."""
        self._on_message = on_message
        self._process: asyncio.subprocess.Process | None = None
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._tasks: list[asyncio.Task[None]] = []
        self.ended = asyncio.Event()

    async def start(self, job: Mapping[str, Any]) -> None:
        """Start the process and give it its job."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lkpy.sim.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE,
            # The terminal's Ctrl-C reaches only the runner, which stops its workers in order.
            start_new_session=True,
        )
        process = self._process
        if process.stdout is not None and process.stderr is not None:
            self._tasks = [
                asyncio.create_task(self._read(process, process.stdout)),
                asyncio.create_task(self._read_errors(process.stderr)),
            ]
        await self.send(job)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a line; a worker that is gone is noticed elsewhere."""
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError):
            return

    async def _read(
        self, process: asyncio.subprocess.Process, output: asyncio.StreamReader
    ) -> None:
        try:
            while line := await output.readline():
                message = json.loads(line)
                if message["type"] == "ready":
                    self.ready.set()
                elif message["type"] == "figures":
                    self.figures = message
                elif message["type"] == "result":
                    self.result = self.figures = message
                    self.finished.set()
                self._on_message(self.index, message)
        finally:
            await process.wait()
            self.ended.set()
            self.finished.set()

    async def _read_errors(self, errors: asyncio.StreamReader) -> None:
        while line := await errors.readline():
            self._stderr.append(line.decode("utf-8", "replace").rstrip())

    def crash(self) -> str | None:
        """Say how the process died without a result; None when it did not."""
        if self.result is not None or self._process is None or not self.ended.is_set():
            return None
        code = self._process.returncode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        last = f": {self._stderr[-1]}" if self._stderr else ""
        return f"worker {self.index} {how}{last}"

    def kill(self) -> None:
        """End a process that does not react any more."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """End the process: closing its input asks, a signal insists."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _KILL_AFTER_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
