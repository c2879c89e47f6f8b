"""GStreamer's webrtcbin, as Debian has it: what it publishes by WHIP is heard and seen."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import subprocess
from collections.abc import AsyncIterator

import pytest
from livekit import rtc

from tests.patience import PATIENCE_S

from .conftest import RunningServer
from .sdk_kit import Events, average_colour, hears, joined

pytestmark = [pytest.mark.gstreamer, pytest.mark.timeout(300)]

PROGRAM = pathlib.Path(__file__).parent / "gstreamer" / "whip.py"
PROBE = """
import gi
for name in "Gst", "GstSdp", "GstWebRTC":
    gi.require_version(name, "1.0")
from gi.repository import Gst
Gst.init(None)
for name in "webrtcbin", "nicesrc", "openh264enc", "vp8enc", "opusenc":
    assert Gst.ElementFactory.find(name)
"""


@pytest.fixture(scope="module")
def python() -> str:
    """The Python that GObject's bindings are installed for: the system's."""
    for candidate in ("/usr/bin/python3", "python3"):
        with contextlib.suppress(OSError):
            if not subprocess.run([candidate, "-c", PROBE], capture_output=True).returncode:
                return candidate
    pytest.skip("GStreamer with webrtcbin and its Python bindings is not installed")


class Run:
    """The running program, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[str] = []

    async def says(self, words: str) -> None:
        """Return once it has."""
        assert self._process.stdout is not None
        while words not in self.said:
            line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_S)
            assert line, f"it ended after {self.said}"
            self.said.append(line.decode().strip())


@contextlib.asynccontextmanager
async def publishing(python: str, *arguments: str) -> AsyncIterator[Run]:
    process = await asyncio.create_subprocess_exec(
        *(python, str(PROGRAM), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Run(process)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("trickle", [(), ("trickle",)], ids=["bundled", "trickling"])
@pytest.mark.parametrize("codec", ["h264", "vp8"])
async def test_it_is_heard_and_seen(
    python: str, server: RunningServer, room_name: str, codec: str, trickle: tuple[str, ...]
) -> None:
    async with joined(server, room_name, "python") as room:
        events = Events(room)
        token = server.token(room_name, "gstreamer")
        async with publishing(python, server.http_url, token, codec, *trickle) as run:
            await run.says("state connected")
            for _ in range(2):
                track, _, who = await events.wait("track_subscribed")
                assert who.identity == "gstreamer"
                if track.kind == rtc.TrackKind.KIND_AUDIO:
                    assert await hears(track, 440)
                else:
                    red, green, blue = await average_colour(track)
                    assert blue > 150 > 60 > max(red, green)
        await events.wait("participant_disconnected")
