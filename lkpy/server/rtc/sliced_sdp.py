"""Large descriptions are parsed while others have their turn on the event loop."""

from __future__ import annotations

import asyncio

from lkpy import sdp
from lkpy.limits import SDP_SLICED


async def parse_in_slices(text: str) -> None:
    """Parse a description that is large; whoever parses it next has it at once. To be followed by
    :func:`forget`."""
    if len(text) > SDP_SLICED:
        for _ in sdp.prepare(text):
            await asyncio.sleep(0)


def forget(text: str) -> None:
    """It was parsed by now, or will not be."""
    if len(text) > SDP_SLICED:
        sdp.discard(text)
