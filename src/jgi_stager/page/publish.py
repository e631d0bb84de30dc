"""Copies of the pages in a directory, for a web server that serves files: the projects, and each of them.

They are for anybody: no logins, no addresses, nothing to do. Each is written beside its place and put there whole;
no link in the directory is followed, and what else lies there is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from jgi_stager.page import render, views
from jgi_stager.page.reader import Reader
from jgi_stager.page.views import PUBLISHED, PageData
from jgi_stager.reporting.report_files import Folder

PROJECTS = "p"
MOST_PROJECTS = 500
MODE = 0o755
"""Of the directory of the projects; the files can be read by the same people."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def write_copy(directory: Path, reader: Reader, data: PageData) -> list[str]:
    """Write all pages; their names. Raises OSError and `StoreError`: what was written by then stays."""
    names = []
    lines = [line for line in data.status.lines if line.project.state in PUBLISHED][:MOST_PROJECTS]
    with _folders(directory) as (top, below):
        for line in lines:
            name = f"{line.project.name}.html"
            whole = reader.points(data, line.project.name)
            _put(below, name, render.project_copy(views.project_page(whole, line)))
            names.append(f"{PROJECTS}/{name}")
        _put(top, "index.html", render.index_copy(views.index(data, MOST_PROJECTS)))
    return [*names, "index.html"]


def _put(folder: Folder, name: str, page: str) -> None:
    with folder.new(name) as file:
        file.write(page)


@contextmanager
def _folders(directory: Path) -> Iterator[tuple[Folder, Folder]]:
    """The directory, which must be there, and that of the projects in it, which is made."""
    with ExitStack() as stack:
        top = os.open(directory, _OPEN)
        stack.callback(os.close, top)
        made = False
        with suppress(FileExistsError):
            os.mkdir(PROJECTS, 0o700, dir_fd=top)
            made = True
        below = os.open(PROJECTS, _OPEN | os.O_NOFOLLOW, dir_fd=top)
        stack.callback(os.close, below)
        if made:
            os.fchmod(below, MODE)
        folders = Folder(str(directory), top, MODE), Folder(str(directory / PROJECTS), below, MODE)
        for one in folders:
            one.tidy()
        yield folders
