"""Two daemons as processes on one MongoDB: when the first dies, stands still or is cut off, the second takes over
within two lives of the lease, nothing is done twice, and the first can write nothing any more."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from invariants import check_run
from jgi_stager import mail
from jgi_stager.lifecycle import RequestState, TaskState
from jgi_stager.models import Notice
from jgi_stager.service.lease import DUTY, Lease, owner_name, take
from jgi_stager.steps import daemon_alerts
from jgi_stager.store import LeaseLost, fencing, leases, projects, requests, tasks
from jgi_stager.store.embedded import EmbeddedMongod
from jgi_stager.stored import parse
from processes_of_a_test import (
    TIMEOUT_SECONDS,
    Site,
    check_all_arrived,
    settings,
    simulated_site,
    spawn,
    wait_for,
)
from proven import note_proven
from proxy import Proxy, Wire
from stage import Stage, small_catalogue, stage

LIFE = 2.0
"""Real seconds of the lease."""
SECTIONS = {"schedule": {"lease_seconds": LIFE}}
Documents = dict[str, list[dict[str, Any]]]


@dataclass
class Pair:
    """Two daemons, of which the first reaches its database through a network that can fail."""

    site: Site
    other: Site
    wire: Proxy
    books: Any
    """The database, past the network."""
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def other_log(self) -> Path:
        """What the second daemon said."""
        return self.site.home / "second.log"

    def start_second(self) -> subprocess.Popen[bytes]:
        """The second daemon, which stands by; it ends when nothing is left to do."""
        config = self.site.home / "second.toml"
        config.write_text(settings(self.other, SECTIONS))
        command = [sys.executable, "-m", "jgi_stager", "run", "--config", str(config), "--until-idle"]
        process = spawn(command, self.other_log, self.site.urls["environment"])
        self._started.append(process)
        wait_for(lambda: "standing_by" in self.other_log.read_text(), "the second daemon to stand by")
        return process

    def lease(self) -> dict[str, Any]:
        """Who works."""
        return self.books["leases"].find_one({"_id": DUTY}) or {}

    def reach(self, *states: str) -> None:
        """Wait until a file is in one of these states."""
        wait_for(lambda: self.books["files"].find_one({"state": {"$in": states}}), " or ".join(states))

    def documents(self) -> Documents:
        """Everything that daemons write."""
        return {name: list(self.books[name].find()) for name in fencing.FENCED}

    def take_over(self, since: datetime) -> None:
        """Wait until the second daemon works, and see that it did not take longer than two lives."""
        found = wait_for(lambda: (now := self.lease())["owner"] == owner_name(self.other.state) and now, "it")
        assert found["token"] == 2
        assert found["since"].replace(tzinfo=UTC) - since < timedelta(seconds=2 * LIFE)
        wait_for(lambda: self.lease().get("cleared") == 2, "the tokens of the first to be cleared away")
        assert set(fencing.fences(self.books).values()) == {2}

    def close(self) -> None:
        """Leave nothing running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def pair(tmp_path: Path, state_directory: Path) -> Iterator[Pair]:
    """A simulator, a MongoDB and the settings of two daemons; nothing runs yet but those."""
    with ExitStack() as stack:
        server, second = (Path(tempfile.mkdtemp(prefix="jgi-test-")) for _ in range(2))
        for directory in (server, second):
            stack.callback(shutil.rmtree, directory)
        uri = stack.enter_context(EmbeddedMongod(server))
        wire = stack.enter_context(Proxy(server / "wire.sock", server / "mongodb" / "mongod.sock"))
        site = stack.enter_context(simulated_site(tmp_path, state_directory, uri=wire.uri, sections=SECTIONS))
        client = stack.enter_context(MongoClient[dict[str, Any]](uri))
        found = Pair(site, replace(site, state=second, uri=uri, _started=[]), wire, client["jgi_stager"])
        stack.callback(found.close)
        yield found


def begun(pair: Pair, state: str) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """Both daemons, the first in the middle of its work and the second standing by."""
    first = pair.site.start()
    wait_for(lambda: pair.lease().get("token") == 1, "the first daemon")
    note_proven(pair.books)
    pair.books["projects"].insert_one({"project_name": "soil", "proposal_id": "503125"})
    second = pair.start_second()
    pair.reach(state, "done")
    assert pair.lease()["owner"] == owner_name(pair.site.state)
    return first, second


def check_end(pair: Pair, second: subprocess.Popen[bytes]) -> None:
    """Everything arrived once, and people were told once who works now."""
    assert second.wait(TIMEOUT_SECONDS) == 0
    assert {file["state"] for file in pair.books["files"].find()} == {"done"}
    check_all_arrived(pair.site)
    assert pair.site.outside()["pulled_more_than_once"] == {}
    said = pair.other_log.read_text()
    assert "step_bug" not in said
    assert "step_failed" not in said
    (notice,) = pair.books["notices"].find({"_id": {"$regex": "^trouble:takeover"}})
    assert notice["kind"] == "trouble"
    assert owner_name(pair.site.state) in notice["data"]["text"]
    assert owner_name(pair.other.state) in notice["data"]["text"]


def check_the_first_ends(pair: Pair, first: subprocess.Popen[bytes]) -> None:
    """It ends with an error in one line, and left nothing in the database since it was replaced."""
    assert first.wait(30) == 1
    said = pair.site.log.read_text()
    assert "Traceback" not in said
    assert "another daemon took over" in said.splitlines()[-1]
    left = [one for documents in pair.documents().values() for one in documents if one.get("fence") == 1]
    assert left == []


@pytest.mark.parametrize("state", ["restore_requested", "transferring"])
def test_a_daemon_that_is_killed_is_replaced(pair: Pair, state: str) -> None:
    first, second = begun(pair, state)
    first.kill()
    at = datetime.now(UTC)
    first.wait()
    pair.take_over(at)
    check_end(pair, second)


def test_a_daemon_that_stood_still_wakes_up_and_writes_nothing(pair: Pair) -> None:
    first, second = begun(pair, "restore_requested")
    first.send_signal(signal.SIGSTOP)
    pair.take_over(datetime.now(UTC))
    first.send_signal(signal.SIGCONT)
    check_the_first_ends(pair, first)
    check_end(pair, second)
    # The second gave its lease up at its end: that is no takeover to tell of.
    again = pair.site.start()
    wait_for(lambda: pair.lease()["token"] == 3, "the first daemon to work again")
    again.terminate()
    assert again.wait(20) == 0
    assert pair.books["notices"].count_documents({"_id": {"$regex": "^trouble:takeover"}}) == 1


@pytest.mark.parametrize("wire", [Wire.CUT, Wire.FROZEN])
def test_a_daemon_that_is_cut_off_is_replaced_and_ends_when_it_is_back(pair: Pair, wire: Wire) -> None:
    first, second = begun(pair, "restore_requested")
    pair.wire.be(wire)
    pair.take_over(datetime.now(UTC))
    pair.reach("done")
    assert first.poll() is None
    asked = len(pair.site.outside()["requests"])
    pair.wire.be(Wire.WHOLE)
    check_the_first_ends(pair, first)
    check_end(pair, second)
    assert len(pair.site.outside()["requests"]) >= asked


# --- the edges, with the steps of one daemon


def test_a_record_whose_claim_was_cut_off_is_still_valid(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim of its name has put the token into the record."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        lease = take(st.store, "first", 60)
        assert lease is not None
        goes_on(st, lease)
        st.insert()
        with monkeypatch.context() as patch:
            patch.setattr(projects, "set_project", _killed)
            with pytest.raises(KeyboardInterrupt):
                st.run("accept")
        st.run("accept")
        assert st.project()["state"] == "discovering"
        assert st.project()["fence"] == lease.token


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def replaced_at_the_last_moment(st: Stage) -> Lease:
    """Let the daemon of the stage be replaced just when it looks for the last time; the lease of the second."""
    st.store.leases.delete_many({})
    first = take(st.store, "first", 60)
    assert first is not None
    second: list[Lease] = []

    def assert_lease_held() -> None:
        st.store.leases.update_one({"_id": DUTY}, [{"$set": {"until": "$$NOW"}}])
        lease = take(st.store, "second", 60)
        assert lease is not None
        second.append(lease)
        first.assert_lease_held()

    st.ctx = replace(st.ctx, store=first.store, assert_lease_held=assert_lease_held)
    with pytest.raises(LeaseLost):
        st.run("request_restores", "fetch_manifests", "submit_transfers")
    (lease,) = second
    return lease


def goes_on(st: Stage, lease: Lease) -> None:
    """The second daemon, on the same stage."""
    st.ctx = replace(st.ctx, store=lease.store, assert_lease_held=lease.assert_lease_held)


def test_a_restore_that_was_about_to_be_asked_for_is_not(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.run("accept", "discover")
        second = replaced_at_the_last_moment(st)
        assert st.out.books()["requests"] == []
        (intent,) = requests.requests_in(second.store, RequestState.SUBMITTING)
        goes_on(st, second)
        st.run("request_restores")
        (doubted,) = requests.requests_in(second.store, RequestState.UNKNOWN)
        assert doubted.key == intent.key
        spent = requests.ledger(second.store, st.out.clock.now())
        assert intent.bytes in [entry.bytes for entry in spent if entry.in_doubt]
        st.drive(hours=96)
        check_run(st)


@pytest.mark.parametrize("state", ["restored", "manifest_ready"])
def test_a_transfer_that_was_about_to_be_submitted_is_not(tmp_path: Path, mongod_uri: str, state: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.until(state)
        before = len(st.out.books()["tasks"])
        second = replaced_at_the_last_moment(st)
        assert len(st.out.books()["tasks"]) == before
        (intent,) = tasks.tasks_in(second.store, TaskState.SUBMITTING)
        goes_on(st, second)
        st.drive(hours=72)
        check_run(st)
        sent = [one["submission_id"] for one in st.out.books()["tasks"]]
        assert sent.count(intent.submission_id) == 1


def test_a_takeover_is_told_in_plain_words(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        for owner, told in (("one:/home/a", 0), ("two:/home/b", 1)):
            st.store.leases.update_one({"_id": DUTY}, [{"$set": {"until": "$$NOW"}}])
            lease = take(st.store, owner, 60)
            assert lease is not None
            for _ in range(2):  # a restart tells nothing new
                daemon_alerts.note_takeover(st.ctx, lease.entry())
            assert st.store.notices.count_documents({"kind": "trouble"}) == told
        (notice,) = st.store.notices.find({"kind": "trouble"})
        letter = mail.render(parse(Notice, notice))
        assert "took over from the one on one" in letter.subject
        for words in ("two:/home/b", "one:/home/a", "journalctl -u jgi-stager", "stands by", "Nothing else"):
            assert words in letter.text
        assert leases.release_lease(st.store, DUTY, "two:/home/b", 2)
        third = take(st.store, "three:/home/c", 60)
        assert third is not None
        daemon_alerts.note_takeover(st.ctx, third.entry())
        assert st.store.notices.count_documents({"kind": "trouble"}) == 1
