"""What the Python SDK does when its connections break: the call goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from livekit import rtc

from .conftest import RunningServer
from .sdk_kit import Events, eventually, hears, joined, tone
from .tcp_proxy import TcpProxy, tcp_proxy

Scenario = rtc.SimulateScenarioKind


@contextlib.asynccontextmanager
async def call_through_proxy(
    server: RunningServer, room_name: str
) -> AsyncIterator[tuple[rtc.Room, rtc.Room, TcpProxy]]:
    """Alice, whose signal connection passes a proxy, and bob, who is connected directly."""
    async with (
        tcp_proxy(server.url) as (proxy, url),
        joined(server, room_name, "bob") as bob,
        joined(server, room_name, "alice", url=url) as alice,
    ):
        await eventually("alice to be seen", lambda: "alice" in bob.remote_participants)
        yield alice, bob, proxy


async def test_signal_connection_cut(server: RunningServer, room_name: str) -> None:
    """A resume: media goes on, nobody leaves, and tracks keep their ids."""
    async with call_through_proxy(server, room_name) as (alice, bob, proxy):
        own, other = Events(alice), Events(bob)
        async with tone(alice, 440) as (_, publication), tone(bob, 880):
            heard, _, _ = await other.wait("track_subscribed")
            mine, _, _ = await own.wait("track_subscribed")
            sid = publication.sid
            assert proxy.cut() >= 1
            await own.wait("reconnecting")
            await own.wait("reconnected")
            assert await hears(heard, 440)
            assert await hears(mine, 880)
            assert publication.sid == sid
        for gone in ("participant_disconnected", "track_unpublished", "track_unsubscribed"):
            assert gone not in other.names()
            assert gone not in own.names()
        assert "local_track_republished" not in own.names()


async def test_signal_connection_away_for_three_seconds(
    server: RunningServer, room_name: str
) -> None:
    """Media goes on without a signal connection; the SDK comes back, anew if need be."""
    async with call_through_proxy(server, room_name) as (alice, bob, proxy):
        own, other = Events(alice), Events(bob)
        async with tone(alice, 440), tone(bob, 880):
            heard, _, _ = await other.wait("track_subscribed")
            await own.wait("track_subscribed")
            proxy.open = False
            assert proxy.cut() >= 1
            await own.wait("reconnecting")
            assert await hears(heard, 440)
            await asyncio.sleep(3)
            proxy.open = True
            await own.wait("reconnected")
            assert await still_hears(bob, "alice", 440)
            assert await still_hears(alice, "bob", 880)


async def test_what_changes_during_a_cut_is_seen_after_it(
    server: RunningServer, room_name: str
) -> None:
    async with call_through_proxy(server, room_name) as (alice, bob, proxy):
        own = Events(alice)
        async with tone(bob, 880) as (track, _):
            await own.wait("track_subscribed")
            proxy.open = False
            proxy.cut()
            await own.wait("reconnecting")
            track.mute()
            async with joined(server, room_name, "carol") as carol, tone(carol, 440):
                proxy.open = True
                await own.wait("reconnected")
                await own.wait("participant_connected", lambda who: who.identity == "carol")
                assert await still_hears(alice, "carol", 440)
                await eventually("bob to be muted", lambda: muted(alice, "bob"))
            await own.wait("participant_disconnected", lambda who: who.identity == "carol")


async def test_reliable_data_survives_a_cut(server: RunningServer, room_name: str) -> None:
    """Packets sent before, during and after the cut arrive once each, in order."""
    async with call_through_proxy(server, room_name) as (alice, bob, proxy):
        own, other = Events(alice), Events(bob)
        sent = 0

        async def send(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                await alice.local_participant.publish_data(str(sent))
                sent += 1

        await send(20)
        proxy.cut()
        await send(20)
        await own.wait("reconnected")
        await send(20)
        await eventually("every packet", lambda: len(other.all("data_received")) >= sent)
        numbers = [int(bytes(packet.data)) for (packet,) in other.all("data_received")]
        assert numbers == list(range(sent))


async def test_a_change_of_attributes_after_a_cut(server: RunningServer, room_name: str) -> None:
    async with (
        tcp_proxy(server.url) as (proxy, url),
        joined(server, room_name, "bob") as bob,
        joined(server, room_name, "alice", url=url, can_update_own_metadata=True) as alice,
    ):
        own, other = Events(alice), Events(bob)
        await other.wait("participant_connected")
        proxy.cut()
        await own.wait("reconnecting")
        await own.wait("reconnected")
        await alice.local_participant.set_attributes({"hand": "up"})
        changed, _ = await other.wait("participant_attributes_changed")
        assert changed == {"hand": "up"}


SCENARIOS = {
    "signal-reconnect": Scenario.SIMULATE_SIGNAL_RECONNECT,
    "disconnect-signal-on-resume": Scenario.SIMULATE_DISCONNECT_SIGNAL_ON_RESUME,
    "full-reconnect": Scenario.SIMULATE_FULL_RECONNECT,
    "node-failure": Scenario.SIMULATE_NODE_FAILURE,
    "migration": Scenario.SIMULATE_MIGRATION,
    "force-tcp": Scenario.SIMULATE_FORCE_TCP,
}


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("single", [True, False], ids=["single-pc", "dual-pc"])
async def test_simulated_scenario(
    server: RunningServer, room_name: str, name: str, single: bool
) -> None:
    """Whatever the scenario breaks, both hear each other again, and data passes."""
    options = rtc.RoomOptions(single_peer_connection=single)
    async with (
        joined(server, room_name, "alice", options) as alice,
        joined(server, room_name, "bob", options) as bob,
    ):
        own, other = Events(alice), Events(bob)
        async with tone(alice, 440), tone(bob, 880):
            await own.wait("track_subscribed")
            await other.wait("track_subscribed")
            await alice.simulate_scenario(SCENARIOS[name])
            await own.wait("reconnected")
            assert await still_hears(bob, "alice", 440)
            assert await still_hears(alice, "bob", 880)
            await bob.local_participant.publish_data(b"still there?")
            await own.wait("data_received")
        if name == "signal-reconnect":
            assert "participant_disconnected" not in other.names()


def publication_of(room: rtc.Room, identity: str) -> rtc.RemoteTrackPublication | None:
    who = room.remote_participants.get(identity)
    return next(iter(who.track_publications.values()), None) if who else None


def muted(room: rtc.Room, identity: str) -> bool:
    publication = publication_of(room, identity)
    return publication is not None and publication.muted


async def still_hears(room: rtc.Room, identity: str, frequency: float) -> bool:
    """Wait for ``frequency`` on whatever track ``identity`` has by then."""

    async def heard() -> bool:
        publication = publication_of(room, identity)
        if publication is None or publication.track is None:
            return False
        return await hears(publication.track, frequency, seconds=2)

    return bool(await eventually(f"{room.name} to hear {identity}", heard))


async def test_server_leave_ends_the_call(server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice, joined(server, room_name, "bob") as bob:
        own, other = Events(alice), Events(bob)
        await alice.simulate_scenario(Scenario.SIMULATE_SERVER_LEAVE)
        (reason,) = await own.wait("disconnected")
        assert reason == rtc.DisconnectReason.SERVER_SHUTDOWN
        await other.wait("participant_disconnected")
        assert not alice.isconnected()


async def test_speaker_scenario_announces_the_speaker(
    server: RunningServer, room_name: str
) -> None:
    async with joined(server, room_name, "alice") as alice:
        events = Events(alice)
        await alice.simulate_scenario(Scenario.SIMULATE_SPEAKER)
        (speakers,) = await events.wait("active_speakers_changed", lambda found: found)
        assert [who.identity for who in speakers] == ["alice"]


async def test_token_is_refreshed_and_lets_in(server: RunningServer, room_name: str) -> None:
    """The token that the server hands out on joining is good for joining."""
    room = rtc.Room()
    events = Events(room)
    async with joined(server, room_name, "alice", client=room):
        await events.wait("token_refreshed")
        token = room._token
    assert token
    again = rtc.Room()
    await again.connect(server.url, token)
    assert again.local_participant.identity == "alice"
    await again.disconnect()
