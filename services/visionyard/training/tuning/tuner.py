"""Keeps searches going: looks at them and at their trials' trainings, and queues, resumes and cancels those. It holds nothing that the bucket does not.

Any number of services may look at the same search: each decides by the same documents, one swap wins, and what follows from it (:meth:`Tuner._act`) may be done
by any of them, again and again, until the documents show that it is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.model import ModelVersion, read_model_version
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.names import ProjectName, ResourceName, VersionName
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable
from visionyard.training.child import ChildFailed
from visionyard.training.limits import Spent
from visionyard.training.scheduling import Scheduling
from visionyard.training.trainings import Trainings
from visionyard.training.tuning.advancing import Moment, advance, to_stop, verdict
from visionyard.training.tuning.sampling import Past, suggest
from visionyard.training.tuning.search import Observed, Search, Trial
from visionyard.training.tuning.tunings import Tunings, training_spec

_log = logging.getLogger(__name__)
_POLL_S = 2.0
_AS_IT_SHOULD_BE = frozenset({Reason.JOB_UNFINISHED, Reason.JOB_FINISHED})
"""Somebody else, another service or the user, was faster."""


class Tuner:
    """Advances all searches.

    Args:
        store: The bucket.
        tunings: The searches.
        trainings: The training jobs.
        poll_s: Seconds between two looks.
    """

    def __init__(self, store: ObjectStore, tunings: Tunings, trainings: Trainings, poll_s: float = _POLL_S) -> None:
        self._store = store
        self._records = tunings.jobs.records
        self._trainings = trainings
        self._poll_s = poll_s
        self._refused: dict[ResourceName, dict[int, YardError]] = {}
        self._queued: dict[tuple[ResourceName, int], ResourceName] = {}

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except StoreUnavailable as error:
                _log.warning("searches wait for the store: %s", error)
            await asyncio.sleep(self._poll_s)

    def look(self) -> None:
        """Advances each search by what can be told now. Blocks.

        Raises:
            StoreUnavailable: the store stayed away.
        """
        found = list(self._records.unfinished())
        names = {job.name for job in found}
        self._refused = {name: refused for name, refused in self._refused.items() if name in names}
        self._queued = {(name, number): queued for (name, number), queued in self._queued.items() if name in names}
        for job in found:
            try:
                self._advance(job)
            except (StoreUnavailable, ChildFailed) as error:
                _log.warning("the search %s waits: %s", job.name.id, error)
            except Exception:  # noqa: BLE001 - one odd search must not keep the others, nor end the service
                _log.exception("a search cannot be advanced", extra={"job": str(job.name)})

    def _advance(self, job: Job) -> None:
        search = Search.of(job)
        observed = {trial.number: seen for trial in search.trials if trial.state.open and (seen := self._observed(job, trial))}
        refused = self._refused.get(job.name, {})

        def change(current: Job, now: datetime) -> Job | None:
            if current.revision != job.revision or current.state.finished:
                return None  # what was seen belongs to another state of the search: the next look is at that
            moment = Moment(now, current.state is JobState.CANCELLING, observed, refused)
            after = advance(search, moment, partial(_suggested, search))
            if current.state is not JobState.QUEUED and after == search:
                return None
            state = JobState.RUNNING if current.state is JobState.QUEUED else current.state
            return current.changed(state=state, start_time=current.start_time or now, pointers={**current.pointers, **after.pointers()})

        current = self._records.update(job.name, change)
        if current.state.finished or current.state is JobState.QUEUED:
            return
        search = Search.of(current)
        for trial in search.trials:
            if trial.state.open:
                self._act(current, search, trial)
        if search.ended:
            self._end(current, search)

    def _observed(self, job: Job, trial: Trial) -> Observed | None:
        """What a trial's training tells; None where it is not queued yet."""
        name = self._name(job, trial)
        if name is None:
            return None
        training = self._trainings.jobs.get(name)
        made, measured_s = training.pointers.get("trained"), Spent.from_json(training.pointers.get("spent")).seconds
        if training.state is JobState.SUCCEEDED and made:
            return Observed(training, _epoch(training), made["metrics"], measured_s)
        detail = self._trainings.jobs.progress(training).detail
        return Observed(training, max(_epoch(training), int(detail.get("epoch", 0))), detail.get("metrics", {}), measured_s)

    def _name(self, job: Job, trial: Trial) -> ResourceName | None:
        """The name of a trial's training; None where this service does not know of one."""
        if trial.job:
            return ResourceName(job.name.project, JobKind.TRAINING.collection, trial.job)
        return self._queued.get((job.name, trial.number))

    def _act(self, job: Job, search: Search, trial: Trial) -> None:
        """Does to a trial's training what the search's document says; of no effect where it is done already."""
        try:
            training = self._training(job, search, trial)
            if to_stop(search, trial, cancelling=job.state is JobState.CANCELLING):
                if not training.state.finished:
                    self._trainings.cancel(training.name)
            elif training.state is JobState.SUCCEEDED and training.spec["epochs"] < search.spec.rungs[trial.rung].epochs:
                self._trainings.resume(training.name, search.spec.rungs[trial.rung].epochs)
        except YardError as error:
            if error.reason not in _AS_IT_SHOULD_BE:
                self._refused.setdefault(job.name, {})[trial.number] = error

    def _training(self, job: Job, search: Search, trial: Trial) -> Job:
        """The trial's training, queued now where it was not before."""
        name = self._name(job, trial)
        if name is not None:
            return self._trainings.jobs.get(name)
        # The request's id finds it where another service, or this one in an earlier life, queued it.
        request_id = f"{job.name.id}-trial-{trial.number}"
        spec, scheduling = training_spec(job, search, trial.number), Scheduling(priority=search.spec.priority)
        training = self._trainings.create(ProjectName(job.name.project), spec, request_id, scheduling).job
        self._queued[job.name, trial.number] = training.name
        return training

    def _end(self, job: Job, search: Search) -> None:
        """Publishes the best trial's model, and ends the job."""
        error, made = verdict(search), None
        if error is None and job.state is not JobState.CANCELLING:
            try:
                made = self._published(job, search)
            except YardError as gone:
                error = gone

        def change(current: Job, now: datetime) -> Job | None:
            if current.state.finished:
                return None
            if made is not None:
                pointers = {**current.pointers, "model_version": str(made.name), "trained": {"metrics": dict(made.metrics)}}
                return current.changed(state=JobState.SUCCEEDED, end_time=now, pointers=pointers)
            if current.state is JobState.CANCELLING:
                return current.changed(state=JobState.CANCELLED, end_time=now)
            return current.changed(state=JobState.FAILED, end_time=now, error=error)

        self._records.update(job.name, change)

    def _published(self, job: Job, search: Search) -> ModelVersion:
        """The version of the model that holds the best trial's weights, made once however often it is tried."""
        best = search.best
        if best is None:
            raise ValueError(f"{job.name} has no best trial")
        version = read_model_version(self._store, VersionName.parse(best.results[-1].model_version, "models"))
        parent = ResourceName.parse(search.spec.training.model, "models")
        return ModelVersion.from_document(versions.publish(self._store, parent, version.body(), str(job.name), since=job.create_time))


def _epoch(training: Job) -> int:
    return int((training.pointers.get("checkpoint") or {}).get("epoch", 0))


def _suggested(search: Search, number: int, past: Past) -> Mapping[str, Any]:
    return suggest(search.spec.space, search.spec.seed, number, past)
