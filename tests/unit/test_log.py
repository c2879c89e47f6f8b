"""Log lines: LiveKit's keys, one line each, in both forms."""

from __future__ import annotations

import io
import json
import logging

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from lkpy.server.telemetry import log


@pytest.fixture
def stream():
    root, ours = logging.getLogger(), logging.getLogger("lkpy")
    before = (root.handlers[:], root.level, ours.level)
    yield io.StringIO()
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)


def test_text(stream: io.StringIO) -> None:
    log.configure(level="info", stream=stream)
    logger = logging.getLogger("lkpy.test")
    logger.debug("too quiet")
    logger.info("joined", extra=log.fields(room="a b", participant="x", track=None, count=3))
    line = stream.getvalue()
    assert line.endswith(' INFO    joined room="a b" participant=x count=3\n')


def test_a_value_cannot_forge_a_line(stream: io.StringIO) -> None:
    log.configure(level="info", stream=stream)
    forged = 'x"\n2026-01-01 ERROR forged'
    logging.getLogger("lkpy.test").info("joined", extra=log.fields(room=forged))
    assert stream.getvalue().count("\n") == 1


def test_json(stream: io.StringIO) -> None:
    log.configure(level="debug", as_json=True, stream=stream)
    logger = logging.getLogger("lkpy.test")
    logger.debug("joined", extra=log.fields(room="r", pID="PA_x", connID="CO_x"))
    try:
        int("inner")
    except ValueError:
        logger.exception("failed", extra=log.fields(node="ND_x"))
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["level"] == "debug"
    assert first["msg"] == "joined"
    assert (first["room"], first["pID"], first["connID"]) == ("r", "PA_x", "CO_x")
    assert second["node"] == "ND_x"
    assert "ValueError: invalid literal" in second["exception"]


def test_other_libraries_speak_from_warnings_up(stream: io.StringIO) -> None:
    log.configure(level="debug", stream=stream)
    logging.getLogger("somebody.else").info("chatter")
    logging.getLogger("aiohttp.access").warning("GET /rtc?access_token=secret")
    logging.getLogger("somebody.else").warning("trouble")
    assert "chatter" not in stream.getvalue()
    assert "secret" not in stream.getvalue()
    assert "trouble" in stream.getvalue()


def test_what_a_task_is_about(stream: io.StringIO) -> None:
    log.configure(level="debug", as_json=True, stream=stream)
    logger = logging.getLogger("lkpy.test")
    with log.about(room="r", participant="alice"):
        logger.info("joined")
        with log.about(pID="PA_x"):
            logger.warning("slow", extra=log.fields(track="TR_x"))
    logger.info("outside")
    first, second, third = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["room"], first["participant"]) == ("r", "alice")
    assert [second[key] for key in ("room", "participant", "pID", "track")] == [
        "r", "alice", "PA_x", "TR_x",
    ]  # fmt: skip
    assert "room" not in third


@pytest.mark.parametrize("as_json", [False, True])
def test_secrets_in_an_exception_are_taken_out(stream: io.StringIO, as_json: bool) -> None:
    log.configure(level="debug", as_json=as_json, stream=stream)
    error = ValueError("https://u:CANARY@h/x?sig=CANARY access_token=CANARY")
    logging.getLogger("somebody.else").error("failed", exc_info=error)
    assert "failed" in stream.getvalue()
    assert "CANARY" not in stream.getvalue()
    if as_json:
        assert json.loads(stream.getvalue())["msg"] == "failed"


def test_aiohttp_does_not_repeat_what_is_no_request(stream: io.StringIO) -> None:
    log.configure(level="info", stream=stream)
    server = logging.getLogger("aiohttp.server")
    for error in (BadHttpMessage("a piece of CANARY"), ValueError("inner")):
        server.error("Error handling request from %s", "192.0.2.7", exc_info=error)
    text = stream.getvalue()
    assert "INFO    refused what is no HTTP request error=BadHttpMessage\n" in text
    assert "ValueError: inner" in text
    assert "CANARY" not in text
    assert "192.0.2.7" not in text
