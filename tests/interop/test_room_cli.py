"""``lkpy room`` against a server process, with a participant that is the official SDK."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc

from tests.patience import PATIENCE_S

from .conftest import RunningServer
from .sdk_kit import joined


class Cli:
    """Runs ``lkpy room`` for a server."""

    def __init__(self, server: RunningServer) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("LIVEKIT_", "LKPY_"))}
        self.environ = clean | {
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            "LIVEKIT_URL": server.url,
            "LIVEKIT_API_KEY": server.api_key,
            "LIVEKIT_API_SECRET": server.api_secret,
        }

    async def start(self, *args: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lkpy", "room", *args),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def run(self, *args: str) -> tuple[int, str, str]:
        process = await self.start(*args)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return process.returncode or 0, out.decode(), err.decode()

    async def json(self, *args: str) -> Any:
        code, out, err = await self.run(*args, "--json", "--quiet")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture
def cli(server: RunningServer) -> Cli:
    return Cli(server)


async def stopped(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Interrupt and wait: the exit status and what was still printed on standard error."""
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode or 0, err.decode()


async def next_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode()


async def test_a_rooms_life(cli: Cli, room_name: str) -> None:
    made = await cli.json(
        *("create", room_name, "--metadata", "first", "--max-participants", "4"),
        *("--empty-timeout", "60"),
    )
    assert made["name"] == room_name
    assert (made["max_participants"], made["empty_timeout"]) == (4, 60)
    code, out, err = await cli.run("list", room_name, "absent")
    assert code == 0
    assert out.split()[:6] == ["room", "sid", "age", "part", "pub", "metadata"]
    assert room_name in out
    assert "warning: no room 'absent' on ws" in err
    assert (await cli.json("update", room_name, "--metadata", "second"))["metadata"] == "second"
    code, out, _ = await cli.run("participants", "list", room_name)
    assert (code, out) == (0, f"nobody is in room '{room_name}'\n")
    assert await cli.json("delete", room_name) == {}
    for args in (
        ("delete", room_name),
        ("update", room_name, "--metadata", "x"),
    ):
        code, out, err = await cli.run(*args, "--quiet")
        assert (code, out) == (1, "")
        assert err == (
            f"error: room '{room_name}': requested room does not exist\n"
            "hint: `lkpy room list` shows the rooms there are\n"
        )
    code, _, err = await cli.run("participants", "list", room_name, "-q")
    assert code == 1
    assert err.startswith(f"error: no room '{room_name}' on ws")


async def test_moderating_a_participant(cli: Cli, server: RunningServer, room_name: str) -> None:
    async with joined(server, room_name, "alice") as alice:
        source = rtc.AudioSource(48_000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("voice", source)
        published = await alice.local_participant.publish_track(track)
        who = (await cli.json("participants", "list", room_name))["participants"]
        assert [(p["identity"], len(p["tracks"])) for p in who] == [("alice", 1)]
        where = ("--room", room_name, "--identity", "alice")
        assert (await cli.json("mute-track", *where, published.sid))["track"]["muted"]
        subscriptions = ("update-subscriptions", *where, "--unsubscribe", published.sid)
        code, out, _ = await cli.run(*subscriptions)
        assert (code, out) == (0, f"unsubscribed 'alice' from {published.sid}\n")

        data: asyncio.Future[rtc.DataPacket] = asyncio.get_running_loop().create_future()
        alice.on("data_received", data.set_result)
        # Data sent by the server needs the channel open.
        await alice.local_participant.publish_data(b"open?", reliable=True)
        await cli.json("send-data", *where, "--topic", "chat", '{"a": 1}')
        packet = await asyncio.wait_for(data, PATIENCE_S)
        assert (packet.data, packet.topic) == (b'{"a": 1}', "chat")

        @alice.local_participant.register_rpc_method("double")
        async def double(call: rtc.RpcInvocationData) -> str:
            return call.payload * 2

        code, out, err = await cli.run("rpc", *where, "double", "ab", "-q")
        assert (code, out, err) == (0, "abab\n", "")

        one = ("--room", room_name, "alice")
        changed = await cli.json(
            *("participants", "update", *one, "--metadata", "m", "--attribute", "mood=good"),
            *("--permissions", '{"canUpdateMetadata": true, "can_publish_data": false}'),
        )
        assert (changed["metadata"], changed["attributes"]) == ("m", {"mood": "good"})
        permission = changed["permission"]
        assert permission["can_publish"], "what is not named stays"
        assert (permission["can_update_metadata"], permission["can_publish_data"]) == (True, False)
        code, out, _ = await cli.run("participants", "get", *one)
        assert code == 0
        assert "attributes  mood=good\n" in out
        assert published.sid in out

        gone: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        alice.on("disconnected", gone.set_result)
        code, out, _ = await cli.run("participants", "remove", *one)
        assert (code, out) == (0, f"removed participant 'alice' from room '{room_name}'\n")
        assert await asyncio.wait_for(gone, PATIENCE_S) == rtc.DisconnectReason.PARTICIPANT_REMOVED
    code, _, err = await cli.run("participants", "get", *one, "-q")
    assert code == 1
    assert err.startswith(
        f"error: participant 'alice' in room '{room_name}': participant does not exist\n"
    )


async def test_refused_keys(cli: Cli) -> None:
    code, _, err = await cli.run("list", "-q", "--api-key", "other", "--api-secret", "hush")
    assert code == 3
    assert "refuses API key 'other' from flags or environment: invalid API key" in err
    assert "hush" not in err


async def test_watching(cli: Cli, server: RunningServer, room_name: str) -> None:
    await cli.json("create", room_name)
    watching = await cli.start(
        "participants", "list", room_name, "--watch", "--interval", "0.1", "--json"
    )
    assert json.loads(await next_line(watching)) == {"participants": []}
    async with joined(server, room_name, "alice"):
        states = []
        while not states or states[-1] != "ACTIVE":
            (who,) = json.loads(await next_line(watching))["participants"]
            states.append(who["state"])
        assert len(states) == len(set(states)), "only changes are printed"
    assert await stopped(watching) == (
        0,
        f"Using {server.url} with API key 'devkey' from flags or environment.\n",
    )


def test_watching_on_a_terminal(cli: Cli, room_name: str) -> None:
    """On a pseudo-terminal of 80x24: the alternate screen is drawn, and left again on Ctrl-C."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environ = {k: v for k, v in cli.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "lkpy", "room", "list", room_name, "--watch", "--quiet"],
        env=environ | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    seen = b""
    try:
        while b"Ctrl-C ends" not in seen:
            assert select.select([ours], [], [], 20)[0], seen
            seen += os.read(ours, 65536)
        os.write(ours, b"\x03")
        with contextlib.suppress(OSError):  # the terminal ends with its last process
            while select.select([ours], [], [], 20)[0] and (data := os.read(ours, 65536)):
                seen += data
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    entered, _, rest = seen.partition(b"\x1b[?1049h")
    assert entered == b""
    drawn, _, after = rest.partition(b"\x1b[?1049l")
    assert b"\x1b[Hno rooms\x1b[K" in drawn
    assert b"no rooms" in after, "the last picture stays"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_curl_command_runs(cli: Cli, room_name: str, tmp_path: Path) -> None:
    metadata = 'it\'s "$HOME" `x` \\ é'
    command = ("create", room_name, "--metadata", metadata, "--curl", "--show-secrets")
    code, out, _ = await cli.run(*command)
    assert code == 0
    _, listed, _ = await cli.run("list", room_name)
    assert listed == "no rooms\n", "--curl makes no call"
    assert (await bash(out, cli.environ))["metadata"] == metadata

    # The command without a token, after the command that makes one.
    wrapper = tmp_path / "lkpy"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m lkpy "$@"\n')
    wrapper.chmod(0o755)
    _, out, err = await cli.run("list", room_name, "--curl")
    path = f"{tmp_path}:{os.environ['PATH']}"
    answer = await bash(f"{err.removeprefix('# ')}\n{out}", cli.environ | {"PATH": path})
    assert [found["name"] for found in answer["rooms"]] == [room_name]


async def bash(script: str, environ: dict[str, str]) -> Any:
    """What a script prints, which is JSON."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, env=environ, stdout=subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0
    return json.loads(out)


async def test_completion_of_room_names(cli: Cli, room_name: str) -> None:
    await cli.json("create", room_name)

    async def completed(words: str, **environ: str) -> list[str]:
        script = "import sys; sys.argv[0] = 'lkpy'; from lkpy.cli.main import main; main()"
        shell = {"_LKPY_COMPLETE": "complete_bash", "COMP_WORDS": words}
        shell["COMP_CWORD"] = str(len(words.split()) - 1)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script),
            env=cli.environ | shell | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert err == b""
        return out.decode().split()

    beginning = room_name[:-2]
    assert await completed(f"lkpy room delete {beginning}") == [room_name]
    assert await completed(f"lkpy room participants get --room {beginning}") == [room_name]
    nobody = {"LIVEKIT_URL": "ws://127.0.0.1:1"}
    assert await completed(f"lkpy room delete {beginning}", **nobody) == []


async def next_event(process: asyncio.subprocess.Process, kind: str) -> dict[str, Any]:
    while True:
        line = await next_line(process)
        assert line, f"no {kind}"
        event: dict[str, Any] = json.loads(line)
        if event["event"] == kind:
            return event


async def test_joining(cli: Cli, server: RunningServer, room_name: str) -> None:
    joining = await cli.start(
        "join", room_name, "--identity", "cli", "--attribute", "mood=good", "--json", "--quiet"
    )
    joined_as = await next_event(joining, "joined")
    assert (joined_as["room"], joined_as["identity"]) == (room_name, "cli")
    async with joined(server, room_name, "alice", can_update_own_metadata=True) as alice:
        assert (await next_event(joining, "participant_connected"))["identity"] == "alice"
        assert alice.remote_participants["cli"].attributes == {"mood": "good"}
        source = rtc.AudioSource(48_000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("voice", source)
        published = await alice.local_participant.publish_track(track)
        assert (await next_event(joining, "track_published"))["track"] == published.sid
        await alice.local_participant.set_metadata("m")
        assert (await next_event(joining, "metadata_changed"))["metadata"] == "m"
        await alice.local_participant.publish_data("hello", topic="chat")
        data = await next_event(joining, "data")
        assert (data["identity"], data["topic"], data["data"]) == ("alice", "chat", "hello")
        left: asyncio.Future[rtc.RemoteParticipant] = asyncio.get_running_loop().create_future()
        alice.on("participant_disconnected", left.set_result)
        assert await stopped(joining) == (0, "")
        who = await asyncio.wait_for(left, PATIENCE_S)
        assert who.disconnect_reason == rtc.DisconnectReason.CLIENT_INITIATED


async def test_joining_with_a_tone_and_a_picture(
    cli: Cli, server: RunningServer, room_name: str
) -> None:
    kinds: asyncio.Queue[int] = asyncio.Queue()
    client = rtc.Room()
    client.on("track_subscribed", lambda track, *_: kinds.put_nowait(track.kind))
    async with joined(server, room_name, "alice", client=client):
        joining = await cli.start("join", room_name, "--publish-demo", "--json", "--quiet")
        try:
            seen = {await asyncio.wait_for(kinds.get(), PATIENCE_S) for _ in range(2)}
            assert seen == {rtc.TrackKind.KIND_AUDIO, rtc.TrackKind.KIND_VIDEO}
        finally:
            assert await stopped(joining) == (0, "")


async def test_joining_in_vain(cli: Cli, room_name: str) -> None:
    joining = await cli.start("join", room_name, "--identity", "cli", "--quiet")
    assert "joined" in await next_line(joining)
    assert (await cli.run("participants", "remove", "-r", room_name, "cli", "-q"))[0] == 0
    out, err = await asyncio.wait_for(joining.communicate(), PATIENCE_S)
    assert joining.returncode == 1
    assert b"reason=participant_removed" in out
    assert b"the server sent this participant away" in err

    code, out_text, err_text = await cli.run(
        "join", room_name, "-q", "--api-key", "other", "--api-secret", "hush"
    )
    assert (code, out_text) == (3, "")
    assert "refuses API key 'other' from flags or environment: invalid API key" in err_text
    code, _, err_text = await cli.run("join", room_name, "-q", "--url", "ws://127.0.0.1:1")
    assert code == 3
    assert "cannot reach ws://127.0.0.1:1: connection refused" in err_text
