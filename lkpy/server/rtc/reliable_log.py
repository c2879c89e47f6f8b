"""What a room's participants were sent reliably of late, for those who could not take it. Pure;
told ``now``.

A participant that still joins gets what was sent meanwhile: packets with a number from the log
(livekit-server ``pkg/rtc/room.go`` dataMessageCache), others, as the server API sends, from its
own place (``pkg/rtc/participant.go`` SendDataMessage). One whose channel broke, with messages in
flight, gets after its resume what it has not received, by the sequence numbers that it names
(``SyncState.datachannel_receive_states``).
LiveKit relies on the SCTP association there and loses what was in flight when that dies.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from livekit.protocol import rtc

from lkpy.limits import (
    JOINING_UNNUMBERED_BYTES,
    RELIABLE_CATCH_UP_BYTES,
    RELIABLE_CATCH_UP_S,
    RELIABLE_REPLAY_BYTES,
    RELIABLE_REPLAY_S,
)
from lkpy.server.rtc.data_packets import Routed


@dataclass(slots=True)
class ReliableReader:
    """One participant's place in its room's log."""

    first: int
    """Number of the first packet after it joined."""
    next: int
    """Number of the first packet that came when it had no channel."""
    joining: bool = True
    """It has had no channel yet."""
    _held: list[tuple[int, Routed]] = field(default_factory=list)
    _held_bytes: int = 0
    _received: dict[str, int] | None = None
    _told_at: float = 0.0

    def hold(self, number: int, packet: Routed) -> bool:
        """Keep a packet without a sequence number until there is a channel. False: it is too much,
        and lost."""
        size = len(packet.payload)
        if self._held_bytes + size > JOINING_UNNUMBERED_BYTES:
            return False
        self._held.append((number, packet))
        self._held_bytes += size
        return True

    def take_held(self) -> list[tuple[int, Routed]]:
        """What was kept, by its number in the log."""
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    def interrupted(self, number: int) -> None:
        """Its channel is gone; ``number`` is the log's next."""
        if not self.joining:
            self.next = number

    def told(self, now: float, states: Iterable[rtc.DataChannelReceiveState]) -> None:
        """The client says which sequence number it has last received from each publisher."""
        self._received = {state.publisher_sid: state.last_seq for state in states}
        self._told_at = now

    def caught_up(self, now: float) -> Mapping[str, int] | None:
        """It has a channel from now on. Returns what the client has told lately, once."""
        received, self._received = self._received, None
        self.joining = False
        return received if now - self._told_at <= RELIABLE_REPLAY_S else None


@dataclass(frozen=True, slots=True)
class _Logged:
    number: int
    at: float
    sender: str
    packet: Routed


class ReliableLog:
    """The last reliable packets of a room, bounded by age and size."""

    def __init__(self) -> None:
        self._packets: deque[_Logged] = deque()
        self._bytes = 0
        self._next = 0

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def next(self) -> int:
        """The number that the next packet will have."""
        return self._next

    def reader(self) -> ReliableReader:
        """The place of a participant that joins now."""
        return ReliableReader(self._next, self._next)

    def add(self, now: float, sender: str, packet: Routed) -> None:
        """Remember a packet; the oldest go. ``sender`` is a participant's sid, or empty."""
        self._packets.append(_Logged(self._next, now, sender, packet))
        self._next += 1
        self._bytes += len(packet.payload)
        self.trim(now)

    def trim(self, now: float) -> None:
        """Forget what is too old or too much."""
        while self._packets and (
            self._bytes > RELIABLE_REPLAY_BYTES or now - self._packets[0].at >= RELIABLE_REPLAY_S
        ):
            self._bytes -= len(self._packets.popleft().packet.payload)

    @property
    def trims_at(self) -> float | None:
        """When the oldest packet will be too old."""
        return self._packets[0].at + RELIABLE_REPLAY_S if self._packets else None

    def catch_up(self, now: float, reader: ReliableReader, sid: str, identity: str) -> list[Routed]:
        """What the participant missed, in order; it has a channel from now on."""
        joining, held = reader.joining, reader.take_held()
        received = reader.caught_up(now)
        missed = [
            (logged.number, logged.packet)
            for logged in (self._recent(now) if joining else self._packets)
            if logged.sender != sid
            and logged.packet.reaches(sid, identity)
            and _is_missed(logged, reader, received)
        ]
        reader.next = self._next
        return [packet for _, packet in heapq.merge(missed, held, key=_number)]

    def _recent(self, now: float) -> Iterator[_Logged]:
        """Numbered packets that participants which join get: no older than ten seconds, and no more
        than so much."""
        numbered = [logged for logged in self._packets if logged.packet.sequence]
        excess = sum(len(logged.packet.payload) for logged in numbered)
        for logged in numbered:
            if now - logged.at <= RELIABLE_CATCH_UP_S and excess <= RELIABLE_CATCH_UP_BYTES:
                yield logged
            excess -= len(logged.packet.payload)


def _number(entry: tuple[int, Routed]) -> int:
    return entry[0]


def _is_missed(logged: _Logged, reader: ReliableReader, received: Mapping[str, int] | None) -> bool:
    if received is None or not logged.packet.sequence:
        return logged.number >= reader.next
    if logged.number < reader.first:
        return False
    return logged.packet.sequence > received.get(logged.sender, 0)
