"""Data packets: to whom they go, and what becomes of them on the way."""

from __future__ import annotations

import asyncio
import base64
import uuid
from typing import Any
from unittest import mock

import pytest
from google.protobuf.message import Message
from livekit.protocol import metrics, models

from tests.conformance import media
from tests.conformance.kit import Lobby, until
from tests.conformance.media import Participant

RELIABLE, LOSSY = models.DataPacket.RELIABLE, models.DataPacket.LOSSY
both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])


async def people(lobby: Lobby, *identities: str, single: bool = True) -> list[Participant]:
    """Participants that can send and receive."""
    joined = [await media.join(lobby, identity, single=single) for identity in identities]
    for participant in joined:
        await participant.ready()
    return joined


def user(payload: bytes = b"hello", **packet: Any) -> models.DataPacket:
    inner = packet.pop("user", {})
    return models.DataPacket(user=models.UserPacket(payload=payload, **inner), **packet)


async def settled(sender: Participant, *receivers: Participant) -> None:
    """Everything that was sent before has come: the last packet did."""
    await sender.send_data(user(b"last"))
    for receiver in receivers:
        await until(lambda r=receiver: r.received and r.received[-1].user.payload == b"last")


@pytest.mark.row(151, 152)
@both
@pytest.mark.parametrize("reliable", [True, False], ids=["reliable", "lossy"])
async def test_user_packets(lobby: Lobby, single: bool, reliable: bool) -> None:
    alice, bob = await people(lobby, "alice", "bob", single=single)
    forged = {"participant_sid": "PA_x", "participant_identity": "carol", "topic": "greeting"}
    packet = user(user=forged, participant_sid="PA_x", participant_identity="carol")
    await alice.send_data(packet, reliable=reliable)
    received = await bob.packet("user")
    assert received.kind == (RELIABLE if reliable else LOSSY)
    assert (received.participant_identity, received.participant_sid) == ("alice", alice.sid)
    assert received.user.participant_identity == "alice"
    assert received.user.participant_sid == alice.sid
    assert received.user.payload == b"hello"
    assert received.user.topic == "greeting"
    assert alice.received == [], "never to its sender"


@pytest.mark.row(151)
async def test_channels_of_two_connections(lobby: Lobby) -> None:
    (alice,) = await people(lobby, "alice", single=False)
    labels = {label: (c.ordered, c.maxRetransmits) for label, c in alice.down_channels.items()}
    assert labels["_reliable"] == (True, None)
    assert labels["_lossy"] == (False, 0)


@pytest.mark.row(152)
@pytest.mark.parametrize("where", ["outer", "inner", "sid"])
async def test_destinations(lobby: Lobby, where: str) -> None:
    alice, bob, carol = await people(lobby, "alice", "bob", "carol")
    packet = user(b"for bob")
    match where:
        case "outer":
            packet.destination_identities.append("bob")
        case "inner":
            packet.user.destination_identities.append("bob")
        case _:
            packet.user.destination_sids.append(bob.sid)
    await alice.send_data(packet)
    await settled(alice, bob, carol)
    assert [p.user.payload for p in carol.received] == [b"last"]
    first = bob.received[0]
    assert first.user.payload == b"for bob"
    if where != "sid":
        assert list(first.destination_identities) == ["bob"]
        assert list(first.user.destination_identities) == ["bob"]


@pytest.mark.row(152, 85, 121)
async def test_hidden_senders_are_not_named(lobby: Lobby) -> None:
    bob = await media.join(lobby, "bob", single=True)
    await bob.ready()
    ghost = await media.join(lobby, "ghost", single=True, hidden=True)
    await ghost.send_data(user())
    received = await bob.packet("user")
    assert received.participant_identity == ""
    assert received.user.participant_identity == ""
    assert received.user.participant_sid == ""


@pytest.mark.row(152, 79)
async def test_who_may_not_publish_data(lobby: Lobby) -> None:
    alice, bob = await people(lobby, "alice", "bob")
    mute = await media.join(lobby, "mute", single=True, canPublishData=False)
    await mute.send_data(user(b"forbidden"))
    await lobby.pause(0.2)
    await settled(alice, bob)
    assert [p.user.payload for p in bob.received] == [b"last"]


OTHERS = [
    models.DataPacket(
        rpc_request=models.RpcRequest(id="1", method="greet", payload="{}", version=1)
    ),
    models.DataPacket(rpc_ack=models.RpcAck(request_id="1")),
    models.DataPacket(rpc_response=models.RpcResponse(request_id="1", payload="ok")),
    models.DataPacket(
        rpc_response=models.RpcResponse(
            request_id="1", error=models.RpcError(code=1500, message="no", data="d")
        )
    ),
    models.DataPacket(
        stream_header=models.DataStream.Header(
            stream_id="s",
            topic="t",
            mime_type="text/plain",
            total_length=5,
            text_header=models.DataStream.TextHeader(),
        )
    ),
    models.DataPacket(
        stream_header=models.DataStream.Header(
            stream_id="b", byte_header=models.DataStream.ByteHeader(name="file")
        )
    ),
    models.DataPacket(stream_chunk=models.DataStream.Chunk(stream_id="s", content=b"chunk")),
    models.DataPacket(stream_trailer=models.DataStream.Trailer(stream_id="s", reason="done")),
    models.DataPacket(
        encrypted_packet=models.EncryptedPacket(
            encryption_type=models.Encryption.GCM, iv=b"iv", key_index=1, encrypted_value=b"secret"
        )
    ),
    models.DataPacket(chat_message=models.ChatMessage(id="1", message="hi")),
    models.DataPacket(sip_dtmf=models.SipDTMF(code=1, digit="1")),
]


@pytest.mark.row(153, 154, 164, 130)
@both
async def test_what_is_passed_on_as_it_is(lobby: Lobby, single: bool) -> None:
    alice, bob = await people(lobby, "alice", "bob", single=single)
    for packet in OTHERS:
        await alice.send_data(packet)
    await until(lambda: len(bob.received) == len(OTHERS), "every packet")
    for sent, received in zip(OTHERS, bob.received, strict=True):
        expected = models.DataPacket()
        expected.CopyFrom(sent)
        expected.participant_identity = "alice"
        expected.participant_sid = alice.sid
        assert received == expected


@pytest.mark.row(155)
async def test_fields_that_the_server_does_not_read(lobby: Lobby) -> None:
    alice, bob = await people(lobby, "alice", "bob")
    header = models.DataPacket(
        stream_header=models.DataStream.Header(stream_id="s", attributes={"a": "b"})
    )
    # A field of a later protocol version: 200, bytes.
    unknown = header.stream_header.SerializeToString() + b"\xc2\x0c\x03new"
    size = len(unknown)
    assert size < 128
    field = models.DataPacket.DESCRIPTOR.fields_by_name["stream_header"].number
    tag = bytes([(field << 3 | 2) & 0x7F | (0x80 if field > 15 else 0)])
    tag += bytes([field >> 4]) if field > 15 else b""
    await alice.ready()
    alice.channels["_reliable"].send(tag + bytes([size]) + unknown)
    received = await bob.packet("stream_header")
    assert b"\xc2\x0c\x03new" in received.SerializeToString()


@pytest.mark.row(130)
async def test_agents_may_speak_for_others(lobby: Lobby) -> None:
    (bob,) = await people(lobby, "bob")
    agent = await media.join(lobby, "agent", single=True, claims={"kind": "agent"})
    transcription = models.Transcription(transcribed_participant_identity="bob")
    await agent.send_data(models.DataPacket(transcription=transcription))
    assert (await bob.packet("transcription")).participant_identity == "agent"
    for packet in (
        models.DataPacket(chat_message=models.ChatMessage(message="x")),
        models.DataPacket(
            stream_header=models.DataStream.Header(
                stream_id="s", text_header=models.DataStream.TextHeader()
            )
        ),
        models.DataPacket(
            stream_header=models.DataStream.Header(
                stream_id="b", byte_header=models.DataStream.ByteHeader()
            )
        ),
    ):
        packet.participant_identity = "bob"
        await agent.send_data(packet)
    await until(lambda: len(bob.received) == 4, "every packet")
    chat, text, binary = bob.received[1:]
    assert (chat.participant_identity, chat.chat_message.generated) == ("bob", True)
    assert text.participant_identity == "bob"
    assert text.stream_header.text_header.generated
    assert binary.participant_identity == "agent"


@pytest.mark.row(130, 163)
async def test_what_is_not_passed_on(lobby: Lobby) -> None:
    alice, bob = await people(lobby, "alice", "bob")
    await alice.send_data(models.DataPacket(metrics=metrics.MetricsBatch(timestamp_ms=1)))
    await alice.send_data(models.DataPacket(transcription=models.Transcription()))
    await settled(alice, bob)
    assert [p.WhichOneof("value") for p in bob.received] == ["user"]


@pytest.mark.row(156)
async def test_reliable_packets_are_taken_in_order_and_once(lobby: Lobby) -> None:
    alice, bob = await people(lobby, "alice", "bob")
    for sequence in (1, 2, 2, 1, 5, 4, 6):
        await alice.send_data(user(sequence=sequence))
    await settled(alice, bob)
    assert [p.sequence for p in bob.received[:-1]] == [1, 2, 5, 6]


@pytest.mark.row(157)
async def test_who_still_joins_gets_what_was_sent_meanwhile(lobby: Lobby) -> None:
    alice, bob = await people(lobby, "alice", "bob")
    await alice.send_data(user(b"before", sequence=1))
    await until(lambda: bob.received, "what was sent before")
    late = await media.join(lobby, "late", single=False, active=False)
    for sequence in range(2, 40):
        await alice.send_data(user(str(sequence).encode(), sequence=sequence))
        await asyncio.sleep(0.01)
    await late.ready()
    await until(lambda: late.received and late.received[-1].sequence == 39, "the last packet")
    assert [p.sequence for p in late.received] == list(range(2, 40))


@pytest.mark.row(157)
async def test_who_still_joins_gets_what_is_seconds_old_and_what_the_server_sent(
    lobby: Lobby,
) -> None:
    alice, bob = await people(lobby, "alice", "bob")
    late = await media.join(lobby, "late", single=False, active=False)
    for payload in (b"one", b"two"):
        request = {
            "room": lobby.room,
            "data": base64.b64encode(payload).decode(),
            "kind": "RELIABLE",
        }
        await lobby.call("SendData", request, Message)
    await alice.send_data(user(b"numbered", sequence=1))
    await until(lambda: len(bob.received) == 3, "what was sent meanwhile")
    await lobby.pause(3)
    await late.ready()
    await until(lambda: len(late.received) == 3, "all of it")
    assert {p.user.payload for p in late.received} == {b"one", b"two", b"numbered"}


@pytest.mark.row(99, 158)
async def test_data_of_the_server_arrives_once(lobby: Lobby) -> None:
    alice, bob = await people(lobby, "alice", "bob")
    nonce = base64.b64encode(uuid.uuid4().bytes).decode()
    request = {
        "room": lobby.room,
        "data": base64.b64encode(b"from the server").decode(),
        "kind": "RELIABLE",
        "topic": "news",
        "destination_identities": ["bob"],
        "nonce": nonce,
    }
    for _ in range(2):
        await lobby.call("SendData", request, Message)
    await settled(alice, bob)
    first, *_ = bob.received
    assert first.user.payload == b"from the server"
    assert first.user.topic == "news"
    assert first.participant_identity == ""
    assert len(bob.received) == 2
    assert alice.received == []


@pytest.mark.row(160)
async def test_channels_of_other_names(lobby: Lobby) -> None:
    alice, bob = await people(lobby, "alice", "bob")
    channel = alice.publisher.createDataChannel("mine")
    await until(lambda: channel.readyState == "open", "channel")
    channel.send(b"raw")
    received = await bob.packet("user")
    assert received == models.DataPacket(
        participant_identity="alice", user=models.UserPacket(payload=b"raw")
    )


@pytest.mark.row(159)
async def test_a_reader_that_stalls_holds_up_nobody(lobby: Lobby) -> None:
    alice, stalled, bob = await people(lobby, "alice", "stalled", "bob")
    # It acknowledges nothing any more.
    association: Any = stalled.publisher.sctp
    with mock.patch.object(association, "_receive_data_chunk", new=mock.AsyncMock()):
        for sequence in range(1, 101):
            await alice.send_data(user(bytes(50_000), sequence=sequence))
            # Less than may wait for bob, who shares a processor with everybody else.
            await until(lambda n=sequence: len(bob.received) >= n - 20, "what was sent before")
        await until(lambda: len(bob.received) == 100, "everything that was sent")
        assert [p.sequence for p in bob.received] == list(range(1, 101))
        assert stalled.received == []
