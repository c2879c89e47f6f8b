"""What a User-Agent header says, for clients that do not describe themselves.

Only the browsers and systems that change how a session is set up are told apart; LiveKit's uap
rules know hundreds more, whose names would only be displayed.
"""

from __future__ import annotations

import re

from livekit.protocol import models

_BROWSERS = (
    ("OBS Studio", re.compile(r"OBS-Studio/([0-9.]+)|OBS/([0-9.]+)")),
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/([0-9.]+)")),
    ("Opera", re.compile(r"OPR/([0-9.]+)")),
    ("Firefox", re.compile(r"Firefox/([0-9.]+)|FxiOS/([0-9.]+)")),
    ("Chrome", re.compile(r"Chrome/([0-9.]+)|CriOS/([0-9.]+)")),
    ("Safari", re.compile(r"Version/([0-9.]+).*Safari/")),
)
"""In order: Chrome's name is part of most others', Safari's of Chrome's."""

_SYSTEMS = (
    ("Android", re.compile(r"Android ?([0-9.]*)")),
    ("iOS", re.compile(r"(?:iPhone OS|CPU OS) ([0-9_]+)")),
    ("Mac OS X", re.compile(r"Mac OS X ([0-9_.]+)")),
    ("Windows", re.compile(r"Windows NT ([0-9.]+)")),
    ("Linux", re.compile(r"Linux()")),
)

_DESCRIBED_BY_BROWSER = frozenset(
    {
        models.ClientInfo.SDK.Value("JS"),
        models.ClientInfo.SDK.Value("REACT_NATIVE"),
        models.ClientInfo.SDK.Value("FLUTTER"),
        models.ClientInfo.SDK.Value("UNITY"),
        models.ClientInfo.SDK.Value("UNKNOWN"),
    }
)


def _first(rules: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> tuple[str, str]:
    for name, pattern in rules:
        match = pattern.search(text)
        if match:
            version = next((group for group in match.groups() if group), "")
            return name, version.replace("_", ".")
    return "Other", ""


def augment(client: models.ClientInfo, user_agent: str) -> None:
    """Fill in the browser and system that the client left out, for SDKs that run in browsers."""
    if client.sdk not in _DESCRIBED_BY_BROWSER:
        return
    if not client.browser:
        client.browser, client.browser_version = _first(_BROWSERS, user_agent)
    if not client.os:
        client.os, client.os_version = _first(_SYSTEMS, user_agent)
