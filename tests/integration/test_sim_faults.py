"""What must not fool the simulator: servers and generator processes that die, stop or lack things.

Real workers and a real embedded server. How fast it happens depends on the machine, so nothing
here asserts a time that a busy one could break.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import psutil
import pytest
from google.protobuf.message import Message
from livekit.protocol import room

from lkpy.api_client import ApiClient, room_call
from lkpy.auth.grants import VideoGrant
from lkpy.sim import loader
from lkpy.sim import plan as planning
from lkpy.sim.client import ClientSettings
from lkpy.sim.embedded import EmbeddedServer
from lkpy.sim.judge.silence import planned_tracks
from lkpy.sim.lives import Participant
from lkpy.sim.media import cache
from lkpy.sim.peers.link import local_addresses
from lkpy.sim.peers.peer import PeerSettings
from lkpy.sim.report import document, html, junit
from lkpy.sim.result import RunResult, Status
from lkpy.sim.runner import Runner
from lkpy.sim.scenario import Scenario
from lkpy.sim.target import Target
from tests.integration.test_sim_embedded import environment
from tests.integration.test_sim_run import Notes

TEXT = """\
version: 1
name: faults
duration: {duration}
groups:
  - name: stage
    publish: [{{kind: audio}}]
    subscribe: false
  - name: crowd
    count: 3
    start: 500ms
    ramp: {ramp}
slo:
  - joined == 4
"""


def scenario(duration: str, ramp: str = "200ms") -> Scenario:
    return loader.parse(TEXT.format(duration=duration, ramp=ramp), "faults.yaml", {})


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def environ(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LKPY_CACHE_DIR", str(clips))


class Started:
    """A run that is under way."""

    def __init__(self, runner: Runner, notes: Notes, task: asyncio.Task[RunResult]) -> None:
        self.runner, self.notes, self._task = runner, notes, task

    @property
    def server(self) -> int:
        assert self.runner._server is not None
        return self.runner._server.pid

    def worker(self, index: int) -> int:
        process = self.runner._workers[index]._process
        assert process is not None
        return process.pid

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                assert not self._task.done(), self._task.result().reasons
                await asyncio.sleep(0.05)

    async def flows(self) -> None:
        """Wait until media reaches everybody."""

        def everybody() -> bool:
            last = self.notes.samples[-1].groups if self.notes.samples else {}
            return bool(last) and last["crowd"]["connected"] == 3 and last["crowd"]["packets"] > 100

        await self.until(everybody)

    async def result(self) -> RunResult:
        return await asyncio.wait_for(self._task, 90)


@asynccontextmanager
async def running(
    made: Scenario, processes: int = 1, target: Target | None = None
) -> AsyncIterator[Started]:
    notes = Notes()
    runner = Runner(made, target, notes, processes=processes)
    task = asyncio.create_task(runner.run())
    try:
        yield Started(runner, notes, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_server_that_dies_is_told(kind: signal.Signals) -> None:
    async with running(scenario("90s")) as started:
        await started.flows()
        os.kill(started.server, kind)
        result = await started.result()
    assert (result.status, result.exit_code) == (Status.SERVER_DIED, 99)
    assert result.elapsed < 60, "the run does not go on without its server"
    assert result.server_died_at == result.elapsed
    words = "killed by signal 9" if kind is signal.SIGKILL else "SIGSTOP"
    assert any(words in reason for reason in result.reasons)
    made = document.build(result)
    assert made["status"] == "server_died"
    assert "the server died" in html.render(made)
    assert '<failure message="the server died">' in junit.render(made)


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_server_elsewhere_that_dies_is_told(kind: signal.Signals) -> None:
    """Of a server that is not our child only its answers and its media are known."""
    async with EmbeddedServer() as server:
        async with running(
            scenario("90s"), target=replace(server.target, embedded=False)
        ) as started:
            await started.flows()
            os.kill(server.pid, kind)
            result = await started.result()
        server.kill()
    assert result.status is Status.SERVER_DIED
    assert result.elapsed < 60
    words = "refused" if kind is signal.SIGKILL else "it has not answered for 4 s"
    assert any(words in reason for reason in result.reasons), result.reasons
    assert result.silences == [], "its end explains them"


async def test_a_stopped_generator_process_is_the_generators_fault() -> None:
    async with running(scenario("14s"), processes=2) as started:
        await started.flows()
        worker = started.worker(1)
        os.kill(worker, signal.SIGSTOP)
        before = len(started.notes.samples)
        # Wall time here is the fault itself: longer than any patience, shorter than the run.
        await asyncio.sleep(4)
        os.kill(worker, signal.SIGCONT)
        result = await started.result()
    assert len(result.samples) >= before
    assert (result.status, result.exit_code) == (Status.INVALID, 4)
    assert any("generator process 1: it stood still" in reason for reason in result.reasons)
    assert result.health[1].ticks_missed > 100
    # Its clients were deaf meanwhile; no track was silent.
    assert result.silences == []


async def test_a_process_that_is_never_continued_makes_the_run_invalid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lkpy.sim.runner.RESULT_TIMEOUT_S", 1.0)
    monkeypatch.setattr("lkpy.sim.runner.CLOSE_TIMEOUT_S", 0.5)
    async with running(scenario("5s"), processes=2) as started:
        await started.flows()
        os.kill(started.worker(1), signal.SIGSTOP)
        result = await started.result()
    assert result.status is Status.INVALID
    assert "generator process 1 did not end: is it stopped?" in result.reasons


async def test_who_leaves_comes_back() -> None:
    ramp = "[{to: 3, over: 0s}, {hold: 3s}, {to: 0, over: 0s}, {hold: 1s}, {to: 3, over: 0s}]"
    async with running(scenario("11s", ramp)) as started:
        result = await started.result()
    connected = [int(s.groups["crowd"]["connected"]) for s in result.samples]
    assert connected[-1] == 3
    assert 0 in connected[connected.index(3) :]
    packets = [s.groups["crowd"]["packets"] for s in result.samples]
    assert packets == sorted(packets), "counters go on where the last life ended"
    assert packets[-1] > packets[-3]
    counts = result.groups["crowd"].counts
    assert (counts["clients"], counts["joined"], counts["errors"]) == (3, 3, 0)
    assert result.groups["crowd"].distributions["join"].count == 6
    assert result.silences == []
    assert result.status in (Status.PASSED, Status.INVALID)


async def test_a_track_that_goes_silent_is_found() -> None:
    """The publisher counts its packets as sent, and they end on the way."""
    made = scenario("60s")
    plan = planning.make(made)
    tracks = planned_tracks(made, plan)
    async with EmbeddedServer() as server, aiohttp.ClientSession() as session:
        tokens = server.target.client_tokens(made, plan)
        family, addresses = local_addresses(server.target.host, server.target.port)

        def participant(number: int) -> Participant:
            client = plan.clients[number]
            group = made.groups[client.group]
            settings = ClientSettings(
                url=server.target.url,
                token=tokens[number],
                mode="auto",
                join_timeout=15,
                peer=PeerSettings(family, addresses, client.identity, 0.0, number),
                clips=[[cache.audio_clip(track)] for track in group.publish],
            )
            return Participant(client, group, lambda life: settings)

        publisher, subscriber = participant(0), participant(1)

        def silent() -> dict[str, float]:
            now = time.monotonic()
            found = subscriber.client.silent(now, lambda name: tracks[name].patience)
            return {track.name: track.since for track in found if track.until is None}

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(40):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.02)

        try:
            await publisher.join(session)
            await subscriber.join(session)
            await until(lambda: subscriber.sample()["packets"] > 20)
            assert list(publisher.idle()) == []
            link = publisher.client.peers[0].link
            send, link._send = link._send, lambda datagram: None
            await until(lambda: bool(silent()))
            assert list(silent()) == ["stage-0-0"]
            assert list(publisher.idle()) == [], "it was sending"
            link._send = send
            await until(lambda: not silent())
            # Who leaves owes nothing: the server says so before the patience ends.
            await publisher.leave()
            await until(lambda: not list(subscriber.client._expected._tracks.values())[0:])
            assert not silent()
            assert list(publisher.idle()) == [("stage-0-0", "stopped")]
        finally:
            await publisher.leave()
            await subscriber.leave()


async def test_a_run_tells_a_track_that_stops_from_one_that_was_muted() -> None:
    """Somebody unsubscribes one client of the crowd, and mutes the track for all later."""
    async with running(scenario("14s")) as started:
        await started.flows()
        target = started.runner._server.target  # type: ignore[union-attr]
        name = f"faults-0{target.room_suffix}"
        grant = VideoGrant(room_admin=True, room=name)
        sid = ""

        async def call(method: str, request: Message) -> Message:
            made = room_call(method, request, grant)
            async with ApiClient(target.url, target.api_key, target.api_secret) as client:
                return await client.call(made)

        listed = await call("ListParticipants", room.ListParticipantsRequest(room=name))
        sid = next(t.sid for who in listed.participants for t in who.tracks)  # type: ignore[attr-defined]
        deaf = {"room": name, "identity": "crowd-1", "track_sids": [sid]}
        await call("UpdateSubscriptions", room.UpdateSubscriptionsRequest(**deaf))
        await started.until(lambda: bool(started.notes.events))
        mute = room.MuteRoomTrackRequest(room=name, identity="stage-0", track_sid=sid, muted=True)
        await call("MutePublishedTrack", mute)
        result = await started.result()
    # The others heard it until it was muted; that they heard nothing then is as it should be.
    assert [silence.client for silence in result.silences] == [2]
    (event,) = result.events
    assert event.client == "crowd-1"
    assert event.text.startswith("no audio of stage-0 (microphone, stage-0-0)")
    assert event.text.endswith("its publisher was sending")
    counts = result.groups["crowd"].counts
    assert (counts["errors"], counts["silences"]) == (1, 1)
    assert result.status in (Status.BREACHED, Status.INVALID)
    told = document.build(result)["silences"]
    assert [(item["client"], item["publisher"]) for item in told] == [("crowd-1", "stage-0")]


# -- the command --------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "faults.yaml"
    path.write_text(TEXT.format(duration="3s", ramp="200ms"))
    return path


async def start(*command: str, cache: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(cache),
    )


LKPY = (sys.executable, "-m", "lkpy", "sim", "run")


async def test_a_lack_of_descriptors_is_the_generators_fault(tmp_path: Path, clips: Path) -> None:
    many = tmp_path / "many.yaml"
    many.write_text(TEXT.format(duration="3s", ramp="0s").replace("count: 3", "count: 150"))
    limited = ("sh", "-c", 'ulimit -n 128 && exec "$@"', "sh")
    process = await start(
        *limited,
        *LKPY,
        str(many),
        "--json",
        "--processes",
        "1",
        "--report",
        str(tmp_path),
        cache=clips,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 4, errors
    made = json.loads(output)
    assert made["status"] == "invalid"
    assert "open files" in made["reasons"][0]


async def test_a_soft_limit_is_raised(tmp_path: Path, file: Path, clips: Path) -> None:
    soft = ("sh", "-c", 'ulimit -Sn 64 && exec "$@"', "sh")
    process = await start(*soft, *LKPY, str(file), "--json", "--report", str(tmp_path), cache=clips)
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert json.loads(output)["metrics"]["all"]["joined"] == 4, errors


@pytest.mark.parametrize("where", ["gone", "blocked"])
async def test_the_verdict_survives_its_files(
    tmp_path: Path, file: Path, clips: Path, where: str
) -> None:
    report = tmp_path / "out"
    process = await start(*LKPY, str(file), "--report", str(report), cache=clips)
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while b"connected" not in await process.stderr.readline():
            assert process.returncode is None
    report.rmdir()
    if where == "blocked":
        report.write_text("in the way")
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert b"\npassed\n" in output or b"invalid" in output
    if where == "gone":
        assert (report / "run.json").exists()
        assert process.returncode in (0, 4)
    else:
        assert process.returncode in (1, 4)
        assert errors.count(b"cannot write") == 3


@pytest.mark.parametrize("times", [1, 2])
async def test_ctrl_c_ends_the_making_of_media(tmp_path: Path, times: int) -> None:
    slow = tmp_path / "slow.yaml"
    slow.write_text(
        TEXT.format(duration="3s", ramp="0s").replace(
            "{kind: audio}", "{kind: video, fps: 60, layers: [{size: 3840x2160, bitrate: 9mbps}]}"
        )
    )
    process = await start(*LKPY, str(slow), "--report", str(tmp_path), cache=tmp_path / "cold")
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while b"making media" not in await process.stderr.readline():
            assert process.returncode is None
    children = psutil.Process(process.pid).children(recursive=True)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert (b"interrupted" in output) or times == 2
    psutil.wait_procs(children, timeout=15)
    assert not any(child.is_running() for child in children), "nobody goes on encoding"
    assert not list((tmp_path / "cold").rglob("*.clip")), "it had not been finished"


async def test_a_second_ctrl_c_ends_all_also_what_is_stopped(tmp_path: Path, clips: Path) -> None:
    long = tmp_path / "long.yaml"
    long.write_text(TEXT.format(duration="10m", ramp="200ms"))
    process = await start(*LKPY, str(long), "--report", str(tmp_path), cache=clips)
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while b"connected" not in await process.stderr.readline():
            assert process.returncode is None
    children = psutil.Process(process.pid).children(recursive=True)
    (worker,) = (child for child in children if "lkpy.sim.worker" in child.cmdline())
    worker.suspend()
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        while b"stopping" not in await process.stderr.readline():
            assert process.returncode is None
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    psutil.wait_procs(children, timeout=15)
    assert not any(child.is_running() for child in children)


async def test_a_scenario_comes_from_standard_input(clips: Path) -> None:
    command = (sys.executable, "-m", "lkpy", "sim", "validate", "-")
    process = await start(*command, cache=clips)
    output, errors = await process.communicate(TEXT.format(duration="3s", ramp="0s").encode())
    assert (process.returncode, errors) == (0, b"")
    assert b"valid: 4 clients" in output
    process = await start(*command, cache=clips)
    _, errors = await process.communicate(b"version: 2")
    assert process.returncode == 2
    assert b"standard input:1:" in errors
