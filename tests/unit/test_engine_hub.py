"""The hub around an engine, and the fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from lkpy.engine.api import (
    AudioLevels,
    CloseDataTrack,
    CloseTransport,
    Command,
    CommandFailed,
    CreateDataDownTrack,
    CreateDataTrack,
    CreateTransport,
    DataReceived,
    DtlsState,
    DtlsStateChanged,
    Event,
    IceParameters,
    IceState,
    IceStateChanged,
    OpenDataChannel,
    ReceiverLayersChanged,
    WorkerFailed,
    WorkerStalled,
)
from lkpy.engine.fake import FakeEngine
from lkpy.engine.hub import EngineHub
from lkpy.errors import Code, LkpyError
from tests.patience import PATIENCE_S


@pytest.fixture
def engine():
    engine = FakeEngine(workers=2)
    yield engine
    engine.close()


@pytest.fixture
def hub(engine: FakeEngine) -> EngineHub:
    return EngineHub(engine)


def test_ids_are_given_once(hub: EngineHub) -> None:
    ids = [hub.new_id() for _ in range(100)]
    assert len(set(ids)) == 100


def test_events_go_to_whom_they_are_about(engine: FakeEngine, hub: EngineHub) -> None:
    seen: list[tuple[str, Event]] = []
    hub.bind(1, lambda event: seen.append(("one", event)))
    hub.bind(2, lambda event: seen.append(("two", event)))
    events: list[Event] = [
        IceStateChanged(1, IceState.CONNECTED),
        ReceiverLayersChanged(2, (0,), "audio/opus"),
        CommandFailed("CreateReceiver", 1, "not_found", "no transport"),
        DataReceived(3, 0, b"nobody", True),
    ]
    engine.inject(*events)
    hub.dispatch()
    assert seen == [("one", events[0]), ("two", events[1]), ("one", events[2])]
    assert hub.unhandled == 1
    hub.unbind(1)
    hub.unbind(1)
    engine.inject(events[0])
    hub.dispatch()
    assert len(seen) == 3


def test_levels_are_split_by_handler(engine: FakeEngine, hub: EngineHub) -> None:
    alice: list[Event] = []
    bob: list[Event] = []
    for receiver, handler in ((1, alice.append), (2, bob.append), (3, alice.append)):
        hub.bind(receiver, handler)
    engine.inject(AudioLevels(0, ((1, 10, 400), (2, 20, 400), (3, 30, 400), (4, 1, 1))))
    hub.dispatch()
    assert alice == [AudioLevels(0, ((1, 10, 400), (3, 30, 400)))]
    assert bob == [AudioLevels(0, ((2, 20, 400),))]


def test_a_handler_that_fails_costs_only_its_event(
    engine: FakeEngine, hub: EngineHub, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Event] = []

    def fail(event: Event) -> None:
        raise RuntimeError("a bug")

    hub.bind(1, fail)
    hub.bind(2, seen.append)
    engine.inject(IceStateChanged(1, IceState.FAILED), IceStateChanged(2, IceState.FAILED))
    hub.dispatch()
    assert len(seen) == 1
    assert "handling IceStateChanged failed" in caplog.text


async def test_the_loop_dispatches_and_stats_are_collected(
    engine: FakeEngine, hub: EngineHub
) -> None:
    hub.start(asyncio.get_running_loop())
    came = asyncio.Event()
    hub.bind(1, lambda event: came.set())
    hub.submit(CreateTransport(1, 1, IceParameters("ufrag", "p" * 22)))
    engine.inject(DtlsStateChanged(1, DtlsState.CONNECTED))
    await asyncio.wait_for(came.wait(), 5)
    one, two = await asyncio.wait_for(asyncio.gather(hub.collect_stats(), hub.collect_stats()), 5)
    for answers in (one, two):
        assert [answer.worker.worker for answer in answers] == [0, 1]
    assert [t.transport for t in one[1].transports] == [1]
    assert one[0].request != two[0].request
    hub.stop()
    hub.stop()


async def test_a_stats_request_that_is_given_up_is_forgotten(hub: EngineHub) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hub.collect_stats(), 0.01)
    hub.dispatch()


def test_the_fake_engine_keeps_what_exists_and_its_descriptor() -> None:
    engine = FakeEngine(auto_connect=True)
    engine.submit([CreateTransport(1, 0, IceParameters("u", "p")), OpenDataChannel(1, "_lossy")])
    assert list(engine.transports) == [1]
    assert [e.label for e in engine.drain() if hasattr(e, "label")] == ["_lossy"]
    engine.connect(1)
    assert len(engine.drain(1)) == 1
    assert len(engine.drain(1)) == 1
    assert engine.drain(1) == []
    engine.submit([CloseTransport(1)])
    assert engine.transports == {}
    engine.close()
    engine.close()
    with pytest.raises(LkpyError) as closed:
        engine.submit([CloseTransport(1)])
    assert closed.value.code is Code.UNAVAILABLE


def test_the_fake_engine_refuses_data_tracks_as_the_engine_does(engine: FakeEngine) -> None:
    ice = IceParameters("u", "p")
    engine.submit([CreateTransport(1, 0, ice), CreateTransport(2, 0, ice)])
    engine.submit([CreateDataTrack(10, 1, 7), CreateDataTrack(10, 1, 7)])
    engine.submit([CreateDataDownTrack(20, 2, 10, 9), CreateDataDownTrack(20, 2, 10, 9)])
    assert engine.drain() == []
    engine.submit(
        [
            CreateDataTrack(11, 1, 7),
            CreateDataTrack(12, 3, 7),
            CreateDataDownTrack(21, 2, 99, 9),
            CreateDataDownTrack(22, 3, 10, 9),
        ]
    )
    failed = [event for event in engine.drain() if isinstance(event, CommandFailed)]
    assert [(event.command, event.subject, event.code) for event in failed] == [
        ("CreateDataTrack", 11, Code.INVALID_ARGUMENT),
        ("CreateDataTrack", 12, Code.NOT_FOUND),
        ("CreateDataDownTrack", 21, Code.FAILED_PRECONDITION),
        ("CreateDataDownTrack", 22, Code.NOT_FOUND),
    ]
    engine.submit([CloseDataTrack(10)])
    assert (engine.data_tracks, list(engine.data_down_tracks)) == ({}, [20])
    engine.submit([CloseTransport(2)])
    assert engine.data_down_tracks == {}


def test_what_happens_to_workers_goes_to_who_looks_after_them(
    engine: FakeEngine, hub: EngineHub
) -> None:
    seen: list[Event] = []
    stalled = WorkerStalled(0, True, 5000)
    engine.inject(stalled)
    hub.dispatch()
    hub.on_worker = seen.append
    engine.submit([CreateTransport(1, 1, IceParameters("u", "p"))])
    engine.fail_worker(1)
    engine.inject(stalled)
    hub.dispatch()
    assert seen == [WorkerFailed(1, "panic", True), stalled]
    assert not engine.transports


class OneFullWorker(FakeEngine):
    """Worker 0 takes nothing any more: commands for its transports are refused."""

    full = False

    def submit(self, commands: Sequence[Command]) -> None:
        if self.full and any(getattr(command, "transport", None) == 1 for command in commands):
            raise LkpyError(Code.UNAVAILABLE, "the command queue of worker 0 is full")
        super().submit(commands)


async def test_a_full_worker_is_nobody_elses_trouble() -> None:
    """What it does not take back waits, however much that is, and the others go on."""
    engine = OneFullWorker(workers=2)
    hub = EngineHub(engine)
    hub.start(asyncio.get_running_loop())
    ice = IceParameters("u" * 8, "p" * 24)
    hub.submit(CreateTransport(1, 0, ice))
    engine.full = True
    for _ in range(3_000):
        hub.release(CloseTransport(1))
    hub.submit(CreateTransport(2, 1, ice))
    assert {1, 2} <= engine.transports.keys()
    assert hub.releases_refused == 3_000
    engine.full = False
    async with asyncio.timeout(PATIENCE_S):
        while hub._unreleased:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    assert engine.transports.keys() == {2}
    hub.stop()
    engine.close()
