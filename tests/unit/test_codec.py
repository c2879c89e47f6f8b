"""Signal frames."""

from __future__ import annotations

import json

import pytest
from livekit.protocol import rtc

from lkpy.signal.codec import Encoding, FrameError, SharedEncoder, decode, encode

PONG = rtc.SignalResponse(pong=7)


def test_binary() -> None:
    frame = encode(PONG, Encoding.BINARY)
    assert isinstance(frame, bytes)
    assert decode(frame, rtc.SignalResponse) == PONG


def test_text_has_proto_json_names() -> None:
    token = rtc.SignalResponse(refresh_token="t")
    frame = encode(token, Encoding.TEXT)
    assert isinstance(frame, str)
    assert json.loads(frame) == {"refreshToken": "t"}
    assert decode(frame, rtc.SignalResponse) == token
    assert decode('{"refresh_token": "t"}', rtc.SignalResponse) == token


def test_what_is_not_known_yet_is_no_error() -> None:
    assert decode(b"\x98\x06\x01", rtc.SignalRequest).WhichOneof("message") is None
    assert decode('{"future": 1}', rtc.SignalRequest).WhichOneof("message") is None


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff",
        b"\x0a\x7f",
        "",
        "{",
        "[]",
        '{"ping": "x"}',
        '{"offer": 5}',
        '{"ping": 1, "offer": {}}',
        "[" * 100_000,
        '{"offer":' * 1000,
    ],
)
def test_garbage(frame: bytes | str) -> None:
    with pytest.raises(FrameError, match="frame is not a SignalRequest"):
        decode(frame, rtc.SignalRequest)


def test_a_shared_message_is_encoded_once() -> None:
    encoder = SharedEncoder(size=2)
    first = encoder.encode(PONG, Encoding.BINARY)
    assert encoder.encode(PONG, Encoding.BINARY) is first
    assert isinstance(encoder.encode(PONG, Encoding.TEXT), str)
    for number in range(3):
        encoder.encode(rtc.SignalResponse(pong=number), Encoding.BINARY)
    again = encoder.encode(PONG, Encoding.BINARY)
    assert again == first
    assert again is not first


def test_a_new_message_never_gets_the_frame_of_a_dead_one() -> None:
    encoder = SharedEncoder(size=4)
    for number in range(1000):
        frame = encoder.encode(rtc.SignalResponse(pong=number), Encoding.BINARY)
        assert decode(frame, rtc.SignalResponse).pong == number
