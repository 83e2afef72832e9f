"""A collection: deletes the shards, manifests and reports of a project that nothing refers to any more, and proves what it freed.

The order makes it right, whoever imports meanwhile and wherever it is ended:

1. List the project. Only what stands in this listing is ever deleted. Mark what the versions refer to.
2. Rewrite shards that are mostly dead (:mod:`.compaction`), unless an import has pinned already.
3. Take what is about to be deleted out of the index. From here on nobody can be told of it any more.
4. Look for pins (:mod:`visionyard.dataset.pins`): an import that had pinned before may have been told; then shards stay for this time.
5. Look at what running imports have announced to write, and only then mark again: one that published and unpinned before step 4 has its version now.
6. Delete; of shards only those that step 3 took out of the index. List the project again: what was there and is gone is what was freed.

Ended behind any step, everything that a version refers to is there, and the next collection goes on: what was copied and not moved to is garbage like any other.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from visionyard.dataset import pins
from visionyard.dataset.index import prune_index
from visionyard.dataset.storage.compaction import Compactor
from visionyard.dataset.storage.kinds import COLLECTED, Amount, Inventory, Kind, kind_of
from visionyard.dataset.storage.lease import CollectionLease
from visionyard.dataset.storage.marking import Marker
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import Listing, ObjectStore

_DELETED_AT_ONCE = 500
_ALIVE_AT_LEAST = 0.5
"""Shards of which less is alive are rewritten."""


@dataclass(frozen=True)
class Progress:
    """How far a collection is: phase, done and total in ``unit`` (0: not known)."""

    phase: str
    done: int = 0
    total: int = 0
    unit: str = ""


@dataclass
class Collected:
    """What a collection did, or would do.

    Attributes:
        project: The project's id.
        before: The first listing.
        after: The last one.
        freed_bytes: What was there and is gone, less what was written and is there.
        deleted: What was deleted, by kind.
        rewritten_shards: How many shards were rewritten.
        young: What was left because of its age.
        pinned: What was left because of running imports.
        pinning_jobs: These imports.
    """

    project: str
    before: Inventory
    after: Inventory
    freed_bytes: int = 0
    deleted: dict[Kind, Amount] = field(default_factory=dict)
    rewritten_shards: int = 0
    young: Amount = field(default_factory=Amount)
    pinned: Amount = field(default_factory=Amount)
    pinning_jobs: list[ResourceName] = field(default_factory=list)


class Collection:
    """One collection of one project.

    Args:
        store: The bucket.
        records: The import jobs.
        project: The project's id.
        grace: Objects younger than this, by the store's clock, stay.
        work_dir: Where shards are rewritten, in a folder that is gone afterwards.

    Attributes:
        result: What was done so far; whole when :meth:`run` has ended.
    """

    def __init__(self, store: ObjectStore, records: JobRecords, project: str, grace: timedelta, work_dir: Path) -> None:
        self.result = Collected(project, Inventory(project), Inventory(project))
        self._store = store
        self._records = records
        self._project = project
        self._grace = grace
        self._work_dir = work_dir
        self._lease = CollectionLease(store, project)
        self._marker = Marker(store, project)
        self._written: list[str] = []
        self._deleted: list[str] = []

    def run(self) -> Generator[Progress, None, None]:
        """Collects; ends at the next step when it is closed. Blocks.

        Raises:
            YardError: COLLECTION_RUNNING; ARTIFACT_CORRUPT, a version's manifest is missing.
            StoreUnavailable: the store does not answer.
        """
        with self._lease.held():
            yield from self._survey()
            pinned, untold = self._pins(clear=True), self._dead_shards()
            if not pinned:
                untold |= yield from self._compact()
                yield Progress("pruning the index")
                self._prune_index(untold)
                pinned = self._pins(clear=True)
            keep = self._announced()
            yield from self._mark()
            yield from self._delete(self._free_to_go(keep, pinned, untold))
            yield from (Progress("listing the bucket", count, 0, "objects") for count in self.result.after.take(self._store))
        self._reckon()

    def rehearse(self) -> Generator[Progress, None, None]:
        """Finds out what :meth:`run` would do now, and changes nothing. What rewriting shards frees is not reckoned. Blocks.

        Raises:
            YardError: ARTIFACT_CORRUPT, a version's manifest is missing.
            StoreUnavailable: the store does not answer.
        """
        result = self.result
        yield from self._survey()
        pinned, keep = self._pins(clear=False), self._announced()
        for entry in self._free_to_go(keep, pinned, self._dead_shards()):
            result.deleted.setdefault(kind_of(entry.key), Amount()).add(entry.size)
            result.freed_bytes += entry.size
        result.rewritten_shards = 0 if pinned else len(self._sparse())
        result.after = result.before

    def _survey(self) -> Iterator[Progress]:
        yield from (Progress("listing the bucket", count, 0, "objects") for count in self.result.before.take(self._store))
        yield from self._mark()

    def _mark(self) -> Iterator[Progress]:
        yield from (Progress("reading manifests", done, total, "manifests") for done, total in self._marker.look())

    def _pins(self, *, clear: bool) -> list[ResourceName]:
        """The jobs that may have been told of shards that nothing refers to."""
        jobs = list(pins.pinning_jobs(self._records, self._marker.projects(), clear=clear))
        self.result.pinning_jobs = jobs
        return jobs

    def _announced(self) -> set[str]:
        """What the pointers of imports name that are not over: they write it, or are about to publish it."""
        recent = (job for job in pins.ended_lately(self._records, self._project) if not pins.is_over(self._records, job.name))
        return {text for job in itertools.chain(self._records.unfinished(), recent) for text in _texts(job.pointers)}

    def _young(self, entry: Listing) -> bool:
        now = self.result.before.now
        return bool(self._grace) and (entry.last_modified is None or now is None or now - entry.last_modified < self._grace)

    def _sparse(self) -> set[str]:
        """The shards that are to be rewritten."""
        images, referenced = self._marker.images, self._marker.referenced
        return {
            entry.key
            for entry in self.result.before.of_kind(Kind.SHARDS)
            if entry.key in referenced and not self._young(entry) and images.space(entry.key) < _ALIVE_AT_LEAST * entry.size
        }

    def _compact(self) -> Generator[Progress, None, set[str]]:
        sparse = self._sparse()
        if not sparse:
            return set()
        self._work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._work_dir) as scratch:
            compactor = Compactor(self._store, self._project, self._lease.id, Path(scratch), self._lease.check)
            try:
                yield from (Progress(*step) for step in compactor.run(self._marker, sparse))
            finally:
                self._written += compactor.done.written
        self.result.rewritten_shards = len(compactor.done.shards)
        return compactor.done.shards

    def _dead_shards(self) -> set[str]:
        """The shards to which nothing refers and that are old enough to go."""
        referenced = self._marker.referenced
        return {e.key for e in self.result.before.of_kind(Kind.SHARDS) if e.key not in referenced and not self._young(e)}

    def _prune_index(self, shards: set[str]) -> None:
        self._lease.check()
        written, deleted = prune_index(self._store, self._project, shards)
        self._written += written
        self._deleted += deleted

    def _free_to_go(self, keep: set[str], pinned: list[ResourceName], untold: set[str]) -> list[Listing]:
        """What nothing refers to, is old enough, and cannot be referred to by running imports.

        Args:
            keep: What imports have announced.
            pinned: The imports that may have been told of any shard.
            untold: The shards of which the index tells no longer. One whose last version was deleted only since the first marking is not among them: it waits.
        """
        keep = keep | self._marker.referenced
        going = []
        for kind in COLLECTED:
            for entry in self.result.before.of_kind(kind):
                if entry.key in keep:
                    continue
                if self._young(entry):
                    self.result.young.add(entry.size)
                elif pinned and kind is Kind.SHARDS:
                    self.result.pinned.add(entry.size)
                elif kind is not Kind.SHARDS or entry.key in untold:
                    going.append(entry)
        return going

    def _delete(self, going: list[Listing]) -> Iterator[Progress]:
        for begin in range(0, len(going), _DELETED_AT_ONCE):
            yield Progress("deleting", begin, len(going), "objects")
            self._lease.check()
            keys = [entry.key for entry in going[begin : begin + _DELETED_AT_ONCE]]
            self._store.delete_many(keys)
            self._deleted += keys

    def _reckon(self) -> None:
        """What the two listings prove."""
        result = self.result
        before, after = result.before.objects, result.after.objects
        for key in self._deleted:
            if key in before and key not in after:
                result.deleted.setdefault(kind_of(key), Amount()).add(before[key].size)
        grown = sum(after[key].size for key in set(self._written) if key in after and key not in before)
        result.freed_bytes = sum(amount.size for amount in result.deleted.values()) - grown


def _texts(document: Any) -> Iterator[str]:
    """Every string in a JSON document."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, Mapping):
        for value in document.values():
            yield from _texts(value)
    elif isinstance(document, list):
        for value in document:
            yield from _texts(value)
