"""What each object of a project is for, told by its key."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from visionyard.dataset.index import index_prefix
from visionyard.dataset.shards import shard_prefix
from visionyard.kit.objectstore.port import Listing, NotFound, ObjectStore

UNKNOWN_SHOWN = 100
"""So many keys of unknown objects are named; the others are counted."""


class Kind(enum.Enum):
    """The kinds, by the names of ``visionyard.dataset.v1.StorageKind``."""

    SHARDS = "SHARDS"
    MANIFESTS = "MANIFESTS"
    REPORTS = "REPORTS"
    INDEX = "INDEX"
    DOCUMENTS = "DOCUMENTS"
    UPLOADS = "UPLOADS"
    JOBS = "JOBS"
    BLOBS = "BLOBS"
    BOOKKEEPING = "BOOKKEEPING"
    UNKNOWN = "UNKNOWN"


COLLECTED = (Kind.SHARDS, Kind.MANIFESTS, Kind.REPORTS)
"""What is deleted where nothing refers to it."""
_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_SHA256 = r"[0-9a-f]{64}"
_FORMS = {
    Kind.SHARDS: rf"shards/{_SHA256}\.tar",
    Kind.MANIFESTS: rf"manifests/{_SHA256}\.parquet",
    Kind.REPORTS: rf"reports/{_SHA256}\.json",
    Kind.INDEX: rf"index/{_SHA256}\.parquet",
    Kind.DOCUMENTS: rf"(datasets|models)/{_ID}/versions/[0-9]+\.json|models/{_ID}/versions/[0-9]+/artifacts/{_ID}\.json|(deployments|notificationChannels)/{_ID}\.json",
    Kind.UPLOADS: rf"uploads/{_ID}/(upload\.json|complete|parts/[0-9]+)",
    Kind.JOBS: rf"(import|training|export|evaluation|tuning)Jobs/{_ID}(\.json|/attempts/[0-9]+/.+)",
    Kind.BLOBS: rf"blobs/{_SHA256}",
    Kind.BOOKKEEPING: rf"requests/{_SHA256}|pins/{_ID}|collection\.json",
}
_PATTERNS = [(kind, re.compile(form)) for kind, form in _FORMS.items()]


def kind_of(key: str) -> Kind:
    """What an object is for: see ARCHITECTURE.md, "From resources to keys"."""
    rest = key.split("/", 2)[-1]
    return next((kind for kind, pattern in _PATTERNS if pattern.fullmatch(rest)), Kind.UNKNOWN)


@dataclass
class Amount:
    """How many objects, and how large they are together in bytes."""

    count: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        """One more object."""
        self.count += 1
        self.size += size


@dataclass
class Inventory:
    """A listing of a project.

    Attributes:
        project: Its id.
        amounts: How much there is of each kind.
        objects: The objects that collections write and delete, by key.
        unknown: The first keys of unknown kind.
        now: The store's clock when the listing began; None where there is nothing to list.
    """

    project: str
    amounts: dict[Kind, Amount] = field(default_factory=lambda: {kind: Amount() for kind in Kind})
    objects: dict[str, Listing] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    now: datetime | None = None

    @property
    def total(self) -> Amount:
        """Everything in the project."""
        return Amount(sum(a.count for a in self.amounts.values()), sum(a.size for a in self.amounts.values()))

    def of_kind(self, kind: Kind) -> Iterator[Listing]:
        """The objects of a kind that collections delete."""
        prefix = prefix_of(self.project, kind)
        return (entry for key, entry in self.objects.items() if key.startswith(prefix))

    def take(self, store: ObjectStore) -> Iterator[int]:
        """Lists the project; gives the number of objects now and then. Blocks."""
        for count, entry in enumerate(store.list(f"projects/{self.project}/"), start=1):
            if self.now is None:
                with suppress(NotFound):
                    self.now = store.head(entry.key).now
            kind = kind_of(entry.key)
            self.amounts[kind].add(entry.size)
            if kind in {*COLLECTED, Kind.INDEX}:
                self.objects[entry.key] = entry
            elif kind is Kind.UNKNOWN and len(self.unknown) < UNKNOWN_SHOWN:
                self.unknown.append(entry.key)
            if count % 1000 == 0:
                yield count


def prefix_of(project: str, kind: Kind) -> str:
    """Where the objects of a kind that collections write and delete lie, with the trailing slash."""
    if kind is Kind.SHARDS:
        return shard_prefix(project)
    if kind is Kind.INDEX:
        return index_prefix(project)
    return f"projects/{project}/{kind.value.lower()}/"
