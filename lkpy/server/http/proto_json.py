"""Messages in JSON as Go's ``protojson`` writes them for Twirp: whoever reads fields by name finds
every one of them."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message


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
