"""Jobs that wait for another's end: let go when it has succeeded, failed when it has not."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from itertools import chain

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, JobState
from visionyard.kit.jobs.queue import Marker, Place
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName


class Holding:
    """Lets held jobs go.

    Args:
        records: The jobs.
    """

    def __init__(self, records: JobRecords) -> None:
        self._records = records
        self._looked_at: dict[ResourceName, int] = {}
        self._looks = 0

    def release(self) -> bool:
        """Looks at the jobs that others wait for, each once however many wait; whether one was let go. Blocks.

        What has a marker has not ended, or has only just, so of those a few are looked at in turn, in case a marker is left over.
        """
        records, held = self._records, defaultdict[ResourceName, list[Marker]](list)
        waiting_for = records.markers(Place.HELD)
        for marker in waiting_for:
            held[ResourceName(marker.job.project, marker.job.collection, marker.waits_for)].append(marker)
        if not held:
            self._looked_at.clear()
            return False
        elsewhere = chain.from_iterable(records.markers(place) for place in Place if place is not Place.HELD)
        alive = {marker.job for marker in chain(waiting_for, elsewhere)}
        self._looks += 1
        longest_ago = sorted((name for name in held if name in alive), key=lambda name: self._looked_at.get(name, 0))
        seen = [name for name in held if name not in alive] + longest_ago[:_LEFT_OVER_LOOKS]
        self._looked_at = {name: at for name, at in self._looked_at.items() if name in held} | dict.fromkeys(seen, self._looks)
        let_go = False
        for name in seen:
            error = _outcome(records, name)
            if error is _UNFINISHED:
                continue
            for marker in held[name]:
                if records.at(marker) is not None:
                    _let_go(records, marker, error)
                    let_go = True
        return let_go


_LEFT_OVER_LOOKS = 4
"""How many jobs with a marker are looked at in a round."""
_UNFINISHED = YardError(Reason.JOB_UNFINISHED, "the job that it waits for has not ended")


def _outcome(records: JobRecords, name: ResourceName) -> YardError | None:
    """Why those that wait for a job must fail; None where they may go on."""
    try:
        job = records.get(name)
    except YardError as error:
        if error.reason is not Reason.JOB_NOT_FOUND:
            raise
        return YardError(Reason.DEPENDENCY_FAILED, f"the job that it was to follow, {name.id}, is gone", {"name": str(name), "state": ""})
    if not job.state.finished:
        return _UNFINISHED
    if job.state is JobState.SUCCEEDED:
        return None
    return YardError(
        Reason.DEPENDENCY_FAILED,
        f"the job that it was to follow, {name.id}, ended {job.state.value}: resume that one, then this one",
        {"name": str(name), "state": job.state.value},
    )


def _let_go(records: JobRecords, marker: Marker, error: YardError | None) -> None:
    def change(job: Job, now: datetime) -> Job | None:
        if job.state is not JobState.QUEUED or not job.held:
            return None
        if error is not None:
            return job.changed(state=JobState.FAILED, error=error, end_time=now)
        return job.changed(held=False)

    records.update(marker.job, change)
