"""What a rescan finds: the files of an analysis project as JDP lists them now, against those that are known. Pure.

Nothing that is known is changed by it: a file that is staged stays as it is, under its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from jgi_stager.discovery_models import ChangedFile, DiscoveredProject, NamedFile
from jgi_stager.formatting import count, cut, human_bytes, some_of
from jgi_stager.lifecycle import State
from jgi_stager.records import FileRecord
from jgi_stager.selection import Listed, Placed
from jgi_stager.store.files import FileRow

MOST_TOLD = 20
"""Files of a sort that a mail names."""
MOST_NOTED = 5000
"""Of what is noted of one analysis project; the largest real one has a hundred files."""


def placed(known: Iterable[FileRow], directory: PurePosixPath) -> list[Placed]:
    """The files that have their place in the directory of the analysis project."""
    found = []
    for file in known:
        path = PurePosixPath(file.destination_path or "/")
        if path.is_relative_to(directory):
            listed = Listed(file.jdp_file_id, file.file_name, file.size, md5=file.md5sum)
            found.append(Placed(listed, file.source_file_id, str(path.relative_to(directory))))
    return found


def new_files(records: Iterable[FileRecord], known: Iterable[FileRow]) -> list[FileRecord]:
    """Those of the wanted files that are to be entered.

    Not a second id of what is there, or on its way, under the same name: it would be asked from tape once more.
    """
    states = {file.jdp_file_id: file.state for file in known}
    fresh = [record for record in records if record.jdp_file_id not in states]
    return [record for record in fresh if states.get(record.source_file_id, State.PENDING) == State.PENDING]


def changed_files(records: Iterable[FileRecord], known: Iterable[FileRow]) -> list[ChangedFile]:
    """The known files of which JDP says another size or md5 now. A checksum that is missing says nothing."""
    said = {record.jdp_file_id: record for record in records}
    found = []
    for file in known:
        record = said.get(file.jdp_file_id)
        if record is None:
            continue
        other_md5 = None not in (record.md5sum, file.md5sum) and record.md5sum != file.md5sum
        if record.jdp_file_size != file.size or other_md5:
            found.append(
                ChangedFile(
                    jdp_file_id=file.jdp_file_id,
                    file_name=file.file_name,
                    was=file.size,
                    size=record.jdp_file_size,
                    md5sum=record.md5sum,
                )
            )
    return found[:MOST_NOTED]


def gone_files(listed: Iterable[str], known: Iterable[FileRow]) -> list[NamedFile]:
    """The known files that are not among the ids that JDP lists."""
    there = set(listed)
    gone = [file for file in known if file.jdp_file_id not in there]
    return [NamedFile(jdp_file_id=one.jdp_file_id, file_name=one.file_name) for one in gone[:MOST_NOTED]]


@dataclass(frozen=True)
class Growth:
    """What a rescan found that the one before had not."""

    added: int
    added_bytes: int
    new: tuple[str, ...]
    """Analysis projects that were not known (``Ga...``)."""
    superseded: tuple[str, ...]
    """Those that GOLD does not show any more."""
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    """Files, each as a line for people."""

    @property
    def anything(self) -> bool:
        """Whether people are to hear of it."""
        return bool(self.added or self.new or self.superseded or self.changed or self.gone)

    @property
    def sentence(self) -> str:
        """What was found, for the history."""
        said = []
        if self.added or self.new:
            of = f" ({count(len(self.new), 'new analysis project')})" if self.new else ""
            said.append(f"{count(self.added, 'new file')}, {human_bytes(self.added_bytes)}{of}")
        if self.changed:
            said.append(f"{count(len(self.changed), 'file')} changed at JDP")
        if self.gone:
            said.append(f"{count(len(self.gone), 'file')} not listed any more")
        if self.superseded:
            said.append(
                f"{count(len(self.superseded), 'analysis project')} superseded: {some_of(self.superseded)}"
            )
        return f"rescanned: {'; '.join(said) or 'nothing new'}"

    def told(self, name: str, by: str) -> dict[str, Any]:
        """What the mail says of it."""
        all_of_them = f"jgi-stager files {name}"
        return {
            "added": self.added,
            "added_bytes": self.added_bytes,
            "new": len(self.new),
            "new_names": some_of(self.new, MOST_TOLD),
            "superseded": len(self.superseded),
            "superseded_names": some_of(self.superseded, MOST_TOLD),
            "changed": len(self.changed),
            "changed_files": cut(self.changed, MOST_TOLD, all_of_them),
            "gone": len(self.gone),
            "gone_files": cut(self.gone, MOST_TOLD, all_of_them),
            "by": by,
        }


def growth(before: Sequence[DiscoveredProject], now: Sequence[DiscoveredProject], added_bytes: int) -> Growth:
    """What the analysis projects of a rescan show, against those of the discovery ``before`` it.

    What was told then, and is still so, is not told again.
    """
    known, found = {one.ap_gold_id: one for one in before}, {one.ap_gold_id for one in now}
    changed, gone = [], []
    for ap in now:
        earlier = known.get(ap.ap_gold_id)
        changed += [_changed(ap, one) for one in ap.changed if earlier is None or one not in earlier.changed]
        gone += [_named(ap, one) for one in ap.gone if earlier is None or one not in earlier.gone]
    return Growth(
        added=sum(len(ap.added) for ap in now),
        added_bytes=added_bytes,
        new=tuple(sorted(found - known.keys())),
        superseded=tuple(sorted(known.keys() - found)),
        changed=tuple(changed),
        gone=tuple(gone),
    )


def _changed(ap: DiscoveredProject, file: ChangedFile) -> str:
    if file.was == file.size:
        return f"{_named(ap, file)}: another md5"
    was, now = ("no size" if size is None else human_bytes(size) for size in (file.was, file.size))
    return f"{_named(ap, file)}: {was}, now {now}" if was != now else f"{_named(ap, file)}: another size"


def _named(ap: DiscoveredProject, file: NamedFile) -> str:
    return f"{file.file_name} ({file.jdp_file_id}, {ap.ap_gold_id})"
