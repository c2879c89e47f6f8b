"""What is forwarded: tracks without media, simulcast layers, encrypted media."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from typing import Any

import pytest
from aiortc.mediastreams import MediaStreamTrack
from livekit.protocol import models

from tests.conformance import media
from tests.conformance.kit import Lobby, Target

both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])
SIMULCAST = pathlib.Path(__file__).with_name("simulcast.yaml")


class Nothing(MediaStreamTrack):
    """A track that never has a frame."""

    kind = "audio"

    async def recv(self) -> Any:
        await asyncio.Event().wait()


@pytest.mark.row(134)
@both
async def test_a_track_is_published_by_its_description(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    track, _ = await alice.publish(Nothing())
    await bob.signal.expect_participant("alice", lambda p: [t.sid for t in p.tracks] == [track.sid])


@pytest.mark.row(145)
@both
async def test_encrypted_tracks_pass(lobby: Lobby, single: bool) -> None:
    """A server cannot tell: what it forwards of a track that says it is encrypted is what came."""
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    track, _ = await alice.publish(encryption=models.Encryption.GCM)
    assert track.encryption == models.Encryption.GCM
    info = await bob.signal.expect_participant("alice", lambda p: bool(p.tracks))
    assert info.tracks[0].encryption == models.Encryption.GCM
    await bob.receives(track.sid)
    assert alice.signal.join.sif_trailer == bob.signal.join.sif_trailer != b""


@pytest.mark.row(137, 47, 141)
async def test_simulcast_layers(target: Target, tmp_path: pathlib.Path) -> None:
    """One layer goes to each viewer, that of the quality it asked for (the scenario's SLOs)."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lkpy", "sim", "run", str(SIMULCAST), "--quiet"),
        *("--url", target.url.replace("http", "ws", 1), "--api-key", target.key),
        *("--api-secret", target.secret, "--report", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
