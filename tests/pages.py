"""Pages for tests: looks made of values, and what a reader finds on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

from jgi_stager.history_models import HistoryPoint, PointKind
from jgi_stager.lifecycle import ProjectState, State
from jgi_stager.page.events import Mail, events
from jgi_stager.page.tables import FailedFile
from jgi_stager.page.views import PageData
from jgi_stager.planning import Spent
from jgi_stager.reporting import summary
from jgi_stager.reporting.snapshot_types import FailedGroup, Login, Move, Project, Snapshot
from jgi_stager.reporting.summary import Credential
from views import (
    GIGA,
    HOUR,
    NOW,
    TERA,
    delivered,
    facts,
    project,
    request,
    task,
    transferred,
    trouble,
    waiting,
    wants,
)

NAME = "soil-2026"
VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr"})


# --- four situations ----------------------------------------------------------------------------------------


def fresh() -> PageData:
    """A daemon that was just installed."""
    return data_of(facts())


def midway() -> PageData:
    """A project in the middle of everything, and two others."""
    return data_of(_world())


def dead_token() -> PageData:
    """The same, and JDP refuses the token."""
    dead = trouble("jdp", "needs_person", "jdp: HTTP 401; the token has ended", "jgi-stager token set jdp")
    login = Login("jdp", since=NOW - 90 * HOUR, last_success=NOW - 2 * HOUR, dead_since=NOW - 2 * HOUR)
    return data_of(_world(daemon=dead, logins={"jdp": login}), jdp="needs_person")


def ended_with_failures() -> PageData:
    """Everything is at rest, and some of it failed."""
    counts = {"done": (20_000, 15 * TERA), "failed": (14, 20 * GIGA)}
    held = project(NAME, "held", counts=counts, failed=FAILED, accepted_at=NOW - 60 * HOUR)
    done = project("river", "done", counts={"done": (100, TERA)}, accepted_at=NOW - 90 * HOUR)
    return data_of(facts(projects=(held, done)))


def many() -> PageData:
    """Twenty projects, one with as long a name as there may be, all with failures and many mails."""
    names = [NAME, "n" * 100, *(f"soil-{number:02}" for number in range(18))]
    world = _world(
        projects=tuple(moving(name, in_tasks={"t1-at-globus": 400}) for name in names),
        waiting=waiting(*(wants(10, GIGA, name) for name in names), spent=(Spent(NOW - HOUR, TERA),)),
        requests=tuple(request(652_400 + at, projects=tuple(names), word="pending") for at in range(6)),
    )
    failed = {name: [FailedFile("6190000000000000000000aa", f"{at}.gff") for at in range(5)] for name in names}
    points = {
        name: [
            point if point.mark else point.model_copy(update={"mark": "mail"})
            for point in history_of(moving(name))
        ]
        for name in names
    }
    return data_of(world, failed=failed, points=points)


FAILED = (
    FailedGroup("the md5 differs from JDP's", 12, 15 * GIGA, ("a.gff", "b.fasta", "c.bam")),
    FailedGroup("JDP does not know it any more", 2, 5 * GIGA, ("d.gff",)),
)
COUNTS = {
    "done": (9000, 5 * TERA),
    "transferring": (400, 300 * GIGA),
    "manifest_ready": (120, 90 * GIGA),
    "restored": (300, 200 * GIGA),
    "restore_requested": (3000, 3 * TERA),
    "pending": (8000, 7 * TERA),
    "failed": (14, 20 * GIGA),
}


def moving(name: str = NAME, **fields: Any) -> Project:
    """A project with files in every state."""
    values: dict[str, Any] = {
        "counts": COUNTS,
        "failed": FAILED,
        "accepted_at": NOW - 60 * HOUR,
        "destination": f"/stage/{name}",
        "in_tasks": {"t1-at-globus": 400},
        "history": (
            Move(NOW - 60 * HOUR, None, "discovering", "the record is right"),
            Move(NOW - 58 * HOUR, "discovering", "active", "its files are listed"),
        ),
    }
    return project(name, **{**values, **fields})


def _world(**fields: Any) -> Snapshot:
    spent = tuple(Spent(NOW - hour * HOUR, 480 * GIGA) for hour in range(1, 21))
    values: dict[str, Any] = {
        "projects": (
            moving(),
            project("lake", "discovering", listed=12, to_list=80),
            project("river", "done", counts={"done": (100, TERA)}, accepted_at=NOW - 90 * HOUR),
        ),
        "waiting": waiting(wants(30, TERA // 3, NAME), spent=spent),
        "requests": (
            request(projects=(NAME,), word="pending"),
            request(652_405, "ready", hours=9, projects=(NAME,), ready_at=NOW - HOUR, expires_at=NOW + 60 * HOUR),
        ),
        "tasks": (task("t1", bytes_moved=700 * GIGA),),
        "past_requests": [delivered(number, 2 + number % 5) for number in range(1, 12)],
        "past_tasks": [transferred(f"x{number}", 30 + number * 5) for number in range(9)],
        "logins": {"jdp": Login("jdp", since=NOW - 90 * HOUR, last_success=NOW - HOUR, ends_at=NOW + 40 * HOUR)},
    }
    return facts(**{**values, **fields})


def data_of(world: Snapshot, *, jdp: str = "usable", **fields: Any) -> PageData:
    """What the pages show of a world."""
    logins = [
        Credential("gold", "usable", age=timedelta(days=9)),
        Credential(
            "jdp", jdp, age=timedelta(days=3), known=world.logins.get("jdp"), cure="jgi-stager token set jdp"
        ),
        Credential("globus", "usable", age=timedelta(days=30)),
    ]
    mails = [Mail(NOW - 58 * HOUR, f"{NAME}: 20,834 files begin to move", NAME)]
    named = {one.name: [FailedFile("6190000000000000000000aa", "a.gff")] for one in world.projects if one.failed}
    values: dict[str, Any] = {
        "points": {one.name: history_of(one) for one in world.projects if one.counts},
        "events": events(world, mails, [], [], 400),
        "failed": named,
    }
    return PageData(summary.status(world, logins), **{**values, **fields})


def history_of(one: Project, hours: int = 58) -> list[HistoryPoint]:
    """What could be remembered of a project: it begins with everything pending."""
    total = one.total.bytes
    found = []
    for hour in range(hours, 0, -1):
        done = one.of("done").bytes * (hours - hour) // hours
        mark = {58: "mail", 30: "jdp token dead", 26: "jdp token back"}.get(hour)
        found.append(
            HistoryPoint(
                project_name=one.name or "x",
                accepted_at=NOW - 60 * HOUR,
                at=NOW - hour * HOUR,
                event_at=NOW - hour * HOUR,
                kind=PointKind.CHANGE if mark else PointKind.HOUR,
                project_state=ProjectState.ACTIVE,
                files={State.DONE: 1},
                bytes={State.DONE: done, State.PENDING: total - done},
                quota_used=hour * 100 * GIGA,
                mark=mark,
            )
        )
    return found


# --- hostile names ------------------------------------------------------------------------------------------

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "gfp\u202egnp.exe\u2066\u200b",
    "\x1b[31mred\x07",
    "]]></style><script>",
    "n" * 300,
    "javascript:alert(1)",
    "\u05d0\u05d1\u05d2 right to left",
)


def hostile(evil: str) -> PageData:
    """A world in which whatever came from outside is ``evil``."""
    base = midway().snapshot
    subject = moving(
        failed=(FailedGroup(evil, 14, 20, (evil,)),),
        history=(Move(NOW, None, "active", evil),),
        destination=f"/stage/{evil}",
        counts={**dict.fromkeys(State, (1, 1)), evil: (1, 1)},
    )
    odd = project(evil, "invalid", reason=evil)
    world = replace(
        base,
        projects=(subject, odd),
        requests=tuple(replace(one, word=evil, error=evil, projects=(NAME, evil)) for one in base.requests),
        tasks=(task("t1", nice_status=evil, error=evil, task_id=evil),),
        mails_given_up=(evil,),
        daemon=replace(dead_token().snapshot.daemon),
    )
    mails = [Mail(NOW, evil, NAME)]
    named = {NAME: [FailedFile(evil, evil)]}
    return data_of(world, events=events(world, mails, [], [], 99), failed=named, hung=(evil,))


# --- a page as a reader finds it ----------------------------------------------------------------------------


@dataclass
class Element:
    """An element with what is in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What is written in it, its white space made one blank each."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Sequence[str]:
        found: list[str] = []
        for child in self.children:
            found += [child] if isinstance(child, str) else [*child._texts(), " " if child.tag in BLOCKS else ""]
        return found

    def all(self, tag: str | None = None, **attributes: str | None) -> list[Element]:
        """Every element below, in order, with these attributes (None: whatever its value); ``class_`` is a word of
        its class, and ``_`` stands for ``-``."""
        found: list[Element] = []
        for child in self.children:
            if isinstance(child, Element):
                if (tag is None or child.tag == tag) and child.has(attributes):
                    found.append(child)
                found += child.all(tag, **attributes)
        return found

    def one(self, tag: str | None = None, **attributes: str | None) -> Element:
        """The only one."""
        (found,) = self.all(tag, **attributes)
        return found

    def has(self, attributes: dict[str, str | None]) -> bool:
        """Whether it has these."""
        for name, value in attributes.items():
            known = self.attributes.get("class" if name == "class_" else name.replace("_", "-"))
            if known is None or (
                value is not None and value not in (known.split() if name == "class_" else [known])
            ):
                return False
        return True


BLOCKS = {"p", "li", "td", "th", "dt", "dd", "h1", "h2", "h3", "div", "section", "caption", "figcaption", "title"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(page: str) -> Element:
    """A page; every element of it must be ended."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == [reader.root], reader.open[-1].tag
    return reader.root
