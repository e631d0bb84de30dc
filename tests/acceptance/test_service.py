"""The life of the service on a real machine, in the order in which it happens to an administrator.

The tests share one machine and build on each other: the first that fails is the one to look at.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from acceptance.booted import PROGRAM, Machine, wait_until
from acceptance.surroundings import CONFIG, OPERATOR, PLANTED, SECRETS, STAGING, Site, settings_text

UNIT = "jgi-stager.service"
DROP_INS = "/etc/systemd/system/jgi-stager.service.d"
RECORD = {"project_name": "soil", "proposal_id": "503125", "nmdc_study_id": "nmdc:sty-11-28tm5d36"}


@pytest.fixture(scope="module", autouse=True)
def _stop_at_the_first_failure(request: pytest.FixtureRequest) -> None:
    request.config.option.maxfail = 1


def active(machine: Machine) -> bool:
    return machine.run("systemctl", "is-active", UNIT, ok=(0, 3)).strip() == "active"


def journal(machine: Machine, unit: str = UNIT) -> list[str]:
    return machine.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).splitlines()


def test_installing_says_what_it_does_and_repeating_it_changes_nothing(machine: Machine) -> None:
    shown = machine.run(str(PROGRAM), "install-service", "--dry-run")
    assert re.search(r"^would write ", shown, re.MULTILINE)
    assert not re.search(r"^(written|replaced|created) ", shown, re.MULTILINE), shown
    assert not (machine.tree / "etc/systemd/system" / UNIT).exists()
    first = machine.run(str(PROGRAM), "install-service", "--staging", STAGING)
    assert len(re.findall(r"^written ", first, re.MULTILINE)) >= 6
    again = machine.run(str(PROGRAM), "install-service", "--staging", STAGING)
    assert not re.search(r"^(written|replaced|created) ", again, re.MULTILINE), again
    assert machine.run("stat", "-c", "%a %U", SECRETS).split() == ["700", "root"]
    assert machine.run("stat", "-c", "%a %U %G", CONFIG).split() == ["640", "root", "jgi-stager"]


def test_systemd_finds_nothing_to_complain_about(machine: Machine) -> None:
    for unit in (UNIT, "jgi-stager-failure.service", "jgi-stager-secrets.path", "jgi-stager-secrets.service"):
        assert machine.run("sh", "-c", f"systemd-analyze verify /etc/systemd/system/{unit} 2>&1") == ""
    shown = machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    exposure = float(re.findall(r"Overall exposure level for \S+: ([0-9.]+)", shown)[0])
    assert exposure <= 1.5, shown


def test_it_starts_with_one_command_and_shows_how_it_is(site: Site) -> None:
    machine = site.machine
    machine.write(CONFIG, settings_text(site.simulator, site.smtp_port, site.web_port), 0o640)
    machine.run("chown", "root:jgi-stager", CONFIG)
    for name, value in PLANTED.items():
        machine.write(f"{SECRETS}/{name}", value + "\n", 0o600)
    machine.write(f"{DROP_INS}/20-services.conf", f"[Service]\n{_environment(site)}")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--now", "jgi-stager")
    assert active(machine)
    wait_until(
        "it says how it is", lambda: machine.properties().get("StatusText", "") == "no project under way", 30
    )
    assert machine.run("systemctl", "is-active", "jgi-stager-secrets.path").strip() == "active"
    assert machine.run("stat", "-c", "%a %U", "/var/lib/jgi-stager").split() == ["700", "jgi-stager"]
    wait_until("it is ready", lambda: site.get("/healthz")[0] == 200, 30)


def _environment(site: Site) -> str:
    return "".join(f"Environment={name}={value}\n" for name, value in site.simulator.urls["environment"].items())


def test_a_record_is_inserted_and_a_reboot_in_mid_run_costs_nothing(site: Site) -> None:
    machine = site.machine
    machine.python(
        "from pathlib import Path\n"
        "from pymongo import MongoClient\n"
        "from jgi_stager.store.embedded import running\n"
        f"MongoClient(running(Path('/var/lib/jgi-stager'))).jgi_stager.projects.insert_one({RECORD!r})\n"
    )
    wait_until("files are on their way", lambda: site.states().get("restore_requested", 0) > 0, 120)
    shown = re.compile(r"1 project, \d+ % of [0-9.]+ .B")
    wait_until("the status line shows it", lambda: shown.match(machine.properties().get("StatusText", "")), 30)
    assert set(site.states()) != {"done"}
    machine.reboot()
    wait_until("the service is back by itself", lambda: active(machine), 60)
    wait_until("every file is done", lambda: set(site.states()) == {"done"}, 150, 1)
    books = site.simulator.books()
    assert not books.get("doubled_ids"), books


def test_a_daemon_that_does_not_move_is_started_again(site: Site) -> None:
    machine = site.machine
    machine.write(f"{DROP_INS}/30-watchdog.conf", "[Service]\nWatchdogSec=5\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)
    before = machine.properties()
    machine.run("kill", "-STOP", before["MainPID"])
    began = time.monotonic()

    def back() -> bool:
        now = machine.properties()
        return now["NRestarts"] != before["NRestarts"] and now["ActiveState"] == "active"

    wait_until("the watchdog started it again", back, 60)
    assert time.monotonic() - began >= 2.5
    assert machine.properties()["MainPID"] != before["MainPID"]
    assert any("Watchdog timeout" in line for line in journal(machine))
    wait_until("it is ready again", lambda: site.get("/healthz")[0] == 200, 30)


def test_a_renewed_secret_is_seen(site: Site) -> None:
    machine = site.machine
    before = machine.properties()["InvocationID"]
    machine.write(f"{SECRETS}/jdp_token", PLANTED["jdp_token"] + "\n", 0o600)
    wait_until("it was started again", lambda: machine.properties()["InvocationID"] != before, 30)
    wait_until("it is active", lambda: active(machine), 30)


def test_it_stops_within_ten_seconds_and_starts_again(site: Site) -> None:
    machine = site.machine
    began = time.monotonic()
    machine.run("systemctl", "stop", UNIT)
    assert time.monotonic() - began < 10
    assert machine.properties()["Result"] == "success"
    assert not any(b"mongod" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in machine.pids())
    machine.run("systemctl", "start", UNIT)
    assert active(machine)


def test_the_metrics_match_the_books(site: Site) -> None:
    status, body = site.get("/metrics")
    assert status == 200
    done = re.findall(r'jgi_stager_files\{project="soil",state="done"\} ([0-9.e+]+)', body)
    assert [float(value) for value in done] == [site.states()["done"]]


def test_the_journal_is_json_that_people_can_read(site: Site) -> None:
    lines = [line for line in journal(site.machine) if line.startswith("{")]
    events = {json.loads(line)["event"] for line in lines}
    assert {"daemon_started", "restore_requested", "files_moved", "task_verified", "daemon_stopped"} <= events


def test_people_were_told_by_mail(site: Site) -> None:
    wait_until("the mail about the end", lambda: any("soil" in subject for subject in site.mails.subjects()), 60)
    assert len(set(site.mails.subjects())) >= 2
    assert all(OPERATOR.encode() in raw for raw in site.mails.raw)


def test_no_planted_secret_shows_anywhere(site: Site) -> None:
    machine = site.machine
    site.leave_no_trace(machine.run("journalctl", "--no-pager", "-o", "export").encode(), "the journal")
    for pid in machine.pids():
        for what in ("cmdline", "environ"):
            try:
                found = Path(f"/proc/{pid}/{what}").read_bytes()
            except OSError:
                continue  # it has ended
            site.leave_no_trace(found, f"{what} of process {pid}")
    dump = machine.python(
        "from pathlib import Path\n"
        "from pymongo import MongoClient\n"
        "from bson.json_util import dumps\n"
        "from jgi_stager.store.embedded import running\n"
        "client = MongoClient(running(Path('/var/lib/jgi-stager')))\n"
        "for base in client.list_database_names():\n"
        "    for name in client[base].list_collection_names():\n"
        "        print(base, name, dumps(client[base][name].find()))\n"
    )
    assert "restore_requests" in dump
    site.leave_no_trace(dump.encode(), "the database")
    for raw in site.mails.raw:
        site.leave_no_trace(raw, "a mail")
    logs = machine.run(
        "sh", "-c", "cat /var/lib/jgi-stager/mongodb/mongod.log /var/log/jgi-stager/* 2>/dev/null; true"
    )
    site.leave_no_trace(logs.encode(), "a log file")
    site.leave_no_trace(site.get("/metrics")[1].encode(), "/metrics")
    site.leave_no_trace(machine.run("systemctl", "show", UNIT).encode(), "systemctl show")


def killed(machine: Machine) -> None:
    """Kill the daemon, and wait until it is up again or given up."""
    before = machine.properties()["MainPID"]
    machine.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT)
    wait_until("systemd noticed", lambda: machine.properties()["MainPID"] != before, 30)
    settled = ("active", "failed")
    wait_until("it is up, or given up", lambda: machine.properties()["ActiveState"] in settled, 60)


def test_a_service_that_gives_up_says_so_by_mail(site: Site) -> None:
    machine = site.machine
    machine.write(f"{DROP_INS}/40-limit.conf", "[Unit]\nStartLimitBurst=2\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed", UNIT)
    machine.run("systemctl", "restart", UNIT)
    for _ in range(2):
        if machine.properties()["ActiveState"] != "failed":
            killed(machine)
    wait_until("it has given up", lambda: machine.properties()["ActiveState"] == "failed", 60)
    wait_until("people are told", lambda: any("given up" in one for one in site.mails.subjects()), 60)
    machine.run("rm", f"{DROP_INS}/40-limit.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed", UNIT)
    machine.run("systemctl", "start", UNIT)


def test_uninstalling_keeps_everything_that_people_own(site: Site) -> None:
    machine = site.machine
    machine.run("rm", "-r", DROP_INS)
    shown = machine.run(str(PROGRAM), "uninstall-service")
    assert "Kept" in shown
    assert machine.run("systemctl", "list-unit-files", "jgi-stager*", "--no-legend", ok=(0, 1)).strip() == ""
    for path in (CONFIG, f"{SECRETS}/jdp_token", "/var/lib/jgi-stager/mongodb/data"):
        assert (machine.tree / path.lstrip("/")).exists(), path
    assert any(path.is_file() for path in (machine.tree / STAGING.lstrip("/")).rglob("*"))
