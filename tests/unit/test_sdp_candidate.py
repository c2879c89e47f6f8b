from __future__ import annotations

import pytest

from lkpy.sdp import Candidate, SdpError


@pytest.mark.parametrize(
    "text",
    [
        "candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host",
        "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx "
        "raddr 192.0.2.5 rport 46154 generation 0 ufrag sXP5 network-id 1 network-cost 10",
        "candidate:2 1 tcp 1671430143 2001:db8::1 7881 typ host tcptype passive ufrag abcd",
        "candidate:3 1 udp 1 f0e1d2c3-aaaa-bbbb-cccc-000000000000.local 5000 typ host",
        "candidate:1 1 udp 5 192.0.2.1 9 typ host generation 0 network-id",
        "candidate:1 1 udp 5 fe80::1%eth0 9 typ srflx raddr 192.0.2.7",
        "candidate: 1 udp 5 192.0.2.1 9 typ host",
        "candidate:1 1 ssltcp 5 192.0.2.1 9 typ host tcptype so",
    ],
)
def test_round_trip(text: str) -> None:
    assert str(Candidate.parse(text)) == text
    assert Candidate.parse(text) == Candidate.parse("a=" + text)


def test_words_in_upper_case() -> None:
    candidate = Candidate.parse("candidate:1 1 TCP 5 192.0.2.1 9 TYP HOST")
    assert (candidate.protocol, candidate.type) == ("tcp", "host")


def test_fields() -> None:
    candidate = Candidate.parse(
        "candidate:7 1 UDP 5 192.0.2.1 9 typ relay raddr 0.0.0.0 rport 0 ufrag u1"
    )
    assert candidate.protocol == "udp"
    assert candidate.type == "relay"
    assert (candidate.related_address, candidate.related_port) == ("0.0.0.0", 0)
    assert candidate.ufrag == "u1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "candidate:",
        "candidate:1 1 udp 5 192.0.2.1 9",
        "candidate:1 1 udp 5 192.0.2.1 9 type host",
        "candidate:1 x udp 5 192.0.2.1 9 typ host",
        "candidate:1 1 udp 99999999999 192.0.2.1 9 typ host",
        "candidate:1 1 udp 5 192.0.2.1 65536 typ host",
        "candidate:1 1 udp 5 192.0.2.1 9 typ host rport -1",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(SdpError):
        Candidate.parse(text)
