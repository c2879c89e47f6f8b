"""Tracks that should flow and do not: which of them are errors. Pure.

Workers tell for each second which tracks are due and silent, and which of those that they publish
were not sent. What comes from another process's client is judged here, where both are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lkpy.sim.plan import Plan
from lkpy.sim.scenario import Scenario

SILENT_AFTER_S = 1.0
"""A track that brings nothing for longer is silent."""
FRAMES_OF_PATIENCE = 3
"""Slow video is given this many frame intervals, where they are longer."""
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


@dataclass
class Second:
    """What the judge needs of one second, from all processes."""

    at: int
    lag: float
    silent: Iterable[tuple[int, str, float]] = ()
    """Client, track, silent since."""
    idle: Mapping[str, str] = field(default_factory=dict)
    """Tracks not sent, and why: ``paused`` or ``stopped``."""


class SilenceJudge:
    """Turns seconds into silences. Seconds come in order; those that are missing are not judged.

    A silence counts when two seconds agree on it: no process was late in either, and in both the
    publisher was sending, or was told by the server not to.
    """

    def __init__(self, tracks: Mapping[str, PlannedTrack]) -> None:
        self.found: list[Silence] = []
        self._tracks = tracks
        self._open: dict[tuple[int, str], Silence] = {}
        self._previous: Second | None = None

    def second(self, now: Second) -> list[Silence]:
        """Take a second; return the silences that are new in it."""
        previous, self._previous = self._previous, now
        present = set()
        begun = []
        for client, name, since in now.silent:
            key = (client, name)
            present.add(key)
            track = self._tracks.get(name)
            if key in self._open or track is None or previous is None:
                continue
            if previous.at != now.at - 1 or max(previous.lag, now.lag) > LATE_S:
                continue
            states = {previous.idle.get(name), now.idle.get(name)}
            # Who publishes a track that the server never took is at fault with nobody else.
            own = client == track.publisher
            if not own and states not in ({None}, {"paused"}):
                continue
            silence = Silence(client, name, track.publisher, track.source, since)
            silence.paused = states == {"paused"}
            self._open[key] = silence
            begun.append(silence)
        for key in self._open.keys() - present:
            self._open.pop(key).ended = float(now.at)
        self.found.extend(begun)
        return begun

    def forget_after(self, at: float) -> None:
        """Drop silences that began later than ``at``: something else explains them."""
        self.found = [silence for silence in self.found if silence.began < at]


def words(silence: Silence, publisher: str) -> str:
    """Say what happened, for people."""
    kind = "audio" if silence.source == "microphone" else "video"
    if silence.client == silence.publisher:
        return f"its {kind} ({silence.source}, {silence.track}) was not taken by the server"
    why = "the server had paused its publisher" if silence.paused else "its publisher was sending"
    until = "for over a second" if silence.ended is None else f"until {silence.ended:.0f} s"
    return f"no {kind} of {publisher} ({silence.source}, {silence.track}) {until}; {why}"
