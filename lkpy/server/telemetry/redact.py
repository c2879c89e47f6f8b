"""Takes secrets out of text that somebody will read: logs, printed configuration, debug routes.

What is looked for: tokens (by their form and by the names that they travel under), credentials of
``Authorization`` headers, what stands before the host or in the query of a URL (presigned URLs are
secrets as a whole), and the stream keys of RTMP and SRT.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from google.protobuf.message import Message

MASK = "********"

SECRET_NAMES = frozenset(
    {
        "access_key",
        "account_key",
        "credential",
        "credentials",
        "keys",
        "password",
        "secret",
        "session_token",
        "signing_key",
        "stream_key",
        "token",
    }
)
"""Last parts of the names of settings and protobuf fields whose values are never shown."""

_VALUE = r"[^\s&\"'\\#;,<>]*"
# What is redacted is somebody's text: every rule looks at a character a bounded number of times,
# since no two places at which it may begin share what it then looks through.
_RULES = (
    # Signed tokens, wherever they are: `eyJ` is how base64 begins an object.
    (("eyj",), re.compile(r"(?<![\w-])eyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?"), MASK),
    (("bearer", "basic"),
     re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{8,}"), rf"\1\2{MASK}"),
    (("authorization",),
     re.compile(rf"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?)(?!(?:bearer|basic)\s){_VALUE}"),
     rf"\1{MASK}"),
    (("rtmp", "srt"), re.compile(r"(?i)\b((?:rtmps?|srt)://)[^\s\"'\\<>]+"), rf"\1{MASK}"),
    (("://",), re.compile(r"(://)[^\s/?#@\"'\\<>]+@"), rf"\1{MASK}@"),
    (("://",), re.compile(r"(://(?:(?!://)[^\s?\"'\\<>])*+)\?[^\s\"'\\<>]+"), rf"\1?{MASK}"),
    # Parameters of requests, of which only the path is there.
    (("token=", "request=", "attributes=", "secret=", "password=", "credential=", "sig", "x-"),
     re.compile(
        rf"(?i)\b(access_token|join_request|attributes|token|secret|password|signature|credential"
        rf"|x-(?:amz|goog)-[a-z-]{{1,40}}|sig)=(?!\*){_VALUE}"),
     rf"\1={MASK}"),
)  # fmt: skip
"""What a text has in some case if a rule is about it, what to look for, what to put there."""

_ASSIGNED = re.compile(r"(--?)([\w.-]+)(=?)(.*)", re.DOTALL)


_WHOLE = frozenset({"config-body", "config_body"})
"""Options whose value is a whole configuration."""


def redact(text: str) -> str:
    """The same text with :data:`MASK` in the place of every secret."""
    # Most lines have nothing, and looking for words costs a tenth of looking for patterns.
    folded = text.casefold()
    for words, pattern, replacement in _RULES:
        if any(word in folded for word in words):
            text = pattern.sub(replacement, text)
    return text


def is_secret(name: str) -> bool:
    """Whether a setting or field holds a secret: ``redis.password``, ``api-secret``."""
    last = re.split(r"[.\s]", name)[-1].lower().replace("-", "_")
    return last in SECRET_NAMES or last.rpartition("_")[2] in {"secret", "password", "keys"}


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line without the values of options that are secret, and redacted otherwise."""
    shown: list[str] = []
    hide = False
    for argument in arguments:
        option = _ASSIGNED.fullmatch(argument)
        if hide and option is None:
            shown.append(MASK)
            hide = False
            continue
        hide = False
        if option is not None and (is_secret(option[2]) or option[2] in _WHOLE):
            hide = not option[3]
            shown.append(f"{option[1]}{option[2]}{f'={MASK}' if option[3] else ''}")
        else:
            shown.append(redact(argument))
    return shown


def holds_secrets(message: Message) -> bool:
    """Whether a protobuf message has a value in a field that is secret."""
    for field, value in message.ListFields():
        if is_secret(field.name):
            return True
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        inner = value if field.is_repeated else [value]
        if any(holds_secrets(each) for each in inner):
            return True
    return False
