"""A client for :mod:`benches.join_phases`: one peer connection that says when each step was done.

It does what libwebrtc does, in its order: checks at once wherever the server may be, nominates
with the first check where it offers ("aggressive"), begins DTLS when a check is answered, begins
SCTP when DTLS is done. Nothing in it waits for a timer but what is sent again because no answer
came. It takes about 2 ms of CPU per join, and media costs it nothing once the first packet is
there: the kernel drops it.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import secrets
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import pylibsrtp
from aioice import stun
from aiortc.rtcdtlstransport import SRTP_PROFILES, RTCCertificate
from OpenSSL import SSL

CHECK_AGAIN_S = 0.05
"""Between checks of a pair that does not answer (libwebrtc's WEAK_PING_INTERVAL is 48 ms)."""
HELLO_AGAIN_S = 0.05
"""Before the first flight of DTLS is sent again, as libwebrtc does; OpenSSL would take a second."""
_SO_ATTACH_FILTER = 26
_PRIORITY = 0x7E0000FF + (1 << 8)


@functools.cache
def certificate() -> RTCCertificate:
    """Return the certificate that all clients of this process share."""
    return RTCCertificate.generateCertificate()


@dataclass(slots=True)
class Phases:
    """When each step was done, in seconds after :attr:`began`; what was not is not there."""

    began: float = field(default_factory=time.monotonic)
    at: dict[str, float] = field(default_factory=dict)
    again: int = 0
    """Checks and hellos that were sent a second time."""

    def done(self, name: str) -> None:
        """Note the first time."""
        self.at.setdefault(name, time.monotonic() - self.began)


@dataclass(slots=True)
class _Check:
    """What we know of one address of the server's."""

    ids: set[bytes] = field(default_factory=set)
    answered: bool = False
    nominated: bool = False
    timer: asyncio.TimerHandle | None = None


class Link:
    """ICE, DTLS, the handshake of SCTP, and the first packet."""

    def __init__(self, phases: Phases, *, controlling: bool, host: str) -> None:
        self.phases = phases
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(12)
        self.on_connected: Callable[[], None] = lambda: None
        self.closed = False
        self._controlling = controlling
        self._tie_breaker = secrets.randbits(64)
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((host, 0))
        self._loop.add_reader(self._socket, self._readable)
        self._remote: tuple[str, str] | None = None
        self._checks: dict[tuple[str, int], _Check] = {}
        self._selected: tuple[str, int] | None = None
        self._ssl: SSL.Connection | None = None
        self._is_client = False
        self._secured = False
        self._held: list[bytes] = []
        self._flight: list[bytes] = []
        self._again: asyncio.TimerHandle | None = None
        self._sctp = _Sctp()
        self._tx: pylibsrtp.Session | None = None

    @property
    def candidate(self) -> str:
        """Ours, as a description has it."""
        host, port = self._socket.getsockname()
        return f"1 1 udp {0x7E0000FF} {host} {port} typ host"

    # -- ICE ------------------------------------------------------------------------------------

    def set_remote(self, ufrag: str, password: str, *, is_client: bool) -> None:
        """The server's description is there; ``is_client``: we begin DTLS."""
        self._remote = (ufrag, password)
        self._is_client = is_client
        context = certificate()._create_ssl_context(SRTP_PROFILES)
        self._ssl = SSL.Connection(context)
        self._ssl.set_ciphertext_mtu(1200)
        if is_client:
            self._ssl.set_connect_state()
        else:
            self._ssl.set_accept_state()
        for address in self._checks:
            self._check(address)

    def add_candidate(self, address: tuple[str, int]) -> None:
        """The server may be there."""
        if address not in self._checks:
            self._checks[address] = _Check()
            if self._remote is not None:
                self._check(address)

    def _check(self, address: tuple[str, int]) -> None:
        check = self._checks[address]
        if self.closed or check.answered or self._remote is None or len(check.ids) > 200:
            return
        ufrag, password = self._remote
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{ufrag}:{self.ufrag}"
        request.attributes["PRIORITY"] = _PRIORITY
        if self._controlling:
            request.attributes["ICE-CONTROLLING"] = self._tie_breaker
            request.attributes["USE-CANDIDATE"] = None
        else:
            request.attributes["ICE-CONTROLLED"] = self._tie_breaker
        request.add_message_integrity(password.encode())
        self.phases.again += bool(check.ids)
        check.ids.add(request.transaction_id)
        self._socket.sendto(bytes(request), address)
        self.phases.done("first check")
        check.timer = self._loop.call_later(CHECK_AGAIN_S, self._check, address)

    def _stun(self, data: bytes, address: tuple[str, int]) -> None:
        message = stun.parse_message(data)
        check = self._checks.setdefault(address, _Check())
        if message.message_class is stun.Class.REQUEST:
            self.phases.done("server's check")
            answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id)
            answer.attributes["XOR-MAPPED-ADDRESS"] = address
            answer.add_message_integrity(self.password.encode())
            self._socket.sendto(bytes(answer), address)
            check.nominated |= "USE-CANDIDATE" in message.attributes
            if not check.ids:
                self._check(address)
        elif message.message_class is stun.Class.RESPONSE and message.transaction_id in check.ids:
            self.phases.done("check answered")
            check.answered = True
            check.nominated |= self._controlling
            if check.timer is not None:
                check.timer.cancel()
        if check.answered and check.nominated:
            self.phases.done("nominated")
        # Either side sends on a pair that works before it is nominated.
        if check.answered and (self._selected is None or check.nominated):
            first, self._selected = self._selected is None, address
            if first:
                self._begin_dtls()
        self._maybe_connected()

    # -- DTLS -----------------------------------------------------------------------------------

    def _begin_dtls(self) -> None:
        if self._is_client:
            self.phases.done("hello")
        self._handshake()
        for datagram in self._held:
            self._dtls(datagram)
        self._held.clear()

    def _dtls(self, datagram: bytes) -> None:
        if self._ssl is None or self._selected is None:
            self._held.append(datagram)
            return
        self.phases.done("hello")
        self._ssl.bio_write(datagram)
        if not self._secured:
            self._handshake()
        while self._secured:
            try:
                packet = self._ssl.recv(2048)
            except SSL.Error:
                break
            self._send_sctp(self._sctp.receive(packet))
        if self._sctp.established:
            self.phases.done("SCTP")

    def _handshake(self) -> None:
        if self._ssl is None:
            return
        try:
            self._ssl.do_handshake()
            self._secured = True
        except SSL.WantReadError:
            pass
        self._flush()
        if self._secured:
            self._keys()
            self.phases.done("DTLS")
            self._send_sctp([self._sctp.init()])
            self._maybe_connected()
        elif self._again is None and self._flight:
            self._again = self._loop.call_later(HELLO_AGAIN_S, self._send_again, HELLO_AGAIN_S)

    def _send_again(self, after_s: float) -> None:
        # OpenSSL waits a second before it does so by itself.
        if not self._secured and not self.closed and self._selected is not None:
            self.phases.again += 1
            for datagram in self._flight:
                self._socket.sendto(datagram, self._selected)
            self._again = self._loop.call_later(2 * after_s, self._send_again, 2 * after_s)

    def _flush(self) -> None:
        flight: list[bytes] = []
        while self._ssl is not None and self._selected is not None:
            try:
                flight.append(self._ssl.bio_read(1500))
            except SSL.Error:
                break
            self._socket.sendto(flight[-1], self._selected)
        self._flight = flight or self._flight

    def _send_sctp(self, packets: list[bytes]) -> None:
        for packet in packets:
            if self._ssl is not None:
                self._ssl.send(packet)
        self._flush()

    def _keys(self) -> None:
        if self._ssl is None:
            return
        chosen = self._ssl.get_selected_srtp_profile()
        profile = next(p for p in SRTP_PROFILES if p.openssl_profile == chosen)
        length = 2 * (profile.key_length + profile.salt_length)
        material = self._ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", length)
        key = profile.get_key_and_salt(material, 0 if self._is_client else 1)
        policy = pylibsrtp.Policy(
            key=key,
            ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND,
            srtp_profile=profile.libsrtp_profile,
        )
        self._tx = pylibsrtp.Session(policy)

    def _maybe_connected(self) -> None:
        if self._secured and "nominated" in self.phases.at and "connected" not in self.phases.at:
            self.phases.done("connected")
            self.on_connected()

    # -- packets ----------------------------------------------------------------------------------

    def send_rtp(self, packet: bytes) -> None:
        """Encrypt and send; dropped before DTLS is done."""
        if self._tx is not None and self._selected is not None and not self.closed:
            self._socket.sendto(self._tx.protect(packet), self._selected)

    def _readable(self) -> None:
        while not self.closed:
            try:
                data, address = self._socket.recvfrom(2048)
            except BlockingIOError:
                return
            if data[0] < 4:
                self._stun(data, address)
            elif data[0] < 64:
                self._dtls(data)
            elif not 192 <= data[1] <= 223:
                self.phases.done("first packet")
                self._drop_media()

    def _drop_media(self) -> None:
        """Let the kernel drop what begins as RTP and RTCP do (RFC 7983)."""
        # The filter sees the UDP header too. ldb [8]; jge #128, drop; ret #65535; drop: ret #0
        code = [(0x30, 0, 0, 8), (0x35, 1, 0, 128), (0x06, 0, 0, 65535), (0x06, 0, 0, 0)]
        program = b"".join(struct.pack("HBBI", *line) for line in code)
        buffer = ctypes.create_string_buffer(program)
        filtering = struct.pack("HL", len(code), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)

    def close(self) -> None:
        """Stop. Idempotent."""
        if self.closed:
            return
        if self._ssl is not None and self._secured:
            self._ssl.shutdown()
            self._flush()
        self.closed = True
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()


class _Sctp:
    """The handshake of an association (RFC 9260 5.1), and nothing after it."""

    def __init__(self) -> None:
        self.established = False
        self._tag = secrets.randbits(32) or 1
        self._peer_tag = 0
        self._begin = struct.pack("!IIHHI", self._tag, 1 << 20, 65535, 65535, 1)

    def init(self) -> bytes:
        return self._packet(0, 1, self._begin)

    def receive(self, packet: bytes) -> list[bytes]:
        """Take a packet and return the answers."""
        answers: list[bytes] = []
        offset = 12
        while offset + 4 <= len(packet):
            kind, _, length = struct.unpack_from("!BBH", packet, offset)
            answers += self._chunk(kind, packet[offset + 4 : offset + length])
            offset += max(4, length + 3 & ~3)
        return answers

    def _chunk(self, kind: int, body: bytes) -> list[bytes]:
        if kind in (1, 2):
            self._peer_tag = int.from_bytes(body[:4], "big")
        if kind == 1:
            cookie = struct.pack("!HH", 7, 8) + b"mine"
            return [self._packet(self._peer_tag, 2, self._begin + cookie)]
        if kind == 2:
            cookie = _parameter(body[16:], 7)
            return [self._packet(self._peer_tag, 10, cookie)]
        if kind == 10:
            self.established = True
            return [self._packet(self._peer_tag, 11, b"")]
        self.established |= kind == 11
        return []

    @staticmethod
    def _packet(tag: int, kind: int, body: bytes) -> bytes:
        chunk = struct.pack("!BBH", kind, 0, 4 + len(body)) + body
        chunk += bytes(-len(chunk) % 4)
        ports = struct.pack("!HHI", 5000, 5000, tag)
        checksum = google_crc32c.value(ports + bytes(4) + chunk)
        return ports + struct.pack("<I", checksum) + chunk


def _parameter(body: bytes, wanted: int) -> bytes:
    while len(body) >= 4:
        kind, length = struct.unpack_from("!HH", body)
        if kind == wanted:
            return body[4:length]
        body = body[max(4, length + 3 & ~3) :]
    return b""


class Media:
    """What a publisher sends every 20 ms: an Opus packet, and a VP8 key frame of one packet."""

    def __init__(self, link: Link, sections: list[tuple[int, int, bool]]) -> None:
        self._link = link
        self._sections = sections
        """SSRC, payload type, whether it is video."""
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send from now on."""
        loop = asyncio.get_running_loop()
        for ssrc, payload_type, video in self._sections:
            clock = 1800 if video else 960
            header = struct.pack(
                "!BBHII",
                0x80,
                payload_type | (0x80 if video else 0),
                self._number & 0xFFFF,
                self._number * clock & 0xFFFF_FFFF,
                ssrc,
            )
            frame = b"\x10\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" + bytes(300)
            self._link.send_rtp(header + (frame if video else b"\xfc" + bytes(60)))
        self._number += 1
        self._timer = loop.call_later(0.02, self.start)

    def stop(self) -> None:
        """Stop. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()


def described_address(candidate: str) -> tuple[str, int] | None:
    """The address of a server's candidate; None: it is not UDP, or for another component."""
    fields: list[Any] = candidate.removeprefix("candidate:").split()
    if len(fields) < 6 or fields[1] != "1" or fields[2].lower() != "udp" or ":" in fields[4]:
        return None
    return str(fields[4]), int(fields[5])
