"""What a search does next, told by what its trials' trainings tell: without a clock, a store or chance of its own, so that whoever looks decides the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, JobState
from visionyard.training.tuning import budget
from visionyard.training.tuning.sampling import Past
from visionyard.training.tuning.search import Observed, Result, Search, Trial, TrialState

Suggest = Callable[[int, Past], Mapping[str, Any]]
"""Draws the arguments of a trial, given its number and earlier results."""


@dataclass(frozen=True)
class Moment:
    """A look at a search.

    Attributes:
        now: By the store's clock.
        cancelling: Whether the search is to stop.
        observed: What the trainings of its trials tell, by the trials' numbers; those that are not queued yet are missing.
        refused: Why trainings could not be queued or resumed, likewise.
    """

    now: datetime
    cancelling: bool
    observed: Mapping[int, Observed]
    refused: Mapping[int, YardError]


def advance(search: Search, moment: Moment, suggest: Suggest) -> Search:
    """The search as it is to be from this look on.

    Args:
        search: As it is.
        moment: What is seen.
        suggest: Draws arguments; called at most once.
    """
    if search.ended:
        return search
    search = search.with_trials([_seen(search, trial, moment) if trial.state.open else trial for trial in search.trials])
    opened = [trial for trial in search.trials if trial.state.open]
    reason = _why_nothing_begins(search, moment)
    search = replace(search, overspent=search.overspent or budget.overspent(search))
    if reason:
        return _stopped(search, opened, reason)
    if len(search.trials) < search.spec.trials:
        return _begun(search, opened, moment, suggest)
    return search if opened else _climbed(search, moment)


def to_stop(search: Search, trial: Trial, *, cancelling: bool) -> bool:
    """Whether a trial's training is to be cancelled: all of them where the search is, or its money is gone, those that wait for a slot where its time is up."""
    waits = trial.state is TrialState.QUEUED
    return trial.state.open and (cancelling or search.overspent or (bool(search.stopped_early) and waits))


def _stopped(search: Search, opened: Sequence[Trial], reason: str) -> Search:
    """Nothing begins any more; it ends when nothing is open."""
    return replace(search, stopped_early=reason) if opened else _ended(search, reason)


def _why_nothing_begins(search: Search, moment: Moment) -> str:
    if moment.cancelling:
        return "it was cancelled"
    if search.stopped_early:
        return search.stopped_early
    if budget.overspent(search):
        return budget.told(search)
    limit, trained = search.spec.time_limit_s, search.trained_seconds(moment.now)
    return f"its trials have trained for {trained:.0f} s, and the limit is {limit:.0f} s" if limit and trained >= limit else ""


def _seen(search: Search, trial: Trial, moment: Moment) -> Trial:
    """An open trial after a look at its training."""
    seen = moment.observed.get(trial.number)
    if trial.number in moment.refused:
        return replace(trial, state=TrialState.FAILED, error=moment.refused[trial.number])
    if seen is None:
        return trial
    job = seen.job
    if job.state is JobState.SUCCEEDED and job.spec["epochs"] < search.spec.rungs[trial.rung].epochs:
        # It is about to be resumed, unless nothing begins any more.
        return replace(trial, state=TrialState.STOPPED) if moment.cancelling or search.stopped_early else trial
    value = seen.metrics.get(search.spec.metric)
    trial = replace(
        trial,
        job=job.name.id,
        epoch=seen.epoch,
        measured_s=max(trial.measured_s, seen.measured_s),
        value=trial.value if value is None else value,
    )
    if job.state is JobState.QUEUED:
        given_back = trial.state is TrialState.RUNNING
        return _paused(trial, moment.now, moment.now, TrialState.QUEUED) if given_back else trial
    trial = replace(trial, state=TrialState.RUNNING, since=_since(trial, job, moment.now))
    if not job.state.finished:
        return trial
    return _outcome(search, _paused(trial, job.end_time or moment.now, moment.now, TrialState.RUNNING), seen)


def _since(trial: Trial, job: Job, now: datetime) -> datetime:
    """Since when a training that has left the queue holds its slot, as well as it can be told."""
    if trial.state is TrialState.RUNNING:
        return trial.since
    if job.start_time is not None and not trial.seconds:
        return job.start_time
    return trial.since if job.state.finished else now


def _paused(trial: Trial, until: datetime, now: datetime, state: TrialState) -> Trial:
    """A trial whose training has lost its slot."""
    return replace(trial, seconds=trial.trained_seconds(until), since=now, state=state)


def _outcome(search: Search, trial: Trial, seen: Observed) -> Trial:
    """A trial whose training has ended."""
    job = seen.job
    if job.state is JobState.CANCELLED:
        return replace(trial, state=TrialState.CANCELLED)
    if job.state is JobState.FAILED:
        return replace(trial, state=TrialState.FAILED, error=job.error)
    value = seen.metrics.get(search.spec.metric)
    if value is None:
        error = YardError(
            Reason.TRAINING_FAILED,
            f"job {job.name.id} ended without a number for {search.spec.metric}; the log has the details: yard job logs {job.name.id}",
            {"exception": ""},
        )
        return replace(trial, state=TrialState.FAILED, error=error)
    result = Result(trial.rung, seen.epoch, value, str(job.pointers.get("model_version", "")))
    return replace(trial, state=TrialState.WAITING, value=value, results=(*trial.results, result))


def _begun(search: Search, opened: Sequence[Trial], moment: Moment, suggest: Suggest) -> Search:
    """One more trial, unless one waits for a slot already: so none is drawn before it is needed, and no slot waits."""
    most = search.spec.max_parallel
    if any(trial.state is TrialState.QUEUED for trial in opened) or (most and len(opened) >= most):
        return search
    if not budget.room_for(search, search.spec.rungs[0].epochs):
        return _stopped(search, opened, f"{budget.told(search)}: one more trial would go beyond it")
    # Metrics are from 0 to 1, so one that failed is as bad as can be.
    judged = [trial for trial in search.trials if trial.results or trial.state is TrialState.FAILED]
    past = [(trial.parameters, trial.results[0].value if trial.results else 0.0) for trial in judged]
    number = len(search.trials) + 1
    return search.with_trials([*search.trials, Trial(number, suggest(number, past), moment.now)])


def _climbed(search: Search, moment: Moment) -> Search:
    """The next rung with the best of this one, or the end."""
    rungs = search.spec.rungs
    arrived = [trial for trial in search.trials if trial.state is TrialState.WAITING]
    if search.rung + 1 == len(rungs) or not arrived:
        return _ended(search, "" if arrived else _none_left(search))
    room = budget.room_for(search, rungs[search.rung + 1].epochs - rungs[search.rung].epochs)
    if not room:
        return _ended(search, f"{budget.told(search)}: another rung would go beyond it")
    best = sorted(arrived, key=lambda trial: (-trial.results[-1].value, trial.number))[: min(rungs[search.rung + 1].trials, room)]
    numbers = {trial.number for trial in best}

    def next_of(trial: Trial) -> Trial:
        if trial.number in numbers:
            return replace(
                trial,
                state=TrialState.QUEUED,
                rung=search.rung + 1,
                since=moment.now,
                measured_before_s=trial.measured_before_s + trial.measured_s,
                measured_s=0.0,
            )
        return replace(trial, state=TrialState.STOPPED) if trial.state is TrialState.WAITING else trial

    return replace(search.with_trials([next_of(trial) for trial in search.trials]), rung=search.rung + 1)


def _none_left(search: Search) -> str:
    return f"no trial of rung {search.rung + 1} has a result" if any(trial.results for trial in search.trials) else ""


def _ended(search: Search, reason: str) -> Search:
    last = len(search.spec.rungs) - 1

    def end_of(trial: Trial) -> Trial:
        if trial.state is not TrialState.WAITING:
            return trial
        return replace(trial, state=TrialState.COMPLETED if trial.rung == last else TrialState.STOPPED)

    return replace(search.with_trials([end_of(trial) for trial in search.trials]), ended=True, stopped_early=reason)


def verdict(search: Search) -> YardError | None:
    """Why a search that has ended failed; None where there is a best trial."""
    if search.best is not None:
        return None
    first = next((trial for trial in search.trials if trial.error is not None), None)
    if first is None or first.error is None:
        if search.overspent:
            told = f"none of the {len(search.trials)} trials has a result: {search.stopped_early}; give more (--budget)"
            return YardError(Reason.LIMIT_REACHED, told, {"limit": f"budget of {search.spec.budget:g}"})
        return YardError(Reason.TRAINING_FAILED, f"none of the {len(search.trials)} trials has a result", {"exception": ""})
    told = f"none of the {len(search.trials)} trials has a result; trial {first.number}: {first.error.message}"
    return YardError(first.error.reason, told, first.error.metadata)
