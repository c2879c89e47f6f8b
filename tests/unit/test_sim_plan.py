"""The plan: who does what when, and the load expected."""

from __future__ import annotations

import pytest

from lkpy.sim import loader, plan
from lkpy.sim.plan import ActionKind

STAGE = """\
version: 1
name: p
seed: {seed}
duration: 60s
groups:
  - name: stage
    count: 2
    publish: [{{kind: audio}}, {{kind: video, fps: 20, layers: [180p, 360p, 540p]}}]
    subscribe: {stage_subscribe}
  - {{name: audience, count: 10, rooms: {rooms}, start: 5s, ramp: {ramp}, subscribe: {quality}}}
"""


def make(
    ramp: str = "10s",
    *,
    rooms: int = 1,
    quality: str = "true",
    stage_subscribe: str = "false",
    seed: int = 1,
) -> plan.Plan:
    text = STAGE.format(
        ramp=ramp, rooms=rooms, quality=quality, stage_subscribe=stage_subscribe, seed=seed
    )
    return plan.make(loader.parse(text, "p.yaml", {}))


def times(made: plan.Plan, kind: ActionKind, group: int = 1) -> list[float]:
    return [a.at for a in made.actions if a.kind is kind and made.clients[a.client].group == group]


def test_everyone_joins_once_evenly_over_the_ramp() -> None:
    made = make()
    assert times(made, ActionKind.JOIN) == [5 + index for index in range(10)]
    assert times(made, ActionKind.JOIN, group=0) == [0, 0]
    assert len({client.identity for client in made.clients}) == 12


def test_stages_go_up_hold_and_down() -> None:
    made = make("[{to: 4, over: 4s}, {hold: 10s}, {to: 10, over: 6s}, {to: 0, over: 2s}]")
    joins, leaves = times(made, ActionKind.JOIN), times(made, ActionKind.LEAVE)
    assert joins == [5, 6, 7, 8, 19, 20, 21, 22, 23, 24]
    assert leaves == pytest.approx([25 + index * 0.2 for index in range(10)])
    left = [a.client for a in made.actions if a.kind is ActionKind.LEAVE]
    joined = [a.client for a in made.actions if a.kind is ActionKind.JOIN][2:]
    assert left == joined[::-1]


def test_nothing_happens_after_the_end() -> None:
    assert times(make("100s"), ActionKind.JOIN)[-1] <= 60


def test_rooms_are_shared_in_turn() -> None:
    made = make(rooms=3)
    assert made.rooms == ("p-0", "p-1", "p-2")
    audience = [client.room for client in made.clients if client.group == 1]
    assert [audience.count(room) for room in made.rooms] == [4, 3, 3]


def test_the_same_seed_gives_the_same_plan_and_another_does_not() -> None:
    assert make(seed=1) == make(seed=1)
    assert make(seed=1) != make(seed=2)


def test_load_is_what_publishers_send_times_who_takes_it() -> None:
    stage, audience = make().loads
    # 50 of audio; 540p at 900 kbit/s and 20 fps is 5,625 bytes in 6 packets a frame, 120 a second
    assert audience.received.packets == 10 * 2 * (50 + 120)
    assert audience.tracks == 10 * 2 * 2
    assert stage.received.packets == 0
    assert stage.sent.packets == 2 * (50 + 20 * (1 + 3 + 6))


def test_nobody_receives_his_own_tracks() -> None:
    stage, _ = make(stage_subscribe="true").loads
    assert stage.tracks == 2 * 2


def test_a_smaller_quality_is_a_smaller_load() -> None:
    low, high = make(quality="low").loads[1], make(quality="high").loads[1]
    assert low.received.packets == 10 * 2 * (50 + 20)
    assert low.received.bits < high.received.bits / 3


def test_other_rooms_send_nothing() -> None:
    # The two publishers are in room 0, which has 4 of the 10.
    assert make(rooms=3).loads[1].tracks == 4 * 2 * 2
