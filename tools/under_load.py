"""Run a command again and again while every core is busy with something else.

    tools/under_load.py --times 20 --accept 0,4 -- .venv/bin/lkpy sim run scenarios/100-subs.yaml
    tools/under_load.py --times 3 -- make test

One endless loop per core runs beside it at normal priority. Each run's output goes to a file; a
line per run says how it ended. The exit status is 1 when a run ended with one that is not accepted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LOOP = "while True: pass"


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep this many cores busy."""
    hogs = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(loops)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1, help="runs")
    parser.add_argument("--loops", type=int, default=os.cpu_count() or 1, help="busy loops")
    parser.add_argument("--accept", default="0", help="exit statuses that are no failure")
    parser.add_argument("--logs", type=Path, default=Path("build/under-load"), help="directory")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    accepted = {int(status) for status in options.accept.split(",")}
    options.logs.mkdir(parents=True, exist_ok=True)
    failed = 0
    with busy(options.loops):
        for number in range(1, options.times + 1):
            log = options.logs / f"{number}.log"
            began = time.monotonic()
            with log.open("wb") as output:
                status = subprocess.call(options.command, stdout=output, stderr=output)
            took = time.monotonic() - began
            verdict = "accepted" if status in accepted else "FAILED"
            print(f"run {number:2}  exit {status:3}  {took:6.1f} s  {verdict}  {log}", flush=True)
            failed += status not in accepted
    print(f"{options.times - failed} of {options.times} accepted")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
