"""The second channel: what cannot wait also goes through Apprise, once, whatever the mail server does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from http_server import LocalServer, Request, local_server, reply
from jgi_stager.mail.push import SECRET
from jgi_stager.notices import Kind
from jgi_stager.store import notices
from mail_samples import SAMPLES
from smtp_server import free_port
from stage import Stage, stage

pytest.importorskip("apprise")
# A plugin of Apprise that is not used here still imports it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")


@dataclass
class Channel:
    """A service that takes messages; ``statuses`` are its next answers, then all is well."""

    server: LocalServer
    statuses: list[int]

    @property
    def requests(self) -> list[Request]:
        """What arrived."""
        return self.server.requests

    @property
    def address(self) -> str:
        """How Apprise calls it."""
        return f"{self.server.url.replace('http:', 'json:')}/a-token"


@pytest.fixture
def channel() -> Iterator[Channel]:
    statuses: list[int] = []
    with local_server(lambda _: reply(statuses.pop(0) if statuses else 200, {})) as server:
        yield Channel(server, statuses)


@pytest.fixture
def daemon(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """A daemon whose mail server is away."""
    sections = {"notifications": {"mailto": ["site@example.org"], "smtp_port": free_port()}}
    with stage(tmp_path, mongod_uri, sections=sections) as made:
        yield made


def put(daemon: Stage, kind: Kind) -> str:
    key = f"{kind.value}:x"
    assert notices.put_notice(daemon.store, key, kind=kind.value, data=SAMPLES[kind], to=[], project="soil")
    return key


def test_what_cannot_wait_is_pushed_once_though_the_mail_server_is_away(daemon: Stage, channel: Channel) -> None:
    daemon.write_secret(SECRET, channel.address)
    put(daemon, Kind.NEEDS_PERSON)
    put(daemon, Kind.DIGEST)
    for _ in range(3):
        daemon.run("send_notices")
        daemon.out.clock.advance(3600)
    (pushed,) = channel.requests
    assert pushed.json()["title"].startswith("[jgi-stager] needs you: the JDP session token is refused")
    assert "jgi-stager token set jdp" in pushed.json()["message"]
    kept = notices.get_notice(daemon.store, "needs_person:x")
    assert kept is not None
    assert kept.state == "waiting"


def test_a_channel_that_fails_is_tried_again_and_holds_up_nothing(daemon: Stage, channel: Channel) -> None:
    channel.statuses.append(500)
    daemon.write_secret(SECRET, channel.address)
    put(daemon, Kind.DONE)
    daemon.run("send_notices")
    daemon.run("send_notices")
    assert len(channel.requests) == 1
    daemon.out.clock.advance(700)
    daemon.run("send_notices")
    daemon.out.clock.advance(700)
    daemon.run("send_notices")
    assert len(channel.requests) == 2


def test_without_the_secret_nothing_is_pushed_and_an_address_that_is_none_is_only_logged(
    daemon: Stage, channel: Channel
) -> None:
    put(daemon, Kind.DONE)
    daemon.run("send_notices")
    daemon.write_secret(SECRET, "nonsense://x y")
    daemon.run("send_notices")
    assert channel.requests == []
    (event,) = [one for one in daemon.events if one["event"] == "push_failed"]
    assert "nonsense" not in str(event)


def test_the_addresses_never_reach_a_log(
    daemon: Stage, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    channel.statuses.append(500)
    daemon.write_secret(SECRET, channel.address)
    put(daemon, Kind.DONE)
    daemon.run("send_notices")
    assert "a-token" not in caplog.text
    assert "a-token" not in str(daemon.events)
