"""What one participant submits to the engine, and how often a worker is woken for it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lkpy.engine.api import (
    CloseTransport,
    Command,
    CreateTransport,
    IceParameters,
    RestartIce,
    SetCongestionControl,
)
from lkpy.engine.fake import FakeEngine
from lkpy.engine.hub import EngineHub
from lkpy.errors import Code, LkpyError
from lkpy.limits import ENGINE_COMMANDS_TOGETHER
from lkpy.server.rtc.engine_session import EngineSession
from tests.room_kit import running

ICE = IceParameters("ufrag", "password-of-22-characters")


class Engine(FakeEngine):
    """Notes what comes together; refuses on request."""

    def __init__(self) -> None:
        super().__init__()
        self.submissions: list[list[str]] = []
        self.refuses = False

    def submit(self, commands: Sequence[Command]) -> None:
        if self.refuses:
            raise LkpyError(Code.UNAVAILABLE, "refused by the test")
        self.submissions.append([type(command).__name__ for command in commands])
        super().submit(commands)


def create(session: EngineSession) -> int:
    transport = session.new_id()
    session.submit(CreateTransport(transport, 0, ICE, ice_lite=False, controlling=False))
    return transport


def test_what_is_submitted_together_is_one_submission() -> None:
    engine = Engine()
    session = EngineSession(EngineHub(engine))
    with session.together():
        transport = create(session)
        with session.together():
            session.submit(SetCongestionControl(transport, allow_pause=True))
        assert engine.submissions == []
        session.submit(RestartIce(transport, ICE))
    assert engine.submissions == [["CreateTransport", "SetCongestionControl", "RestartIce"]]
    session.submit(RestartIce(transport, ICE))
    assert engine.submissions[1:] == [["RestartIce"]]
    with session.together():
        pass
    assert len(engine.submissions) == 2


def test_what_is_given_back_keeps_its_place() -> None:
    engine = Engine()
    session = EngineSession(EngineHub(engine))
    with session.together():
        transport = create(session)
        session.release(CloseTransport(transport))
        create(session)
        session.close()
    assert engine.submissions == [
        ["CreateTransport"],
        ["CloseTransport"],
        ["CreateTransport"],
        ["CloseTransport"],
    ]


def test_what_waits_is_bounded() -> None:
    engine = Engine()
    session = EngineSession(EngineHub(engine))
    with session.together():
        transport = create(session)
        for _ in range(2 * ENGINE_COMMANDS_TOGETHER):
            session.submit(RestartIce(transport, ICE))
    assert max(map(len, engine.submissions)) == ENGINE_COMMANDS_TOGETHER
    assert sum(map(len, engine.submissions)) == 2 * ENGINE_COMMANDS_TOGETHER + 1


def test_who_enters_hears_at_the_end_what_was_refused() -> None:
    engine = Engine()
    session = EngineSession(EngineHub(engine))
    engine.refuses = True
    with pytest.raises(LkpyError, match="refused"), session.together():
        create(session)
    with pytest.raises(LkpyError, match="refused"), session.together():
        session.release(CloseTransport(create(session)))
    refused: list[Command] = []
    session.entered(lambda command, error: refused.append(command))
    with session.together():
        create(session)
    assert [type(command) for command in refused] == [CreateTransport]


async def test_a_join_with_an_offer_wakes_the_worker_once() -> None:
    engine = Engine()
    async with running(engine=engine) as world:
        await world.join("alice")
        assert len(engine.submissions) == 1, engine.submissions
        assert "CreateTransport" in engine.submissions[0]
