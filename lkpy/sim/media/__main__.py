"""Make the clips of published tracks: ``python -m lkpy.sim.media``, JSON lines of tracks on stdin.

A process of its own, since encoding takes seconds and can only be ended by a signal.
"""

from __future__ import annotations

import sys

from pydantic import TypeAdapter

from lkpy.sim.media import cache
from lkpy.sim.scenario import Publish

_TRACK: TypeAdapter[Publish] = TypeAdapter(Publish)


def main() -> int:
    """Make one clip after another; say on stdout when each is done."""
    for line in sys.stdin:
        for name in cache.make(_TRACK.validate_json(line)):
            print(name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
