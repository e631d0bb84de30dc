"""An intent is sent only if its files still wait for it: a person may have changed their mind meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jgi_stager import admin
from jgi_stager.clients.globus import Globus
from jgi_stager.steps import transfers
from killer import Killed
from stage import Stage, small_catalogue, stage


def file_tasks(st: Stage) -> list[dict[str, Any]]:
    """The tasks that carried files, as Globus saw them."""
    return [one for one in st.out.books()["tasks"] if " files " in one["label"]]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_project_that_is_cancelled_between_the_choice_and_the_intent(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), transfer_bytes_per_second=1e4) as st:
        st.insert()
        st.until("manifest_ready")
        real = Globus.submission_id

        def submission_id(self: Globus) -> str:
            admin.cancel_project(st.store, "soil", "a person")
            st.run("cancel")
            if resumed:
                admin.resume_project(st.store, "soil", "a person")
            return real(self)

        monkeypatch.setattr(Globus, "submission_id", submission_id)
        st.run("submit_transfers")
        monkeypatch.undo()
        assert st.counts() == {"pending": 4}
        assert file_tasks(st) == []
        assert [one["state"] for one in st.documents("globus_tasks", kind="files")] == ["refused"]
        assert st.alarms() == []
        if not resumed:
            st.wait(hours=6)
            assert file_tasks(st) == []
            return
        st.drive(hours=200)
        assert st.counts() == {"done": 4}
        assert set(st.out.sim.world.transfers.per_destination.values()) == {1}


@pytest.mark.parametrize("sent", [False, True])
def test_after_a_kill_only_what_never_left_is_looked_at_again(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    """Killed before the POST was noted, or right after: paused meanwhile, the first is withdrawn."""
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("manifest_ready")

        def killed(*_: Any) -> Any:
            raise Killed

        if sent:
            monkeypatch.setattr(Globus, "submit", killed)
        else:
            monkeypatch.setattr(transfers, "send", killed)
        with pytest.raises(Killed):
            st.run("submit_transfers")
        monkeypatch.undo()
        admin.pause_project(st.store, "soil", "a person")
        st.restart()
        st.run("submit_transfers")
        assert len(file_tasks(st)) == sent
        assert st.counts() == {"transferring" if sent else "manifest_ready": 3}
        admin.resume_project(st.store, "soil", "a person")
        st.drive()
        assert len(file_tasks(st)) == 1
