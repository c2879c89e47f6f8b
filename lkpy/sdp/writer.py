"""Description to text."""

from __future__ import annotations

from lkpy.sdp.model import (
    MediaDescription,
    SessionDescription,
    Simulcast,
    TransportAttributes,
)


def write(description: SessionDescription) -> str:
    """Return ``description`` as text with CRLF line ends."""
    lines = [
        "v=0",
        f"o={description.origin}",
        f"s={description.name}",
        *description.other_lines,
        f"t={description.timing}",
    ]
    lines += [f"a=group:{' '.join((g.semantics, *g.mids))}" for g in description.groups]
    if description.extmap_allow_mixed:
        lines.append("a=extmap-allow-mixed")
    if description.msid_semantic is not None:
        lines.append(f"a=msid-semantic:{description.msid_semantic}")
    if description.ice_lite:
        lines.append("a=ice-lite")
    _transport(lines, description.transport)
    lines += [f"a={candidate}" for candidate in description.candidates]
    _attributes(lines, description.attributes)
    for media in description.media:
        _media(lines, media)
    lines.append("")
    return "\r\n".join(lines)


def _media(lines: list[str], media: MediaDescription) -> None:
    formats = media.formats
    if media.codecs:
        formats = tuple(str(codec.payload_type) for codec in media.codecs)
    lines.append(f"m={media.kind} {media.port} {media.protocol} {' '.join(formats)}")
    if media.connection is not None:
        lines.append(f"c={media.connection}")
    lines += [f"b={value}" for value in media.bandwidth]
    lines += [f"a={candidate}" for candidate in media.candidates]
    if media.end_of_candidates:
        lines.append("a=end-of-candidates")
    _transport(lines, media.transport)
    if media.mid is not None and not media.mid_implied:
        lines.append(f"a=mid:{media.mid}")
    if media.bundle_only:
        lines.append("a=bundle-only")
    if media.extmap_allow_mixed:
        lines.append("a=extmap-allow-mixed")
    for extension in media.header_extensions:
        direction = f"/{extension.direction}" if extension.direction else ""
        attributes = f" {extension.attributes}" if extension.attributes else ""
        lines.append(f"a=extmap:{extension.id}{direction} {extension.uri}{attributes}")
    if media.direction is not None:
        lines.append(f"a={media.direction}")
    lines += [f"a=msid:{msid.stream} {msid.track}".rstrip() for msid in media.msids]
    if media.rtcp_mux:
        lines.append("a=rtcp-mux")
    if media.rtcp_rsize:
        lines.append("a=rtcp-rsize")
    for codec in media.codecs:
        lines += codec.lines
    for group in media.ssrc_groups:
        lines.append(f"a=ssrc-group:{group.semantics} {' '.join(map(str, group.ssrcs))}")
    for ssrc, attributes_of in media.ssrcs.items():
        for name, value in attributes_of.items():
            lines.append(f"a=ssrc:{ssrc} {name}:{value}" if value else f"a=ssrc:{ssrc} {name}")
    for rid in media.rids:
        lines.append(f"a=rid:{rid.id} {rid.direction} {rid.restrictions}".rstrip())
    if media.simulcast is not None:
        lines.append(_simulcast(media.simulcast))
    if media.sctp_port is not None:
        lines.append(f"a=sctp-port:{media.sctp_port}")
    if media.max_message_size is not None:
        lines.append(f"a=max-message-size:{media.max_message_size}")
    _attributes(lines, media.attributes)


def _transport(lines: list[str], transport: TransportAttributes) -> None:
    if transport.ice_ufrag is not None:
        lines.append(f"a=ice-ufrag:{transport.ice_ufrag}")
    if transport.ice_pwd is not None:
        lines.append(f"a=ice-pwd:{transport.ice_pwd}")
    if transport.ice_options is not None:
        lines.append(f"a=ice-options:{transport.ice_options}")
    lines += [f"a=fingerprint:{f.algorithm} {f.value}" for f in transport.fingerprints]
    if transport.setup is not None:
        lines.append(f"a=setup:{transport.setup}")


def _simulcast(simulcast: Simulcast) -> str:
    parts = []
    if simulcast.send:
        parts.append(f"send {';'.join(simulcast.send)}")
    if simulcast.recv:
        parts.append(f"recv {';'.join(simulcast.recv)}")
    return f"a=simulcast:{' '.join(parts)}"


def _attributes(lines: list[str], attributes: list[tuple[str, str | None]]) -> None:
    lines += [f"a={name}" if value is None else f"a={name}:{value}" for name, value in attributes]
