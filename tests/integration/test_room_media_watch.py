"""What the server says when the media of a participant does not flow."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
from livekit.protocol import rtc

from lkpy.engine.api import DownTrackStalled, PacketsDropped, ReceiverStalled
from lkpy.server.telemetry.events import TransportDropped
from lkpy.server.telemetry.exposition import render
from lkpy.server.telemetry.trouble_metrics import TroubleMetrics
from lkpy.stats.v1 import stats_pb2
from tests.room_kit import World, microphone, running


def said(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [record.lkpy_fields for record in caplog.records if record.message == message]


def metrics(world: World) -> list[str]:
    counts = TroubleMetrics()
    world.listen(counts)
    lines = render(counts.instruments(), {}).splitlines()
    return [line for line in lines if not line.startswith("#")]


async def test_dropped_packets_are_said_with_whose_they_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as world:
        alice = (await world.join("alice", single=False)).participant
        publisher = alice.transports.publisher.id
        with caplog.at_level(logging.WARNING):
            world.engine.inject(PacketsDropped(publisher, "no_receiver"))
            world.engine.inject(PacketsDropped(publisher, "srtp_invalid"))
            await world.settle()
        about = {"room": "lobby", "participant": "alice", "pID": alice.sid}
        assert said(caplog, "packets are dropped") == [
            about | {"transport": "publisher", "cause": "no_receiver"},
            about | {"transport": "publisher", "cause": "srtp_invalid"},
        ]
        told = [event for event in world.told if isinstance(event, TransportDropped)]
        assert [event.reason for event in told] == ["no_receiver", "srtp_invalid"]
        assert told[0].target == rtc.SignalTarget.PUBLISHER
        counted = 'lkpy_dropping_transports_total{reason="no_receiver",transport="publisher"} 1'
        assert counted in metrics(world)


async def test_dropped_packets_are_in_the_statistics() -> None:
    async with running() as world:
        await world.join("alice")
        collected = asyncio.ensure_future(world.hub.collect_stats())
        await world.settle()
        (stats,) = await collected
        dropped = tuple(replace(t, drops_by_reason={"srtp_replay": 3}) for t in stats.transports)
        [person] = world.room.snapshot([replace(stats, transports=dropped)]).participants
        assert dict(person.transports[0].drops_by_reason) == {"srtp_replay": 3}


async def snapshot(world: World) -> stats_pb2.Room:
    collected = asyncio.ensure_future(world.hub.collect_stats())
    await world.settle()
    return world.room.snapshot(await collected)


async def test_a_published_track_that_stops_is_said_until_it_flows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as world:
        client = await world.join("alice")
        await client.publish(microphone())
        alice = client.participant
        (track,) = alice.publishing.tracks
        receiver = track.sources[0].receiver
        with caplog.at_level(logging.INFO):
            world.engine.inject(ReceiverStalled(receiver, True, "dropped_srtp_invalid", 5_000))
            await world.advance(2)
            about = {"room": "lobby", "participant": "alice", "pID": alice.sid, "track": track.sid}
            media = {"kind": "audio", "direction": "incoming"}
            assert said(caplog, "media is stalled") == [
                about | media | {"cause": "dropped_srtp_invalid", "elapsed_ms": 5_000}
            ]
            [person] = (await snapshot(world)).participants
            [published] = person.published
            assert (published.stalled_s, published.stall_cause) == (7.0, "dropped_srtp_invalid")
            world.engine.inject(ReceiverStalled(receiver, False, "", 7_500))
            await world.settle()
            assert said(caplog, "media is not stalled any more") == [
                about | media | {"elapsed_ms": 7_500}
            ]
        [person] = (await snapshot(world)).participants
        assert (person.published[0].stalled_s, person.published[0].stall_cause) == (0, "")
        counted = 'lkpy_media_stalls_total{cause="dropped_srtp_invalid",direction="incoming"} 1'
        assert counted in metrics(world)


async def test_a_down_track_that_sends_nothing_is_said_with_whose_track_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as world:
        alice, bob = await world.join("alice"), await world.join("bob", single=False)
        await alice.publish(microphone())
        await world.advance(1)
        (subscribed,) = bob.participant.subscribing.tracks
        transport = bob.participant.transports.sending.id
        stalled = DownTrackStalled(
            transport, subscribed.handle.id, True, "waiting_for_key_frame", 5_500
        )
        with caplog.at_level(logging.WARNING):
            world.engine.inject(stalled)
            await world.settle()
        [line] = said(caplog, "media is stalled")
        assert (line["participant"], line["publisher"], line["track"]) == (
            "bob",
            "alice",
            subscribed.sid,
        )
        assert (line["direction"], line["cause"]) == ("outgoing", "waiting_for_key_frame")
        room = await snapshot(world)
        [down] = room.participants[1].subscribed
        assert (down.stalled_s, down.stall_cause) == (5.5, "waiting_for_key_frame")
        # Whatever is closed meanwhile is forgotten, and unknown objects are nobody's.
        await bob.send(subscription={"track_sids": [subscribed.sid], "subscribe": False})
        world.engine.inject(replace(stalled, down_track=999_999))
        await world.settle()
        assert bob.participant.media_watch.stall([subscribed.handle.id]) == (0.0, "")
