"""`page` and `share` as people give them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Run, commands, parsed
from jgi_stager.lifecycle import State
from pages import read
from stage import Stage, small_catalogue, stage


@pytest.fixture
def made(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2), sections={"mongodb": {"uri": mongod_uri}}) as st:
        st.insert()
        st.until(State.RESTORE_REQUESTED)
        yield st


@pytest.fixture
def give(made: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(made, tmp_path, monkeypatch)


def test_a_copy_by_hand_and_links_that_are_made_and_revoked(give: Run, tmp_path: Path) -> None:
    away = give("page", "--out", str(tmp_path / "none"))
    assert away.exit_code == 1
    assert "No such file or directory" in away.output
    www = tmp_path / "www"
    www.mkdir()
    assert parsed(give("page", "--out", str(www), "--json"))["files"] == ["p/soil.html", "index.html"]
    assert read((www / "p" / "soil.html").read_text()).one("h1").text == "soil"
    assert "begin with" in give("page", "--out", str(www)).output

    said = give("share", "soil").output
    assert re.match(r"http://127\.0\.0\.1:9741/s/[0-9a-f]{12}[A-Za-z0-9_-]{43}/\n1 link to soil", said)
    second = parsed(give("share", "soil", "--json"))
    assert second["open"] == 2
    assert second["url"] not in said
    assert parsed(give("share", "soil", "--revoke", "--json")) == {"project": "soil", "revoked": 2}
    assert "0 links to soil revoked" in give("share", "soil", "--revoke").output
    unknown = give("share", "none")
    assert unknown.exit_code == 1
    assert "there is no project called none" in unknown.output
    settings = tmp_path / "jgi-stager.toml"
    named = '[page]\nurl = "https://portal.example.org/staging/"'
    settings.write_text(settings.read_text().replace("[page]", named))
    assert give("share", "soil").output.startswith("https://portal.example.org/staging/s/")
