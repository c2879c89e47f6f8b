"""The Node SDK and the Python SDK in one room: what one sends the other understands."""

from __future__ import annotations

import contextlib
import hashlib
import random
from typing import Any

import pytest
from livekit import rtc

from .conftest import RunningServer
from .node_kit import play, scenarios
from .sdk_kit import Events, average_colour, colour, hears, joined, tone
from .test_python_data import Inbox
from .test_python_subscriptions import KEY, encrypted

pytestmark = pytest.mark.node

SCRIPT = "with_python.mjs"


def digest(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


class Bob:
    """What the scripts ask of the participant of the Python SDK."""

    def __init__(self, room: rtc.Room) -> None:
        self._me = room.local_participant
        self._events = Events(room)
        self._inbox = Inbox(room, "mail")
        self._me.register_rpc_method("greet", self._greet)
        self._me.register_rpc_method("fail", self._fail)

    async def _greet(self, call: rtc.RpcInvocationData) -> str:
        return f"hello {call.caller_identity}: {call.payload}"

    async def _fail(self, call: rtc.RpcInvocationData) -> str:
        raise rtc.RpcError(1234, "as asked", call.payload)

    async def received(self, _: object) -> list[Any]:
        info, data, sender = await self._inbox.get()
        return [digest(data), sender, dict(info.attributes or {})]

    async def send_text(self, _: object) -> str:
        text = "".join(random.Random(1).choices("abcdefghäöü€ \n", k=200_000))
        await self._me.send_text(text, topic="mail", attributes={"from": "python"})
        return digest(text)

    async def send_bytes(self, _: object) -> str:
        data = random.Random(2).randbytes(300_000)
        writer = await self._me.stream_bytes(
            "noise.bin", total_size=len(data), topic="mail", attributes={"from": "python"}
        )
        for start in range(0, len(data), 50_000):
            await writer.write(data[start : start + 50_000])
        await writer.aclose()
        return digest(data)

    async def seen(self, _: object) -> None:
        await self._events.wait("participant_connected", lambda who: who.identity == "alice")

    async def packet(self, _: object) -> list[str]:
        (packet,) = await self._events.wait("data_received")
        return [bytes(packet.data).decode(), packet.topic, packet.participant.identity]

    async def publish(self, _: object) -> None:
        await self._me.publish_data(b"from python", topic="chat")

    async def call(self, asked: list[str]) -> str | list[Any]:
        method, payload = asked
        try:
            return await self._me.perform_rpc(
                destination_identity="alice", method=method, payload=payload
            )
        except rtc.RpcError as error:
            return [error.code, error.message, error.data]

    async def media(self, _: object) -> list[Any]:
        tracks = {track.kind: track for track, *_ in self._events.all("track_subscribed")}
        heard = await hears(tracks[rtc.TrackKind.KIND_AUDIO], 440)
        return [heard, await average_colour(tracks[rtc.TrackKind.KIND_VIDEO])]

    @property
    def answers(self) -> dict[str, Any]:
        return {
            method.__name__: method
            for method in (
                *(self.received, self.send_text, self.send_bytes, self.seen),
                *(self.packet, self.publish, self.call, self.media),
            )
        }


@pytest.mark.parametrize("name", scenarios(SCRIPT))
async def test_with_python(server: RunningServer, room_name: str, name: str) -> None:
    options = encrypted(KEY) if name.startswith("encrypted") else None
    room = rtc.Room()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(joined(server, room_name, "bob", options, client=room))
        bob = Bob(room)
        if "udioAndVideo" in name:
            await stack.enter_async_context(tone(room, 880))
            await stack.enter_async_context(colour(room, 40, 40, 200))
        await play(SCRIPT, name, server, room_name, bob.answers, sharedKey=KEY.decode())
