"""livekit-client in headless Chromium: what a publisher is made to send, and to whom."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.browser.chromium import Chromium, Page
from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import eventually

pytestmark = pytest.mark.browser


async def active(page: Page, codec: str) -> int:
    """Return how many encodings of the camera the page sends in ``codec``."""
    found: dict[str, int] = await page.run("encodings")
    return found[codec]


async def test_permissions_dynacast_backup_codec_and_regression(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    async with chromium.pages(3) as (alice, bob, carol):
        await alice.join(server, room_name, "alice", topology, options={"dynacast": True})
        await bob.join(server, room_name, "bob", topology)
        svc = {"videoCodec": "vp9", "backupCodec": {"codec": "vp8"}, "scalabilityMode": "L3T3_KEY"}
        await alice.run("publishCamera", svc)
        assert (await bob.sees())["codec"] == "video/VP9"

        began = time.monotonic()
        await bob.run("setEnabled", False)

        async def paused() -> bool:
            return await active(alice, "vp9") == 0

        async def awake() -> bool:
            return await active(alice, "vp9") > 0

        await eventually("dynacast to pause", paused)
        assert 4.5 < time.monotonic() - began < 8
        began = time.monotonic()
        await bob.run("setEnabled", True)
        await eventually("dynacast to wake", awake)
        assert time.monotonic() - began < 2
        await bob.sees()

        await alice.run("allow", [])
        await bob.event("TrackUnsubscribed", "video")
        await bob.event("TrackSubscriptionPermissionChanged")
        await alice.run("allow", ["bob", "carol"])
        await bob.sees()

        await carol.run("lack", "VP9")
        await carol.join(server, room_name, "carol", topology)
        assert (await carol.sees())["codec"] == "video/VP8"

        async def regressed() -> bool:
            return (await bob.inbound()).get("codec") == "video/VP8"

        await eventually("bob to receive the backup codec", regressed, 15)
        await bob.sees()
        await eventually("the first codec to pause", paused, 15)
        assert len(await bob.events("TrackUnsubscribed")) == 1, "another codec is no other track"


async def test_unsubscribe_and_subscribe_again(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await alice.join(server, room_name, "alice", topology)
        await bob.join(server, room_name, "bob", topology, connect={"autoSubscribe": False})
        sids = await alice.run("publish")
        for sid in sids:
            await bob.event("TrackPublished", sid)
        for _ in range(2):
            await bob.forget()
            await bob.run("setSubscribed", True)
            await bob.sees()
            await bob.hears()
            assert len(await bob.events("TrackSubscribed")) == 2
            await bob.run("setSubscribed", False)
            for kind in ("video", "audio"):
                await bob.event("TrackUnsubscribed", kind)
            assert await bob.run("inbound") == {}
            assert not any(t["subscribed"] for t in (await bob.remotes())["alice"]["tracks"])


async def test_adaptive_stream_follows_the_element(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    """The picture that arrives follows the size of its element; hidden, none arrives."""
    show = """(width, display) => {
        const { style } = document.getElementById("remote");
        Object.assign(style, { width: `${width}px`, height: `${width * 9 / 16}px`, display });
    }"""
    async with chromium.pages(2) as (alice, bob):
        await bob.run(show, 640, "block")
        await alice.join(server, room_name, "alice", topology, options={"dynacast": True})
        await bob.join(server, room_name, "bob", topology, options={"adaptiveStream": True})
        await alice.run("publishCamera")
        await bob.sees_width(640)
        await bob.run(show, 200, "block")
        await bob.sees_width(320)
        await bob.run(show, 640, "block")
        await bob.sees_width(640)
        await bob.run(show, 640, "none")
        await bob.falls_silent("camera")

        async def paused() -> bool:
            return await active(alice, "vp8") == 0

        await eventually("the publisher to pause", paused)
        await bob.run(show, 640, "block")
        await bob.sees_width(640)


async def test_screen_and_its_sound(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    """A shared tab arrives beside the camera as a track of its own, and ends alone."""
    async with chromium.pages(2) as (alice, bob):
        await alice.join(server, room_name, "alice", topology)
        await bob.join(server, room_name, "bob", topology)
        await alice.run("publishCamera")
        await alice.run("shareScreen")
        await bob.sees("screen_share")
        await bob.hears("screen_share_audio")
        await bob.sees("camera")
        tracks: list[dict[str, Any]] = (await bob.remotes())["alice"]["tracks"]
        assert sorted((track["source"], track["kind"]) for track in tracks) == [
            ("camera", "video"),
            ("screen_share", "video"),
            ("screen_share_audio", "audio"),
        ]
        await alice.run("() => room.localParticipant.setScreenShareEnabled(false)")
        for kind in ("video", "audio"):
            await bob.event("TrackUnsubscribed", kind)
        assert set(await bob.run("inbound")) == {"camera"}
        await bob.sees("camera")
