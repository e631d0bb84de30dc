"""``python mailbox.py DIRECTORY PORT_FILE USER PASSWORD_FILE``: a mail server that wants a login and keeps every
mail as a file. A process of its own, so that nothing of it is left when it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Keeper:
    """Writes each mail to a file; a reader sees whole files only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Called by aiosmtpd with each mail."""
        self._count += 1
        path = self._directory / f"{self._count:04d}.eml"
        fresh = path.with_suffix(".new")
        fresh.write_bytes(envelope.content)
        fresh.replace(path)
        return "250 kept"


async def serve(directory: Path, port_file: Path, user: str, password: str) -> None:
    """Take mails on a free port, which is written to ``port_file``, until SIGTERM."""

    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and data.login == user.encode()
        return AuthResult(success=right and data.password == password.encode())

    def made() -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a login without TLS: here it stays on loopback
            return SMTP(
                keeper,
                hostname="localhost",
                loop=loop,
                authenticator=check,
                auth_required=True,
                auth_require_tls=False,
            )

    loop = asyncio.get_running_loop()
    keeper = Keeper(directory)
    server = await loop.create_server(made, "127.0.0.1", 0)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    fresh = port_file.with_suffix(".new")
    fresh.write_text(str(server.sockets[0].getsockname()[1]), encoding="utf-8")
    fresh.replace(port_file)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    secret = Path(sys.argv[4]).read_text(encoding="utf-8").strip()
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], secret))
