"""``--watch``: fetch again and again until Ctrl-C, and show what changed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from google.protobuf.message import Message

from lkpy.cli import output
from lkpy.server_url import UnreachableError
from lkpy.text import one_line

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _TO_END_OF_LINE, _TO_END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@contextlib.asynccontextmanager
async def until_interrupted() -> AsyncIterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set while the block runs."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def watch(
    fetch: Callable[[], Awaitable[Message]],
    render: Callable[[Message], Sequence[str]],
    interval_s: float,
) -> None:
    """Show what ``fetch`` returns: on a terminal a picture that is drawn again, elsewhere the
    rendered lines whenever the message has changed. A server that goes away is waited for once it
    has answered; other errors are raised.
    """
    async with until_interrupted() as stop:
        first = await _first(fetch, stop)
        if first is not None:
            show = _on_terminal if sys.stdout.isatty() else _per_change
            await show(first, fetch, render, interval_s, stop)


async def _first(fetch: Callable[[], Awaitable[Message]], stop: asyncio.Event) -> Message | None:
    fetching, stopped = asyncio.ensure_future(fetch()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({fetching, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return fetching.result() if fetching.done() else None
    finally:
        fetching.cancel()
        stopped.cancel()


async def _again(
    first: Message,
    fetch: Callable[[], Awaitable[Message]],
    interval_s: float,
    stop: asyncio.Event,
) -> AsyncIterator[tuple[Message, str]]:
    """Yield the latest message, and why there is no later one."""
    latest, problem = first, ""
    while not stop.is_set():
        yield latest, problem
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), interval_s)
            return
        try:
            latest, problem = await fetch(), ""
        except UnreachableError as error:
            problem = error.message


async def _per_change(
    first: Message,
    fetch: Callable[[], Awaitable[Message]],
    render: Callable[[Message], Sequence[str]],
    interval_s: float,
    stop: asyncio.Event,
) -> None:
    shown: bytes | None = None
    said = ""
    async for message, problem in _again(first, fetch, interval_s, stop):
        if problem and not said:
            output.warn(f"{problem}; trying again")
        said = problem
        data = message.SerializeToString(deterministic=True)
        if data != shown:
            shown = data
            for line in render(message):
                output.result(line)


async def _on_terminal(
    first: Message,
    fetch: Callable[[], Awaitable[Message]],
    render: Callable[[Message], Sequence[str]],
    interval_s: float,
    stop: asyncio.Event,
) -> None:
    lines: Sequence[str] = ()
    with _screen():
        async for message, problem in _again(first, fetch, interval_s, stop):
            lines = render(message)
            size = shutil.get_terminal_size()
            footer = one_line(problem) or f"every {interval_s:g} s, Ctrl-C ends"
            sys.stdout.write(picture(lines, footer[: size.columns], size.lines))
            sys.stdout.flush()
    for line in lines:
        output.result(line)


def picture(lines: Sequence[str], footer: str, height: int) -> str:
    """What to write so that the screen shows the lines and the footer below them, and no more."""
    room = max(1, height - 2)
    body = list(lines)
    if len(body) > room:
        body = [*body[: room - 1], f"… {len(body) - room + 1} more"]
    drawn = "".join(f"{line}{_TO_END_OF_LINE}\r\n" for line in (*body, ""))
    return f"{_HOME}{drawn}{footer}{_TO_END_OF_LINE}{_TO_END_OF_SCREEN}"


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    sys.stdout.write(_ENTER)
    try:
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
