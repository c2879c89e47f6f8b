"""The server of the interop tests and one browser for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chromium import Chromium, run_chromium
from tests.interop.conftest import admin, room_name, server

__all__ = ["admin", "room_name", "server"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    with run_chromium() as browser:
        yield browser


@pytest.fixture(params=["single", "dual"])
def topology(request: pytest.FixtureRequest) -> str:
    """With one peer connection, and with one for each direction."""
    value: str = request.param
    return value
