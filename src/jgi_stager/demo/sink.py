"""``python -m jgi_stager.demo.sink DIRECTORY PORT_FILE``: a mail server that keeps every mail as a file."""

from __future__ import annotations

import asyncio
import contextlib
import email
import re
import signal
import sys
from email import policy
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP

HOST = "127.0.0.1"


class Mailbox:
    """Writes each mail to ``0001-subject.eml``; a reader sees whole files only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Called by aiosmtpd with each mail."""
        self._count += 1
        subject = str(email.message_from_bytes(envelope.content, policy=policy.default)["Subject"] or "")
        slug = re.sub(r"[^a-z0-9]+", "-", subject.lower()).strip("-")[:60] or "mail"
        path = self._directory / f"{self._count:04d}-{slug}.eml"
        fresh = path.with_suffix(".new")
        fresh.write_bytes(envelope.content)
        fresh.replace(path)
        return "250 OK"


async def serve(directory: Path, port_file: Path) -> None:
    """Take mails on a free port, which is written to ``port_file``, until SIGTERM."""
    loop = asyncio.get_running_loop()
    mailbox = Mailbox(directory)
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="localhost", loop=loop), HOST, 0)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    fresh = port_file.with_suffix(".new")
    fresh.write_text(str(server.sockets[0].getsockname()[1]), encoding="utf-8")
    fresh.replace(port_file)
    await stop.wait()
    server.close()


def subjects(directory: Path) -> list[str]:
    """The subjects of the mails in the mailbox, in the order they came."""
    found = []
    for path in sorted(directory.glob("*.eml")):
        mail = email.message_from_bytes(path.read_bytes(), policy=policy.default)
        found.append(str(mail["Subject"] or ""))
    return found


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
