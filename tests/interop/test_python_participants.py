"""Participants as the Python SDK sees them: attributes, permissions, and how they are ended."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from livekit import api, rtc

from .conftest import RunningServer
from .sdk_kit import SAMPLE_RATE, Events, eventually, falls_silent, hears, joined, tone

Reason = rtc.DisconnectReason


async def test_name_metadata_and_attributes_reach_the_other(
    server: RunningServer, room_name: str
) -> None:
    own = {"can_update_own_metadata": True}
    async with (
        joined(server, room_name, "alice", **own) as alice,
        joined(server, room_name, "bob") as bob,
    ):
        events = Events(bob)
        await alice.local_participant.set_metadata("a description")
        await events.wait(
            "participant_metadata_changed", lambda _who, _old, metadata: metadata == "a description"
        )
        await alice.local_participant.set_name("Alice")
        await events.wait("participant_name_changed", lambda _who, _old, name: name == "Alice")
        await alice.local_participant.set_attributes({"hand": "up", "mood": "good"})
        changed, who = await events.wait("participant_attributes_changed")
        assert changed == {"hand": "up", "mood": "good"}
        assert who.identity == "alice"
        await alice.local_participant.set_attributes({"hand": ""})
        await eventually("one attribute", lambda: who.attributes == {"mood": "good"})

        async with joined(server, room_name, "carol") as carol:
            seen = carol.remote_participants["alice"]
            assert (seen.name, seen.metadata) == ("Alice", "a description")
            assert seen.attributes == {"mood": "good"}


async def test_attributes_of_oneself_need_a_permission(
    server: RunningServer, room_name: str
) -> None:
    """The SDK tells the caller of no refusal: what the other sees is what counts."""
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        events = Events(bob)
        await alice.local_participant.set_attributes({"hand": "up"})
        await alice.local_participant.publish_data(b"later")
        await events.wait("data_received")
        assert bob.remote_participants["alice"].attributes == {}
        assert "participant_attributes_changed" not in events.names()


async def test_token_carries_name_metadata_attributes_and_kind(
    server: RunningServer, room_name: str
) -> None:
    token = (
        api.AccessToken(server.api_key, server.api_secret)
        .with_identity("robot")
        .with_name("Robot")
        .with_metadata("made of tin")
        .with_attributes({"model": "5"})
        .with_kind("agent")
        .with_grants(api.VideoGrants(room_join=True, room=room_name))
        .to_jwt()
    )
    async with joined(server, room_name, "alice") as alice:
        events = Events(alice)
        robot = rtc.Room()
        await robot.connect(server.url, token)
        try:
            (seen,) = await events.wait("participant_connected")
            assert (seen.name, seen.metadata) == ("Robot", "made of tin")
            assert seen.attributes == {"model": "5"}
            assert seen.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        finally:
            await robot.disconnect()


async def test_who_may_not_subscribe_hears_nothing_until_allowed(
    server: RunningServer, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with (
        joined(server, room_name, "alice") as alice,
        joined(server, room_name, "bob", can_subscribe=False) as bob,
    ):
        events = Events(bob)
        async with tone(alice, 440):
            await events.wait("track_published")
            assert "track_subscribed" not in events.names()
            await admin.room.update_participant(
                api.UpdateParticipantRequest(
                    room=room_name,
                    identity="bob",
                    permission=api.ParticipantPermission(can_subscribe=True),
                )
            )
            track, _, _ = await events.wait("track_subscribed")
            assert await hears(track, 440)


async def test_permission_to_publish_is_taken_and_given(
    server: RunningServer, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        publisher, listener = Events(alice), Events(bob)

        async def allow(publish: bool) -> None:
            await admin.room.update_participant(
                api.UpdateParticipantRequest(
                    room=room_name,
                    identity="alice",
                    permission=api.ParticipantPermission(
                        can_subscribe=True, can_publish=publish, can_publish_data=publish
                    ),
                )
            )

        async with tone(alice, 440):
            await listener.wait("track_subscribed")
            await allow(False)
            await listener.wait("track_unpublished")
            await publisher.wait("participant_permissions_changed")
        listener.forget()
        await allow(True)
        await eventually("the permission", lambda: alice.local_participant.permissions.can_publish)
        async with tone(alice, 880):
            track, _, _ = await listener.wait("track_subscribed")
            assert await hears(track, 880)


async def refused(room: rtc.Room, source: rtc.TrackSource.ValueType) -> None:
    """Publish audio in vain: the SDK waits ten seconds for an answer that does not come."""
    track = rtc.LocalAudioTrack.create_audio_track("tone", rtc.AudioSource(SAMPLE_RATE, 1))
    with pytest.raises(rtc.participant.PublishTrackError):
        await asyncio.wait_for(
            room.local_participant.publish_track(track, rtc.TrackPublishOptions(source=source)), 20
        )


async def test_only_what_is_allowed_is_published(server: RunningServer, room_name: str) -> None:
    async with (
        joined(server, room_name, "alice", can_publish=False) as alice,
        joined(server, room_name, "bob", can_publish_sources=["camera"]) as bob,
        joined(server, room_name, "carol") as carol,
    ):
        events = Events(carol)
        await asyncio.gather(
            refused(alice, rtc.TrackSource.SOURCE_MICROPHONE),
            refused(bob, rtc.TrackSource.SOURCE_MICROPHONE),
        )
        assert "track_published" not in events.names()
        video = rtc.LocalVideoTrack.create_video_track("colour", rtc.VideoSource(320, 240))
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
        publication = await bob.local_participant.publish_track(video, options)
        found, _ = await events.wait("track_published")
        assert found.sid == publication.sid


async def test_hidden_participant_hears_and_is_not_seen(
    server: RunningServer, room_name: str
) -> None:
    async with joined(server, room_name, "alice") as alice:
        events = Events(alice)
        room = rtc.Room()
        heard = Events(room)
        async with (
            joined(server, room_name, "ghost", client=room, hidden=True),
            joined(server, room_name, "bob"),
            tone(alice, 440),
        ):
            track, _, _ = await heard.wait("track_subscribed")
            assert await hears(track, 440)
            await events.wait("participant_connected", lambda who: who.identity == "bob")
            assert set(alice.remote_participants) == {"bob"}
        await events.wait("participant_disconnected", lambda who: who.identity == "bob")
        assert events.names().count("participant_connected") == 1


async def test_mute_by_the_server_api(
    server: RunningServer, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        events, own = Events(bob), Events(alice)
        async with tone(alice, 440) as (track, publication):
            await events.wait("track_subscribed")
            answer = await admin.room.mute_published_track(
                api.MuteRoomTrackRequest(
                    room=room_name, identity="alice", track_sid=publication.sid, muted=True
                )
            )
            assert answer.track.sid == publication.sid
            await events.wait("track_muted")
            await own.wait("track_muted")
            await eventually("the track to be muted", lambda: track.muted)


async def test_subscriptions_by_the_server_api(
    server: RunningServer, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        events = Events(bob)

        async def subscribe(wanted: bool) -> None:
            await admin.room.update_subscriptions(
                api.UpdateSubscriptionsRequest(
                    room=room_name,
                    identity="bob",
                    track_sids=[publication.sid],
                    subscribe=wanted,
                )
            )

        async with tone(alice, 440) as (_, publication):
            track, _, _ = await events.wait("track_subscribed")
            assert await hears(track, 440)
            await subscribe(False)
            await falls_silent(track)
            events.forget()
            await subscribe(True)
            track, _, _ = await events.wait("track_subscribed")
            assert await hears(track, 440)


async def test_data_from_the_server_api_to_one_and_to_all(
    server: RunningServer, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        first, second = Events(alice), Events(bob)
        await admin.room.send_data(
            api.SendDataRequest(
                room=room_name, data=b"for bob", topic="t", destination_identities=["bob"]
            )
        )
        (packet,) = await second.wait("data_received")
        assert (bytes(packet.data), packet.topic, packet.participant) == (b"for bob", "t", None)
        await admin.room.send_data(api.SendDataRequest(room=room_name, data=b"for all"))
        for events in (first, second):
            await events.wait("data_received", lambda packet: bytes(packet.data) == b"for all")
        assert first.names().count("data_received") == 1


async def test_room_metadata_by_the_server_api(
    server: RunningServer, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with joined(server, room_name, "alice") as alice:
        events = Events(alice)
        await admin.room.update_room_metadata(
            api.UpdateRoomMetadataRequest(room=room_name, metadata="the topic")
        )
        await events.wait("room_metadata_changed", lambda _old, metadata: metadata == "the topic")
        assert alice.metadata == "the topic"


async def test_attributes_by_the_server_api(
    server: RunningServer, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        own, other = Events(alice), Events(bob)
        await admin.room.update_participant(
            api.UpdateParticipantRequest(
                room=room_name,
                identity="alice",
                name="Alice",
                metadata="m",
                attributes={"role": "host"},
            )
        )
        for events in (own, other):
            changed, who = await events.wait("participant_attributes_changed")
            assert (changed, who.identity) == ({"role": "host"}, "alice")
        seen = bob.remote_participants["alice"]
        assert (seen.name, seen.metadata, seen.attributes) == ("Alice", "m", {"role": "host"})


async def test_removed_by_the_server_api(
    server: RunningServer, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        own, other = Events(alice), Events(bob)
        await admin.room.remove_participant(
            api.RoomParticipantIdentity(room=room_name, identity="alice")
        )
        (reason,) = await own.wait("disconnected")
        assert reason == Reason.PARTICIPANT_REMOVED
        (who,) = await other.wait("participant_disconnected")
        assert who.identity == "alice"
        assert who.disconnect_reason == Reason.PARTICIPANT_REMOVED


async def test_room_deleted_by_the_server_api(
    server: RunningServer, room_name: str, admin: api.LiveKitAPI
) -> None:
    async with joined(server, room_name, "alice") as alice:
        events = Events(alice)
        await admin.room.delete_room(api.DeleteRoomRequest(room=room_name))
        (reason,) = await events.wait("disconnected")
        assert reason == Reason.ROOM_DELETED


async def test_same_identity_again_ends_the_first(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as first, joined(server, room_name, "bob") as bob:
        own, other = Events(first), Events(bob)
        async with joined(server, room_name, "alice") as second:
            (reason,) = await own.wait("disconnected")
            assert reason == Reason.DUPLICATE_IDENTITY
            await other.wait(
                "participant_connected", lambda who: who.sid == second.local_participant.sid
            )
            assert set(bob.remote_participants) == {"alice"}


async def test_leaving_says_that_the_client_wanted_it(
    server: RunningServer, room_name: str
) -> None:
    async with joined(server, room_name, "bob") as bob:
        events = Events(bob)
        async with joined(server, room_name, "alice"):
            await events.wait("participant_connected")
        (who,) = await events.wait("participant_disconnected")
        assert who.disconnect_reason == Reason.CLIENT_INITIATED


async def test_a_token_for_nothing_is_refused(server: RunningServer, room_name: str) -> None:
    token = (
        api.AccessToken(server.api_key, "not the secret")
        .with_identity("alice")
        .with_grants(api.VideoGrants(room_join=True, room=room_name))
        .to_jwt()
    )
    room = rtc.Room()
    with pytest.raises(rtc.ConnectError):
        await room.connect(server.url, token)
    with contextlib.suppress(Exception):
        await room.disconnect()


async def test_active_speaker_is_announced_and_falls_silent(
    server: RunningServer, room_name: str
) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        events = Events(bob)
        async with tone(alice, 440):
            (speakers,) = await events.wait("active_speakers_changed", lambda found: found)
            assert [who.identity for who in speakers] == ["alice"]
            events.forget()
        await events.wait("active_speakers_changed", lambda found: not found)
