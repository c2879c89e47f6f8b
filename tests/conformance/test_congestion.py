"""What a subscriber gets when its connection carries less than it wants."""

from __future__ import annotations

import asyncio

import pytest
from aiortc.mediastreams import VideoStreamTrack
from livekit.protocol import rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, until

both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])
ACTIVE, PAUSED = rtc.StreamState.ACTIVE, rtc.StreamState.PAUSED

States = list[tuple[str, str, int]]


def states(subscriber: media.Participant) -> States:
    """Participant sid, track sid and state of each change that the subscriber was told."""
    return [
        (state.participant_sid, state.track_sid, state.state)
        for response in subscriber.signal.log
        if response.WhichOneof("message") == "stream_state_update"
        for state in response.stream_state_update.stream_states
    ]


async def capacity(subscriber: media.Participant, bps: int) -> None:
    """Have the server believe that the subscriber's connection carries no more; 0: what it does."""
    await subscriber.signal.send(simulate=rtc.SimulateScenario(subscriber_bandwidth=bps))


@pytest.mark.row(64, 71)
@both
async def test_a_track_for_which_there_is_no_room_is_paused(lobby: Lobby, single: bool) -> None:
    publisher = await media.join(lobby, "p", single=single)
    subscriber = await media.join(
        lobby, "s", single=single, settings={"subscriber_allow_pause": True}
    )
    track, _ = await publisher.publish(VideoStreamTrack(), kind="video", width=640, height=480)
    await subscriber.receives(track.sid, 40)
    entry = (publisher.sid, track.sid)
    print(states(subscriber))
    await capacity(subscriber, 1_000)
    await until(lambda: states(subscriber)[-1:] == [(*entry, PAUSED)], "pause")
    print(states(subscriber))
    await asyncio.sleep(0.3)
    before = subscriber.frames[track.sid]
    await asyncio.sleep(0.7)
    assert subscriber.frames[track.sid] == before
    await capacity(subscriber, 0)
    await until(lambda: states(subscriber)[-1] == (*entry, ACTIVE), "resumption")
    await subscriber.receives(track.sid)
    print(states(subscriber))
    assert states(subscriber) == [(*entry, ACTIVE), (*entry, PAUSED), (*entry, ACTIVE)]
