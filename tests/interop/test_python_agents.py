"""LiveKit's agents framework: a worker of its own process, which sends an agent into a room.

It needs packages that nothing else here needs: ``LKPY_AGENTS_PYTHON`` is an interpreter that has
``livekit-agents``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
from collections.abc import AsyncIterator

import pytest
from livekit import api, rtc

from tests.conformance.kit import until
from tests.interop.conftest import RunningServer
from tests.patience import PATIENCE_S

PYTHON = os.environ.get("LKPY_AGENTS_PYTHON", "")
AGENT = pathlib.Path(__file__).parent / "python_agent.py"

pytestmark = pytest.mark.skipif(not PYTHON, reason="LKPY_AGENTS_PYTHON is not set")


@contextlib.asynccontextmanager
async def worker(server: RunningServer, directory: pathlib.Path) -> AsyncIterator[None]:
    """A registered worker."""
    log = directory / "worker.log"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            PYTHON, str(AGENT), "start", env=environment, stdout=output, stderr=output
        )
    try:
        await until(lambda: "registered worker" in log.read_text(), "the worker")
        yield
    finally:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 20)
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def test_an_agent_is_sent_does_its_work_and_is_called_back(
    server: RunningServer, room_name: str, tmp_path: pathlib.Path
) -> None:
    room = rtc.Room()
    said: list[str] = []
    room.on("data_received", lambda packet: said.append(bytes(packet.data).decode()))
    async with (
        worker(server, tmp_path),
        api.LiveKitAPI(server.http_url, server.api_key, server.api_secret) as calls,
    ):
        wanted = api.CreateAgentDispatchRequest(agent_name="echo", room=room_name, metadata="m")
        dispatch = await calls.agent_dispatch.create_dispatch(wanted)
        await room.connect(server.url, server.token(room_name, "alice"))
        try:
            await until(lambda: room.remote_participants, "the agent")
            (agent,) = room.remote_participants.values()
            assert agent.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
            assert agent.attributes["lk.agent_name"] == "echo"
            async with asyncio.timeout(PATIENCE_S):
                while not said:
                    await room.local_participant.publish_data(b"ping", reliable=True)
                    await asyncio.sleep(0.5)
            assert said[0] == "m:ping"
            await calls.agent_dispatch.delete_dispatch(dispatch.id, room_name)
            await until(lambda: not room.remote_participants, "the agent's end")
        finally:
            await room.disconnect()
