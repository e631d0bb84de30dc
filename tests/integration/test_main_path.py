from __future__ import annotations
from pathlib import Path
import time
from stage import stage

def test_first(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        t = time.time()
        st.drive()
        print(time.time() - t, st.counts(), st.states())
        print(st.calls(), st.out.clock.now())
        print([e["event"] for e in st.events])
        assert 0
