"""What a campaign found, as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from campaign.plan import gaps, seen
from campaign.script import MOMENTS, Outcome


def facts(outcomes: Sequence[Outcome], seed: int, seconds: float) -> dict[str, Any]:
    """The counts, in total and by kind, the coverage of sites, and every violation with its script."""
    kinds: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        counted = kinds.setdefault(outcome.script.kind, Counter())
        counted += Counter(
            runs=1,
            lives=outcome.lives,
            kills=len(outcome.hits),
            faults=outcome.faults,
            violations=bool(outcome.violations),
        )
    hits = Counter((hit.site, hit.moment) for outcome in outcomes for hit in outcome.hits)
    names = ("runs", "lives", "kills", "faults", "violations")
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "simulated_days": round(sum(outcome.hours for outcome in outcomes) / 24, 1),
        "total": {name: sum(counted[name] for counted in kinds.values()) for name in names},
        "kinds": {kind: {name: counted[name] for name in names} for kind, counted in kinds.items()},
        "sites": {site: {moment: hits[site, moment] for moment in MOMENTS} for site in sorted(seen(outcomes))},
        "not_hit": sorted(gaps(outcomes)),
        "violations": [
            {"script": outcome.script.model_dump(exclude_defaults=True), "what": outcome.violations}
            for outcome in outcomes
            if outcome.violations
        ],
    }


def as_text(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"seed {found['seed']}, {found['seconds']:.0f} s, {found['simulated_days']:.0f} simulated days", ""]
    lines.append(f"{'kind':<10}{'runs':>8}{'lives':>8}{'kills':>8}{'faults':>8}{'violations':>12}")
    for kind, counted in [*found["kinds"].items(), ("total", found["total"])]:
        figures = "".join(f"{counted[name]:>8}" for name in ("runs", "lives", "kills", "faults"))
        lines.append(f"{kind:<10}{figures}{counted['violations']:>12}")
    width = max((len(site) for site in found["sites"]), default=10)
    lines += ["", "kills by site:", f"{'site':<{width}}{'before':>8}{'during':>8}{'after':>8}"]
    for site, moments in found["sites"].items():
        lines.append(f"{site:<{width}}" + "".join(f"{moments[moment]:>8}" for moment in MOMENTS))
    lines += ["", f"sites {len(found['sites'])}, places never hit: {len(found['not_hit'])}"]
    lines += [f"  {site} {moment}" for site, moment in found["not_hit"]]
    for violation in found["violations"]:
        lines += ["", "VIOLATION", *(f"  {what}" for what in violation["what"])]
        lines.append(f"  repeat: make campaign ARGS='--script {json.dumps(json.dumps(violation['script']))}'")
    return "\n".join(lines) + "\n"
