"""livekit-client in headless Chromium: a pair exchanges audio, video, layers and data."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Chromium
from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import eventually

pytestmark = pytest.mark.browser


async def test_pair(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    async with chromium.pages(2) as (alice, bob):
        for page, identity in ((alice, "alice"), (bob, "bob")):
            await page.join(server, room_name, identity, topology)
        published = [await page.run("publish") for page in (alice, bob)]
        assert all(sid.startswith("TR_") for sids in published for sid in sids)
        for page in (alice, bob):
            assert (await page.hears())["lost"] <= 0
            await page.sees()

        await bob.sees_width(640)
        await bob.run("setQuality", "LOW")
        await bob.sees_width(320)
        await bob.run("setQuality", "HIGH")
        await bob.sees_width(640)

        assert (await alice.run("publishDataTrack", "pose")).startswith("DTR_")

        async def frame() -> list[dict[str, str]]:
            # The subscription may still be under way.
            await alice.run("push", "here")
            frames: list[dict[str, str]] = await bob.run("() => state.frames")
            return frames

        assert (await eventually("a frame", frame))[0] == {"text": "here", "name": "pose"}
        await alice.run("() => room.localParticipant.setMicrophoneEnabled(false)")
        await bob.event("TrackMuted", published[0][1], "alice")
        await bob.falls_silent("microphone")
        await alice.run("() => room.localParticipant.setMicrophoneEnabled(true)")
        await bob.event("TrackUnmuted", published[0][1], "alice")
        await bob.hears()
        await alice.run("() => room.disconnect()")
        await bob.event("ParticipantDisconnected", "alice")


@pytest.mark.parametrize(
    ("codec", "mode"), [("vp9", "L3T3_KEY"), ("vp9", "L3T3"), ("av1", "L3T3_KEY"), ("av1", "L3T3")]
)
async def test_layers_of_one_stream(
    server: RunningServer, chromium: Chromium, room_name: str, codec: str, mode: str
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await alice.join(server, room_name, "alice")
        await bob.join(server, room_name, "bob")
        await alice.run("publishLayers", codec, mode)
        seen = await bob.sees_width(960)
        assert seen["codec"].lower() == f"video/{codec}"
        for quality, width in (
            ("LOW", 240), ("MEDIUM", 480), ("HIGH", 960), ("LOW", 240), ("HIGH", 960),
        ):  # fmt: skip
            await bob.run("setQuality", quality)
            await bob.sees_width(width)
