"""What a ready request leaves on the JGI collection: a directory with the files, and the manifest."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import md5

from .catalogue import AnalysisProject, Catalogue, CatalogueFile
from .content import SMALL_BYTES, Content
from .filesystem import Collections
from .settings import Switches

HEADER = (
    "filename",
    "file_id",
    "JGI Grouping ID",
    "directory/path",
    "Short Organism Name",
    "Genome/Metagenome Name",
    "md5 checksum",
    "file size",
)


@dataclass(frozen=True, slots=True)
class DeliveredFile:
    """One file of a delivery: where it lies below the request's directory, and what it holds."""

    file: CatalogueFile
    project: AnalysisProject
    short_name: str
    name: str
    content: Content

    @property
    def directory(self) -> str:
        """The manifest's ``directory/path``."""
        return f"{self.short_name}/{self.file.directory}"


def plan_delivery(catalogue: Catalogue, ids: Iterable[str]) -> list[DeliveredFile]:
    """Where each file goes. Short names that clash get a number, as do names that clash in one directory.

    A file that several analysis projects share is delivered once, under the first of them.
    """
    names: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    plan = []
    for file_id in ids:
        file = catalogue.files[file_id]
        project = catalogue.by_its_ap_id[file.ap_ids[0]]
        short = _short_name(names, project)
        name, number = file.name, 1
        while (f"{short}/{file.directory}", name) in taken:
            name, number = f"{number}_{file.name}", number + 1
        taken.add((f"{short}/{file.directory}", name))
        plan.append(DeliveredFile(file, project, short, name, file.content))
    return plan


def _short_name(names: dict[str, str], project: AnalysisProject) -> str:
    if project.ap_gold_id not in names:
        name, number = project.short_name, 0
        while name in names.values():
            number += 1
            name = f"{project.short_name}_{number}"
        names[project.ap_gold_id] = name
    return names[project.ap_gold_id]


RENAMED = {
    "filename": "File Name",
    "file_id": "FILE ID",
    "directory/path": "Directory",
    "md5 checksum": "MD5",
    "file size": "File Size (bytes)",
}
UNKNOWN = {"file_id": "Portal Key", "directory/path": "Location"}


@dataclass(frozen=True, slots=True)
class Form:
    """How a manifest is written: the names of its columns in their order, each with what stands below it."""

    columns: tuple[tuple[str, str], ...] = tuple((name, name) for name in HEADER)
    capitals: bool = False
    """The ids of the files are."""
    quoted: bool = True
    """Every value is; else only what needs it, and there is no line break at the end."""

    @classmethod
    def of(cls, switches: Switches, *, quoted: bool) -> Form:
        """As the switches say."""
        names = {name: name for name in HEADER}
        match switches.manifest_columns:
            case "renamed":
                names |= RENAMED
            case "unknown":
                names |= UNKNOWN
            case "reordered":
                names = dict(reversed(names.items()))
            case "extra":
                names = {"file size": "file size", "Delivered by": "Delivered by", **names}
        columns = tuple((shown, name) for name, shown in names.items())
        return cls(columns, switches.ids_in_capitals, quoted)


def manifest_text(plan: Sequence[DeliveredFile], form: Form = Form()) -> str:
    """The manifest of these files."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL if form.quoted else csv.QUOTE_MINIMAL, lineterminator="\n")
    writer.writerow([shown for shown, _ in form.columns])
    for one in plan:
        row = _row(one)
        row["file_id"] = row["file_id"].upper() if form.capitals else row["file_id"]
        writer.writerow([row.get(name, "Example Person") for _, name in form.columns])
    return text.getvalue() if form.quoted else text.getvalue().removesuffix("\n")


def _row(one: DeliveredFile) -> dict[str, str]:
    values = (
        one.name,
        one.file.id,
        f"IMG_AP-{one.project.its_ap_id}",
        one.directory,
        one.short_name,
        one.project.organism_name,
        one.file.content.md5,
        str(one.file.size),
    )
    return dict(zip(HEADER, values, strict=True))


def spoilt_manifest(kind: str, plan: Sequence[DeliveredFile], form: Form = Form()) -> bytes:
    """The manifest with one of the manifest faults."""
    whole = manifest_text(plan, form)
    if kind == "manifest_short":
        return manifest_text(plan[: len(plan) // 2], form).encode()
    if kind == "manifest_extra":
        extra = plan[0].file
        stranger = replace(plan[0], file=replace(extra, id="f" * 24), name="not_asked_for.txt")
        return manifest_text([*plan, stranger], form).encode()
    if kind == "manifest_bad_header":
        other = ("name", "id", "group", "path", "short", "long", "sum", "size")
        return manifest_text(plan, replace(form, columns=tuple(zip(other, HEADER, strict=True)))).encode()
    if kind == "manifest_bad_encoding":
        return whole.replace("microbial", "micr\u00f6bial").replace(",", ";\u00e9,", 1).encode("latin-1")
    return whole.encode()[: max(len(whole) - 40, len(whole) // 2) if form.quoted else -1]


def write_delivery(
    collections: Collections, directory: str, plan: Iterable[DeliveredFile], names: str = "same"
) -> None:
    """Create the files of a delivery below ``directory``. ``names`` as in `Switches.delivered_names`."""
    for one in plan:
        collections.deliver(place_of(one, directory, names), one.content)


def place_of(one: DeliveredFile, directory: str, names: str) -> str:
    """Where a file of the delivery in ``directory`` lies."""
    name = one.name.replace(" ", "_") if names == "underscore" else one.name
    return f"{directory}/{one.directory}/{name}"


def wrong_content(content: Content) -> Content:
    """Content of the same size that is not it."""
    other = replace(content, key=f"wrong {content.key}", claimed=False)
    if content.size > SMALL_BYTES:
        return replace(other, key="", md5="", claimed=True)
    return replace(other, md5=md5(other.read(), usedforsecurity=False).hexdigest())


def wrong_size(content: Content) -> Content:
    """Content that is shorter than it should be."""
    size = content.size // 2
    if content.size > SMALL_BYTES:
        return Content(size, "", claimed=True)
    return Content(size, "", key=content.key or "zeros")
