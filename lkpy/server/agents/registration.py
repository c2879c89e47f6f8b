"""What a worker says of itself when it registers (livekit-server ``pkg/agent/worker.go``). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from livekit.protocol import agent, models

from lkpy.errors import Code, LkpyError

_MAX_DEPLOYMENT = 64
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Key:
    """What workers of one kind have in common: a job is given to one of them."""

    agent_name: str
    namespace: str
    job_type: agent.JobType
    deployment: str


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered worker."""

    key: Key
    permissions: models.ParticipantPermission
    """Of the agents that it sends."""
    api_key: str
    """Which signs their tokens."""
    version: str = ""


def register(request: agent.RegisterWorkerRequest, api_key: str) -> Registration:
    """Read a registration. Raises ``invalid_argument``."""
    if request.type not in agent.JobType.values():
        raise LkpyError(Code.INVALID_ARGUMENT, "unknown job type")
    check_deployment(request.deployment)
    permissions = models.ParticipantPermission(
        can_subscribe=True, can_publish=True, can_publish_data=True, can_update_metadata=True
    )
    if request.HasField("allowed_permissions"):
        permissions.CopyFrom(request.allowed_permissions)
    key = Key(request.agent_name, request.namespace, request.type, request.deployment)
    return Registration(key, permissions, api_key, request.version)


def check_deployment(deployment: str) -> None:
    """Raise ``invalid_argument`` for what cannot be a part of a topic's name (protocol
    ``agent/environment.go``)."""
    data = deployment.encode()
    problem = ""
    if len(data) > _MAX_DEPLOYMENT:
        problem = f"exceeds {_MAX_DEPLOYMENT} bytes"
    for position, byte in enumerate(data):
        if problem:
            break
        if byte == ord("_"):
            problem = "contains reserved character '_'"
        elif byte <= ord(" ") or byte == 0x7F:
            problem = f"contains whitespace or control byte at position {position}"
    if problem:
        raise LkpyError(Code.INVALID_ARGUMENT, f"deployment {problem}")
