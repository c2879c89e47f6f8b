"""Connection quality of a room's participants, from what the engine counted."""

from __future__ import annotations

from livekit.protocol import models

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
            await world.join(name, auto_subscribe=name != "carol")
            for name in ("alice", "bob", "carol")
        ]
        await alice.publish(camera())
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
        bob = await world.join("bob")
        old = await world.join("old", client={"protocol": 10})
        assert old.participant.client.protocol == 10
        await alice.publish(camera())
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
