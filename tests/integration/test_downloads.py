"""Files that are downloaded from JDP itself: the same way to their destination, without Globus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from invariants import check_run
from stage import Stage, small_catalogue, stage

HTTPS: Any = {
    "staging": {"method": "https"},
    "globus": {"client_id": None, "globus_root_dir": ""},
    "jdp": {"globus_user_name": ""},
}


@pytest.fixture
def st(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3, 40_000), sections=HTTPS) as found:
        (found.secrets / "globus_client_secret").unlink()
        yield found


def test_the_whole_way_without_globus(st: Stage) -> None:
    st.insert()
    st.drive(24)
    books = check_run(st)
    print(st.documents("files")[0])
    assert books["downloaded_bytes"] == 6 * 40_000
    assert not [name for name in st.calls() if name.startswith(("transfer.", "auth."))]
