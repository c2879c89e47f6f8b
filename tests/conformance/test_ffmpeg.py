"""FFmpeg publishes by WHIP: DTLS server alone, AES-CM alone, H.264 in its encoder's profile."""

from __future__ import annotations

import pytest

from tests.conformance import media
from tests.conformance.ffmpeg_kit import needs_whip, publishing
from tests.conformance.kit import Lobby

pytestmark = [pytest.mark.row(17), needs_whip]


@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
async def test_ffmpeg_publishes(lobby: Lobby, profile: str) -> None:
    bob = await media.join(lobby, "bob", single=False)
    token = lobby.target.token("alice", lobby.room)
    async with publishing(lobby.target.url, token, profile):
        info = await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 2)
        assert {t.mime_type for t in info.tracks} == {"audio/opus", "video/H264"}
        for track in info.tracks:
            await bob.receives(track.sid, 10)
