"""Names of enum values that clients send."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


@lru_cache(256)
def enum_name(enum: EnumTypeWrapper, value: int) -> str:
    """The value's name. Enums are open: a number that has no name is called as 0 is, which is
    ``UNKNOWN`` or the default."""
    descriptor = enum.DESCRIPTOR.values_by_number.get(value)
    return enum.Name(0) if descriptor is None else str(descriptor.name)
