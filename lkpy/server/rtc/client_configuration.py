"""Static rules about broken devices (LiveKit ``pkg/clientconfiguration/conf.go``).

The rules are those of livekit-server 1.13.5, with that of 1.13.11 about AV1 in Firefox. H.264 of
Firefox on Linux is not published, as in 1.13.5; 1.13.11 says so of Android only.
"""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import models

from lkpy.server.rtc.client_info import compare_versions, is_firefox, is_safari

_AV1, _VP9, _H264 = "video/AV1", "video/VP9", "video/H264"


def client_configuration(client: models.ClientInfo) -> models.ClientConfiguration | None:
    """What a client must not do; None: no rule is about it."""
    never: list[str] = []
    never_publish: list[str] = []
    if is_safari(client):
        never.append(_AV1)
        if compare_versions(client.browser_version, "18.3") > 0:
            never_publish.append(_VP9)
    if is_firefox(client):
        never.append(_AV1)
    system = client.os.lower()
    xiaomi = system == "android" and client.device_model.lower() == "xiaomi 2201117ti"
    if xiaomi or (is_firefox(client) and system in ("linux", "android")):
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
