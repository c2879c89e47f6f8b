"""``lkpy room join``: a participant without a head, which says what happens around it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import aiohttp
from livekit.protocol import rtc

from lkpy.api_client import NoSuchServiceError
from lkpy.auth.grants import Grants
from lkpy.auth.token import mint
from lkpy.cli import output
from lkpy.cli.credentials import Credentials
from lkpy.cli.room import show
from lkpy.cli.room.connection import refused_key
from lkpy.cli.room.events import Event, RoomEvents
from lkpy.cli.room.watch import until_interrupted
from lkpy.errors import Code, LkpyError
from lkpy.server_url import UnreachableError
from lkpy.sim.client import ClientSettings, SimClient
from lkpy.sim.media import cache
from lkpy.sim.media.clip import Clip
from lkpy.sim.peers.link import local_addresses
from lkpy.sim.peers.peer import PeerSettings
from lkpy.sim.plan import ClientPlan
from lkpy.sim.scenario import Group, Publish, PublishAudio, PublishVideo, Subscribe
from lkpy.sim.target import Target
from lkpy.text import one_line

JOIN_TIMEOUT_S = 15.0
_TICK_S = 0.05
_PATIENCE_S = 0.5
_REASON_MAX = 300


@dataclass(frozen=True, slots=True)
class Joining:
    """Who joins, and what it does there."""

    grants: Grants
    publish_demo: bool
    auto_subscribe: bool
    as_json: bool

    @property
    def room(self) -> str:
        """Name of the room."""
        return self.grants.video.room if self.grants.video is not None else ""


async def run(chosen: Credentials, joining: Joining) -> None:
    """Be in the room until Ctrl-C. Raises :class:`LkpyError` when the server ends it."""
    # Encoded at the first use, which takes seconds: Ctrl-C has its usual meaning meanwhile.
    if any(cache.missing(track) for track in _tracks(joining)):
        output.status("making media, once for this machine")
    clips = [_clips(track) for track in _tracks(joining)]
    async with until_interrupted() as stop:
        participant = _Participant(chosen, joining, clips)
        async with aiohttp.ClientSession() as session:
            try:
                await participant.run(session, stop)
            finally:
                await participant.client.close()


class _Participant:
    def __init__(
        self, chosen: Credentials, joining: Joining, clips: Sequence[Sequence[Clip]]
    ) -> None:
        self._chosen, self._joining = chosen, joining
        self._events: RoomEvents | None = None
        self._early: list[rtc.SignalResponse] = []
        self._failed = asyncio.Event()
        self._sent_away = asyncio.Event()
        token = mint(
            joining.grants,
            api_key=chosen.api_key,
            api_secret=chosen.api_secret,
            now=time.time(),
        )
        group = Group(
            name="join",
            publish=_tracks(joining),
            subscribe=Subscribe(auto=joining.auto_subscribe),
        )
        plan = ClientPlan(0, 0, joining.grants.identity, joining.room, 0.0)
        self.client = SimClient(plan, group, self._settings(token, clips))

    def _settings(self, token: str, clips: Sequence[Sequence[Clip]]) -> ClientSettings:
        target = Target(self._chosen.url)
        try:
            family, addresses = local_addresses(target.host, target.port)
        except OSError as error:
            raise UnreachableError(self._chosen.url, error) from None
        return ClientSettings(
            url=self._chosen.url,
            token=token,
            mode="auto",
            join_timeout=JOIN_TIMEOUT_S,
            peer=PeerSettings(
                family=family,
                addresses=addresses,
                cname=self._joining.grants.identity,
                phase=0.0,
                seed=int.from_bytes(os.urandom(4), "big"),
            ),
            clips=clips,
            on_response=self._response,
            on_data=self._data,
            on_failed=lambda reason: self._failed.set(),
        )

    async def run(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        """Join, and stay until ``stop`` or until it fails."""
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, self._failed)]
        joining = asyncio.ensure_future(self.client.start(session))
        try:
            await asyncio.wait({joining, *waits}, return_when=asyncio.FIRST_COMPLETED)
            if joining.done() and self.client.error is None:
                self._begin()
                while not (stop.is_set() or self._failed.is_set()):
                    self.client.tick(time.monotonic())
                    await asyncio.wait(waits, timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (joining, *waits):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self.client.error is not None:
            self._begin()
            if self.client.refusal is None:
                # The media connection may end before the word that says why.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._sent_away.wait(), _PATIENCE_S)
            raise self._problem(self.client.error)

    def _problem(self, reason: str) -> LkpyError:
        url, room = self._chosen.url, self._joining.room
        code = self.client.refusal
        if code is Code.UNAVAILABLE:
            return UnreachableError(url, reason.removeprefix("cannot connect: "))
        if code is Code.UNAUTHENTICATED:
            return refused_key(self._chosen, reason)
        if reason.startswith("<"):
            return NoSuchServiceError(url, "it answers with a web page", 404)
        reason = one_line(reason)[:_REASON_MAX]
        if self._sent_away.is_set():
            reason = "the server sent this participant away"
        if self.client.join_response is None:
            reason = f"cannot join: {reason}"
        return LkpyError(code or Code.ABORTED, f"room {room!r} on {url}: {reason}")

    def _begin(self) -> None:
        """Say that we are there, and then what was said meanwhile."""
        join = self.client.join_response
        if self._events is not None or join is None:
            return
        self._events = RoomEvents(join)
        self._say(self._events.joined())
        for response in self._early:
            self._say(self._events.response(response))
        self._early.clear()

    def _response(self, response: rtc.SignalResponse) -> None:
        if response.WhichOneof("message") == "leave":
            self._sent_away.set()
        if self._events is None:
            self._early.append(response)
        else:
            self._say(self._events.response(response))

    def _data(self, message: bytes) -> None:
        if self._events is not None:
            self._say(self._events.data(message))

    def _say(self, events: Iterable[Event]) -> None:
        now = time.time()
        for event in events:
            if self._joining.as_json:
                output.result(show.compact(event.document(now)))
            else:
                output.result(event.line(time.strftime("%H:%M:%S", time.localtime(now))))


def _tracks(joining: Joining) -> tuple[Publish, ...]:
    demo = (PublishAudio(kind="audio"), PublishVideo(kind="video"))
    return demo if joining.publish_demo else ()


def _clips(track: Publish) -> list[Clip]:
    return (
        cache.video_clips(track) if isinstance(track, PublishVideo) else [cache.audio_clip(track)]
    )
