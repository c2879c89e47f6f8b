"""Faults that a client asks for, to see whether it survives them (livekit-server
``pkg/rtc/room.go`` onSimulateScenario)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from livekit.protocol import models, rtc

from lkpy.ids import ParticipantIdentity
from lkpy.limits import SIMULATED_DISCONNECT_S, SIMULATED_DISCONNECTS_SILENT
from lkpy.server.rtc.ice_preference import IcePreference
from lkpy.server.rtc.signals import Action

if TYPE_CHECKING:
    from lkpy.server.rtc.participant import Participant

logger = logging.getLogger(__name__)

_Reason = models.DisconnectReason
_LOUD = 0.9


@dataclass(slots=True)
class _Silent:
    until: float
    left: int = SIMULATED_DISCONNECTS_SILENT


class ResumeFaults:
    """Resumes that a client wants to fail. Pure; told ``now``. Entries are of participants that
    are here, and go with them."""

    def __init__(self) -> None:
        self._after_messages: dict[ParticipantIdentity, float] = {}
        self._silent: dict[ParticipantIdentity, _Silent] = {}

    def arm(self, now: float, identity: ParticipantIdentity, *, silent: bool) -> None:
        """The next resume loses its signal connection; ``silent``: before any message, as often
        as the service layer tries by itself."""
        if silent:
            self._silent[identity] = _Silent(now + SIMULATED_DISCONNECT_S)
        else:
            self._after_messages[identity] = now + SIMULATED_DISCONNECT_S

    def drops_at_once(self, now: float, identity: ParticipantIdentity) -> bool:
        """Whether a resume ends before any message."""
        armed = self._silent.get(identity)
        if armed is None:
            return False
        drops = now < armed.until
        armed.left -= 1
        if not drops or armed.left <= 0:
            del self._silent[identity]
        return drops

    def drops_after_messages(self, now: float, identity: ParticipantIdentity) -> bool:
        """Whether a resume ends after its first messages."""
        return now < self._after_messages.pop(identity, now)

    def forget(self, identity: ParticipantIdentity) -> None:
        """The participant left."""
        self._after_messages.pop(identity, None)
        self._silent.pop(identity, None)


def speaker_update(participant: Participant, seconds: int) -> None:
    """It speaks, for whoever receives it, and falls silent again."""
    room, sid = participant.room, participant.sid
    room.tell_speakers([models.SpeakerInfo(sid=sid, level=_LOUD, active=True)])
    room.timers.set(
        (sid, "simulated speaker"),
        participant.now() + max(0, seconds),
        lambda: room.tell_speakers([models.SpeakerInfo(sid=sid)]),
    )


def node_failure(participant: Participant, _: bool) -> None:
    """The session is gone and nobody said so."""
    participant.room.close_participant(participant, _Reason.SERVER_SHUTDOWN, None)


def migration(participant: Participant, _: bool) -> None:
    """The session is gone, to be continued elsewhere."""
    participant.room.close_participant(participant, _Reason.MIGRATION, None)


def server_leave(participant: Participant, _: bool) -> None:
    """The server sends the participant away."""
    participant.room.close_participant(participant, _Reason.SERVER_SHUTDOWN, Action.DISCONNECT)


def switch_candidate_protocol(participant: Participant, protocol: rtc.CandidateProtocol) -> None:
    """Only TCP, or only relays, are good enough from now on."""
    known = {preference.value: preference for preference in IcePreference}
    participant.ice.prefer(known.get(protocol, IcePreference.ANY))
    participant.connectivity.repair()
    participant.transports.resume(participant.now())


def disconnect_signal_on_resume(participant: Participant, _: bool) -> None:
    """The next resume loses its signal connection after its first messages."""
    faults = participant.room.resume_faults
    faults.arm(participant.now(), participant.identity, silent=False)


def disconnect_signal_on_resume_no_messages(participant: Participant, _: bool) -> None:
    """The next resume loses its signal connection before any message."""
    faults = participant.room.resume_faults
    faults.arm(participant.now(), participant.identity, silent=True)


def subscriber_bandwidth(participant: Participant, bps: int) -> None:
    """As if the participant could receive ``bps`` bits per second of video; 0: what it can."""
    participant.transports.override_capacity(bps)


Scenario: TypeAlias = Callable[["Participant", Any], None]

SCENARIOS: Mapping[str, Scenario] = {
    "speaker_update": speaker_update,
    "node_failure": node_failure,
    "migration": migration,
    "server_leave": server_leave,
    "subscriber_bandwidth": subscriber_bandwidth,
    "switch_candidate_protocol": switch_candidate_protocol,
    "disconnect_signal_on_resume": disconnect_signal_on_resume,
    "disconnect_signal_on_resume_no_messages": disconnect_signal_on_resume_no_messages,
}
"""By the name of the scenario's field. ``leave_request_full_reconnect`` does nothing, as in
LiveKit."""


def simulate(participant: Participant, request: rtc.SimulateScenario) -> None:
    """Let the scenario happen."""
    name = request.WhichOneof("scenario")
    scenario = None if name is None else SCENARIOS.get(name)
    if name is None or scenario is None:
        logger.debug("scenario %s is not simulated", name)
    else:
        scenario(participant, getattr(request, name))
