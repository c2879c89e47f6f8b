"""Metrics on their own port, under LiveKit's names, and the debug routes."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from yarl import URL

from tests.conformance import media
from tests.conformance.kit import Lobby, Refused
from tests.conformance.reporting_kit import Reporting

FAMILIES = {
    "livekit_node_messages": ("counter", {"type", "status", "direction"}),
    "livekit_node_packet_total": ("gauge", {"type"}),
    "livekit_node_service_operation": ("counter", {"type", "status", "error_type"}),
    "livekit_node_twirp_request_latency_ms": ("histogram", {"service", "method", "status"}),
    "livekit_node_twirp_request_status": ("counter", {"service", "method", "status", "code"}),
    "livekit_packet_bytes": ("counter", {"direction", "transmission", "country"}),
    "livekit_packet_total": ("counter", {"direction", "transmission", "country"}),
    "livekit_participant_join_total": ("counter", {"state", "warp", "sdk"}),
    "livekit_participant_total": ("gauge", set()),
    "livekit_peer_connection_state": ("counter", {"transport", "state"}),
    "livekit_pubsubtime_ms": (
        "histogram",
        {"direction", "source", "type", "country", "sdk", "kind", "count"},
    ),
    "livekit_room_duration_seconds": ("histogram", set()),
    "livekit_room_total": ("gauge", set()),
    "livekit_session_join_latency_ms": ("histogram", {"protocol_version"}),
    "livekit_session_start_time_ms": ("histogram", {"protocol_version", "warp", "sdk"}),
    "livekit_track_packet_trailer_feature_total": ("gauge", {"feature"}),
    "livekit_track_packet_trailer_total": ("gauge", set()),
    "livekit_track_publish_counter": ("counter", {"kind", "state"}),
    "livekit_track_published_total": ("gauge", {"kind"}),
    "livekit_track_subscribe_counter": ("counter", {"state", "error"}),
    "livekit_track_subscribed_total": ("gauge", {"kind"}),
}
"""Type and labels of what one session with one publisher and one subscriber shows."""

SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Scrape:
    """The parsed text of one scrape."""

    def __init__(self, text: str) -> None:
        self.types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
        self.samples: list[tuple[str, dict[str, str], float]] = []
        for line in text.splitlines():
            if line and not line.startswith("#"):
                match = SAMPLE.fullmatch(line)
                assert match, line
                self.samples.append(
                    (match[1], dict(LABEL.findall(match[2] or "")), float(match[3]))
                )

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series with these labels."""
        return sum(
            value
            for found, given, value in self.samples
            if found == name and labels.items() <= given.items()
        )

    def labels(self, family: str) -> set[str]:
        """Names of the labels that the series of a family have."""
        names = {family, f"{family}_count"}
        return {label for name, labels, _ in self.samples if name in names for label in labels}


@pytest.fixture
def url(reporting: Reporting) -> URL:
    """Where the metrics are."""
    if reporting.prometheus_url is None:
        pytest.skip("LIVEKIT_PROMETHEUS_URL does not say where the server's metrics are")
    return URL(reporting.prometheus_url)


@pytest_asyncio.fixture
async def told(reporting: Reporting) -> AsyncIterator[Lobby]:
    """A room of the test's own on the server that reports."""
    async with aiohttp.ClientSession() as session, Lobby(reporting.target, session) as opened:
        yield opened


async def scrape(lobby: Lobby, url: URL) -> Scrape:
    async with lobby.session.get(url) as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        return Scrape(await response.text())


@pytest.mark.row(19)
async def test_every_path_of_the_port_answers(told: Lobby, url: URL) -> None:
    for path in ("/", "/metrics", "/any/where"):
        assert (await scrape(told, url.with_path(path))).types["livekit_room_total"] == "gauge"
    status, _, _ = await told.get("/metrics")
    assert status == 404


@pytest.mark.row(19)
async def test_basic_auth(told: Lobby, url: URL) -> None:
    if url.user is None:
        pytest.skip("LIVEKIT_PROMETHEUS_URL names no user")
    for user, password in ((None, None), (url.user, "wrong"), ("wrong", url.password)):
        wrong = url.with_user(user).with_password(password) if user else url.with_user(None)
        async with told.session.get(wrong) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == 'Basic realm="Protected Area"'


@pytest.mark.row(210)
async def test_names_and_labels(told: Lobby, url: URL) -> None:
    before = await scrape(told, url)
    alice = await media.join(told, "alice", single=True)
    bob = await media.join(told, "bob", single=True)
    track, _ = await alice.publish(name="voice")
    await bob.receives(track.sid)
    with pytest.raises(Refused):
        await told.signal("", single=True)
    await told.call("ListParticipants", {"room": told.room}, Message)
    during = await scrape(told, url)

    def grew(name: str, **labels: str) -> float:
        return during.value(name, **labels) - before.value(name, **labels)

    assert grew("livekit_room_total") == 1
    assert grew("livekit_participant_total") == 2
    assert grew("livekit_track_published_total", kind="AUDIO") == 1
    assert grew("livekit_track_subscribed_total", kind="AUDIO") == 1
    for state in ("signal_connected", "rtc_init", "rtc_connected", "rtc_active", "rtc_success"):
        assert grew("livekit_participant_join_total", state=state) == 2, state
    assert grew("livekit_participant_join_total", state="signal_validation_failed") == 1
    assert grew("livekit_track_publish_counter", kind="AUDIO", state="success") == 1
    assert grew("livekit_track_subscribe_counter", state="success") == 1
    call = {"service": "RoomService", "method": "ListParticipants", "status": "200"}
    assert grew("livekit_node_twirp_request_status", code="", **call) == 1
    assert grew("livekit_node_twirp_request_latency_ms_count", **call) == 1
    assert grew("livekit_session_join_latency_ms_count", protocol_version="16") == 2
    assert grew("livekit_node_messages", direction="request") > 0
    assert grew("livekit_node_messages", direction="response") > 0
    assert grew("livekit_peer_connection_state", transport="PUBLISHER", state="connected") == 2

    await told.call("DeleteRoom", {"room": told.room}, Message, roomCreate=True)
    after = await scrape(told, url)
    assert after.value("livekit_room_total") == before.value("livekit_room_total")
    duration = "livekit_room_duration_seconds_count"
    assert after.value(duration) == before.value(duration) + 1


@pytest.mark.row(210)
async def test_types_and_labels_of_the_families(told: Lobby, url: URL) -> None:
    alice = await media.join(told, "alice", single=True)
    bob = await media.join(told, "bob", single=True)
    track, _ = await alice.publish(name="voice")
    await bob.receives(track.sid)
    await told.call("ListParticipants", {"room": told.room}, Message)
    shown = await scrape(told, url)
    for _ in range(14):
        # A server may look at media only every few seconds.
        if "livekit_packet_total" in shown.types and "livekit_node_packet_total" in shown.types:
            break
        await bob.receives(track.sid, frames=25)
        shown = await scrape(told, url)
    for family, (kind, labels) in FAMILIES.items():
        assert shown.types.get(family) == kind, family
        assert shown.labels(family) >= labels | {"node_id", "node_type"}, family
    nodes = {labels["node_id"] for name, labels, _ in shown.samples if name.startswith("livekit_")}
    assert [node[:3] for node in nodes] == ["ND_"]
    assert shown.value("livekit_packet_total", direction="incoming", transmission="initial") > 0
    assert shown.value("livekit_packet_bytes", direction="outgoing", transmission="initial") > 0
    join = "livekit_session_join_latency_ms_bucket"
    bounds = [labels["le"] for name, labels, _ in shown.samples if name == join]
    assert bounds[:3] == ["10", "16.37893706954064", "26.826957952797258"]


# -- debug routes ---------------------------------------------------------------------------------


@pytest.mark.row(18)
async def test_debug_routes_of_their_own_port(told: Lobby, reporting: Reporting) -> None:
    if reporting.debug_url is None:
        pytest.skip("LIVEKIT_DEBUG_URL does not say where the server's debug listener is")
    await told.signal("alice", single=True)

    async def get(path: str) -> tuple[int, str]:
        async with told.session.get(f"{reporting.debug_url}{path}") as response:
            return response.status, await response.text()

    rooms: list[dict[str, object]] = json.loads((await get("/debug/rooms"))[1])
    (room,) = [room for room in rooms if room["Name"] == told.room]
    assert isinstance(room["Participants"], dict)
    assert room["Participants"]["alice"]["ID"].startswith("PA_")
    assert str(room["Sid"]).startswith("RM_")
    for path in ("/debug/goroutine", "/debug/pprof/", "/debug/pprof/cmdline"):
        status, text = await get(path)
        assert status == 200
        assert text
    async with told.session.get(f"{reporting.debug_url}/debug/pprof/profile?seconds=1") as answer:
        assert answer.status == 200
        assert await answer.read()
    assert (await get("/"))[0] == 404


@pytest.mark.row(18)
async def test_debug_routes_of_the_main_port(lobby: Lobby) -> None:
    status, rooms, _ = await lobby.get("/debug/rooms")
    if status == 404 and not lobby.target.ours:
        pytest.skip("the server is not in development mode")
    assert status == 200
    assert isinstance(json.loads(rooms), list)
