"""Logs on a terminal and in a pipe: what comes from outside is shown, and steers nothing."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest
import structlog

from jgi_stager.clock import ManualClock
from jgi_stager.logs import configure_logging

EVIL = "\x1b]0;owned\x07\x1b[2J a\r\u202egpj.exe\x9b31m\ud800"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def log_it(clock: ManualClock, out: io.StringIO) -> str:
    configure_logging(clock, out)
    log = structlog.get_logger()
    log.warning("file_failed", file_name=EVIL, error=[EVIL], story={EVIL: 1})
    try:
        int(EVIL)
    except ValueError:
        log.exception("step_bug", document=EVIL)
    return out.getvalue()


def test_nothing_from_outside_steers_the_terminal(clock: ManualClock) -> None:
    said = COLOURS.sub("", log_it(clock, Terminal()))
    assert [char for char in said if not char.isprintable() and char != "\n"] == []
    assert r"\x1b]0;owned\x07\x1b[2J a\r\u202egpj.exe\x9b31m\ud800" in said
    assert "ValueError" in said


def test_in_a_pipe_it_is_json_in_plain_ascii(clock: ManualClock) -> None:
    said = log_it(clock, io.StringIO())
    assert said.isascii()
    assert [char for char in said if not char.isprintable() and char != "\n"] == []
    assert json.loads(said.splitlines()[0])["file_name"] == EVIL
