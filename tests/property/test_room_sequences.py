"""Whatever clients, the network and the server API do to a room, in any order, the room does not
fail, nothing is left behind, and whoever behaves well does not notice.

Sequences come from seeds: a failure names its seed, which ``LKPY_SEED`` runs alone, and the
actions that it needs. ``LKPY_SEQUENCES`` says how many run (and ``LKPY_FIRST_SEED`` from where).
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from livekit.protocol import rtc

from lkpy.limits import Limits
from lkpy.server.rtc.options import RoomOptions, VideoOptions
from tests.property.sequences.clients import join
from tests.property.sequences.requests import REQUESTS
from tests.property.sequences.stage import Stage
from tests.property.sequences.steps import STEPS
from tests.property.sequences.values import one_in
from tests.property.sequences.watching import Broken

LENGTH = 50
COUNT = int(os.environ.get("LKPY_SEQUENCES", "150"))
FIRST = int(os.environ.get("LKPY_FIRST_SEED", "0"))
ONLY = os.environ.get("LKPY_SEED")
SHARDS = 10
_SHRINK_RUNS = 150
_HANGS_S = 300.0
"""Of real time, which a sequence does not need: nothing in it waits for the clock."""
PEOPLE = ("ann", "ben", "cat")
JOINS_FIRST = {"request", "publish", "wander", "data", "channels", "drop_signal"}
"""Steps that need somebody: whoever is away joins instead, most of the time."""


@dataclass(frozen=True)
class Action:
    """One step; its random values do not depend on the others'."""

    step: str
    person: str
    seed: int


@dataclass
class Outcome:
    """What a sequence came to."""

    failure: BaseException | None
    log: list[str]


def actions_of(seed: int) -> list[Action]:
    rng = random.Random(seed)
    names = list(STEPS)
    weights = [STEPS[name][0] for name in names]
    return [
        Action(name, rng.choice(PEOPLE), rng.getrandbits(48))
        for name in rng.choices(names, weights, k=LENGTH)
    ]


def stage_of(rng: random.Random) -> Stage:
    options = RoomOptions(
        video=VideoOptions(codec_regression_threshold=rng.choice([5, 0, 2])),
        limits=Limits(
            subscription_limit_video=rng.choice([0, 0, 3]),
            subscription_limit_audio=rng.choice([0, 0, 3]),
        ),
        ice_lite=one_in(rng, 2),
        reconnect_on_publication_error=one_in(rng, 2),
        reconnect_on_subscription_error=one_in(rng, 4),
        data_tracks=not one_in(rng, 5),
        data_blobs=not one_in(rng, 3),
        update_batch_target_size=rng.choice([128 * 1024, 500]),
    )
    return Stage(PEOPLE, options)


async def play(seed: int, actions: Sequence[Action]) -> Outcome:
    """One sequence, with what happened."""
    rng = random.Random(~seed)
    stage = stage_of(rng)
    log: list[str] = []
    try:
        async with asyncio.timeout(_HANGS_S):
            modern = {"client": {"protocol": rng.choice([9, 12, 15, 16, 17])}}
            await stage.begin({"single": one_in(rng, 2)} | modern, {"single": one_in(rng, 2)})
            stage.look()
            for action in actions:
                chance = random.Random(action.seed)
                person = stage.people[action.person]
                step, name = STEPS[action.step][1], action.step
                if name in JOINS_FIRST and not person.online and not one_in(chance, 4):
                    step, name = join, "join instead"
                stage.engine.forget()
                log.append(f"{stage.clock.now():7.2f} {person.identity} {name}")
                said = await step(stage, person, chance)
                log[-1] += f" {said or ''}"
                await stage.settle()
                stage.look()
            log.append(f"{stage.clock.now():7.2f} the end")
            await stage.end()
    except Exception as error:  # noqa: BLE001 - the caller reports it with the log
        return Outcome(error, log)
    finally:
        await stage.close()
    return Outcome(None, log)


def run(seed: int, actions: Sequence[Action]) -> Outcome:
    return asyncio.run(play(seed, actions))


def needed(seed: int, actions: list[Action], failure: BaseException) -> list[Action]:
    """The failure without most of the actions that it does not need."""
    kind, runs, size = type(failure), 0, len(actions) // 2
    while size >= 1:
        at = 0
        while at < len(actions) and runs < _SHRINK_RUNS:
            fewer = actions[:at] + actions[at + size :]
            runs += 1
            found = run(seed, fewer).failure
            if type(found) is kind and str(found)[:40] == str(failure)[:40]:
                actions = fewer
            else:
                at += size
        size //= 2
    return actions


def report(seed: int, actions: list[Action], outcome: Outcome) -> str:
    assert outcome.failure is not None
    fewer = needed(seed, actions, outcome.failure)
    again = run(seed, fewer)
    failure = again.failure or outcome.failure
    lines = [f"seed {seed} breaks: {failure!r:.6000}", "what it needs:", *again.log]
    return "\n".join(lines)


def test_every_signal_request_is_sent() -> None:
    fields = rtc.SignalRequest.DESCRIPTOR.oneofs_by_name["message"].fields
    assert set(REQUESTS) == {field.name for field in fields}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("shard", range(1 if ONLY else SHARDS))
def test_nothing_breaks(shard: int) -> None:
    seeds = [int(ONLY)] if ONLY else range(FIRST + shard, FIRST + COUNT, SHARDS)
    for seed in seeds:
        actions = actions_of(seed)
        outcome = run(seed, actions)
        if outcome.failure is not None:
            raise Broken(report(seed, actions, outcome)) from outcome.failure
    gc.collect()
