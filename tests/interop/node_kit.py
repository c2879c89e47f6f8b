"""Runs scenarios of the Node SDKs: exported functions of the scripts in ``node/``."""

from __future__ import annotations

import asyncio
import inspect
import json
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.patience import PATIENCE_S

from .conftest import RunningServer

DIRECTORY = pathlib.Path(__file__).parent / "node"
EXPORTED = re.compile(r"^export async function (\w+)\(", re.MULTILINE)


def scenarios(script: str) -> list[str]:
    """Return the names of the scenarios of a script, in their order."""
    names = EXPORTED.findall((DIRECTORY / script).read_text())
    assert names, f"{script} exports no scenario"
    return names


async def play(
    script: str,
    name: str,
    server: RunningServer,
    room: str,
    answers: dict[str, Callable[[Any], Any]] | None = None,
    **more: object,
) -> None:
    """Run one scenario in a process of its own; what it printed is shown if it does not pass.

    ``answers`` does what the script asks for: each takes the script's value and returns one (or a
    coroutine). ``more`` is what else the script is told.
    """
    node = shutil.which("node")
    if not node:
        pytest.skip("Node.js is not installed")
    if not (DIRECTORY / "node_modules").exists():
        pytest.skip("the npm packages are not installed: make test-interop")
    context = {
        "url": server.url, "room": room, "key": server.api_key, "secret": server.api_secret, **more
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *(node, "run.mjs", script, name, json.dumps(context)),
        cwd=DIRECTORY, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    printed: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for line in process.stdout:
                if not line.startswith(b"ask "):
                    printed.append(line.decode())
                    continue
                what, value = json.loads(line[4:])
                answer = (answers or {})[what](value)
                if inspect.isawaitable(answer):
                    answer = await answer
                process.stdin.write(json.dumps(answer).encode() + b"\n")
            status = await process.wait()
    except TimeoutError:
        pytest.fail(f"{name} takes longer than a minute:\n{''.join(printed)}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert status == 0, "".join(printed)
