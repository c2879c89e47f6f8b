"""Data with the Python SDK: packets, streams, remote calls and data tracks."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from livekit import rtc

from tests.patience import PATIENCE_S

from .conftest import RunningServer
from .sdk_kit import Events, eventually, joined


class Inbox:
    """Streams that a participant received on one topic, read to their ends."""

    def __init__(self, room: rtc.Room, topic: str) -> None:
        self.found: asyncio.Queue[tuple[Any, Any, str]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        room.register_text_stream_handler(topic, self._text)
        room.register_byte_stream_handler(topic, self._bytes)

    def _text(self, reader: rtc.TextStreamReader, sender: str) -> None:
        self._start(self._read_text(reader, sender))

    def _bytes(self, reader: rtc.ByteStreamReader, sender: str) -> None:
        self._start(self._read_bytes(reader, sender))

    def _start(self, reading: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(reading)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read_text(self, reader: rtc.TextStreamReader, sender: str) -> None:
        self.found.put_nowait((reader.info, await reader.read_all(), sender))

    async def _read_bytes(self, reader: rtc.ByteStreamReader, sender: str) -> None:
        self.found.put_nowait((reader.info, b"".join([part async for part in reader]), sender))

    async def get(self, seconds: float = PATIENCE_S) -> tuple[Any, Any, str]:
        return await asyncio.wait_for(self.found.get(), seconds)


@pytest.mark.parametrize("compress", [True, False], ids=["compressed", "plain"])
async def test_large_text_to_one_and_to_all(
    server: RunningServer, room_name: str, compress: bool
) -> None:
    text = "".join(random.Random(1).choices("abcdefghäöü€ \n", k=400_000))
    async with (
        joined(server, room_name, "alice") as alice,
        joined(server, room_name, "bob") as bob,
        joined(server, room_name, "carol") as carol,
    ):
        inboxes = [Inbox(bob, "notes"), Inbox(carol, "notes")]
        await alice.local_participant.send_text(
            text, topic="notes", attributes={"language": "none"}, compress=compress
        )
        for inbox in inboxes:
            info, received, sender = await inbox.get()
            assert received == text
            assert sender == "alice"
            assert info.attributes["language"] == "none"
        await alice.local_participant.send_text(
            "for carol", topic="notes", destination_identities=["carol"]
        )
        _, received, _ = await inboxes[1].get()
        assert received == "for carol"
        assert inboxes[0].found.empty()


async def test_text_written_in_parts(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        inbox = Inbox(bob, "parts")
        writer = await alice.local_participant.stream_text(topic="parts")
        parts = [f"line {number}\n" for number in range(200)]
        for part in parts:
            await writer.write(part)
        await writer.aclose()
        _, received, _ = await inbox.get()
        assert received == "".join(parts)


async def test_bytes_and_a_file(
    server: RunningServer, room_name: str, tmp_path: pathlib.Path
) -> None:
    data = random.Random(2).randbytes(600_000)
    path = tmp_path / "noise.png"
    path.write_bytes(data)
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        inbox = Inbox(bob, "files")
        await alice.local_participant.send_file(str(path), topic="files")
        info, received, sender = await inbox.get()
        assert received == data
        assert (info.name, info.mime_type, info.size, sender) == (
            "noise.png", "image/png", len(data), "alice",
        )  # fmt: skip
        writer = await alice.local_participant.stream_bytes(
            "parts.bin", total_size=len(data), topic="files"
        )
        for start in range(0, len(data), 50_000):
            await writer.write(data[start : start + 50_000])
        await writer.aclose()
        info, received, _ = await inbox.get()
        assert (info.name, received == data) == ("parts.bin", True)


async def test_many_reliable_packets_arrive_once_and_in_order(
    server: RunningServer, room_name: str
) -> None:
    count = 500
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        events = Events(bob)
        for number in range(count):
            await alice.local_participant.publish_data(number.to_bytes(4) * 250, topic="count")
        await eventually(
            "every packet", lambda: events.names().count("data_received") >= count, seconds=20
        )
        numbers = [
            int.from_bytes(bytes(values[0].data)[:4])
            for name, values in events.seen
            if name == "data_received"
        ]
        assert numbers == list(range(count))


async def test_who_may_not_publish_data_reaches_nobody(
    server: RunningServer, room_name: str
) -> None:
    async with (
        joined(server, room_name, "alice", can_publish_data=False) as alice,
        joined(server, room_name, "carol") as carol,
        joined(server, room_name, "bob") as bob,
    ):
        events = Events(bob)
        with contextlib.suppress(rtc.participant.PublishDataError):
            await alice.local_participant.publish_data(b"unwanted")
        await carol.local_participant.publish_data(b"wanted")
        (packet,) = await events.wait("data_received")
        assert bytes(packet.data) == b"wanted"


async def test_rpc_errors_reach_the_caller(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:

        @bob.local_participant.register_rpc_method("fail")
        async def _fail(call: rtc.RpcInvocationData) -> str:
            raise rtc.RpcError(1234, "as asked", call.payload)

        @bob.local_participant.register_rpc_method("wait")
        async def _wait(call: rtc.RpcInvocationData) -> str:
            await asyncio.sleep(60)
            return ""

        async def call(method: str, **values: Any) -> rtc.RpcError:
            with pytest.raises(rtc.RpcError) as caught:
                await alice.local_participant.perform_rpc(
                    destination_identity="bob", method=method, payload="data", **values
                )
            return caught.value

        error = await call("fail")
        assert (error.code, error.message, error.data) == (1234, "as asked", "data")
        assert (await call("nothing")).code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD
        assert (
            await call("wait", response_timeout=2.0)
        ).code == rtc.RpcError.ErrorCode.RESPONSE_TIMEOUT


async def test_rpc_of_fifteen_kilobytes_both_ways(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:

        async def _echo(call: rtc.RpcInvocationData) -> str:
            return call.payload[::-1]

        for room in (alice, bob):
            room.local_participant.register_rpc_method("echo", _echo)
        payload = "0123456789" * 1500
        for caller, other in ((alice, "bob"), (bob, "alice")):
            answers = await asyncio.gather(
                *(
                    caller.local_participant.perform_rpc(
                        destination_identity=other, method="echo", payload=payload
                    )
                    for _ in range(5)
                )
            )
            assert answers == [payload[::-1]] * 5


async def test_data_track_published_subscribed_and_ended(
    server: RunningServer, room_name: str
) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        events = Events(bob)
        local = await alice.local_participant.publish_data_track(name="telemetry")
        (remote,) = await events.wait("data_track_published")
        assert (remote.info.name, remote.publisher_identity) == ("telemetry", "alice")
        stream = remote.subscribe()
        payload = random.Random(3).randbytes(20_000)

        async def push() -> None:
            while True:
                with contextlib.suppress(rtc.PushFrameError):
                    local.try_push(rtc.DataTrackFrame(payload, user_timestamp=42))
                await asyncio.sleep(0.05)

        pushing = asyncio.ensure_future(push())
        try:
            for _ in range(3):
                frame = await asyncio.wait_for(stream.read(), PATIENCE_S)
                assert frame is not None
                assert (frame.payload, frame.user_timestamp) == (payload, 42)
        finally:
            pushing.cancel()
        await local.unpublish()
        await events.wait("data_track_unpublished")
        assert not remote.is_published()
