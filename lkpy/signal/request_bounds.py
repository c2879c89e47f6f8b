"""What a signal message may hold: every repeated field and every string has a bound.

:data:`BOUNDS` is the only place for them; :func:`violation` checks a message right after it was
decoded, so that no handler has to. Bytes alone bound nothing: 2 MiB are a million empty messages,
which take 56 MB and seconds of Python. So :func:`too_much` looks at a frame before it is decoded.

livekit-server has no bounds here but that of a frame (``pkg/service/wsprotocol.go``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from lkpy.limits import (
    MAX_DATA_TRACKS,
    MAX_ENTRIES,
    MAX_IDS,
    MAX_MEDIA_SECTIONS,
    MAX_STRING,
    MAX_SUBSCRIPTIONS,
    SIGNAL_SPARSE_FRAME,
    SIGNAL_TEXT_FRAME,
    SIGNAL_TEXT_VALUES,
    SIGNAL_VALUES,
)
from lkpy.signal import weight

BOUNDS: Mapping[str, int] = {
    # Lists of ids that a client sends at a time.
    "subscription.track_sids": MAX_IDS,
    "subscription.participant_tracks": MAX_IDS,
    "subscription.participant_tracks.track_sids": MAX_IDS,
    "track_setting.track_sids": MAX_IDS,
    "update_data_subscription.updates": MAX_IDS,
    "update_metadata.attributes": MAX_IDS,
    "participant_attributes": MAX_IDS,
    # Everything there is: in a resume, and of the participants that a publisher lets subscribe.
    "subscription_permission.track_permissions": MAX_SUBSCRIPTIONS,
    "subscription_permission.track_permissions.track_sids": MAX_SUBSCRIPTIONS,
    "sync_state.subscription.track_sids": MAX_SUBSCRIPTIONS,
    "sync_state.subscription.participant_tracks": MAX_SUBSCRIPTIONS,
    "sync_state.subscription.participant_tracks.track_sids": MAX_SUBSCRIPTIONS,
    "sync_state.track_sids_disabled": MAX_SUBSCRIPTIONS,
    "sync_state.data_subscription.updates": MAX_SUBSCRIPTIONS,
    "sync_state.datachannel_receive_states": MAX_SUBSCRIPTIONS,
    "sync_state.publish_data_tracks": MAX_DATA_TRACKS,
    "sync_state.publish_tracks": MAX_MEDIA_SECTIONS,
    "sync_state.publish_tracks.track.layers": MAX_SUBSCRIPTIONS,
    "sync_state.publish_tracks.track.codecs": MAX_SUBSCRIPTIONS,
    "sync_state.publish_tracks.track.codecs.layers": MAX_SUBSCRIPTIONS,
    "sync_state.publish_tracks.track.audio_features": MAX_SUBSCRIPTIONS,
    "sync_state.publish_tracks.track.packet_trailer_features": MAX_SUBSCRIPTIONS,
    # One per media section.
    "offer.mid_to_track_id": MAX_MEDIA_SECTIONS,
    "answer.mid_to_track_id": MAX_MEDIA_SECTIONS,
    "sync_state.offer.mid_to_track_id": MAX_MEDIA_SECTIONS,
    "sync_state.answer.mid_to_track_id": MAX_MEDIA_SECTIONS,
    "publisher_offer.mid_to_track_id": MAX_MEDIA_SECTIONS,
    # What there are few of: codecs, layers, features, channels, regions.
    "add_track.layers": MAX_ENTRIES,
    "add_track.simulcast_codecs": MAX_ENTRIES,
    "add_track.simulcast_codecs.layers": MAX_ENTRIES,
    "add_track.audio_features": MAX_ENTRIES,
    "add_track.packet_trailer_features": MAX_ENTRIES,
    "update_layers.layers": MAX_ENTRIES,
    "update_audio_track.features": MAX_ENTRIES,
    "leave.regions.regions": MAX_ENTRIES,
    "sync_state.data_channels": MAX_ENTRIES,
    "client_info.capabilities": MAX_ENTRIES,
    "add_track_requests": MAX_ENTRIES,
    "add_track_requests.layers": MAX_IDS,
    "add_track_requests.simulcast_codecs": MAX_IDS,
    "add_track_requests.simulcast_codecs.layers": MAX_IDS,
    "add_track_requests.audio_features": MAX_IDS,
    "add_track_requests.packet_trailer_features": MAX_IDS,
}
"""Elements of a repeated field by its path from the message, all its parents together."""

UNBOUNDED = frozenset(
    {
        "sdp",  # By the parser, which says what is too much.
        "metadata",  # By ``limit.max_metadata_size``.
        "candidateInit",  # By the parser.
        "contents",  # By ``limit.max_data_blobs_size``.
    }
)
"""Strings that may be longer than :data:`lkpy.limits.MAX_STRING`, by their field's name."""


SMALL = 128
"""Bytes of a frame that has too few of anything to break a bound."""
_BYTES_PER_VALUE = 6
"""An id with its tag is 16 bytes, an entry of a map with its key and its value 20."""

Check: TypeAlias = Callable[[Sequence[Any]], str]
"""Checks one field of messages of one type: what is wrong, or nothing."""


def violation(message: Message) -> str:
    """The first bound that ``message`` breaks, in words; empty: none."""
    checks = _checks_by_number(message.DESCRIPTOR)
    # Of a message with a oneof of many only those that are set.
    for field, _ in message.ListFields():
        check = checks.get(field.number)
        if check is not None and (found := check([message])):
            return found
    return ""


def elements(message: Message) -> int:
    """How many elements its first-level repeated fields, and those of its request, have."""
    count = 0
    for field, value in message.ListFields():
        if field.is_repeated:
            count += len(value)
        elif field.message_type is not None:
            count += sum(len(v) for f, v in value.ListFields() if f.is_repeated)
    return count


@cache
def _checks_by_number(descriptor: Descriptor) -> Mapping[int, Check]:
    checks = ((field.number, _check(field, field.name)) for field in descriptor.fields)
    return {number: check for number, check in checks if check is not None}


def _violation(checks: Iterable[Check], messages: Sequence[Any]) -> str:
    for check in checks:
        found = check(messages)
        if found:
            return found
    return ""


@cache
def _checks(descriptor: Descriptor, prefix: str) -> tuple[Check, ...]:
    return tuple(
        check
        for field in descriptor.fields
        if (check := _check(field, f"{prefix}{field.name}")) is not None
    )


def _check(field: FieldDescriptor, path: str) -> Check | None:
    if field.is_repeated:
        return _check_repeated(field, path)
    if field.message_type is not None:
        return _check_message(field, path)
    if field.type == FieldDescriptor.TYPE_STRING and field.name not in UNBOUNDED:
        return _check_string(field.name, path)
    return None


def _check_repeated(field: FieldDescriptor, path: str) -> Check:
    name, bound = field.name, BOUNDS.get(path, MAX_ENTRIES)
    entry = field.message_type
    is_map = entry is not None and entry.GetOptions().map_entry
    is_text = field.type == FieldDescriptor.TYPE_STRING

    def check(messages: Sequence[Any]) -> str:
        lists = [getattr(message, name) for message in messages]
        if sum(map(len, lists)) > bound:
            return f"{path} has more than {bound} elements"
        if is_text:
            if any(len(text) > MAX_STRING for texts in lists for text in texts):
                return f"{path} has more than {MAX_STRING} characters"
        elif entry is not None and not is_map:
            within = [element for elements in lists for element in elements]
            return _violation(_checks(entry, f"{path}."), within) if within else ""
        return ""

    return check


def _check_message(field: FieldDescriptor, path: str) -> Check:
    name, inner = field.name, field.message_type

    def check(messages: Sequence[Any]) -> str:
        within = [getattr(message, name) for message in messages if message.HasField(name)]
        return _violation(_checks(inner, f"{path}."), within) if within else ""

    return check


def _check_string(name: str, path: str) -> Check:
    def check(messages: Sequence[Any]) -> str:
        if any(len(getattr(message, name)) > MAX_STRING for message in messages):
            return f"{path} has more than {MAX_STRING} characters"
        return ""

    return check


# -- before decoding ------------------------------------------------------------------------------


def too_much(frame: bytes | str, message_type: type[Message]) -> str:
    """Why a client's frame is not even decoded, which would take many times its size; empty: it
    may be. Counts no further than it has to."""
    try:
        if isinstance(frame, str):
            if len(frame) > SIGNAL_TEXT_FRAME:
                return f"text frame of more than {SIGNAL_TEXT_FRAME} characters"
            text = frame.encode(errors="surrogatepass")
            weight.check_json(text, max_values=SIGNAL_TEXT_VALUES)
        elif len(frame) > SIGNAL_SPARSE_FRAME:
            most = min(SIGNAL_VALUES, (SIGNAL_SPARSE_FRAME + len(frame)) // _BYTES_PER_VALUE)
            weight.check_protobuf(frame, message_type, max_values=most)
    except weight.TooMuchError as error:
        return f"frame is too much: {error}"
    return ""
