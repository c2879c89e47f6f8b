"""Any interleaving of lost signals, lost networks, resumes and fresh joins keeps what a resume
promises.

The rules are R1 to R6: reliable data arrives once and in order, wishes are those last said, sids
stay, everybody knows who is here, one session per identity, and nothing of an old one survives.
Clients behave as livekit-client does: what is said while the signal is away waits, what was sent
reliably is repeated from where the server says, and what was received already is ignored.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from livekit.protocol import models, rtc

from lkpy.engine.api import (
    DataChannelClosed,
    DataChannelOpened,
    DataReceived,
    IceState,
    IceStateChanged,
    SendData,
)
from lkpy.errors import LkpyError
from lkpy.sdp import SessionDescription
from tests.room_kit import JOIN_OFFER, Client, World, camera, microphone

ICE_FAILED_S = 15.0
"""After which the engine tells that nothing is heard of a peer."""
WHO = st.sampled_from(["alice", "bob"])
State = models.ParticipantInfo.State


def restarted(generation: int) -> str:
    description = SessionDescription.parse(JOIN_OFFER)
    for media in description.media:
        media.transport.ice_ufrag = f"gen{generation}"
        media.transport.ice_pwd = "q" * 24
    return str(description)


class Person:
    """A client over all its connections and sessions."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.signal: Client | None = None
        self.sid = ""
        self.network = True
        self.failed_at: float | None = None
        """When the engine will say that the network is gone."""
        self.channel_alive = False
        self.stream = 0
        self.sequence = 0
        self.repeatable: list[models.DataPacket] = []
        """What was sent in this session."""
        self.up: list[models.DataPacket] = []
        """On its way to the server."""
        self.down: list[bytes] = []
        """On its way to the client."""
        self.last: dict[str, int] = {}
        self.received: dict[str, list[int]] = defaultdict(list)
        self.joined_at = 0
        """How much the server had accepted when the session began."""
        self.wishes: set[str] = set()
        self.disabled: set[str] = set()
        self.waiting: list[rtc.SignalRequest] = []
        self.people: dict[str, str] = {}

    @property
    def online(self) -> bool:
        return self.signal is not None and not self.signal.left and not self.signal.source.closed

    def take(self, payload: bytes) -> None:
        packet = models.DataPacket.FromString(payload)
        if packet.sequence <= self.last.get(packet.participant_sid, 0):
            return
        self.last[packet.participant_sid] = packet.sequence
        self.received[packet.participant_sid].append(packet.sequence)


class ResumeMachine(RuleBasedStateMachine):
    """Two people and a camera whose tracks they may want."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = self.run(self.make_world())
        self.people = {name: Person(name) for name in ("alice", "bob")}
        self.accepted: list[tuple[str, int]] = []
        self.sent = 0
        self.generation = 0
        self.tracks: list[str] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def make_world(self) -> World:
        world = World()
        world.room.start()
        return world

    @initialize()
    def begin(self) -> None:
        self.run(self.publish())
        for person in self.people.values():
            self.run(self.join(person))

    async def publish(self) -> None:
        camera_client = await self.world.join("camera")
        await camera_client.publish(camera(), microphone())
        self.tracks = [t.sid for t in camera_client.participant.publishing.tracks]

    # -- the world between clients and room -------------------------------------------------------

    async def settle(self) -> None:
        await self.world.settle()
        self.carry()
        await self.world.settle()
        self.carry()
        for person in self.people.values():
            self.look(person)

    def carry(self) -> None:
        """What the room sent goes to whom it is for."""
        commands = self.world.engine.of(SendData)
        for command in commands[self.sent :]:
            for person in self.people.values():
                transport = self.transport(person)
                if person.channel_alive and (transport, person.stream) in command.channels:
                    person.down.append(command.payload)
        self.sent = len(commands)
        for person in self.people.values():
            self.flush(person)

    def flush(self, person: Person) -> None:
        if not (person.network and person.channel_alive):
            return
        for payload in person.down:
            person.take(payload)
        person.down.clear()
        for packet in person.up:
            transport = self.transport(person)
            if transport is None:
                return
            known = max((s for sid, s in self.accepted if sid == person.sid), default=0)
            if packet.sequence > known:
                self.accepted.append((person.sid, packet.sequence))
            data = packet.SerializeToString()
            self.world.engine.inject(DataReceived(transport, person.stream, data, True))
        person.up.clear()

    def transport(self, person: Person) -> int | None:
        participant = self.world.room._participants.get(person.identity)
        if participant is None or participant.sid != person.sid:
            return None
        return participant.transports.publisher.id

    def look(self, person: Person) -> None:
        """Read what the server said."""
        if person.signal is None:
            return
        for response in person.signal.fresh():
            if response.HasField("join"):
                others = response.join.other_participants
                person.people = {p.identity: p.sid for p in others}
            for info in response.update.participants:
                if info.state != State.DISCONNECTED:
                    person.people[info.identity] = info.sid
                elif person.people.get(info.identity) == info.sid:
                    del person.people[info.identity]

    async def advance(self, seconds: float) -> None:
        while seconds > 0:
            step = min(seconds, 0.5)
            seconds -= step
            await self.world.advance(step)
            for person in self.people.values():
                if person.failed_at is not None and self.world.clock.now() >= person.failed_at:
                    person.failed_at = None
                    transport = self.transport(person)
                    if transport is not None:
                        self.world.engine.inject(IceStateChanged(transport, IceState.FAILED))
            await self.settle()

    # -- what clients do --------------------------------------------------------------------------

    async def join(self, person: Person) -> None:
        fresh = Person(person.identity)
        fresh.wishes, fresh.disabled = person.wishes, person.disabled
        self.people[person.identity] = fresh
        fresh.joined_at = len(self.accepted)
        if person.signal is not None:
            person.signal.source.close()
        fresh.signal = await self.world.join(person.identity, auto_subscribe=False)
        fresh.sid = fresh.signal.last("join").participant.sid
        self.open_channel(fresh)
        await self.settle()
        await self.say(fresh, self.wanted(fresh))
        await self.say(fresh, self.settings(fresh))

    def open_channel(self, person: Person) -> None:
        transport = self.transport(person)
        assert transport is not None
        person.stream += 2
        person.channel_alive = True
        self.world.engine.inject(
            DataChannelOpened(transport, person.stream, "_reliable", "", True, None)
        )

    async def say(self, person: Person, request: rtc.SignalRequest) -> None:
        if person.online and person.signal is not None:
            person.signal.source.write(request)
            await self.settle()
        else:
            person.waiting.append(request)

    def wanted(self, person: Person) -> rtc.SignalRequest:
        wishes = rtc.UpdateSubscription(track_sids=person.wishes, subscribe=True)
        return rtc.SignalRequest(subscription=wishes)

    def settings(self, person: Person) -> rtc.SignalRequest:
        off = rtc.UpdateTrackSettings(track_sids=person.disabled, disabled=True)
        return rtc.SignalRequest(track_setting=off)

    async def come_back(self, person: Person) -> bool:
        """Resume, or join afresh when told to; returns whether it was resumed."""
        signal = await self.world.join(person.identity, auto_subscribe=False, reconnect=True)
        first = signal.responses[0]
        if first.HasField("leave"):
            assert first.leave.action == rtc.LeaveRequest.Action.RECONNECT
            await self.join(person)
            return False
        if person.signal is not None:
            person.signal.source.close()
        person.signal = signal
        await self.repair(person, first.reconnect.last_message_seq)
        return True

    async def repair(self, person: Person, last_message_seq: int) -> None:
        assert person.signal is not None
        states = [
            rtc.DataChannelReceiveState(publisher_sid=sid, last_seq=last)
            for sid, last in person.last.items()
        ]
        wishes = rtc.UpdateSubscription(track_sids=person.wishes, subscribe=True)
        state = rtc.SyncState(
            subscription=wishes,
            track_sids_disabled=person.disabled,
            datachannel_receive_states=states,
        )
        await person.signal.send(sync_state=state)
        self.generation += 1
        await person.signal.offer(restarted(self.generation), offer_id=self.generation + 10)
        person.network, person.failed_at = True, None
        if not person.channel_alive:
            self.open_channel(person)
        await self.settle()
        person.up += [p for p in person.repeatable if p.sequence > last_message_seq]
        waiting, person.waiting = person.waiting, []
        for request in waiting:
            await self.say(person, request)
        await self.settle()

    # -- rules ------------------------------------------------------------------------------------

    @rule(who=WHO)
    def lose_signal(self, who: str) -> None:
        person = self.people[who]
        if person.signal is not None:
            person.signal.source.close()
        self.run(self.settle())

    @rule(who=WHO, for_good=st.booleans())
    def lose_network(self, who: str, for_good: bool) -> None:
        """``for_good``: the data association does not survive it."""
        person = self.people[who]
        if person.network:
            person.network = False
            person.failed_at = self.world.clock.now() + ICE_FAILED_S
        if for_good and person.channel_alive:
            person.channel_alive = False
            person.down.clear()
            person.up.clear()
            transport = self.transport(person)
            if transport is not None:
                self.world.engine.inject(DataChannelClosed(transport, person.stream))
        self.run(self.settle())

    @rule(who=WHO)
    def lose_what_is_in_flight(self, who: str) -> None:
        """The network goes, the other sends, the data association goes."""
        self.lose_network(who, for_good=False)
        self.send_data("bob" if who == "alice" else "alice")
        self.lose_network(who, for_good=True)

    @rule(who=WHO)
    def lose_connection(self, who: str) -> None:
        """For so long that the server asks for a resume."""
        self.lose_network(who, for_good=False)
        self.run(self.advance(ICE_FAILED_S + 0.5))

    @rule(who=WHO)
    def somebody_goes_meanwhile(self, who: str) -> None:
        """A visitor that everybody knows leaves while one is away."""

        async def visit() -> None:
            visitor = await self.world.join("visitor")
            await self.advance(3.5)
            person = self.people[who]
            if person.signal is not None:
                person.signal.source.close()
                # The client is gone too: nobody reads what comes.
                person.signal.sink.close()
            await visitor.send(leave=rtc.LeaveRequest())
            await self.advance(3.5)

        self.run(visit())

    @rule(who=WHO)
    def resume_with_last_words(self, who: str) -> None:
        """A request is on its way when another connection takes over."""
        person = self.people[who]

        async def both() -> None:
            await self.settle()
            if person.online and person.signal is not None:
                source = person.signal.source
                resuming = asyncio.ensure_future(self.come_back(person))
                source.write(rtc.SignalRequest(leave=rtc.LeaveRequest()))
                resumed = await resuming
                assert resumed == (person.sid == self.people[who].sid)
                assert resumed or not person.network

        self.run(both())

    @rule(who=WHO)
    def resume(self, who: str) -> None:
        person = self.people[who]
        sid = person.sid
        if self.run(self.come_back(person)):
            assert person.signal is not None
            assert person.signal.participant.sid == sid, "R3"

    @rule(who=WHO)
    def resume_twice_at_once(self, who: str) -> None:
        person = self.people[who]

        async def both() -> None:
            first = self.world.client(person.identity, auto_subscribe=False, reconnect=True)
            await asyncio.gather(
                self.world.room.join(first.start, first.sink, first.source),
                self.come_back(person),
            )
            await self.settle()

        self.run(both())

    @rule(who=WHO)
    def resume_and_join_at_once(self, who: str) -> None:
        person = self.people[who]

        async def both() -> None:
            first = self.world.client(person.identity, auto_subscribe=False, reconnect=True)
            await asyncio.gather(
                self.world.room.join(first.start, first.sink, first.source), self.join(person)
            )
            await self.settle()

        self.run(both())

    @rule(who=WHO)
    def join_afresh(self, who: str) -> None:
        self.run(self.join(self.people[who]))

    @rule(who=WHO)
    def say_something_late(self, who: str) -> None:
        """What an old connection still says is not heard."""
        old = [c for c in self.world.clients if c.start.identity == who]
        for client in old:
            if client is not self.people[who].signal:
                try:
                    client.source.write(rtc.SignalRequest(leave=rtc.LeaveRequest()))
                except LkpyError:
                    continue
        self.run(self.settle())

    @rule(who=WHO)
    def send_data(self, who: str) -> None:
        person = self.people[who]
        person.sequence += 1
        user = models.UserPacket(payload=b"x")
        packet = models.DataPacket(user=user, sequence=person.sequence)
        person.repeatable.append(packet)
        if person.channel_alive:
            person.up.append(packet)
        self.run(self.settle())

    @rule(who=WHO, track=st.integers(0, 1), wanted=st.booleans())
    def subscribe(self, who: str, track: int, wanted: bool) -> None:
        person, sid = self.people[who], self.tracks[track]
        (person.wishes.add if wanted else person.wishes.discard)(sid)
        wish = rtc.UpdateSubscription(track_sids=[sid], subscribe=wanted)
        self.run(self.say(person, rtc.SignalRequest(subscription=wish)))

    @rule(who=WHO, track=st.integers(0, 1), disabled=st.booleans())
    def disable(self, who: str, track: int, disabled: bool) -> None:
        person, sid = self.people[who], self.tracks[track]
        (person.disabled.add if disabled else person.disabled.discard)(sid)
        off = rtc.UpdateTrackSettings(track_sids=[sid], disabled=disabled)
        self.run(self.say(person, rtc.SignalRequest(track_setting=off)))

    @rule(seconds=st.sampled_from([0.5, 2.0, 4.0, 9.0]))
    def wait(self, seconds: float) -> None:
        self.run(self.advance(seconds))

    # -- what holds -------------------------------------------------------------------------------

    @invariant()
    def one_connection_per_identity(self) -> None:
        live: dict[str, int] = defaultdict(int)
        for client in self.world.clients:
            live[client.start.identity] += not client.sink.closed
        assert all(count <= 1 for count in live.values()), "R5"
        log = self.world.room.data.log._packets
        numbers = [(logged.sender, logged.packet.sequence) for logged in log]
        assert len(numbers) == len(set(numbers)), "R1: taken twice"
        readers = self.world.room._sessions._readers
        assert set(readers) <= {p.sid for p in self.world.room.participants()}, "R6"

    @precondition(lambda self: bool(self.tracks))
    @rule()
    def everybody_comes_back(self) -> None:
        for name in ("alice", "bob"):
            self.run(self.come_back(self.people[name]))
        self.run(self.advance(4))
        here = {p.identity: p.sid for p in self.world.room.participants()}
        for person in self.people.values():
            self.reliable_data_arrived(person)
            participant = self.world.room._participants[person.identity]
            received = {t.track.sid: t.handle.muted for t in participant.subscribing.tracks}
            assert set(received) == person.wishes, "R2"
            assert {s for s, muted in received.items() if muted} == person.wishes & person.disabled
            known = person.people | {person.identity: person.sid}
            assert known == here, "R4"

    def reliable_data_arrived(self, person: Person) -> None:
        expected: dict[str, list[int]] = defaultdict(list)
        for sid, sequence in self.accepted[person.joined_at :]:
            if sid != person.sid:
                expected[sid].append(sequence)
        assert person.received == expected, "R1"

    def teardown(self) -> None:
        if self.tracks:
            self.everybody_comes_back()
            self.run(self.advance(30))
            self.nothing_is_left()
        self.run(self.world.room.close(models.DisconnectReason.SERVER_SHUTDOWN))
        for client in self.world.clients:
            client.source.close()
        self.run(asyncio.sleep(0))
        assert self.world.engine.transports == {}
        assert asyncio.all_tasks(self.loop) == set()
        self.world.engine.close()
        self.loop.close()

    def nothing_is_left(self) -> None:
        members = list(self.world.room._participants.values())
        transports = {t.id for p in members for t in p.transports.all}
        assert set(self.world.engine.transports) == transports, "R6"
        receivers = set(self.world.engine.receivers)
        assert set(self.world.hub._handlers) == transports | receivers, "R6"
        owners = {key[0] for key in self.world.room.timers._set if isinstance(key, tuple)}
        assert owners <= {p.sid for p in members}, "R6"


TestResume = ResumeMachine.TestCase
TestResume.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
