"""What the server API is asked about people."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.protocol import models
from livekit.protocol import room as room_pb

from lkpy.ids import ParticipantIdentity
from tests.property.sequences.people import Person
from tests.property.sequences.stage import Stage
from tests.property.sequences.values import Random, one_in, track, tracks


def permission(rng: Random) -> models.ParticipantPermission:
    """Any, mostly much."""
    sources = rng.sample(models.TrackSource.values(), rng.randrange(3)) if one_in(rng, 5) else []
    return models.ParticipantPermission(
        can_subscribe=not one_in(rng, 5),
        can_publish=not one_in(rng, 5),
        can_publish_data=not one_in(rng, 5),
        can_publish_sources=sources,
        hidden=one_in(rng, 6),
        recorder=one_in(rng, 8),
        can_update_metadata=one_in(rng, 2),
        agent=one_in(rng, 8),
    )


async def api(stage: Stage, person: Person, rng: Random) -> str:
    """A call of the server API about a person that is not one of the well-behaved."""
    calls = stage.room.api
    who = person.identity if not one_in(rng, 10) else "nobody"
    name = ParticipantIdentity(who)
    what = rng.choice(
        [
            *("remove", "mute", "update", "permission", "permission"),
            *("subscriptions", "data", "metadata", "rpc", "rpc"),
        ]
    )
    work: Any
    match what:
        case "remove" if one_in(rng, 3):
            work = calls.remove_participant(name, models.DisconnectReason.PARTICIPANT_REMOVED)
        case "mute":
            sid = track(stage, person, rng, own=True)
            work = calls.mute_published_track(name, sid, one_in(rng, 2))
        case "update" | "permission":
            update = room_pb.UpdateParticipantRequest(
                identity=who,
                name=rng.choice(["", "named"]),
                metadata=rng.choice(["", "new", "m" * 1000]),
                attributes={"k": rng.choice(["", "v", "w" * 70_000])} if one_in(rng, 2) else {},
            )
            if what == "permission":
                update.permission.CopyFrom(permission(rng))
                if update.permission.hidden:
                    stage.ever_hidden.add(who)
            work = calls.update_participant(update)
        case "subscriptions":
            work = calls.update_subscriptions(
                room_pb.UpdateSubscriptionsRequest(
                    identity=who,
                    track_sids=tracks(stage, person, rng),
                    subscribe=one_in(rng, 2),
                )
            )
        case "metadata":
            work = calls.update_metadata(rng.choice(["", "a", "b" * 1000]))
        case "rpc":
            timeout = rng.choice([0, 1, 3000, 15_000])
            payload = "p" * rng.choice([0, 100, 20_000])
            work = calls.perform_rpc(
                room_pb.PerformRpcRequest(
                    destination_identity=who,
                    method="m",
                    payload=payload,
                    response_timeout_ms=timeout,
                )
            )
        case _:
            work = calls.send_data(
                room_pb.SendDataRequest(
                    data=b"d",
                    kind=rng.randrange(2),
                    destination_identities=[who] if one_in(rng, 2) else [],
                    nonce=rng.choice([b"", b"n" * 16]),
                )
            )
    call = asyncio.ensure_future(work)
    stage.calls.add(call)
    await stage.settle()
    if one_in(rng, 10):
        # Who called does not wait any more.
        call.cancel()
    return f"{what} {who}"
