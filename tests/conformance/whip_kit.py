"""A WHIP client on aiortc (RFC 9725)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aioice import Candidate, Connection
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack, VideoStreamTrack

from tests.conformance.kit import Lobby, until
from tests.conformance.media import Tone
from tests.patience import close_aiortc

ENDPOINT = "/whip/v1"
SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: str
    headers: Mapping[str, str]

    @property
    def error(self) -> str:
        """Of a refusal."""
        return str(json.loads(self.body)["error"])


class Whip:
    """A session, or the attempt to have one."""

    def __init__(self, lobby: Lobby, identity: str, **token: Any) -> None:
        self.lobby = lobby
        self.identity = identity
        self.token: str | None = lobby.target.token(identity, lobby.room, **token)
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.created: Answer
        self.tag = ""
        """The ICE session, for ``If-Match``."""
        self.frames: dict[str, int] = {}
        """Decoded frames by kind."""
        self._tasks: list[asyncio.Task[None]] = []
        self.pc.on("track", self._receive)
        lobby.opened(self.close)

    @property
    def sid(self) -> str:
        """Participant sid."""
        return self.location.rpartition("/")[2]

    @property
    def location(self) -> str:
        """Path of the session."""
        return self.created.headers["Location"]

    @property
    def offer(self) -> str:
        """The offer, with every candidate."""
        return str(self.pc.localDescription.sdp)

    async def request(
        self, method: str, path: str, body: str | bytes | None = None, **headers: str
    ) -> Answer:
        """Any request with the client's token; ``headers`` have underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, text, got = await self.lobby.get(
            path, self.token, method=method, data=body, headers=named
        )
        return Answer(status, text, got)

    async def describe(self) -> None:
        """Make the offer, of what was added to :attr:`pc`."""
        await self.pc.setLocalDescription(await self.pc.createOffer())

    async def post(self, sdp: str | bytes | None = None, **headers: str) -> Answer:
        """Try to create the session."""
        headers = {"Content_Type": SDP} | headers
        body = self.offer if sdp is None else sdp
        return await self.request("POST", ENDPOINT, body, **headers)

    async def connect(self, sdp: str | None = None, **headers: str) -> None:
        """Create the session and wait for its connection."""
        await self.describe()
        self.created = await self.post(sdp, **headers)
        assert self.created.status == 201, self.created
        self.tag = self.created.headers["ETag"]
        answer = RTCSessionDescription(sdp=self.created.body, type="answer")
        await self.pc.setRemoteDescription(answer)
        await until(lambda: self.pc.connectionState == "connected", "peer connection")

    async def patch(self, fragment: str | bytes, tag: str | None = None) -> Answer:
        """Send a fragment, for the present ICE session unless told otherwise."""
        headers = {"Content_Type": FRAGMENT, "If_Match": self.tag if tag is None else tag}
        return await self.request("PATCH", self.location, fragment, **headers)

    def fragment(self, *lines: str, mid: str = "0", ufrag: str = "", pwd: str = "") -> str:
        """A fragment with the offer's credentials, or with others."""
        head = [
            f"a=group:BUNDLE {mid}",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            f"a=mid:{mid}",
            f"a=ice-ufrag:{ufrag or value(self.offer, 'ice-ufrag')}",
            f"a=ice-pwd:{pwd or value(self.offer, 'ice-pwd')}",
        ]
        return "\r\n".join([*head, *lines, ""])

    async def restart(self) -> Answer:
        """Restart ICE and go on over the connection that comes of it; the one before is closed."""
        ice = self.pc.getTransceivers()[0].sender.transport.transport
        before, after = ice._connection, Connection(ice_controlling=True)
        await after.gather_candidates()
        lines = [f"a=candidate:{candidate.to_sdp()}" for candidate in after.local_candidates]
        answer = await self.patch(
            self.fragment(
                *lines,
                "a=end-of-candidates",
                ufrag=after.local_username,
                pwd=after.local_password,
            ),
            "*",
        )
        assert answer.status == 200, answer
        self.tag = answer.headers["ETag"]
        after.remote_username = value(answer.body, "ice-ufrag")
        after.remote_password = value(answer.body, "ice-pwd")
        for line in re.findall(r"(?m)^a=candidate:(.* udp .*)$", answer.body):
            await after.add_remote_candidate(Candidate.from_sdp(line.strip()))
        await after.add_remote_candidate(None)
        await after.connect()
        # aiortc knows no restart: from here on its DTLS runs over the other connection. It waits
        # for a packet of the one before, and ignores this one.
        ice._connection, ice._recv, ice._send = after, after.recv, after.send
        before._queue.put_nowait((b"\0", 1))
        await asyncio.sleep(0)
        await before.close()
        return answer

    def _receive(self, track: MediaStreamTrack) -> None:
        async def consume() -> None:
            while True:
                await track.recv()
                self.frames[track.kind] = self.frames.get(track.kind, 0) + 1

        self._tasks.append(asyncio.ensure_future(consume()))

    async def receives(self, kind: str, frames: int = 3) -> None:
        """Wait for more decoded frames."""
        target = self.frames.get(kind, 0) + frames
        await until(lambda: self.frames.get(kind, 0) >= target, f"{kind} frames")

    async def close(self) -> None:
        """Close the connection; the server is told nothing. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await close_aiortc(self.pc)


def publisher(lobby: Lobby, identity: str = "alice", **token: Any) -> Whip:
    """A client with a microphone and a camera, not described yet."""
    client = Whip(lobby, identity, **token)
    for track in (Tone(), VideoStreamTrack()):
        client.pc.addTransceiver(track, direction="sendonly")
    return client


def value(text: str, name: str) -> str:
    """Of the first attribute of this name."""
    found = re.search(rf"(?m)^a={name}:(\S+)", text)
    assert found is not None, f"no a={name} in {text}"
    return found.group(1)
