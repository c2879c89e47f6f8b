"""The official Go SDK: scenarios of a program (``go/``) that plays every participant itself, and
some in which the Python SDK is the other participant."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
import shutil
import subprocess
from collections.abc import AsyncIterator

import pytest
from livekit import rtc

from .conftest import RunningServer
from .sdk_kit import eventually, joined
from .tcp_proxy import TcpProxy, tcp_proxy

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
    "data-packets", "text-streams", "byte-streams", "rpc", "publish-permission",
    "subscribe-permission", "mute-by-api", "subscriptions-by-api", "same-identity",
    "signal-reconnect", "node-failure", "migration",
)  # fmt: skip
OTHERS = (
    # With a single peer connection livekit-server 1.13.5 forwards only the lowest layer.
    "simulcast",
    "publish-with-joining", "data-not-permitted", "rpc-errors", "own-attributes",
    "attributes-not-permitted", "attributes-by-api", "publish-sources", "data-by-api", "removed",
    "room-deleted", "hidden", "refused", "server-leave", "speaker",
)  # fmt: skip


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


@contextlib.asynccontextmanager
async def playing_behind_a_proxy(
    program: pathlib.Path, scenario: str, server: RunningServer, room: str, topology: str
) -> AsyncIterator[tuple[Scenario, TcpProxy]]:
    """Run a scenario in which alice's signal connection passes a proxy."""
    async with (
        tcp_proxy(server.url) as (proxy, url),
        playing(program, scenario, server, room, topology, url) as run,
    ):
        yield run, proxy


@pytest.mark.parametrize("topology", ["single-pc", "dual-pc"])
async def test_signal_connection_cut(
    go_program: pathlib.Path, server: RunningServer, room_name: str, topology: str
) -> None:
    async with playing_behind_a_proxy(go_program, "signal-cut", server, room_name, topology) as (
        run,
        proxy,
    ):
        await run.asked("cut")
        assert proxy.cut() >= 1
        run.done()
        await run.passed()


@pytest.mark.parametrize("topology", ["single-pc", "dual-pc"])
async def test_signal_connection_away_for_three_seconds(
    go_program: pathlib.Path, server: RunningServer, room_name: str, topology: str
) -> None:
    async with playing_behind_a_proxy(go_program, "signal-away", server, room_name, topology) as (
        run,
        proxy,
    ):
        await run.asked("close")
        proxy.open = False
        assert proxy.cut() >= 1
        run.done()
        await run.asked("open after three seconds")
        await asyncio.sleep(3)
        proxy.open = True
        run.done()
        await run.passed()


async def test_what_changes_during_a_cut_is_known_after_it(
    go_program: pathlib.Path, server: RunningServer, room_name: str
) -> None:
    async with playing_behind_a_proxy(
        go_program, "changes-in-a-cut", server, room_name, "dual-pc"
    ) as (run, proxy):
        await run.asked("close")
        proxy.open = False
        proxy.cut()
        run.done()
        await run.asked("open")
        proxy.open = True
        run.done()
        await run.passed()


async def test_streams_and_calls_with_the_python_sdk(
    go_program: pathlib.Path, server: RunningServer, room_name: str
) -> None:
    """Go sends back what Python sends, and each calls the other."""
    text = "0123456789 äöü € \U0001f388\n" * 20_000
    data = random.Random(1).randbytes(600_000)
    async with joined(server, room_name, "python") as room:
        texts, files = asyncio.Queue[tuple[str, str]](), asyncio.Queue[tuple[str, bytes]]()
        reading: set[asyncio.Task[None]] = set()

        async def read_text(reader: rtc.TextStreamReader) -> None:
            texts.put_nowait((reader.info.attributes["language"], await reader.read_all()))

        async def read_file(reader: rtc.ByteStreamReader) -> None:
            files.put_nowait((reader.info.name, b"".join([part async for part in reader])))

        room.register_text_stream_handler(
            "back", lambda reader, _: reading.add(asyncio.ensure_future(read_text(reader)))
        )
        room.register_byte_stream_handler(
            "back", lambda reader, _: reading.add(asyncio.ensure_future(read_file(reader)))
        )

        @room.local_participant.register_rpc_method("double")
        async def _double(call: rtc.RpcInvocationData) -> str:
            return call.payload * 2

        async with playing(go_program, "streams-to-others", server, room_name) as run:
            await run.asked("send")
            await eventually("go to be seen", lambda: "go" in room.remote_participants)
            await room.local_participant.send_text(
                text, topic="out", attributes={"language": "none"}
            )
            writer = await room.local_participant.stream_bytes("parts.bin", topic="out")
            await writer.write(data)
            await writer.aclose()
            run.done()
            await run.asked("compare")
            assert await asyncio.wait_for(texts.get(), 20) == ("none", text)
            assert await asyncio.wait_for(files.get(), 20) == ("parts.bin", data)
            answer = await room.local_participant.perform_rpc(
                destination_identity="go", method="triple", payload="ab"
            )
            assert answer == "ababab"
            run.done()
            await run.passed()
