"""Signal messages that are legal and too much: they cost neither time nor memory, and the session
of whoever sends them lives on.

What a message costs is measured as CPU time of this process with a factor of ten, and as memory
that it leaves or takes at its peak.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import time
from collections import Counter
from collections.abc import Callable

import aiohttp
import pytest
from google.protobuf.descriptor import Descriptor
from livekit.protocol import models, rtc

from lkpy.limits import MAX_IDS, MAX_SUBSCRIPTIONS
from lkpy.server.http.request_rate import RequestRate, cost
from lkpy.signal.codec import decode
from lkpy.signal.join_request import JoinRequestError, parse_join_request, wrap
from lkpy.signal.request_bounds import BOUNDS, SMALL, too_much, violation
from tests.control_plane import Harness, receive, running
from tests.room_kit import microphone
from tests.room_kit import running as room_running

EXCEEDED = rtc.RequestResponse.Reason.LIMIT_EXCEEDED
FRAME = 2 * 1024 * 1024


def memory() -> int:
    """Resident bytes of this process."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096


def ids(count: int, letter: str = "a") -> list[str]:
    return [f"TR_{letter}{number:011}" for number in range(count)]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def nested(*path: str, payload: bytes) -> bytes:
    """``payload`` in a field of a field of a SignalRequest."""
    descriptor: Descriptor | None = rtc.SignalRequest.DESCRIPTOR
    fields = []
    for name in path:
        assert descriptor is not None
        field = descriptor.fields_by_name[name]
        fields.append(field.number)
        descriptor = field.message_type
    for number in reversed(fields):
        payload = varint(number << 3 | 2) + varint(len(payload)) + payload
    return payload


def empties(size: int = FRAME) -> bytes:
    """Messages of nothing."""
    number = rtc.SyncState.DESCRIPTOR.fields_by_name["publish_tracks"].number
    return nested("sync_state", payload=bytes([number << 3 | 2, 0]) * (size // 2 - 10))


def subscription(count: int) -> rtc.SignalRequest:
    return rtc.SignalRequest(
        subscription=rtc.UpdateSubscription(track_sids=ids(count), subscribe=True)
    )


def nothing(count: int) -> str:
    """The same as JSON text."""
    return '{"syncState":{"publishTracks":[' + ",".join(["{}"] * count) + "]}}"


TOO_MUCH: list[tuple[str, Callable[[], bytes | str]]] = [
    ("empty messages", empties),
    ("295,000 sids", lambda: nested("subscription", payload=b"\x0a\x05abcde" * 295_000)),
    ("empty messages as text", lambda: nothing(690_000)),
    ("a few thousand as text", lambda: nothing(5000)),
    ("brackets", lambda: "[" * 60_000),
    ("unknown fields", lambda: b"\xf8\x7f\x01" * (FRAME // 3 - 1)),
]


@pytest.mark.parametrize("make", [make for _, make in TOO_MUCH], ids=[name for name, _ in TOO_MUCH])
def test_a_frame_that_would_cost_much_is_not_decoded(make: Callable[[], bytes | str]) -> None:
    """Row W4: it costs less than 20 ms and no memory to see it."""
    frame = make()
    too_much(b"", rtc.SignalRequest)
    before, began = memory(), time.process_time()
    assert too_much(frame, rtc.SignalRequest)
    assert time.process_time() - began < 0.2
    assert memory() - before < 4 * len(frame)


@pytest.mark.parametrize(
    "request_",
    [
        rtc.SignalRequest(
            sync_state=rtc.SyncState(
                track_sids_disabled=ids(MAX_SUBSCRIPTIONS),
                subscription=rtc.UpdateSubscription(track_sids=ids(MAX_SUBSCRIPTIONS)),
                datachannel_receive_states=[
                    rtc.DataChannelReceiveState(publisher_sid=f"PA_{n:012}", last_seq=n)
                    for n in range(3000)
                ],
            )
        ),
        rtc.SignalRequest(offer=rtc.SessionDescription(sdp="v=0\r\n" * 100_000, type="offer")),
        rtc.SignalRequest(update_metadata=rtc.UpdateParticipantMetadata(metadata="m" * 500_000)),
    ],
    ids=["a resume in a large room", "a large offer", "large metadata"],
)
def test_what_is_large_for_a_reason_is_decoded(request_: rtc.SignalRequest) -> None:
    frame = request_.SerializeToString()
    assert not too_much(frame, rtc.SignalRequest)
    before = memory()
    request = decode(frame, rtc.SignalRequest)
    assert memory() - before < 4 * len(frame) + 1024 * 1024
    assert not violation(request)


def repeated_fields(descriptor: Descriptor, path: str = "", within: tuple[str, ...] = ()) -> set:
    found = set()
    for field in descriptor.fields:
        here = f"{path}{field.name}"
        if field.is_repeated:
            found.add(here)
        inner = field.message_type
        if inner is not None and not inner.GetOptions().map_entry and inner.full_name not in within:
            found |= repeated_fields(inner, f"{here}.", (*within, inner.full_name))
    return found


def test_every_repeated_field_of_every_request_has_a_bound() -> None:
    """Row W7: also those of protocols to come, by this test."""
    signal = repeated_fields(rtc.SignalRequest.DESCRIPTOR)
    join = repeated_fields(rtc.JoinRequest.DESCRIPTOR)
    assert signal | join == set(BOUNDS)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (subscription(MAX_IDS + 1), "subscription.track_sids has more than 1024 elements"),
        (
            rtc.SignalRequest(
                subscription=rtc.UpdateSubscription(
                    participant_tracks=[
                        models.ParticipantTracks(track_sids=ids(MAX_IDS // 2 + 1)) for _ in range(2)
                    ]
                )
            ),
            "subscription.participant_tracks.track_sids has more than 1024 elements",
        ),
        (
            rtc.SignalRequest(add_track=rtc.AddTrackRequest(name="n" * 5000)),
            "add_track.name has more than 4096 characters",
        ),
        (
            rtc.SignalRequest(
                add_track=rtc.AddTrackRequest(
                    simulcast_codecs=[rtc.SimulcastCodec(cid=f"c{n}") for n in range(1000)]
                )
            ),
            "add_track.simulcast_codecs has more than 64 elements",
        ),
        (
            rtc.SignalRequest(
                track_setting=rtc.UpdateTrackSettings(track_sids=["TR_a", "x" * 5000])
            ),
            "track_setting.track_sids has more than 4096 characters",
        ),
        (subscription(MAX_IDS), ""),
        (
            rtc.SignalRequest(update_metadata=rtc.UpdateParticipantMetadata(metadata="m" * 9000)),
            "",
        ),
    ],
)
def test_bounds(request_: rtc.SignalRequest, why: str) -> None:
    assert violation(request_) == why


@pytest.mark.parametrize(
    "request_",
    [
        subscription(MAX_IDS),
        rtc.SignalRequest(track_setting=rtc.UpdateTrackSettings(track_sids=ids(MAX_IDS))),
        rtc.SignalRequest(
            subscription_permission=rtc.SubscriptionPermission(
                track_permissions=[
                    rtc.TrackPermission(participant_identity=name)
                    for name in ids(MAX_SUBSCRIPTIONS)
                ]
            )
        ),
        rtc.SignalRequest(
            sync_state=rtc.SyncState(
                track_sids_disabled=ids(MAX_SUBSCRIPTIONS, "b"),
                subscription=rtc.UpdateSubscription(
                    track_sids=ids(MAX_SUBSCRIPTIONS, "c"), subscribe=True
                ),
            )
        ),
    ],
    ids=lambda request: request.WhichOneof("message"),
)
async def test_the_most_that_may_be_asked_for_is_soon_done(request_: rtc.SignalRequest) -> None:
    """Row W7: also when a participant's wishes are as many as they may be."""
    async with room_running() as world:
        alice = await world.join("alice")
        for letter in "vwxyz":
            wish = rtc.UpdateSubscription(track_sids=ids(MAX_IDS, letter), subscribe=True)
            await alice.send(subscription=wish)
        assert not violation(request_)
        began = time.process_time()
        alice.source.write(request_)
        await world.settle()
        assert time.process_time() - began < 0.3
        assert not alice.left


# -- over real sockets ----------------------------------------------------------------------------


@pytest.fixture
async def server():
    async with running() as harness:
        yield harness


async def joined(server: Harness, **options: int) -> aiohttp.ClientWebSocketResponse:
    socket = await server.join(server.token(), **options)
    assert (await receive(socket)).HasField("join")
    return socket


async def test_too_much_is_refused_and_the_session_lives(
    server: Harness, told: Counter[str]
) -> None:
    """Rows W4 and W7: nothing of it is done, and the client is told in the form that it speaks."""
    socket = await joined(server)
    for frame in (empties(100_000), subscription(5000).SerializeToString()):
        await socket.send_bytes(frame)
        assert (await receive(socket)).request_response.reason == EXCEEDED
    metadata = rtc.UpdateParticipantMetadata(request_id=7, name="n" * 5000)
    await socket.send_bytes(rtc.SignalRequest(update_metadata=metadata).SerializeToString())
    answer = (await receive(socket)).request_response
    assert (answer.request_id, answer.reason) == (7, EXCEEDED)
    assert answer.message == "update_metadata.name has more than 4096 characters"
    for text in (nothing(3000), nothing(25_000)):
        await socket.send_str(text)
        answer = json.loads(await socket.receive_str(timeout=60))
        assert answer["requestResponse"]["reason"] == "LIMIT_EXCEEDED"
    await socket.send_bytes(rtc.SignalRequest(ping=1).SerializeToString())
    assert (await receive(socket)).HasField("pong")
    assert server.media.rooms["lobby"].requests == []
    assert told["refused"] == 5


async def test_early_rust_clients_are_not_told_what_they_do_not_know(server: Harness) -> None:
    client = models.ClientInfo(sdk=models.ClientInfo.RUST, protocol=9)
    socket = await server.join(server.token(), join=rtc.JoinRequest(client_info=client))
    await receive(socket)
    await socket.send_bytes(subscription(5000).SerializeToString())
    await socket.send_bytes(rtc.SignalRequest(ping=1).SerializeToString())
    assert (await receive(socket)).HasField("pong")


def test_a_join_request_of_nothing_is_refused() -> None:
    """Row W4: a megabyte of tracks that are not described."""
    join = rtc.JoinRequest(add_track_requests=[rtc.AddTrackRequest()] * 400_000)
    with pytest.raises(JoinRequestError, match="more than"):
        parse_join_request(wrap(join))
    with pytest.raises(JoinRequestError, match="add_track_requests has more than 64 elements"):
        parse_join_request(wrap(rtc.JoinRequest(add_track_requests=[rtc.AddTrackRequest()] * 65)))


# -- many messages --------------------------------------------------------------------------------


def test_a_burst_passes_and_what_follows_waits() -> None:
    """Row W7: 200 small requests in a second, after 2,000 at once."""
    rate = RequestRate(0.0, per_s=200, burst=2000)
    assert [rate.take(0.0, 1) for _ in range(2000)] == [0.0] * 2000
    assert rate.take(0.0, 1) == pytest.approx(1 / 200)
    now = 1 / 200
    for _ in range(1000):
        now += rate.take(now, 1)
    assert now == pytest.approx(5, rel=0.01)
    assert not rate.is_abused(now)


def test_whoever_wants_more_all_the_time_is_told_apart_from_a_burst() -> None:
    rate, now = RequestRate(0.0), 0.0
    while not rate.is_abused(now):
        now += rate.take(now, 100)
        assert now < 100
    assert now > 60
    rate, now = RequestRate(0.0), 0.0
    for _ in range(100):
        # A large room is entered every 20 s.
        for _ in range(3000):
            now += rate.take(now, 1)
        now += 20
        rate.take(now, 1)
        assert not rate.is_abused(now)


def test_what_a_request_costs() -> None:
    def units(request: rtc.SignalRequest) -> float:
        return cost(request, request.SerializeToString())

    assert units(rtc.SignalRequest(ping=1)) == 1
    assert units(subscription(MAX_IDS)) > 60
    metadata = rtc.SignalRequest(update_metadata=rtc.UpdateParticipantMetadata(name="n"))
    assert units(metadata) >= 20, "Row W9: ten times a second"
    assert cost(rtc.SignalRequest(), "x" * 64_000) == pytest.approx(1001)


async def test_requests_that_are_too_many_wait_and_are_not_lost(
    server: Harness, told: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row W7: in order; the client is slowed down and nobody else."""
    monkeypatch.setattr(
        "lkpy.server.http.signal_socket.RequestRate",
        lambda now: RequestRate(now, per_s=2000, burst=10),
    )
    socket = await joined(server)
    for number in range(200):
        mute = rtc.MuteTrackRequest(sid=f"TR_{number}")
        await socket.send_bytes(rtc.SignalRequest(mute=mute).SerializeToString())
    await socket.send_bytes(rtc.SignalRequest(ping=1).SerializeToString())
    assert (await receive(socket)).HasField("pong")
    room = server.media.rooms["lobby"]
    async with asyncio.timeout(60):
        while len(room.requests) < 200:
            room.received.clear()
            await room.received.wait()
    assert [request.mute.sid for request in room.requests] == [f"TR_{n}" for n in range(200)]
    assert told["held_back"]


async def test_abuse_ends_the_connection(
    server: Harness, told: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lkpy.server.http.signal_socket.RequestRate",
        lambda now: RequestRate(now, per_s=1000, burst=1, held_back_s=0.05),
    )
    socket = await joined(server)

    async def flood() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await socket.send_bytes(rtc.SignalRequest(ping=1).SerializeToString())
                await asyncio.sleep(0)

    flooding = asyncio.create_task(flood())
    async with asyncio.timeout(60):
        async for _ in socket:
            pass
        await flooding
    assert told["too_fast"] == 1


# -- in rooms -------------------------------------------------------------------------------------


async def test_an_update_that_changes_nothing_is_told_to_nobody() -> None:
    """As in livekit-server: a request of four bytes is not a message for everybody."""
    async with room_running() as world:
        alice = await world.join("alice", video={"can_update_own_metadata": True})
        bob = await world.join("bob")
        await world.advance(6)
        same = {"name": "Alice", "metadata": "m"}
        await alice.send(update_metadata=rtc.UpdateParticipantMetadata(**same))
        heard, tokens = len(bob.updates("alice")), len(world.tokens)
        for update in ({}, same, {"name": "Alice"}) * 5:
            await alice.send(update_metadata=rtc.UpdateParticipantMetadata(**update))
        assert len(bob.updates("alice")) == heard
        assert len(world.tokens) == tokens
        attributes = rtc.UpdateParticipantMetadata(attributes={"a": "b"})
        for _ in range(2):
            await alice.send(update_metadata=attributes)
        assert len(bob.updates("alice")) == heard + 2, "attributes are always told"
        answers = [answer.reason for answer in alice.all("request_response")]
        assert answers == [rtc.RequestResponse.Reason.OK] * 18


async def test_names_of_a_track_are_bounded() -> None:
    """Row W7: every request for a codec of a published track adds some."""
    async with room_running() as world:
        alice = await world.join("alice")
        await alice.publish(microphone())
        (track,) = alice.participant.publishing.tracks
        for request in range(5):
            codecs = [
                rtc.SimulcastCodec(codec="zz", cid=f"{request}-{number}") for number in range(30)
            ]
            await alice.send(
                add_track=microphone(sid=track.sid, cid=f"c{request}", simulcast_codecs=codecs)
            )
        assert len(track.cids) <= 64
        assert alice.last("request_response").reason == EXCEEDED
        assert not alice.left


@pytest.mark.parametrize("text", ["[" * 4000, "[" * 100_000, '{"candidate":' * 300])
async def test_a_candidate_that_is_deep_is_answered(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Row W4: and costs no traceback."""
    async with room_running() as world:
        alice = await world.join("alice")
        await alice.send(trickle=rtc.TrickleRequest(candidateInit=text))
        answer = alice.last("request_response")
        assert answer.reason == rtc.RequestResponse.Reason.UNCLASSIFIED_ERROR
        assert "Traceback" not in caplog.text
        assert not alice.left


async def test_metadata_is_told_ten_times_a_second() -> None:
    """Row W9: however fast one participant changes it, a room of hundreds hears it so often."""
    update = rtc.SignalRequest(
        update_metadata=rtc.UpdateParticipantMetadata(request_id=1, metadata="m")
    )
    rate, now, read = RequestRate(0.0), 0.0, []
    while now < 50:
        read.append(now)
        now += rate.take(now, cost(update, update.SerializeToString()))
    burst = sum(1 for at in read if at < 0.001)
    assert burst <= 101
    assert (len(read) - burst) / 50 <= 10


def test_a_small_frame_can_break_no_bound() -> None:
    """Which is why small ones, that is most, are not looked at."""
    assert min(BOUNDS.values()) * 2 >= SMALL
