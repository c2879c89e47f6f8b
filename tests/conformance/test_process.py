"""The server as a process: how it is configured, and how it ends.

``LIVEKIT_SERVER`` names another executable, such as livekit-server; flags and variables are those
that both know.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from livekit.protocol import models, rtc

from tests.conformance.kit import Lobby, Refused, Target, within
from tests.patience import PATIENCE_S
from tests.ports import free_port

OTHER = os.environ.get("LIVEKIT_SERVER")
SECRET = "a secret that is longer than 32 characters"
"""Patience; livekit-server looks every 5 s whether the last participant has left."""


def command(name: str, *flags: str) -> list[str]:
    """A sub-command with flags of the configuration; empty: the server."""
    if OTHER:
        return [OTHER, *flags, *([name] if name else [])]
    return [sys.executable, "-m", "lkpy", "server", name or "start", *flags]


def environment(directory: Path, **environ: str) -> dict[str, str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LIVEKIT_") and name not in ("NODE_IP", "UDP_PORT", "REDIS_HOST")
    }
    return clean | {"NO_COLOR": "1", "XDG_RUNTIME_DIR": str(directory)} | environ


class Process:
    """A started server."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    def lobby(self, session: aiohttp.ClientSession, key: str, secret: str) -> Lobby:
        target = Target(f"http://127.0.0.1:{self.port}", key, secret, ours=not OTHER)
        return Lobby(target, session)

    async def output(self) -> str:
        """Everything it wrote until it ended."""
        async with within(PATIENCE_S, "the end of the server"):
            output, _ = await self.process.communicate()
        return output.decode()


Start = Callable[..., Awaitable[Process]]


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest_asyncio.fixture
async def start(tmp_path: Path, session: aiohttp.ClientSession) -> AsyncIterator[Start]:
    """Start a server with these lines of configuration, flags and variables."""
    started: list[asyncio.subprocess.Process] = []

    async def run(
        body: str = "", *flags: str, keys: bool = True, serves: bool = True, **environ: str
    ) -> Process:
        port, udp = free_port(), free_port(socket.SOCK_DGRAM)
        lines = [f"port: {port}", "bind_addresses: [127.0.0.1]", body]
        lines += [f"keys: {{key: {SECRET}}}"] if keys else []
        values = {"LIVEKIT_CONFIG": "\n".join(lines), "UDP_PORT": str(udp)}
        process = await asyncio.create_subprocess_exec(
            *command("", "--rtc.tcp_port", "0", *flags),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(tmp_path, **(values | environ)),
        )
        started.append(process)
        if serves:
            await serving(session, process, port)
        return Process(process, port)

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def serving(
    session: aiohttp.ClientSession, process: asyncio.subprocess.Process, port: int
) -> None:
    """Wait until it serves; fails with its output if it ends."""
    async with within(PATIENCE_S, "the start of the server"):
        while not await _serves(session, port):
            if process.returncode is not None:
                output, _ = await process.communicate()
                pytest.fail(f"the server did not start:\n{output.decode()}")
            await asyncio.sleep(0.05)


async def _serves(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def tool(directory: Path, name: str, *flags: str, **environ: str) -> str:
    """What a sub-command prints."""
    process = await asyncio.create_subprocess_exec(
        *command(name, *flags),
        stdout=asyncio.subprocess.PIPE,
        env=environment(directory, **environ),
    )
    async with within(PATIENCE_S, name):
        output, _ = await process.communicate()
    return output.decode()


# -- configuration ------------------------------------------------------------------------------


@pytest.mark.row(20)
async def test_development(start: Start, session: aiohttp.ClientSession) -> None:
    server = await start("", "--dev", keys=False)
    lobby = server.lobby(session, "devkey", "secret")
    assert (await lobby.get("/rtc/validate", lobby.target.token("a", "r")))[0] == 200


@pytest.mark.row(20, 24)
async def test_ports_in_development(tmp_path: Path) -> None:
    text = await tool(tmp_path, "ports", "--dev")
    assert "7880 - HTTP service" in text
    assert "7881 - ICE/TCP" in text
    assert re.search(r"7882\)? - ICE/UDP", text)


@pytest.mark.row(20)
async def test_development_stays_on_this_machine(
    start: Start, session: aiohttp.ClientSession
) -> None:
    """With the well-known keys and no address named."""
    port = free_port()
    server = await start(
        serves=False, keys=False, LIVEKIT_CONFIG=f"port: {port}\ndevelopment: true"
    )
    await serving(session, server.process, port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has only loopback")
        outside = probe.getsockname()[0]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(outside, port)


@pytest.mark.row(21, 89)
async def test_keys_of_the_environment(start: Start, session: aiohttp.ClientSession) -> None:
    keys = f"one: {SECRET}\ntwo: {SECRET[::-1]}"
    server = await start(LIVEKIT_KEYS=keys, keys=False)
    for key, secret in (("one", SECRET), ("two", SECRET[::-1])):
        lobby = server.lobby(session, key, secret)
        assert (await lobby.get("/rtc/validate", lobby.target.token("a", "r")))[0] == 200
    lobby = server.lobby(session, "one", SECRET[::-1])
    assert (await lobby.get("/rtc/validate", lobby.target.token("a", "r")))[0] == 401


@pytest.mark.row(21)
async def test_node_ip_of_the_environment(start: Start, session: aiohttp.ClientSession) -> None:
    server = await start(NODE_IP="192.0.2.7")
    async with server.lobby(session, "key", SECRET) as lobby:
        signal = await lobby.signal("alice")
        await signal.expect("trickle", lambda t: " 192.0.2.7 " in t.candidateInit)


@pytest.mark.row(22)
@pytest.mark.parametrize("body", ["prot: 1", "rtc: {udp_prot: 1}"])
async def test_unknown_keys_are_refused(start: Start, body: str) -> None:
    server = await start(body, serves=False)
    assert re.search(r"\b(prot|udp_prot)\b", await server.output())
    await start(body, "--disable-strict-config")


@pytest.mark.row(23, 12)
@pytest.mark.parametrize("how", ["flag", "variable"])
async def test_every_key_has_a_flag_and_a_variable(
    start: Start, session: aiohttp.ClientSession, how: str
) -> None:
    if how == "flag":
        server = await start("", "--room.auto_create=false")
    else:
        server = await start(LIVEKIT_ROOM_AUTO_CREATE="false")
    async with server.lobby(session, "key", SECRET) as lobby:
        token = lobby.target.token("alice", lobby.room)
        status, body, _ = await lobby.get("/rtc/validate", token)
        assert (status, body) == (404, "requested room does not exist")
        with pytest.raises(Refused) as refused:
            await lobby.signal("alice")
        assert refused.value.status == 404
        assert (await lobby.signal("bob", roomCreate=True)).join.room.name == lobby.room
        assert (await lobby.signal("alice")).join.room.name == lobby.room


@pytest.mark.row(84)
async def test_presets(start: Start, session: aiohttp.ClientSession) -> None:
    server = await start("room: {room_configurations: {small: {max_participants: 1}}}")
    async with server.lobby(session, "key", SECRET) as lobby:
        join = (await lobby.signal("alice", claims={"roomPreset": "small"})).join
        assert join.room.max_participants == 1


@pytest.mark.row(89)
async def test_a_key_file_is_private(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(f"filed: {SECRET}\nother: {SECRET}\n")
    file.chmod(0o644)
    server = await start("", "--key-file", str(file), keys=False, serves=False)
    assert "others permissions must be set to 0" in await server.output()
    file.chmod(0o600)
    server = await start(f"key_file: {file}", keys=False)
    for key in ("filed", "other"):
        lobby = server.lobby(session, key, SECRET)
        assert (await lobby.get("/rtc/validate", lobby.target.token("a", "r")))[0] == 200


@pytest.mark.row(24)
async def test_keys_are_generated(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    text = await tool(tmp_path, "generate-keys")
    key = re.search(r"API Key: +(API\w+)", text)
    secret = re.search(r"API Secret: +(\S{32,})", text)
    assert key
    assert secret
    server = await start(keys=False, LIVEKIT_KEYS=f"{key[1]}: {secret[1]}")
    lobby = server.lobby(session, key[1], secret[1])
    assert (await lobby.get("/rtc/validate", lobby.target.token("a", "r")))[0] == 200


@pytest.mark.row(24)
async def test_join_tokens_of_the_server_command(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    server = await start()
    named = ["--room", "r", "--identity", "i"]
    call = [*command("create-join-token"), *named]
    process = await asyncio.create_subprocess_exec(
        *call,
        stdout=asyncio.subprocess.PIPE,
        env=environment(tmp_path, LIVEKIT_KEYS=f"key: {SECRET}"),
    )
    output, _ = await process.communicate()
    token = re.search(r"Token: (\S+)", output.decode())
    assert token
    lobby = server.lobby(session, "key", SECRET)
    assert (await lobby.get("/rtc/validate", token[1]))[:2] == (200, "success")


# -- the end ------------------------------------------------------------------------------------


@pytest.mark.row(25)
async def test_sigterm_waits_for_participants(start: Start, session: aiohttp.ClientSession) -> None:
    server = await start()
    lobby = server.lobby(session, "key", SECRET)
    alice = await lobby.signal("alice")
    server.process.send_signal(signal.SIGTERM)
    await lobby.pause(0.5)
    assert (await lobby.get("/"))[:2] == (200, "OK")
    await alice.send(ping_req=rtc.Ping(timestamp=1))
    assert (await alice.expect("pong_resp")).last_ping_timestamp == 1
    bob = await lobby.signal("bob")
    for who in (alice, bob):
        await who.send(leave=rtc.LeaveRequest())
        await who.close()
    await server.output()
    assert server.process.returncode == 0


@pytest.mark.row(25)
async def test_the_second_signal_stops_at_once(
    start: Start, session: aiohttp.ClientSession
) -> None:
    server = await start()
    lobby = server.lobby(session, "key", SECRET)
    alice = await lobby.signal("alice")
    server.process.send_signal(signal.SIGTERM)
    await lobby.pause(0.3)
    server.process.send_signal(signal.SIGTERM)
    leave = await alice.expect("leave")
    assert leave.reason == models.DisconnectReason.SERVER_SHUTDOWN
    await server.output()
    assert server.process.returncode == 0
