"""Tracks that should flow and do not: what is due to a client, and which silences are errors."""

from __future__ import annotations

from livekit.protocol import models, rtc

from lkpy.sim import loader, plan
from lkpy.sim.judge.expected import START_GRACE_S, Arrivals, ExpectedTracks, Silent
from lkpy.sim.judge.silence import (
    LATE_S,
    PlannedTrack,
    Second,
    Silence,
    SilenceJudge,
    SilentTrack,
    planned_tracks,
)
from lkpy.sim.result import Event
from lkpy.sim.samples import Gathered
from lkpy.sim.worker import SAMPLE_COUNTERS

SCENARIO = loader.parse(
    """\
version: 1
name: talk
duration: 60s
groups:
  - name: stage
    publish: [{kind: audio}, {kind: video, fps: 2}]
  - {name: crowd, count: 2}
""",
    "talk.yaml",
    {},
)
PLAN = plan.make(SCENARIO)
DISCONNECTED = models.ParticipantInfo.State.DISCONNECTED
PAUSED, ACTIVE = rtc.StreamState.PAUSED, rtc.StreamState.ACTIVE


def publisher(*, muted: bool = False, tracks: int = 1, state: int = 2) -> models.ParticipantInfo:
    infos = [
        models.TrackInfo(sid=f"TR_{n}", name=f"stage-0-{n}", muted=muted) for n in range(tracks)
    ]
    return models.ParticipantInfo(sid="PA_1", identity="stage-0", tracks=infos, state=state)


def silent(
    expected: ExpectedTracks, now: float, last: dict[str, float] | None = None, since: float = 10.0
) -> dict[str, float]:
    came = {sid: Arrivals(at) for sid, at in (last or {}).items()}
    found = list(expected.silent(now, since, came, lambda name: 1.0 if name else None))
    assert all(track.until is None for track in found)
    return {track.name: track.since for track in found}


# -- what is due --------------------------------------------------------------------------------


def test_a_track_is_due_once_it_was_given_time_to_start() -> None:
    expected = ExpectedTracks()
    expected.announce([publisher()], "crowd-0", 20.0)
    assert silent(expected, 20.0 + START_GRACE_S) == {}
    assert silent(expected, 20.1 + START_GRACE_S) == {"stage-0-0": 20.0}
    # Time counts from the later of announcement and connection.
    assert silent(expected, 30.0, since=29.0) == {}


def test_a_second_without_packets_is_too_long() -> None:
    expected = ExpectedTracks()
    expected.announce([publisher()], "crowd-0", 20.0)
    assert silent(expected, 41.0, {"TR_0": 40.0}) == {}
    assert silent(expected, 41.1, {"TR_0": 40.0}) == {"stage-0-0": 40.0}


def test_a_gap_between_two_looks_is_seen() -> None:
    expected = ExpectedTracks()
    expected.announce([publisher()], "crowd-0", 20.0)

    def gaps(since: float, until: float) -> list[Silent]:
        came = {"TR_0": Arrivals(40.9, since, until)}
        return list(expected.silent(41.0, 10.0, came, lambda name: 1.0))

    assert gaps(39.2, 40.1) == []
    assert gaps(39.2, 40.5) == [Silent("stage-0-0", 39.2, 40.5)]
    assert gaps(19.0, 21.0) == [], "it was not due then"


def test_nothing_is_due_of_what_is_muted_paused_gone_or_our_own() -> None:
    late = 100.0
    expected = ExpectedTracks()
    expected.announce([publisher(muted=True)], "crowd-0", 20.0)
    assert silent(expected, late) == {}
    expected.announce([publisher()], "crowd-0", 96.0)
    assert silent(expected, late, {"TR_0": 50.0}) == {}, "it was unmuted just now"
    assert silent(expected, 120.0, {"TR_0": 50.0}) == {"stage-0-0": 96.0}
    paused = rtc.StreamStateInfo(participant_sid="PA_1", track_sid="TR_0", state=PAUSED)
    expected.stream_states(rtc.StreamStateUpdate(stream_states=[paused]), 120.0)
    assert silent(expected, 200.0) == {}
    active = rtc.StreamStateInfo(participant_sid="PA_1", track_sid="TR_0", state=ACTIVE)
    expected.stream_states(rtc.StreamStateUpdate(stream_states=[active]), 200.0)
    assert silent(expected, 201.0) == {}
    assert silent(expected, 210.0) == {"stage-0-0": 200.0}
    expected.announce([publisher(state=DISCONNECTED)], "crowd-0", 220.0)
    assert silent(expected, 300.0) == {}
    expected.announce([publisher()], "stage-0", 20.0)
    assert silent(expected, late) == {}


def test_a_track_that_was_unpublished_is_not_due_and_others_keep_their_time() -> None:
    expected = ExpectedTracks()
    expected.announce([publisher(tracks=2)], "crowd-0", 20.0)
    expected.announce([publisher(tracks=1)], "crowd-0", 30.0)
    assert silent(expected, 40.0) == {"stage-0-0": 20.0}


def test_nobody_owes_tracks_that_are_not_in_the_plan() -> None:
    expected = ExpectedTracks()
    stranger = models.ParticipantInfo(sid="PA_9", identity="guest")
    stranger.tracks.add(sid="TR_9")
    expected.announce([stranger], "crowd-0", 0.0)
    assert silent(expected, 100.0) == {}


def test_slow_video_may_take_its_time() -> None:
    tracks = planned_tracks(SCENARIO, PLAN)
    assert tracks == {
        "stage-0-0": PlannedTrack(0, "stage-0", "microphone", 1.0),
        "stage-0-1": PlannedTrack(0, "stage-0", "camera", 1.5),
    }


# -- which are errors ---------------------------------------------------------------------------


def second(
    at: int,
    silent: tuple[SilentTrack, ...] = (),
    *,
    lag: float = 0.01,
    idle: dict[str, str] | None = None,
) -> Second:
    return Second(at, lag, silent, idle or {})


def judge() -> SilenceJudge:
    return SilenceJudge(planned_tracks(SCENARIO, PLAN))


GONE = (SilentTrack(1, "stage-0-1", 33.2, None),)


def test_a_silence_has_a_beginning_and_an_end() -> None:
    made = judge()
    assert made.second(second(34)) == []
    (found,) = made.second(second(35, GONE))
    assert (found.client, found.track, found.source, found.began) == (
        1,
        "stage-0-1",
        "camera",
        33.2,
    )
    assert made.second(second(36, GONE)) == []
    assert found.ended is None
    made.second(second(37))
    made.second(second(38))
    assert found.ended == 37
    assert len(made.found) == 1
    (again,) = made.second(second(39, (SilentTrack(1, "stage-0-1", 37.1, None),)))
    assert again.began == 37.1
    # What is told of its end is more exact than the second in which nobody told of it any more.
    made.second(second(40, (SilentTrack(1, "stage-0-1", 37.1, 39.4),)))
    assert again.ended == 39.4


def test_a_silence_of_the_generators_own_making_is_none() -> None:
    for before, now in (
        (second(34, lag=2 * LATE_S), second(35, GONE)),
        (second(34), second(35, GONE, lag=8.0)),
        (second(34, idle={"stage-0-1": "stopped"}), second(35, GONE)),
        (second(34), second(35, GONE, idle={"stage-0-1": "stopped"})),
        (second(32), second(35, GONE)),
        # It has ended, and one of its seconds cannot vouch for it.
        (second(33), second(35, ENDED)),
        (second(34, lag=2 * LATE_S), second(35, ENDED)),
        (second(34, idle={"stage-0-1": "stopped"}), second(35, ENDED)),
    ):
        made = judge()
        made.second(before)
        assert made.second(now) == []
        # A track that does not come back is found as soon as two seconds can be trusted.
        made.second(second(36, GONE))
        assert len(made.second(second(37, GONE))) + len(made.found) >= 1


ENDED = (SilentTrack(1, "stage-0-1", 33.2, 34.9),)


def test_a_silence_that_has_ended_counts_too() -> None:
    made = judge()
    made.second(second(34))
    assert made.second(second(35, ENDED)) == [Silence(1, "stage-0-1", 0, "camera", 33.2, 34.9)]
    assert made.second(second(36)) == []
    assert len(made.found) == 1


def test_how_late_we_were_is_no_part_of_a_silence() -> None:
    slow = (SilentTrack(1, "stage-0-0", 33.2, 34.3),)
    made = judge()
    made.second(second(34, lag=0.2))
    assert made.second(second(35, slow)) == []
    made = judge()
    made.second(second(34, lag=0.05))
    assert len(made.second(second(35, slow))) == 1


def test_a_publisher_that_the_server_paused_is_no_excuse() -> None:
    made = judge()
    made.second(second(34, idle={"stage-0-1": "paused"}))
    (found,) = made.second(second(35, GONE, idle={"stage-0-1": "paused"}))
    assert found.paused


def test_a_publisher_whose_track_is_not_taken_is_told() -> None:
    made = judge()
    idle = {"stage-0-0": "stopped"}
    made.second(second(9, idle=idle))
    (found,) = made.second(second(10, (SilentTrack(0, "stage-0-0", 2.0, None),), idle=idle))
    assert found.client == found.publisher == 0


def test_a_server_that_got_no_processor_is_excused_for_that_time() -> None:
    made = judge()
    for at in (34, 35):
        made.second(second(at))
    made.second(second(36, (SilentTrack(1, "stage-0-0", 34.2, 35.9),)))
    assert made.excuse({34: 0.9, 35: 0.3, 36: 0.1}, 60.0) == 0
    assert made.excuse({35: 0.4, 36: 0.4}, 60.0) == 1
    assert made.found == []


def test_a_dead_server_explains_what_went_silent_with_it() -> None:
    made = judge()
    made.second(second(34))
    made.second(second(35, GONE))
    made.second(second(40, (SilentTrack(2, "stage-0-0", 38.0, None),)))
    made.second(second(41, (SilentTrack(2, "stage-0-0", 38.0, None),)))
    made.forget_after(35.0)
    assert [silence.client for silence in made.found] == [1]


# -- from messages to errors --------------------------------------------------------------------


def message(at: int, **others: object) -> dict[str, object]:
    counters = dict.fromkeys(SAMPLE_COUNTERS, 0)
    base = {"at": at, "groups": {"crowd": counters}, "cpu": 0.1, "lag": 0.0, "waited": 0.0}
    return base | {"silent": [], "idle": {}} | others


def test_a_silence_is_judged_when_all_processes_have_told_of_its_second() -> None:
    gathered = Gathered(SCENARIO, PLAN, 2)
    for at in (34, 35):
        assert gathered.sample(message(at, silent=[list(GONE[0])])) is None
        whole = gathered.sample(message(at))
        assert whole is not None
        events = gathered.silences(whole)
    assert events == [
        Event(
            33.2,
            "crowd-0",
            "no video of stage-0 (camera, stage-0-1) for over a second; its publisher was sending",
        )
    ]
    gathered.failure({"number": 2, "at": 3.0, "client": "crowd-1", "text": "bad \x1b[31m luck"})
    texts = [(event.at, event.text) for event in gathered.all_events()[0]]
    assert texts == [(3.0, r"bad \x1b[31m luck"), (33.2, events[0].text)]
    assert gathered.failed == {2}
