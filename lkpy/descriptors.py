"""How many files and sockets this process may have open."""

from __future__ import annotations

import resource


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one, for us and our children; return it. Go's
    programs do so when they start: the soft limit is 1,024 on most systems, and every participant
    is a socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # an unlimited hard limit is no soft one on every system
            return soft
    return hard
