"""The end of a run: what happened, whether it was right, and where everything lies."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jgi_stager.demo.check import Findings
from jgi_stager.formatting import human_bytes
from jgi_stager.lifecycle import State
from jgi_stager.settings import JdpSettings

MOST_EXAMPLES = 20
LARGEST_REQUEST_IDS = 750
QUOTA_BYTES = JdpSettings().max_restore_bytes
"""JDP's limits."""
_VERIFIED = "verified at the destination: "
_BY_MD5 = "size and md5"


@dataclass(frozen=True)
class Summary:
    """``summary.json``: these names are stable. Bytes are bytes, days are simulated."""

    ok: bool
    """Whether there are no ``problems``; then the demo exits 0."""
    problems: list[str]
    project: str
    project_state: str
    """``done`` if all is well; else ``held`` or ``invalid``."""
    catalogue: str
    """What the simulator served."""
    files: int
    """File records of the project: one id wanted at one destination."""
    done: int
    failed: int
    bytes: int
    """Of all files."""
    requests: int
    """Restore requests that the simulator accepted."""
    requested_bytes: int
    """What they asked for: a file wanted in two places is asked for once."""
    max_request_ids: int
    quota_bytes: int
    max_window_bytes: int
    """The most that was asked for in any 24 hours, as the simulator saw it."""
    quota_windows: int
    """In how many windows of 24 hours, beginning with the first request, something was asked for."""
    breaches: list[Any]
    """Requests that the simulator found to be beyond a limit."""
    simulated_days: float
    """From the acceptance of the project to its end."""
    real_seconds: float
    scale: float
    """Simulated seconds in a real one."""
    restored_more_than_once: int
    """Files that were pulled from tape again."""
    transfers_more_than_once: int
    """Places that were written again."""
    globus_tasks: int
    mails: list[str]
    """Subjects, in the order they were sent."""
    verified: dict[str, int]
    """How many files the daemon verified by ``size and md5``, and by ``size`` alone."""
    size_only_because: dict[str, int]
    copied: int
    """Files that lay here already for another destination, and were copied from there."""
    checked_by_demo: dict[str, Any]
    """Without asking the daemon: ``files`` at their places with the right size, ``md5`` how many of them were
    read and are right, ``md5_bytes`` so many; ``md5_in_books`` records with the md5 of the catalogue, ``left_out``
    by the filter rules, and the first ``wrong`` ones."""
    wrong: int
    """How many things the demo's own check found wrong."""
    directory: str


@dataclass(frozen=True)
class Evidence:
    """What a run left behind."""

    record: Mapping[str, Any]
    """The project in the daemon's database."""
    documents: Sequence[Mapping[str, Any]]
    """Its files."""
    observed: Mapping[str, Any]
    """What the simulator saw."""
    findings: Findings
    mails: Sequence[str]
    title: str
    """What the simulator served."""
    contents_known: bool
    """False for recorded answers: the bytes of their files are not available."""
    scale: float
    real_seconds: float
    root: Path
    problems: Sequence[str] = ()
    """What went wrong with the processes."""


def summarize(evidence: Evidence) -> Summary:
    """Put it together and judge it."""
    observed, documents = evidence.observed, evidence.documents
    states = Counter(str(document["state"]) for document in documents)
    problems = [*_problems(evidence, states), *evidence.problems]
    return Summary(
        ok=not problems,
        problems=problems,
        project=str(evidence.record.get("project_name")),
        project_state=str(evidence.record.get("state")),
        catalogue=evidence.title,
        files=len(documents),
        done=states[State.DONE],
        failed=states[State.FAILED],
        bytes=sum(document["jdp_file_size"] or 0 for document in documents),
        requests=len(observed["requests"]),
        requested_bytes=observed["requested_bytes"],
        max_request_ids=observed["max_request_ids"],
        quota_bytes=QUOTA_BYTES,
        max_window_bytes=observed["max_window_bytes"],
        quota_windows=_windows(observed["requests"]),
        breaches=list(observed["breaches"]),
        simulated_days=round(_days(evidence.record), 2),
        real_seconds=round(evidence.real_seconds, 1),
        scale=evidence.scale,
        restored_more_than_once=len(observed["pulled_more_than_once"]),
        transfers_more_than_once=len(observed["written_more_than_once"]),
        globus_tasks=len(observed["tasks"]),
        mails=list(evidence.mails),
        **_verified(evidence),
        checked_by_demo=_checked(evidence.findings),
        wrong=len(evidence.findings.wrong),
        directory=str(evidence.root),
    )


def _verified(evidence: Evidence) -> dict[str, Any]:
    how = Counter(_how(document) for document in evidence.documents if document["state"] == State.DONE)
    copied = sum(number for words, number in how.items() if "; copied from " in words)
    by_md5 = sum(how.pop(words) for words in list(how) if words.partition("; ")[0] == _BY_MD5)
    reasons = {_reason(words, contents_known=evidence.contents_known): n for words, n in how.most_common()}
    verified = {_BY_MD5: by_md5, "size": how.total()}
    return {"verified": verified, "size_only_because": reasons, "copied": copied}


def _checked(findings: Findings) -> dict[str, Any]:
    return {**asdict(findings), "wrong": list(findings.wrong[:MOST_EXAMPLES])}


def _problems(evidence: Evidence, states: Mapping[str, int]) -> list[str]:
    observed, record = evidence.observed, evidence.record
    found = []
    if record.get("state") != "done":
        reason = record.get("reason") or "see the mails"
        found.append(f"the project is {record.get('state')}: {reason}")
    left = {state: count for state, count in states.items() if state != State.DONE}
    found += [f"{count} files are {state}" for state, count in left.items()]
    if evidence.findings.wrong:
        found.append(f"{len(evidence.findings.wrong)} wrong, such as: {evidence.findings.wrong[0]}")
    if observed["max_window_bytes"] > QUOTA_BYTES:
        most = human_bytes(observed["max_window_bytes"])
        found.append(f"{most} were asked for in 24 hours; {human_bytes(QUOTA_BYTES)} are allowed")
    if observed["max_request_ids"] > LARGEST_REQUEST_IDS:
        found.append(f"a request had {observed['max_request_ids']} ids; {LARGEST_REQUEST_IDS} are allowed")
    if observed["breaches"]:
        found.append(f"the simulator saw {len(observed['breaches'])} requests beyond a limit")
    return found


def _reason(words: str, *, contents_known: bool) -> str:
    """Why a file was verified by size only, from what the daemon wrote: ``size; larger than 1000000 bytes``."""
    reason = words.partition("; ")[2] or words
    if not contents_known and reason.startswith("larger than"):
        return "zeros stand for their recorded content"
    return re.sub(r"\d+ bytes", lambda found: human_bytes(int(found[0].split()[0])), reason)


def _how(document: Mapping[str, Any]) -> str:
    """How the daemon verified a file, from the last entry of its history."""
    return str(document["history"][-1]["why"]).removeprefix(_VERIFIED)


def _windows(asked: Sequence[Mapping[str, Any]]) -> int:
    instants = [datetime.fromisoformat(one["at"]) for one in asked]
    return len({(at - min(instants)).total_seconds() // 86_400 for at in instants})


def _days(record: Mapping[str, Any]) -> float:
    begin, end = record.get("accepted_at"), record.get("done_at")
    if isinstance(begin, datetime) and isinstance(end, datetime):
        return (end - begin).total_seconds() / 86_400
    return 0.0


def write(summary: Summary, path: Path) -> None:
    """Write ``summary.json``."""
    path.write_text(json.dumps(asdict(summary), indent=2) + "\n", encoding="utf-8")


def rows(summary: Summary) -> list[tuple[str, str]]:
    """The summary for people: what, and how much."""
    checked = summary.checked_by_demo
    share = 100 * summary.max_window_bytes / summary.quota_bytes
    return [
        ("project", f"{summary.project}, {summary.project_state}: {summary.catalogue}"),
        ("files", f"{summary.files}: {summary.done} done, {summary.failed} failed"),
        ("bytes", human_bytes(summary.bytes)),
        (
            "restored from tape",
            f"{human_bytes(summary.requested_bytes)}, {_count(summary.requests, 'request')}, "
            f"at most {summary.max_request_ids} files in one; {summary.restored_more_than_once} files again",
        ),
        (
            "transferred",
            f"{_count(summary.globus_tasks, 'Globus task')}; {summary.transfers_more_than_once} files again",
        ),
        # rounded down: what is within the quota must not look like all of it
        (
            "busiest 24 hours",
            f"{int(100 * share) / 100:.2f} % of the {human_bytes(summary.quota_bytes)} allowed, "
            "as the simulator saw it",
        ),
        ("time", _time(summary)),
        ("verified by daemon", f"{summary.verified['size and md5']} files by size and md5"),
        *(("", f"{count} by size only: {reason}") for reason, count in summary.size_only_because.items()),
        ("copied here", f"{summary.copied} files that lay here already for another destination"),
        (
            "checked by demo",
            f"{checked['files']} places by size, {checked['md5']} by md5; {summary.wrong} wrong",
        ),
        ("", f"{checked['md5_in_books']} recorded with the md5 of the catalogue"),
        ("left out by rule", f"{checked['left_out']} files"),
        *(("mail", subject) for subject in summary.mails),
    ]


def _time(summary: Summary) -> str:
    windows = _count(summary.quota_windows, "quota window")
    return f"{summary.simulated_days:.1f} simulated days, {windows}, in {summary.real_seconds:.0f} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
