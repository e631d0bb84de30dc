"""Some days of trouble at a site whose person only reads mails (the whole month is benchmarks/mailbox.py)."""

from __future__ import annotations

from datetime import timedelta

from month import DAY, HOUR, PEOPLE, Script, month
from stage import small_catalogue

SHORT = Script(
    token_life=1 * DAY,
    person_after=4 * HOUR,
    second_project_at=12 * HOUR,
    jdp_out=(36 * HOUR, 52 * HOUR),
    smtp_out=(54 * HOUR, 66 * HOUR),
    globus_paused=(72 * HOUR, 80 * HOUR),
)


def test_everything_is_done_and_the_person_acts_once_per_token_that_ends(mongod_uri: str) -> None:
    with month(mongod_uri, small_catalogue(2, 10), 4000, SHORT) as site:
        found = site.run(timedelta(days=14), minutes=60)
    assert found.files == {"done": 20}
    assert found.projects == {"soil": "done", "wetland": "done"}
    assert (found.setbacks, found.breaches) == (0, 0)
    assert found.human_actions == found.token_ends >= 3
    # One mail per event: each token that ended, and that it works again; the outage; the pause; two projects.
    assert found.kinds["needs_person"] == found.kinds["solved"] == found.token_ends
    assert found.kinds["accepted"] == found.kinds["done"] == 2
    assert found.kinds.get("stalled", 0) == 1
    assert found.kinds.get("reminder", 0) == found.kinds.get("trouble", 0) == 0
    subjects = [subject for _, _, subject in found.mails]
    assert sum("INACTIVE" in one for one in subjects) == 1
    people = PEOPLE.partition("@")[0]
    theirs = [subject for _, to, subject in found.mails if people in to]
    assert theirs[0].startswith("soil: accepted")
    assert theirs[-1].startswith("soil: done")
    assert not [one for one in theirs if "wetland" in one]
