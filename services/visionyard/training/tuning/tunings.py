"""The use cases of searches. All calls block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from visionyard.kit.errors import invalid_field
from visionyard.kit.jobs.events import JobEvents
from visionyard.kit.jobs.model import Job, JobKind
from visionyard.kit.jobs.queue import HIGHEST_PRIORITY, LEAST_PRIORITY
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.training.arguments import ArgumentTable
from visionyard.training.limits import check_limits
from visionyard.training.spec import TrainingSpec
from visionyard.training.task_metrics import main_metric, metric_key
from visionyard.training.trainings import Trainings
from visionyard.training.tuning.search import Search, TuningSpec
from visionyard.training.tuning.space import Parameter, check_free, check_space

MOST_TRIALS = 1000
_MOST_SECONDS = 10 * 365 * 86_400.0
_LARGEST_SEED = 2**31 - 1
_SMALLEST_ETA, _LARGEST_ETA, DEFAULT_ETA = 2, 10, 3
_DEFAULT_EPOCHS = 100
_SUFFIX = "-tune"
_LONGEST_ID = 63


@dataclass(frozen=True)
class Wanted:
    """A search as it is asked for; numbers are 0 where the default is meant, as in :class:`~.search.TuningSpec`.

    Attributes:
        training: What every trial trains but for what is searched.
        space: What is searched.
        trials: How many begin.
        eta: See there; 0: 3.
        min_epochs: See there; 0: 1.
        seed: See there.
        metric: A metric's key or short name; empty for the one that the task is judged by.
        time_limit_s: See there.
        max_parallel: See there.
        priority: See there.
        budget: See there.
    """

    training: TrainingSpec
    space: Sequence[Parameter]
    trials: int
    eta: int = 0
    min_epochs: int = 0
    seed: int = 0
    metric: str = ""
    time_limit_s: float = 0.0
    max_parallel: int = 0
    priority: int = 0
    budget: float = 0.0

    def check(self) -> None:
        """Checks the numbers.

        Raises:
            YardError: INVALID_FIELD.
        """
        _within("trials", self.trials, 1, MOST_TRIALS)
        if self.eta:
            _within("eta", self.eta, _SMALLEST_ETA, _LARGEST_ETA)
        _within("min_epochs", self.min_epochs, 0, self.training.epochs or _DEFAULT_EPOCHS)
        _within("seed", self.seed, 0, _LARGEST_SEED)
        _within("time_limit", self.time_limit_s, 0, _MOST_SECONDS)
        _within("max_parallel_trials", self.max_parallel, 0, MOST_TRIALS)
        _within("priority", self.priority, LEAST_PRIORITY, HIGHEST_PRIORITY)


def _within(field: str, value: float, least: float, largest: float) -> None:
    if not least <= value <= largest:
        raise invalid_field(f"tuning_job.spec.{field}", f"takes {least:g} to {largest:g}, not {value:g}")


def trials_model(model: ResourceName) -> ResourceName:
    """The model whose versions the trials make, so that the model itself gets nothing but the best."""
    return replace(model, id=f"{model.id[: _LONGEST_ID - len(_SUFFIX)]}{_SUFFIX}")


class Tunings:
    """Begins, reads and cancels searches.

    Args:
        store: The bucket.
        trainings: The training jobs.
        table: Gives the installed Ultralytics' arguments.
        events: Hears of every change of a search.
    """

    def __init__(
        self, store: ObjectStore, trainings: Trainings, table: Callable[[], ArgumentTable], events: JobEvents | None = None
    ) -> None:
        self.jobs = JobService(store, JobKind.TUNING, events)
        self._trainings = trainings
        self._table = table

    def create(self, project: ProjectName, wanted: Wanted, request_id: str) -> Job:
        """Checks what is asked for, and begins.

        Args:
            project: The project.
            wanted: What to search; version numbers may be ``-`` for the newest.
            request_id: The client's key for this creation; empty for none.

        Raises:
            YardError: INVALID_FIELD, PRICE_UNKNOWN, REQUEST_ID_REUSED, what :func:`check_space` raises, or what :meth:`Trainings.create` does.
        """
        wanted.check()
        check_limits(0, wanted.budget, self._trainings.estimates.price, "tuning_job.spec.budget")
        check_free(wanted.training.overrides)
        training, task = self._trainings.resolve(project, replace(wanted.training, epochs=wanted.training.epochs or _DEFAULT_EPOCHS))
        spec = TuningSpec(
            training=training,
            space=check_space(wanted.space, training.arguments(), self._table()),
            metric=metric_key(wanted.metric, task, "tuning_job.spec.metric") if wanted.metric else main_metric(task),
            trials=wanted.trials,
            eta=wanted.eta or DEFAULT_ETA,
            min_epochs=wanted.min_epochs or 1,
            seed=wanted.seed,
            time_limit_s=wanted.time_limit_s,
            max_parallel=wanted.max_parallel,
            priority=wanted.priority,
            budget=wanted.budget,
            price=self._trainings.estimates.price,
        )
        asked = {**vars(wanted), "training": wanted.training.to_json(), "space": [parameter.to_json() for parameter in wanted.space]}
        return self.jobs.create(project.project, spec.to_json(), request_id, asked=asked)

    def get(self, name: ResourceName) -> Job:
        """Reads a search; raises YardError (JOB_NOT_FOUND)."""
        return self.jobs.get(name)

    def list_jobs(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[Job], str]:
        """A page of searches, newest first, and the next page's token; raises YardError (INVALID_PAGE_TOKEN, INVALID_FIELD)."""
        return self.jobs.list(project.project, page_size, page_token)

    def cancel(self, name: ResourceName) -> Job:
        """Cancels a search; raises YardError (JOB_NOT_FOUND, JOB_FINISHED)."""
        return self.jobs.cancel(name)


def training_spec(job: Job, search: Search, number: int) -> TrainingSpec:
    """What a trial's training is asked for at first."""
    base, trial = search.spec.training, search.trials[number - 1]
    return replace(
        base,
        model=str(trials_model(ResourceName.parse(base.model, "models"))),
        epochs=search.spec.rungs[0].epochs,
        overrides={**base.overrides, **trial.parameters},
        tuning_job=str(job.name),
    )
