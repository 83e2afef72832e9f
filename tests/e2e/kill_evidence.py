"""What the bucket and the state directory say after a kill: nothing lost, nothing stored twice, nothing left behind. Read past the services."""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults import works
from multipart import unfinished

from visionyard.dataset.index import KnownImages
from visionyard.dataset.storage.kinds import Amount, Inventory, Kind
from visionyard.kit.artifacts.dataset import DatasetVersion, list_dataset_versions, read_manifest
from visionyard.kit.artifacts.manifest import ManifestRow
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.jobs.queue import queue_prefix
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.s3 import S3ObjectStore, S3Settings
from visionyard.local import leftovers, seaweed
from visionyard.local.state import StateDir

_PATIENCE_S = 20.0
_DOCUMENT_SLACK = 8192
"""Manifests and reports name the attempt that wrote them, so their sizes differ by a few bytes; shards' sizes do not."""
_SAME = (Kind.SHARDS, Kind.MANIFESTS, Kind.REPORTS, Kind.INDEX, Kind.DOCUMENTS, Kind.UPLOADS)
_SHOWN = 3


@dataclass(frozen=True)
class Expected:
    """What an undisturbed run of a command came to.

    Attributes:
        seconds: How long the command took.
        digest: The version's.
        versions: How many versions the dataset has then.
        amounts: What lies in the project, by kind.
    """

    seconds: float
    digest: str
    versions: int
    amounts: dict[Kind, Amount]


class Evidence:
    """Looks into a running stack.

    Args:
        home: Its state directory.
        kind: The kind of job that is killed.
        emptied: Folders below the state directory of which nothing may be left.
    """

    def __init__(self, home: Path, kind: JobKind = JobKind.IMPORT, emptied: Sequence[str] = ("work/dataset", "pending")) -> None:
        self._kind = kind
        self._emptied = emptied
        self.state = StateDir(home)
        keys = seaweed.credentials(self.state.store)
        endpoint = next(str(p["address"]) for p in self.state.processes() if p["name"] == "store")
        self._settings = S3Settings(endpoint, seaweed.BUCKET, keys.access_key, keys.secret_key, seaweed.REGION)
        self.store = S3ObjectStore(self._settings, retry_for_s=_PATIENCE_S)
        self._records = JobRecords(self.store, kind)

    def jobs(self, project: str) -> list[Job]:
        """The project's import jobs, newest first."""
        return self._records.list(project)[0]

    def phase(self, project: str, before: Collection[ResourceName]) -> str:
        """What a command is doing now, told by what it has left in the bucket.

        Args:
            project: Its project.
            before: The jobs that were there before it.
        """
        job = next((job for job in self.jobs(project) if job.name not in before), None)
        if job is None:
            begun = next(iter(self.store.list(f"projects/{project}/uploads/", limit=1)), None)
            return "client: uploading" if begun else "client: starting, reading the source"
        if job.state is JobState.QUEUED:
            return "queued"
        if job.state.finished:
            return "client: hearing of the end"
        return self._records.progress(job).phase or "worker starting"

    def inventory(self, project: str) -> dict[Kind, Amount]:
        """What lies in a project, by kind."""
        inventory = Inventory(project)
        for _ in inventory.take(self.store):
            pass
        return inventory.amounts

    def unsettled(self, project: str) -> Iterator[str]:
        """What goes away within seconds after a command has ended, and is still there."""
        for process in self.state.processes():
            if process["state"] != "running":
                yield f"{process['name']} is {process['state']}"
        living = leftovers.find(self.state.stack_id())
        yield from (f"the worker {' '.join(p.arguments)} lives" for p in living if works(p))
        services = Counter(module for p in living for flag, module in zip(p.arguments, p.arguments[1:], strict=False) if flag == "-m")
        yield from (f"{module} runs {count} times" for module, count in services.items() if count > 1)
        yield from (
            f"the queue holds {entry.key}" for entry in self.store.list(queue_prefix(self._kind.value)) if f"/{project}/" in entry.key
        )
        for folder in self._emptied:
            yield from (f"{path} is left" for path in (self.state.root / folder).rglob("*") if not path.is_dir())

    def problems(self, project: str, dataset: str, expected: Expected) -> Iterator[str]:
        """What is not as after the undisturbed run. Call it after a collection."""
        versions = list(list_dataset_versions(self.store, ResourceName(project, "datasets", dataset)))
        if len(versions) != expected.versions:
            yield f"{len(versions)} versions, not {expected.versions}"
        if not versions or versions[0].digest != expected.digest:
            yield f"the newest version is {versions[0].digest if versions else 'not there'}, not {expected.digest}"
        keys = {entry.key for entry in self.store.list(f"projects/{project}/")}
        rows = [row for version in versions for row in read_manifest(self.store, version)]
        yield from self._unexplained(project, keys, rows, versions)
        yield from self._images(project, keys, rows)
        for begun in unfinished(self._settings, f"projects/{project}/"):
            yield f"a write of {begun} was begun and is neither ended nor given up"
        yield from _differences(self.inventory(project), expected.amounts)

    def _unexplained(self, project: str, keys: set[str], rows: list[ManifestRow], versions: list[DatasetVersion]) -> Iterator[str]:
        explained = {
            "shards": {row.shard for row in rows},
            "manifests": {version.manifest_key for version in versions},
            "reports": {version.report_key for version in versions},
            "uploads": set[str](),
            "pins": set[str](),
        }
        for folder, wanted in explained.items():
            listed = {key for key in keys if key.startswith(f"projects/{project}/{folder}/")}
            if listed - wanted:
                yield f"nothing explains {_some(listed - wanted)}"
            if wanted - listed:
                yield f"missing: {_some(wanted - listed)}"

    def _images(self, project: str, keys: set[str], rows: list[ManifestRow]) -> Iterator[str]:
        """Each image lies in one place, is what its name says, and is known to the index."""
        places: dict[str, set[tuple[str, int]]] = defaultdict(set)
        for row in rows:
            places[row.sha256].add((row.shard, row.offset))
        if twice := [sha256 for sha256, found in places.items() if len(found) > 1]:
            yield f"manifests tell several places of {_some(twice)}"
        stored = Counter[str]()
        for key in sorted(key for key in keys if key.startswith(f"projects/{project}/shards/")):
            with self.store.open(key) as file, tarfile.open(fileobj=file, mode="r|") as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    sha256 = member.name.partition(".")[0]
                    if content is None or hashlib.sha256(content.read()).hexdigest() != sha256:
                        yield f"{member.name} of {key} is damaged"
                    stored[sha256] += 1
        if twice := [sha256 for sha256, count in stored.items() if count > 1]:
            yield f"stored twice: {_some(twice)}"
        if stored.keys() != places.keys():
            yield f"shards and manifests differ in {_some(stored.keys() ^ places.keys())}"
        known = KnownImages.read(self.store, project)
        for sha256, found in places.items():
            place = known.find(sha256)
            if place is None or (place.shard, place.offset) not in found:
                yield f"the index says {place} of {sha256}"
                return


def _differences(found: dict[Kind, Amount], wanted: dict[Kind, Amount]) -> Iterator[str]:
    for kind in _SAME:
        slack = 0 if kind is Kind.SHARDS else _DOCUMENT_SLACK
        now, then = found[kind], wanted[kind]
        if now.count != then.count or abs(now.size - then.size) > slack:
            yield f"{kind.value}: {now.count} objects of {now.size} bytes, undisturbed {then.count} of {then.size}"
    if found[Kind.UNKNOWN].count:
        yield f"{found[Kind.UNKNOWN].count} objects of unknown kind"


def _some(names: Iterable[str]) -> str:
    all_ = sorted(names)
    return ", ".join(all_[:_SHOWN]) + (f" and {len(all_) - _SHOWN} more" if len(all_) > _SHOWN else "")
