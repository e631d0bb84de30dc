"""The bundle of evidence: what is in it, and what never is."""

from __future__ import annotations

import getpass
import io
import json
import os
import re
import socket
import stat
import tarfile
from pathlib import Path

import pytest
from typer.testing import Result

from commands import Run
from jgi_stager.alarm_models import About, Cause
from jgi_stager.cli.evidence import COMMON
from jgi_stager.steps.notify import Lasts, alert
from stage import Stage

PLANTED = "planted-secret-8f3a91"
ADDRESS = "pi.of.soil@example.org"


def opened(path: Path) -> dict[str, str]:
    """The members of a bundle, by their names below its directory."""
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
        found = {}
        for entry in archive.getmembers():
            assert entry.isfile()
            assert ".." not in entry.name
            assert (entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "", "")
            body = archive.extractfile(entry)
            assert body is not None
            found[entry.name.partition("/")[2]] = body.read().decode()
    return found


@pytest.fixture
def delivered(made: Stage) -> int:
    """The number of a request that was delivered and used, with an alarm about it and planted secrets."""
    made.insert(notify=[ADDRESS])
    made.wait(hours=8)  # its mails have no server: it is never idle
    (number,) = [one["request_id"] for one in made.documents("restore_requests")]
    (made.secrets / "jdp_token").write_text(PLANTED)
    (made.secrets / "jdp_token").chmod(0o600)
    made.store.restore_requests.update_one(
        {"request_id": number},
        {"$set": {"error": f"Bearer {PLANTED} of {ADDRESS} at {Path.home()}/x: token {PLANTED}", "password": "y"}},
    )
    alert(
        made.ctx,
        f"word:{number}",
        f"JDP calls request {number} 'odd'",
        f"Expected ready, found 'odd'. Ask {ADDRESS} on {socket.gethostname()}.",
        you="ask JGI",
        lasts=Lasts(Cause.WORD, About(request_id=number), ["soil"]),
    )
    return int(number)


def written(found: Result, path: Path) -> dict[str, str]:
    """The bundle that a command wrote."""
    assert found.exit_code == 0, found.output
    return opened(path)


@pytest.mark.parametrize("whole", [True, False])
def test_a_bundle_has_the_question_the_documents_and_fresh_answers(
    made: Stage, run: Run, delivered: int, tmp_path: Path, *, whole: bool
) -> None:
    path = tmp_path / "e.tar.gz"
    members = written(run("evidence", "soil" if whole else str(delivered), "--out", str(path)), path)
    assert f"JDP calls request {delivered} 'odd'" in members["README.md"]
    assert json.loads(members[f"requests/{delivered}.json"])["history"]
    assert json.loads(members["project.json"])["project_name"] == "soil"
    theirs = json.loads(members[f"requests/{delivered}-files.json"])
    assert all({"since", "failed_from", "delivery_faults"} <= file.keys() and file["since"] for file in theirs)
    assert theirs
    assert members[f"manifests/Globus_Download_{delivered}_File_Manifest.csv"].count("\n") >= 3
    answer = json.loads(members[f"fresh/jdp-request-{delivered}.json"])
    assert answer["status"] in (200, 401)
    assert "content-type" in {name.lower() for name in answer["headers"]}
    assert json.loads(members[f"fresh/globus-R{delivered}.json"])["entries"]
    assert {"id", "assumed", "seen", "bent"} <= json.loads(members["assumptions.json"])[0].keys()
    assert "jgi-stager" in json.loads(members["versions.json"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.documents("restore_requests")[0]["request_id"] == delivered


def test_a_delivery_and_a_manifest_with_other_names_are_in_it(made: Stage, run: Run, tmp_path: Path) -> None:
    made.switch(delivery_directory="year", manifest_files="renamed")
    made.insert()
    made.wait(hours=8)
    (request,) = made.documents("restore_requests")
    path, name = tmp_path / "e.tar.gz", f"R{request['request_id']}_2026"
    assert request["delivery_directory"] == name
    members = written(run("evidence", "soil", "--out", str(path)), path)
    listed = json.loads(members[f"fresh/globus-{name}.json"])
    assert listed["path"].endswith(f"/{name}")
    assert listed["entries"]
    (manifest,) = [one for one in members if one.startswith("manifests/")]
    assert members[manifest].count("\n") >= 3


def test_no_secret_address_name_or_place_of_this_machine_is_in_it(
    made: Stage, run: Run, delivered: int, tmp_path: Path
) -> None:
    path = tmp_path / "e.tar.gz"
    everything = "\n".join(written(run("evidence", "soil", "--out", str(path)), path).values())
    secrets = [one.read_text().strip() for one in made.secrets.iterdir()]
    assert PLANTED in secrets
    hidden = [*secrets, ADDRESS, str(made.staged), str(tmp_path), f"{Path.home()}/x"]
    for word in [one for one in hidden if one]:
        assert word not in everything, word
    for name in {socket.gethostname(), getpass.getuser()} - COMMON:
        assert not re.search(rf"\b{re.escape(name)}\b", everything), name
    assert "@example.org" not in everything


def test_it_works_without_the_services_and_says_so(made: Stage, run: Run, delivered: int, tmp_path: Path) -> None:
    made.faults({"match": "*", "kind": "status:503"})
    path = tmp_path / "e.tar.gz"
    members = written(run("evidence", f"R{delivered}", "--out", str(path)), path)
    assert "README.md" in members
    assert "not_answered" in members[f"fresh/globus-R{delivered}.json"]


def test_what_cannot_be_written_or_found_is_said(run: Run, delivered: int, tmp_path: Path) -> None:
    path = tmp_path / "e.tar.gz"
    path.write_text("mine")
    assert "is there already" in run("evidence", "soil", "--out", str(path)).output
    assert path.read_text() == "mine"
    assert "cannot be written" in run("evidence", "soil", "--out", str(tmp_path / "no" / "e.tar.gz")).output
    for nothing in ("moss", str(delivered + 1), "../x"):
        assert "there is no project and no request" in run("evidence", nothing).output
    assert sorted(os.listdir(tmp_path)).count("e.tar.gz") == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".e.tar.gz")]
