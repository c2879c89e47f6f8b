"""What the two ``list`` commands share: one answer, or one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lkpy.api_client import ApiClient, ApiError, Call
from lkpy.cli.room import show
from lkpy.cli.room.connection import Server, explained
from lkpy.cli.room.watch import watch as watch_answers

Settle = Callable[[Any], None]
"""Puts an answer in an order of its own: servers list in any."""
Lines = Callable[[Any], list[str]]


def once(server: Server, call: Call, settle: Settle, lines: Lines, subject: str = "") -> Any:  # noqa: ANN401
    """Print the answer and return it."""
    answer = server.call(call, subject)
    settle(answer)
    server.done("\n".join(lines(answer)), answer)
    return answer


def watch(
    server: Server, call: Call, settle: Settle, lines: Lines, interval_s: float, subject: str = ""
) -> None:
    """Show the answers until Ctrl-C."""
    if server.curl:
        server.call(call)

    async def run() -> None:
        chosen = server.credentials
        async with ApiClient(chosen.url, chosen.api_key, chosen.api_secret) as client:

            async def fetch() -> Any:  # noqa: ANN401 - an answer
                try:
                    answer = await client.call(call)
                except ApiError as error:
                    raise explained(error, chosen, subject) from None
                settle(answer)
                return answer

            def render(answer: Any) -> list[str]:  # noqa: ANN401
                if server.as_json:
                    return [show.compact(show.plain(answer))]
                return [*lines(answer), ""]

            await watch_answers(fetch, render, interval_s)

    asyncio.run(run())
