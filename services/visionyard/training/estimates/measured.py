"""Machines and their measurements in the bucket. All calls block.

``machines/{machine}.json`` is what workers measured, of all projects; ``projects/{project}/machines/{machine}.json`` what a project brought in from elsewhere, so that a stranger's
figures mislead no other project. Both hold the newest 200 measurements, and neither names a project, a dataset or a job.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.objectstore.documents import Document, Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore
from visionyard.training.estimates.machine import Machine
from visionyard.training.estimates.measurement import Measurement
from visionyard.training.estimates.price import Price

_log = logging.getLogger(__name__)
COLLECTION = "machines"
"""In resource names and keys."""
MOST_MEASUREMENTS = 200
MOST_MACHINES = 50
"""Of a project, brought in from elsewhere."""
_MOST_SEEN = 200
_SUFFIX = ".json"


@dataclass(frozen=True)
class MeasuredMachine:
    """A machine with what is known of it.

    Attributes:
        machine: The machine.
        measurements: The newest first.
        price: What it costs; None where nobody has said so.
    """

    machine: Machine
    measurements: tuple[Measurement, ...] = ()
    price: Price | None = None

    def with_others(self, measurements: Iterable[Measurement]) -> MeasuredMachine:
        """With others besides; of all the newest stay."""
        known = {one.id: one for one in (*measurements, *self.measurements)}
        newest = sorted(known.values(), key=lambda one: (one.time, one.id), reverse=True)[:MOST_MEASUREMENTS]
        return replace(self, measurements=tuple(newest))

    def added_to(self, known: MeasuredMachine) -> MeasuredMachine:
        """What is known of the machine with this besides; the newer word on the price counts."""
        return replace(known.with_others(self.measurements), price=self.price or known.price)

    def to_json(self) -> dict[str, Any]:
        """The form in which documents keep it."""
        return {
            "machine": self.machine.to_json(),
            "measurements": [one.to_json() for one in self.measurements],
            "price": self.price.to_json() if self.price else None,
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> MeasuredMachine:
        """Reads what :meth:`to_json` wrote."""
        measurements = tuple(Measurement.from_json(one) for one in body["measurements"])
        return cls(Machine.from_json(body["machine"]), measurements, Price.from_json(body["price"]))


class MeasuredMachines:
    """Reads and adds to them. Safe for threads; documents are cached and validated by their etags.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._documents = Documents(store)
        self._cache: dict[str, Document] = {}
        self._lock = threading.Lock()

    def add_own(self, machine: Machine, measurement: Measurement, price: Price | None) -> None:
        """Adds what a worker has measured on its machine, and what that costs now."""
        self._change(_key("", machine.id), MeasuredMachine(machine), lambda known: replace(known.with_others([measurement]), price=price))

    def bring_in(self, project: str, found: Sequence[MeasuredMachine]) -> None:
        """Adds to a project what was measured elsewhere. Doing so twice changes nothing.

        Raises:
            YardError: TOO_MANY_MACHINES; nothing was added.
        """
        held = {one.machine.id for one in self._of(project)}
        if len(held | {one.machine.id for one in found}) > MOST_MACHINES:
            raise YardError(
                Reason.TOO_MANY_MACHINES,
                f"project {project!r} has {len(held)} imported machines, and may have {MOST_MACHINES}: import fewer",
                {"name": f"projects/{project}", "limit": str(MOST_MACHINES)},
            )
        for one in found:
            self._change(_key(project, one.machine.id), MeasuredMachine(one.machine), one.added_to)

    def set_price(self, project: str, machine_id: str, price: Price) -> MeasuredMachine:
        """Says what a machine costs, for a project.

        Raises:
            YardError: MACHINE_NOT_FOUND.
        """
        known = self.get(project, machine_id)
        self._change(_key(project, machine_id), MeasuredMachine(known.machine), lambda found: replace(found, price=price))
        return replace(known, price=price)

    def get(self, project: str, machine_id: str) -> MeasuredMachine:
        """One machine; raises YardError (MACHINE_NOT_FOUND)."""
        found = self.find(project, machine_id)
        if found is None:
            raise YardError(
                Reason.MACHINE_NOT_FOUND,
                f"there is no machine {machine_id!r} in project {project!r}: see `yard machine list`",
                {"name": f"projects/{project}/{COLLECTION}/{machine_id}"},
            )
        return found

    def find(self, project: str, machine_id: str) -> MeasuredMachine | None:
        """One machine; None where nothing is known of it."""
        found = [one for one in map(self._read, (_key("", machine_id), _key(project, machine_id))) if one is not None]
        return _together(found) if found else None

    def all(self, project: str) -> list[MeasuredMachine]:
        """Those that trainings were measured on here and those that the project brought in, the newest measured first."""
        machines: dict[str, list[MeasuredMachine]] = {}
        for one in (*self._of(""), *self._of(project)):
            machines.setdefault(one.machine.id, []).append(one)
        found = [_together(parts) for parts in machines.values()]
        return sorted(
            found, key=lambda one: (one.measurements[0].time.timestamp() if one.measurements else 0.0, one.machine.id), reverse=True
        )

    def _of(self, project: str) -> list[MeasuredMachine]:
        entries = self._store.list(_key(project, "")[: -len(_SUFFIX)], limit=_MOST_SEEN)
        keys = [entry.key for entry in entries if entry.key.endswith(_SUFFIX)]
        return [one for one in map(self._read, keys) if one is not None]

    def _read(self, key: str) -> MeasuredMachine | None:
        with self._lock:
            cached = self._cache.get(key)
        try:
            document = self._documents.refresh(cached) if cached else self._documents.read(key)
        except NotFound:
            return None
        with self._lock:
            self._cache[key] = document
        try:
            return MeasuredMachine.from_json(document.body)
        except (KeyError, TypeError, ValueError):
            _log.warning("%s cannot be read and is left out", key)
            return None

    def _change(self, key: str, new: MeasuredMachine, change: Callable[[MeasuredMachine], MeasuredMachine]) -> None:
        """Changes a document by compare-and-swap, as often as it takes; ``new`` is what it is where there is none, or none that can be read."""
        while True:
            try:
                document = self._documents.read(key)
            except NotFound:
                try:
                    self._documents.create(key, change(new).to_json())
                except Conflict:
                    continue
                return
            try:
                known = MeasuredMachine.from_json(document.body)
            except (KeyError, TypeError, ValueError):
                known = new
            wanted = change(known)
            if wanted == known and known is not new:
                return
            try:
                self._documents.swap(document, wanted.to_json())
            except Conflict:
                continue
            return


def _key(project: str, machine_id: str) -> str:
    return f"{f'projects/{project}/' if project else ''}{COLLECTION}/{machine_id}{_SUFFIX}"


def _together(parts: Sequence[MeasuredMachine]) -> MeasuredMachine:
    """What was measured here and what was brought in, as one; the project's own word on the price counts."""
    first, *others = parts
    for other in others:
        first = other.added_to(first)
    return first
