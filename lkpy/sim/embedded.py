"""An ``lkpy server`` of our own for the length of a run, in its own process."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from lkpy.errors import Code
from lkpy.sim.target import Target, TargetError
from lkpy.text import printable

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 8.0
_POLL_S = 0.05
_TAIL_LINES = 8


class EmbeddedServer:
    """Async context manager; :attr:`target` is valid inside."""

    def __init__(self, *, mode: str = "auto") -> None:
        self._mode = mode
        self._directory = tempfile.TemporaryDirectory(prefix="lkpy-sim-")
        self._process: asyncio.subprocess.Process | None = None
        self.target = Target(url="")

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid if self._process is not None else 0

    def ended(self) -> str | None:
        """Say how the process ended, with its last words; None while it runs."""
        code = self._process.returncode if self._process is not None else None
        if code is None:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return how + self._last_words()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        ready = Path(self._directory.name) / "ready.json"
        arguments = ["server", "start", "--dev", "--port", "0"]
        arguments += ["--udp-port", "0", "--tcp-port", "0"]
        with self._log().open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "lkpy",
                *arguments,
                "--ready-file",
                str(ready),
                # Whatever becomes of us, the end of this pipe is the end of the server.
                "--until-stdin-closes",
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                # The terminal's Ctrl-C is for us: the server lives until the report's last figure.
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while (found := _read_ready(ready)) is None:
                    if self._process.returncode is not None:
                        raise self._error("the embedded server stopped while starting")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            message = f"the embedded server was not ready within {START_TIMEOUT_S:g} s"
            raise self._error(message) from None
        self.target = Target(
            url=found["url"],
            api_key=found["api_key"],
            api_secret=found["api_secret"],
            mode=self._mode,
            embedded=True,
        )

    def _log(self) -> Path:
        return Path(self._directory.name) / "server.log"

    def _error(self, message: str) -> TargetError:
        hint = "run `lkpy server start --dev` to see all it says"
        return TargetError(Code.UNAVAILABLE, message + self._last_words(), hint=hint)

    def _last_words(self) -> str:
        try:
            lines = self._log().read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return "".join(f"\n  | {printable(line)}" for line in lines[-_TAIL_LINES:])

    def kill(self) -> None:
        """End a server that does not react any more."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _stop(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._directory.cleanup()


def _read_ready(path: Path) -> dict[str, str] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None  # not there yet, or half written
    return {name: str(found[name]) for name in ("url", "api_key", "api_secret")}
