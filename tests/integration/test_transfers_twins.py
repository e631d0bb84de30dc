"""Two ids with one destination travel as one item, and are refused as one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from jgi_stager.simulator import Catalogue
from jgi_stager.simulator.tasks import Refused
from stage import PROPOSAL, analysis_project, small_file, stage


def test_twins_that_globus_refuses_fail_and_the_others_arrive(tmp_path: Path, mongod_uri: str) -> None:
    files = [small_file(1, number) for number in range(1, 9)]
    twin = replace(small_file(1, 9, name=files[4].name), content=files[4].content)
    catalogue = Catalogue((analysis_project(1, [*files, twin]),), PROPOSAL)
    with stage(tmp_path, mongod_uri, catalogue) as st:
        transfers = st.out.sim.world.transfers
        real = transfers._jobs

        def jobs(body: Any) -> Any:
            if " files " in body["label"] and re.search(r"Ga0500001_5\.gff", str(body["DATA"])):
                raise Refused(400, "ClientError.BadRequest", "this item is not to my taste")
            return real(body)

        vars(transfers)["_jobs"] = jobs
        st.insert()
        st.wait(hours=48, minutes=60)
        assert st.counts() == {"done": 7, "failed": 2}
