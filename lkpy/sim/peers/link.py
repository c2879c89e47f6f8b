"""ICE and DTLS of one peer connection through aiortc, with SRTP taken off its slow path.

aiortc gives a datagram to a STUN parser, a queue, a task, libsrtp, a full RTP parser and a router.
A load generator needs only the plain header, so datagrams whose first byte says RTP or RTCP
(RFC 7983) go straight to :attr:`MediaLink.on_media` from the socket callback: 17 us per packet
instead of 70.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aioice
import pylibsrtp
from aioice import stun
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol, get_host_addresses
from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsTransport,
    RTCIceCandidate,
    RTCIceGatherer,
    RTCIceTransport,
    RTCSctpTransport,
)
from aiortc.rtcsctptransport import RTCSctpCapabilities
from aiortc.sdp import candidate_to_sdp

from lkpy.sim.peers import sdp

SOCKET_BUFFER = 1 << 20
"""SO_RCVBUF per client: a key frame of every publisher may arrive in one burst."""
_SCTP_PORT = 5000
_MAX_MESSAGE = 65_535


class LinkError(Exception):
    """ICE or DTLS failed; the message says which and why."""


@functools.cache
def certificate() -> RTCCertificate:
    """Return the certificate all clients of this process share: making one costs 1 ms of CPU."""
    return RTCCertificate.generateCertificate()


def local_addresses(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, ...]]:
    """Return the address family in which ``host`` is reached and our addresses there. Resolves.

    A server on this machine may send media from any of its interfaces. All our addresses are
    candidates then: one it does not know would be peer-reflexive to it, and pion takes a second
    before it nominates those.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)
        ours = str(probe.getsockname()[0])
    others: list[str] = []
    if ipaddress.ip_address(ours).is_loopback:
        others = get_host_addresses(
            use_ipv4=family == socket.AF_INET, use_ipv6=family == socket.AF_INET6
        )
    return family, (ours, *others)


class _Protocol(StunProtocol):
    """A socket whose media datagrams skip the STUN parser."""

    def __init__(self, receiver: aioice.Connection, sink: Callable[[bytes], None]) -> None:
        super().__init__(receiver)
        self._sink = sink

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        if 128 <= data[0] <= 191:  # type: ignore[operator]
            self._sink(data)  # type: ignore[arg-type]
        elif data:
            super().datagram_received(data, addr)


class _Connection(aioice.Connection):
    """An ICE agent with one socket, and the time at which a pair was first nominated."""

    def __init__(
        self,
        *,
        controlling: bool,
        family: socket.AddressFamily,
        addresses: tuple[str, ...],
        sink: Callable[[bytes], None],
    ) -> None:
        super().__init__(ice_controlling=controlling)
        self.nominated_at: float | None = None
        self.consent_expired = False
        self.socket_inode = 0
        self._family = family
        self._ours = addresses
        self._sink = sink

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = 5
    ) -> list[Candidate]:
        """Bind one wildcard socket: the kernel picks the source address for any destination."""
        wildcard = "::" if self._family == socket.AF_INET6 else "0.0.0.0"
        transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Protocol(self, self._sink), local_addr=(wildcard, 0), family=self._family
        )
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        self.socket_inode = os.fstat(raw.fileno()).st_ino
        port = transport.get_extra_info("sockname")[1]
        candidates = [
            Candidate(
                foundation=candidate_foundation("host", "udp", ours),
                component=component,
                transport="udp",
                priority=candidate_priority(component, "host", 65_535 - index),
                host=ours,
                port=port,
                type="host",
            )
            for index, ours in enumerate(self._ours)
        ]
        protocol.local_candidate = candidates[0]
        self._protocols.append(protocol)
        return candidates

    def check_incoming(
        self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol
    ) -> None:
        """Check back at once, also when our own check is still unanswered.

        RFC 8445 7.3.1.4 restarts a check in progress; aioice waits for its retransmission, which
        costs half a second when our first check was there before our answer was.
        """
        for pair in self._check_list:
            if (
                pair.remote_addr == addr
                and pair.state == CandidatePair.State.IN_PROGRESS
                and pair.task is not None
                and not self._nominating
            ):
                pair.task.cancel()
                pair.task = None
                pair.state = CandidatePair.State.WAITING
        super().check_incoming(message, addr, protocol)

    def check_complete(self, pair: CandidatePair) -> None:
        super().check_complete(pair)
        if self.nominated_at is None and self._nominated:
            self.nominated_at = time.monotonic()

    async def query_consent(self) -> None:
        """Ask whether the server still wants our packets (RFC 7675), until it does not."""
        await super().query_consent()
        self.consent_expired = True

    def nominated_pair(self) -> CandidatePair | None:
        """Return the pair that media takes now."""
        return self._nominated.get(1)


class MediaLink:
    """One peer connection's transport: ICE, DTLS, SRTP and the two LiveKit data channels.

    ``on_media`` gets every SRTP and SRTCP datagram, still encrypted.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        family: socket.AddressFamily,
        addresses: tuple[str, ...],
        on_media: Callable[[bytes], None],
    ) -> None:
        self.dtls_at: float | None = None
        self.packets_sent = 0
        self._connection = _Connection(
            controlling=controlling, family=family, addresses=addresses, sink=on_media
        )
        gatherer = RTCIceGatherer(iceServers=[])
        gatherer._connection = self._connection
        self._gatherer = gatherer
        self._ice = RTCIceTransport(gatherer)
        self._dtls = RTCDtlsTransport(self._ice, [certificate()])
        self._sctp: RTCSctpTransport | None = None
        self._channels: list[RTCDataChannel] = []
        self._candidates_ended = False
        self.on_closed: Callable[[str], None] | None = None
        """Called once when a connected link fails or is closed by the server."""
        self.on_data: Callable[[bytes], None] = lambda data: None
        """Called with every message of a data channel, as bytes."""
        self._closing = False

    @property
    def ice_at(self) -> float | None:
        """Monotonic time of the first nomination."""
        return self._connection.nominated_at

    @property
    def socket_inode(self) -> int:
        """Inode of the socket, by which the kernel lists its drops; 0 before it is open."""
        return self._connection.socket_inode

    @property
    def srtp_rx(self) -> pylibsrtp.Session | None:
        """SRTP session for what we receive; None until DTLS is done."""
        return self._dtls._rx_srtp

    async def gather(self) -> sdp.Local:
        """Open the socket and return our end's description."""
        await self._gatherer.gather()
        parameters = self._gatherer.getLocalParameters()
        fingerprint = next(
            item.value
            for item in self._dtls.getLocalParameters().fingerprints
            if item.algorithm == "sha-256"
        )
        return sdp.Local(
            ufrag=parameters.usernameFragment or "",
            password=parameters.password or "",
            fingerprint=fingerprint,
            candidates=tuple(candidate_to_sdp(c) for c in self._gatherer.getLocalCandidates()),
            session_id=time.monotonic_ns() >> 10,
        )

    async def add_candidate(self, candidate: RTCIceCandidate | None) -> None:
        """Add a candidate of the server; None ends them."""
        if self._candidates_ended:
            return
        if candidate is None:
            self._candidates_ended = True
        elif candidate.protocol.lower() != "udp":
            return
        await self._ice.addRemoteCandidate(candidate)

    async def connect(self, remote: sdp.Remote) -> None:
        """Run ICE and DTLS. Raises :class:`LinkError`."""
        for candidate in remote.candidates:
            await self.add_candidate(candidate)
        if remote.candidates_complete:
            await self.add_candidate(None)
        # We offered actpass: the server's setup attribute says what is left for us.
        self._dtls._set_role("server" if remote.dtls.role == "client" else "client")
        if remote.ice.iceLite:
            self._connection.ice_controlling = True
        await self._ice.start(remote.ice)
        if self._ice.state != "completed":
            raise LinkError("ICE failed: no candidate pair answered")
        await self._dtls.start(remote.dtls)
        if self._dtls.state != "connected":
            raise LinkError("DTLS failed")
        self.dtls_at = time.monotonic()
        self._dtls.on("statechange", self._state_changed)

    def _state_changed(self) -> None:
        if self._dtls.state in ("closed", "failed") and not self._closing:
            self._closing = True
            if self.on_closed is not None:
                self.on_closed(
                    "the server did not answer ICE consent checks"
                    if self._connection.consent_expired
                    else f"DTLS {self._dtls.state}"
                )

    def _send(self, datagram: bytes) -> None:
        """Send on the pair that is nominated at this moment.

        The agent may nominate another pair at any time (RFC 8445 8.1.1), and checks only that one
        from then on: a server may forget the other.
        """
        pair = self._connection.nominated_pair()
        if pair is not None:
            pair.protocol.transport.sendto(datagram, pair.remote_addr)

    async def open_channels(self) -> None:
        """Open ``_reliable`` and ``_lossy`` as LiveKit's clients do."""
        sctp = await self._start_sctp()
        for label, options in (
            ("_reliable", {"ordered": True}),
            ("_lossy", {"ordered": False, "maxRetransmits": 0}),
        ):
            parameters = RTCDataChannelParameters(label=label, **options)
            self._listen(RTCDataChannel(sctp, parameters))

    async def accept_channels(self) -> None:
        """Let the server open its data channels (dual mode, subscriber connection)."""
        await self._start_sctp()

    async def _start_sctp(self) -> RTCSctpTransport:
        self._sctp = RTCSctpTransport(self._dtls)
        self._sctp.on("datachannel", self._listen)
        await self._sctp.start(RTCSctpCapabilities(maxMessageSize=_MAX_MESSAGE), _SCTP_PORT)
        return self._sctp

    def _listen(self, channel: RTCDataChannel) -> None:
        self._channels.append(channel)
        channel.on("message", self._message)

    def _message(self, data: bytes | str) -> None:
        self.on_data(data.encode() if isinstance(data, str) else data)

    def send_rtp(self, packet: bytes) -> None:
        """Encrypt and send an RTP packet; dropped before DTLS is done."""
        if self.dtls_at is not None and not self._closing:
            self.packets_sent += 1
            self._send(self._dtls._tx_srtp.protect(packet))

    def send_rtcp(self, packet: bytes) -> None:
        """Encrypt and send an RTCP compound; dropped before DTLS is done."""
        if self.dtls_at is not None and not self._closing:
            self._send(self._dtls._tx_srtp.protect_rtcp(packet))

    async def close(self) -> None:
        """Close everything. Idempotent; never raises."""
        self._closing = True
        steps: list[Callable[[], Awaitable[None]]] = [self._dtls.stop, self._ice.stop]
        if self._sctp is not None:
            steps.insert(0, self._sctp.stop)
        for step in steps:
            with contextlib.suppress(Exception):
                await step()
