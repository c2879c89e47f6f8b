"""The clients of :mod:`benches.join_phases`, in a process of their own.

    python benches/join_generator.py publish|own|sdk '{"url": …}'

``publish`` prints ``ready`` and publishes in every room until its standard input is closed; the
others join at the given pace and print when each phase of each join was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import pathlib
import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt
from livekit.protocol import models
from livekit.protocol import rtc as protocol

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benches.join_client import Link, Media, Phases, certificate, described_address  # noqa: E402
from lkpy.errors import LkpyError  # noqa: E402
from lkpy.signal.client import PROTOCOL_VERSION, SignalClient, SignalOptions  # noqa: E402
from lkpy.sim.peers import sdp  # noqa: E402

_RECEIVE_SECTIONS = 3
_DATA_MID = "0"
_PATIENCE_S = 20.0


def token(room: str, identity: str) -> str:
    """For one client."""
    now = int(time.time())
    claims = {"iss": os.environ["JOIN_KEY"], "sub": identity, "nbf": now - 5, "exp": now + 3600}
    claims |= {"video": {"roomJoin": True, "room": room}}
    return jwt.encode(claims, os.environ["JOIN_SECRET"], algorithm="HS256")


def traced(phases: Phases) -> aiohttp.ClientSession:
    """A session that says when the server has answered the upgrade."""
    trace = aiohttp.TraceConfig()

    async def upgraded(*_: object) -> None:
        phases.done("WebSocket")

    trace.on_request_end.append(upgraded)
    return aiohttp.ClientSession(trace_configs=[trace])


@dataclass
class Client:
    """One participant with one peer connection."""

    url: str
    room: str
    single: bool
    publishes: bool = False
    identity: str = field(default_factory=lambda: secrets.token_hex(6))
    phases: Phases = field(default_factory=Phases)
    token: str = ""
    _link: Link | None = None
    _signal: SignalClient | None = None
    _session: aiohttp.ClientSession | None = None
    _reader: asyncio.Task[None] | None = None
    _media: Media | None = None
    _early: list[str] = field(default_factory=list)
    _sections: list[sdp.Section] = field(default_factory=list)
    _described: sdp.Local | None = None
    _offers: int = 0
    _awaits_answer: bool = True
    _offer_again: bool = False

    def _local(self, link: Link) -> sdp.Local:
        fingerprint = next(
            item.value for item in certificate().getFingerprints() if item.algorithm == "sha-256"
        )
        # What is gathered is trickled, as SDKs do.
        return sdp.Local(link.ufrag, link.password, fingerprint, (), time.monotonic_ns() >> 10)

    async def join(self) -> None:
        """Join, and return once all phases are done."""
        self.token = token(self.room, self.identity)
        self.phases = Phases()
        self._session = traced(self.phases)
        options = SignalOptions(client_info=models.ClientInfo(protocol=PROTOCOL_VERSION))
        if self.single:
            link = self._link = Link(self.phases, controlling=True, host="127.0.0.1")
            sections = self._sections = self._first_sections()
            self._described = self._local(link)
            options = SignalOptions(
                client_info=options.client_info,
                publisher_offer=self._offer(),
                add_tracks=tuple(self._requests(sections)),
            )
            if self.publishes:
                streams = [(s.encodings[0].ssrc, *_codec(s.kind)) for s in sections]
                self._media = Media(link, streams)
                link.on_connected = self._media.start
        self._signal = await SignalClient.connect(
            self._session, self.url, self.token, options, single=self.single
        )
        self.phases.done("JoinResponse")
        self._reader = asyncio.create_task(self._read(self._signal))
        wanted = {"connected", "SCTP"} | (set() if self.publishes else {"first packet"})
        until = time.monotonic() + _PATIENCE_S
        while not wanted <= self.phases.at.keys():
            if self._reader.done():
                self._reader.result()
                raise ConnectionError("the server closed the signal connection")
            if time.monotonic() > until:
                missing = wanted - self.phases.at.keys()
                raise TimeoutError(f"no {missing} within {_PATIENCE_S} s: {self.phases}")
            await asyncio.sleep(0.02)

    def _offer(self) -> protocol.SessionDescription:
        assert self._described is not None
        self._offers += 1
        text = sdp.offer(self._described, self._offers, self._sections, _DATA_MID)
        return protocol.SessionDescription(type="offer", sdp=text, id=self._offers)

    async def _offer_more(self, signal: SignalClient, kinds: list[sdp.MediaKind]) -> None:
        """The server wants more sections, or another offer: when it has answered the last one."""
        for number, kind in enumerate(kinds, len(self._sections) + 1):
            self._sections.append(sdp.Section(str(number), kind))
        self._offer_again = self._awaits_answer
        if not self._awaits_answer:
            self._awaits_answer = True
            await signal.send(protocol.SignalRequest(offer=self._offer()))

    async def _answered(self, signal: SignalClient, answer: protocol.SessionDescription) -> None:
        self._awaits_answer = False
        if "description" not in self.phases.at:
            self._begin(answer.sdp)
            await self._trickle(signal)
        if self._offer_again:
            await self._offer_more(signal, [])

    def _first_sections(self) -> list[sdp.Section]:
        kinds: list[sdp.MediaKind] = ["audio", "video"]
        if not self.publishes:
            kinds = [kind for kind in kinds for _ in range(_RECEIVE_SECTIONS)]
        sent = [
            {"track_id": kind, "encodings": (sdp.Encoding(secrets.randbits(31) + 1, None),)}
            if self.publishes
            else {}
            for kind in kinds
        ]
        return [
            sdp.Section(str(number), kind, **options)  # type: ignore[arg-type]
            for number, (kind, options) in enumerate(zip(kinds, sent, strict=True), 1)
        ]

    def _requests(self, sections: list[sdp.Section]) -> list[protocol.AddTrackRequest]:
        return [
            protocol.AddTrackRequest(
                cid=section.track_id,
                name=section.track_id,
                type=models.TrackType.VIDEO if section.kind == "video" else models.TrackType.AUDIO,
                source=models.TrackSource.CAMERA
                if section.kind == "video"
                else models.TrackSource.MICROPHONE,
                width=320,
                height=240,
                disable_red=True,
            )
            for section in sections
            if section.track_id
        ]

    async def _read(self, signal: SignalClient) -> None:
        while (response := await signal.receive()) is not None:
            match response.WhichOneof("message"):
                case "leave":
                    reason = models.DisconnectReason.Name(response.leave.reason)
                    raise ConnectionError(f"the server sent this client away: {reason}")
                case "answer":
                    await self._answered(signal, response.answer)
                case "media_sections_requirement":
                    needed = response.media_sections_requirement
                    kinds: list[sdp.MediaKind] = ["audio"] * needed.num_audios
                    kinds += ["video"] * needed.num_videos
                    await self._offer_more(signal, kinds)
                case "offer":
                    await self._answer(signal, response.offer)
                case "trickle":
                    target = protocol.SignalTarget.PUBLISHER if self.single else 1
                    if response.trickle.target == target:
                        self._candidate(json.loads(response.trickle.candidateInit)["candidate"])

    async def _answer(self, signal: SignalClient, offer: protocol.SessionDescription) -> None:
        if self._link is None:
            self._link = Link(self.phases, controlling=False, host="127.0.0.1")
        self._described = self._described or self._local(self._link)
        self._offers += 1
        text = sdp.answer(self._described, self._offers, offer.sdp)
        answer = protocol.SessionDescription(type="answer", sdp=text, id=offer.id)
        await signal.send(protocol.SignalRequest(answer=answer))
        self._begin(offer.sdp)
        await self._trickle(signal)

    def _begin(self, text: str) -> None:
        if self._link is None or "description" in self.phases.at:
            return
        self.phases.done("description")
        remote = sdp.parse(text)
        # In its answer: what it is. In its offer: we answered active.
        is_client = remote.dtls.role != "client"
        self._link.set_remote(
            remote.ice.usernameFragment or "", remote.ice.password or "", is_client=is_client
        )
        early, self._early = self._early, []
        for candidate in early:
            self._candidate(candidate)
        for described in remote.candidates:
            if described.protocol == "udp" and ":" not in described.ip:
                self._link.add_candidate((described.ip, described.port))

    async def _trickle(self, signal: SignalClient) -> None:
        if self._link is None:
            return
        target = protocol.SignalTarget.PUBLISHER if self.single else 1
        candidate = f"candidate:{self._link.candidate} ufrag {self._link.ufrag}"
        init = {"candidate": candidate, "sdpMid": _DATA_MID, "sdpMLineIndex": 0}
        trickle = protocol.TrickleRequest(candidateInit=json.dumps(init), target=target)
        await signal.send(protocol.SignalRequest(trickle=trickle))

    def _candidate(self, text: str) -> None:
        address = described_address(text)
        if address is None:
            return
        if self._link is None or "description" not in self.phases.at:
            self._early.append(text)
        else:
            self._link.add_candidate(address)

    async def leave(self) -> None:
        """Leave and close."""
        if self._media is not None:
            self._media.stop()
        if self._signal is not None:
            await self._signal.leave()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._link is not None:
            self._link.close()
        if self._signal is not None:
            await self._signal.close()
        if self._session is not None:
            await self._session.close()


def _codec(kind: str) -> tuple[int, bool]:
    return (sdp.VP8, True) if kind == "video" else (sdp.OPUS, False)


class SdkClient:
    """The same with the real package; it says when ``connect`` returned."""

    def __init__(self, url: str, room: str, *, single: bool) -> None:
        from livekit import rtc

        self._options = rtc.RoomOptions(single_peer_connection=single)
        self._room = rtc.Room()
        self._url = url
        self._token = token(room, secrets.token_hex(6))
        self.phases = Phases()

    async def join(self) -> None:
        self.phases = Phases()
        await self._room.connect(self._url, self._token, self._options)
        self.phases.done("connected")

    async def leave(self) -> None:
        await self._room.disconnect()


async def publish(work: dict[str, Any]) -> None:
    """Publish in every room."""
    clients = [Client(work["url"], room, single=True, publishes=True) for room in work["rooms"]]
    await asyncio.gather(*(client.join() for client in clients))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.gather(*(client.leave() for client in clients), return_exceptions=True)


async def subscribe(work: dict[str, Any], role: str) -> None:
    """Join at the given pace and print what was seen."""
    loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    single = work["mode"] == "single"
    leaving = asyncio.Event()
    connected = 0

    async def one(number: int) -> Phases | str:
        nonlocal connected
        room = work["rooms"][number % len(work["rooms"])]
        client = (
            Client(work["url"], room, single=single)
            if role == "own"
            else SdkClient(work["url"].replace("http", "ws", 1), room, single=single)
        )
        await asyncio.sleep(began + (number + 1) * work["interval_s"] - loop.time())
        failure = ""
        try:
            await client.join()
        except (OSError, LkpyError) as error:
            failure = str(error)
        connected += 1
        if connected == work["joins"]:
            leaving.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(leaving.wait(), work["stay_s"])
        await client.leave()
        return failure or client.phases

    done = await asyncio.gather(*(one(number) for number in range(work["joins"])))
    joined = [phases for phases in done if isinstance(phases, Phases)]
    result = {
        "phases": [phases.at for phases in joined],
        "again": sum(phases.again for phases in joined),
        "failed": [failure for failure in done if isinstance(failure, str)],
    }
    print(json.dumps(result), flush=True)


def main() -> None:
    role, work = sys.argv[1], json.loads(sys.argv[2])
    certificate()
    gc.freeze()
    asyncio.run(publish(work) if role == "publish" else subscribe(work, role))
    sys.stdout.flush()
    # libwebrtc's threads take their time.
    os._exit(0)


if __name__ == "__main__":
    main()
