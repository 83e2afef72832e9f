"""Pins: while one stands, no collection deletes a shard that its import may refer to.

An import refers to images that the project holds already, as the index tells it, and their last version may be deleted before its own is published. So it pins before it
reads the index, or the manifest of a version that it derives from, and unpins once its own version is published or nothing will come of it. A collection takes what it is
about to delete out of the index first, and looks for pins behind that: whoever pins later cannot be told of it any more, and for whoever had pinned before, it stays.

A pin is the object ``projects/{project}/pins/{job}``. Only workers that end well take theirs away; of a job that has ended otherwise the aftercare does, or the next collection.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import timedelta

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, JobKind, JobState, heartbeat_key
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import NotFound, ObjectStore

SILENCE = timedelta(minutes=1)
"""Workers that have not beaten for so long, by the store's clock, are over."""
WITHOUT_RESULT = frozenset({JobState.FAILED, JobState.CANCELLED})
"""How a job ends of which nothing came."""
_ATTEMPTS_THAT_MAY_LIVE = 3


def pin_prefix(project: str) -> str:
    """Where a project's pins lie, with the trailing slash."""
    return f"projects/{project}/pins/"


def pin_key(job: ResourceName) -> str:
    """Where a job's pin lies."""
    return f"{pin_prefix(job.project)}{job.id}"


def pin(store: ObjectStore, job: ResourceName) -> None:
    """From now on nothing that the index or a manifest tells ``job`` is deleted. Blocks; doing it again changes nothing.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    store.put(pin_key(job), json.dumps({"job": str(job)}).encode())


def unpin(store: ObjectStore, job: ResourceName) -> None:
    """Takes the pin away: the job's version is published, or will never be. Blocks.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    store.delete(pin_key(job))


def pinning_jobs(records: JobRecords, projects: Iterable[str], *, clear: bool) -> Iterator[ResourceName]:
    """The jobs that are not over and whose pins stand in these projects. Blocks.

    Args:
        records: The import jobs.
        projects: Where to look.
        clear: Whether to take away the pins of jobs that are over.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    for project in projects:
        prefix = pin_prefix(project)
        for entry in records.store.list(prefix):
            name = ResourceName(project, JobKind.IMPORT.collection, entry.key[len(prefix) :])
            if not is_over(records, name):
                yield name
            elif clear:
                unpin(records.store, name)


def is_over(records: JobRecords, name: ResourceName) -> bool:
    """Whether a job has ended, its workers with it, so that nothing will come of it any more. Blocks."""
    try:
        job = records.get(name)
    except YardError as error:
        if error.reason is not Reason.JOB_NOT_FOUND:
            raise
        return True
    return job.state.finished and is_silent(records, job)


def ended_lately(records: JobRecords, project: str) -> Iterator[Job]:
    """The jobs of a project that have ended without a result so short a time ago that a worker of theirs may still be writing. Blocks."""
    prefix = f"projects/{project}/{JobKind.IMPORT.collection}/"
    now = None
    for entry in records.store.list(prefix, delimiter="/"):
        if entry.is_prefix or entry.last_modified is None:
            continue
        if now is None:
            try:
                now = records.store.head(entry.key).now
            except NotFound:
                continue
        if now - entry.last_modified > 2 * SILENCE:
            continue
        try:
            job = records.get(ResourceName(project, JobKind.IMPORT.collection, entry.key[len(prefix) : -len(".json")]))
        except YardError:
            continue
        if job.state in WITHOUT_RESULT:
            yield job


def is_silent(records: JobRecords, job: Job) -> bool:
    """Whether none of the job's last workers has beaten for a while, by the store's clock. Blocks."""
    for attempt in range(max(1, job.attempt - _ATTEMPTS_THAT_MAY_LIVE + 1), job.attempt + 1):
        try:
            beat = records.store.head(heartbeat_key(job.name, attempt))
        except NotFound:
            continue
        if beat.now - beat.last_modified < SILENCE:
            return False
    return True
