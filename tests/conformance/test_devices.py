"""Clients that are no browsers: what encoders, devices and older stacks write into descriptions."""

from __future__ import annotations

import re

import pytest
from aiortc import RTCSessionDescription
from aiortc.mediastreams import VideoStreamTrack
from livekit.protocol import models

from tests.conformance import media
from tests.conformance.kit import Lobby, until
from tests.conformance.media import Tone
from tests.conformance.whip_kit import Whip, publisher

pytestmark = pytest.mark.row(17)
Source = models.TrackSource


async def connect(client: Whip, offer: str, *answered: tuple[str, str]) -> None:
    """Post ``offer`` for what the client described; take the answer with ``answered`` replaced."""
    client.created = await client.post(offer)
    assert client.created.status == 201, client.created
    answer = client.created.body
    assert not re.search(r"(?m)^m=\w+ 0 ", answer), answer
    for theirs, ours in answered:
        answer = answer.replace(theirs, ours)
    await client.pc.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
    await until(lambda: client.pc.connectionState == "connected", "peer connection")


H264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"


@pytest.mark.parametrize("profile", ["42c01f", "42001f", "4d401f", "640c1f", "42e01f", ""])
async def test_h264_in_the_profile_of_an_encoder(lobby: Lobby, profile: str) -> None:
    """It is taken in any, and reaches whoever decodes H.264."""
    bob = await media.join(lobby, "bob", single=False)
    alice = Whip(lobby, "alice")
    alice.pc.addTransceiver(VideoStreamTrack(), direction="sendonly")
    await alice.describe()
    offer, section = alice.offer, re.compile(r"(?m)^(m=video \d+ \S+) .*$")
    (number,) = re.findall(rf"a=fmtp:(\d+) {H264}", offer)
    described = f"a=fmtp:{number} {H264.replace('42e01f', profile)}\r\n" if profile else ""
    offer = section.sub(rf"\1 {number}\r", offer)
    offer = offer.replace(f"a=fmtp:{number} {H264}\r\n", described)
    exact = f"a=rtpmap:{number} H264/90000\r\n"
    restored = (described, "") if profile else ("\0", "")
    await connect(alice, offer, restored, (exact, f"{exact}a=fmtp:{number} {H264}\r\n"))
    info = await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 1)
    assert info.tracks[0].mime_type == "video/H264"
    await bob.receives(info.tracks[0].sid)


@pytest.mark.parametrize("protocol", [1, 2])
async def test_a_device_whose_publisher_connection_is_primary(lobby: Lobby, protocol: int) -> None:
    """Its data is on that one; the other is offered with media alone, when there is any."""
    alice = await media.join(lobby, "alice", single=False)
    track, _ = await alice.publish()
    bob = await media.join(lobby, "bob", single=False, active=False, protocol=protocol)
    assert not bob.joined.subscriber_primary
    await bob.negotiate()
    await bob.receives(track.sid)
    assert all("m=application" not in offer.sdp for offer in bob.signal.all("offer"))


LOOSE = (
    ("v=0\r\n", "v=0 \r\n"),
    ("t=0 0\r\n", "t=0 0 \r\n\r\n"),
    ("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=\r\na=x-google-flag:conference\r\na=ssrc-audio-level\r\n"),
    (
        "a=mid:0\r\n",
        "a=mid:0\r\na=candidate:1 1 UDP 2122252543 192.0.2.4 51234 typ host generation\r\n",
    ),
    ("a=mid:1\r\n", "a=mid:1\r\nb=AS:500\r\na=framerate:30\r\na=crypto:1 x inline:y\r\n"),
    ("UDP/TLS/RTP/SAVPF", "RTP/SAVPF"),
    ("opus/48000/2", "OPUS/48000/2"),
    ("\r\n", "\n"),
)


async def test_what_is_written_loosely_is_understood(lobby: Lobby) -> None:
    bob = await media.join(lobby, "bob", single=True)
    alice = publisher(lobby)
    await alice.describe()
    offer = alice.offer
    for plain, loose in LOOSE:
        offer = offer.replace(plain, loose)
    await connect(alice, offer, ("RTP/SAVPF", "UDP/TLS/RTP/SAVPF"), ("TLS/UDP/TLS/", "TLS/"))
    info = await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 2)
    for track in info.tracks:
        await bob.receives(track.sid)


async def test_a_data_section_of_a_draft(lobby: Lobby) -> None:
    """``DTLS/SCTP 5000`` and ``a=sctpmap``, as before RFC 8841."""
    bob = await media.join(lobby, "bob", single=False)
    alice = Whip(lobby, "alice")
    channel = alice.pc.createDataChannel("chat")
    await alice.describe()
    offer = alice.offer.replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5000")
    offer = offer.replace("a=sctp-port:5000", "a=sctpmap:5000 webrtc-datachannel 65535")
    await connect(alice, offer)
    await until(lambda: channel.readyState == "open", "the channel")
    channel.send(b"hello")
    await until(lambda: bob.received, "a packet")
    assert bob.received[0].user.payload == b"hello"


async def test_a_section_that_cannot_be_used_is_rejected_and_the_others_go_on(lobby: Lobby) -> None:
    bob = await media.join(lobby, "bob", single=False)
    alice = Whip(lobby, "alice")
    alice.pc.addTransceiver(Tone(), direction="sendonly")
    await alice.describe()
    theora = (
        "m=video 9 UDP/TLS/RTP/SAVPF 119\r\nc=IN IP4 0.0.0.0\r\na=mid:9\r\na=sendonly\r\n"
        "a=msid:- t\r\na=rtcp-mux\r\na=rtpmap:119 theora/90000\r\n"
    )
    alice.created = await alice.post(alice.offer.replace("BUNDLE 0", "BUNDLE 0 9") + theora)
    assert alice.created.status == 201
    answer, _, rejected = alice.created.body.rpartition("m=video 0 ")
    assert rejected
    await alice.pc.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
    info = await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 1)
    await bob.receives(info.tracks[0].sid)


async def test_an_offer_of_which_nothing_can_be_used(lobby: Lobby) -> None:
    alice = Whip(lobby, "alice")
    alice.pc.addTransceiver(Tone(), direction="sendonly")
    await alice.describe()
    offer = re.sub(r"(a=rtpmap:\d+) \S+", r"\1 speex/16000", alice.offer)
    offer = re.sub(r"(m=audio \d+ \S+).*", r"\1 96", offer)
    refused = await alice.post(offer)
    if lobby.target.ours:
        assert refused.status == 400
        assert "no media section of the offer can be used: audio speex" in refused.error
    else:
        assert refused.status == 503
