"""Video for which a subscriber has no room: what the engine is told, and the client."""

from __future__ import annotations

import pytest
from livekit.protocol import rtc

from lkpy.engine.api import SetCongestionControl, StreamStatesChanged
from lkpy.server.rtc.options import RoomOptions
from tests.room_kit import Client, camera, running

ACTIVE, PAUSED = rtc.StreamState.ACTIVE, rtc.StreamState.PAUSED
both = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


async def simulate(client: Client, bps: int) -> None:
    await client.send(simulate=rtc.SimulateScenario(subscriber_bandwidth=bps))


def states(client: Client) -> list[tuple[str, int]]:
    """Track sid and state of each change that the client was told."""
    updates = client.all("stream_state_update")
    return [(state.track_sid, state.state) for u in updates for state in u.stream_states]


@both
async def test_changes_of_down_tracks_are_told_by_their_tracks(single: bool) -> None:
    async with running() as world:
        alice, bob = [await world.join(name, single=single) for name in ("alice", "bob")]
        await alice.publish(camera())
        (subscribed,) = bob.participant.subscribing.tracks
        sending = bob.participant.transports.sending.id
        for paused, state in ((True, PAUSED), (False, ACTIVE)):
            event = StreamStatesChanged(
                sending, ((subscribed.handle.id, paused), (999_999, paused))
            )
            world.engine.inject(event)
            await world.advance(0)
            assert states(bob)[-1] == (subscribed.sid, state)
        (told, _) = bob.all("stream_state_update")
        assert [s.participant_sid for s in told.stream_states] == [alice.participant.sid]
        assert states(alice) == []


async def test_changes_of_tracks_that_are_gone_are_not_told() -> None:
    async with running() as world:
        bob = await world.join("bob")
        sending = bob.participant.transports.sending.id
        world.engine.inject(StreamStatesChanged(sending, ((999_999, True),)))
        await world.advance(0)
        assert states(bob) == []


@both
@pytest.mark.parametrize(
    ("configured", "asked", "allowed"),
    [
        (False, None, False),
        (True, None, True),
        (True, False, False),
        (False, True, True),
    ],
)
async def test_clients_say_whether_tracks_may_be_paused(
    single: bool, configured: bool, asked: bool | None, allowed: bool
) -> None:
    async with running(options=RoomOptions(allow_pause=configured)) as world:
        bob = await world.join("bob", single=single, subscriber_allow_pause=asked)
        sending = bob.participant.transports.sending.id
        told = world.engine.of(SetCongestionControl)
        assert told == ([SetCongestionControl(sending, allow_pause=True)] if allowed else [])


async def test_a_simulated_bandwidth_is_the_engines_until_it_is_taken_away() -> None:
    async with running() as world:
        bob = await world.join("bob", subscriber_allow_pause=True)
        world.engine.forget()
        for bps in (1_000, 0, -1):
            await simulate(bob, bps)
        sending = bob.participant.transports.sending.id
        assert world.engine.of(SetCongestionControl) == [
            SetCongestionControl(sending, allow_pause=True, capacity_bps=capacity)
            for capacity in (1_000, None, None)
        ]


async def test_a_client_without_a_connection_simulates_nothing() -> None:
    async with running() as world:
        bob = await world.join("bob", publisher_offer=None)
        await simulate(bob, 1_000)
        assert world.engine.of(SetCongestionControl) == []
        assert not bob.left
