"""FFmpeg as a WHIP client, in a process of its own: it waits where it likes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import av
import pytest

needs_whip = pytest.mark.skipif(
    "whip" not in av.formats_available, reason="this build of FFmpeg has no WHIP"
)


@asynccontextmanager
async def publishing(url: str, token: str, profile: str) -> AsyncIterator[None]:
    """FFmpeg publishes with a token; ``url`` is the server's."""
    script = Path(__file__).parent / "ffmpeg_whip.py"
    arguments = script, f"{url}/whip/v1", token, profile
    process = await asyncio.create_subprocess_exec(sys.executable, *map(str, arguments))
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
