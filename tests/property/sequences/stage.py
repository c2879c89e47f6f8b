"""A room whose every rule is watched: two people who behave well, and several who do not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Any

from livekit.protocol import models, rtc

from lkpy.engine import api as engine_api
from lkpy.engine.api import SendData
from lkpy.errors import LkpyError
from lkpy.limits import (
    DEPARTURES,
    MAX_DATA_TRACKS,
    MAX_PENDING_TRACKS,
    MAX_RPC_CALLS,
    MAX_SUBSCRIPTIONS,
    RELIABLE_REPLAY_BYTES,
    ROOM_INBOX,
    SUBSCRIBER_UPDATE_INTERVAL_S,
)
from lkpy.server.rtc.options import RoomOptions
from lkpy.server.rtc.participant import Participant
from lkpy.server.rtc.room import Room
from tests.property.sequences.people import Line, Person
from tests.property.sequences.watching import Alarms, StrictEngine, check
from tests.room_kit import JOIN_OFFER, Observer, World, camera, microphone, session

INJECTED = "injected by the test"
_TOLD_WITHIN_S = SUBSCRIBER_UPDATE_INTERVAL_S + 0.1


class Changes(Observer):
    """When each participant last changed, as the room tells its store."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, float] = {}

    def participant_changed(self, room: Room, info: models.ParticipantInfo) -> None:
        self.at[info.identity] = room.clock.now()

    def participant_left(self, room: Room, info: models.ParticipantInfo) -> None:
        self.at[info.identity] = room.clock.now()


class Stage:
    """The room, its people and what holds of them."""

    def __init__(self, people: Iterable[str], options: RoomOptions) -> None:
        self.engine = StrictEngine()
        self.changes = Changes()
        self.world = World(
            engine=self.engine,
            observer=self.changes,
            options=options,
            empty_timeout=10**9,
            departure_timeout=10**9,
        )
        self.room = self.world.room
        self.clock = self.world.clock
        self.watcher = Person("watcher", unharmed=True)
        self.publisher = Person("publisher", unharmed=True)
        self.people = {name: Person(name) for name in people}
        self.alarms = Alarms()
        self.calls: set[asyncio.Task[Any]] = set()
        """Of the server API."""
        self.ever_hidden: set[str] = set()

    @property
    def everybody(self) -> list[Person]:
        """The well-behaved two and the others."""
        return [self.watcher, self.publisher, *self.people.values()]

    def participant(self, person: Person) -> Participant | None:
        """The server's side of a person."""
        return self.room._participants.get(person.identity)  # type: ignore[arg-type]

    # -- time -------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Let everything happen that does not wait for time."""
        world, quiet = self.world, 0
        lines: list[Line] = world.clients  # type: ignore[assignment]
        while quiet < 3:
            world.hub.dispatch()
            for line in lines:
                line.collect()
            await asyncio.sleep(0)
            busy = (
                self.engine._events
                or (self.room._task.inbox._messages and not self.room.closed.is_set())
                or any(len(line.source) for line in lines)
                or any(len(line.sink) and line.person.reads for line in lines)
            )
            quiet = 0 if busy else quiet + 1
        world.clients = [line for line in lines if not (line.sink.closed and line.source.closed)]

    async def advance(self, seconds: float) -> None:
        """Let time pass from one deadline of the room to the next."""
        await self.settle()
        end = self.clock.now() + seconds
        while (left := end - self.clock.now()) > 1e-9:
            deadline = self.room.timers.next_deadline()
            step = left if deadline is None else deadline - self.clock.now() + 1e-6
            self.clock.advance(min(left, max(step, 1e-3)))
            self.room._task.wake()
            await self.settle()

    # -- coming and going -------------------------------------------------------------------------

    async def join(self, person: Person, *, shy: bool = False, **values: Any) -> bool:
        """Join afresh or resume; returns whether it was taken."""
        line = Line(self.world, session(person.identity, **values), person)
        person.reads = True
        if not line.start.reconnect:
            person.text = JOIN_OFFER
        person.line = line
        self.world.clients.append(line)
        self.engine.shy = shy
        try:
            await self.room.join(line.start, line.sink, line.source)
        except LkpyError:
            line.sink.close()
            line.source.close()
            await self.settle()
            return False
        finally:
            self.engine.shy = False
        await self.settle()
        return not line.source.closed

    async def begin(self, watcher: dict[str, Any], publisher: dict[str, Any]) -> None:
        """The well-behaved two come, and one publishes a microphone."""
        logging.getLogger().addHandler(self.alarms)
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.alarms.raised.append(str(context))
        )
        self.room.start()
        await self.join(self.publisher, auto_subscribe=False, **publisher)
        await self.join(self.watcher, **watcher)
        for person in (self.publisher, self.watcher):
            await self.open_channels(person)
        assert self.publisher.line is not None
        await self.publisher.line.publish(microphone())

    async def open_channels(self, person: Person) -> None:
        """The client's own data channels."""
        assert person.line is not None
        await person.line.open_channels()

    # -- what holds -------------------------------------------------------------------------------

    def look(self) -> None:
        """What holds at any time."""
        check(not self.alarms.raised, "\n".join(self.alarms.raised))
        check(not self.engine.refused, "\n".join(self.engine.refused))
        for person in (self.watcher, self.publisher):
            check(person.online, f"{person.identity} lost its connection")
            check(self.participant(person) is not None, f"{person.identity} is gone")
        open_lines = [line.start.identity for line in self.world.clients if not line.left]
        check(len(open_lines) == len(set(open_lines)), f"two sessions of one: {open_lines}")
        members = self.room._participants
        check(
            set(self.room._sessions._readers) <= {p.sid for p in members.values()},
            "a reader is left",
        )
        self._bounded()
        self._owned()
        self._watched()

    def _bounded(self) -> None:
        room = self.room
        check(len(room._task.inbox) <= ROOM_INBOX, "inbox")
        check(len(room._sessions._departures._left) <= DEPARTURES, "departures")
        check(room.data.log._bytes <= RELIABLE_REPLAY_BYTES, "reliable log")
        timers = room.timers
        check(len(timers._heap) <= 2 * len(timers._set) + 64, "timers that were set again")
        for participant in room._participants.values():
            tracks = participant.publishing.tracks
            check(len(tracks._pending) <= MAX_PENDING_TRACKS, "pending tracks")
            known = participant.subscribing._subscriptions._tracks
            check(len(known) <= MAX_SUBSCRIPTIONS, "wishes")
            check(len(list(participant.data_tracks)) <= MAX_DATA_TRACKS, "data tracks")
            check(len(participant.rpc) <= MAX_RPC_CALLS, "RPC calls")

    def _owned(self) -> None:
        """The engine has nothing, and the room remembers nothing, of what is not there any more."""
        engine, members = self.engine, list(self.room._participants.values())
        tracks = [track for p in members for track in p.publishing.tracks]
        subscribed = [t for p in members for t in p.subscribing.tracks]
        owned = {
            "transports": (engine.transports, {t.id for p in members for t in p.transports.all}),
            "receivers": (engine.receivers, {s.receiver for t in tracks for s in t.sources}),
            "down tracks": (engine.down_tracks, {t.handle.id for t in subscribed}),
            "data tracks": (
                engine.data_tracks,
                {t.engine_id for p in members for t in p.data_tracks},
            ),
            "data down tracks": (
                engine.data_down_tracks,
                {r.engine_id for p in members for r in p.data_subscriptions.received},
            ),
            "tracks": (self.room.tracks._tracks, {t.sid for t in tracks}),
            "received tracks": ({t.sid for t in subscribed}, set(self.room.tracks._tracks)),
            "dynacast": (
                {sid for p in members for sid in (*p.dynacast._video, *p.dynacast._audio)},
                {t.sid for t in tracks},
            ),
            "speakers": (
                {*self.room._speakers._speakers._levels, *self.room._speakers._speakers._told},
                {p.sid for p in members},
            ),
            "timers": (
                {key[0] for key in self.room.timers._set if isinstance(key, tuple)},
                {p.sid for p in members},
            ),
        }
        for what, (there, known) in owned.items():
            left = set(there) - known
            check(not left, f"{what} of nobody: {left}")

    def _watched(self) -> None:
        """The watcher knows of everybody what has been so for as long as a batch may wait."""
        now = self.clock.now()
        members = self.room._participants
        told = {
            name for name, at in self.changes.at.items() if now - at > _TOLD_WITHIN_S
        } - self.ever_hidden
        for name in told:
            participant = members.get(name)  # type: ignore[call-overload]
            known = self.watcher.people.get(name)
            if participant is None:
                check(known is None, f"{name} is gone and the watcher does not know")
            elif not participant.hidden:
                check(known is not None, f"{name} is here and the watcher does not know")
                here = participant.to_proto()
                check(known == here, f"the watcher knows\n{known}\nand not\n{here}")

    # -- the end ----------------------------------------------------------------------------------

    async def end(self) -> None:
        """The well-behaved two still have what they came for; then everybody goes, and nothing is
        left of anybody."""
        await self.advance(4)
        self.look()
        await self._fresh_track()
        await self._data()
        await self._everybody_goes()
        await self.advance(30)
        self._nothing_is_left()
        await self.room.close(models.DisconnectReason.SERVER_SHUTDOWN)
        await self.settle()
        check(all(call.done() for call in self.calls), "a call does not end")
        for call in self.calls:
            error = None if call.cancelled() else call.exception()
            check(error is None or isinstance(error, LkpyError), repr(error))
        self.calls.clear()
        check(not self.alarms.raised, "\n".join(self.alarms.raised))
        left = asyncio.all_tasks() - {asyncio.current_task()}
        check(not left, f"tasks are left: {left}")

    async def _fresh_track(self) -> None:
        assert self.publisher.line is not None
        await self.publisher.line.send(add_track=camera())
        await self.advance(1.5)
        self.look()
        publisher, watcher = self.participant(self.publisher), self.participant(self.watcher)
        assert publisher is not None
        assert watcher is not None
        (track,) = [t for t in publisher.publishing.tracks if t.kind == "video"]
        receivers = {source.receiver for source in track.sources}
        sending = watcher.transports.sending.id
        flows = any(
            d.receiver in receivers and d.transport == sending
            for d in self.engine.down_tracks.values()
        )
        limits = self.room.options.limits
        limited = limits.subscription_limit_video or limits.subscription_limit_audio
        check(flows or limited, "a fresh track does not reach the watcher")

    async def _data(self) -> None:
        self.engine.forget()
        watcher = self.participant(self.watcher)
        assert watcher is not None
        assert self.publisher.line is not None
        user = models.UserPacket(payload=b"still there")
        await self.publisher.line.send_data(models.DataPacket(user=user))
        channel = watcher.data.outgoing(reliable=True)
        sent = [s for s in self.engine.of(SendData) if b"still there" in s.payload]
        check(any(channel in s.channels for s in sent), "data does not reach the watcher")

    async def _everybody_goes(self) -> None:
        for person in self.everybody:
            person.reads = True
            if person.online and person.line is not None:
                person.line.say(leave=rtc.LeaveRequest())
        await self.settle()
        for participant in list(self.room._participants.values()):
            for transport in participant.transports.all:
                failed = engine_api.IceState.FAILED
                self.engine.inject(engine_api.IceStateChanged(transport.id, failed))
        for line in self.world.clients:
            line.source.close()
        await self.settle()

    def _nothing_is_left(self) -> None:
        check(not self.alarms.raised, "\n".join(self.alarms.raised))
        check(not self.engine.refused, "\n".join(self.engine.refused))
        engine, room = self.engine, self.room
        left = {
            "participants": room._participants,
            "readers": room._sessions._readers,
            "tracks": room.tracks._tracks,
            "data tracks of the room": room.data_tracks._tracks,
            "transports": engine.transports,
            "receivers": engine.receivers,
            "down tracks": engine.down_tracks,
            "data tracks": engine.data_tracks,
            "data down tracks": engine.data_down_tracks,
            "hub bindings": self.world.hub._handlers,
            "stats requests": self.world.hub._stats,
            "timers": [key for key in room.timers._set if isinstance(key, tuple)],
            "speakers": [] if room._speakers._speakers.idle else ["somebody speaks"],
            "heard": room._speakers._heard,
            "updates": room._announcements._waiting._waiting,
            "faults": {**room.resume_faults._silent, **room.resume_faults._after_messages},
        }
        for what, remains in left.items():
            check(not remains, f"{what} are left: {remains}")

    async def close(self) -> None:
        """Clean up, whatever happened."""
        for call in self.calls:
            call.cancel()
        with contextlib.suppress(LkpyError):
            await self.room.close(models.DisconnectReason.SERVER_SHUTDOWN)
        for line in self.world.clients:
            line.source.close()
        for _ in range(5):
            await asyncio.sleep(0)
        logging.getLogger().removeHandler(self.alarms)
        self.engine.close()
