"""docs/contract.md, made from the table of assumptions: ``make diagrams`` writes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jgi_stager.contract import CONTRACT, Assumption

PAGE = Path(__file__).resolve().parents[1] / "docs" / "contract.md"
HEAD = """# The contract

What is taken for granted of GOLD, JDP and Globus. Nobody could try the daemon on the real services before its
users do, so each assumption has a row in `src/jgi_stager/contract.py`, says how it shows when it is wrong and
what is done then, and is bent by the simulator. This page is made from that table by `make diagrams`, and a test
fails when they differ.

What this installation has seen of it is kept with the evidence: `db.control.findOne({_id: "contract"})` in
mongosh.
"""


def _switch(row: Assumption) -> str:
    bends = "; ".join(f"`{json.dumps(bend)}`" for bend in row.bends)
    return bends or row.unbent


def made() -> str:
    """The whole page."""
    return HEAD + "".join(map(_section, CONTRACT))


def _section(row: Assumption) -> str:
    rows = (
        (f"assumed of {row.service.value}", row.assumed),
        ("read in", f"`{row.read_in}`"),
        ("shows when wrong", row.shows),
        ("done then", row.then),
        ("a format", "yes" if row.format else "no"),
        ("bent by the simulator", _switch(row)),
    )
    lines = "".join(f"| {what} | {said} |\n" for what, said in rows)
    return f"\n## {row.id}\n\n| | |\n| --- | --- |\n{lines}"


def main() -> None:
    """Write the page with ``--write``; else exit with 1 if it is not as the table says."""
    fresh = made()
    if "--write" in sys.argv:
        PAGE.write_text(fresh, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
        sys.exit(f"{PAGE} is not as the table says: make diagrams")


if __name__ == "__main__":
    main()
