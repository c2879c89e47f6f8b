"""The first response of a session or of its resumption (LiveKit ``pkg/rtc/room.go``
createJoinResponseLocked, ResumeParticipant)."""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import models, rtc

from lkpy.baseline import AGENT_PROTOCOL, SIGNAL_PROTOCOL
from lkpy.limits import PING_INTERVAL_S, PING_TIMEOUT_S
from lkpy.server.rtc.options import NodeInfo


def join_response(
    *,
    room: models.Room,
    participant: models.ParticipantInfo,
    others: bytes,
    node: NodeInfo,
    ice_servers: Iterable[rtc.ICEServer],
    publish_codecs: Iterable[models.Codec],
    configuration: models.ClientConfiguration | None,
    subscriber_primary: bool,
    sif_trailer: bytes,
    any_path: bool,
) -> rtc.SignalResponse:
    """Describe the room to a participant that enters it. Without ``any_path`` it has had trouble
    to connect and should not publish before it has. ``others``: see
    :meth:`lkpy.server.rtc.roster.Roster.others`."""
    response = rtc.SignalResponse()
    join = rtc.JoinResponse(
        room=room,
        participant=participant,
        server_version=node.version,
        server_region=node.region,
        ice_servers=ice_servers,
        subscriber_primary=subscriber_primary,
        client_configuration=configuration,
        ping_interval=PING_INTERVAL_S,
        ping_timeout=PING_TIMEOUT_S,
        server_info=server_info(node),
        sif_trailer=sif_trailer,
        enabled_publish_codecs=_ordered(publish_codecs),
        fast_publish=participant.permission.can_publish and any_path,
    )
    response.join.CopyFrom(join)
    response.join.MergeFromString(others)
    return response


def reconnect_response(
    *,
    node: NodeInfo,
    ice_servers: Iterable[rtc.ICEServer],
    configuration: models.ClientConfiguration | None,
    last_message_seq: int,
) -> rtc.ReconnectResponse:
    """The first response to a resume; the client repeats its reliable data that is newer than
    ``last_message_seq``."""
    return rtc.ReconnectResponse(
        ice_servers=ice_servers,
        client_configuration=configuration,
        server_info=server_info(node),
        last_message_seq=last_message_seq,
    )


def server_info(node: NodeInfo) -> models.ServerInfo:
    """What clients and agents' workers are told of the server."""
    return models.ServerInfo(
        edition=models.ServerInfo.Standard,
        version=node.version,
        protocol=SIGNAL_PROTOCOL,
        agent_protocol=AGENT_PROTOCOL,
        region=node.region,
        node_id=node.id,
    )


def _ordered(codecs: Iterable[models.Codec]) -> list[models.Codec]:
    """VP8, then H.264, other video, audio; repairs are no codecs to choose."""
    first = {"video/vp8": 0, "video/h264": 1}

    def rank(codec: models.Codec) -> int:
        mime = codec.mime.lower()
        return first.get(mime, 2 if mime.startswith("video/") else 3)

    return sorted((c for c in codecs if c.mime.lower() != "video/rtx"), key=rank)
