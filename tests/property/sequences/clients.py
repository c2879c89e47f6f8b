"""What clients do: they come, come back, say things and go."""

from __future__ import annotations

from typing import Any

from livekit.protocol import models, rtc

from tests.property.sequences.people import Person
from tests.property.sequences.requests import REQUESTS, add_track_request, sync_state
from tests.property.sequences.stage import Stage
from tests.property.sequences.values import Random, broken, one_in
from tests.room_kit import JOIN_OFFER, PUBLISH_OFFER

_OFTEN = ["offer", "add_track", "answer", "subscription", "mute", "publish_data_track_request"]
_WEIGHTED = [name for name in [*REQUESTS, *_OFTEN, *_OFTEN, *_OFTEN] if name != "leave"]

SDKS = list(models.ClientInfo.SDK.values())


async def join(stage: Stage, person: Person, rng: Random) -> str:
    """Join afresh, with any client, perhaps in place of a session that is there."""
    single = one_in(rng, 2)
    values = client(rng)
    values["auto_subscribe"] = not one_in(rng, 3)
    values["auto_subscribe_data_track"] = one_in(rng, 2)
    values["adaptive_stream"] = one_in(rng, 3)
    values["disable_ice_lite"] = one_in(rng, 3)
    hidden = one_in(rng, 8)
    if hidden:
        stage.ever_hidden.add(person.identity)
    usually = [None] * 8
    values["video"] = {
        "hidden": hidden,
        "recorder": one_in(rng, 12),
        "agent": one_in(rng, 12),
        "can_subscribe": rng.choice([*usually, False]),
        "can_publish": rng.choice([*usually, False]),
        "can_publish_data": rng.choice([*usually, False]),
        "can_publish_sources": rng.choice([*[()] * 8, ("camera",), ("nonsense",)]),
        "can_update_own_metadata": not one_in(rng, 4),
    }
    values["grants"] = {"kind": rng.choice(["", "", "", "agent", "egress", "sip", "nonsense"])}
    if one_in(rng, 4):
        requests = [add_track_request(stage, person, rng) for _ in range(rng.randrange(3))]
        values["add_track_requests"] = tuple(requests)
    if one_in(rng, 20):
        text = broken(JOIN_OFFER, rng)
        values["publisher_offer"] = rtc.SessionDescription(type="offer", sdp=text, id=1)
    person.answers = not one_in(rng, 6)
    taken = await stage.join(person, single=single, shy=one_in(rng, 8), **values)
    participant = stage.participant(person)
    if taken and participant is not None and participant.transports.publisher.created:
        await stage.open_channels(person)
    return f"taken={taken} single={single} {values['client']} {values['video']}"


def client(rng: Random) -> dict[str, Any]:
    """Any SDK of any age."""
    version = rng.choice(["2.15.0", "1.6.2", "0.9", "nonsense"])
    protocol = rng.choice([*range(1, 18), *[15, 16, 17] * 4, 0, 99])
    browser = rng.choice(["", "", "chrome", "firefox", "safari"])
    info = {"sdk": rng.choice(SDKS), "version": version, "protocol": protocol, "browser": browser}
    return {"client": info | {"os": rng.choice(["", "linux", "android", "ios"])}}


async def resume(stage: Stage, person: Person, rng: Random) -> str:
    """Come back on another signal connection, or try to."""
    before = person.line.start if person.line is not None else None
    values: dict[str, Any] = client(rng)
    if before is not None and not one_in(rng, 6):
        info = before.client
        values["client"] = {
            "sdk": info.sdk,
            "version": info.version,
            "protocol": info.protocol,
            "browser": info.browser,
            "os": info.os,
        }
    # The topology is the session's: a resume does not change it.
    single = before.single_pc if before is not None else one_in(rng, 2)
    reason = rng.choice(models.ReconnectReason.values())
    participant = stage.participant(person)
    if participant is not None:
        # What is said then follows the client that joined.
        single = participant.session.single_pc
        info = participant.client
        values["client"] = {"sdk": info.sdk, "version": info.version, "protocol": info.protocol}
    taken = await stage.join(
        person, single=single, reconnect=True, reconnect_reason=reason, **values
    )
    if taken and one_in(rng, 2) and person.line is not None:
        person.line.say(sync_state=sync_state(stage, person, rng))
        await stage.settle()
    return f"taken={taken} reason={reason}"


async def drop_signal(stage: Stage, person: Person, rng: Random) -> None:
    """The signal connection is lost."""
    if person.line is not None:
        person.line.source.close()
        person.line.sink.close()


async def request(stage: Stage, person: Person, rng: Random) -> str:
    """Any signal request; a few at once, now and then."""
    said = []
    for _ in range(rng.choice([1, 1, 1, 1, 3])):
        name = "leave" if one_in(rng, 60) else rng.choice(_WEIGHTED)
        value = REQUESTS[name](stage, person, rng)
        said.append(name if name in ("offer", "answer") else f"{name} {value}"[:300])
        if value is not None and person.line is not None:
            person.line.say(**{name: value})
    return "; ".join(" ".join(words.split()) for words in said)


async def publish(stage: Stage, person: Person, rng: Random) -> None:
    """Publish as an SDK does."""
    if person.line is None:
        return
    person.line.say(add_track=add_track_request(stage, person, rng))
    person.offer_id += 1
    person.text = PUBLISH_OFFER
    description = rtc.SessionDescription(type="offer", sdp=person.text, id=person.offer_id)
    person.line.say(offer=description)


async def attention(stage: Stage, person: Person, rng: Random) -> str:
    """A client stops reading or answering, or goes on."""
    if one_in(rng, 3):
        person.reads = not person.reads
    else:
        person.answers = not person.answers
    return f"reads={person.reads} answers={person.answers}"
