"""The official Go SDK: scenarios of a program (``go/``) that plays every participant itself, and
some in which the Python SDK is the other participant."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import shutil
import subprocess
from collections.abc import AsyncIterator

import pytest

from .conftest import RunningServer

pytestmark = [pytest.mark.go, pytest.mark.timeout(600)]

DIRECTORY = pathlib.Path(__file__).parent / "go"
SECONDS = 60
"""How long a scenario may take; most take one."""


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The program, built once: the first build of a machine takes minutes."""
    go = shutil.which("go")
    if not go:
        pytest.skip("Go is not installed")
    program = tmp_path_factory.mktemp("go") / "interop"
    built = subprocess.run(
        [go, "build", "-buildvcs=false", "-o", str(program), "."],
        cwd=DIRECTORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return program


class Scenario:
    """A running scenario, whose program asks for what it cannot do itself."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []

    async def asked(self, what: str) -> None:
        """Return when the program asks for ``what``; it goes on after :meth:`done`."""
        assert await self._line() == f"ask {what}", await self._failure()

    def done(self) -> None:
        assert self._process.stdin
        self._process.stdin.write(b"\n")

    async def passed(self) -> None:
        assert await self._line() == "passed", await self._failure()

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

    async def _failure(self) -> str:
        """What the program printed, and the end of what the SDK logged."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        _, log = await self._process.communicate()
        return "\n".join([*self._lines, log.decode()[-8_000:]])


@contextlib.asynccontextmanager
async def playing(
    program: pathlib.Path, scenario: str, server: RunningServer, room: str, *arguments: str
) -> AsyncIterator[Scenario]:
    """Run a scenario and stop it at the end, if it has not ended itself."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, scenario, server.url, room, server.api_key, server.api_secret, *arguments,
        stdin=pipe, stdout=pipe, stderr=pipe,
    )  # fmt: skip
    try:
        yield Scenario(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


BOTH_TOPOLOGIES = (
    "audio-and-video", "subscriptions", "no-auto-subscribe", "track-permissions", "active-speakers",
)  # fmt: skip
OTHERS = (
    # With a single peer connection livekit-server 1.13.5 forwards only the lowest layer.
    "simulcast",
    "publish-with-joining",
)


@pytest.mark.parametrize("scenario", BOTH_TOPOLOGIES)
@pytest.mark.parametrize("topology", ["single-pc", "dual-pc"])
async def test_in_both_topologies(
    go_program: pathlib.Path, server: RunningServer, room_name: str, scenario: str, topology: str
) -> None:
    async with playing(go_program, scenario, server, room_name, topology) as run:
        await run.passed()


@pytest.mark.parametrize("scenario", OTHERS)
async def test_scenario(
    go_program: pathlib.Path, server: RunningServer, room_name: str, scenario: str
) -> None:
    async with playing(go_program, scenario, server, room_name) as run:
        await run.passed()
