"""Templates in names, as in LiveKit's CLI: ``--room load-%t``."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
from datetime import UTC, datetime


def expand(template: str) -> str:
    """Replace ``%t %T %Y %m %d %H %M %S %x %U %h %p``; times are UTC, ``%%`` is a percent sign."""
    if "%" not in template:
        return template
    now = datetime.now(UTC)
    values = {
        "t": now.strftime("%Y%m%d%H%M%S"),
        "T": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Y": now.strftime("%Y"),
        "m": now.strftime("%m"),
        "d": now.strftime("%d"),
        "H": now.strftime("%H"),
        "M": now.strftime("%M"),
        "S": now.strftime("%S"),
        "x": secrets.token_hex(6),
        "U": getpass.getuser(),
        "h": socket.gethostname(),
        "p": str(os.getpid()),
        "%": "%",
    }
    out, rest = [], iter(template)
    for char in rest:
        if char != "%":
            out.append(char)
            continue
        name = next(rest, "")
        out.append(values.get(name, f"%{name}"))
    return "".join(out)
