"""Signal frames: one protobuf message per WebSocket frame.

A binary frame is protobuf, a text frame is proto JSON, and the server answers in the form of the
last frame it received (livekit-server ``pkg/service/wsprotocol.go``).
"""

from __future__ import annotations

import enum
import json
from collections import OrderedDict
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from lkpy.errors import Code, LkpyError

M = TypeVar("M", bound=Message)

_JSON_DEPTH = 100
"""Nesting that protobuf's own parser allows too."""


class FrameError(LkpyError):
    """A frame holds no message of the expected type."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.MALFORMED, message)


class Encoding(enum.Enum):
    """How a frame carries its message."""

    BINARY = "binary"
    TEXT = "text"


def decode(frame: bytes | str, message_type: type[M]) -> M:
    """Read a binary (bytes) or text (str) frame. Unknown fields are kept or ignored, so an
    unknown request becomes a message whose oneof is not set."""
    message = message_type()
    try:
        if isinstance(frame, str):
            parse_json(frame, message)
        else:
            message.ParseFromString(frame)
    except (DecodeError, json_format.ParseError) as error:
        name = message_type.DESCRIPTOR.name
        raise FrameError(f"frame is not a {name}: {error}") from error
    return message


def parse_json(text: str | bytes, message: Message) -> None:
    """Read proto JSON from somebody else into ``message``; unknown fields are ignored.

    Raises :class:`json_format.ParseError`, whatever is wrong with the text.
    """
    opening: str | bytes = "{" if isinstance(text, str) else b"{"
    if text.lstrip()[:1] != opening:
        raise json_format.ParseError("expected a JSON object")
    try:
        json_format.Parse(
            text, message, ignore_unknown_fields=True, max_recursion_depth=_JSON_DEPTH
        )
    except (RecursionError, ValueError) as error:
        raise json_format.ParseError(str(error)) from error


def encode(message: Message, encoding: Encoding) -> bytes | str:
    """Write a message as the payload of a binary or text frame."""
    if encoding is Encoding.BINARY:
        return message.SerializeToString()
    values = json_format.MessageToDict(message)
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


class SharedEncoder:
    """Encodes a message that goes to many connections once.

    It remembers the last few messages by identity. A message handed to it must not change
    afterwards.
    """

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._frames: OrderedDict[tuple[int, Encoding], tuple[Message, bytes | str]] = OrderedDict()

    def encode(self, message: Message, encoding: Encoding) -> bytes | str:
        """The same as :func:`encode`."""
        key = (id(message), encoding)
        known = self._frames.get(key)
        # Holding the message keeps its id from being used again.
        if known is not None:
            return known[1]
        frame = encode(message, encoding)
        self._frames[key] = (message, frame)
        if len(self._frames) > self._size:
            self._frames.popitem(last=False)
        return frame
