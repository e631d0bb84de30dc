"""One notice of every kind with the data that the steps store, for tests and for looking at the mails."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from jgi_stager.models import Notice
from jgi_stager.notices import Kind
from jgi_stager.store.notices import new_notice

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DESTINATION = "/global/cfs/cdirs/m3408/ficus/pipeline_products/bioscales-2026"
PROBLEM = (
    "jdp: GET /request_archived_files/requests/652423 answered HTTP 401: Authentication credentials were not "
    "provided.; the session token is missing, wrong or has ended"
)
ACCEPTED = {
    "proposal_id": "503125",
    "analysis_projects": 384,
    "files": 12345,
    "bytes": 23_456_000_000_000,
    "unusable": 3,
    "requests": 17,
    "ids": 12000,
    "days_of_quota": 2.0,
    "destination": DESTINATION,
    "dropped": {
        "img_nr.last.blasttab: on the list of this site": 768,
        "a raw read file of a superseded analysis": 41,
    },
    "warnings": ["NMDC knows no study of proposal 503125; the files are staged without"],
    "trial": {"files": 3, "bytes": 2_000_000},
    "eta": {"early": AT + 3 * DAY, "late": AT + 5 * DAY, "at": AT + 4 * DAY, "measured": True},
    "readiness": {
        "sentence": "381 of 384 will be ready to import; 3 lack Annotation Statistics at JGI",
        "never": ["3 lack Annotation Statistics at JGI: Ga0451670, Ga0451671, Ga0451672"],
    },
}
RESCANNED = {
    "added": 85,
    "added_bytes": 60_000_000_000,
    "new": 1,
    "new_names": "Ga0500321",
    "superseded": 2,
    "superseded_names": "Ga0500007, Ga0500008",
    "changed": 1,
    "changed_files": ["Ga0500009_contigs.fna (6119a224cf09c8006854d171, Ga0500009): 1.00 GB, now 1.10 GB"],
    "gone": 1,
    "gone_files": ["Ga0500009.bam (6119a224cf09c8006854d172, Ga0500009)"],
    "by": "rescan_days",
    "destination": DESTINATION,
}
WENT = {
    "sentence": "1.20 TB arrived in the last 24 h, 8.41 TB in seven days",
    "days": [
        {"day": AT.replace(hour=0) + number * DAY, "bytes": number * 300_000_000_000, "share": number / 6}
        for number in range(7)
    ],
}
WAITING = {
    "files": 8021,
    "bytes": 15_200_000_000_000,
    "projects": [
        {"name": "bioscales-2026", "files": 7900, "bytes": 15_000_000_000_000},
        {"name": "wetlands", "files": 121, "bytes": 200_000_000_000},
    ],
}
NEEDS = {
    "service": "jdp",
    "headline": "the JDP session token is refused",
    "problem": PROBLEM,
    "cure": "log in to the JGI Data Portal, copy the session token and run: jgi-stager token set jdp",
    "since": AT,
    "waiting": WAITING,
    "replaced": False,
    "told_at": AT,
    "needed_at": AT + timedelta(hours=11, minutes=29),
    "next_seconds": 86400.0,
    "steps": [
        "Log in at https://data.jgi.doe.gov, open the account menu and copy the session token.",
        "On the machine of the daemon, as its user, run the command below and paste the token.",
    ],
    "command": "jgi-stager token set jdp",
    "path": "/etc/jgi-stager/secrets/jdp_token",
}
DONE = {
    "files": 12342,
    "bytes": 23_450_000_000_000,
    "accepted_at": AT,
    "done_at": AT + 4 * DAY,
    "took_seconds": 4 * 86400.0 + 7000,
    "requests": 19,
    "went": WENT,
    "destination": DESTINATION,
    "checked": [
        {"how": "size and md5", "files": 12000},
        {"how": "size; larger than 50000000000 bytes", "files": 342},
    ],
    "spent": [
        {"label": "its turn to be asked for", "mean_seconds": 93_000.0, "longest_seconds": 200_000.0},
        {"label": "tape", "mean_seconds": 14_000.0, "longest_seconds": 50_000.0},
        {"label": "manifest and a free transfer", "mean_seconds": 900.0, "longest_seconds": 4000.0},
        {"label": "transfer and check", "mean_seconds": 5400.0, "longest_seconds": 12_000.0},
        {"label": "people", "mean_seconds": 20_000.0, "longest_seconds": 30_000.0},
    ],
    "contract": [
        {"id": "jdp.request_id", "standing": "seen", "evidence": "a request was accepted as 652423"},
        {"id": "jdp.login_page", "standing": "not yet", "evidence": ""},
        {"id": "manifest.columns", "standing": "otherwise", "evidence": "the header has one column more"},
    ],
    "setbacks": 4,
    "readiness": {
        "sentence": "380 of 384 ready to import; 3 lack Annotation Statistics at JGI, 1 has two files of one type",
        "never": [
            "3 lack Annotation Statistics at JGI: Ga0451670, Ga0451671, Ga0451672",
            "1 has two files of one type: Ga0451699",
        ],
    },
    "reports": {"directory": f"{DESTINATION}/reports", "problem": None},
    "attachment": "bioscales-2026_files.tsv.gz, packed with gzip: destination, bytes, md5, JDP file id and how "
    "each was checked.",
}
GROUPS = [
    {
        "reason": "the manifest says 11 bytes, JDP says 12; ask JGI which is right",
        "files": 30,
        "bytes": 1000,
        "names": [f"Ga0500{n:03d}_genes.faa" for n in range(20)],
    },
    {
        "reason": 'its md5 is wrong <b>&amp; "quoted"</b>',
        "files": 1,
        "bytes": 5,
        "names": ["<script>alert(1)</script>.fasta"],
    },
]
FAILED = {"failed": 31, "done": 12000, "moving": 314, "total": 12345, "groups": GROUPS, "more_groups": 2}
OUTLOOK = {"sentence": "380 of 384 ready to import; 4 have failed files", "never": []}
STALLED = {
    "items": [
        {
            "name": "JDP request 652423",
            "age_seconds": 3 * 86400.0,
            "usual": "4 h 10 min, and 19 of 20 within 18 h (the last 60)",
            "files": 750,
            "bytes": 1_200_000_000_000,
            "projects": ["bioscales-2026", "wetlands"],
            "said": "pending",
            "ask": "JGI, about restore request 652423; the daemon keeps waiting",
        },
        {
            "name": "Globus task 5a3b",
            "age_seconds": 30_000.0,
            "usual": "2 h, and 19 of 20 within 4 h (the last 20)",
            "files": 1500,
            "bytes": 800_000_000_000,
            "projects": [],
            "said": "PAUSED_BY_ADMIN, 12 faults, no byte moved for 7 h",
            "ask": "look at it at https://app.globus.org/activity",
        },
    ],
    "more": 0,
}
OUTAGE = {
    "outage": {"service": "jdp", "since": AT, "seconds": 21_600.0, "error": "jdp: no connection"},
    "waiting": WAITING,
    "items": [],
}
LISTED: list[dict[str, Any]] = [
    {
        "name": "bioscales-2026",
        "state": "active",
        "share": 0.52,
        "files": 12345,
        "bytes": 23_456_000_000_000,
        "done_files": 6400,
        "done_bytes": 12_200_000_000_000,
        "new_files": 3000,
        "new_bytes": 6_000_000_000_000,
        "where": ["5,000 not asked for yet", "900 on tape", "45 in transfer"],
        "eta": {"early": AT + 2 * DAY, "late": AT + 3 * DAY},
        "moved_seconds": 80_000.0,
        "moved_why": "JDP waited for a person for 20 h",
        "went": WENT,
    },
    {
        "name": "wetlands",
        "state": "discovering",
        "share": 0.0,
        "files": 0,
        "bytes": 0,
        "done_files": 0,
        "done_bytes": 0,
        "new_files": 0,
        "new_bytes": 0,
        "where": [],
        "eta": None,
    },
]
QUOTA = {
    "used": 9_970_000_000_000,
    "total": 10_000_000_000_000,
    "left": 30_000_000_000,
    "share": 0.997,
    "window_hours": 24.0,
    "next_at": AT + timedelta(hours=2),
    "next_bytes": 212_000_000_000,
}
DIGEST = {
    "today": AT,
    "moved": {"files": 3000, "bytes": 6_000_000_000_000},
    "projects": LISTED,
    "quota": QUOTA,
    "needs": ["the JDP session token is refused since 2026-03-01 04:00 UTC; run: jgi-stager token set jdp"],
    "notes": ["the GOLD offline token is 29 d old and will probably end about Mon 02 Mar 12:00 UTC"],
}
SAMPLES: Mapping[Kind, Mapping[str, Any]] = {
    Kind.ACCEPTED: ACCEPTED,
    Kind.RESCANNED: RESCANNED,
    Kind.INVALID: {"record_id": "65f0", "reason": "proposal_id is missing; give the JGI proposal number"},
    Kind.NEEDS_PERSON: NEEDS,
    Kind.REMINDER: {**NEEDS, "reminder": 2, "waited_seconds": 3 * 86400.0},
    Kind.SOLVED: {"service": "jdp", "since": AT - DAY, "until": AT, "lasted_seconds": 86400.0},
    Kind.EXPIRING: {
        "service": "globus",
        "headline": "the Globus login",
        "why": "Globus ends a login that was not used for six months",
        "since": AT - 170 * DAY,
        "expected": AT + 12 * DAY,
        "steps": ["On the machine of the daemon, as its user, run the command below."],
        "command": "jgi-stager login",
    },
    Kind.FAILED: FAILED,
    Kind.HELD: {**FAILED, "moving": 0, "total": 12031, "readiness": OUTLOOK},
    Kind.STALLED: STALLED,
    Kind.DIGEST: DIGEST,
    Kind.DONE: DONE,
    Kind.ALARM: {
        "subject": "JDP calls request 652423 'quantum_flux'",
        "text": "This word is not known.\n\nThe request is kept and waited on; its 750 files neither fail nor "
        "count as delivered.",
        "you": "ask JGI what this word means for restore request 652423.",
        "command": "jgi-stager status",
    },
    Kind.TROUBLE: {
        "subject": "the daemon started 4 times within an hour",
        "text": "It ended 3 times without being told to. Nothing is lost.",
        "you": "look at its log; if that does not say why, report it.",
        "command": "journalctl -u jgi-stager -n 200",
    },
    Kind.FOLDED: {
        "count": 60,
        "what": "things to look at",
        "you": "see the first of them below, which says what to do; how everything stands:",
        "command": "jgi-stager status",
        "items": [{"subject": f"JDP calls request {n} 'x'"} for n in range(40)],
        "first": "This word is not known.",
        "keys": [],
    },
}


def notice(kind: Kind, data: Mapping[str, Any] | None = None, *, project: str | None = "bioscales-2026") -> Notice:
    """A notice of that kind as the outbox holds it."""
    said = SAMPLES[kind] if data is None else data
    return new_notice(AT, f"{kind.value}:x", kind=kind.value, data=said, to=[], project=project)
