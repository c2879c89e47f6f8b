"""The Go SDK and the Python SDK in one room: what each sends is what the other receives."""

from __future__ import annotations

import asyncio
import math
import pathlib
import random

import av
import numpy as np
import pytest
from livekit import rtc

from tests.patience import PATIENCE_S

from .conftest import RunningServer
from .go_kit import playing
from .sdk_kit import SAMPLE_RATE, Events, eventually, hears, joined, tone
from .test_python_subscriptions import KEY, encrypted

pytestmark = [pytest.mark.go, pytest.mark.timeout(600)]


def tone_file(path: pathlib.Path, frequency: float, seconds: int = 20) -> pathlib.Path:
    """Write a sine as Opus in Ogg."""
    time = np.arange(SAMPLE_RATE * seconds) / SAMPLE_RATE
    samples = (np.sin(2 * math.pi * frequency * time) * 12_000).astype(np.int16)
    whole = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
    whole.sample_rate, whole.pts = SAMPLE_RATE, 0
    queue = av.AudioFifo()
    queue.write(whole)
    with av.open(path, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        for frame in [*queue.read_many(SAMPLE_RATE // 50), None]:
            container.mux(stream.encode(frame))
    return path


@pytest.mark.parametrize("topology", ["single-pc", "dual-pc"])
async def test_a_file_that_go_plays_is_heard(
    go_program: pathlib.Path,
    server: RunningServer,
    room_name: str,
    tmp_path: pathlib.Path,
    topology: str,
) -> None:
    path = tone_file(tmp_path / "tone.ogg", 440)
    async with joined(server, room_name, "python") as room:
        events = Events(room)
        async with playing(
            go_program, "play-file", server, room_name, str(path), topology=topology
        ) as run:
            await run.asked("listen")
            heard, _, _ = await events.wait("track_subscribed")
            assert await hears(heard, 440)
            run.done()
            await run.passed()


async def test_each_decrypts_what_the_other_encrypts(
    go_program: pathlib.Path, server: RunningServer, room_name: str, tmp_path: pathlib.Path
) -> None:
    sound = tone_file(tmp_path / "tone.ogg", 440)
    async with joined(server, room_name, "python", encrypted(KEY)) as room:
        events = Events(room)
        async with (
            tone(room, 880),
            playing(
                go_program, "encrypted-media-at-both", server, room_name, str(sound), KEY.decode()
            ) as run,
        ):
            await run.asked("listen")
            heard, publication, _ = await events.wait("track_subscribed")
            assert publication.encryption_type == rtc.EncryptionType.GCM
            assert await hears(heard, 440)
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
            assert await asyncio.wait_for(texts.get(), PATIENCE_S) == ("none", text)
            assert await asyncio.wait_for(files.get(), PATIENCE_S) == ("parts.bin", data)
            answer = await room.local_participant.perform_rpc(
                destination_identity="go", method="triple", payload="ab"
            )
            assert answer == "ababab"
            run.done()
            await run.passed()
