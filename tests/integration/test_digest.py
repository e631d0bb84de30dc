"""The digest, and what is told of failures, stalls and the daemon itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.store import Document, Store, control
from outbox import SITE
from smtp_server import Mailbox
from stage import Stage
from watched import drive, small_site, wait

OTHER = "other@example.org"
DAY = 24.0


@pytest.fixture
def daemon(tmp_path: Path, mongod_uri: str, mailbox: Mailbox) -> Iterator[Stage]:
    """A daemon with a small quota, so that a project takes days, and a mail server."""
    with small_site(tmp_path, mongod_uri, mailbox) as made:
        yield made


def digests(daemon: Stage) -> list[Document]:
    return daemon.notices("digest")


def test_a_digest_a_day_while_anything_moves_and_none_after(daemon: Stage) -> None:
    daemon.insert()
    drive(daemon, hours=20 * DAY)
    days = [one["created"].date() for one in digests(daemon)]
    assert len(days) == len(set(days)) >= 3
    assert {one["created"].hour for one in digests(daemon)} == {6}
    before = len(days)
    wait(daemon, hours=4 * DAY, minutes=120)
    # One more says that it is done, then there is nothing to say.
    assert len(digests(daemon)) - before <= 1


def test_a_digest_adds_up_and_compares_with_the_one_before(daemon: Stage) -> None:
    daemon.insert()
    drive(daemon, hours=20 * DAY)
    pages = [one["data"]["projects"][0] for one in digests(daemon)]
    done = 0
    for page in pages:
        assert page["done_files"] == done + page["new_files"]
        assert page["share"] == page["done_bytes"] / page["bytes"]
        done = page["done_files"]
    first = digests(daemon)[0]["data"]
    assert first["quota"]["total"] == 4000
    assert first["moved"]["files"] == pages[0]["new_files"]
    assert pages[0]["eta"]["early"] <= pages[0]["eta"]["late"]
    assert sum(int(words.split()[0]) for words in pages[0]["where"]) == 16 - pages[0]["done_files"]


def test_no_digest_while_nothing_changes(daemon: Stage) -> None:
    daemon.insert()
    wait(daemon, hours=30, minutes=30)
    daemon.faults({"match": "jdp.*", "kind": "status:503"})
    wait(daemon, hours=24, minutes=120)
    before = len(digests(daemon))
    wait(daemon, hours=3 * DAY, minutes=120)
    assert len(digests(daemon)) == before


def test_a_restart_neither_repeats_a_digest_nor_forgets_what_it_said(daemon: Stage) -> None:
    daemon.insert()
    for _ in range(36):
        wait(daemon, hours=2, minutes=60)
        daemon.restart()
    days = [one["created"].date() for one in digests(daemon)]
    assert len(days) == len(set(days)) == 3
    assert all(one["data"]["moved"]["files"] <= 12 for one in digests(daemon))


def test_a_kill_between_the_digest_and_the_note_of_what_it_said_loses_no_digest(
    daemon: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.insert(notify=[OTHER])
    real = control.keep_digest

    def killed(store: Store, said: Mapping[str, Any]) -> None:
        if "projects" in said:
            raise KeyboardInterrupt
        real(store, said)

    monkeypatch.setattr(control, "keep_digest", killed)
    with pytest.raises(KeyboardInterrupt):
        wait(daemon, hours=2 * DAY, minutes=60)
    monkeypatch.undo()
    daemon.restart()
    wait(daemon, hours=2, minutes=60)
    assert [(one["to"], one["state"]) for one in digests(daemon)] == [([SITE], "sent"), ([OTHER], "sent")]


def test_people_of_a_project_get_a_digest_of_theirs_alone(daemon: Stage, mailbox: Mailbox) -> None:
    daemon.insert("one", biosample_ids=["Gb0258001"], notify=[OTHER])
    daemon.insert("two", biosample_ids=["Gb0258002"])
    wait(daemon, hours=22, minutes=60)
    site, theirs = sorted(digests(daemon), key=lambda one: str(one["_id"]))
    assert (site["to"], theirs["to"]) == ([SITE], [OTHER])
    assert [one["name"] for one in site["data"]["projects"]] == ["one", "two"]
    assert [one["name"] for one in theirs["data"]["projects"]] == ["one"]
    text = mailbox.mails[-1].get_body(["plain"])
    assert text is not None
    assert "two" not in text.get_content().split()


def test_the_digest_says_what_needs_a_person_and_why_it_takes_longer(daemon: Stage) -> None:
    daemon.insert()
    wait(daemon, hours=40, minutes=60)
    daemon.switch(jdp_token_revoked=True)
    wait(daemon, hours=4 * DAY, minutes=120)
    daemon.switch(jdp_token_revoked=False)
    wait(daemon, hours=DAY, minutes=60)
    needs = [line for one in digests(daemon) for line in one["data"]["needs"]]
    assert any("run: jgi-stager token set jdp" in line for line in needs)
    moved = [
        page["moved_why"]
        for one in digests(daemon)
        for page in one["data"]["projects"]
        if page.get("moved_seconds", 0) > 0
    ]
    assert any("JDP waited for a person for" in why for why in moved), moved


def test_an_old_digest_that_could_not_leave_gives_way_to_the_new_one(daemon: Stage, mailbox: Mailbox) -> None:
    port = daemon.settings.notifications.smtp_port
    daemon.restart(notifications={"smtp_port": 9})
    daemon.insert()
    wait(daemon, hours=3 * DAY, minutes=120)
    daemon.restart(notifications={"smtp_port": port})
    wait(daemon, hours=3, minutes=30)
    assert [one["state"] for one in digests(daemon)] == ["withdrawn", "withdrawn", "sent"]


def test_the_digest_can_be_switched_off(daemon: Stage) -> None:
    daemon.restart(notifications={"digest": False})
    daemon.insert()
    wait(daemon, hours=2 * DAY, minutes=120)
    assert digests(daemon) == []


def test_an_open_alarm_is_in_each_digest_until_it_is_over_and_then_once(daemon: Stage) -> None:
    """It goes out each day though nothing moves, promises no finish time, and says when it is over."""
    # Not delivered meanwhile: a delivery with its manifest would say enough.
    word = {"kind": "request_status_word", "word": "ODD"}
    daemon.switch(world_faults=[word, {"kind": "request_stuck", "count": 1}])
    daemon.insert()
    wait(daemon, hours=3 * DAY, minutes=120)
    told = [one["data"] for one in digests(daemon)]
    assert len(told) >= 2
    for page in told:
        (line,) = [one for one in page["needs"] if "still open, since" in one]
        assert "jgi-stager evidence" in line
        assert page["projects"][0]["eta"] is None
        assert page["projects"][0]["no_eta"].endswith("'odd'")
    daemon.switch(world_faults=[])
    drive(daemon, hours=20 * DAY)
    after = [one["data"] for one in digests(daemon)][len(told) :]
    assert not [one for page in after[1:] for one in page["needs"] if "still open" in one]
    assert len([one for page in after for one in page["notes"] if one.startswith("solved: JDP calls")]) == 1
