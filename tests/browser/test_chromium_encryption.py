"""livekit-client in headless Chromium: end-to-end encryption with its worker."""

from __future__ import annotations

import pytest
from livekit import api

from tests.browser.chromium import Chromium, Page
from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import eventually

pytestmark = pytest.mark.browser
ENOUGH = 50
"""Packets after which a picture would have been decoded, were the key there."""


async def receives_in_vain(page: Page) -> None:
    """Wait until packets of the camera have arrived; no picture may come of them."""

    async def arrived() -> bool:
        return bool((await page.inbound()).get("packets", 0) > ENOUGH)

    await eventually(f"packets at {page.identity}", arrived)
    assert (await page.inbound())["frames"] == 0


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
async def test_decoded_with_the_key_and_not_without(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str, codec: str
) -> None:
    async with chromium.pages(3) as (alice, bob, carol):
        await alice.join(server, room_name, "alice", topology, key="the key")
        await bob.join(server, room_name, "bob", topology, key="the key")
        await carol.join(server, room_name, "carol", topology, key="another")
        await alice.run("publishCamera", {"videoCodec": codec, "backupCodec": False})
        await alice.run("publishMicrophone")
        await bob.sees()
        await bob.hears()
        for page in (bob, carol):
            tracks = (await page.remotes())["alice"]["tracks"]
            assert [track["encrypted"] for track in tracks] == [True, True]
        await receives_in_vain(carol)
        await carol.event("EncryptionError")

        await alice.run("send", "for those with the key")
        await bob.event("DataReceived", "for those with the key", "alice")

        await carol.run("(key) => keys.setKey(key)", "the key")
        await carol.sees()
        await alice.run("send", "for Carol too")
        await carol.event("DataReceived", "for Carol too", "alice")
        assert len(await carol.events("DataReceived")) == 1


async def test_without_encryption_nothing_is_understood(
    server: RunningServer, chromium: Chromium, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with chromium.pages(3) as (alice, bob, carol):
        await alice.join(server, room_name, "alice", key="the key")
        await bob.join(server, room_name, "bob", key="the key")
        await carol.join(server, room_name, "carol")
        await alice.run("publishCamera")
        await bob.sees()
        await alice.run("send", "for those with the key")
        await bob.event("DataReceived", "for those with the key", "alice")
        await receives_in_vain(carol)
        await admin.room.send_data(api.SendDataRequest(room=room_name, data=b"in the clear"))
        await carol.event("DataReceived", "in the clear")
        assert len(await carol.events("DataReceived")) == 1
