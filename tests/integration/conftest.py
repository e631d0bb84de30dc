"""What several integration tests stand on."""

from __future__ import annotations

import pytest

from smtp_server import Mailbox


@pytest.fixture
def mailbox() -> Mailbox:
    """What a mail server of the test took, and how it behaves."""
    return Mailbox()
