"""Video for which a subscriber has no room: what the engine is told, and the client."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from livekit.protocol import rtc

from lkpy.engine.api import (
    SetCongestionControl,
    StatsCollected,
    StreamStatesChanged,
)
from lkpy.server.rtc.options import RoomOptions
from tests.room_kit import Client, World, camera, microphone, running

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


async def collect(world: World) -> StatsCollected:
    collected = asyncio.ensure_future(world.hub.collect_stats())
    await world.settle()
    (stats,) = await collected
    return stats


async def test_a_snapshot_tells_what_there_is_room_for() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob", single=False)
        await alice.publish(camera(), microphone())
        await world.advance(1)
        sending = bob.participant.transports.sending.id
        stats = await collect(world)
        stats = replace(
            stats,
            transports=tuple(
                replace(t, estimate_bps=64e3, capacity_bps=6e4) if t.transport == sending else t
                for t in stats.transports
            ),
            down_tracks=tuple(
                replace(d, allowed_spatial=0, allowed_temporal=1, deficient=True)
                for d in stats.down_tracks
            ),
        )
        publisher, subscriber = (await world.room.snapshot([stats])).participants
        assert {(t.estimate_bps, t.capacity_bps) for t in publisher.transports} == {(-1, -1)}
        assert [(t.estimate_bps, t.capacity_bps) for t in subscriber.transports] == [
            (-1, -1),
            (64e3, 6e4),
        ]
        audio, video = sorted(subscriber.subscribed, key=lambda down: down.kind)
        assert (video.wanted_spatial, video.wanted_temporal) == (1, 3)
        assert (video.allowed_spatial, video.allowed_temporal) == (0, 1)
        assert (video.deficient, video.paused) == (True, False)
        assert (audio.wanted_spatial, audio.allowed_spatial) == (-1, -1)


@pytest.mark.parametrize(("muted", "wanted"), [(False, 0), (True, -1)])
async def test_a_snapshot_tells_a_pause_from_a_mute(muted: bool, wanted: int) -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob", single=False)
        (info,) = await alice.publish(camera())
        settings = rtc.UpdateTrackSettings(track_sids=[info.sid], disabled=muted)
        await bob.send(track_setting=settings)
        await world.advance(1)
        stats = await collect(world)
        # Of a muted track nothing is missing.
        paused = [replace(d, deficient=not muted) for d in stats.down_tracks]
        changed = [replace(stats, down_tracks=tuple(paused))]
        _, subscriber = (await world.room.snapshot(changed)).participants
        (down,) = subscriber.subscribed
        assert (down.muted, down.paused, down.deficient) == (muted, not muted, not muted)
        assert (down.wanted_spatial, down.allowed_spatial) == (wanted, -1)
