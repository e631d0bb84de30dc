"""Every answer of MongoDB is a sign of life of the step that asked."""

from __future__ import annotations

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from jgi_stager.pulse import beat


class Beating(CommandListener):
    """Runs in the thread that asked."""

    def started(self, event: CommandStartedEvent) -> None:
        """Asking is no sign of life."""

    def succeeded(self, event: CommandSucceededEvent) -> None:  # noqa: ARG002
        """Answered."""
        beat()

    def failed(self, event: CommandFailedEvent) -> None:  # noqa: ARG002
        """Refused or out of time: also an end of waiting."""
        beat()
