"""Tracks that should flow and do not: which of them are errors. Pure.

Workers tell for each second which tracks are due and silent, and which of those that they publish
were not sent. What comes from another process's client is judged here, where both are known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lkpy.sim.plan import Plan
from lkpy.sim.scenario import Scenario

SILENT_AFTER_S = 1.0
"""A track that brings nothing for longer is silent."""
FRAMES_OF_PATIENCE = 3
"""Slow video is given this many frame intervals, where they are longer."""
REMEMBERED_S = 120
"""Seconds for which a silence that has ended can be judged; a longer one was told before."""
LATE_S = 0.25
"""In a second in which an event loop was this late, a silence may be the generator's own."""


@dataclass(frozen=True, slots=True)
class PlannedTrack:
    """A track that the plan has a client publish."""

    publisher: int
    """Number of the client."""
    identity: str
    source: str
    patience: float
    """Seconds without a packet that mean nothing."""


@dataclass(slots=True)
class Silence:
    """A track of which nothing came; times are seconds of the run."""

    client: int
    track: str
    publisher: int
    source: str
    began: float
    ended: float | None = None
    """None: until the end."""
    paused: bool = False
    """The server had told the publisher to pause; otherwise it was sending."""


def planned_tracks(scenario: Scenario, plan: Plan) -> dict[str, PlannedTrack]:
    """Return all tracks of a plan by the name under which clients publish them."""
    found = {}
    for client in plan.clients:
        for index, track in enumerate(scenario.groups[client.group].publish):
            video = track.kind == "video"
            interval = 1 / track.fps if track.kind == "video" else 0.0
            found[track_name(client.identity, index)] = PlannedTrack(
                client.number,
                client.identity,
                "camera" if video else "microphone",
                max(SILENT_AFTER_S, FRAMES_OF_PATIENCE * interval),
            )
    return found


def track_name(identity: str, index: int) -> str:
    """Return the name of a client's track, which is also its client id (``cid``)."""
    return f"{identity}-{index}"


class SilentTrack(NamedTuple):
    """What a client told: nothing came of a track; times are seconds of the run."""

    client: int
    track: str
    since: float
    until: float | None
    """None: nothing has come yet."""


@dataclass
class Second:
    """What the judge needs of one second, from all processes."""

    at: int
    lag: float
    """How late the event loop of any process was in it."""
    silent: Sequence[SilentTrack] = ()
    idle: Mapping[str, str] = field(default_factory=dict)
    """Tracks not sent, and why: ``paused`` or ``stopped``."""


class SilenceJudge:
    """Turns seconds into silences. Seconds come in order; one that is missing vouches for nothing.

    A silence counts when all its seconds vouch for it, or the last two of one that goes on: no
    process was late in them, and the publisher was sending, or was told by the server not to.
    """

    def __init__(self, tracks: Mapping[str, PlannedTrack]) -> None:
        self.found: list[Silence] = []
        self._tracks = tracks
        self._open: dict[tuple[int, str], Silence] = {}
        self._seconds: dict[int, Second] = {}

    def second(self, now: Second) -> list[Silence]:
        """Take a second; return the silences that are new in it."""
        self._seconds[now.at] = now
        self._seconds.pop(now.at - REMEMBERED_S, None)
        going_on = {(t.client, t.track) for t in now.silent if t.until is None}
        begun = []
        for told in now.silent:
            key = (told.client, told.track)
            known = self._open.get(key)
            if known is not None:
                if told.until is not None:
                    self._open.pop(key).ended = told.until
                continue
            silence = self._judge(told, now.at)
            if silence is None:
                continue
            begun.append(silence)
            if told.until is None:
                self._open[key] = silence
        for key in self._open.keys() - going_on:
            self._open.pop(key).ended = float(now.at)
        self.found.extend(begun)
        return begun

    def _judge(self, told: SilentTrack, at: int) -> Silence | None:
        track = self._tracks.get(told.track)
        if track is None:
            return None
        first = at - 1 if told.until is None else math.floor(told.since) + 1
        seconds = [self._seconds.get(second) for second in range(first, at + 1)]
        lag = max((second.lag if second is not None else math.inf) for second in seconds)
        lasted = (told.until if told.until is not None else at) - told.since
        # What came late to us was not late on the way.
        if lag > LATE_S or lasted - lag <= track.patience:
            return None
        states = {second.idle.get(told.track) for second in seconds if second is not None}
        # A publisher whose track was never taken by the server cannot have sent it.
        if told.client != track.publisher and "stopped" in states:
            return None
        return Silence(
            told.client,
            told.track,
            track.publisher,
            track.source,
            told.since,
            told.until,
            paused="paused" in states,
        )

    def excuse(self, waited: Mapping[int, float], end: float) -> int:
        """Drop silences that the server's wait for a processor explains; return how many.

        ``waited`` is its wait in seconds by the second of the run, ``end`` the run's end.
        """
        kept = []
        for silence in self.found:
            until = silence.ended if silence.ended is not None else end
            seconds = range(math.floor(silence.began) + 1, math.ceil(until) + 1)
            excused = sum(waited.get(second, 0.0) for second in seconds)
            if until - silence.began - excused > self._tracks[silence.track].patience:
                kept.append(silence)
        dropped = len(self.found) - len(kept)
        self.found = kept
        return dropped

    def forget_after(self, at: float) -> None:
        """Drop silences that began later than ``at``: something else explains them."""
        self.found = [silence for silence in self.found if silence.began < at]


def words(silence: Silence, publisher: str) -> str:
    """Say what happened, for people."""
    kind = "audio" if silence.source == "microphone" else "video"
    if silence.client == silence.publisher:
        return f"its {kind} ({silence.source}, {silence.track}) was not taken by the server"
    why = "the server had paused its publisher" if silence.paused else "its publisher was sending"
    until = "for over a second" if silence.ended is None else f"until {silence.ended:.1f} s"
    return f"no {kind} of {publisher} ({silence.source}, {silence.track}) {until}; {why}"
