"""What can go wrong besides the death of the daemon: on the wire, inside the services, with clocks and servers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from campaign import byhand
from campaign.neighbours import LATE, NEIGHBOURS
from campaign.script import Event, Part, Scenario
from jgi_stager.simulator.faults import FaultRule
from jgi_stager.simulator.settings import WorldFault

WIRE_KINDS: tuple[str, ...] = get_args(FaultRule.model_fields["kind"].annotation)
INSIDE_KINDS: tuple[str, ...] = get_args(WorldFault.model_fields["kind"].annotation)
SECONDS = {
    "timeout_after_effect": 2.4,
    "slow": 2.4,
    "trickle": 0.3,
    "trickle_headers": 0.3,
    "refuse": 0.3,
    "refuse_next": 0.3,
}
"""Real, of a fault: later than the daemon waits for an answer, a byte at a time, or how long a port is shut."""


class Fault(Part):
    """Something that goes wrong: a piece of a script."""

    rules: tuple[dict[str, Any], ...] = ()
    inside: tuple[dict[str, Any], ...] = ()
    events: tuple[Event, ...] = ()
    clean: bool = True
    scenario: Scenario = Scenario()
    retries: bool = False
    """A file may wait for a person for it, who lets it be asked for once more."""
    hours: float | None = None
    """How long the projects that are well may take if nothing else goes wrong."""


STATUSES: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"},
    {"kind": "status", "status": 503, "retry_after": 120},
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 429, "retry_after": 900},
    {"kind": "status", "status": 401},
    {"kind": "status", "status": 403},
    {"kind": "status", "status": 404},
    {"kind": "status", "status": 400},
    {"kind": "status_after_effect", "status": 500},
    {"kind": "status_after_effect", "status": 504},
)


def on_the_wire(endpoints: Iterable[str]) -> Iterator[Fault]:
    """Every kind of fault at the first call of every endpoint, and at the second and third of those that cost."""
    plain = [{"kind": kind} for kind in WIRE_KINDS if kind not in ("status", "status_after_effect")]
    for endpoint in endpoints:
        for wrong in (*plain, *STATUSES):
            if (endpoint, wrong.get("status")) in MEANT:
                continue
            late = {"seconds": SECONDS[str(wrong["kind"])]} if wrong["kind"] in SECONDS else {}
            for nth in ([1], [2, 3]):
                if nth != [1] and (endpoint not in COSTLY or late or wrong["kind"] == "endless"):
                    continue
                rule = {"match": endpoint, **wrong, **late, "nth": nth}
                yield Fault(rules=(rule,))


COSTLY = ("jdp.download_files", "jdp.request_status", "transfer.submit", "transfer.task")
MEANT = {
    (endpoint, status)
    for endpoint in ("gold.analysis_projects", "gold.biosamples", "gold.projects")
    for status in (403, 404)
}
"""Answers that are no faults: so GOLD says that it has nothing for us, and the daemon is right to believe it."""

LASTING = {
    "request_stuck": 30,
    "request_status_word": 30,
    "file_status_word": 30,
    "tasks_inactive": 20,
    "tasks_paused": 20,
    "task_faulty": 50,
    "task_status_word": 10,
    "destination_full": 10,
    "directory_incomplete": 8,
    "manifest_torn": 8,
}
"""Hours for which these hold what they hit; the others hold as long as the simulator thinks right."""


def inside_the_services() -> Iterator[Fault]:
    """Every mishap inside JDP and Globus, once and twice."""
    for kind in (one for one in INSIDE_KINDS if not one.startswith("download")):  # it stages through Globus
        # A second delivery without use to the same file fails it, and rightly so.
        for count in (1,) if kind.startswith("delivery") or kind == "manifest_short" else (1, 2):
            fault: dict[str, Any] = {"kind": kind, "count": count}
            if kind in LASTING:
                fault["seconds"] = LASTING[kind] * 3600
            forever = kind not in LASTING and kind.startswith(("delivery", "manifest"))
            scenario = Scenario(retention_days=2) if forever else Scenario()
            yield Fault(inside=(fault,), clean=False, scenario=scenario, retries=forever)
    for kind in ("delivery_wrong_size", "arrival_wrong_size"):
        for count in (1, 3):
            # Where JDP gives no md5 the size alone tells.
            scenario = Scenario(without_md5=True, retention_days=2)
            yield Fault(inside=({"kind": kind, "count": count, "files": 4},), clean=False, scenario=scenario)


def outages() -> Iterator[Fault]:
    """Services that are out for a while, and come back."""
    wrong: tuple[dict[str, Any], ...] = (
        {"kind": "status", "status": 503},
        {"kind": "html200"},
        {"kind": "reset_before"},
    )
    for match in ("gold.*", "jdp.*", "transfer.*", "auth.*", "*"):
        for one in wrong:
            for tick, length in ((0, 8), (5, 12), (12, 20)):
                begin = Event(tick=tick, control={"faults": [{"match": match, **one}]})
                end = Event(tick=tick + length, control={"faults": []})
                yield Fault(events=(begin, end))
    for tick in (0, 3, 8, 15):
        yield Fault(events=(Event(tick=tick, mail_out_hours=30),))
        yield Fault(events=(Event(tick=tick, control={"refuse_connections_seconds": 0.5}),))
        yield _token_ends(tick)
    begin = Event(tick=6, control={"faults": [{"match": "transfer.*", "kind": "status", "status": 503}]})
    end = Event(tick=40, control={"faults": []})
    yield Fault(events=(begin, end), clean=False, scenario=Scenario(retention_days=1))


def _token_ends(tick: int) -> Fault:
    dead = Event(tick=tick, control={"switches": {"jdp_token_revoked": True}})
    alive = {"switches": {"jdp_token_revoked": False, "jdp_token": "session-2"}}
    return Fault(events=(dead, Event(tick=tick + 6, control=alive, token="session-2")))


def machines() -> Iterator[Fault]:
    """mongod killed, and the daemon's clock wrong for a while."""
    for tick in range(0, 24, 2):
        yield Fault(events=(Event(tick=tick, mongod="kill"),))
    for hours in (25.0, 3.0, -3.0, -25.0):
        for tick in (2, 6, 10, 16):
            wrong = Event(tick=tick, clock_hours=hours)
            yield Fault(events=(wrong, Event(tick=tick + 10, clock_hours=0.0)))


def wrong_dates() -> Iterator[Fault]:
    """JDP's own clock, as its answers show it, wrong in one of them, for a while, and without any sense."""
    right = {"jdp_date_ahead_hours": 0, "jdp_date": None, "jdp_date_wrong_answers": None}
    for wrong in (
        {"jdp_date_ahead_hours": 25},
        {"jdp_date_ahead_hours": 3},
        {"jdp_date_ahead_hours": -25},
        {"jdp_date": "Fri, 31 Dec 9999 23:59:57 GMT"},
        {"jdp_date": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"jdp_date": "yesterday"},
    ):
        for tick in (1, 4, 9):
            yield Fault(events=(Event(tick=tick, control={"switches": {**wrong, "jdp_date_wrong_answers": 1}}),))
            begin = Event(tick=tick, control={"switches": wrong})
            yield Fault(events=(begin, Event(tick=tick + 8, control={"switches": right})))


def bad_neighbours() -> Iterator[Fault]:
    """A project whose data is bad beside one that is well: in deliveries of their own, and in common ones."""
    for name, neighbour in NEIGHBOURS.items():
        if name != LATE:
            for batch in (1, 4):
                scenario = Scenario(batch=batch, neighbour=name, window_files=12, files=3)
                yield Fault(clean=False, scenario=scenario, hours=neighbour.hours)


def edited_by_hand() -> Iterator[Fault]:
    """One document of a project edited or forged, and another project on its way beside it."""
    for scenario, events in byhand.edits():
        yield Fault(events=events, clean=False, scenario=scenario, hours=byhand.HOURS[scenario.window_files])


def trials() -> Iterator[Fault]:
    """Installations that have used no delivery yet: a trial goes before everything else."""
    for number in (1, 2, 4):
        for records in (1, 2):
            yield Fault(scenario=Scenario(analysis_projects=number, records=records, proven=False))


def everything(endpoints: Iterable[str]) -> list[Fault]:
    """The whole menu."""
    return [
        *inside_the_services(),
        *outages(),
        *machines(),
        *wrong_dates(),
        *bad_neighbours(),
        *trials(),
        *edited_by_hand(),
        *on_the_wire(endpoints),
    ]
