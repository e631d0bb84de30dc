"""What leaves this machine in a bundle of evidence."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime

import pytest

from jgi_stager.reporting.bundle import MOST_BYTES, Redaction, pack, shown_headers, without_secrets

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "raw",
    [
        "Authorization: Bearer abcdef123456",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "write to ann@example.org or ann.b+c@lab.example.org",
        "ann@globusid.org",
        "from=ann%40example.org",
        "a'ann@example.org'ann@example.org",
        json.dumps("see.\nann@example.org\tann"),
        "/home/ann/data and /Users/ann/data and /global/homes/a/ann/data",
        'the secret is s3cr3t"with a quote, in JSON s3cr3t\\"with a quote',
    ],
)
def test_text_is_redacted(raw: str) -> None:
    told = Redaction(secrets=('s3cr3t"with',), names=(("ann", "<user>"),)).text(raw)
    for word in ("abcdef", "eyJ", "ann", "s3cr3t"):
        assert word not in told


def test_json_is_still_json_without_an_address_behind_a_line_break() -> None:
    told = Redaction().text(json.dumps(["see.\nann@example.org", "ann@example.org\n", "\\nann@example.org"]))
    assert json.loads(told) == ["see.\n<address>", "<address>\n", "\\n<address>"]


def test_values_of_fields_with_such_names_are_left_out() -> None:
    found = without_secrets({"a": [{"api_token": "x"}], "notify": ["y"], "Set-Cookie": "z", "b": 1})
    assert found == {
        "a": [{"api_token": "<left out>"}],
        "notify": "<left out>",
        "Set-Cookie": "<left out>",
        "b": 1,
    }


def test_only_headers_that_are_known_to_be_harmless_are_shown() -> None:
    shown = shown_headers({"Date": "d", "Set-Cookie": "s", "X-New": "n"})
    assert shown == {"Date": "d", "Set-Cookie": "<left out>", "X-New": "<left out>"}


def test_a_member_is_cut_where_it_is_long_and_redacted_before() -> None:
    packed = pack([("long.txt", "x" * (MOST_BYTES - 3) + "s3cr3t")], Redaction(secrets=("s3cr3t",)), AT, "top")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        (entry,) = archive.getmembers()
        body = archive.extractfile(entry)
        assert body is not None
        text = body.read().decode()
    assert (entry.name, entry.mode) == ("top/long.txt", 0o600)
    assert "s3c" not in text
    assert text.endswith("... cut here\n")
    assert packed == pack([("long.txt", "x" * (MOST_BYTES - 3) + "s3cr3t")], Redaction(("s3cr3t",)), AT, "top")
