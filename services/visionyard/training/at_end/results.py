"""What must not be lost when a machine goes: the weights that its trainings have come to, and whether they are somewhere else."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionyard.kit.artifacts.model import ModelFile, ModelVersion, read_model_version
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.training.tuning.search import Search

_log = logging.getLogger(__name__)
_BEST, _LAST = "weights/best.pt", "weights/last.pt"
_READ_BYTES = 1 << 20
_ELSEWHERE_S = 60.0
_DAMAGED_AGAIN_S = 300.0
"""A file that was damaged is read once more after so long."""


@dataclass(frozen=True)
class Result:
    """A file that has to be safe.

    Attributes:
        job: The job that made it.
        what: For people: which file of what.
        command: How to download it.
        file: Where it lies.
    """

    job: ResourceName
    what: str
    command: str
    file: ModelFile


def results_of(store: ObjectStore, job: Job) -> Iterator[Result]:
    """What an ended job has come to: the model's weights where it went well, else the last epoch, which a resumption goes on from. Blocks.

    Args:
        store: The bucket.
        job: A training, or a search: of that only the best trial counts, also where it was cancelled.

    Raises:
        YardError: the model is gone.
    """
    if job.kind is JobKind.TUNING:
        best = Search.of(job).best
        name = job.pointers.get("model_version") or (best.results[-1].model_version if best is not None else "")
        if name:
            yield _of_version(job, read_model_version(store, VersionName.parse(name, "models")))
    else:
        path = _BEST if job.state is JobState.SUCCEEDED else _LAST
        files: Mapping[str, Any] = job.pointers.get("files") or (job.pointers.get("checkpoint") or {}).get("files") or {}
        if entry := files.get(path):
            file = ModelFile(entry["key"], entry["size_bytes"], entry["sha256"])
            yield Result(job.name, f"{path} of job {job.name.id}", f"yard job download {job.name.id} --to DIR", file)


def _of_version(job: Job, version: ModelVersion) -> Result:
    shown = f"{version.name.parent.id}@{version.name.number}"
    return Result(job.name, f"the model {shown}", f"yard model download {shown} --to DIR", version.weight_file)


class Safety:
    """Knows which files are safe. Calls block, for as long as it takes to read a file.

    Args:
        store: The bucket.
        downloads: Where is put down what clients on other machines have; made where it is not there.
        is_elsewhere: Whether the bucket's disk outlives this machine. May block.
        clock: Seconds, of any beginning.
    """

    def __init__(
        self, store: ObjectStore, downloads: Path, is_elsewhere: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._downloads = downloads
        self._is_elsewhere = is_elsewhere
        self._clock = clock
        self._whole: set[str] = set()
        self._damaged: dict[str, float] = {}
        self._elsewhere: tuple[float, bool] | None = None

    def downloaded(self, key: str) -> None:
        """Puts down that a client on another machine has a file."""
        try:
            self._downloads.mkdir(parents=True, exist_ok=True)
            self._mark(key).touch()
        except OSError as error:
            _log.error("that %s was downloaded could not be put down: %s", key, error)

    def why_not(self, result: Result) -> str:
        """Why a result would be lost with this machine; empty where it would not.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        file = result.file
        if self._mark(file.key).exists():
            return ""
        if not self._outlives():
            return f"{result.what} is in a store that is not known to be off this machine (--keep-local says so): download it to another one (`{result.command}`)"
        if file.key not in self._whole and not self._reads_whole(file):
            return f"{result.what} is damaged in the store: train it again, or resume the job"
        return ""

    def _outlives(self) -> bool:
        """Whether the store's disk outlives this machine, asked once a minute."""
        if self._elsewhere is None or self._clock() >= self._elsewhere[0]:
            self._elsewhere = (self._clock() + _ELSEWHERE_S, self._is_elsewhere())
        return self._elsewhere[1]

    def _reads_whole(self, file: ModelFile) -> bool:
        """Reads a file back, and compares its sha256; a damaged one not again and again."""
        if self._clock() < self._damaged.get(file.key, 0.0):
            return False
        digest = hashlib.sha256()
        try:
            with self._store.open(file.key, 0, file.size) as stream:
                while data := stream.read(_READ_BYTES):
                    digest.update(data)
        except NotFound:
            pass
        if digest.hexdigest() != file.sha256:
            self._damaged[file.key] = self._clock() + _DAMAGED_AGAIN_S
            return False
        self._whole.add(file.key)
        return True

    def look_again(self) -> None:
        """Forgets what was read back before: time has passed, and trainings have."""
        self._whole.clear()

    def forget(self) -> None:
        """Forgets what was downloaded: it is of no use any more."""
        self._whole.clear()
        for mark in self._downloads.glob("*"):
            try:
                mark.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("a mark of a download cannot be removed: %s", error)

    def _mark(self, key: str) -> Path:
        return self._downloads / hashlib.sha256(key.encode()).hexdigest()
