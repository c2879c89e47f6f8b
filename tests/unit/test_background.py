"""Programs that nobody awaits: a failure is told, and they go on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from lkpy.server import background as module
from lkpy.server.background import background
from tests.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKGROUND_RETRY_MIN_S", 0.0)


async def test_a_program_that_fails_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0

    async def program() -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise ValueError("out of the blue")

    await asyncio.wait_for(background("a program", program), PATIENCE_S)
    assert runs == 4
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failures) == 3
    assert failures[0].__dict__["lkpy_fields"]["program"] == "a program"


async def test_it_ends_when_it_is_cancelled() -> None:
    task = background("a program", asyncio.Event().wait)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
