"""Who we talk to is verified, whatever the environment says; and a MongoDB with a password and TLS works."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr
from pymongo.errors import PyMongoError

from certificates import Certificates, make_certificates
from jgi_stager.clients.globus import Globus
from jgi_stager.clients.http import HttpEdge
from jgi_stager.clock import ManualClock
from jgi_stager.failures import NeedsPerson, Service, Transient
from jgi_stager.secrets import Secrets
from jgi_stager.settings import GlobusSettings, NotificationSettings, Settings
from jgi_stager.store import Store, StoreRefused, StoreUnavailable, connect, projects
from mongod_support import admin, mongod

PASSWORD = "pl4nted-mongo-7d1f"
SWITCHES = {
    "REQUESTS_CA_BUNDLE": "",
    "CURL_CA_BUNDLE": "",
    "GLOBUS_SDK_VERIFY_SSL": "false",
    "PYTHONHTTPSVERIFY": "0",
}
"""What people set to get rid of an error, or find set."""


class Answering(BaseHTTPRequestHandler):
    """Says yes to everything, and remembers that it was asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


class QuietServer(ThreadingHTTPServer):
    """A failed handshake is what these tests are about."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Be quiet."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def https(certificates: Certificates) -> Iterator[int]:
    """The port of a web server whose certificate no system knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    server = QuietServer(("127.0.0.1", 0), Answering)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Answering.asked.clear()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def edge_to(port: int) -> Iterator[HttpEdge]:
    edge = HttpEdge(Service.JDP, f"https://127.0.0.1:{port}", 10)
    try:
        yield edge
    finally:
        edge.close()


def test_nothing_in_the_environment_switches_the_verification_off(
    https: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SWITCHES.items():
        monkeypatch.setenv(name, value)
    with edge_to(https) as edge, pytest.raises(Transient, match="no secure connection"):
        edge.get("/secret")
    assert not Answering.asked


def test_a_site_may_name_its_own_authority(
    https: int, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
    with edge_to(https) as edge:
        assert edge.get_json("/found") == {}
    assert Answering.asked == ["/found"]


def test_globus_is_verified_too(https: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SWITCHES.items():
        monkeypatch.setenv(name, value)
    for service in ("TRANSFER", "AUTH"):
        monkeypatch.setenv(f"GLOBUS_SDK_SERVICE_URL_{service}", f"https://127.0.0.1:{https}/")
    secret = tmp_path / "globus_client_secret"
    secret.write_text("s3cret")
    secret.chmod(0o600)
    globus = Globus(GlobusSettings(client_id="5d1f9c5e-7c1a-4b7e-9e53-0a1b2c3d4e5f"), Secrets(tmp_path))
    try:
        with pytest.raises(Transient):
            globus.probe()
    finally:
        globus.close()
    assert not Answering.asked


def test_a_mail_server_that_nobody_vouches_for_gets_nothing(https: int, tmp_path: Path) -> None:
    from email.message import EmailMessage

    from jgi_stager import mail

    settings = NotificationSettings(smtp_host="127.0.0.1", smtp_port=https, smtp_tls="tls", smtp_timeout_seconds=5)
    with pytest.raises(NeedsPerson, match="certificate of the mail server"):
        mail.send(EmailMessage(), ["a@b.org"], settings, Secrets(tmp_path))


@pytest.mark.parametrize(
    "option",
    [
        "tlsInsecure=true",
        "tlsAllowInvalidCertificates=true",
        "TLSALLOWINVALIDHOSTNAMES=1",
        "ssl_cert_reqs=CERT_NONE",
    ],
)
def test_the_address_of_the_database_cannot_switch_it_off(option: str) -> None:
    with pytest.raises(ValueError, match="tlsCAFile"):
        Settings.model_validate({"mongodb": {"uri": f"mongodb://u@h/?tls=true&{option}"}})
    Settings.model_validate({"mongodb": {"uri": "mongodb://u@h/?tls=true&tlsInsecure=false"}})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[int]:
    """A mongod as docs/install.md describes it: it wants TLS and a password."""
    home = tmp_path_factory.mktemp("guarded")
    with mongod(home) as port, admin(port) as client:
        roles = [{"role": role, "db": "jgi_stager"} for role in ("readWrite", "dbAdmin")]
        client.admin.command("createUser", "stager", pwd=PASSWORD, roles=roles)
    tls = ("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(certificates.server))
    with mongod(
        home,
        "--auth",
        *tls,
        "--tlsCAFile",
        str(certificates.authority),
        "--tlsAllowConnectionsWithoutCertificates",
    ) as port:
        with admin(port, tls=True, tlsCAFile=str(certificates.authority)) as client:
            client.admin.command("ping")
        yield port


def opened(uri: str, clock: ManualClock, password: str | None = PASSWORD) -> Store:
    return connect(uri, "jgi_stager", clock, password=SecretStr(password) if password else None, timeout_seconds=2)


def test_a_database_with_a_password_and_tls_is_used(
    guarded: int, certificates: Certificates, clock: ManualClock
) -> None:
    store = opened(f"mongodb://stager@127.0.0.1:{guarded}/?tls=true&tlsCAFile={certificates.authority}", clock)
    try:
        assert projects.insert_project(store, {"project_name": "soil"})
        assert len(projects.all_records(store)) == 1
    finally:
        store.close()


@pytest.mark.parametrize("password", ["wrong-pl4nted", None])
def test_a_wrong_password_is_refused_without_being_shown(
    guarded: int, certificates: Certificates, clock: ManualClock, password: str | None
) -> None:
    uri = f"mongodb://stager@127.0.0.1:{guarded}/?tls=true&tlsCAFile={certificates.authority}"
    with pytest.raises(StoreRefused) as caught:
        opened(uri, clock, password)
    assert "pl4nted" not in str(caught.value)


def test_a_database_that_nobody_vouches_for_is_not_used(guarded: int, clock: ManualClock) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        opened(f"mongodb://stager@127.0.0.1:{guarded}/?tls=true", clock)
    assert PASSWORD not in str(caught.value)


def test_without_a_user_nothing_is_shown(guarded: int, certificates: Certificates, clock: ManualClock) -> None:
    uri = f"mongodb://127.0.0.1:{guarded}/?tls=true&tlsCAFile={certificates.authority}"
    with pytest.raises((StoreRefused, PyMongoError)):
        opened(uri, clock)
