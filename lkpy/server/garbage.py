"""When Python looks for garbage: objects that refer to each other in a circle, which nobody frees.

A search takes about a microsecond for each object that it looks at, and everybody waits meanwhile.
A participant is some hundred objects, so a search among everything would be a second's pause in a
large room. What ends here takes its circles apart itself (:meth:`Participant.forget
<lkpy.server.rtc.participant.Participant.forget>`), so searches are left with little to find: they
look at what is young, and at everything only when that is small beside what has come and gone.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable

from lkpy.limits import GARBAGE_LEFT_PER_PRESENT, GARBAGE_LOOK_S, GARBAGE_YOUNG

_NEVER = 1_000_000
_INCREMENTAL = (3, 14)
"""The version whose searches are incremental: it decides better than we do."""


class Garbage:
    """Searches everything when enough has ended. Owns Python's settings of the process."""

    def __init__(self, present: Callable[[], int], ended: Callable[[], int]) -> None:
        """``present``: participants who are here; ``ended``: participants and rooms that are not
        any more, since the server began."""
        self._present = present
        self._ended = ended
        self._looked_at = 0

    def begin(self) -> None:
        """Leave what start-up made out of every search."""
        gc.collect()
        gc.freeze()
        if sys.version_info < _INCREMENTAL:
            gc.set_threshold(GARBAGE_YOUNG, 1, _NEVER)

    @property
    def due(self) -> bool:
        """What ended since the last search is worth one."""
        return self._ended() - self._looked_at > GARBAGE_LEFT_PER_PRESENT * (self._present() + 10)

    def look(self) -> None:
        """Search everything if that is due."""
        if self.due:
            self._looked_at = self._ended()
            gc.collect()

    async def keep(self) -> None:
        """Look again and again; never returns."""
        while True:
            await asyncio.sleep(GARBAGE_LOOK_S)
            self.look()
