"""The three views of ``lkpy top``: a snapshot and a path in, a table out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lkpy.stats.v1 import stats_pb2 as stats
from lkpy.text import one_line
from lkpy.top import units
from lkpy.top.model import Column, History, Path, Row, Table, View

Cell = tuple[str, float | str]

ROOM_COLUMNS = (
    Column("room", "ROOM", 14, left=True, flexible=True),
    Column("age", "AGE", 7, priority=3),
    Column("participants", "PART", 5),
    Column("publishers", "PUB", 4, priority=2),
    Column("tracks", "TRK", 4, priority=1),
    Column("down", "DOWN", 5, priority=2),
    Column("in", "IN", 6),
    Column("out", "OUT", 6),
    Column("loss", "LOSS%", 6, priority=1),
    Column("history", "OUT TREND", 20, priority=4, left=True),
)

PARTICIPANT_COLUMNS = (
    Column("identity", "IDENTITY", 14, left=True, flexible=True),
    Column("state", "STATE", 7, left=True),
    Column("kind", "KIND", 8, priority=4, left=True),
    Column("sdk", "SDK", 10, priority=5, left=True),
    Column("pc", "PC", 6, priority=6, left=True),
    Column("up", "UP", 3),
    Column("down", "DN", 4),
    Column("in", "IN", 6),
    Column("out", "OUT", 6),
    Column("est", "EST", 6, priority=1),
    Column("cap", "CAP", 6, priority=4),
    Column("loss", "LOSS%", 6, priority=1),
    Column("rtt", "RTT", 5, priority=1),
    Column("ice", "ICE", 9, priority=3, left=True),
    Column("age", "AGE", 7, priority=4),
)

TRACK_COLUMNS = (
    Column("direction", "", 2, left=True),
    Column("track", "TRACK", 15, left=True, flexible=True),
    Column("peer", "FROM/TO", 10, priority=3, left=True),
    Column("source", "SOURCE", 12, priority=4, left=True),
    Column("codec", "CODEC", 5, left=True),
    Column("layer", "LAYER", 6, left=True),
    Column("limit", "LIMIT", 5, priority=2, left=True),
    Column("bitrate", "RATE", 6),
    Column("fps", "FPS", 4, priority=2),
    Column("loss", "LOSS%", 6),
    Column("jitter", "JIT", 5, priority=3),
    Column("rtt", "RTT", 5, priority=1),
    Column("nack", "NACK", 5, priority=3),
    Column("pli", "PLI", 4, priority=3),
    Column("packets", "PKTS", 6, priority=5),
    Column("state", "STATE", 6, priority=2, left=True),
)

_STALLED = "stall"
"""The state of a track that should flow and does not."""


def build(
    snapshot: stats.Snapshot, path: Path, history: History, *, ascii_only: bool = False
) -> Table | None:
    """Return the table of ``path``, or None when what it points at has gone."""
    if path.room is None:
        rows = tuple(_room_row(snapshot, room, history, ascii_only) for room in snapshot.rooms)
        return Table(View.ROOMS, "rooms", ROOM_COLUMNS, rows, "out")
    room = next((room for room in snapshot.rooms if room.sid == path.room), None)
    if room is None:
        return None
    if path.participant is None:
        members = tuple(_participant_row(snapshot, who) for who in room.participants)
        return Table(View.PARTICIPANTS, one_line(room.name), PARTICIPANT_COLUMNS, members, "out")
    who = next((who for who in room.participants if who.sid == path.participant), None)
    if who is None:
        return None
    names = {track.sid: track.name for other in room.participants for track in other.published}
    tracks = tuple(_track_rows(who, names, ascii_only=ascii_only))
    title = one_line(f"{room.name} / {who.identity}")
    return Table(View.TRACKS, title, TRACK_COLUMNS, tracks, "")


def _row(key: str, cells: Iterable[Cell], *, dim: bool = False, alert: bool = False) -> Row:
    texts, values = zip(*cells, strict=True)
    return Row(key, texts, values, dim, alert)


def _text(value: str) -> Cell:
    """A cell of others' words: identities, names and SDKs are what clients say they are."""
    return one_line(value) or "-", value


def _count(value: int) -> Cell:
    return units.scaled(value), float(value)


def _rate(value: float) -> Cell:
    return units.bitrate(value), value


def _loss(value: float) -> Cell:
    return units.percent(value), value


def _ms(value: float) -> Cell:
    return units.milliseconds(value), value


def _age(now_ms: int, since_ms: int) -> Cell:
    seconds = (now_ms - since_ms) / 1000 if since_ms else -1.0
    return (units.age(seconds) if seconds >= 0 else "-"), seconds


def _room_row(
    snapshot: stats.Snapshot, room: stats.Room, history: History, ascii_only: bool
) -> Row:
    loss = max(
        (down.fraction_lost for who in room.participants for down in who.subscribed), default=-1.0
    )
    return _row(
        room.sid,
        (
            _text(room.name),
            _age(snapshot.timestamp_ms, room.created_at_ms),
            _count(len(room.participants)),
            _count(sum(bool(who.published) for who in room.participants)),
            _count(sum(len(who.published) for who in room.participants)),
            _count(sum(len(who.subscribed) for who in room.participants)),
            _rate(room.bitrate_in_bps),
            _rate(room.bitrate_out_bps),
            _loss(loss),
            (units.sparkline(history.of(room.sid), 20, ascii_only=ascii_only), 0.0),
        ),
        alert=loss > 0.05,
    )


def _participant_row(snapshot: stats.Snapshot, who: stats.Participant) -> Row:
    loss = max((down.fraction_lost for down in who.subscribed), default=-1.0)
    rtt = max((transport.rtt_ms for transport in who.transports), default=-1.0)
    ice = next((t.ice_state for t in who.transports if t.ice_state), "")
    protocol = next((t.protocol for t in who.transports if t.protocol), "")
    return _row(
        who.sid,
        (
            _text(who.identity),
            _text(who.state),
            _text(who.kind),
            _text(f"{who.sdk} {who.sdk_version}".strip() if who.sdk != "unknown" else ""),
            _text(who.topology),
            _count(len(who.published)),
            _count(len(who.subscribed)),
            _rate(who.bitrate_in_bps),
            _rate(who.bitrate_out_bps),
            _rate(max((transport.estimate_bps for transport in who.transports), default=-1.0)),
            _rate(max((transport.capacity_bps for transport in who.transports), default=-1.0)),
            _loss(loss),
            _ms(rtt),
            _text(f"{ice}/{protocol}" if protocol and ice != "connected" else protocol or ice),
            _age(snapshot.timestamp_ms, who.joined_at_ms),
        ),
        dim=who.state != "active",
        alert=loss > 0.05
        or ice in ("disconnected", "failed")
        or any(down.deficient for down in who.subscribed),
    )


def _codec(mime_type: str) -> str:
    return mime_type.rpartition("/")[2]


def _track_rows(
    who: stats.Participant, names: Mapping[str, str], *, ascii_only: bool
) -> Iterable[Row]:
    up, down = ("^", "v") if ascii_only else ("↑", "↓")
    for track in who.published:
        yield _published_row(track, up)
        if len(track.layers) > 1:
            for layer in track.layers:
                yield _layer_row(track, layer)
    for subscribed in who.subscribed:
        yield _subscribed_row(subscribed, names.get(subscribed.track_sid, ""), down)


def _published_row(track: stats.Track, arrow: str) -> Row:
    layers = track.layers
    packets = sum(layer.packets for layer in layers)
    lost = sum(layer.packets_lost for layer in layers)
    live = sum(layer.live for layer in layers)
    return _row(
        track.sid,
        (
            (arrow, "up"),
            _text(_named(track.name or track.sid, track)),
            (f"{track.subscribers} subs", str(track.subscribers)),
            _text(track.source),
            _text(_codec(track.mime_type)),
            (f"{live}/{len(layers)}", float(live)),
            _text(""),
            _rate(track.bitrate_bps),
            _fps(max((layer.frames_per_second for layer in layers), default=0.0), track.kind),
            _loss(lost / (packets + lost) if packets + lost > 0 else -1.0),
            _ms(max((layer.jitter_ms for layer in layers), default=-1.0)),
            _ms(-1.0),
            _count(sum(layer.nacks_sent for layer in layers)),
            _count(sum(layer.plis_sent for layer in layers)),
            _count(packets),
            _text(_published_state(track, live)),
        ),
        dim=track.muted,
        alert=track.stalled_s > 0,
    )


def _published_state(track: stats.Track, live: int) -> str:
    if track.muted:
        return "muted"
    if track.stalled_s > 0:
        return _STALLED
    return "live" if live else "silent"


def _named(name: str, track: stats.Track | stats.DownTrack) -> str:
    """The name, and why the track does not flow though it should."""
    return f"{name}: {track.stall_cause.replace('_', ' ')}" if track.stalled_s > 0 else name


def _layer_row(track: stats.Track, layer: stats.Layer) -> Row:
    total = layer.packets + layer.packets_lost
    return _row(
        f"{track.sid}/{layer.spatial}",
        (
            ("", "up"),
            (f"  {one_line(layer.rid) or 'ssrc ' + str(layer.ssrc)}", layer.rid),
            ("", ""),
            ("", track.source),
            ("", _codec(track.mime_type)),
            (f"S{layer.spatial}", float(layer.spatial)),
            ("", ""),
            _rate(layer.bitrate_bps),
            _fps(layer.frames_per_second, track.kind),
            _loss(layer.packets_lost / total if total > 0 else -1.0),
            _ms(layer.jitter_ms),
            _ms(-1.0),
            _count(layer.nacks_sent),
            _count(layer.plis_sent),
            _count(layer.packets),
            _text("live" if layer.live else "off"),
        ),
        dim=not layer.live,
    )


def _subscribed_row(down: stats.DownTrack, name: str, arrow: str) -> Row:
    flowing = down.spatial >= 0
    layer = f"S{down.spatial}T{down.temporal}" if flowing and down.kind == "video" else "-"
    return _row(
        f"{down.track_sid}/{down.ssrc}",
        (
            (arrow, "down"),
            _text(_named(name or down.track_sid, down)),
            _text(down.publisher_identity),
            _text(down.source),
            _text(_codec(down.mime_type)),
            (layer, float(down.spatial)),
            _limit(down),
            _rate(down.bitrate_bps),
            _fps(-1.0, down.kind),
            _loss(down.fraction_lost),
            _ms(down.jitter_ms),
            _ms(down.rtt_ms),
            _count(down.nacks_received),
            _count(down.plis_received),
            _count(down.packets),
            _text(_state(down)),
        ),
        dim=down.muted,
        alert=down.fraction_lost > 0.05 or down.deficient or down.stalled_s > 0,
    )


def _state(down: stats.DownTrack) -> str:
    if down.muted:
        return "muted"
    if down.paused:
        return "paused"
    if down.stalled_s > 0:
        return _STALLED
    return "live" if down.active else "waits"


def _limit(down: stats.DownTrack) -> Cell:
    """The layer for which there is room / the one that is wanted, where those differ."""
    if not down.deficient:
        return "-", ""
    if down.paused:
        text = f"-/S{down.wanted_spatial}"
    elif down.allowed_spatial != down.wanted_spatial:
        text = f"S{down.allowed_spatial}/S{down.wanted_spatial}"
    else:
        text = f"T{down.allowed_temporal}/T{down.wanted_temporal}"
    return text, text


def _fps(value: float, kind: str) -> Cell:
    return (f"{value:.0f}" if value >= 0 and kind == "video" else "-"), value
