"""What a participant that does nothing costs: CPU per second and memory, over what an empty server
takes. The clients are the simulator's: connected, pinging, publishing nothing."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.conformance.kit import Target  # noqa: E402
from tests.interop.conftest import run_server  # noqa: E402

PARTICIPANTS = 200
WINDOW_S = 20.0


def cpu(pid: int) -> tuple[float, float]:
    """CPU seconds of the thread that runs Python, and of all threads."""
    spent = {}
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            spent[thread.name] = int((thread / "schedstat").read_text().split()[0]) / 1e9
    return spent[str(pid)], sum(spent.values())


def memory(pid: int) -> int:
    """Resident bytes."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def active(target: Target) -> int:
    """Participants whose connections are there."""
    request = urllib.request.Request(f"{target.url}/lkpy/v1/stats?format=json")
    with urllib.request.urlopen(request, timeout=5) as answer:
        rooms = json.load(answer)["rooms"]
    return sum(p["state"] == "active" for room in rooms for p in room["participants"])


def spent_in_window(pid: int) -> tuple[float, float]:
    before = cpu(pid)
    time.sleep(WINDOW_S)
    after = cpu(pid)
    return after[0] - before[0], after[1] - before[1]


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        run_server(directory := pathlib.Path(name)) as running,
    ):
        pid = json.loads((directory / "ready.json").read_text())["pid"]
        target = Target(running.http_url, running.api_key, running.api_secret, ours=True)
        time.sleep(2)
        empty, empty_bytes = spent_in_window(pid), memory(pid)
        command = [
            *(sys.executable, "-m", "lkpy", "sim", "run", str(ROOT / "benches/idle.yaml")),
            *("--url", running.url, "--api-key", running.api_key),
            *("--api-secret", running.api_secret, "--quiet", "--report", str(directory / "out")),
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as simulation:
            deadline = time.monotonic() + 60
            while (count := active(target)) < PARTICIPANTS and time.monotonic() < deadline:
                time.sleep(0.5)
            time.sleep(5)
            busy, busy_bytes = spent_in_window(pid), memory(pid)
            simulation.terminate()
        per = 1e6 / (count * WINDOW_S)
        row = {
            "name": f"an idle participant ({count} in a room)",
            "python_us_per_s": round((busy[0] - empty[0]) * per, 1),
            "cpu_us_per_s": round((busy[1] - empty[1]) * per, 1),
            "kB": round((busy_bytes - empty_bytes) / count / 1000),
            "empty_server_us_per_s": round(1e6 * empty[1] / WINDOW_S),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
