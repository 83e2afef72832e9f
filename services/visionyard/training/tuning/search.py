"""A search as its job's document keeps it: what is asked for in the specification, its trials in the pointers."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from visionyard.kit.errors import YardError
from visionyard.kit.jobs.model import Job
from visionyard.training.estimates.price import Price
from visionyard.training.spec import TrainingSpec
from visionyard.training.tuning.rungs import Rung, plan
from visionyard.training.tuning.space import Parameter


class TrialState(enum.Enum):
    """Where a trial stands; the names are those of ``visionyard.training.v1.TrialState``."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    STOPPED = "STOPPED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def open(self) -> bool:
        """Whether its training waits or runs."""
        return self in {TrialState.QUEUED, TrialState.RUNNING}


@dataclass(frozen=True)
class TuningSpec:
    """What is searched, and how; names are whole resource names with version numbers.

    Attributes:
        training: What every trial trains but for what is searched; ``epochs`` are those of the last rung, ``model`` is what gets the best.
        space: What is searched.
        metric: Ultralytics' key of the metric that counts.
        trials: How many begin.
        eta: One of so many goes on to the next rung.
        min_epochs: How many epochs the first rung has at least.
        seed: Of what is drawn.
        time_limit_s: How long the trials may train, all together, in seconds; 0 for no limit.
        max_parallel: How many trials may wait or run at once; 0 for as many as there are slots.
        priority: Of the trials.
        budget: What the trials may cost, all together, in the price's currency; 0 for no limit.
        price: What the machine costs whose service took the search; None where nobody has said so.
    """

    training: TrainingSpec
    space: tuple[Parameter, ...]
    metric: str
    trials: int
    eta: int = 3
    min_epochs: int = 1
    seed: int = 0
    time_limit_s: float = 0.0
    max_parallel: int = 0
    priority: int = 0
    budget: float = 0.0
    price: Price | None = None

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs, the first one first."""
        return plan(self.trials, self.training.epochs, self.eta, self.min_epochs)

    @property
    def trial_price(self) -> Price | None:
        """What all the machines cost that a trial trains on; None where nobody has said so."""
        return self.price.times(self.training.machines) if self.price else None

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return {
            **vars(self),
            "training": self.training.to_json(),
            "space": [parameter.to_json() for parameter in self.space],
            "price": self.price.to_json() if self.price else None,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TuningSpec:
        """Reads what :meth:`to_json` wrote."""
        read = {
            "training": TrainingSpec.from_json(document["training"]),
            "space": tuple(map(Parameter.from_json, document["space"])),
            "price": Price.from_json(document.get("price")),  # documents of earlier builds lack it
        }
        return cls(**{**document, **read})


@dataclass(frozen=True)
class Result:
    """What a trial had at the end of a rung.

    Attributes:
        rung: The rung's position, from 0.
        epochs: How many epochs it had trained.
        value: The metric of its best.pt.
        model_version: The version of the trials' model that holds it.
    """

    rung: int
    epochs: int
    value: float
    model_version: str


@dataclass(frozen=True)
class Trial:
    """One combination of arguments.

    Attributes:
        number: From 1.
        parameters: The searched arguments with their values.
        job: The id of its training; empty before that is queued.
        state: Where it stands.
        rung: The position of the rung that it has come to, from 0.
        epoch: Epochs finished.
        value: The metric after the last finished epoch, or at the end of a rung; None where there is none.
        results: What it had at the end of each rung.
        since: Since when its training of this rung holds a slot; before that, when it was asked for. By the store's clock.
        seconds: How long it trained before that, in seconds.
        measured_s: How long its workers had it for this rung up to their last checkpoint, as they measured it, in seconds: what a machine that was off meanwhile does not add to.
        measured_before_s: The same for the rungs before.
        error: Why it failed.
    """

    number: int
    parameters: Mapping[str, Any]
    since: datetime
    job: str = ""
    state: TrialState = TrialState.QUEUED
    rung: int = 0
    epoch: int = 0
    value: float | None = None
    results: tuple[Result, ...] = ()
    seconds: float = 0.0
    error: YardError | None = None
    measured_s: float = 0.0
    measured_before_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return {
            **vars(self),
            "parameters": dict(self.parameters),
            "since": self.since.isoformat(),
            "state": self.state.value,
            "results": [vars(result) for result in self.results],
            "error": self.error.to_json() if self.error else None,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Trial:
        """Reads what :meth:`to_json` wrote."""
        read = {
            "since": datetime.fromisoformat(document["since"]),
            "state": TrialState(document["state"]),
            "results": tuple(Result(**result) for result in document["results"]),
            "error": YardError.from_json(document["error"]) if document["error"] else None,
        }
        return cls(**{**document, **read})

    def trained_seconds(self, now: datetime) -> float:
        """How long it has trained in all, in seconds."""
        running = (now - self.since).total_seconds() if self.state is TrialState.RUNNING else 0.0
        return self.seconds + max(0.0, running)


@dataclass(frozen=True)
class Search:
    """How far a search is.

    Attributes:
        spec: What is asked for.
        trials: Its trials so far, by number.
        rung: The position of the rung that is being climbed, from 0.
        ended: Whether no trial will train any more.
        stopped_early: Why it ended before all rungs were climbed; empty where it did not.
        overspent: Whether its budget is used up, so that what runs is not worth its end.
    """

    spec: TuningSpec
    trials: tuple[Trial, ...] = ()
    rung: int = 0
    ended: bool = False
    stopped_early: str = ""
    overspent: bool = False

    @classmethod
    def of(cls, job: Job) -> Search:
        """Reads a job."""
        pointers, spec = job.pointers, TuningSpec.from_json(job.spec)
        if not pointers:
            return cls(spec)
        trials = tuple(map(Trial.from_json, pointers["trials"]))
        return cls(spec, trials, pointers["rung"], pointers["ended"], pointers["stopped_early"], pointers.get("overspent", False))

    def pointers(self) -> dict[str, Any]:
        """The form in which the job's document keeps what changes."""
        trials = [trial.to_json() for trial in self.trials]
        return {
            "trials": trials,
            "rung": self.rung,
            "ended": self.ended,
            "stopped_early": self.stopped_early,
            "overspent": self.overspent,
        }

    def with_trials(self, trials: list[Trial]) -> Search:
        """The same with other trials."""
        return replace(self, trials=tuple(trials))

    def trained_seconds(self, now: datetime) -> float:
        """How long its trials have trained, all together, in seconds."""
        return sum(trial.trained_seconds(now) for trial in self.trials)

    @property
    def cost(self) -> float:
        """What its trials have cost up to their last checkpoints, in the price's currency; 0 where the machine has no price."""
        measured = sum(trial.measured_before_s + trial.measured_s for trial in self.trials)
        return self.spec.trial_price.cost(measured) if self.spec.trial_price else 0.0

    @property
    def best(self) -> Trial | None:
        """The trial with the best last result; one that failed later only where no other has a result."""
        with_result = [trial for trial in self.trials if trial.results]
        return max(with_result, key=_merit, default=None)


def _merit(trial: Trial) -> tuple[bool, float, int, int]:
    last = trial.results[-1]
    return trial.state is not TrialState.FAILED, last.value, last.rung, -trial.number


@dataclass(frozen=True)
class Observed:
    """What a trial's training job tells.

    Attributes:
        job: The job.
        epoch: How many epochs are finished.
        metrics: Metrics of the last finished epoch; of its best.pt where it has ended well.
        measured_s: How long its workers have had it since it was last queued or resumed, up to the last checkpoint, in seconds.
    """

    job: Job
    epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    measured_s: float = 0.0
