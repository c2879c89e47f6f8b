"""The ICE and DTLS half of a peer connection: credentials, roles, the remote end, states."""

from __future__ import annotations

import itertools
import secrets
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from lkpy.engine.api import (
    AddRemoteCandidate,
    CloseTransport,
    Command,
    CreateTransport,
    DtlsParameters,
    DtlsRole,
    DtlsState,
    DtlsStateChanged,
    EngineInfo,
    Event,
    IceCandidate,
    IceParameters,
    IceState,
    IceStateChanged,
    RestartIce,
    SetCongestionControl,
    SetMaxMessageSize,
    SetRemoteParameters,
    TransportClosed,
)
from lkpy.limits import DATA_MESSAGE_MAX
from lkpy.sdp import (
    Candidate,
    Fingerprint,
    IceFragment,
    MediaDescription,
    SdpError,
    SessionDescription,
    Setup,
)
from lkpy.server.rtc.ice_candidates import (
    RemoteCandidate,
    RemoteCandidates,
    described_candidate,
    usable_candidate,
)

_MESSAGE_SIZE = 65_536
"""Bytes that a client takes in a data message where it does not say (RFC 8841 6)."""
_UFRAG, _PWD = 12, 24
"""Bytes, for 16 and 32 characters as pion has them; RFC 8445 5.3 asks for 24 and 128 bits."""


class EngineLink(Protocol):
    """The part of :class:`lkpy.engine.hub.EngineHub` that a transport uses."""

    @property
    def info(self) -> EngineInfo:
        """Fingerprint and candidates."""

    def new_id(self) -> int:
        """The next id."""

    def submit(self, *commands: Command) -> None:
        """Queue commands."""

    def release(self, *commands: Command) -> None:
        """Queue commands that only give back; never raises."""


@dataclass(frozen=True, slots=True)
class RemoteEnd:
    """What a client's description says about its end of the transport."""

    ice: IceParameters
    fingerprint: Fingerprint
    """Of its certificate, in the hash function that we prefer."""
    fingerprints: tuple[Fingerprint, ...]
    """All that we can verify, of whichever certificates."""
    setup: Setup
    lite: bool
    candidates: list[IceCandidate]
    mid: str
    """The section that carries the transport (RFC 9143: the tagged section)."""
    bundle: frozenset[str]
    """Mids that share the transport."""


def remote_end(description: SessionDescription, *, default_setup: Setup) -> RemoteEnd:
    """Read the client's end. Raises :class:`SdpError` when there is none that can be used."""
    active = list(description.active_media())
    if any(media.mid is None for media in active):
        raise SdpError("a media section has no a=mid")
    if not active:
        raise SdpError(
            "every media section is rejected" if description.media else "no media section"
        )
    named = [media for mid in description.bundle for media in active if media.mid == mid]
    bundle = named or _one_transport(description, active)
    tagged = next((m for m in bundle if description.transport_of(m).ice_ufrag), bundle[0])
    transport = description.transport_of(tagged)
    if not transport.ice_ufrag:
        raise SdpError("no a=ice-ufrag")
    if not transport.ice_pwd:
        raise SdpError("no a=ice-pwd")
    fingerprints = _verifiable(transport.fingerprints)
    sharing = [m for m in bundle if m.transport.ice_ufrag in (None, transport.ice_ufrag)]
    candidates = itertools.chain(description.candidates, *(m.candidates for m in sharing))
    setup = transport.setup
    return RemoteEnd(
        ice=IceParameters(transport.ice_ufrag, transport.ice_pwd),
        fingerprint=fingerprints[0],
        fingerprints=fingerprints,
        setup=default_setup if setup in (None, Setup.HOLDCONN) else setup,
        lite=description.ice_lite,
        candidates=_usable(candidates),
        mid=tagged.mid or "",
        bundle=frozenset(media.mid or "" for media in bundle),
    )


def _one_transport(
    description: SessionDescription, active: list[MediaDescription]
) -> list[MediaDescription]:
    """Without BUNDLE: the sections with the ICE credentials of the first are one transport."""
    first = description.transport_of(active[0])
    wanted = first.ice_ufrag, first.ice_pwd
    return [
        media
        for media, own in ((media, description.transport_of(media)) for media in active)
        if (own.ice_ufrag, own.ice_pwd) == wanted
    ]


def _verifiable(fingerprints: list[Fingerprint]) -> tuple[Fingerprint, ...]:
    """Those in a hash function that the engine has, the preferred one first (RFC 8122 5)."""
    if not fingerprints:
        raise SdpError("no a=fingerprint")
    known = tuple(
        f
        for name, size in _HASHES.items()
        for f in fingerprints
        if f.algorithm == name and len(f.value) == 3 * size - 1
    )
    if not known:
        raise SdpError(f"no a=fingerprint in {', '.join(_HASHES)}")
    return known


_HASHES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
"""Bytes of the digest."""


def _usable(candidates: Iterable[Candidate]) -> list[IceCandidate]:
    usable = map(usable_candidate, candidates)
    return [candidate for candidate in usable if candidate is not None]


def _is_tcp(candidate: IceCandidate) -> bool:
    return candidate.protocol == "tcp"


def new_credentials() -> IceParameters:
    """Random credentials for one ICE generation."""
    # The alphabet of base64 is that of ice-char (RFC 8839 5.4).
    ufrag, pwd = (b64encode(secrets.token_bytes(size)).decode() for size in (_UFRAG, _PWD))
    return IceParameters(ufrag, pwd)


class IceDtls:
    """One transport of the engine: what we told it and what it told us."""

    def __init__(
        self, engine: EngineLink, *, worker: int, lite: bool, allow_pause: bool = False
    ) -> None:
        self.id = engine.new_id()
        self.lite = lite
        self.local = new_credentials()
        self.ice_state = IceState.NEW
        self.dtls_state = DtlsState.NEW
        self.ever_connected = False
        self.prefer_tcp = False
        """UDP does not hold for this client: neither its UDP candidates nor ours are used, if
        there are others."""
        self.failure = ""
        """Why the transport is gone; empty while it is not."""
        self.dead = False
        """It is gone for good: no ICE restart brings it back."""
        self.path = IceStateChanged(self.id, IceState.NEW)
        """The last ICE event, with the nominated pair."""
        self.srtp_profile = ""
        self.role: DtlsRole | None = None
        self.remote: RemoteEnd | None = None
        self._engine = engine
        self._worker = worker
        self._allow_pause = allow_pause
        self._candidates = RemoteCandidates()
        self._message_size = DATA_MESSAGE_MAX
        self._created = False
        self._closed = False

    @property
    def connected(self) -> bool:
        """ICE and DTLS are connected."""
        return self.ice_state is IceState.CONNECTED and self.dtls_state is DtlsState.CONNECTED

    @property
    def created(self) -> bool:
        """The engine has it."""
        return self._created and not self._closed

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the engine's certificate."""
        info = self._engine.info
        return Fingerprint(info.fingerprint_algorithm, info.fingerprint)

    @property
    def candidates(self) -> tuple[IceCandidate, ...]:
        """Local candidates of the worker."""
        every = self._every_candidate()
        return tuple(filter(_is_tcp, every)) if self._tcp_only else every

    def _every_candidate(self) -> tuple[IceCandidate, ...]:
        for worker in self._engine.info.workers:
            if worker.worker == self._worker:
                return worker.candidates
        return ()

    @property
    def _tcp_only(self) -> bool:
        return self.prefer_tcp and any(map(_is_tcp, self._every_candidate()))

    def _wanted(self, candidates: list[IceCandidate]) -> list[Command]:
        if self._tcp_only:
            candidates = list(filter(_is_tcp, candidates))
        return [AddRemoteCandidate(self.id, candidate) for candidate in candidates]

    def create(self, *, controlling: bool) -> None:
        """Create the engine's transport. Idempotent."""
        if not self._created and not self._closed:
            self._created = True
            self._engine.submit(
                CreateTransport(
                    transport=self.id,
                    worker=self._worker,
                    ice=self.local,
                    ice_lite=self.lite,
                    controlling=controlling,
                )
            )
            if self._allow_pause:
                self._engine.submit(SetCongestionControl(self.id, allow_pause=True))

    def override_capacity(self, bps: int | None) -> None:
        """As if it carried ``bps`` bits per second of video; None: what it carries."""
        if self.created:
            self._engine.submit(SetCongestionControl(self.id, self._allow_pause, bps))

    def check_remote(self, remote: RemoteEnd) -> None:
        """Raise :class:`SdpError` when ``remote`` is not the end that we are connected to."""
        if self.remote is not None and self.remote.fingerprint not in remote.fingerprints:
            raise SdpError("a=fingerprint differs from the one negotiated before")

    def restarts(self, remote: RemoteEnd) -> bool:
        """Whether ``remote`` begins another ICE generation."""
        return self.remote is not None and self.remote.ice != remote.ice

    def restart(self) -> None:
        """Begin another ICE generation on our side."""
        self.local = new_credentials()
        if self._created and not self._closed:
            self._engine.submit(RestartIce(self.id, self.local))

    def set_remote(self, remote: RemoteEnd) -> None:
        """Take the client's end; our DTLS role follows from its ``a=setup`` the first time."""
        if self._closed:
            return
        if self.role is None:
            # The server picks SRTP's cipher in DTLS 1.2, so we are it wherever we may.
            passive = remote.setup is Setup.PASSIVE
            self.role = DtlsRole.CLIENT if passive else DtlsRole.SERVER
        commands: list[Command] = []
        if self.remote is not None:
            remote = replace(remote, fingerprint=self.remote.fingerprint)
        if self.remote is None or self.restarts(remote):
            dtls = DtlsParameters(remote.fingerprint.algorithm, remote.fingerprint.value, self.role)
            commands.append(SetRemoteParameters(self.id, remote.ice, dtls, remote.lite))
        self.remote = remote
        fresh = self._candidates.described(remote.ice.ufrag, remote.candidates)
        commands += self._wanted(fresh)
        if commands:
            self._engine.submit(*commands)

    def set_max_message_size(self, size: int | None, *, data: bool = True) -> None:
        """Take what the client's description says of data messages, in bytes; None: nothing, 0: as
        large as can be (RFC 8841 6). ``data``: it has a section for them."""
        allowed = _MESSAGE_SIZE if size is None else size or DATA_MESSAGE_MAX
        allowed = min(allowed, DATA_MESSAGE_MAX) if data else 0
        if allowed != self._message_size and self.created:
            self._message_size = allowed
            self._engine.submit(SetMaxMessageSize(self.id, allowed))

    def add_candidate(self, candidate: RemoteCandidate) -> None:
        """Take a trickled candidate."""
        if self._closed:
            return
        commands = self._wanted(self._candidates.add(candidate))
        if commands:
            self._engine.submit(*commands)

    def described_candidates(self) -> tuple[Candidate, ...]:
        """Local candidates, for a description that is complete."""
        return tuple(map(described_candidate, self.candidates))

    def trickle(self, fragment: IceFragment) -> None:
        """Take candidates of the client's generation. Raises :class:`SdpError`."""
        remote = self._described_by(fragment)
        if IceParameters(fragment.ufrag, fragment.pwd) != remote.ice:
            raise SdpError("ice credential mismatch: a=ice-ufrag and a=ice-pwd are not the offer's")
        for candidate in _usable(fragment.candidates):
            self.add_candidate(RemoteCandidate(candidate, fragment.ufrag))

    def restart_with(self, fragment: IceFragment) -> IceFragment:
        """Take the client's next ICE generation and return ours. With the generation that is
        there nothing restarts. Raises :class:`SdpError`."""
        remote = replace(
            self._described_by(fragment),
            ice=IceParameters(fragment.ufrag, fragment.pwd),
            candidates=_usable(fragment.candidates),
        )
        if self.restarts(remote):
            self.restart()
        self.set_remote(remote)
        return replace(
            fragment,
            ufrag=self.local.ufrag,
            pwd=self.local.pwd,
            candidates=self.described_candidates(),
            end_of_candidates=True,
            ice_lite=self.lite,
        )

    def _described_by(self, fragment: IceFragment) -> RemoteEnd:
        if self.remote is None:
            raise SdpError("no remote description")
        if fragment.mid != self.remote.mid:
            raise SdpError(
                f"media mid does not match bundle mid: {fragment.mid}, expected {self.remote.mid}"
            )
        return self.remote

    def handle_event(self, event: Event) -> None:
        """Take an event of this transport."""
        match event:
            case IceStateChanged():
                self.ice_state = event.state
                if event.local:
                    self.path = event
                if event.state is IceState.FAILED:
                    self.failure = "ICE failed"
                elif event.state in (IceState.CHECKING, IceState.CONNECTED) and not self.dead:
                    # After a failure only a restart leads here.
                    self.failure = ""
            case DtlsStateChanged():
                self.dtls_state = event.state
                self.srtp_profile = event.srtp_profile or self.srtp_profile
                self.dead = self.dead or event.state in (DtlsState.FAILED, DtlsState.CLOSED)
                if event.state is DtlsState.FAILED:
                    self.failure = f"DTLS failed: {event.reason}"
            case TransportClosed():
                self.ice_state, self.dtls_state = IceState.FAILED, DtlsState.CLOSED
                self.dead = True
                self.failure = event.reason or "closed by the engine"
            case _:
                return
        self.ever_connected = self.ever_connected or self.connected

    def close(self) -> None:
        """Close the engine's transport with all it carries. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._created:
                self._engine.release(CloseTransport(self.id))
