"""Logs: readable on a terminal, JSON otherwise. Event names are fixed words; ids are fields."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from jgi_stager.clock import Clock
from jgi_stager.formatting import escaped

# Without the values of variables, which structlog shows by default: among them are passwords and tokens.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=30)
)


def configure_logging(clock: Clock, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Set up structlog for this process. Times are those of ``clock``, so a scaled run reads consistently."""
    out = stream or sys.stderr

    def stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["at"] = clock.now().isoformat(timespec="seconds")
        return event

    renderer: Any = structlog.processors.JSONRenderer(default=str)
    if out.isatty():
        renderer = structlog.dev.ConsoleRenderer(timestamp_key="at", exception_formatter=_traceback_for_a_terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            _for_a_terminal if out.isatty() else _TRACEBACKS,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    # The scheduler says at each tick that the last run is not over yet: that is by design, not news.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)


def _for_a_terminal(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Values come from outside, too: what could steer a terminal is shown, not sent. (JSON escapes it anyway, and
    so does the ``repr`` of what is no text.)"""
    return {key: escaped(value) if isinstance(value, str) else value for key, value in event.items()}


def _traceback_for_a_terminal(out: TextIO, exception: structlog.typing.ExcInfo) -> None:
    whole = io.StringIO()
    structlog.dev.plain_traceback(whole, exception)
    out.write(escaped(whole.getvalue(), keep="\n\t"))
