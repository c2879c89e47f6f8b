"""Trickled candidates: ``RTCIceCandidateInit`` as JSON, both ways (W3C webrtc-pc 4.8.1)."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field

from livekit.protocol import rtc

from lkpy.engine.api import IceCandidate
from lkpy.limits import CANDIDATE_MAX, MAX_REMOTE_CANDIDATES
from lkpy.sdp import Candidate, SdpError


def described_candidate(
    candidate: IceCandidate, extensions: tuple[tuple[str, str], ...] = ()
) -> Candidate:
    """One of our candidates as a description has it."""
    return Candidate(
        foundation=candidate.foundation,
        component=candidate.component,
        protocol=candidate.protocol,
        priority=candidate.priority,
        address=candidate.address,
        port=candidate.port,
        type=candidate.type,
        tcp_type=candidate.tcp_type,
        extensions=extensions,
    )


def candidate_init(candidate: IceCandidate, *, ufrag: str, mid: str, index: int) -> str:
    """One of our candidates as JSON, for the media section that carries the transport."""
    return json.dumps(
        {
            "candidate": str(described_candidate(candidate, (("ufrag", ufrag),))),
            "sdpMid": mid,
            "sdpMLineIndex": index,
            "usernameFragment": None,
        },
        separators=(",", ":"),
    )


def trickle_requests(candidates: list[str], target: rtc.SignalTarget) -> list[rtc.TrickleRequest]:
    """One message per candidate; the last says that there are no more."""
    return [
        rtc.TrickleRequest(candidateInit=text, target=target, final=position == len(candidates))
        for position, text in enumerate(candidates, 1)
    ]


@dataclass(frozen=True, slots=True)
class RemoteCandidate:
    """A client's candidate and the ICE generation it names, if it names one."""

    candidate: IceCandidate
    ufrag: str | None


def parse_candidate_init(text: str) -> RemoteCandidate | None:
    """Parse a client's candidate. None: it says nothing that we could use.

    That is the end of candidates, mDNS names (they are for the client's own network), TCP (clients
    dial us, we never dial them) and the RTCP component. Raises :class:`lkpy.sdp.SdpError`.
    """
    if len(text) > CANDIDATE_MAX:
        raise SdpError(f"candidate is longer than {CANDIDATE_MAX} characters")
    try:
        init = json.loads(text)
    except (ValueError, RecursionError):
        raise SdpError("candidate is not JSON") from None
    if not isinstance(init, dict):
        raise SdpError("candidate is not a JSON object")
    value = init.get("candidate") or ""
    ufrag = init.get("usernameFragment")
    if not isinstance(value, str) or not isinstance(ufrag, str | None):
        raise SdpError("candidate has members of the wrong type")
    if not value.strip():
        return None
    parsed = Candidate.parse(value)
    usable = usable_candidate(parsed)
    return None if usable is None else RemoteCandidate(usable, ufrag or parsed.ufrag)


_TYPES = ("host", "srflx", "prflx", "relay")


def usable_candidate(candidate: Candidate) -> IceCandidate | None:
    """The candidate as the engine takes it; None: it is of no use (see above)."""
    if candidate.protocol != "udp" or candidate.component != 1 or candidate.port == 0:
        return None
    if candidate.type not in _TYPES:
        return None
    try:
        address = ipaddress.ip_address(candidate.address)
    except ValueError:
        return None
    if address.is_unspecified or address.is_multicast or "%" in candidate.address:
        return None
    return IceCandidate(
        foundation=candidate.foundation,
        component=candidate.component,
        protocol=candidate.protocol,
        priority=candidate.priority,
        address=str(address),
        port=candidate.port,
        type=candidate.type,
    )


@dataclass(slots=True)
class RemoteCandidates:
    """A client's candidates in the order they came, held back until its description is known.

    Candidates may overtake the offer that begins their ICE generation, so those of an unknown
    generation wait for it. At most :data:`lkpy.limits.MAX_REMOTE_CANDIDATES` count per generation.
    """

    ufrag: str | None = None
    """The client's current generation; None before its first description."""
    _waiting: list[RemoteCandidate] = field(default_factory=list)
    _taken: set[IceCandidate] = field(default_factory=set)

    def add(self, candidate: RemoteCandidate) -> list[IceCandidate]:
        """Return what to give to the engine now."""
        if self.ufrag is not None and candidate.ufrag in (None, self.ufrag):
            return self._take([candidate.candidate])
        if len(self._waiting) < MAX_REMOTE_CANDIDATES:
            self._waiting.append(candidate)
        return []

    def described(self, ufrag: str, candidates: list[IceCandidate]) -> list[IceCandidate]:
        """A description with this ufrag came, with ``candidates`` in it."""
        if ufrag != self.ufrag:
            self.ufrag = ufrag
            self._taken.clear()
        waiting, self._waiting = self._waiting, []
        fitting = [w.candidate for w in waiting if w.ufrag in (None, ufrag)]
        return self._take(candidates + fitting)

    def _take(self, candidates: list[IceCandidate]) -> list[IceCandidate]:
        fresh: list[IceCandidate] = []
        for candidate in candidates:
            if candidate not in self._taken and len(self._taken) < MAX_REMOTE_CANDIDATES:
                self._taken.add(candidate)
                fresh.append(candidate)
        return fresh
