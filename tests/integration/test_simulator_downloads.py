"""The simulated download host is no kinder than the real one is thought to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from simulated import HOUR, Outside, outside
from stage import file_id, small_catalogue

SIZE = 5000


def get(out: Outside, one: str, **headers: str) -> requests.Response:
    url = f"{out.sim.urls.downloads}/download_files/{one}/"
    return out.session.get(url, headers={**out.jdp_headers, **headers}, timeout=30)


def restored(out: Outside) -> str:
    one = file_id(1, 1)
    assert out.ask([one], "/request_archived_files/").status_code == 200
    for _ in range(48):
        out.clock.advance(HOUR)
        if get(out, one).status_code == 200:
            return one
    raise AssertionError("not restored after two days")


def test_it_gives_out_what_is_on_disk_and_parts_of_it(tmp_path: Path) -> None:
    with outside(tmp_path, small_catalogue(1, 2, SIZE)) as out:
        one = file_id(1, 1)
        assert get(out, one).status_code == 409
        assert get(out, "f" * 24).status_code == 404
        assert get(out, one, Authorization="Bearer x").status_code == 401
        assert restored(out) == one
        whole = out.sim.world.catalogue.files[one].content.read()
        answer = get(out, one)
        etag = answer.headers["ETag"]
        assert (answer.content, answer.headers["Content-Length"]) == (whole, str(SIZE))
        part = get(out, one, Range="bytes=4000-")
        assert (part.status_code, part.content) == (206, whole[4000:])
        assert part.headers["Content-Range"] == f"bytes 4000-{SIZE - 1}/{SIZE}"
        assert get(out, one, Range="bytes=4000-4009").content == whole[4000:4010]
        assert get(out, one, Range="bytes=4000-", **{"If-Range": etag}).status_code == 206
        assert get(out, one, Range="bytes=4000-", **{"If-Range": '"other"'}).status_code == 200
        assert get(out, one, Range=f"bytes={SIZE}-").status_code == 416
        out.control(switches={"download_parts": False, "download_etag": "none", "download_length": False})
        plain = get(out, one, Range="bytes=4000-")
        assert (plain.status_code, plain.content) == (200, whole)
        assert "ETag" not in plain.headers
        assert "Content-Length" not in plain.headers
        before = out.books(full=True)["downloaded"][one]
        out.mishap("download_cut", count=1)
        with pytest.raises(requests.RequestException):
            get(out, one)
        assert out.books(full=True)["downloaded"][one] - before == SIZE // 2
        out.mishap("download_wrong_content", count=1)
        assert get(out, one).content != whole
        out.mishap("download_wrong_size", count=1)
        assert len(get(out, one).content) == SIZE // 2
        out.clock.advance(20 * 24 * HOUR)
        assert get(out, one).status_code == 409, "the copy on disk has ended"
