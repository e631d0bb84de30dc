"""The mailbox of a site after 30 days of trouble.

Two projects, a JDP token that ends every three days, two days without JDP, 32 hours without a mail server, and a
paused transfer. To be seen: every file done, as many human actions as tokens that ended, and at most one
immediate mail per event beside the digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from benchmarks.databases import mongod
from benchmarks.figures import Figure
from jgi_stager.simulator import generate
from month import Script, month

MINUTES = 20.0
ANALYSIS_PROJECTS = 16
QUOTA_BYTES = 45_000_000_000


def run(_: Sequence[int]) -> Iterator[Figure]:
    """How often a person had to act, and whether everything came."""
    with mongod() as uri, month(uri, generate(ANALYSIS_PROJECTS, 1), QUOTA_BYTES, Script()) as site:
        outcome = site.run(timedelta(days=60), MINUTES)
    more = {"mails": float(len(outcome.mails)), "tokens ended": float(outcome.token_ends)}
    needless = float(outcome.human_actions - outcome.token_ends)
    yield Figure("a month of trouble, needless human actions", needless, "", 0.0, more=more)
    missing = sum(number for state, number in outcome.files.items() if state != "done")
    yield Figure("a month of trouble, files that did not come", float(missing), "", 0.0)
