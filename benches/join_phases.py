"""Where the time to connect goes, seen by clients; beside livekit-server if there is one.

    python benches/join_phases.py [--rounds N] [--scenario NAME …] [--client own|sdk] [--mode …]

``LIVEKIT_SERVER`` (a binary) or ``LIVEKIT_URL`` and its companions (:mod:`server_process`) name
what to compare with; the two run in turns. Clients, publishers and servers are processes of their
own. ``own`` is :mod:`join_client`, which knows the phases; ``sdk`` the real ``livekit`` package,
which knows the sum. One JSON row per scenario, client and mode; ``ratio`` is of medians.

What the server did meanwhile: CPU per join; how long its threads were ready to run and had no core
(``waited``); how long a plain HTTP request took, which is how late its loop is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benches.server_process import Server, livekit, started  # noqa: E402

PHASES = (
    "WebSocket",
    "JoinResponse",
    "description",
    "first check",
    "server's check",
    "check answered",
    "nominated",
    "hello",
    "DTLS",
    "connected",
    "SCTP",
    "first packet",
)
"""In the order in which they mostly come, after the start."""


MEANWHILE = (
    "failed",
    "sent_again",
    "cpu_ms",
    "python_ms",
    "waited_ms",
    "request_p50_ms",
    "request_p99_ms",
)
"""What else is told of a server; ``failed`` are joins that came to nothing."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Rooms of one publisher each, and who joins them at what pace."""

    rooms: int
    joins: int
    interval_s: float
    stay_s: float
    """How long a client stays after it is connected."""


SCENARIOS = {
    "1 x 1": Scenario(rooms=1, joins=30, interval_s=0.2, stay_s=0.1),
    "1 x 20": Scenario(rooms=1, joins=20, interval_s=0.1, stay_s=60),
    "12 x 25": Scenario(rooms=12, joins=300, interval_s=0.03, stay_s=60),
}


@dataclass(slots=True)
class Seen:
    """What one kind of server did in one row."""

    phases: list[dict[str, float]] = field(default_factory=list)
    again: int = 0
    failed: int = 0
    cpu_ms: list[float] = field(default_factory=list)
    python_ms: list[float] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)


def quantile(values: list[float], share: float) -> float:
    """Of a sample, the smallest of which ``share`` are not greater."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Probe:
    """Asks for ``/`` all the time, and notes how long that takes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.took: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            began = time.monotonic()
            with contextlib.suppress(OSError), urllib.request.urlopen(self._url, timeout=5):
                self.took.append(time.monotonic() - began)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def generate(server: Server, role: str, room: str, scenario: Scenario, mode: str) -> Any:
    """Start one process of clients; it prints one JSON document when it is done."""
    work = {
        "url": server.target.url,
        "rooms": [f"{room}-{number}" for number in range(scenario.rooms)],
        "mode": mode,
        **{"joins": scenario.joins, "interval_s": scenario.interval_s, "stay_s": scenario.stay_s},
    }
    environment = os.environ | {
        "JOIN_KEY": server.target.key,
        "JOIN_SECRET": server.target.secret,
    }
    command = [sys.executable, "-W", "ignore", str(ROOT / "benches/join_generator.py")]
    return subprocess.Popen(
        [*command, role, json.dumps(work)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def measure(server: Server, client: str, scenario: Scenario, mode: str, seen: Seen) -> None:
    """One scenario once."""
    room = f"phases-{random.randrange(1 << 40):x}"
    publishers = generate(server, "publish", room, scenario, "single")
    try:
        if publishers.stdout.readline().strip() != "ready":
            sys.exit("the publishers did not connect")
        before, waited, probe = server.cpu(), server.waited(), Probe(server.target.url)
        clients = generate(server, client, room, scenario, mode)
        output, _ = clients.communicate()
        probe.stop()
        if clients.returncode:
            sys.exit("a client did not connect")
        spent = server.cpu() - before
        seen.waited_ms.append(1000 * (server.waited() - waited) / scenario.joins)
    finally:
        publishers.stdin.close()
        publishers.wait()
    result = json.loads(output)
    seen.phases += result["phases"]
    seen.again += result["again"]
    seen.failed += len(result["failed"])
    for failure in result["failed"]:
        print(failure, file=sys.stderr)
    seen.cpu_ms.append(1000 * spent.total / scenario.joins)
    seen.python_ms.append(1000 * spent.python / scenario.joins)
    seen.probes += probe.took


def figures(seen: Seen) -> dict[str, Any]:
    """Milliseconds of one server."""
    phases = {}
    for name in PHASES:
        took = [1000 * join[name] for join in seen.phases if name in join]
        if took:
            phases[name] = {q: round(quantile(took, int(q[1:]) / 100), 2) for q in ("p50", "p99")}
    return {
        "phases": phases,
        "failed": seen.failed,
        "sent_again": seen.again,
        "cpu_ms": round(statistics.median(seen.cpu_ms), 2),
        "python_ms": round(statistics.median(seen.python_ms), 2),
        "waited_ms": round(statistics.median(seen.waited_ms), 2),
        "request_p50_ms": round(1000 * quantile(seen.probes, 0.5), 2),
        "request_p99_ms": round(1000 * quantile(seen.probes, 0.99), 2),
    }


def row(name: str, seen: dict[str, Seen]) -> dict[str, Any]:
    """Of one scenario, client and mode."""
    result: dict[str, Any] = {"name": name}
    for server, what in seen.items():
        result[server] = figures(what)
    ours = result["lkpy"]["phases"]["connected"]
    result |= {f"connected_{q}_ms": ours[q] for q in ours}
    if "livekit" in result:
        theirs = result["livekit"]["phases"]["connected"]
        result |= {f"ratio_{q}": round(ours[q] / theirs[q], 2) for q in ours}
    return result


def show(rows: list[dict[str, Any]]) -> None:
    """The rows as tables, for people."""
    for line in rows:
        servers = [name for name in ("lkpy", "livekit") if name in line]
        print(f"\n{line['name']}", file=sys.stderr)
        print(f"{'ms':18}" + "".join(f"{s:>9} p50{'p99':>9}" for s in servers), file=sys.stderr)
        for phase in PHASES:
            cells = [line[s]["phases"].get(phase, {}) for s in servers]
            if any(cells):
                text = "".join(f"{c.get('p50', '-'):>13}{c.get('p99', '-'):>9}" for c in cells)
                print(f"{phase:18}{text}", file=sys.stderr)
        for name in MEANWHILE:
            text = "".join(f"{line[s][name]:>13}{'':9}" for s in servers)
            print(f"{name:18}{text}", file=sys.stderr)


@contextlib.contextmanager
def servers() -> Iterator[dict[str, Server]]:
    """Ours, and the other one if there is one."""
    with contextlib.ExitStack() as stack:
        found = {"lkpy": stack.enter_context(started(ours=True))}
        if "LIVEKIT_SERVER" in os.environ:
            found["livekit"] = stack.enter_context(livekit(os.environ["LIVEKIT_SERVER"]))
        elif "LIVEKIT_PID" in os.environ:
            found["livekit"] = stack.enter_context(started())
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time to connect goes.")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS)
    parser.add_argument("--client", action="append", choices=("own", "sdk"))
    parser.add_argument("--mode", action="append", choices=("single", "dual"))
    options = parser.parse_args()
    rows = []
    with servers() as running:
        for name in options.scenario or SCENARIOS:
            for client in options.client or ("own", "sdk"):
                if client == "sdk" and SCENARIOS[name].joins > 100:
                    # Hundreds of libwebrtc's peer connections take more than two cores have.
                    continue
                for mode in options.mode or ("single", "dual"):
                    seen = {server: Seen() for server in running}
                    warm = Scenario(rooms=1, joins=2, interval_s=0.2, stay_s=0.1)
                    for server in running.values():
                        measure(server, client, warm, mode, Seen())
                    for _ in range(options.rounds):
                        for server, what in seen.items():
                            measure(running[server], client, SCENARIOS[name], mode, what)
                    rows.append(row(f"join {name}, {client} client, {mode}", seen))
                    print(json.dumps(rows[-1]), flush=True)
                    show(rows[-1:])


if __name__ == "__main__":
    main()
