"""Data blobs, which servers have off unless told otherwise. The suite's own server is started with
them on; of another it is asked whether they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio
from livekit.protocol import models, rtc

from tests.conformance.kit import Lobby, Signal, Target
from tests.interop.conftest import run_server

Reason = rtc.RequestResponse.Reason
MOST = 64_000
"""Bytes of keys and contents that one participant may store."""


@pytest.fixture(scope="module")
def blob_target(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    if not target.ours:
        yield target
        return
    directory = tmp_path_factory.mktemp("blobs")
    config = directory / "livekit.yaml"
    config.write_text("enable_participant_data_blob: true\n")
    with run_server(directory, "--config", str(config)) as running:
        yield Target(running.http_url, running.api_key, running.api_secret, ours=True)


@pytest_asyncio.fixture
async def blobs(blob_target: Target) -> AsyncIterator[Lobby]:
    """A room on a server with data blobs."""
    async with aiohttp.ClientSession() as session, Lobby(blob_target, session) as lobby:
        probe = await lobby.signal("probe")
        if (await store(probe, generic("probe"), b"x")).reason == Reason.NOT_ALLOWED:
            pytest.skip("the server has no data blobs: set enable_participant_data_blob")
        yield lobby


def generic(text: str) -> models.DataBlobKey:
    return models.DataBlobKey(generic=text)


def schema(name: str, **encoding: object) -> models.DataBlobKey:
    described = models.DataTrackSchemaEncoding(**encoding)
    return models.DataBlobKey(schema_id=models.DataTrackSchemaId(name=name, encoding=described))


async def _answer(signal: Signal, kind: str, number: int) -> rtc.RequestResponse:
    """The refusal of a request, or ``OK`` when it was answered by ``kind``."""

    def is_answer(response: rtc.SignalResponse) -> bool:
        which = response.WhichOneof("message")
        return which in (kind, "request_response") and getattr(response, which).request_id == number

    async with signal._changed:
        await signal._changed.wait_for(lambda: any(map(is_answer, signal.log)))
    (answer,) = filter(is_answer, signal.log)
    if answer.HasField("request_response"):
        assert answer.request_response.WhichOneof("request") is None
        return answer.request_response
    return rtc.RequestResponse(request_id=number, reason=Reason.OK)


async def store(
    signal: Signal, key: models.DataBlobKey | None, contents: bytes
) -> rtc.RequestResponse:
    """Store a blob; returns the refusal or ``OK``."""
    number = len(signal.log) + 1_000
    blob = models.DataBlob(key=key, contents=contents)
    request = rtc.StoreDataBlobRequest(request_id=number, blob=blob)
    await signal.send(store_data_blob_request=request)
    answer = await _answer(signal, "store_data_blob_response", number)
    if answer.reason == Reason.OK:
        assert signal.all("store_data_blob_response")[-1].key == key
    return answer


async def get(
    signal: Signal, identity: str, key: models.DataBlobKey | None
) -> bytes | rtc.RequestResponse:
    """Contents of a blob, or the refusal."""
    number = len(signal.log) + 2_000
    request = rtc.GetDataBlobRequest(request_id=number, participant_identity=identity, key=key)
    await signal.send(get_data_blob_request=request)
    answer = await _answer(signal, "get_data_blob_response", number)
    if answer.reason != Reason.OK:
        return answer
    blob = signal.all("get_data_blob_response")[-1].blob
    assert blob.key == key
    return bytes(blob.contents)


def refusal(answer: object) -> tuple[int, str]:
    assert isinstance(answer, rtc.RequestResponse)
    return answer.reason, answer.message


@pytest.mark.row(75, 162)
async def test_others_read_what_a_participant_stored(blobs: Lobby) -> None:
    alice, bob = await blobs.signal("alice"), await blobs.signal("bob")
    well_known = models.DataTrackSchemaEncoding.WELL_KNOWN_SCHEMA_ENCODING_PROTOBUF
    keys = [generic("a"), generic(""), schema("a", custom="x"), schema("a", well_known=well_known)]
    for number, key in enumerate(keys):
        answer = await store(alice, key, b"contents %d" % number)
        assert answer.reason == Reason.OK, answer
    for number, key in enumerate(keys):
        assert await get(bob, "alice", key) == b"contents %d" % number
        assert await get(alice, "alice", key) == b"contents %d" % number
    await store(alice, keys[0], b"replaced")
    assert await get(bob, "alice", keys[0]) == b"replaced"


@pytest.mark.row(75, 162)
async def test_what_is_not_there_is_not_found(blobs: Lobby) -> None:
    alice, bob = await blobs.signal("alice"), await blobs.signal("bob")
    await store(alice, generic("a"), b"contents")
    missing = (Reason.NOT_FOUND, "data blob not found")
    assert refusal(await get(bob, "alice", generic("b"))) == missing
    assert refusal(await get(bob, "alice", models.DataBlobKey())) == missing
    assert refusal(await get(bob, "bob", generic("a"))) == missing
    nobody = (Reason.NOT_FOUND, "participant not found")
    assert refusal(await get(bob, "carol", generic("a"))) == nobody
    keyless = (Reason.INVALID_REQUEST, "data blob key is required")
    assert refusal(await get(bob, "carol", None)) == keyless
    await alice.send(leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))
    await alice.ended()
    assert refusal(await get(bob, "alice", generic("a"))) == nobody


@pytest.mark.row(75)
async def test_what_cannot_be_stored_is_refused(blobs: Lobby) -> None:
    alice = await blobs.signal("alice")
    invalid = (Reason.INVALID_REQUEST, "data blob is invalid")
    for key in (None, models.DataBlobKey(), generic("x" * 247), generic("\n" * 124)):
        assert refusal(await store(alice, key, b"contents")) == invalid
    encoding = (
        Reason.INVALID_REQUEST,
        "encoding identifier is empty or exceeds the maximum length",
    )
    for custom in ("", "x" * 33):
        assert refusal(await store(alice, schema("s", custom=custom), b"contents")) == encoding
    empty = (Reason.INVALID_REQUEST, "data blob is empty")
    assert refusal(await store(alice, generic("x"), b"")) == empty
    for key in (generic("x" * 246), generic("\n" * 123), schema("x" * 180, custom="y" * 32)):
        assert refusal(await store(alice, key, b"c")) == (Reason.OK, "")


@pytest.mark.row(75)
async def test_a_participant_stores_so_many_bytes_with_their_keys(blobs: Lobby) -> None:
    alice, bob = await blobs.signal("alice"), await blobs.signal("bob")
    exceeded = (Reason.LIMIT_EXCEEDED, "async attribute definition exceeds limit")
    assert refusal(await store(alice, generic("a"), bytes(MOST))) == exceeded
    assert refusal(await store(alice, generic("a"), bytes(MOST - 100))) == (Reason.OK, "")
    assert refusal(await store(alice, generic("b"), bytes(100))) == exceeded
    # What is there counts even where it would be replaced.
    assert refusal(await store(alice, generic("a"), bytes(100))) == exceeded
    assert refusal(await store(bob, generic("b"), bytes(100))) == (Reason.OK, "")


@pytest.mark.row(75, 162)
async def test_where_blobs_are_off_none_is_stored(lobby: Lobby) -> None:
    alice = await lobby.signal("alice")
    answer = await store(alice, None, b"")
    if answer.reason == Reason.INVALID_REQUEST:
        pytest.skip("the server has data blobs")
    assert refusal(answer) == (Reason.NOT_ALLOWED, "data blob not enabled")
    missing = (Reason.NOT_FOUND, "data blob not found")
    assert refusal(await get(alice, "alice", generic("a"))) == missing
