"""Connection quality of a room's participants, from what the engine counted."""

from __future__ import annotations

import dataclasses

from livekit.protocol import models, rtc

from lkpy.engine.api import LayerStats, StatsCollected, TransportStats, WorkerStats
from tests.room_kit import World, camera, running

Quality = models.ConnectionQuality


def worker() -> WorkerStats:
    return WorkerStats(0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0.0)


def layer(receiver: int, packets: int, lost: int) -> LayerStats:
    return LayerStats(
        receiver=receiver, spatial=0, ssrc=1, rid="", live=True, packets=packets, bytes=0,
        packets_lost=lost, packets_recovered=0, duplicates=0, jitter_ms=0, bitrate_bps=0, frames=0,
        key_frames=0, nacks_sent=0, plis_sent=0,
    )  # fmt: skip


def video_layer(receiver: int, spatial: int, packets: int, *, live: bool) -> LayerStats:
    return dataclasses.replace(layer(receiver, packets, 0), spatial=spatial, live=live)


def transport(identifier: int, packets: int) -> TransportStats:
    return TransportStats(identifier, packets, 0, 0, 0, 0, -1, 0)


async def measure(
    world: World, *layers: LayerStats, transports: tuple[TransportStats, ...]
) -> None:
    await world.advance(5)
    world.room.measure([StatsCollected(1, worker(), transports, layers, ())])
    await world.advance(0)


async def test_the_worst_stream_is_told_to_those_who_receive_it() -> None:
    async with running() as world:
        alice, bob, carol = [
            await world.join(name, single=False, auto_subscribe=name != "carol")
            for name in ("alice", "bob", "carol")
        ]
        await alice.publish(camera(layers=[]))
        source = next(iter(alice.participant.publishing.tracks)).sources[0]
        publisher = alice.participant.transports.publisher.id

        await measure(
            world, layer(source.receiver, 500, 0), transports=(transport(publisher, 500),)
        )
        told = bob.all("connection_quality")[-1].updates
        assert {u.participant_sid: u.quality for u in told} == {
            bob.participant.sid: Quality.EXCELLENT,
            alice.participant.sid: Quality.EXCELLENT,
        }
        before = len(bob.all("connection_quality"))
        await measure(
            world, layer(source.receiver, 1000, 0), transports=(transport(publisher, 1000),)
        )
        assert len(bob.all("connection_quality")) == before, "nothing has changed"

        await measure(
            world, layer(source.receiver, 1500, 100), transports=(transport(publisher, 1500),)
        )
        told = {u.participant_sid: u for u in bob.all("connection_quality")[-1].updates}
        assert told[alice.participant.sid].quality == Quality.POOR
        assert told[alice.participant.sid].score < 2
        # Who receives nothing of her hears of itself only.
        told = {u.participant_sid for u in carol.all("connection_quality")[-1].updates}
        assert told == {carol.participant.sid}


async def test_a_publisher_of_whom_nothing_comes_is_lost_and_older_clients_hear_poor() -> None:
    async with running() as world:
        alice = await world.join("alice")
        bob = await world.join("bob", single=False)
        old = await world.join("old", client={"protocol": 10})
        assert old.participant.client.protocol == 10
        await alice.publish(camera(layers=[]))
        source = next(iter(alice.participant.publishing.tracks)).sources[0]
        publisher = alice.participant.transports.publisher.id
        for _ in range(2):
            await measure(
                world, layer(source.receiver, 500, 0), transports=(transport(publisher, 500),)
            )
        sid = alice.participant.sid
        told = {u.participant_sid: u.quality for u in bob.all("connection_quality")[-1].updates}
        assert told[sid] == Quality.LOST
        alice_told = alice.all("connection_quality")[-1].updates
        assert {u.quality for u in alice_told if u.participant_sid == sid} == {Quality.LOST}


async def test_a_publisher_that_does_not_send_a_layer_that_is_wanted_is_good_at_best() -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob", single=False)
        await alice.publish(camera())
        track = next(iter(alice.participant.publishing.tracks))
        source = track.sources[0]
        publisher = transport(alice.participant.transports.publisher.id, 1000)
        low = video_layer(source.receiver, 0, 0, live=True)
        high = video_layer(source.receiver, 1, 9, live=False)
        for packets in (500, 1000):
            low = dataclasses.replace(low, packets=packets)
            await measure(world, low, high, transports=(publisher,))
        told = {u.participant_sid: u for u in bob.all("connection_quality")[-1].updates}
        assert told[alice.participant.sid].quality == Quality.GOOD

        # Nobody wants it any more: what comes is all that should.
        settings = rtc.UpdateTrackSettings(track_sids=[track.sid], quality=models.VideoQuality.LOW)
        await bob.send(track_setting=settings)
        for packets in range(1500, 4500, 500):
            low = dataclasses.replace(low, packets=packets)
            await measure(world, low, transports=(publisher,))
        told = {u.participant_sid: u for u in bob.all("connection_quality")[-1].updates}
        assert told[alice.participant.sid].quality == Quality.EXCELLENT
