"""Static rules about broken devices (LiveKit ``pkg/clientconfiguration/conf.go``)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from livekit.protocol import models

from lkpy.server.rtc.client_info import is_firefox, is_safari

_AV1, _VP9, _H264 = "video/AV1", "video/VP9", "video/H264"


def client_configuration(client: models.ClientInfo) -> models.ClientConfiguration | None:
    """What a client must not do; None: no rule is about it."""
    never: list[str] = []
    never_publish: list[str] = []
    if is_safari(client):
        never.append(_AV1)
        if _is_after_18_3(client.browser_version):
            never_publish.append(_VP9)
    if is_firefox(client):
        never.append(_AV1)
    xiaomi = client.device_model.lower() == "xiaomi 2201117ti"
    if client.os.lower() == "android" and (xiaomi or is_firefox(client)):
        never_publish.append(_H264)
    if not never and not never_publish:
        return None
    return models.ClientConfiguration(
        disabled_codecs=models.DisabledCodecs(
            codecs=[models.Codec(mime=mime) for mime in never],
            publish=[models.Codec(mime=mime) for mime in never_publish],
        )
    )


def publish_codecs(
    enabled: Iterable[models.Codec], configuration: models.ClientConfiguration | None
) -> tuple[models.Codec, ...]:
    """The room's codecs that this client may send."""
    disabled = _disabled(configuration, publish=True)
    return tuple(codec for codec in enabled if codec.mime.lower() not in disabled)


def subscribe_codecs(
    enabled: Iterable[models.Codec], configuration: models.ClientConfiguration | None
) -> tuple[models.Codec, ...]:
    """The room's codecs that this client may receive."""
    disabled = _disabled(configuration, publish=False)
    return tuple(codec for codec in enabled if codec.mime.lower() not in disabled)


def _disabled(configuration: models.ClientConfiguration | None, *, publish: bool) -> set[str]:
    if configuration is None:
        return set()
    disabled = {codec.mime.lower() for codec in configuration.disabled_codecs.codecs}
    if publish:
        disabled |= {codec.mime.lower() for codec in configuration.disabled_codecs.publish}
    return disabled


_SEMANTIC = re.compile(
    r"N(\.N(\.N(-P(\.P)*)?(\+B(\.B)*)?)?)?".replace("N", "(0|[1-9][0-9]*)")
    .replace("P", "(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)")
    .replace("B", "[0-9A-Za-z-]+")
)
"""A semantic version (semver.org), or the first one or two numbers of one."""


def _is_after_18_3(version: str) -> bool:
    """What is no semantic version compares as text (``match.go`` ruleSdkVersion)."""
    if _SEMANTIC.fullmatch(version) is None:
        return version > "18.3"
    numbers = re.split(r"[-+]", version, maxsplit=1)[0].split(".")
    # By length first: they have no leading zeros, and any number of digits.
    return [(len(number), number) for number in [*numbers, "0", "0"][:3]] > [
        (2, "18"),
        (1, "3"),
        (1, "0"),
    ]
