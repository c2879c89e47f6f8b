"""What the engine tells: of transports, of tracks, of data."""

from __future__ import annotations

from livekit.protocol import models

from lkpy.engine.api import (
    AudioLevels,
    CommandFailed,
    DataChannelClosed,
    DataChannelOpened,
    DataChannelOverflow,
    DataReceived,
    DownTrackStalled,
    DtlsState,
    DtlsStateChanged,
    Event,
    IceState,
    IceStateChanged,
    PacketsDropped,
    ReceiverLayersChanged,
    ReceiverStalled,
)
from lkpy.errors import Code
from tests.property.sequences.people import Person
from tests.property.sequences.stage import INJECTED, Stage
from tests.property.sequences.values import Random, identity, one_in, sid


async def wander(stage: Stage, person: Person, rng: Random) -> str:
    """A state of a transport."""
    participant = stage.participant(person)
    if participant is None:
        return ""
    chosen = rng.choice(participant.transports.all)
    transport = chosen.id
    if not chosen.created or transport not in stage.engine.transports:
        return "no transport"
    event: Event
    match rng.randrange(6):
        case 0:
            stage.engine.connect(transport)
            return f"{transport} connects"
        case 1 | 2:
            state = rng.choice(list(IceState))
            event = IceStateChanged(transport, state, "192.0.2.1:1", "192.0.2.2:2", "udp")
        case 3:
            event = DtlsStateChanged(transport, rng.choice(list(DtlsState)), reason="a reason")
        case 4 if one_in(rng, 3):
            stage.engine.give_up(transport)
            return f"{transport} is given up"
        case _ if one_in(rng, 4):
            event = CommandFailed("SetRemoteParameters", transport, Code.INTERNAL, INJECTED)
        case _:
            event = IceStateChanged(transport, IceState.CONNECTED, "a:1", "b:2", "tcp")
    stage.engine.inject(event)
    return str(event)


async def media(stage: Stage, person: Person, rng: Random) -> str:
    """What the engine tells of tracks."""
    engine = stage.engine
    receivers = list(engine.receivers) or [0]
    receiver = rng.choice([*receivers, 999_999])
    down_track = rng.choice([*engine.down_tracks, 999_999])
    transport = rng.choice([*engine.transports, 999_999])
    mimes = ["video/vp8", "video/vp9", "video/av1", "audio/opus", "audio/red", "nonsense/x"]
    levels = tuple(
        (chosen, rng.randrange(128), rng.choice([0, 400])) for chosen in [*receivers, receiver]
    )
    layers = tuple(sorted(rng.sample(range(3), rng.randrange(4))))
    event: Event = rng.choice(
        [
            AudioLevels(0, levels),
            ReceiverLayersChanged(receiver, layers, rng.choice(mimes)),
            ReceiverStalled(receiver, one_in(rng, 2), "no_packets", rng.randrange(10**5)),
            DownTrackStalled(transport, down_track, one_in(rng, 2), "no_layer", 5_000),
            PacketsDropped(transport, "no_receiver"),
            CommandFailed("CreateReceiver", receiver, Code.INVALID_ARGUMENT, INJECTED),
            CommandFailed("CreateDownTrack", down_track, Code.FAILED_PRECONDITION, INJECTED),
        ]
    )
    harmed = {
        transport.id
        for participant in stage.room._participants.values()
        if participant.identity in stage.people
        for transport in participant.transports.all
    }
    if isinstance(event, ReceiverLayersChanged | CommandFailed):
        subject = event.receiver if isinstance(event, ReceiverLayersChanged) else event.subject
        created = engine.receivers.get(subject) or engine.down_tracks.get(subject)
        if created is not None and created.transport not in harmed:
            return "not of the well-behaved"
    engine.inject(event)
    return str(event)


async def channels(stage: Stage, person: Person, rng: Random) -> str:
    """Data channels open, close and overflow."""
    participant = stage.participant(person)
    if participant is None:
        return ""
    transport = rng.choice(participant.transports.all).id
    if transport not in stage.engine.transports:
        return "no transport"
    stream = rng.randrange(6)
    label = rng.choice(["_reliable", "_reliable", "_lossy", "_data_track", "mine", ""])
    retransmits = None if label == "_reliable" else rng.choice([None, 0, 3])
    event: Event = rng.choice(
        [
            DataChannelOpened(transport, stream, label, "", True, retransmits),
            DataChannelOpened(transport, stream, label, "", True, retransmits),
            DataChannelClosed(transport, stream),
            DataChannelOverflow(transport, stream, rng.randrange(10**7)),
        ]
    )
    stage.engine.inject(event)
    return str(event)


def packet(stage: Stage, rng: Random) -> models.DataPacket:
    """Any kind of data packet."""
    fields = models.DataPacket.DESCRIPTOR.oneofs_by_name["value"].fields
    name = rng.choice(["user", *[field.name for field in fields]])
    result = models.DataPacket(
        sequence=rng.choice([0, rng.randrange(1, 50)]),
        participant_identity=identity(stage, rng),
        participant_sid=sid(stage, rng),
        destination_identities=[identity(stage, rng) for _ in range(rng.choice([0, 0, 1, 3]))],
    )
    value = getattr(result, name)
    value.SetInParent()
    if name == "user":
        value.payload = b"x" * rng.choice([0, 10, 1000])
        value.nonce = rng.choice([b"", b"n" * 16])
        value.destination_sids.extend([sid(stage, rng)] if one_in(rng, 4) else [])
    elif name in ("rpc_ack", "rpc_response"):
        calls = [c for p in stage.room._participants.values() for c in p.rpc._calls]
        value.request_id = rng.choice([*calls, "unknown"])
        if name == "rpc_response" and one_in(rng, 2):
            value.error.code = rng.choice([0, 1400, 1502, 99_999])
    elif name == "stream_header":
        value.stream_id = rng.choice(["", "s"])
    return result


async def data(stage: Stage, person: Person, rng: Random) -> str:
    """Data from the client, some of it garbage."""
    participant = stage.participant(person)
    if participant is None:
        return ""
    transport = rng.choice(participant.transports.all).id
    payload = packet(stage, rng).SerializeToString()
    if one_in(rng, 5):
        payload = rng.randbytes(rng.choice([0, 1, 20, 70_000]))
    for _ in range(rng.choice([1, 1, 1, 5])):
        stage.engine.inject(DataReceived(transport, rng.randrange(5), payload, one_in(rng, 2)))
    return repr(payload[:40])
