from __future__ import annotations

import json

import pytest

from lkpy.engine.api import AddRemoteCandidate, IceCandidate
from lkpy.limits import MAX_REMOTE_CANDIDATES
from lkpy.sdp import Candidate, SdpError
from lkpy.server.rtc.ice_candidates import parse_candidate_init
from tests.transport_kit import RecordingEngine, offer, sample, single

HOST = "candidate:1 1 udp 2122194687 192.0.2.50 5000 typ host generation 0"


def init(candidate: str = HOST, **members: object) -> str:
    return json.dumps({"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0} | members)


def test_a_clients_candidate() -> None:
    parsed = parse_candidate_init(init(usernameFragment="abcd"))
    assert parsed is not None
    assert parsed.candidate == IceCandidate("1", 1, "udp", 2122194687, "192.0.2.50", 5000)
    assert parsed.ufrag == "abcd"
    assert parse_candidate_init(init(HOST + " ufrag wxyz")).ufrag == "wxyz"


@pytest.mark.parametrize(
    "candidate",
    [
        "",
        HOST.replace("192.0.2.50", "e5b0c7d2-aaaa-4bbb-8ccc-d00000000000.local"),
        HOST.replace("192.0.2.50", "host.example"),
        HOST.replace("192.0.2.50", "0.0.0.0"),
        HOST.replace("192.0.2.50", "224.0.0.251"),
        HOST.replace("192.0.2.50", "fe80::1%eth0"),
        HOST.replace(" udp ", " tcp ") + " tcptype active",
        HOST.replace(":1 1 ", ":1 2 "),
        HOST.replace(" 5000 ", " 0 "),
    ],
)
def test_candidates_without_use_are_ignored(candidate: str) -> None:
    assert parse_candidate_init(init(candidate)) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", init("candidate:junk"), init(usernameFragment=5), '{"candidate": 5}'],
)
def test_malformed_candidates(text: str) -> None:
    with pytest.raises(SdpError):
        parse_candidate_init(text)


def test_missing_candidate_is_the_end() -> None:
    assert parse_candidate_init("{}") is None


def remote_candidates(engine: RecordingEngine) -> list[str]:
    return [command.candidate.address for command in engine.of(AddRemoteCandidate)]


def numbered(last: int, **members: object) -> str:
    return init(HOST.replace("192.0.2.50", f"198.51.100.{last}"), **members)


def test_candidates_wait_for_the_offer_of_their_generation() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    text = sample("chrome_join_offer")
    transport.add_remote_candidate(numbered(1))
    transport.add_remote_candidate(numbered(2, usernameFragment="other"))
    assert remote_candidates(engine) == []
    offer(transport, text)
    assert remote_candidates(engine) == ["198.51.100.1"]
    transport.add_remote_candidate(numbered(3))
    transport.add_remote_candidate(numbered(3))
    transport.add_remote_candidate(numbered(4, usernameFragment="NEXT"))
    assert remote_candidates(engine) == ["198.51.100.1", "198.51.100.3"]
    restarted = text.replace("a=ice-ufrag:", "a=ice-ufrag:NEXT\r\na=x:")
    offer(transport, restarted)
    assert remote_candidates(engine)[2:] == ["198.51.100.4"]


def test_candidates_in_the_offer_are_taken() -> None:
    engine = RecordingEngine()
    offer(single(engine), sample("libwebrtc_offer"))
    assert remote_candidates(engine) == ["192.0.2.2", "fd00::2"]


def test_remote_candidates_are_bounded() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    for number in range(MAX_REMOTE_CANDIDATES + 20):
        transport.add_remote_candidate(numbered(number % 256).replace("5000", str(number + 1)))
    offer(transport, sample("chrome_join_offer"))
    for number in range(300):
        transport.add_remote_candidate(numbered(9).replace("5000", str(number + 1000)))
    assert len(remote_candidates(engine)) == MAX_REMOTE_CANDIDATES


def test_our_candidates_name_the_section_that_carries_the_transport() -> None:
    engine = RecordingEngine()
    transport = single(engine)
    result = offer(transport, sample("str0m_offer"))
    inits = [json.loads(text) for text in transport.local_candidates()]
    assert {(i["sdpMid"], i["sdpMLineIndex"]) for i in inits} == {("aud", 0)}
    parsed = [Candidate.parse(i["candidate"]) for i in inits]
    assert [(c.protocol, c.port, c.tcp_type) for c in parsed] == [
        ("udp", 7882, None),
        ("tcp", 7881, "passive"),
    ]
    assert {f"a=ice-ufrag:{c.ufrag}" for c in parsed} <= set(result.answer.sdp.splitlines())


def test_the_last_trickle_is_final() -> None:
    transport = single(RecordingEngine())
    trickles = transport.local_trickles()
    assert [t.final for t in trickles] == [False, True]
    assert {t.target for t in trickles} == {transport.target}
