"""What a client can do, by what it says it is (LiveKit ``pkg/rtc/clientinfo.go``)."""

from __future__ import annotations

import re

from livekit.protocol import models


def is_firefox(client: models.ClientInfo) -> bool:
    """Firefox on any system."""
    return client.browser.lower() in ("firefox", "firefox mobile")


def is_safari(client: models.ClientInfo) -> bool:
    """Safari on any system."""
    return client.browser.lower() == "safari"


def supports_audio_red(client: models.ClientInfo) -> bool:
    """Whether it can receive RED (RFC 2198)."""
    return not is_firefox(client) and not is_safari(client)


def keeps_answer_codec_order(client: models.ClientInfo) -> bool:
    """Whether it sends the first codec of an answer; others must be given one codec only."""
    return not (is_firefox(client) and client.os.lower() in ("linux", "android"))


def supports_transceiver_reuse(client: models.ClientInfo) -> bool:
    """Whether a media section may carry another track later (protocol 4, not Safari)."""
    return client.protocol >= 4 and not is_safari(client)


def supports_sync_streams(client: models.ClientInfo) -> bool:
    """Whether tracks of one stream may come and go one by one (protocol 10, not Firefox)."""
    return client.protocol >= 10 and not is_firefox(client)


def supports_codec_change(client: models.ClientInfo) -> bool:
    """Whether a track it receives may go on in another codec; else it has to be another track."""
    return client.sdk not in (models.ClientInfo.GO, models.ClientInfo.UNKNOWN)


def supports_packet_trailer(client: models.ClientInfo) -> bool:
    """Whether it takes the trailer off frames itself; to others it would be media."""
    return models.ClientInfo.CAP_PACKET_TRAILER in client.capabilities


def supports_ice_lite(client: models.ClientInfo) -> bool:
    """Whether it nominates properly towards a lite agent (protocol 6, not Firefox)."""
    return client.protocol >= 6 and not is_firefox(client)


def supports_ice_tcp(client: models.ClientInfo) -> bool:
    """Whether it dials ICE-TCP candidates (not Go, not Swift before 1.0.5)."""
    if client.sdk == models.ClientInfo.SWIFT:
        return compare_versions(client.version, "1.0.5") >= 0
    return client.sdk != models.ClientInfo.GO


def sets_join_offer_late(client: models.ClientInfo) -> bool:
    """Whether it may read an answer before it has set the offer that it joined with (Go)."""
    return client.sdk == models.ClientInfo.GO


def supports_reconnect_response(client: models.ClientInfo) -> bool:
    """Whether it knows the response that begins a resumed session (not JS before 1.6.3)."""
    return client.sdk != models.ClientInfo.JS or compare_versions(client.version, "1.6.3") >= 0


def takes_sessions_by_identity(client: models.ClientInfo) -> bool:
    """Whether a session is, to it, the one before of the same identity (protocol 12)."""
    return client.protocol >= 12


def supports_negotiated_channels(client: models.ClientInfo) -> bool:
    """Whether it has LiveKit's data channels without being told of them (protocol 18)."""
    return client.protocol >= 18


def compare_versions(ours: str, theirs: str) -> int:
    """Compare two SDKs' versions: negative, 0 or positive. Of three numbers, what is none is 0."""
    ours_parts, theirs_parts = _version(ours), _version(theirs)
    return (ours_parts > theirs_parts) - (ours_parts < theirs_parts)


def _version(text: str) -> list[int]:
    parts = [*text.split("."), "", ""][:3]
    return [int(part) if re.fullmatch(r"[+-]?[0-9]{1,18}", part) else 0 for part in parts]
