"""What rooms are created with and nobody is told: it shows in what subscribers are offered."""

from __future__ import annotations

import re

import pytest
from livekit.protocol import egress, room

from tests.conformance import media
from tests.conformance.api_kit import create
from tests.conformance.kit import Lobby, until


async def offered_streams(lobby: Lobby, **subscriber: object) -> tuple[str, set[tuple[str, str]]]:
    """Alice's sid, and stream and track of what bob is offered of her: camera and microphone."""
    alice = await media.join(lobby, "alice", single=True)
    audio, _ = await alice.publish()
    video, _ = await alice.publish(kind="video")
    bob = await media.join(lobby, "bob", single=False, **subscriber)

    def found() -> set[tuple[str, str]]:
        sdps = [offer.sdp for offer in bob.signal.all("offer")]
        return set(re.findall(r"(?m)^a=msid:(\S+) (\S+?)\r?$", sdps[-1])) if sdps else set()

    await until(lambda: {track for _, track in found()} == {audio.sid, video.sid}, "an offer")
    return alice.sid, found()


@pytest.mark.row(128)
async def test_tracks_that_belong_together_are_one_stream(lobby: Lobby) -> None:
    await create(lobby, sync_streams=True)
    sid, found = await offered_streams(lobby)
    assert {stream for stream, _ in found} == {f"{sid}|camera"}


@pytest.mark.row(128)
async def test_each_track_is_a_stream_unless_they_are_synced(lobby: Lobby) -> None:
    sid, found = await offered_streams(lobby)
    assert all(stream == f"{sid}|{track}" for stream, track in found)


@pytest.mark.row(128)
async def test_who_knows_no_synced_streams_gets_them_apart(lobby: Lobby) -> None:
    await create(lobby, sync_streams=True)
    sid, found = await offered_streams(lobby, protocol=9)
    assert all(stream == f"{sid}|{track}" for stream, track in found)


@pytest.mark.row(91, 105)
async def test_a_room_whose_tracks_shall_be_recorded_works_without_a_recorder(lobby: Lobby) -> None:
    tracks = egress.AutoTrackEgress(filepath="recordings")
    participant = egress.AutoParticipantEgress()
    recorded = room.RoomEgress(tracks=tracks, participant=participant)
    created = await create(lobby, egress=recorded)
    assert not created.active_recording
    alice = await media.join(lobby, "alice", single=True)
    bob = await media.join(lobby, "bob", single=True)
    track, _ = await alice.publish()
    await bob.receives(track.sid)
    assert not bob.joined.room.active_recording
