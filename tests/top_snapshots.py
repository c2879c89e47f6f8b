"""A snapshot with a bit of everything, for the monitor's tests."""

from __future__ import annotations

from lkpy.stats.v1 import stats_pb2 as stats


def snapshot(*, rooms: int = 2, subscribers: int = 3, out_bps: float = 900_000.0) -> stats.Snapshot:
    """Rooms ``room-0`` …, each with one simulcast publisher and ``subscribers`` listeners, of whom
    the third has no room for the highest layer."""
    observed = stats.Snapshot(
        timestamp_ms=1_700_000_100_000,
        server=stats.Server(
            node_id="ND_test",
            version="0.1.0",
            started_at_ms=1_700_000_000_000,
            cpu_cores=0.41,
            memory_bytes=212_000_000,
            num_cpus=2,
            rooms=rooms,
            participants=rooms * (subscribers + 1),
            tracks=rooms,
            down_tracks=rooms * subscribers,
            bitrate_in_bps=1_450_000.0 * rooms,
            bitrate_out_bps=out_bps * rooms * subscribers,
            state="serving",
        ),
    )
    for number in range(rooms):
        room = observed.rooms.add(
            sid=f"RM_{number}",
            name=f"room-{number}",
            created_at_ms=1_700_000_040_000,
            bitrate_in_bps=1_450_000.0,
            bitrate_out_bps=out_bps * subscribers * (number + 1),
        )
        publisher = room.participants.add(
            sid=f"PA_{number}_pub",
            identity="publisher",
            state="active",
            kind="standard",
            bitrate_in_bps=1_450_000.0,
        )
        publisher.transports.add(
            target="publisher",
            ice_state="connected",
            protocol="udp",
            rtt_ms=1.2,
            estimate_bps=-1.0,
            capacity_bps=-1.0,
        )
        track = publisher.published.add(
            sid=f"TR_VC{number}",
            name="camera",
            kind="video",
            source="camera",
            mime_type="video/vp8",
            bitrate_bps=1_450_000.0,
            subscribers=subscribers,
        )
        for spatial, rid in enumerate("qhf"):
            track.layers.add(
                spatial=spatial,
                rid=rid,
                ssrc=100 + spatial,
                live=spatial < 2,
                packets=1000,
                bitrate_bps=1e5,
            )
        for index in range(subscribers):
            listener = room.participants.add(
                sid=f"PA_{number}_{index}",
                identity=f"viewer-{index}",
                state="active",
                kind="standard",
                bitrate_out_bps=out_bps,
            )
            short = index == 2
            listener.transports.add(
                target="subscriber",
                ice_state="connected",
                protocol="udp",
                rtt_ms=20.0,
                estimate_bps=640_000.0 if short else 2_400_000.0,
                capacity_bps=600_000.0 if short else -1.0,
            )
            listener.subscribed.add(
                track_sid=track.sid,
                publisher_identity="publisher",
                kind="video",
                mime_type="video/vp8",
                spatial=1 if short else index % 3,
                temporal=2,
                wanted_spatial=2,
                wanted_temporal=3,
                allowed_spatial=1 if short else 2,
                allowed_temporal=3,
                deficient=short,
                fraction_lost=0.1 if index == 1 else 0.0,
                bitrate_bps=out_bps,
                packets=500,
                active=True,
            )
    return observed
