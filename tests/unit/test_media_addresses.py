"""Which addresses media is bound to and clients are told, and the servers they are told of."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import struct
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from lkpy.clock import ManualClock
from lkpy.ids import ParticipantID
from lkpy.server.config import ServerConfig
from lkpy.server.config_rtc import RtcConfig
from lkpy.server.external_address import (
    binding_request,
    external_addresses,
    read_binding_response,
)
from lkpy.server.ice_servers import IceServers
from lkpy.server.media_addresses import MediaAddresses, media_addresses

ALICE = ParticipantID("PA_alice")
INTERFACES = {
    "lo": ["127.0.0.1", "::1"],
    "eth0": ["10.0.0.5", "2001:db8::5", "fe80::5%eth0"],
    "docker0": ["172.17.0.1"],
    "down0": ["10.9.9.9"],
}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with these interfaces."""

    def address(text: str) -> SimpleNamespace:
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        return SimpleNamespace(family=family, address=text)

    found = {name: [address(text) for text in texts] for name, texts in INTERFACES.items()}
    up = {name: SimpleNamespace(isup=name != "down0") for name in INTERFACES}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: up)


def chosen(rtc: dict[str, Any], public: dict[str, str] | None = None) -> MediaAddresses:
    config = ServerConfig.model_validate({"rtc": rtc})
    return media_addresses(config, lambda _local, _servers: public or {})


@pytest.mark.parametrize(
    ("rtc", "bind"),
    [
        ({}, ("10.0.0.5", "2001:db8::5", "172.17.0.1")),
        (
            {"enable_loopback_candidate": True},
            ("127.0.0.1", "10.0.0.5", "2001:db8::5", "172.17.0.1"),
        ),
        ({"interfaces": {"includes": ["eth0", "wlan0"]}}, ("10.0.0.5", "2001:db8::5")),
        ({"interfaces": {"excludes": ["docker0"]}}, ("10.0.0.5", "2001:db8::5")),
        ({"ips": {"includes": ["10.0.0.0/8"]}}, ("10.0.0.5",)),
        ({"ips": {"excludes": ["172.16.0.0/12", "2001:db8::/32"]}}, ("10.0.0.5",)),
        (
            {"interfaces": {"excludes": ["docker0"]}, "ips": {"excludes": ["::/0"]}},
            ("10.0.0.5",),
        ),
        ({"ips": {"includes": ["192.0.2.0/24"]}}, ("127.0.0.1",)),
    ],
)
def test_what_is_bound(rtc: dict[str, Any], bind: tuple[str, ...]) -> None:
    assert chosen(rtc) == MediaAddresses(bind)


def test_what_clients_are_told() -> None:
    only = {"interfaces": {"includes": ["eth0"]}}
    bound = ("10.0.0.5", "2001:db8::5")
    node = {"node_ip": "203.0.113.5"}
    assert chosen(only | node).advertise == ("203.0.113.5",)
    both = only | node | {"advertise_internal_ip": True}
    assert chosen(both).advertise == ("203.0.113.5", *bound)
    more = {"additional_host_ips": ["192.0.2.1", "10.0.0.5"]}
    assert chosen(only | more).advertise == (*bound, "192.0.2.1")
    assert chosen(only | node | more).advertise == ("203.0.113.5", "192.0.2.1", "10.0.0.5")


def test_public_addresses() -> None:
    rtc = {"use_external_ip": True, "node_ip": "192.0.2.9"}
    public = {"10.0.0.5": "203.0.113.5"}
    told = chosen(rtc, public)
    assert told.bind == ("10.0.0.5", "2001:db8::5", "172.17.0.1")
    assert told.advertise == ("203.0.113.5", "2001:db8::5", "172.17.0.1")
    told = chosen(rtc | {"external_ip_only": True}, public)
    assert told.bind == ("10.0.0.5", "2001:db8::5")
    assert told.advertise == ("203.0.113.5", "2001:db8::5")
    assert chosen(rtc).advertise == ("192.0.2.9",), "no server answered"


# -- STUN ---------------------------------------------------------------------------------------


def response(transaction: bytes, *, kind: int = 0x0101, xor: bool = True) -> bytes:
    number = int.from_bytes(socket.inet_aton("203.0.113.7"), "big")
    value = struct.pack("!BBHI", 0, 1, 5, number ^ 0x2112A442 if xor else number)
    other = struct.pack("!HH5s3x", 0x8022, 5, b"lkpy!")
    body = other + struct.pack("!HH", 0x0020 if xor else 0x0001, 8) + value
    return struct.pack("!HHI12s", kind, len(body), 0x2112A442, transaction) + body


def test_binding_responses() -> None:
    mine = b"t" * 12
    assert read_binding_response(response(mine), mine) == "203.0.113.7"
    assert read_binding_response(response(mine, xor=False), mine) == "203.0.113.7"
    assert read_binding_response(response(b"x" * 12), mine) is None
    assert read_binding_response(response(mine, kind=0x0111), mine) is None
    good = response(mine)
    for length in range(len(good)):
        assert read_binding_response(good[:length], mine) is None


@pytest.fixture
def stun_server() -> Iterator[str]:
    """Answers every second request: the first is lost."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(5)

    def serve() -> None:
        server.recvfrom(100)
        data, client = server.recvfrom(100)
        assert data == binding_request(data[8:20])
        server.sendto(b"noise", client)
        server.sendto(response(data[8:20]), client)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    thread.join()
    server.close()


def test_a_stun_server_is_asked_again(stun_server: str) -> None:
    found = external_addresses(["127.0.0.1"], ["no.such.host.invalid", stun_server])
    assert found == {"127.0.0.1": "203.0.113.7"}


def test_nobody_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        assert external_addresses(["127.0.0.1", "203.0.113.1"], [server], timeout_s=0.1) == {}


# -- servers that clients are told --------------------------------------------------------------


def servers(**rtc: Any) -> list[tuple[list[str], str, str]]:
    told = IceServers(RtcConfig.model_validate(rtc), ManualClock(wall=1000.0))(ALICE)
    return [(list(server.urls), server.username, server.credential) for server in told]


def test_stun_servers() -> None:
    ((urls, username, _),) = servers()
    assert urls[0] == "stun:global.stun.twilio.com:3478"
    assert not username
    assert servers(stun_servers=["a:1", "b:2"]) == [(["stun:a:1", "stun:b:2"], "", "")]


def test_turn_servers() -> None:
    static = {
        "host": "t.example",
        "port": 443,
        "protocol": "tls",
        "username": "u",
        "credential": "c",
    }
    assert servers(turn_servers=[static, {"host": "::1", "protocol": "udp"}]) == [
        (["turns:t.example:443?transport=tcp"], "u", "c"),
        (["turn:[::1]:3478?transport=udp"], "", ""),
    ]
    both = servers(turn_servers=[static], stun_servers=["a:1"])
    assert both[1] == (["stun:a:1"], "", "")


def test_turn_credentials_are_the_participants_and_end() -> None:
    ((_, username, credential),) = servers(
        turn_servers=[{"host": "t", "secret": "hush", "ttl": 60, "username": "ignored"}]
    )
    assert username == "1060:PA_alice"
    digest = hmac.new(b"hush", username.encode(), hashlib.sha1).digest()
    assert credential == base64.b64encode(digest).decode()
