"""Reads the signal requests of one participant into its room's inbox, in order.

A participant may have one signal connection after another (it resumes); only the last counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from livekit.protocol import rtc

from lkpy.server.rtc.inbox import Inbox
from lkpy.server.rtc.session import MessageSource
from lkpy.server.rtc.sliced_sdp import forget, parse_in_slices


async def _prepare(request: rtc.SignalRequest) -> None:
    """Do what of a request is long and concerns nobody else: it does not hold up the room."""
    text = _description(request)
    if text:
        await parse_in_slices(text)


def _description(request: rtc.SignalRequest) -> str:
    match request.WhichOneof("message"):
        case "offer":
            return request.offer.sdp
        case "answer":
            return request.answer.sdp
        case _:
            return ""


class SignalReader:
    """One signal connection's incoming half. Nothing of it is handled after :meth:`stop`."""

    def __init__(
        self,
        source: MessageSource,
        inbox: Inbox,
        *,
        heard: Callable[[], None],
        handle: Callable[[rtc.SignalRequest], None],
        ended: Callable[[], None],
    ) -> None:
        self._source = source
        self._inbox = inbox
        self._heard = heard
        self._handle = handle
        self._ended = ended
        self._stopped = False
        source.offer_first(self._hear)
        self._task: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._read())

    def stop(self) -> None:
        """Read no more and drop what was read. Idempotent."""
        self._stopped = True
        self._source.close()
        # A cancelled task refers to its own end, and that to this object: a circle for as long as
        # both are known here.
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _read(self) -> None:
        try:
            async for request in self._source:
                if self._stopped:
                    return
                await _prepare(request)
                await self._inbox.put(partial(self._take, request))
            self._inbox.post(self._finish)
        finally:
            self._source.close()

    def _hear(self, request: rtc.SignalRequest) -> bool:
        """Most of what comes is pings, and nobody need wake up for them."""
        if not self._stopped:
            self._heard()
        return request.HasField("ping_req")

    def _take(self, request: rtc.SignalRequest) -> None:
        try:
            if not self._stopped:
                self._handle(request)
        finally:
            forget(_description(request))

    def _finish(self) -> None:
        if not self._stopped:
            self._ended()
