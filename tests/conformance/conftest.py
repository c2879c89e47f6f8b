"""Which server is judged, and what of LiveKit's behaviour it showed.

``LIVEKIT_URL``, ``LIVEKIT_API_KEY`` and ``LIVEKIT_API_SECRET`` point the suite at a server; without
them it starts ours. ``--rows`` (``make conformance``) prints the rows of :mod:`rows` that were
covered and passed, and fails when one that matters was not.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio

from tests.conformance.kit import Lobby, Target
from tests.conformance.reporting_kit import Reporting, other_server, reporting_server
from tests.conformance.rows import BY_NUMBER, ROWS, WITHOUT_TEST
from tests.interop.conftest import run_server
from tests.ports import free_port

_PROPERTY = "rows"


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server under test."""
    if os.environ.get("LIVEKIT_URL"):
        yield _target_of_environment()
        return
    directory = tmp_path_factory.mktemp("conformance")
    with run_server(directory, "--tcp-port", str(free_port())) as running:
        yield Target(running.http_url, running.api_key, running.api_secret, ours=True)


@pytest.fixture(scope="session")
def reporting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reporting]:
    """A server that reports to the suite (:mod:`reporting_kit`)."""
    if os.environ.get("LIVEKIT_URL"):
        yield other_server(_target_of_environment())
        return
    with reporting_server(tmp_path_factory.mktemp("reporting")) as running:
        yield running


@pytest_asyncio.fixture
async def lobby(target: Target, request: pytest.FixtureRequest) -> AsyncIterator[Lobby]:
    """A room of the test's own on the server, and everything opened in it is closed again."""
    async with aiohttp.ClientSession() as session, Lobby(target, session) as opened:
        yield opened


def _target_of_environment() -> Target:
    key = os.environ.get("LIVEKIT_API_KEY", "devkey")
    secret = os.environ.get("LIVEKIT_API_SECRET", "secret")
    url = os.environ["LIVEKIT_URL"]
    return Target(url.replace("ws", "http", 1).rstrip("/"), key, secret, ours=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rows", action="store_true", help="print which rows were shown")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--rows", default=False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(RowReport())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("row"):
            unknown = set(marker.args) - BY_NUMBER.keys()
            if unknown:
                raise pytest.UsageError(f"{item.nodeid}: no rows {sorted(unknown)}")
            # Properties come back from the processes that run tests.
            item.user_properties.append((_PROPERTY, sorted(marker.args)))


class RowReport:
    """Collects what every test showed and prints it in the end."""

    def __init__(self) -> None:
        self._seen: dict[int, list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        state = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        for name, numbers in report.user_properties:
            if name == _PROPERTY:
                for number in numbers:
                    self._seen[number].append(state)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        seen, write = self._seen, terminalreporter.write_line
        terminalreporter.section("rows of LiveKit's behaviour")
        for priority in ("must", "should", "niche"):
            rows = [row for row in ROWS if row.priority == priority]
            covered = [row for row in rows if seen.get(row.number)]
            passing = sum(_passes(seen[row.number]) for row in covered)
            write(f"{priority:7} {len(rows):3} rows, {len(covered):3} covered, {passing:3} passing")
        for row in ROWS:
            states = seen.get(row.number, [])
            if not _passes(states):
                why = ", ".join(sorted(set(states))) or WITHOUT_TEST.get(row.number, "no test")
                write(f"  {row.number:3} {row.priority:6} {row.title}: {why}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        missing = [
            row
            for row in ROWS
            if row.priority != "niche"
            and row.number not in WITHOUT_TEST
            and not _passes(self._seen.get(row.number, []))
        ]
        if missing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _passes(states: list[str]) -> bool:
    return "passed" in states and not {"failed", "xfailed"} & set(states)
