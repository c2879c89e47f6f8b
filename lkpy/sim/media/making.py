"""Making the clips that are not cached yet, in a process that can be ended at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterable

from lkpy.errors import Code, LkpyError
from lkpy.sim.media import cache
from lkpy.sim.scenario import Publish


async def make(tracks: Iterable[Publish], progress: Callable[[int, int], None]) -> None:
    """Make what ``tracks`` lack. Cancelling ends it at once.

    ``progress`` is told how many of how many clips are done. Raises :class:`LkpyError` when they
    cannot be made.
    """
    wanted = {name: track for track in tracks for name in cache.missing(track)}
    if not wanted:
        return
    progress(0, len(wanted))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lkpy.sim.media"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # The terminal's Ctrl-C is for us: we end the process.
        start_new_session=True,
    )
    try:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("the process has no pipes")
        lines = {track.model_dump_json() for track in wanted.values()}
        process.stdin.write("".join(f"{line}\n" for line in sorted(lines)).encode())
        process.stdin.close()
        errors = asyncio.create_task(process.stderr.read())
        done = 0
        while await process.stdout.readline():
            done += 1
            progress(done, len(wanted))
        if await process.wait():
            last = (await errors).decode("utf-8", "replace").strip().splitlines()[-1:]
            raise LkpyError(Code.INTERNAL, f"cannot encode media: {''.join(last) or 'no reason'}")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
