"""Subscribing with the Python SDK: choosing, leaving, coming back, and being refused."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from livekit import rtc

from tests.patience import PATIENCE_S

from .conftest import RunningServer
from .sdk_kit import Events, average_colour, colour, eventually, falls_silent, hears, joined, tone

KEY = b"a key that both know"


def encrypted(key: bytes) -> rtc.RoomOptions:
    options = rtc.KeyProviderOptions(shared_key=key)
    return rtc.RoomOptions(encryption=rtc.E2EEOptions(key_provider_options=options))


async def test_unsubscribe_and_subscribe_again(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        events = Events(bob)

        @alice.local_participant.register_rpc_method("echo")
        async def _echo(call: rtc.RpcInvocationData) -> str:
            return call.payload

        async with tone(alice, 440):
            track, publication, _ = await events.wait("track_subscribed")
            assert await hears(track, 440)
            for _ in range(2):
                events.forget()
                publication.set_subscribed(False)
                await events.wait("track_unsubscribed")
                assert not publication.subscribed
                # The SDK loses a track that is asked for again in the moment of this event, on
                # livekit-server too; a way there and back is later.
                echo = await bob.local_participant.perform_rpc(
                    destination_identity="alice", method="echo", payload="x"
                )
                assert echo == "x"
                publication.set_subscribed(True)
                track, publication, _ = await events.wait("track_subscribed")
                assert await hears(track, 440)


async def test_nothing_is_subscribed_unless_asked_for(
    server: RunningServer, room_name: str
) -> None:
    manual = rtc.RoomOptions(auto_subscribe=False)
    async with (
        joined(server, room_name, "alice") as alice,
        joined(server, room_name, "bob", manual) as bob,
    ):
        events = Events(bob)
        async with tone(alice, 440), colour(alice, 200, 40, 40):
            audio, _ = await events.wait(
                "track_published", lambda found, _: found.kind == rtc.TrackKind.KIND_AUDIO
            )
            await events.wait(
                "track_published", lambda found, _: found.kind == rtc.TrackKind.KIND_VIDEO
            )
            audio.set_subscribed(True)
            track, _, _ = await events.wait("track_subscribed")
            assert await hears(track, 440)
            assert events.names().count("track_subscribed") == 1


@pytest.mark.parametrize("single", [True, False], ids=["single-pc", "dual-pc"])
async def test_late_joiner_sees_everything_there_is(
    server: RunningServer, room_name: str, single: bool
) -> None:
    """Three publish; who comes last gets every track, with the state it has by then."""
    options = rtc.RoomOptions(single_peer_connection=single)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(3):
            publisher = await stack.enter_async_context(
                joined(server, room_name, f"publisher-{number}", options)
            )
            track, _ = await stack.enter_async_context(tone(publisher, 400 + 200 * number))
            await stack.enter_async_context(colour(publisher, 30, 30, 200))
            if number == 0:
                track.mute()
        room = rtc.Room()
        events = Events(room)
        late = await stack.enter_async_context(
            joined(server, room_name, "late", options, client=room)
        )
        assert set(late.remote_participants) == {f"publisher-{number}" for number in range(3)}
        await eventually(
            "six tracks", lambda: events.names().count("track_subscribed") == 6, seconds=15
        )
        for number in range(3):
            publications = late.remote_participants[f"publisher-{number}"].track_publications
            by_kind = {publication.kind: publication for publication in publications.values()}
            audio = by_kind[rtc.TrackKind.KIND_AUDIO]
            assert audio.muted == (number == 0)
            if number:
                assert audio.track
                assert await hears(audio.track, 400 + 200 * number)
            video = by_kind[rtc.TrackKind.KIND_VIDEO]
            assert video.track
            _, _, blue = await asyncio.wait_for(average_colour(video.track), PATIENCE_S)
            assert blue > 150


async def test_track_permission_given_and_taken_by_the_publisher(
    server: RunningServer, room_name: str
) -> None:
    async with (
        joined(server, room_name, "alice") as alice,
        joined(server, room_name, "bob") as bob,
        joined(server, room_name, "carol") as carol,
    ):
        allowed, refused = Events(bob), Events(carol)
        alice.local_participant.set_track_subscription_permissions(
            allow_all_participants=False,
            participant_permissions=[
                rtc.ParticipantTrackPermission(participant_identity="bob", allow_all=True)
            ],
        )
        async with tone(alice, 440):
            track, _, _ = await allowed.wait("track_subscribed")
            assert await hears(track, 440)
            await refused.wait("track_published")
            assert "track_subscribed" not in refused.names()

            alice.local_participant.set_track_subscription_permissions(allow_all_participants=True)
            track, _, _ = await refused.wait("track_subscribed")
            assert await hears(track, 440)

            alice.local_participant.set_track_subscription_permissions(allow_all_participants=False)
            for events in (allowed, refused):
                (track, *_), *_ = events.all("track_subscribed")
                await falls_silent(track)


async def test_encrypted_media_is_heard_and_seen_with_the_key(
    server: RunningServer, room_name: str
) -> None:
    async with (
        joined(server, room_name, "alice", encrypted(KEY)) as alice,
        joined(server, room_name, "bob", encrypted(KEY)) as bob,
    ):
        events = Events(bob)
        async with tone(alice, 440), colour(alice, 40, 200, 40):
            heard, publication, _ = await events.wait(
                "track_subscribed", lambda track, *_: track.kind == rtc.TrackKind.KIND_AUDIO
            )
            assert publication.encryption_type == rtc.EncryptionType.GCM
            assert await hears(heard, 440)
            seen, _, _ = await events.wait(
                "track_subscribed", lambda track, *_: track.kind == rtc.TrackKind.KIND_VIDEO
            )
            _, green, _ = await asyncio.wait_for(average_colour(seen), PATIENCE_S)
            assert green > 150


async def test_encrypted_media_is_nothing_without_the_key(
    server: RunningServer, room_name: str
) -> None:
    async with (
        joined(server, room_name, "alice", encrypted(KEY)) as alice,
        joined(server, room_name, "bob", encrypted(b"another key")) as bob,
    ):
        events = Events(bob)
        async with tone(alice, 440):
            track, _, _ = await events.wait("track_subscribed")
            assert not await hears(track, 440, seconds=2)
