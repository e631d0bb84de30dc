"""Looks at every file after the run, on disk and against the simulator's catalogue: the daemon is not asked.

Its database only says which place belongs to which file; what has to lie there follows from the catalogue.
"""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jgi_stager.lifecycle import State
from jgi_stager.settings import JdpSettings

STAGED_TYPES = ("Metagenome Analysis", "Metatranscriptome Analysis")
READ_WHOLE_BYTES = 1_000_000
"""The md5 of every file up to this size is computed."""
LARGEST_READ_BYTES = 100_000_000
SAMPLE_BYTES = 1_000_000_000
"""Of the larger ones, up to `LARGEST_READ_BYTES`, a sample of this many bytes is drawn by the seed."""
_BLOCK_BYTES = 1024 * 1024
_WORKERS = 2


@dataclass(frozen=True)
class Wanted:
    """What has to lie at one place. ``md5`` None: only a claim is known, the content cannot be made."""

    path: str
    size: int
    md5: str | None


@dataclass(frozen=True)
class Findings:
    """What the demo saw. ``wrong`` has a sentence for each thing that is not as it must be."""

    files: int
    """Places looked at: they exist, as regular files of the right size, unless ``wrong`` says otherwise."""
    md5: int
    """How many of them were read, and have the right md5."""
    md5_bytes: int
    md5_in_books: int
    """File records that carry the md5 of the catalogue; JDP gives none for some files."""
    left_out: int
    """Files of the catalogue that the filter rules drop."""
    wrong: tuple[str, ...] = ()


def check_files(
    documents: Sequence[Mapping[str, Any]],
    catalogue: Iterable[Mapping[str, Any]],
    analysis_files: Path,
    *,
    contents_known: bool,
    seed: int,
) -> Findings:
    """Compare the directory ``analysis_files`` with the catalogue. ``documents`` are the daemon's file records;
    without ``contents_known`` the md5 of a file says nothing of what lies there."""
    rows = {(row["ap_gold_id"], row["id"]): row for row in catalogue if row["ap_type"] in STAGED_TYPES}
    wrong: list[str] = []
    left_out = _left_out(documents, rows, wrong)
    wanted = _wanted(documents, rows, contents_known, wrong)
    right = [one for one in wanted.values() if _has_size(one, wrong)]
    wrong += _strays(analysis_files, wanted)
    readable = list(_to_read(right, seed))
    with ThreadPoolExecutor(_WORKERS) as pool:
        problems = [problem for problem in pool.map(_md5_problem, readable) if problem]
    md5_bytes = sum(one.size for one in readable)
    return Findings(
        files=len(wanted),
        md5=len(readable) - len(problems),
        md5_bytes=md5_bytes,
        md5_in_books=sum(document["md5sum"] is not None for document in documents),
        left_out=left_out,
        wrong=(*wrong, *problems),
    )


def _left_out(
    documents: Iterable[Mapping[str, Any]],
    rows: Mapping[tuple[str, str], Mapping[str, Any]],
    wrong: list[str],
) -> int:
    """How many files nobody recorded. Only those that a rule can have dropped may be among them."""
    recorded = {(document["ap_gold_id"], document["jdp_file_id"]) for document in documents}
    parts = JdpSettings().remove_files
    missing = [row for key, row in rows.items() if key not in recorded]
    wrong += [
        f"{row['ap_gold_id']} {row['id']} {row['name']}: wanted, and not in the database"
        for row in missing
        if "fastq" not in row["name"] and not any(part in row["name"] for part in parts)
    ]
    return len(missing)


def _wanted(
    documents: Iterable[Mapping[str, Any]],
    rows: Mapping[tuple[str, str], Mapping[str, Any]],
    contents_known: bool,
    wrong: list[str],
) -> dict[str, Wanted]:
    """What has to lie where, by path. Two ids may share a place only if they have the same content."""
    found: dict[str, Wanted] = {}
    for document in documents:
        name = f"{document['ap_gold_id']} {document['jdp_file_id']} {document['file_name']}"
        row = rows.get((document["ap_gold_id"], document["jdp_file_id"]))
        if row is None or document["state"] != State.DONE:
            wrong.append(f"{name}: {'not in the catalogue' if row is None else document['state']}")
            continue
        if document["md5sum"] not in (None, row["md5"] or None):
            wrong.append(f"{name}: recorded with md5 {document['md5sum']} instead of {row['md5']}")
        path = str(document["destination_path"])
        one = Wanted(path, int(row["size"]), str(row["md5"]) if contents_known else None)
        if found.setdefault(path, one) != one:
            wrong.append(f"{name}: shares {path} with a file of other content")
    return found


def _has_size(one: Wanted, wrong: list[str]) -> bool:
    try:
        found = os.lstat(one.path)
    except OSError as error:
        wrong.append(f"{one.path}: {error.strerror}")
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != one.size:
        wrong.append(f"{one.path}: {found.st_size} bytes instead of {one.size}, or not a regular file")
        return False
    return True


def _strays(analysis_files: Path, wanted: Mapping[str, Wanted]) -> list[str]:
    return [
        f"{path}: nobody wanted it"
        for directory, _, names in os.walk(analysis_files)
        for path in (os.path.join(directory, name) for name in names)
        if path not in wanted
    ]


def _to_read(right: Sequence[Wanted], seed: int) -> Iterator[Wanted]:
    known = [one for one in right if one.md5 is not None]
    yield from (one for one in known if one.size <= READ_WHOLE_BYTES)
    larger = [one for one in known if READ_WHOLE_BYTES < one.size <= LARGEST_READ_BYTES]
    random.Random(seed).shuffle(larger)  # noqa: S311 - a sample, not a secret
    left = SAMPLE_BYTES
    for one in larger:
        if one.size <= left:
            left -= one.size
            yield one


def _md5_problem(one: Wanted) -> str | None:
    digest = hashlib.md5(usedforsecurity=False)
    with open(one.path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    found = digest.hexdigest()
    return None if found == one.md5 else f"{one.path}: its md5 is {found} instead of {one.md5}"
