"""Messages in JSON as Go's ``protojson`` writes them for Twirp: whoever reads fields by name finds
every one of them. Long lists are written in slices, between which everybody else has a turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from lkpy.slices import paced

_LONG = 16
"""Elements of a list that are written in one go."""


def full_dict(message: Message) -> dict[str, Any]:
    """Every field of ``message`` in its order, by its proto name; what is not set is zero, empty or
    null. Only members of a oneof and optional fields are left out."""
    values = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _completed(values, message)


def _completed(values: dict[str, Any], message: Message) -> dict[str, Any]:
    """``MessageToDict`` leaves out messages that are not set, and puts zeros at the end."""
    complete: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        name, value = field.name, values.get(field.name)
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            if name in values:
                complete[name] = value
        elif field.is_repeated:
            parts = zip(value or [], getattr(message, name), strict=True)
            complete[name] = [_completed(part, of) for part, of in parts]
        elif name in values:
            part = getattr(message, name)
            complete[name] = _completed(value, part) if isinstance(value, dict) else value
        elif field.containing_oneof is None:
            complete[name] = None
    return complete


def write_json(value: object) -> bytes:
    """JSON without spaces, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def in_slices(message: Message, to_dict: Callable[[Message], dict[str, Any]]) -> bytes:
    """What ``write_json(to_dict(message))`` gives, of a message that nobody changes meanwhile: the
    elements of its lists of messages are written one after the other, and the event loop has its
    turn after each slice."""
    lists = [
        field
        for field in message.DESCRIPTOR.fields
        if field.is_repeated
        and field.message_type is not None
        and not field.message_type.GetOptions().map_entry
        and len(getattr(message, field.name)) > _LONG
    ]
    if not lists:
        return write_json(to_dict(message))
    # Without its lists the message is short; they take the place of the empty ones.
    short = type(message)()
    for field, value in message.ListFields():
        if field not in lists:
            _copy(short, field.name, field.is_repeated, value)
    values = to_dict(short)
    parts = {field.name: await _list_in_slices(getattr(message, field.name), to_dict)
             for field in lists}  # fmt: skip
    members = [
        write_json(name) + b":" + (parts[name] if name in parts else write_json(value))
        for name, value in {**values, **dict.fromkeys(parts.keys() - values.keys())}.items()
    ]
    return b"{" + b",".join(members) + b"}"


async def _list_in_slices(
    items: Iterable[Message], to_dict: Callable[[Message], dict[str, Any]]
) -> bytes:
    written = [await in_slices(item, to_dict) async for item in paced(items)]
    return b"[" + b",".join(written) + b"]"


def _copy(message: Message, name: str, is_repeated: bool, value: Any) -> None:  # noqa: ANN401
    if is_repeated:
        getattr(message, name).MergeFrom(value)
    elif isinstance(value, Message):
        getattr(message, name).CopyFrom(value)
    else:
        setattr(message, name, value)
