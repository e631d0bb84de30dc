"""Logs: readable on a terminal, JSON otherwise. Event names are fixed words; ids are fields."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from jgi_stager.clock import Clock

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
        renderer = structlog.dev.ConsoleRenderer(
            timestamp_key="at", exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            _TRACEBACKS if not out.isatty() else _keep,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    # The scheduler says at each tick that the last run is not over yet: that is by design, not news.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)


def _keep(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return event
