"""An agents' worker from outside: the connection to ``/agent`` and what is said on it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from google.protobuf import json_format
from livekit.protocol import agent, models

from tests.conformance.kit import Lobby, Refused
from tests.patience import PATIENCE_S


class RawWorker:
    """Everything received is kept in :attr:`log`; nothing is answered by itself unless
    :attr:`takes` jobs."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.log: list[agent.ServerMessage] = []
        self.text_frames = 0
        self.id = ""
        self.registered = agent.RegisterWorkerResponse()
        self.takes = True
        self.identity = "agent-{}"
        """Of its agents; the job's id is put in."""
        self.closed = asyncio.Event()
        self._taken: set[int] = set()
        self._socket = socket
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self._socket:
                message = agent.ServerMessage()
                if frame.type is aiohttp.WSMsgType.BINARY:
                    message.ParseFromString(frame.data)
                elif frame.type is aiohttp.WSMsgType.TEXT:
                    json_format.Parse(frame.data, message)
                    self.text_frames += 1
                else:
                    break
                if message.WhichOneof("message") == "availability" and self.takes:
                    await self.answer(message.availability.job.id)
                async with self._changed:
                    self.log.append(message)
                    self._changed.notify_all()
        finally:
            self.closed.set()
            async with self._changed:
                self._changed.notify_all()

    async def answer(self, job_id: str, *, available: bool = True, **values: Any) -> None:
        """Say whether a job is taken."""
        values.setdefault("participant_identity", self.identity.format(job_id))
        answer = agent.AvailabilityResponse(job_id=job_id, available=available, **values)
        await self.send(availability=answer)

    async def send(self, *, text: bool = False, **message: Any) -> None:
        """Send ``WorkerMessage(**message)``, or its JSON."""
        built = agent.WorkerMessage(**message)
        if text:
            await self._socket.send_str(json_format.MessageToJson(built))
        else:
            await self._socket.send_bytes(built.SerializeToString())

    async def send_raw(self, frame: bytes) -> None:
        """Send any frame."""
        await self._socket.send_bytes(frame)

    def all(self, kind: str) -> list[Any]:
        """Messages of one kind so far."""
        return [getattr(m, kind) for m in self.log if m.WhichOneof("message") == kind]

    async def expect(self, kind: str, *, timeout_s: float = PATIENCE_S) -> Any:
        """The first message of ``kind`` that was not returned before."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                while True:
                    for index, message in enumerate(self.log):
                        if index not in self._taken and message.WhichOneof("message") == kind:
                            self._taken.add(index)
                            return getattr(message, kind)
                    assert not self.closed.is_set(), f"closed without {kind}"
                    await self._changed.wait()
        except TimeoutError:
            kinds = [m.WhichOneof("message") for m in self.log]
            raise AssertionError(f"no {kind} in {timeout_s} s; received {kinds}") from None

    async def register(self, job_type: int = agent.JobType.JT_ROOM, **values: Any) -> None:
        """Register; the answer is kept in :attr:`registered`."""
        await self.send(register=agent.RegisterWorkerRequest(type=job_type, **values))
        self.registered = await self.expect("register")
        self.id = self.registered.worker_id

    async def close(self) -> None:
        """Close the socket. Idempotent."""
        await self._socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)


async def connect(lobby: Lobby, token: str | None = None) -> RawWorker:
    """Open a worker's connection. Raises :class:`Refused`."""
    token = token or lobby.target.token("worker", agent=True)
    try:
        socket = await lobby.session.ws_connect(
            f"{lobby.target.url}/agent",
            headers={"Authorization": f"Bearer {token}"},
            max_msg_size=0,
        )
    except aiohttp.WSServerHandshakeError as error:
        raise Refused(error.status) from None
    worker = RawWorker(socket)
    lobby.opened(worker.close)
    return worker


async def worker(lobby: Lobby, job_type: int = agent.JobType.JT_ROOM, **values: Any) -> RawWorker:
    """A worker that is registered and takes every job. Agents have a name of this lobby's own, as
    workers without one would get the jobs of every room on the server."""
    values.setdefault("agent_name", name(lobby))
    opened = await connect(lobby)
    await opened.register(job_type, **values)
    return opened


def name(lobby: Lobby) -> str:
    """The name of the lobby's agents."""
    return f"helper-of-{lobby.room}"


def is_agent(info: models.ParticipantInfo) -> bool:
    return info.kind == models.ParticipantInfo.Kind.AGENT
