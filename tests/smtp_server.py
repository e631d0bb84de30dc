"""A real mail server on loopback that can refuse, delay and die, with TLS and a login where wanted."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from unittest import mock

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "stager", "correct horse"


@dataclass
class Mailbox:
    """What the server took, and how it behaves. Every list and switch may be changed while it runs."""

    mails: list[EmailMessage] = field(default_factory=list)
    taken_for: list[list[str]] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    """Address -> the answer to RCPT."""
    data_answers: list[str] = field(default_factory=list)
    """Answers to the next mails after DATA, first one first; ``die`` closes without an answer, having taken it."""
    sender_answer: str | None = None
    quit_answer: str | None = None
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    # --- the hooks of aiosmtpd; it calls them by name

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.sender_answer:
            return self.sender_answer
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        transport: Any = server.transport
        with self.lock:
            answer = self.data_answers.pop(0) if self.data_answers else "250 OK"
            if answer.startswith("250") or answer == "die":
                content = envelope.content or b""
                raw = content if isinstance(content, bytes) else content.encode()
                self.mails.append(message_from_bytes(raw, policy=default))
                self.taken_for.append(list(envelope.rcpt_tos))
                self.encrypted.append(transport.get_extra_info("sslcontext") is not None)
        if answer == "die":
            transport.abort()
            return "250 nobody hears this"
        return answer

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        return self.quit_answer or "221 Bye"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        """Whether the login is right."""
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        self.logins.append(mechanism)
        return AuthResult(success=right, handled=False)

    # --- for tests

    def subjects(self) -> list[str]:
        """The subjects of the mails, in the order in which they were taken, without the prefix."""
        return [str(mail["Subject"]).strip().removeprefix("[jgi-stager] ") for mail in self.mails]


@contextmanager
def mail_server(
    mailbox: Mailbox, *, tls: str = "none", certificate: Path | None = None, login: bool = False, port: int = 0
) -> Iterator[int]:
    """Run the server; its port. ``certificate`` is a PEM file with the key in it."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    options: dict[str, Any] = {"authenticator": mailbox.authenticate} if login else {}
    if login:
        # aiosmtpd knows of TLS only what STARTTLS made; with TLS from the first byte it warns for nothing.
        options |= {"auth_required": tls != "tls", "auth_require_tls": tls != "tls"}
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=port or free_port(),
        ssl_context=context if tls == "tls" else None,
        **options,
    )
    controller.start()
    try:
        yield int(controller.port)
    finally:
        controller.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificate(directory: Path) -> Path:
    """A self-signed certificate for localhost and its key, in one PEM file."""
    path = directory / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(path), "-out", "-"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(made.stdout)
    return path


@contextmanager
def trusting(certificate: Path) -> Iterator[None]:
    """Let TLS clients of this process trust the certificate."""
    with mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(certificate)}):
        yield
