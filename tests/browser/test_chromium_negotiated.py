"""Data channels of protocol 18 in Chromium, whose stack newer SDKs are built on: the page has a
connection and nothing else, signalling is raw. livekit-client says 17."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from livekit.protocol import models, rtc

from tests.browser.chromium import Chromium, Page
from tests.conformance import media
from tests.conformance.kit import Lobby, Signal, Target
from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import eventually

pytestmark = pytest.mark.browser

OPEN = """(streams) => {
  const pc = window.pc ??= new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  window.received ??= [];
  window.channels = {};
  for (const [label, id] of Object.entries(streams)) {
    const lossy = label === "_reliable" ? {} : { ordered: false, maxRetransmits: 0 };
    const agreed = id === null ? {} : { negotiated: true, id };
    const channel = (channels[label] = pc.createDataChannel(label, { ...lossy, ...agreed }));
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => received.push([label, [...new Uint8Array(data)]]);
  }
}"""
OFFER = """async () => {
  for (const kind of ["audio", "video"])
    for (let n = 0; n < 3; n++) pc.addTransceiver(kind, { direction: "recvonly" });
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
ANSWER = """async (sdp, candidates) => {
  await pc.setRemoteDescription({ type: "answer", sdp });
  for (const candidate of candidates) await pc.addIceCandidate(candidate);
}"""
SEND = "(label, bytes) => channels[label].send(new Uint8Array(bytes))"
STATES = (
    "() => Object.fromEntries(Object.entries(channels).map(([l, c]) => [l, [c.readyState, c.id]]))"
)
RELIABLE, LOSSY = models.DataPacket.RELIABLE, models.DataPacket.LOSSY
IN_BAND = dict.fromkeys(media.AGREED)


@pytest.fixture
async def lobby(server: RunningServer) -> AsyncIterator[Lobby]:
    target = Target(server.http_url, server.api_key, server.api_secret, ours=True)
    async with aiohttp.ClientSession() as session, Lobby(target, session) as opened:
        yield opened


async def join(lobby: Lobby, page: Page, identity: str, *, in_band: bool = False) -> Signal:
    """Join with the offer that the page makes, and connect it. ``in_band``: it closes its channels
    before it is connected and opens others."""
    offer = rtc.SessionDescription(type="offer", sdp=await page.run(OFFER), id=1)
    request = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk=models.ClientInfo.RUST, protocol=18),
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
        publisher_offer=offer,
    )
    signal = await lobby.signal(identity, single=True, join=request)
    if in_band:
        await page.run("() => Object.values(channels).forEach((channel) => channel.close())")
        await page.run(OPEN, IN_BAND)
    answer = await signal.expect("answer")
    await signal.expect("trickle", lambda trickle: trickle.final)
    said = [json.loads(t.candidateInit) for t in signal.all("trickle") if t.candidateInit]
    candidates = [candidate for candidate in said if candidate.get("candidate")]
    await page.run(ANSWER, answer.sdp, candidates)
    return signal


async def ready(page: Page, streams: dict[str, Any]) -> dict[str, Any]:
    """Wait until the page's channels are open; returns their streams."""

    async def all_open() -> dict[str, Any] | None:
        states = await page.run(STATES)
        return states if all(state == "open" for state, _ in states.values()) else None

    states = await eventually(f"channels {streams}", all_open)
    return {label: stream for label, (_, stream) in states.items()}


async def talk(page: Page, other: media.Participant) -> None:
    """A reliable and a lossy packet each way."""
    for label, kind in (("_reliable", RELIABLE), ("_lossy", LOSSY)):
        text = f"from the page, {label}"
        packet = models.DataPacket(user=models.UserPacket(payload=text.encode()))
        await page.run(SEND, label, list(packet.SerializeToString()))

        async def arrived(text: str = text, kind: int = kind) -> bool:
            return any(p.user.payload == text.encode() and p.kind == kind for p in other.received)

        await eventually(text, arrived)
        reply = models.DataPacket(user=models.UserPacket(payload=label.encode()))
        before = len(await page.run("() => received"))
        await other.send_data(reply, reliable=kind == RELIABLE)

        async def answered(before: int = before, label: str = label) -> bool:
            found = await page.run("() => received")
            return any(channel == label for channel, _ in found[before:])

        await eventually(f"the answer on {label}", answered)


async def test_channels_that_both_sides_have_agreed_on(lobby: Lobby, chromium: Chromium) -> None:
    async with chromium.pages(1) as (page,):
        other = await media.join(lobby, "other", single=True, protocol=17)
        await other.ready()
        await page.run(OPEN, media.AGREED)
        signal = await join(lobby, page, "page")
        assert signal.join.server_info.protocol >= 18
        assert await ready(page, media.AGREED) == media.AGREED
        await talk(page, other)
        await page.run("() => pc.close()")


async def test_a_page_that_closes_them_and_opens_others(lobby: Lobby, chromium: Chromium) -> None:
    """The streams are reset (RFC 8831 6.7)."""
    async with chromium.pages(1) as (page,):
        other = await media.join(lobby, "other", single=True, protocol=18)
        await other.ready()
        await page.run(OPEN, media.AGREED)
        await join(lobby, page, "page")
        await ready(page, media.AGREED)
        await talk(page, other)
        await page.run(
            "() => Promise.all(Object.values(channels).map((c) => new Promise((done) => {"
            " c.onclose = done; c.close(); })))"
        )
        await page.run(OPEN, IN_BAND)
        streams = await ready(page, IN_BAND)
        assert not set(streams.values()) & set(media.AGREED.values())
        await talk(page, other)
        await page.run("() => pc.close()")


async def test_a_page_that_changes_its_mind_before_it_is_connected(
    lobby: Lobby, chromium: Chromium
) -> None:
    """What the Rust SDK does with a server below 18: nothing of the first channels was sent."""
    async with chromium.pages(1) as (page,):
        other = await media.join(lobby, "other", single=True, protocol=18)
        await other.ready()
        await page.run(OPEN, media.AGREED)
        await join(lobby, page, "page", in_band=True)
        await ready(page, IN_BAND)
        await talk(page, other)
        await page.run("() => pc.close()")
