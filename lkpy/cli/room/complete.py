"""Names for shell completion, asked of the server that the environment names.

Completion must be quick and never complain: whatever goes wrong, there are no suggestions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

TIMEOUT_S = 1.0
# A shell puts what it is given on the command line as it is: whoever may create a room would write
# there.
_WORD = re.compile(r"[\w@%+=:,./-]+")


def rooms(incomplete: str) -> list[str]:
    """Names of rooms that begin so, and mean nothing to a shell."""
    try:
        return sorted(
            name for name in _rooms() if name.startswith(incomplete) and _WORD.fullmatch(name)
        )
    except Exception:  # noqa: BLE001 - a traceback in the middle of a command line helps nobody
        return []


def _rooms() -> Iterable[str]:
    import asyncio

    from livekit.protocol import room

    from lkpy.api_client import ApiClient, room_call
    from lkpy.auth.grants import VideoGrant
    from lkpy.cli.room.connection import credentials_of

    chosen = credentials_of(
        os.environ.get("LIVEKIT_URL"),
        os.environ.get("LIVEKIT_API_KEY"),
        os.environ.get("LIVEKIT_API_SECRET"),
        dev=False,
    )
    request, grant = room.ListRoomsRequest(), VideoGrant(room_list=True)
    call = room_call("ListRooms", request, grant, timeout_s=TIMEOUT_S)

    async def ask() -> list[str]:
        async with ApiClient(chosen.url, chosen.api_key, chosen.api_secret) as client:
            return [found.name for found in (await client.call(call)).rooms]

    return asyncio.run(ask())
