"""What must not be lost when a machine goes: the weights that its trainings have come to, and whether they are somewhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionyard.kit.artifacts.model import ModelFile, read_model_version
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.names import VersionName
from visionyard.kit.objectstore.port import NotFound, ObjectStore

_BEST, _LAST = "weights/best.pt", "weights/last.pt"
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Result:
    """A file that has to be safe.

    Attributes:
        job: The id of the job that made it.
        what: For people: which file of what, and how to get it.
        file: Where it lies.
    """

    job: str
    what: str
    file: ModelFile


def results_of(store: ObjectStore, job: Job) -> Iterator[Result]:
    """What an ended job has come to: the model's weights where it went well, else the last epoch, which a resumption goes on from. Blocks.

    Args:
        store: The bucket.
        job: A training, or a search: of that only the best model counts, its trials do not.

    Raises:
        YardError: the model is gone.
    """
    if job.kind is JobKind.TUNING:
        if job.state is JobState.SUCCEEDED:
            version = read_model_version(store, VersionName.parse(job.pointers["model_version"], "models"))
            shown = f"{version.name.parent.id}@{version.name.number}"
            yield Result(job.name.id, f"the model {shown} (`yard model download {shown} --to DIR`)", version.weight_file)
    else:
        path = _BEST if job.state is JobState.SUCCEEDED else _LAST
        files: Mapping[str, Any] = job.pointers.get("files") or (job.pointers.get("checkpoint") or {}).get("files") or {}
        if entry := files.get(path):
            shown = f"{path} of job {job.name.id} (`yard job download {job.name.id} --to DIR`)"
            yield Result(job.name.id, shown, ModelFile(entry["key"], entry["size_bytes"], entry["sha256"]))


def is_whole(store: ObjectStore, file: ModelFile) -> bool:
    """Reads a file back from the store, and compares its sha256. Blocks.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    digest = hashlib.sha256()
    try:
        with store.open(file.key, 0, file.size) as stream:
            while data := stream.read(_READ_BYTES):
                digest.update(data)
    except NotFound:
        return False
    return digest.hexdigest() == file.sha256


class Downloads:
    """Which files clients on other machines have read to their end; kept in a folder, since the machine that may go is the one that it is about.

    Args:
        folder: Where the marks lie; made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, key: str) -> None:
        """Puts down that a file was read. Blocks."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mark(key).touch()

    def has(self, key: str) -> bool:
        """Whether a file was read."""
        return self._mark(key).exists()

    def clear(self) -> None:
        """Forgets all of them. Blocks."""
        for mark in self._folder.glob("*"):
            mark.unlink(missing_ok=True)

    def _mark(self, key: str) -> Path:
        return self._folder / hashlib.sha256(key.encode()).hexdigest()
