"""livekit-client in headless Chromium: packets, streams and remote calls, also with Python."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from livekit import api, rtc
from livekit.protocol.models import DataPacket

from tests.browser.chromium import Chromium, Page, noise
from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import Events, eventually, joined

pytestmark = pytest.mark.browser
SIZE = 200_000
"""Bytes of a stream: more than thirteen of its chunks of 15 kB."""
BYTES_SHA256 = hashlib.sha256(noise(SIZE)).hexdigest()
TEXT = "".join(chr(0x100 + value) for value in noise(SIZE // 2))
"""What ``letters`` of ``page.js`` makes: two bytes a letter."""
TEXT_SHA256 = hashlib.sha256(TEXT.encode()).hexdigest()


async def streams(page: Page, count: int) -> list[dict[str, Any]]:
    """Return the streams that the page received, once there are ``count``."""

    async def found() -> list[dict[str, Any]] | None:
        received: list[dict[str, Any]] = await page.run("() => state.streams")
        return received if len(received) >= count else None

    received: list[dict[str, Any]] = await eventually(f"{count} streams", found, 20)
    assert len(received) == count
    return received


async def test_packets_to_one_and_to_all(
    server: RunningServer,
    chromium: Chromium,
    room_name: str,
    topology: str,
    admin: api.LiveKitAPI,
) -> None:
    async with chromium.pages(3) as pages:
        alice, bob, carol = pages
        for page, identity in zip(pages, ("alice", "bob", "carol"), strict=True):
            await page.join(server, room_name, identity, topology)
        for reliable in (True, False):
            options = {"reliable": reliable, "topic": "chat"}
            only = {**options, "destinationIdentities": ["bob"]}
            await alice.run("send", f"for bob {reliable}", only)
            await alice.run("send", f"for all {reliable}", options)
            await bob.event("DataReceived", f"for bob {reliable}", "alice")
            for page in (bob, carol):
                kind = DataPacket.RELIABLE if reliable else DataPacket.LOSSY
                await page.event("DataReceived", f"for all {reliable}", "alice", kind, "chat")
        await admin.room.send_data(
            api.SendDataRequest(
                room=room_name, data=b"from the API", topic="t", destination_identities=["carol"]
            )
        )
        await carol.event("DataReceived", "from the API", None, DataPacket.RELIABLE, "t")
        await admin.room.send_data(api.SendDataRequest(room=room_name, data=b"the last"))
        for page in pages:
            await page.event("DataReceived", "the last")
        assert [len(await page.events("DataReceived")) for page in pages] == [1, 5, 4]


async def test_many_reliable_packets_arrive_once_and_in_order(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    count = 500
    async with chromium.pages(2) as (alice, bob):
        await alice.join(server, room_name, "alice", topology)
        await bob.join(server, room_name, "bob", topology)
        await alice.run(
            """async (count) => {
                for (let i = 0; i < count; i++) await send(`${i} ${"x".repeat(1000)}`);
            }""",
            count,
        )
        await bob.event("DataReceived", f"{count - 1} {'x' * 1000}")
        numbers = [int(values[0].split()[0]) for values in await bob.events("DataReceived")]
        assert numbers == list(range(count))


async def test_who_may_not_publish_data_reaches_nobody(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    async with chromium.pages(3) as (alice, bob, carol):
        await alice.join(server, room_name, "alice", can_publish_data=False)
        await bob.join(server, room_name, "bob")
        await carol.join(server, room_name, "carol")
        await alice.run("send", "unwanted")
        await carol.run("send", "wanted")
        # The last value is the sender's identity: Bob may not have been told of Carol yet.
        assert (await bob.event("DataReceived", "wanted"))[-1] == "carol"
        assert len(await bob.events("DataReceived")) == 1


async def test_text_and_byte_streams(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    async with chromium.pages(3) as pages:
        alice, bob, carol = pages
        for page, identity in zip(pages, ("alice", "bob", "carol"), strict=True):
            await page.join(server, room_name, identity, topology)
            await page.run("receive", "files")
        text = """(size, compress, destinationIdentities) =>
            room.localParticipant.sendText(letters(size), {
                topic: "files", attributes: { language: "none" },
                compress, destinationIdentities })"""
        file = """(size, compress) => room.localParticipant.sendFile(
            new File([noise(size)], "noise.png", { type: "image/png" }),
            { topic: "files", mimeType: "image/png", compress })"""
        for compress in (True, False):
            await alice.run(text, SIZE // 2, compress, ["bob", "carol"])
            await alice.run(file, SIZE, compress)
        await bob.run(text, SIZE // 2, False, ["alice"])
        for page in (bob, carol):
            received = await streams(page, 4)
            assert {stream["from"] for stream in received} == {"alice"}
            for stream in received:
                if stream["kind"] == "text":
                    assert stream["sha256"] == TEXT_SHA256
                    assert stream["attributes"]["language"] == "none"
                else:
                    assert stream["sha256"] == BYTES_SHA256
                    assert (stream["name"], stream["mimeType"]) == ("noise.png", "image/png")
            assert sorted(stream["kind"] for stream in received) == ["bytes"] * 2 + ["text"] * 2
            assert max(stream["parts"] for stream in received) > 10
        (answer,) = await streams(alice, 1)
        assert (answer["from"], answer["sha256"]) == ("bob", TEXT_SHA256)

        await alice.run(
            """async () => {
                const writer = await room.localParticipant.streamText({ topic: "files" });
                for (let line = 0; line < 200; line++) await writer.write(`line ${line}\\n`);
                await writer.close();
            }"""
        )
        written = (await streams(carol, 5))[-1]
        expected = "".join(f"line {line}\n" for line in range(200))
        assert written["sha256"] == hashlib.sha256(expected.encode()).hexdigest()


async def test_streams_between_a_page_and_python(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    async with chromium.pages(1) as (alice,), joined(server, room_name, "bob") as bob:
        heard: asyncio.Queue[str] = asyncio.Queue()
        tasks = set()

        def read(reader: rtc.TextStreamReader, sender: str) -> None:
            async def read_all() -> None:
                heard.put_nowait(f"{sender}: {await reader.read_all()}")

            tasks.add(asyncio.ensure_future(read_all()))

        bob.register_text_stream_handler("notes", read)
        await alice.join(server, room_name, "alice")
        await alice.run("receive", "notes")
        send = "(size) => room.localParticipant.sendText(letters(size), { topic: 'notes' })"
        await alice.run(send, SIZE // 2)
        assert await asyncio.wait_for(heard.get(), 20) == f"alice: {TEXT}"
        await bob.local_participant.send_text(TEXT, topic="notes")
        writer = await bob.local_participant.stream_bytes(
            "noise.bin", total_size=SIZE, topic="notes"
        )
        await writer.write(noise(SIZE))
        await writer.aclose()
        received = {stream["kind"]: stream for stream in await streams(alice, 2)}
        assert received["text"]["sha256"] == TEXT_SHA256
        assert received["bytes"]["sha256"] == BYTES_SHA256
        assert (received["bytes"]["name"], received["bytes"]["size"]) == ("noise.bin", SIZE)


async def test_rpc_between_pages(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    async with chromium.pages(2) as (alice, bob):
        for page, identity in ((alice, "alice"), (bob, "bob")):
            await page.join(server, room_name, identity, topology)
            await page.run("register", "echo", "reverse")
        await bob.run("register", "fail", "error")
        await bob.run("register", "wait", "never")
        payload = "0123456789" * 1_400
        for caller, other in ((alice, "bob"), (bob, "alice")):
            answers = await asyncio.gather(
                *(caller.run("perform", other, "echo", payload) for _ in range(5))
            )
            assert answers == [payload[::-1]] * 5
        error = await alice.refusal("perform", "bob", "fail", "data")
        assert (error["code"], error["message"], error["data"]) == (1234, "as asked", "data")
        codes = rtc.RpcError.ErrorCode
        error = await alice.refusal("perform", "bob", "nothing", "data")
        assert error["code"] == codes.UNSUPPORTED_METHOD
        slow = await asyncio.gather(
            alice.refusal("perform", "bob", "wait", "data", 2_000),
            alice.refusal("perform", "nobody", "echo", "data"),
        )
        assert [error["code"] for error in slow] == [
            codes.RESPONSE_TIMEOUT,
            codes.CONNECTION_TIMEOUT,
        ]


async def test_rpc_ends_when_the_other_leaves(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await alice.join(server, room_name, "alice")
        await bob.join(server, room_name, "bob")
        await bob.run("register", "wait", "never")
        await alice.event("ParticipantConnected", "bob")
        waiting = asyncio.ensure_future(alice.refusal("perform", "bob", "wait", "data", 60_000))
        await eventually("the call to arrive", lambda: bob.run("() => state.calls.length"))
        await bob.run("() => room.disconnect()")
        error = await asyncio.wait_for(waiting, 15)
        assert error["code"] == rtc.RpcError.ErrorCode.RECIPIENT_DISCONNECTED


async def test_rpc_between_a_page_and_python(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    async with chromium.pages(1) as (alice,), joined(server, room_name, "bob") as bob:
        events = Events(bob)
        await alice.join(server, room_name, "alice")
        await events.wait("participant_connected")
        await alice.run("register", "echo", "reverse")
        await alice.run("register", "fail", "error")

        @bob.local_participant.register_rpc_method("echo")
        async def _echo(call: rtc.RpcInvocationData) -> str:
            if call.payload == "fail":
                raise rtc.RpcError(1234, "as asked", call.payload)
            return f"{call.caller_identity}: {call.payload}"

        payload = "0123456789" * 1_400
        assert await alice.run("perform", "bob", "echo", payload) == f"alice: {payload}"
        error = await alice.refusal("perform", "bob", "echo", "fail")
        assert (error["code"], error["message"], error["data"]) == (1234, "as asked", "fail")
        answer = await bob.local_participant.perform_rpc(
            destination_identity="alice", method="echo", payload=payload
        )
        assert answer == payload[::-1]
        with pytest.raises(rtc.RpcError) as caught:
            await bob.local_participant.perform_rpc(
                destination_identity="alice", method="fail", payload="data"
            )
        assert (caught.value.code, caught.value.data) == (1234, "data")
