"""The plan: every client and every action with its time, and the load they should make.

Pure and seeded: the same scenario gives the same plan, on any machine and at any time.
"""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lkpy.sim.scenario import Group, Layer, PublishAudio, PublishVideo, Quality, Scenario

AUDIO_PACKETS_PER_S = 50
"""Opus packets of 20 ms."""
PAYLOAD_MAX = 1100
"""Bytes of VP8 per RTP packet: with every header it stays below a 1200 byte datagram."""
OVERHEAD = 12 + 16 + 6 + 16
"""Bytes per packet besides media: RTP header, extensions, VP8 descriptor, SRTP tag."""
_QUALITY_RANK: dict[Quality, int] = {"low": 0, "medium": 1, "high": 2}


class ActionKind(enum.StrEnum):
    """What a client does."""

    JOIN = "join"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One simulated participant."""

    number: int
    """Position in the whole run, from 0."""
    group: int
    """Index of its group in the scenario."""
    identity: str
    room: str
    phase: float
    """0 to 1: where in its periods (frames, reports) the client begins, so that clients of one
    run do not all act in the same instant."""


@dataclass(frozen=True, slots=True)
class Action:
    """One client doing one thing; ``at`` is seconds from the start of the run."""

    at: float
    client: int
    kind: ActionKind


@dataclass(frozen=True, slots=True)
class Load:
    """Media packets and bits per second in one direction."""

    packets: float = 0.0
    bits: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(self.packets + other.packets, self.bits + other.bits)

    def __mul__(self, times: float) -> Load:
        return Load(self.packets * times, self.bits * times)


@dataclass(frozen=True, slots=True)
class GroupLoad:
    """Expected load of one group when all its clients are there."""

    group: str
    clients: int
    sent: Load
    received: Load
    tracks: int
    """Tracks received, summed over the group's clients."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All clients, all actions in order of time, and the expected load at full size."""

    clients: tuple[ClientPlan, ...]
    actions: tuple[Action, ...]
    loads: tuple[GroupLoad, ...]
    duration: float

    @property
    def sent(self) -> Load:
        """Load from all publishers to the server."""
        return sum((load.sent for load in self.loads), Load())

    @property
    def received(self) -> Load:
        """Load from the server to all subscribers."""
        return sum((load.received for load in self.loads), Load())

    @property
    def rooms(self) -> tuple[str, ...]:
        """Names of all rooms, in order."""
        return tuple(dict.fromkeys(client.room for client in self.clients))


def make(scenario: Scenario) -> Plan:
    """Lay out ``scenario``."""
    clients: list[ClientPlan] = []
    actions: list[Action] = []
    for group_index, group in enumerate(scenario.groups):
        first = len(clients)
        generator = random.Random(f"{scenario.seed}/{group.name}")  # noqa: S311 - not a secret
        clients.extend(
            ClientPlan(
                number=first + index,
                group=group_index,
                identity=f"{group.name}-{index}",
                room=f"{scenario.name}-{index % group.rooms}",
                phase=generator.random(),
            )
            for index in range(group.count)
        )
        actions.extend(
            Action(at, first + index, kind)
            for at, index, kind in _ramp(group)
            if at <= scenario.duration
        )
    actions.sort(key=lambda action: (action.at, action.client))
    return Plan(
        clients=tuple(clients),
        actions=tuple(actions),
        loads=tuple(_loads(scenario, clients)),
        duration=scenario.duration,
    )


def _ramp(group: Group) -> Iterator[tuple[float, int, ActionKind]]:
    """Yield (time, index in group, action); the last to join is the first to leave."""
    now = group.start
    present: list[int] = []
    waiting = list(range(group.count - 1, -1, -1))
    for stage in group.ramp:
        if stage.hold is not None:
            now += stage.hold
            continue
        target = group.count if stage.to is None else stage.to
        span = stage.over or 0.0
        change = target - len(present)
        for step in range(abs(change)):
            at = now + span * step / abs(change)
            if change > 0:
                present.append(waiting.pop())
                yield at, present[-1], ActionKind.JOIN
            else:
                waiting.append(present.pop())
                yield at, waiting[-1], ActionKind.LEAVE
        now += span


def layer_load(layer: Layer, fps: int) -> Load:
    """Expected RTP of one video layer."""
    frame = layer.bitrate / 8 / fps
    packets = max(1, math.ceil(frame / PAYLOAD_MAX)) * fps
    return Load(packets, layer.bitrate + packets * OVERHEAD * 8)


def audio_load(audio: PublishAudio) -> Load:
    """Expected RTP of one microphone."""
    return Load(AUDIO_PACKETS_PER_S, audio.bitrate + AUDIO_PACKETS_PER_S * OVERHEAD * 8)


def received_layer(video: PublishVideo, quality: Quality) -> Layer:
    """Return the layer a subscriber that asks for ``quality`` gets."""
    return video.layers[min(_QUALITY_RANK[quality], len(video.layers) - 1)]


def _sent_load(group: Group) -> Load:
    load = Load()
    for track in group.publish:
        if isinstance(track, PublishAudio):
            load += audio_load(track)
        else:
            for layer in track.layers:
                load += layer_load(layer, track.fps)
    return load


def _received_load(publisher: Group, quality: Quality) -> Load:
    load = Load()
    for track in publisher.publish:
        if isinstance(track, PublishAudio):
            load += audio_load(track)
        else:
            load += layer_load(received_layer(track, quality), track.fps)
    return load


def _loads(scenario: Scenario, clients: Iterable[ClientPlan]) -> Iterator[GroupLoad]:
    population: dict[tuple[str, int], int] = {}
    for client in clients:
        place = (client.room, client.group)
        population[place] = population.get(place, 0) + 1
    for index, group in enumerate(scenario.groups):
        received, tracks = Load(), 0
        if group.subscribe.auto:
            for (room, other), present in population.items():
                mine = population.get((room, index), 0)
                # A client does not receive what it publishes itself.
                pairs = mine * (present - 1 if other == index else present)
                publisher = scenario.groups[other]
                received += _received_load(publisher, group.subscribe.quality) * pairs
                tracks += len(publisher.publish) * pairs
        yield GroupLoad(
            group=group.name,
            clients=group.count,
            sent=_sent_load(group) * group.count,
            received=received,
            tracks=tracks,
        )
