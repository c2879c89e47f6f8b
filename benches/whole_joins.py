"""What a whole join costs a server: WebSocket, JoinResponse, offers and answers, ICE, DTLS, first
packets. A hundred join a room at once in which somebody speaks; the clients are the simulator's,
which take far more of the machine than the server does, so the figure is CPU and not a rate.

    python benches/whole_joins.py [turns]

What forwarding takes meanwhile is measured afterwards and taken off. With ``LIVEKIT_SERVER``, the
path of livekit-server's program, that runs in turns with ours.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benches.idle import active  # noqa: E402
from benches.server_process import Cpu, Server, livekit, started  # noqa: E402

JOINING = 100
WINDOW_S = 5.0
JOIN_S = 90.0


def until(server: Server, count: int) -> float:
    """Seconds until so many are there."""
    began = time.monotonic()
    while active(server) < count:
        if time.monotonic() - began > JOIN_S:
            raise RuntimeError(f"{active(server)} of {count} joined within {JOIN_S:g} s")
        # Asking is work for the server too, some milliseconds for a hundred.
        time.sleep(1.0)
    return time.monotonic() - began


def spent(server: Server, seconds: float) -> Cpu:
    before = server.cpu()
    time.sleep(seconds)
    return server.cpu() - before


def measure(running: AbstractContextManager[Server]) -> dict[str, Any]:
    """One row."""
    with running as server, tempfile.TemporaryDirectory() as reports:
        target = server.target
        command = [
            *(sys.executable, "-m", "lkpy", "sim", "run", str(ROOT / "benches/whole_joins.yaml")),
            *("--url", target.url.replace("http", "ws", 1), "--api-key", target.key),
            *("--api-secret", target.secret, "--quiet", "--report", reports),
            # Serving them is no part of what is measured, and livekit-server has none.
            "--no-server-stats",
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=ROOT, **quiet) as simulation:
            until(server, 1)
            before = server.cpu()
            took_s = until(server, 1 + JOINING)
            # First packets, and what the server tells the others.
            time.sleep(2)
            joined = server.cpu() - before
            steady = spent(server, WINDOW_S)
            simulation.terminate()
        # They came one after the other: each was there for half of it, and then for two seconds.
        share = (took_s / 2 + 2) / WINDOW_S
        row = {
            "name": f"{JOINING} whole joins",
            "server": "lkpy" if target.ours else "livekit-server",
            "took_s": round(took_s, 1),
            "python_ms": round(1000 * (joined.python - share * steady.python) / JOINING, 2),
            "cpu_ms_per_join": round(1000 * (joined.total - share * steady.total) / JOINING, 2),
            "forwarding_ms": round(1000 * share * steady.total / JOINING, 2),
        }
        print(json.dumps(row), flush=True)
        return row


def main() -> None:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    other = os.environ.get("LIVEKIT_SERVER")
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(measure(started())["cpu_ms_per_join"])
        if other:
            theirs.append(measure(livekit(other))["cpu_ms_per_join"])
    if theirs:
        ratio = statistics.median(ours) / statistics.median(theirs)
        row = {"name": "whole joins, ours beside livekit-server's", "cpu_ratio": round(ratio, 2)}
        print(json.dumps(row))


if __name__ == "__main__":
    main()
