"""Running the program of the Go SDK's scenarios (``go/``)."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import subprocess
import tempfile
from collections.abc import AsyncIterator
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import RunningServer

DIRECTORY = pathlib.Path(__file__).parent / "go"
SECONDS = 60
"""How long a scenario may take; most take one."""


def build(go: str, program: pathlib.Path) -> None:
    """Build the program: the first build of a machine takes minutes."""
    built = subprocess.run(
        [go, "build", "-buildvcs=false", "-o", str(program), "."],
        cwd=DIRECTORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr


class Scenario:
    """A running scenario, whose program asks for what it cannot do itself."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._lines: list[str] = []

    async def asked(self, what: str) -> None:
        """Return when the program asks for ``what``; it goes on after :meth:`done`."""
        assert await self._line() == f"ask {what}", self._failure()

    def done(self) -> None:
        assert self._process.stdin
        self._process.stdin.write(b"\n")

    async def passed(self) -> None:
        assert await self._line() == "passed", self._failure()

    async def _line(self) -> str:
        """Return the next line that tells of no step."""
        assert self._process.stdout
        line = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                async for raw in self._process.stdout:
                    line = raw.decode().rstrip()
                    self._lines.append(line)
                    if not line.startswith("ok "):
                        break
        return line

    def _failure(self) -> str:
        """What the program printed, and the end of what the SDK logged."""
        self._log.seek(0)
        return "\n".join([*self._lines, self._log.read().decode()[-8_000:]])


@contextlib.asynccontextmanager
async def playing(
    program: pathlib.Path,
    scenario: str,
    server: RunningServer,
    room: str,
    *arguments: str,
    topology: str = "dual-pc",
) -> AsyncIterator[Scenario]:
    """Run a scenario and stop it at the end, if it has not ended itself."""
    pipe = asyncio.subprocess.PIPE
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            program, scenario, server.url, room, server.api_key, server.api_secret, topology,
            *arguments, stdin=pipe, stdout=pipe, stderr=log,
        )  # fmt: skip
        try:
            yield Scenario(process, log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
