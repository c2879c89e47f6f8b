"""What a participant that does nothing costs: CPU per second and memory, over what an empty server
takes. The clients are the simulator's: connected, pinging, publishing nothing."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benches.server_process import Cpu, Server, started  # noqa: E402

PARTICIPANTS = 200
WINDOW_S = 20.0
JOIN_S = 60.0


def active(server: Server) -> int:
    """Participants whose connections are there."""
    states = [
        participant["state"]
        for room in call(server, "ListRooms")["rooms"]
        for participant in call(server, "ListParticipants", room["name"])["participants"]
    ]
    return states.count("ACTIVE")


def call(server: Server, method: str, room: str = "") -> Any:
    """The answer of a RoomService method."""
    token = server.target.token(roomList=True, **{"roomAdmin": True, "room": room} if room else {})
    request = urllib.request.Request(
        f"{server.target.url}/twirp/livekit.RoomService/{method}",
        data=json.dumps({"room": room} if room else {}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def spent(server: Server) -> Cpu:
    before = server.cpu()
    time.sleep(WINDOW_S)
    return server.cpu() - before


def main() -> None:
    with started() as server, tempfile.TemporaryDirectory() as reports:
        time.sleep(2)
        empty, empty_bytes = spent(server), server.memory()
        target = server.target
        command = [
            *(sys.executable, "-m", "lkpy", "sim", "run", str(ROOT / "benches/idle.yaml")),
            *("--url", target.url.replace("http", "ws", 1), "--api-key", target.key),
            *("--api-secret", target.secret, "--quiet", "--report", reports),
            # Serving them is no part of what is measured, and livekit-server has none.
            "--no-server-stats",
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=ROOT, **quiet) as simulation:
            deadline = time.monotonic() + JOIN_S
            while (count := active(server)) < PARTICIPANTS and time.monotonic() < deadline:
                time.sleep(0.5)
            time.sleep(5)
            busy, busy_bytes = spent(server), server.memory()
            simulation.terminate()
        per = 1e6 / (count * WINDOW_S)
        row = {
            "name": f"an idle participant, {count} in a room",
            "python_us_per_s": round((busy.python - empty.python) * per, 1),
            "cpu_us_per_s": round((busy.total - empty.total) * per, 1),
            "kB": round((busy_bytes - empty_bytes) / count / 1000),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
