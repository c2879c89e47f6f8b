"""The application: every command of ``lkpy room``."""

from __future__ import annotations

from lkpy.cli.room import moderate, participants
from lkpy.cli.room.commands import app

app.add_typer(participants.app, name="participants")

__all__ = ["app", "moderate"]
