"""livekit-client in headless Chromium: attributes, permissions, and how participants are ended."""

from __future__ import annotations

import pytest
from livekit import api, rtc

from tests.browser.chromium import Chromium, Page
from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import eventually

pytestmark = pytest.mark.browser
Reason = rtc.DisconnectReason


async def both(
    server: RunningServer, room_name: str, alice: Page, bob: Page, **grants: object
) -> None:
    """Join two pages; ``grants`` are Alice's."""
    await alice.join(server, room_name, "alice", **grants)
    await bob.join(server, room_name, "bob")


async def test_name_metadata_and_attributes_reach_the_other(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    async with chromium.pages(3) as (alice, bob, carol):
        await both(server, room_name, alice, bob, can_update_own_metadata=True)
        await alice.run("(text) => room.localParticipant.setMetadata(text)", "a description")
        assert await bob.event("ParticipantMetadataChanged") == ["", "alice"]
        await alice.run("(name) => room.localParticipant.setName(name)", "Alice")
        assert await bob.event("ParticipantNameChanged") == ["Alice", "alice"]
        change = "(attributes) => room.localParticipant.setAttributes(attributes)"
        await alice.run(change, {"hand": "up", "mood": "good"})
        for page in (alice, bob):
            await page.event(
                "ParticipantAttributesChanged", {"hand": "up", "mood": "good"}, "alice"
            )
        await alice.run(change, {"hand": ""})
        await bob.event("ParticipantAttributesChanged", {"hand": ""}, "alice")

        await carol.join(server, room_name, "carol")
        for page in (bob, carol):
            seen = (await page.remotes())["alice"]
            assert (seen["name"], seen["metadata"]) == ("Alice", "a description")
            assert seen["attributes"] == {"mood": "good"}


async def test_attributes_of_oneself_need_a_permission(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await both(server, room_name, alice, bob)
        for change in (
            "() => room.localParticipant.setAttributes({ hand: 'up' })",
            "() => room.localParticipant.setName('Alice')",
            "() => room.localParticipant.setMetadata('a description')",
        ):
            error = await alice.refusal(change)
            assert "does not have permission to update own metadata" in error["message"]
        await alice.run("send", "later")
        await bob.event("DataReceived", "later")
        seen = (await bob.remotes())["alice"]
        assert (seen["name"], seen["metadata"], seen["attributes"]) == ("", "", {})


async def test_attributes_and_room_metadata_by_the_server_api(
    server: RunningServer, chromium: Chromium, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await both(server, room_name, alice, bob)
        await admin.room.update_participant(
            api.UpdateParticipantRequest(
                room=room_name,
                identity="alice",
                name="Alice",
                metadata="m",
                attributes={"role": "host"},
            )
        )
        for page in (alice, bob):
            await page.event("ParticipantAttributesChanged", {"role": "host"}, "alice")
        for seen in ((await bob.remotes())["alice"], await alice.run("local")):
            assert (seen["name"], seen["metadata"]) == ("Alice", "m")
            assert seen["attributes"] == {"role": "host"}
        await admin.room.update_room_metadata(
            api.UpdateRoomMetadataRequest(room=room_name, metadata="the topic")
        )
        for page in (alice, bob):
            await page.event("RoomMetadataChanged", "the topic")


async def test_permissions_taken_and_given_while_connected(
    server: RunningServer,
    chromium: Chromium,
    room_name: str,
    topology: str,
    admin: api.LiveKitAPI,
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await alice.join(server, room_name, "alice", topology)
        await bob.join(server, room_name, "bob", topology)

        async def permit(identity: str, **permission: object) -> None:
            values = {"can_subscribe": True, "can_publish": True, "can_publish_data": True}
            await admin.room.update_participant(
                api.UpdateParticipantRequest(
                    room=room_name,
                    identity=identity,
                    permission=api.ParticipantPermission(**{**values, **permission}),
                )
            )

        camera, _ = await alice.run("publish")
        await bob.sees()
        await permit("alice", can_publish=False)
        await alice.event("ParticipantPermissionsChanged")
        assert (await alice.run("local"))["permissions"]["canPublish"] is False
        await bob.event("TrackUnpublished", camera, "alice")
        await bob.event("TrackUnsubscribed", "audio")
        await alice.event("LocalTrackUnpublished", camera)
        error = await alice.refusal("publishCamera")
        assert error["message"] == "failed to publish track, insufficient permissions"

        await bob.forget()
        await permit("alice", can_publish_sources=[api.TrackSource.MICROPHONE])
        await eventually(
            "the permission",
            lambda: alice.run("() => room.localParticipant.permissions.canPublish"),
        )
        assert (await alice.refusal("publishCamera"))["message"] == error["message"]
        await alice.run("publishMicrophone")
        await bob.hears()

        await permit("bob", can_subscribe=False)
        await bob.event("TrackUnsubscribed", "audio")
        await permit("bob")
        await bob.hears()


async def test_muted_by_the_server_api(
    server: RunningServer, chromium: Chromium, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await both(server, room_name, alice, bob)
        sid = await alice.run("publishMicrophone")
        await bob.hears()
        answer = await admin.room.mute_published_track(
            api.MuteRoomTrackRequest(room=room_name, identity="alice", track_sid=sid, muted=True)
        )
        assert answer.track.muted
        for page in (alice, bob):
            await page.event("TrackMuted", sid, "alice")
        await bob.falls_silent("microphone")
        await alice.run("publishMicrophone")
        await bob.event("TrackUnmuted", sid, "alice")
        await bob.hears()


async def test_the_speaker_is_announced(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await both(server, room_name, alice, bob)
        await alice.run("publishTone")
        await bob.event("ActiveSpeakersChanged", ["alice"])
        await alice.run("() => room.localParticipant.setMicrophoneEnabled(false)")
        await bob.event("ActiveSpeakersChanged", [])
        await bob.run("() => room.simulateScenario('speaker')")
        await bob.event("ActiveSpeakersChanged", ["bob"])


async def test_hidden_participant_hears_and_is_not_seen(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    async with chromium.pages(3) as (alice, ghost, bob):
        await alice.join(server, room_name, "alice")
        await alice.run("publishMicrophone")
        await ghost.join(server, room_name, "ghost", hidden=True)
        await bob.join(server, room_name, "bob")
        await ghost.hears()
        await alice.event("ParticipantConnected", "bob")
        for page, other in ((alice, "bob"), (bob, "alice")):
            assert set(await page.remotes()) == {other}
        assert len(await alice.events("ParticipantConnected")) == 1


async def test_removed_and_room_deleted_by_the_server_api(
    server: RunningServer, chromium: Chromium, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await both(server, room_name, alice, bob)
        await admin.room.remove_participant(
            api.RoomParticipantIdentity(room=room_name, identity="alice")
        )
        assert await alice.event("Disconnected") == [Reason.PARTICIPANT_REMOVED]
        await bob.event("ParticipantDisconnected", "alice", Reason.PARTICIPANT_REMOVED)
        assert await bob.remotes() == {}
        await admin.room.delete_room(api.DeleteRoomRequest(room=room_name))
        assert await bob.event("Disconnected") == [Reason.ROOM_DELETED]


async def test_same_identity_again_ends_the_first(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    async with chromium.pages(3) as (alice, bob, again):
        await both(server, room_name, alice, bob)
        await again.join(server, room_name, "alice")
        assert await alice.event("Disconnected") == [Reason.DUPLICATE_IDENTITY]

        async def replaced() -> bool:
            return {who: seen["sid"] for who, seen in (await bob.remotes()).items()} == {
                "alice": again.sid
            }

        await eventually("the second Alice alone", replaced)
        await again.run("() => room.disconnect()")
        assert await again.event("Disconnected") == [Reason.CLIENT_INITIATED]


async def test_a_token_for_nothing_is_refused(
    server: RunningServer, chromium: Chromium, room_name: str
) -> None:
    stranger = RunningServer(server.url, server.api_key, "not the secret")
    async with chromium.pages(1) as (alice,):
        error = await alice.refusal(
            "join", server.url, stranger.token(room_name, "alice"), {"room": {}}
        )
        assert error["name"] == "ConnectionError"
        assert error["reason"] == 0, "NotAllowed"
