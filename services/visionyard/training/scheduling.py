"""When a training job gets a slot: what is asked for, and what the queue looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from visionyard.kit.errors import invalid_field
from visionyard.kit.jobs.model import Job, JobKind
from visionyard.kit.jobs.queue import HIGHEST_PRIORITY, LEAST_PRIORITY, Marker, Place, fair_order
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.ahead import read_ahead

_MOST_SHOWN = 1000


@dataclass(frozen=True)
class Scheduling:
    """When a job gets a slot.

    Attributes:
        priority: From -1000 to 1000; higher ones first.
        after: The resource name of the training job that it follows; empty for none.
    """

    priority: int = 0
    after: str = ""

    def check(self, project: ProjectName, records: JobRecords) -> str:
        """Checks it; returns the id of the job that is followed, empty for none.

        Raises:
            YardError: INVALID_FIELD, INVALID_NAME or JOB_NOT_FOUND.
        """
        if not LEAST_PRIORITY <= self.priority <= HIGHEST_PRIORITY:
            raise invalid_field("training_job.scheduling.priority", f"takes {LEAST_PRIORITY} to {HIGHEST_PRIORITY}, not {self.priority}")
        if not self.after:
            return ""
        name = ResourceName.parse(self.after, JobKind.TRAINING.collection)
        if name.project != project.project:
            raise invalid_field("training_job.scheduling.after", f"{name} is not in {project}")
        return records.get(name).name.id


AT_ITS_TURN = Scheduling()
"""What most jobs ask for."""


@dataclass(frozen=True)
class Queue:
    """The queue as a project sees it.

    Attributes:
        jobs: Its jobs: those that run, those that wait, the next one first, those that are held back.
        others_running: How many jobs of other projects run.
        others_waiting: How many jobs of other projects wait.
    """

    jobs: list[Job]
    others_running: int
    others_waiting: int


def read_queue(records: JobRecords, project: ProjectName) -> Queue:
    """Reads the queue; of other projects' jobs no document is read. Blocks."""
    held, waiting, running = (records.markers(place) for place in (Place.HELD, Place.WAITING, Place.RUNNING))
    order = [*_oldest_first(running), *fair_order(waiting, Counter(m.job.project for m in running)), *_oldest_first(held)]
    own = (marker for marker in order if marker.job.project == project.project)
    # A job that moves meanwhile has two markers.
    jobs = {job.name: job for job in read_ahead(records.at, islice(own, _MOST_SHOWN)) if job is not None}
    return Queue(list(jobs.values()), _others(running, project), _others(waiting, project))


def _oldest_first(markers: Sequence[Marker]) -> list[Marker]:
    return sorted(markers, key=lambda marker: marker.job.id, reverse=True)  # ids sort newest first


def _others(markers: Sequence[Marker], project: ProjectName) -> int:
    return sum(marker.job.project != project.project for marker in markers)
