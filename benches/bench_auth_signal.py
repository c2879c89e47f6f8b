"""Tokens and signal frames: what every join and every message pays."""

from __future__ import annotations

from typing import Any

from livekit.protocol import models, rtc

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.auth.token import mint, verify
from lkpy.signal import codec

KEY, SECRET = "devkey", "secret-that-is-longer-than-32-bytes"
NOW = 1_700_000_000.0
GRANTS = Grants(identity="alice", video=VideoGrant(room_join=True, room="demo"))


def update(participants: int) -> rtc.SignalResponse:
    """An update about ``participants`` participants with two tracks each."""
    response = rtc.SignalResponse()
    for index in range(participants):
        info = response.update.participants.add(
            sid=f"PA_{index:012}", identity=f"user-{index}", state=models.ParticipantInfo.ACTIVE
        )
        for kind in (models.AUDIO, models.VIDEO):
            info.tracks.add(sid=f"TR_{index:012}", type=kind, mime_type="video/VP8", width=1280)
    return response


def test_token_mint(benchmark: Any) -> None:
    benchmark(mint, GRANTS, api_key=KEY, api_secret=SECRET, ttl_s=600, now=NOW)


def test_token_verify(benchmark: Any) -> None:
    token = mint(GRANTS, api_key=KEY, api_secret=SECRET, ttl_s=600, now=NOW)
    assert benchmark(verify, token, {KEY: SECRET}, now=NOW).grants.identity == "alice"


def test_signal_encode_update_of_10(benchmark: Any) -> None:
    assert benchmark(codec.encode, update(10), codec.Encoding.BINARY)


def test_signal_decode_ping(benchmark: Any) -> None:
    frame = rtc.SignalRequest(ping=1).SerializeToString()
    assert benchmark(codec.decode, frame, rtc.SignalRequest).ping == 1
