"""A token in words: who holds it, until when, and what it allows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from lkpy.auth.grants import Grants, VideoGrant
from lkpy.limits import TOKEN_LEEWAY_S


def describe(grants: Grants, *, api_key: str, now: float) -> list[str]:
    """One sentence a line; ``now`` is Unix seconds."""
    return [
        *_holder(grants, api_key),
        *_validity(grants, now),
        *(_video(grants.video) if grants.video is not None else ()),
        *_other(grants),
    ]


def _holder(grants: Grants, api_key: str) -> Iterator[str]:
    who = f"identity {grants.identity!r}" if grants.identity else "no identity"
    name = f", name {grants.name!r}" if grants.name else ""
    kind = f", kind {grants.kind}" if grants.kind not in ("", "standard") else ""
    yield f"Issued by API key {api_key!r} to {who}{name}{kind}."
    if grants.metadata:
        yield f"Carries {len(grants.metadata.encode())} bytes of metadata."
    if grants.attributes:
        yield f"Sets attributes: {', '.join(sorted(grants.attributes))}."


def _validity(grants: Grants, now: float) -> Iterator[str]:
    if not grants.expires_at:
        yield "Has no expiry, which servers refuse."
        return
    until = datetime.fromtimestamp(grants.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    left = grants.expires_at - now
    if left <= -TOKEN_LEEWAY_S:
        yield f"Expired {duration(-left)} ago, at {until}."
    else:
        yield f"Valid until {until}, {duration(max(0.0, left))} from now."
    if grants.not_before - TOKEN_LEEWAY_S > now:
        yield f"Not valid before {duration(grants.not_before - now)} from now."


def _video(video: VideoGrant) -> Iterator[str]:
    if video.room_join:
        where = f"room {video.room!r}" if video.room else "no room: a server will refuse it"
        yield f"May join {where}."
        yield f"In the room it {_abilities(video)}."
    if video.hidden:
        yield "Is hidden from other participants."
    if video.recorder:
        yield "Is a recorder."
    if video.room_admin:
        yield f"May administer room {video.room!r}: mute, remove, send data."
    if video.room_create:
        yield "May create and delete rooms."
    if video.room_list:
        yield "May list rooms."
    if video.room_record:
        yield "May record and stream rooms (egress)."
    if video.ingress_admin:
        yield "May manage ingress."
    if video.agent:
        yield "May register as an agent worker."
    if video.destination_room:
        yield f"May forward or move participants to room {video.destination_room!r}."


def _abilities(video: VideoGrant) -> str:
    sources = f" ({', '.join(video.can_publish_sources)} only)" if video.can_publish_sources else ""
    abilities = [
        (video.get_can_publish(), f"publish{sources}"),
        (video.get_can_subscribe(), "subscribe"),
        (video.get_can_publish_data(), "send data"),
        (video.get_can_update_own_metadata(), "change its own metadata"),
    ]
    can = [word for allowed, word in abilities if allowed]
    cannot = [word for allowed, word in abilities if not allowed]
    parts = [
        *([f"can {_listed(can, 'and')}"] if can else []),
        *([f"cannot {_listed(cannot, 'or')}"] if cannot else []),
    ]
    return ", but ".join(parts)


def _listed(words: list[str], last: str) -> str:
    head = ", ".join(words[:-1])
    return f"{head} {last} {words[-1]}" if head else words[-1]


def _other(grants: Grants) -> Iterator[str]:
    if grants.sip is not None and grants.sip.admin:
        yield "May manage SIP trunks and dispatch rules."
    if grants.sip is not None and grants.sip.call:
        yield "May make SIP calls."
    if grants.stats:
        yield "May see the statistics of a whole server (lkpy)."
    if grants.room_preset:
        yield f"Creates its room from preset {grants.room_preset!r}."
    if grants.room_config is not None:
        yield "Carries a configuration for the room it creates."


def duration(seconds: float) -> str:
    """``1 h 5 min``, ``12 s``: the two largest units."""
    total = int(seconds)
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, total = divmod(total, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
