"""Local servers are found while they run and forgotten when they have gone."""

from __future__ import annotations

import json
import pathlib

import pytest

from lkpy import local_servers


@pytest.fixture(autouse=True)
def _runtime_directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_announced_while_running() -> None:
    with local_servers.announced("ws://127.0.0.1:1", 5.0):
        assert [server.url for server in local_servers.running()] == ["ws://127.0.0.1:1"]
    assert local_servers.running() == []


def test_dead_processes_and_rubbish_are_skipped() -> None:
    directory = local_servers.directory()
    directory.mkdir(parents=True)
    dead = directory / "1.json"
    dead.write_text(json.dumps({"url": "ws://x", "pid": 2**22 + 1, "started_at": 1.0}))
    (directory / "2.json").write_text("{")
    (directory / "3.json").write_text("[]")
    assert local_servers.running() == []
    assert not dead.exists()
