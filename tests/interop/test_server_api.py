"""The server API through the official client (PyPI ``livekit-api``), on a participant that is the
official SDK: what a server decides arrives as the SDK's events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from livekit import api, rtc

from tests.patience import PATIENCE_S

from .conftest import RunningServer
from .sdk_kit import joined


@pytest_asyncio.fixture
async def livekit(server: RunningServer) -> AsyncIterator[api.LiveKitAPI]:
    async with api.LiveKitAPI(server.url, server.api_key, server.api_secret) as client:
        yield client


async def test_changes_arrive_as_events(
    server: RunningServer, livekit: api.LiveKitAPI, room_name: str
) -> None:
    events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def next_event(name: str) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                got, value = await events.get()
                if got == name:
                    return value

    async with joined(server, room_name, "alice") as alice:
        alice.on("participant_name_changed", lambda who, *_: events.put_nowait(("name", who.name)))
        alice.on(
            "participant_metadata_changed",
            lambda who, *_: events.put_nowait(("metadata", who.metadata)),
        )
        alice.on(
            "participant_attributes_changed",
            lambda changed, _: events.put_nowait(("attributes", dict(changed))),
        )
        alice.on("room_metadata_changed", lambda _, metadata: events.put_nowait(("room", metadata)))
        alice.on("disconnected", lambda reason: events.put_nowait(("disconnected", reason)))
        await livekit.room.update_participant(
            api.UpdateParticipantRequest(
                room=room_name,
                identity="alice",
                name="Alice",
                metadata="about alice",
                attributes={"mood": "good"},
            )
        )
        assert await next_event("name") == "Alice"
        assert await next_event("metadata") == "about alice"
        assert await next_event("attributes") == {"mood": "good"}
        await livekit.room.update_room_metadata(
            api.UpdateRoomMetadataRequest(room=room_name, metadata="about the room")
        )
        assert await next_event("room") == "about the room"
        await livekit.room.remove_participant(
            api.RoomParticipantIdentity(room=room_name, identity="alice")
        )
        reason = await next_event("disconnected")
        assert reason == rtc.DisconnectReason.PARTICIPANT_REMOVED


async def test_a_track_that_may_not_be_published_any_more(
    server: RunningServer, livekit: api.LiveKitAPI, room_name: str
) -> None:
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        bob.on("track_unpublished", lambda track, _: gone.set_result(track.sid))
        source = rtc.AudioSource(48_000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("voice", source)
        published = await alice.local_participant.publish_track(track)
        async with asyncio.timeout(PATIENCE_S):
            while not bob.remote_participants["alice"].track_publications:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        info = await livekit.room.update_participant(
            api.UpdateParticipantRequest(
                room=room_name,
                identity="alice",
                permission=api.ParticipantPermission(can_subscribe=True),
            )
        )
        assert not info.tracks
        assert await asyncio.wait_for(gone, PATIENCE_S) == published.sid


async def perform(livekit: api.LiveKitAPI, room: str, method: str, payload: str) -> str:
    request = api.PerformRpcRequest(
        room=room, destination_identity="alice", method=method, payload=payload
    )
    answer: api.PerformRpcResponse = await livekit.room._client.request(
        "RoomService",
        "PerformRpc",
        request,
        livekit.room._auth_header(api.VideoGrants(room_admin=True, room=room)),
        api.PerformRpcResponse,
    )
    return answer.payload


async def test_rpc_from_the_server(
    server: RunningServer, livekit: api.LiveKitAPI, room_name: str
) -> None:
    async with joined(server, room_name, "alice") as alice:

        @alice.local_participant.register_rpc_method("double")
        async def double(call: rtc.RpcInvocationData) -> str:
            match call.payload:
                case "fail":
                    raise rtc.RpcError(777, "custom", "details")
                case "large":
                    return "x" * 20_000
                case payload:
                    return payload * 2

        # livekit-server makes no call before the data channel is open.
        await alice.local_participant.publish_data(b"open?", reliable=True)
        assert await perform(livekit, room_name, "double", "ab") == "abab"
        for method, payload, message in (
            ("double", "fail", "RpcError 777: custom: details"),
            ("double", "large", "RpcError 1504: Response payload too large"),
            ("nothing", "", "RpcError 1400: Method not supported at destination"),
        ):
            with pytest.raises(api.TwirpError) as failed:
                await perform(livekit, room_name, method, payload)
            assert failed.value.message.endswith(message)
