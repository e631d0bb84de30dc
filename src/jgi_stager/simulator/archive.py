"""The archive behind JDP: file status, requests, tape, deliveries, expiry. All instants are epoch seconds."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .catalogue import Catalogue, CatalogueFile
from .delivery import (
    DeliveredFile,
    Form,
    manifest_text,
    place_of,
    plan_delivery,
    spoilt_manifest,
    write_delivery,
    wrong_content,
    wrong_size,
)
from .filesystem import Collections
from .mishaps import Mishaps, chosen
from .restores import ON_DISK, Breach, FileState, Request
from .settings import MANIFEST_FAULTS, SimulatorSettings, Switches
from .tape import Pull, TapeRobot

DAY = 86_400.0
HOUR = 3600.0


@dataclass
class Archive:
    """Files on tape and disk, and the requests for them."""

    settings: SimulatorSettings
    catalogue: Catalogue
    collections: Collections
    mishaps: Mishaps
    started: float
    switches: Switches = field(default_factory=Switches)
    requests: dict[int, Request] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)
    pulls: Counter[str] = field(default_factory=Counter)
    """How many times each file was queued for a tape pull."""
    states: dict[str, FileState] = field(default_factory=dict)
    _events: list[tuple[float, int, str, int]] = field(default_factory=list)
    _purges: list[tuple[float, str]] = field(default_factory=list)
    _waiting: dict[str, list[Request]] = field(default_factory=dict)
    _lacking: dict[int, set[str]] = field(default_factory=dict)
    _sequence: int = 0

    def __post_init__(self) -> None:
        self.tape = TapeRobot(
            self.settings.tape_drives, self.settings.tape_mount_seconds, self.settings.tape_bytes_per_second
        )
        for file in self.catalogue.files.values():
            self._place(file)

    def _place(self, file: CatalogueFile) -> None:
        """A few files are on disk when the simulation starts; those whose recorded status says so are too."""
        status = (file.recorded or {}).get("file_status")
        lot = int(file.id[-8:], 16) * 2_654_435_761 % 100
        if status == "RESTORED" or (status is None and lot < 4):
            self._store(file.id, "RESTORED" if lot % 2 == 0 else "BACKUP_COMPLETE", self.started)

    def _store(self, file_id: str, status: str, now: float) -> None:
        purge_at = self._midnight(now) + self.settings.retention_days * DAY
        self.states[file_id] = FileState(status, now, purge_at)
        heapq.heappush(self._purges, (purge_at, file_id))

    @staticmethod
    def _midnight(now: float) -> float:
        return math.floor(now / DAY) * DAY

    def state(self, file_id: str) -> FileState:
        """Where a file is now."""
        return self.states.get(file_id) or FileState("PURGED", self.started - 30 * DAY)

    # --- requests

    def window_bytes(self, now: float) -> int:
        """What was asked in the window that ends now."""
        since = now - self.settings.window_hours * HOUR
        return sum(request.size for request in self.requests.values() if since < request.at <= now)

    def size_of(self, ids: Sequence[str]) -> int:
        """The bytes of the files with these ids; those that nobody knows have none."""
        return sum(self.catalogue.files[one].size for one in set(ids) if one in self.catalogue.files)

    def over_limit(self, ids: Sequence[str], now: float, *, accepted: bool) -> Breach | None:
        """Whether a request for ``ids`` goes over a limit; books it if so."""
        limits = self.settings
        size = self.size_of(ids)
        breach = None
        if len(ids) > limits.max_request_ids:
            breach = Breach(now, "ids", len(ids), limits.max_request_ids, accepted)
        elif (total := self.window_bytes(now) + size) > limits.max_window_bytes:
            breach = Breach(now, "bytes", total, limits.max_window_bytes, accepted)
        if breach:
            self.breaches.append(breach)
        return breach

    def submit(self, ids: Sequence[str], now: float, user: str, *, deliver: bool, skips: bool = False) -> Request:
        """Accept a request. Ids that nobody knows are dropped without a word; with ``skips``, what is on disk is
        counted and not delivered."""
        known = tuple(one for one in dict.fromkeys(ids) if one in self.catalogue.files)
        on_disk = [one for one in known if self.state(one).status in ON_DISK]
        request = Request(
            id=self.settings.first_request_id + len(self.requests),
            at=now,
            ids=known,
            asked=len(ids),
            size=sum(self.catalogue.files[one].size for one in known),
            deliver=deliver,
            user=user,
            expires_at=now + self.settings.retention_days * DAY,
            restored_count=len(known) - len(on_disk),
            updated_count=len(on_disk),
            waiting=set(known) - set(on_disk),
        )
        self.requests[request.id] = request
        if skips and on_disk:
            self._lacking[request.id] = set(on_disk)
        request.stuck = self.mishaps.take("request_stuck", now, known, request.id)
        if early := self.mishaps.take("request_expires_early", now, known, request.id):
            request.expires_at = early.until or now + HOUR
        for one in on_disk:
            self._store(one, self.states[one].status, now)
        self._queue(request, now)
        self._later(now + self.settings.registration_seconds, "register", request)
        self._later(request.expires_at, "expire", request)
        if not request.waiting:
            self._all_on_disk(request, now)
        return request

    def _queue(self, request: Request, now: float) -> None:
        """Queue what is not queued yet; files of one analysis project lie on one cartridge."""
        cartridges: dict[int, list[str]] = {}
        for one in request.ids:
            if one not in request.waiting:
                continue
            self._waiting.setdefault(one, []).append(request)
            if self.state(one).status == "PURGED":
                self.states[one] = FileState("RESTORE_REGISTERED", now)
                self.pulls[one] += 1
                cartridges.setdefault(self.catalogue.files[one].ap_ids[0], []).append(one)
        for ids in cartridges.values():
            self.tape.add(Pull(now, tuple(ids), sum(self.catalogue.files[one].size for one in ids)))

    def _later(self, at: float, what: str, request: Request) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (at, self._sequence, what, request.id))

    # --- time

    def advance(self, now: float) -> None:
        """Let everything happen that is due."""
        for at, what, pull in self.tape.advance(now):
            self._until(at)
            for one in pull.ids:
                if what == "start":
                    self.states[one] = FileState("RESTORE_IN_PROGRESS", at)
                else:
                    self._arrived(one, at)
        self._until(now)
        self._purge(now)
        self._mend(now)

    def _until(self, now: float) -> None:
        while self._events and self._events[0][0] <= now:
            at, _, what, request_id = heapq.heappop(self._events)
            request = self.requests[request_id]
            if request.status != "expired":
                getattr(self, f"_on_{what}")(request, at)

    def _purge(self, now: float) -> None:
        hour = math.floor(now / HOUR) * HOUR
        while self._purges and self._purges[0][0] < hour:
            _, file_id = heapq.heappop(self._purges)
            state = self.states[file_id]
            if state.status in ON_DISK and state.purge_at < hour:
                self.states[file_id] = FileState("PURGED", hour, state.purge_at)

    def _arrived(self, file_id: str, at: float) -> None:
        self._store(file_id, "RESTORED", at)
        for request in self._waiting.pop(file_id, ()):
            request.waiting.discard(file_id)
            if not request.waiting:
                self._all_on_disk(request, at)

    def _all_on_disk(self, request: Request, at: float) -> None:
        if self.mishaps.holds(request.stuck, at):
            request.due = True
            return
        lag = self.settings.delivery_lag_seconds
        ready = max(at, request.at + self.settings.registration_seconds) + lag
        if request.deliver:
            self._later(ready - min(lag, self.settings.manifest_seconds), "deliver", request)
        self._later(ready, "ready", request)

    def _mend(self, now: float) -> None:
        """Go on with what a mishap held up and no longer does."""
        for request in self.requests.values():
            if request.due and not self.mishaps.holds(request.stuck, now):
                request.due = False
                self._all_on_disk(request, now)
            if request.late and not self.mishaps.holds(request.late, now):
                request.late = None
                if request.status == "ready":
                    names = self.switches.delivered_names
                    write_delivery(self.collections, request.directory, self._delivered(request), names)
            if request.hit and not self.mishaps.holds(request.hit, now):
                request.hit = None
                if request.status == "ready":
                    self._write_manifests(request, self._delivered(request))

    # --- what becomes of a request; called by name from _until

    def _on_register(self, request: Request, _at: float) -> None:
        if request.status == "new":
            request.status = "pending"

    def _on_deliver(self, request: Request, at: float) -> None:
        name = f"R{request.id}" if self.switches.delivery_directory == "plain" else f"R{request.id}_2026"
        directory = self.collections.resolve(
            self.settings.jgi_collection_id, f"/{self.settings.globus_root_dir}/{name}"
        )
        plan = self._spoil_delivery(plan_delivery(self.catalogue, request.ids), request, at)
        write_delivery(self.collections, directory, plan, self.switches.delivered_names)
        request.directory = directory
        self._write_manifests(request, plan, whole=False)

    def _on_ready(self, request: Request, at: float) -> None:
        request.status, request.ready_at = "ready", at
        if not request.deliver:
            return
        self._remove_for_a_while(request, at)
        for kind in MANIFEST_FAULTS:
            request.hit = request.hit or self.mishaps.take(kind, at, request.ids, request.id)
        if request.id % 3 == 0:
            self._later(at + self.settings.manifest_seconds, "manifest", request)
        else:
            self._on_manifest(request, at)

    def _on_manifest(self, request: Request, _at: float) -> None:
        self._write_manifests(request, self._delivered(request))

    def _on_expire(self, request: Request, _at: float) -> None:
        request.status = "expired"
        request.due = False
        if request.directory:
            self.collections.remove_tree(request.directory)

    def _delivered(self, request: Request) -> list[DeliveredFile]:
        plan = plan_delivery(self.catalogue, request.ids)
        return [one for one in plan if one.file.id not in self._lacking.get(request.id, ())]

    def _spoil_delivery(self, plan: list[DeliveredFile], request: Request, at: float) -> list[DeliveredFile]:
        if lacks := self.mishaps.take("delivery_lacks", at, request.ids, request.id):
            self._lacking.setdefault(request.id, set()).update(chosen(lacks, request.ids))
        plan = [one for one in plan if one.file.id not in self._lacking.get(request.id, ())]
        for kind, spoil in (("delivery_wrong_content", wrong_content), ("delivery_wrong_size", wrong_size)):
            if hit := self.mishaps.take(kind, at, request.ids, request.id):
                bad = chosen(hit, request.ids)
                plan = [replace(one, content=spoil(one.content)) if one.file.id in bad else one for one in plan]
        return plan

    def _remove_for_a_while(self, request: Request, at: float) -> None:
        """Take files out of the directory of a request that is ready, until the mishap is over."""
        request.late = self.mishaps.take("directory_incomplete", at, request.ids, request.id)
        absent = chosen(request.late, request.ids) if request.late else set()
        for one in self._delivered(request):
            if one.file.id in absent:
                self.collections.remove(place_of(one, request.directory, self.switches.delivered_names))

    def _is_quoted(self, request: Request) -> bool:
        form = self.settings.manifest_form
        return form == "quoted" or (form == "mixed" and request.id % 2 == 1)

    def _write_manifests(self, request: Request, plan: Sequence[DeliveredFile], *, whole: bool = True) -> None:
        form = Form.of(self.switches, quoted=self._is_quoted(request))
        for name, part in self._parts(request, plan).items():
            data = manifest_text(part, form).encode()
            if not whole:
                data = data[: len(data) // 2 + 3]
            elif request.hit:
                data = spoilt_manifest(request.hit.fault.kind, part, form)
            with open(f"{request.directory}/{name}", "wb") as file:
                file.write(data)

    def _parts(self, request: Request, plan: Sequence[DeliveredFile]) -> dict[str, Sequence[DeliveredFile]]:
        """The manifests of a delivery by name, each with the files that it lists."""
        name = f"Globus_Download_{request.id}_File_Manifest"
        match self.switches.manifest_files:
            case "two" if len(plan) > 1:
                half = (len(plan) + 1) // 2
                return {f"{name}_1.csv": plan[:half], f"{name}_2.csv": plan[half:]}
            case "renamed":
                return {"File_Manifest.csv": plan}
        return {f"{name}.csv": plan}
