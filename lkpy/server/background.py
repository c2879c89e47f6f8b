"""Programs that run beside everything else for as long as the server does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from lkpy.limits import BACKGROUND_RETRY_MAX_S, BACKGROUND_RETRY_MIN_S
from lkpy.server.telemetry.log import fields

logger = logging.getLogger(__name__)


def background(name: str, program: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Run ``program`` on the running loop until it returns or the task is cancelled.

    A program that fails says so in the log and begins again, after a pause that grows while it
    keeps failing: nobody awaits it, and what it does (a heartbeat, a measurement) is needed as long
    as the server serves.
    """
    return asyncio.get_running_loop().create_task(_supervise(name, program), name=name)


async def _supervise(name: str, program: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    pause_s = BACKGROUND_RETRY_MIN_S
    while True:
        began = loop.time()
        try:
            return await program()
        except Exception:
            if loop.time() - began > BACKGROUND_RETRY_MAX_S:
                pause_s = BACKGROUND_RETRY_MIN_S
            extra = fields(program=name, againInS=pause_s)
            logger.exception("a program of the server failed and begins again", extra=extra)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, BACKGROUND_RETRY_MAX_S)
