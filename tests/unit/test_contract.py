"""The table of assumptions: its rows are whole, its page is made from it, and the simulator bends each row."""

from __future__ import annotations

import importlib
import re

import pytest

from contract_page import PAGE, made
from jgi_stager.contract import BY_ID, CONTRACT, Assumption, UnknownAssumptionError, assumption
from jgi_stager.simulator import Switches, WorldFault

EACH = pytest.mark.parametrize("row", CONTRACT, ids=lambda row: row.id)
NO_ASSUMPTION = {
    "gold_unknown_proposal": "each answer is expected",
    "gold_session_revoked": "a credential that ends",
    "nersc_outages": "nothing waits for it: what cannot be read is left out",
    "nmdc_shared_study": "a study may have several proposals",
    "gold_token_quoted": "both forms are expected",
    "jdp_credential": "where the token goes is a matter of setting it up",
    "jdp_token_revoked": "a credential that ends",
    "jdp_token_ends_at": "a credential that ends",
    "jdp_token_calls_left": "a credential that ends",
    "download_parts": "only a daemon that downloads asks for files; its own tests turn it",
    "download_etag": "only a daemon that downloads asks for files; its own tests turn it",
    "download_length": "only a daemon that downloads asks for files; its own tests turn it",
    "jdp_token": "a credential that is renewed",
    "jdp_date_wrong_answers": "how long jdp_date lasts",
    "over_limit": "how JDP refuses what exceeds its limits, which the daemon does not ask for",
    "request_id_form": "both forms are expected",
    "status_case": "every form is expected",
    "quirks": "seen at the real service",
    "jdp_repeats_organism": "seen at the real service",
    "globus_secret_revoked": "a credential that ends",
    "globus_tokens_revoked": "a credential that ends",
    "world_faults": "see the faults",
}
"""The switches that bend no assumption, and why."""
TROUBLES = {
    "request_stuck": "slow, not wrong",
    "task_failed": "it happens, and Globus says so",
    "task_faulty": "slow, not wrong",
    "task_skips": "it happens, and Globus says so",
    "destination_full": "the destination is ours",
    "download_cut": "a connection may break",
    "download_wrong_content": "only a daemon that downloads asks for files: tests/integration/test_every_fault.py",
    "download_wrong_size": "only a daemon that downloads asks for files: tests/integration/test_every_fault.py",
}
"""The faults inside a service that bend no assumption, and why."""


def _attribute(dotted: str) -> object:
    parts = dotted.split(".")
    for at in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(["jgi_stager", *parts[:at]]))
        except ModuleNotFoundError:
            continue
        for name in parts[at:]:
            found = getattr(found, name)
        return found
    raise AssertionError(dotted)


@EACH
def test_a_row_says_everything(row: Assumption) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z0-9_]+", row.id)
    assert all(text.endswith(".") for text in (row.assumed, row.shows, row.then))
    assert "|" not in row.assumed + row.shows + row.then
    assert callable(_attribute(row.read_in))
    assert bool(row.bends) != bool(row.unbent)


@EACH
def test_the_simulator_has_the_switches_of_a_row(row: Assumption) -> None:
    for bend in row.bends:
        changed = Switches.model_validate(bend)
        assert changed != Switches(), bend


def test_ids_are_unique_and_others_raise() -> None:
    assert len(BY_ID) == len(CONTRACT)
    with pytest.raises(UnknownAssumptionError):
        assumption("jdp.weather")


def test_every_switch_that_bends_an_assumption_has_a_row() -> None:
    bent = {name for row in CONTRACT for bend in row.bends for name in bend}
    assert not (set(Switches.model_fields) - bent - NO_ASSUMPTION.keys())
    kinds = {fault["kind"] for row in CONTRACT for bend in row.bends for fault in bend.get("world_faults", ())}
    known = set(WorldFault.model_fields["kind"].annotation.__args__)  # type: ignore[union-attr]
    assert known - kinds - TROUBLES.keys() == set()
    assert not (kinds & TROUBLES.keys())


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == made(), "run make diagrams"
