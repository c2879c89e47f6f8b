"""A page that publishes by WHIP with what browsers have (fetch, RTCPeerConnection), from another
origin than the server's, and a livekit-client that watches."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Chromium
from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import eventually

pytestmark = pytest.mark.browser

PUBLISH = """async (server, token) => {
  const media = await navigator.mediaDevices.getUserMedia({
    audio: true, video: { width: 640, height: 360, frameRate: 15 } });
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  pc.addTransceiver(media.getAudioTracks()[0], { direction: "sendonly", streams: [media] });
  pc.addTransceiver(media.getVideoTracks()[0], { direction: "sendonly", streams: [media],
    sendEncodings: [{ rid: "q", scaleResolutionDownBy: 2, maxBitrate: 150e3 },
      { rid: "h", maxBitrate: 400e3 }] });
  const whip = (window.whip = { pc, patched: [] });
  const call = (method, url, headers, body) => fetch(new URL(url, server), { method, body,
    headers: { Authorization: `Bearer ${token}`, ...headers } });
  const waiting = [];
  pc.onicecandidate = ({ candidate }) => candidate?.candidate && waiting.push(candidate.candidate);
  const value = (sdp, name) => sdp.match(new RegExp(`^a=${name}:(\\\\S+)`, "m"))[1];
  const patch = (tag) => {
    const sdp = pc.localDescription.sdp;
    const lines = ["m=audio 9 UDP/TLS/RTP/SAVPF 111", `a=mid:${value(sdp, "mid")}`,
      `a=ice-ufrag:${value(sdp, "ice-ufrag")}`, `a=ice-pwd:${value(sdp, "ice-pwd")}`,
      ...waiting.splice(0).map((line) => `a=${line}`), ""];
    return call("PATCH", whip.location, { "Content-Type": "application/trickle-ice-sdpfrag",
      "If-Match": tag }, lines.join("\\r\\n"));
  };
  const gathered = () => new Promise((done) => {
    const check = () => { if (pc.iceGatheringState === "complete") done(); };
    pc.addEventListener("icegatheringstatechange", check);
    check();
  });
  await pc.setLocalDescription();
  const created = await call("POST", "/whip/v1", { "Content-Type": "application/sdp" },
    pc.localDescription.sdp.replace(/^a=candidate:.*\\r\\n/gm, ""));
  if (created.status !== 201) throw new Error(await created.text());
  whip.location = created.headers.get("Location");
  whip.tag = created.headers.get("ETag");
  whip.links = created.headers.get("Link");
  await pc.setRemoteDescription({ type: "answer", sdp: await created.text() });
  await gathered();
  whip.patched.push((await patch(whip.tag)).status);
  whip.restart = async () => {
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
    await gathered();
    const answer = await patch("*");
    const fragment = await answer.text();
    whip.patched.push(answer.status);
    whip.tag = answer.headers.get("ETag");
    let sdp = pc.remoteDescription.sdp.replace(/^a=(candidate:.*|end-of-candidates)\\r\\n/gm, "");
    for (const name of ["ice-ufrag", "ice-pwd"])
      sdp = sdp.replace(new RegExp(`^a=${name}:.*$`, "gm"), `a=${name}:${value(fragment, name)}`);
    await pc.setRemoteDescription({ type: "answer", sdp });
    for (const candidate of fragment.match(/candidate:.*/g))
      await pc.addIceCandidate({ candidate, sdpMLineIndex: 0 });
  };
  whip.end = async () => (await call("DELETE", whip.location, {})).status;
  return whip.location;
}"""
PATHS = """async () => {
  const stats = [...(await whip.pc.getStats()).values()];
  const transport = stats.find((s) => s.type === "transport");
  return [whip.pc.connectionState, transport.iceLocalUsernameFragment];
}"""


async def test_a_page_publishes_by_whip(
    server: RunningServer, chromium: Chromium, room_name: str, topology: str
) -> None:
    async with chromium.pages(2) as (alice, bob):
        await bob.join(server, room_name, "bob", topology)
        token = server.token(room_name, "alice")
        location = await alice.run(PUBLISH, server.http_url, token)
        assert location.startswith("/whip/v1/PA_")
        assert await alice.run(
            "() => [whip.tag.length > 0, whip.links.includes('ice-server')]"
        ) == [
            True,
            True,
        ]
        await bob.sees_width(640)
        await bob.hears()
        await bob.run("setQuality", "LOW")
        await bob.sees_width(320)

        _, before = await alice.run(PATHS)
        await alice.run("() => whip.restart()")

        async def restarted() -> bool:
            state, ufrag = await alice.run(PATHS)
            return state == "connected" and ufrag != before

        await eventually("the connection to be restarted", restarted)
        await bob.sees()
        assert await alice.run("() => whip.patched") == [204, 200]

        assert await alice.run("() => whip.end()") == 200
        await bob.event("ParticipantDisconnected", "alice")
        await alice.run("() => whip.pc.close()")
