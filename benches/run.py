"""``make bench``: every figure in one table, and the same rows in ``build/bench.json``.

Rows of packets have the floor that was measured in the same run beside them; rows of the control
plane are operations per second. Figures of different runs are not comparable: machines are noisy,
ratios are what to quote.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"

Row = dict[str, Any]

_SIGNALLING = {
    "joins_per_s": "joins/s",
    "joins_per_s_ratio": "times livekit-server's joins/s",
    "cpu_ratio": "times its CPU",
    "forwarding_ms": "ms of forwarding meanwhile, taken off",
    "python_ms": "ms of Python",
    "cpu_ms": "ms of CPU",
    "cpu_ms_per_join": "ms of CPU",
    "refused": "times told to come back",
    "connected_p50_ms": "ms to connect",
    "connected_p99_ms": "ms at the 99th percentile",
    "ratio_p50": "of livekit-server's median",
    "ratio_p99": "of its 99th percentile",
    "growth": "times the first ones",
    "us_per_receiver": "µs per receiver",
    "requests_per_s": "requests/s",
    "python_us": "µs of Python",
    "python_us_per_s": "µs of Python per second",
    "cpu_us_per_s": "µs of CPU per second",
    "kB": "kB",
}
"""Figures of signalling rows and their units."""


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a step and stop with its output if it fails."""
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done


def forwarding() -> list[Row]:
    """The engine alone: packets in, packets out, with the floor of this machine."""
    manifest = ["--manifest-path", "rust/Cargo.toml", "-p", "lkpy-bench-forward"]
    run(["cargo", "build", "--release", "--locked", *manifest])
    done = run(["rust/target/release/lkpy-bench-forward"])
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def end_to_end() -> list[Row]:
    """The whole server process under the simulator's peers."""
    reports = BUILD / "bench-sim"
    run([
        sys.executable, "-m", "lkpy", "sim", "run", "benches/fan-out.yaml",
        "--quiet", "--report", str(reports),
    ])  # fmt: skip
    server = json.loads((reports / "run.json").read_text())["server"]
    return [
        {
            "name": "server under sim, fan-out 20: whole process with Python",
            "us_per_packet": server["cpu_per_packet_us"],
        }
    ]


def control_plane() -> list[Row]:
    """pytest-benchmark's medians."""
    report = BUILD / "bench-python.json"
    run([
        sys.executable, "-m", "pytest", "benches", "-q", "--benchmark-only", "-o", "addopts=",
        "-o", "python_files=bench_*.py", f"--benchmark-json={report}",
    ])  # fmt: skip
    return [
        {
            "name": bench["name"].removeprefix("test_").replace("_", " "),
            "ops_per_s": 1 / bench["stats"]["median"],
        }
        for bench in json.loads(report.read_text())["benchmarks"]
    ]


def signalling() -> list[Row]:
    """A whole server under real signal connections, and with participants who do nothing."""
    rows = []
    for script in ("signalling", "idle", "join_storm", "whole_joins", "join_phases"):
        done = run([sys.executable, "-W", "ignore", f"benches/{script}.py"])
        rows += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows


def show(rows: list[Row]) -> None:
    packets = [row for row in rows if not row.keys() & _SIGNALLING.keys()]
    show_packets(packets)
    table = Table("name", "cost", box=None, pad_edge=False)
    for row in rows:
        if row not in packets:
            figures = (f"{row[key]:,.4g} {unit}" for key, unit in _SIGNALLING.items() if key in row)
            table.add_row(row["name"], ", ".join(figures))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def show_packets(rows: list[Row]) -> None:
    table = Table("name", box=None, pad_edge=False)
    for title in ("µs/packet", "floor µs", "ratio", "compute µs", "ops/s"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            row["name"],
            *(
                f"{row[key]:.3f}" if key in row else ""
                for key in ("us_per_packet", "floor_us", "ratio", "compute_us")
            ),
            f"{row['ops_per_s']:,.0f}" if "ops_per_s" in row else "",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main() -> int:
    BUILD.mkdir(exist_ok=True)
    rows = [*forwarding(), *end_to_end(), *control_plane(), *signalling()]
    (BUILD / "bench.json").write_text(json.dumps(rows, indent=2) + "\n")
    show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
