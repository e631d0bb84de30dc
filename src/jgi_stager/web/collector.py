"""The metrics that are read from the database at each scrape. Names and labels: docs/operations.md."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from jgi_stager.alarm_models import Cause
from jgi_stager.failures import NEEDED
from jgi_stager.lifecycle import OPEN_REQUESTS, OPEN_TASKS, ProjectState
from jgi_stager.service.lease import DUTY
from jgi_stager.service.metrics_snapshot import NEW, MetricsSnapshot
from jgi_stager.store import StoreError, leases
from jgi_stager.version import RELEASE
from jgi_stager.web.health import Monitor


def _gauge(name: str, text: str, labels: Iterable[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"jgi_stager_{name}", text, labels=list(labels))


@dataclass(eq=False)
class StoreCollector(Collector):
    """Turns a snapshot into metrics. A label that once was shown and is gone stays, as zero: a graph would
    otherwise go on with the last value."""

    monitor: Monitor
    _seen: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What Prometheus gets."""
        snapshot = self.monitor.snapshot()
        up = _gauge("database_up", "1 while the database can be read.")
        up.add_metric([], float(snapshot is not None))
        yield up
        build = _gauge("build", "1, with the version that runs.", ["version"])
        build.add_metric([RELEASE], 1)
        yield build
        yield from self._services()
        if snapshot is not None:
            yield from self._files(snapshot)
            yield from self._rest(snapshot)
            yield from _quota(snapshot)
            yield self._credentials(snapshot)
            yield self._alarms(snapshot)
            yield self._lease()
            planned = _gauge("planned_outage", "1 while an outage is announced, and an hour longer.", ["service"])
            for service in NEEDED:
                planned.add_metric([service.value], float(service.value in snapshot.planned))
            yield planned

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: what is collected is known only when the database is read."""
        return ()

    def _filled(
        self, family: GaugeMetricFamily, values: Mapping[tuple[str, ...], float], always: Iterable[str] = ()
    ) -> GaugeMetricFamily:
        with self._lock:
            seen = self._seen.setdefault(family.name, {(one,) for one in always})
            seen.update(values)
            for labels in sorted(seen):
                family.add_metric(list(labels), values.get(labels, 0))
        return family

    def _files(self, snapshot: MetricsSnapshot) -> Iterator[GaugeMetricFamily]:
        by = ("project", "state")
        counts: dict[tuple[str, ...], float] = {key: float(tally.files) for key, tally in snapshot.files.items()}
        sizes: dict[tuple[str, ...], float] = {key: float(tally.bytes) for key, tally in snapshot.files.items()}
        yield self._filled(_gauge("files", "Files, by project and state.", by), counts)
        yield self._filled(_gauge("bytes", "Their bytes; files of unknown size count 0.", by), sizes)

    def _rest(self, snapshot: MetricsSnapshot) -> Iterator[GaugeMetricFamily]:
        named = (
            ("projects", "Projects, by state.", snapshot.projects, (*ProjectState, NEW)),
            ("requests", "Open restore requests to JDP, by state.", snapshot.requests, OPEN_REQUESTS),
            ("tasks", "Open Globus tasks, by state.", snapshot.tasks, OPEN_TASKS),
        )
        for name, text, counts, always in named:
            values: dict[tuple[str, ...], float] = {(state,): float(count) for state, count in counts.items()}
            yield self._filled(_gauge(name, text, ["state"]), values, [str(state) for state in always])
        ages = (
            ("oldest_request_age_seconds", "Age of the oldest open restore request.", snapshot.oldest_request),
            ("oldest_task_age_seconds", "Age of the oldest open Globus task.", snapshot.oldest_task),
            ("oldest_notice_age_seconds", "Age of the oldest notice not mailed yet.", snapshot.oldest_notice),
        )
        for name, text, since in ages:
            family = _gauge(name, text + " 0 without one.")
            family.add_metric([], (snapshot.now - since).total_seconds() if since else 0)
            yield family
        waiting = _gauge("notices_waiting", "Notices that are not mailed yet.")
        waiting.add_metric([], snapshot.notices)
        yield waiting

    def _services(self) -> Iterator[GaugeMetricFamily]:
        problems = self.monitor.problems()
        usable = _gauge("service_usable", "1 while the service is asked, 0 while it is out.", ["service"])
        person = _gauge("service_needs_person", "1 while a person must act before it is asked.", ["service"])
        for service in NEEDED:
            waits = self.monitor.ctx.circuit_breaker.needs_person(service) is not None
            usable.add_metric([service.value], float(service.value not in problems))
            person.add_metric([service.value], float(waits))
        yield usable
        yield person
        silent = _gauge("stuck", "Steps (or the scheduler) that have not moved for longer than they may.")
        silent.add_metric([], len(self.monitor.stuck()))
        yield silent

    def _credentials(self, snapshot: MetricsSnapshot) -> GaugeMetricFamily:
        family = _gauge("credential_age_seconds", "Since the credential of the service is in place.", ["service"])
        ages: dict[tuple[str, ...], float] = {
            (name,): (snapshot.now - since).total_seconds() for name, since in snapshot.credentials.items()
        }
        return self._filled(family, ages)

    def _alarms(self, snapshot: MetricsSnapshot) -> GaugeMetricFamily:
        family = _gauge("alarms_open", "What people were told of and is not over, by cause.", ["cause"])
        counts = Counter(one.cause.value for one in snapshot.alarms)
        values: dict[tuple[str, ...], float] = {(cause,): float(number) for cause, number in counts.items()}
        return self._filled(family, values, [cause.value for cause in Cause])

    def _lease(self) -> GaugeMetricFamily:
        family = _gauge("lease_held", "1 for the daemon that holds the lease of the database.", ["owner"])
        try:
            held = leases.holder(self.monitor.ctx.store, DUTY)
        except StoreError:
            return family
        values: dict[tuple[str, ...], float] = {}
        if held is not None:
            values[(str(held["owner"]),)] = float(held["valid"])
        return self._filled(family, values)


def _quota(snapshot: MetricsSnapshot) -> Iterator[GaugeMetricFamily]:
    free_at = snapshot.quota.free_at
    values = (
        ("quota_limit_bytes", "Bytes that may be asked for in any window.", snapshot.quota.limit),
        ("quota_used_bytes", "Bytes asked for in the window that ends now.", snapshot.quota.used),
        ("quota_left_bytes", "Bytes that may be asked for now.", snapshot.quota.left),
        (
            "quota_free_in_seconds",
            "Until the next bytes come free; 0 if none are spent.",
            max(0.0, (free_at - snapshot.now).total_seconds()) if free_at else 0,
        ),
    )
    for name, text, value in values:
        family = _gauge(name, text)
        family.add_metric([], value)
        yield family
