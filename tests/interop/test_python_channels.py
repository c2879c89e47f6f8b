"""The Python SDK 1.2.1, whose core is that of the Rust SDK 0.10: it says protocol 18, and has
agreed on the streams of its data channels when it has one peer connection. The server is in this
process, to see them."""

from __future__ import annotations

import asyncio

import pytest
from livekit import rtc

from lkpy.engine.api import DataChannelOpened
from lkpy.server.app import Server
from lkpy.server.media import EnginePlane
from lkpy.server.rtc.data_channels import DataChannels
from tests.control_plane import KEY, SECRET, MediaDouble, config_of, serving
from tests.interop.conftest import RunningServer
from tests.patience import PATIENCE_S

AGREED = {"_reliable": 100, "_lossy": 101, "_data_track": 102}


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
async def test_the_streams_of_its_channels(monkeypatch: pytest.MonkeyPatch, single: bool) -> None:
    opened: list[DataChannelOpened] = []
    note = DataChannels.opened

    def noting(self: DataChannels, event: DataChannelOpened) -> None:
        opened.append(event)
        note(self, event)

    monkeypatch.setattr(DataChannels, "opened", noting)
    config = config_of({"rtc": {"udp_port": 0, "tcp_port": 0}})
    async with serving(Server(config, EnginePlane(config)), MediaDouble()) as harness:
        server = RunningServer(harness.server.url, KEY, SECRET)
        alice, bob = rtc.Room(), rtc.Room()
        options = rtc.RoomOptions(single_peer_connection=single)
        said: asyncio.Queue[bytes] = asyncio.Queue()
        bob.on("data_received", lambda packet: said.put_nowait(bytes(packet.data)))
        try:
            for room, identity in ((bob, "bob"), (alice, "alice")):
                await room.connect(server.url, server.token("lobby", identity), options)
            # The first thing that alice does: nobody has published anything.
            await alice.local_participant.publish_data(b"hello", reliable=True)
            assert await asyncio.wait_for(said.get(), PATIENCE_S) == b"hello"
        finally:
            await alice.disconnect()
            await bob.disconnect()
    streams = {event.label: event.stream_id for event in opened}
    by_label = [(event.label, event.stream_id) for event in opened]
    if single:
        assert streams == AGREED
        assert len(by_label) == 2 * len(AGREED), "each once, for both"
    else:
        assert not {stream for _, stream in by_label} & set(AGREED.values())
    parameters = {event.label: (event.ordered, event.max_retransmits) for event in opened}
    assert parameters == {
        "_reliable": (True, None),
        "_lossy": (False, 0),
        "_data_track": (False, 0),
    }
