"""Which MongoDB may be used on which data, and what is known against it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.server_versions import OLDEST, ServerVersion, known_against, obstacle, on_network, parsed

versions = st.builds(ServerVersion, st.integers(0, 99), st.integers(0, 9), st.integers(0, 99))


@given(versions)
def test_a_version_is_read_as_it_is_written(version: ServerVersion) -> None:
    assert parsed(str(version)) == parsed(f"v{version}") == version


@pytest.mark.parametrize("text", ["", "unknown", "-1.0", "v"])
def test_what_is_no_version_is_none(text: str) -> None:
    assert parsed(text) is None


def test_a_version_may_be_short_or_have_a_tail() -> None:
    assert parsed("7.0") == ServerVersion(7, 0)
    assert parsed("7.0.28-rc1") == ServerVersion(7, 0, 28)


@given(versions, st.one_of(st.none(), versions))
def test_no_data_are_opened_by_an_older_program_or_one_two_majors_on(
    program: ServerVersion, data: ServerVersion | None
) -> None:
    if obstacle(program, data) is None:
        assert program >= OLDEST
        assert data is None or data.series <= program.series <= (data.major + 1, 9)


def test_whatever_made_data_can_open_them_again() -> None:
    for text in ("4.4.30", "5.0.32", "6.0.5", "7.0.28", "8.0.17", "8.2.3"):
        found = parsed(text)
        assert found is not None
        assert obstacle(found, found) is None


def test_the_one_of_the_extra_is_told_to_be_over_and_not_to_leak_where_nobody_reaches_it() -> None:
    embedded = ServerVersion(6, 0, 5)
    assert known_against(embedded, on_network=False) == ("MongoDB makes no fixes for 6.0 since July 2025",)
    assert known_against(embedded, on_network=True)[1:] == ("it has CVE-2025-14847 (fixed in 6.0.27)",)


@pytest.mark.parametrize("text", ["7.0.28", "8.0.17", "8.2.3", "9.0.0"])
def test_nothing_is_said_against_one_that_gets_fixes_and_has_them(text: str) -> None:
    found = parsed(text)
    assert found is not None
    assert known_against(found, on_network=True) == ()


@pytest.mark.parametrize(
    ("uri", "networked"),
    [
        ("mongodb://%2Frun%2Fmongod.sock/?directConnection=true", False),
        ("mongodb://u:p%2Fq@db.example.org:27017/?tls=true", True),
        ("mongodb+srv://db.example.org/", True),
        ("mongodb://a,b,c/?replicaSet=rs", True),
    ],
)
def test_a_socket_of_this_machine_is_no_network(uri: str, networked: bool) -> None:
    assert on_network(uri) is networked
