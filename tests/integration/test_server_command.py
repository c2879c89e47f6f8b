"""``lkpy server start`` as a process: ready file, signals, and failures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import mint
from lkpy.clock import SystemClock
from tests.control_plane import receive
from tests.patience import PATIENCE_S

pytest.importorskip("lkpy._engine", reason="the media engine is not built")
pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key is")

FREE_PORTS = ("--port", "0", "--udp-port", "0", "--tcp-port", "0")
ROOT = Path(__file__).parents[2]


class Command:
    """A started server process."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Path) -> None:
        self.process = process
        self.ready = ready

    async def facts(self) -> dict[str, Any]:
        """What the ready file says, once it is there."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.ready.exists():
                assert self.process.returncode is None, await self.errors()
                await asyncio.sleep(0.02)
        return json.loads(self.ready.read_text())

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def wait(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


@pytest.fixture
async def start(tmp_path: Path):
    started: list[Command] = []

    async def run(*args: str, **environ: str) -> Command:
        ready = tmp_path / f"ready{len(started)}.json"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LIVEKIT_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "lkpy", "server", "start", "--ready-file", str(ready), *args),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=clean | {"NO_COLOR": "1", "XDG_RUNTIME_DIR": str(tmp_path)} | environ,
        )
        started.append(Command(process, ready))
        return started[-1]

    yield run
    for command in started:
        if command.process.returncode is None:
            command.process.kill()
            await command.process.wait()


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def join(http: aiohttp.ClientSession, facts: dict[str, Any], identity: str):
    token = mint(
        Grants(identity=identity, video=VideoGrant(room_join=True, room="lobby")),
        api_key=facts["api_key"],
        api_secret=facts["api_secret"],
        now=SystemClock().wall(),
    )
    url = facts["url"].replace("ws://", "http://") + "/rtc"
    connection = await http.ws_connect(url, params={"access_token": token, "protocol": "16"})
    assert (await receive(connection)).WhichOneof("message") == "join"
    return connection


async def next_leave(connection: aiohttp.ClientWebSocketResponse) -> rtc.LeaveRequest:
    while (response := await receive(connection)).WhichOneof("message") != "leave":
        pass
    return response.leave


async def test_ready_file_and_banner(start, http: aiohttp.ClientSession) -> None:
    command = await start("--dev", *FREE_PORTS)
    facts = await command.facts()
    assert (facts["api_key"], facts["api_secret"]) == ("devkey", "secret")
    assert facts["pid"] == command.process.pid
    assert facts["udp_port"] > 0
    assert facts["tcp_port"] is None
    assert command.ready.stat().st_mode & 0o077 == 0, "it holds a secret"
    async with http.get(facts["url"].replace("ws://", "http://")) as response:
        assert await response.text() == "OK"
    command.process.terminate()
    assert await command.wait() == 0
    assert command.process.stdout is not None
    banner = (await command.process.stdout.read()).decode()
    assert f"URL         {facts['url']}" in banner
    assert "Join token  ey" in banner
    assert not command.ready.exists()


async def test_as_many_sockets_as_the_system_allows(start) -> None:
    """Go's programs raise the soft limit too; 1,024 would be as many participants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        command = await start("--dev", *FREE_PORTS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await command.facts()
    assert psutil.Process(command.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)


async def test_the_first_signal_waits_for_participants(start, http: aiohttp.ClientSession) -> None:
    command = await start("--dev", *FREE_PORTS)
    facts = await command.facts()
    connection = await join(http, facts, "alice")
    command.process.terminate()
    assert command.process.stderr is not None
    while b"Waiting for 1 participant" not in (line := await command.process.stderr.readline()):
        assert line
    await connection.send_bytes(rtc.SignalRequest(leave=rtc.LeaveRequest()).SerializeToString())
    assert (await next_leave(connection)).reason == models.DisconnectReason.CLIENT_INITIATED
    assert await command.wait() == 0


async def test_the_second_signal_stops_at_once(start, http: aiohttp.ClientSession) -> None:
    command = await start("--dev", *FREE_PORTS)
    connection = await join(http, await command.facts(), "alice")
    command.process.send_signal(signal.SIGINT)
    assert command.process.stderr is not None
    while b"Waiting for" not in await command.process.stderr.readline():
        pass
    command.process.send_signal(signal.SIGINT)
    leave = await next_leave(connection)
    assert leave.reason == models.DisconnectReason.SERVER_SHUTDOWN
    assert leave.action == rtc.LeaveRequest.Action.DISCONNECT
    assert await command.wait() == 0


async def test_print_env(start) -> None:
    command = await start(
        "--keys", f"akey: {'s' * 32}", "--print-env", "--bind", "127.0.0.1", *FREE_PORTS
    )
    facts = await command.facts()
    command.process.terminate()
    await command.wait()
    assert command.process.stdout is not None
    assert (await command.process.stdout.read()).decode().splitlines() == [
        f"LIVEKIT_URL={facts['url']}",
        "LIVEKIT_API_KEY=akey",
        f"LIVEKIT_API_SECRET={'s' * 32}",
    ]


async def test_logs_are_json_lines_on_request(start) -> None:
    command = await start("--dev", "--log-json", *FREE_PORTS)
    await command.facts()
    command.process.terminate()
    await command.wait()
    lines = [line for line in (await command.errors()).splitlines() if line.startswith("{")]
    assert json.loads(lines[0])["msg"] == "server is serving"


async def test_an_http_port_in_use(start) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        command = await start("--dev", *FREE_PORTS, "--port", str(port))
        assert await command.wait() == 1
    errors = await command.errors()
    assert f"error: cannot listen on 127.0.0.1, ::1 port {port}" in errors
    assert "hint: stop the other process" in errors
    assert "Traceback" not in errors
    assert not command.ready.exists()


async def test_a_media_port_in_use(start) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        command = await start("--dev", *FREE_PORTS, "--udp-port", str(port))
        assert await command.wait() == 1
    errors = await command.errors()
    assert str(port) in errors
    assert "hint: " in errors
    assert "--udp-port" in errors
    assert "Traceback" not in errors


async def test_an_unwritable_ready_file(start, tmp_path: Path) -> None:
    command = await start("--dev", *FREE_PORTS, "--ready-file", str(tmp_path / "no" / "file"))
    assert await command.wait() == 1
    errors = await command.errors()
    assert "cannot write ready file" in errors
    assert "Traceback" not in errors
