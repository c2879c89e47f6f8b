"""What clients of each signal protocol version are offered (LiveKit ``protocol_version.go``)."""

from __future__ import annotations

import pytest
from livekit.protocol import rtc

from lkpy.engine.api import OpenDataChannel
from lkpy.sdp import MediaDescription, SessionDescription
from tests.room_kit import Client, microphone, running

DATA_OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "a=mid:0",
        "a=ice-ufrag:abcd",
        f"a=ice-pwd:{'p' * 24}",
        f"a=fingerprint:sha-256 {':'.join(['CD'] * 32)}",
        "a=setup:passive",
        "a=sctp-port:5000",
        "",
    ]
)


def offers(client: Client) -> list[list[MediaDescription]]:
    """The sections of each offer that came."""
    return [SessionDescription.parse(offer.sdp).media for offer in client.all("offer")]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 7, 8, 18])
async def test_the_first_offers(protocol: int) -> None:
    """From 3 on the subscriber connection is primary: it is offered at once and carries data. From
    8 on the first offer has the tracks that are there (``SubscriberAsPrimary``,
    ``SupportFastStart``)."""
    async with running() as world:
        bob = await world.join("bob")
        await bob.publish(microphone())
        alice = await world.join("alice", single=False, client={"protocol": protocol})
        assert alice.last("join").subscriber_primary is (protocol >= 3)
        own = {transport.id for transport in alice.participant.transports.all}
        opened = [c for c in world.engine.of(OpenDataChannel) if c.transport in own]
        assert bool(opened) is (protocol >= 3)
        if protocol < 3:
            assert offers(alice) == []
            await alice.offer(DATA_OFFER)
        await world.advance(1)
        kinds = [[media.kind for media in sections] for sections in offers(alice)]
        if protocol < 3:
            assert kinds == [["audio"]]
        elif protocol < 8:
            assert kinds == [["application"], ["application", "audio"]]
        else:
            assert kinds == [["application", "audio"]]


@pytest.mark.parametrize(("protocol", "packed"), [(0, False), (1, True), (18, True)])
async def test_stream_ids_are_packed(protocol: int, packed: bool) -> None:
    """``SupportsPackedStreamId``: the stream names its track, too."""
    async with running() as world:
        bob = await world.join("bob")
        (track,) = await bob.publish(microphone())
        alice = await world.join("alice", single=False, client={"protocol": protocol})
        if protocol < 3:
            await alice.offer(DATA_OFFER)
        await world.advance(1)
        msid = offers(alice)[-1][-1].msids[0]
        sid = bob.participant.sid
        assert msid.stream == (f"{sid}|{track.sid}" if packed else sid)
        assert msid.track == track.sid


@pytest.mark.parametrize("protocol", [3, 4, 18])
async def test_sections_carry_other_tracks_later(protocol: int) -> None:
    """``SupportsTransceiverReuse``, from 4 on."""
    async with running() as world:
        bob = await world.join("bob")
        await bob.publish(microphone())
        alice = await world.join("alice", single=False, client={"protocol": protocol})
        await world.advance(1)
        await bob.send(leave=rtc.LeaveRequest())
        await world.advance(1)
        carol = await world.join("carol")
        await carol.publish(microphone())
        await world.advance(1)
        audio = [media for media in offers(alice)[-1] if media.kind == "audio"]
        assert len(audio) == (1 if protocol >= 4 else 2)
