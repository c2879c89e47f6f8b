"""What a subscriber gets when its connection carries less than it wants."""

from __future__ import annotations

import pytest
from aiortc.mediastreams import VideoStreamTrack
from livekit.protocol import rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, until

both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])
ACTIVE, PAUSED = rtc.StreamState.ACTIVE, rtc.StreamState.PAUSED


def states(subscriber: media.Participant) -> list[tuple[str, str, int]]:
    """Participant sid, track sid and state of each change that the subscriber was told."""
    return [
        (state.participant_sid, state.track_sid, state.state)
        for response in subscriber.signal.log
        if response.WhichOneof("message") == "stream_state_update"
        for state in response.stream_state_update.stream_states
    ]


async def capacity(subscriber: media.Participant, bps: int) -> None:
    """Have the server believe that the subscriber can receive no more; 0: what it can."""
    await subscriber.signal.send(simulate=rtc.SimulateScenario(subscriber_bandwidth=bps))


async def call(
    lobby: Lobby, *, single: bool, allow_pause: bool
) -> tuple[media.Participant, tuple[str, str]]:
    """A subscriber and the publisher and the video track that it has received for a while."""
    publisher = await media.join(lobby, "p", single=single)
    subscriber = await media.join(
        lobby, "s", single=single, settings={"subscriber_allow_pause": allow_pause}
    )
    track, _ = await publisher.publish(VideoStreamTrack(), kind="video", width=640, height=480)
    # LiveKit measures bitrates once a second.
    await subscriber.receives(track.sid, 40)
    return subscriber, (publisher.sid, track.sid)


@pytest.mark.row(64, 71)
@both
async def test_a_track_for_which_there_is_no_room_is_paused(lobby: Lobby, single: bool) -> None:
    if single and not lobby.target.ours:
        pytest.skip("LiveKit pauses on a single connection and does not say so")
    subscriber, entry = await call(lobby, single=single, allow_pause=True)
    assert states(subscriber) == [(*entry, ACTIVE)]
    await capacity(subscriber, 1_000)
    await until(lambda: states(subscriber)[-1] == (*entry, PAUSED), "pause")
    await media.quiet(lobby, subscriber, entry[1])
    await capacity(subscriber, 0)
    await until(lambda: states(subscriber)[-1] == (*entry, ACTIVE), "resumption")
    await subscriber.receives(entry[1])
    assert states(subscriber) == [(*entry, ACTIVE), (*entry, PAUSED), (*entry, ACTIVE)]


@pytest.mark.row(64)
async def test_a_client_that_does_not_allow_it_is_sent_the_lowest_layer(lobby: Lobby) -> None:
    subscriber, entry = await call(lobby, single=False, allow_pause=False)
    await capacity(subscriber, 1_000)
    await subscriber.receives(entry[1], 20)
    assert states(subscriber) == [(*entry, ACTIVE)]
