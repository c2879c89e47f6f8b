"""How much is in a message, before anybody parses it.

Parsing costs by values, not by bytes: two bytes of protobuf or three of JSON make an object of a
hundred. What is here looks at bytes only, stops at the bound, and is pure.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_PER_VALUE = 4
"""Quotes, at most, of a value: those of its name and its own."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BITS_OF_WIRE_TYPE = 3
_LAST_SHIFT = 63
_NOT_PACKED = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_PACKED_WIDTHS = {
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
    FieldDescriptor.TYPE_DOUBLE: 8,
}


class TooMuchError(ValueError):
    """A message has more values, or is deeper, than is looked at."""


def check_json(text: bytes, *, max_values: int, max_depth: int = 100) -> None:
    """Raise :class:`TooMuchError` for JSON with more than ``max_values`` members and elements, or
    deeper than ``max_depth``. What is no JSON may pass: its parser will say so."""
    # Without escapes every quote begins or ends a string.
    plain = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > _PER_VALUE * max_values:
        raise TooMuchError(f"more than {max_values} fields")
    outside = b"".join(plain.split(b'"')[::2])
    brackets = outside.translate(None, _NO_BRACKETS)
    if outside.count(b",") + len(brackets) // 2 > max_values:
        raise TooMuchError(f"more than {max_values} fields")
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise TooMuchError(f"deeper than {max_depth}")


def check_protobuf(data: bytes, kind: Message | type[Message], *, max_values: int) -> None:
    """Raise :class:`TooMuchError` for a serialised message of this type with more than
    ``max_values`` fields and packed elements in all that it holds. What is no message may pass:
    its parser will say so."""
    left = max_values
    pending: list[tuple[int, int, Any]] = [(0, len(data), kind.DESCRIPTOR)]
    while pending:
        at, end, descriptor = pending.pop()
        known = descriptor.fields_by_number
        while at < end:
            tag, at = _varint(data, at, end)
            left -= 1
            wire_type = tag & 7
            if wire_type == _VARINT:
                _, at = _varint(data, at, end)
            elif wire_type == _FIXED64:
                at += 8
            elif wire_type == _FIXED32:
                at += 4
            elif wire_type == _BYTES:
                size, at = _varint(data, at, end)
                field = known.get(tag >> _BITS_OF_WIRE_TYPE) if size else None
                if field is not None and field.message_type is not None:
                    pending.append((at, min(at + size, end), field.message_type))
                elif field is not None and field.type not in _NOT_PACKED:
                    # A varint has at least one byte.
                    left -= min(size, end - at) // _PACKED_WIDTHS.get(field.type, 1)
                at += size
            if left < 0:
                raise TooMuchError(f"more than {max_values} fields")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of variable length, and where it ends; a malformed one ends the message."""
    value = shift = 0
    while at < end and shift <= _LAST_SHIFT:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return 0, end
