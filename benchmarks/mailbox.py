"""The mailbox of a site after 30 days of trouble, as a table.

    PYTHONPATH=src:tests python benchmarks/mailbox.py [ANALYSIS_PROJECTS] [QUOTA_BYTES]

Two projects, a JDP token that ends every three days, two days without JDP, 32 hours without a mail server, and a
paused transfer. To be seen: every file done, as many human actions as tokens that ended, and at most one
immediate mail per event beside the digests.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from jgi_stager.simulator import generate
from jgi_stager.store.embedded import EmbeddedMongod
from month import Outcome, Script, month

MINUTES = 20.0


def show(outcome: Outcome, seconds: float) -> None:
    """The mailbox and the counts."""
    began = outcome.mails[0][0] if outcome.mails else None
    for at, to, subject in outcome.mails:
        day = (at - began).total_seconds() / 86_400 if began else 0.0
        print(f"{day:5.1f}  {at:%a %d %b %H:%M}  {to[:30]:30}  {subject[:110]}")
    print()
    print(f"simulated {outcome.took}, {seconds:.0f} s of real time")
    print(f"files {outcome.files}, projects {outcome.projects}, setbacks {outcome.setbacks}")
    print(f"tokens that ended {outcome.token_ends}, human actions {outcome.human_actions}")
    print(f"mails by kind {outcome.kinds}; over the limits at JDP: {outcome.breaches}")


def main() -> None:
    """Run it."""
    projects = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    quota = int(float(sys.argv[2])) if len(sys.argv) > 2 else 45_000_000_000
    directory = Path(tempfile.mkdtemp(prefix="jgi-"))
    begun = time.monotonic()
    with (
        EmbeddedMongod(directory) as uri,
        month(uri, generate(projects, 1), quota, Script()) as site,
    ):
        outcome = site.run(timedelta(days=60), MINUTES)
    show(outcome, time.monotonic() - begun)


if __name__ == "__main__":
    main()
