"""The use cases of training jobs. All calls block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from visionyard.kit.artifacts.dataset import DatasetVersion, read_dataset_version
from visionyard.kit.artifacts.model import ModelFile, ModelVersion, read_model_version
from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.jobs.events import JobEvents
from visionyard.kit.jobs.model import Job, JobKind, JobState, ProgressSnapshot
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ProjectName, ResourceName, VersionName, may_refer
from visionyard.kit.objectstore.ahead import read_ahead
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.training.arguments import ArgumentTable
from visionyard.training.estimates.effort import Effort, effort_of
from visionyard.training.estimates.estimates import Estimates, MachineEstimate
from visionyard.training.estimates.machine import this_machine
from visionyard.training.forecast import Forecast
from visionyard.training.kept_epochs import checkpoint_at
from visionyard.training.limits import spent_in_all
from visionyard.training.presets import COLLECTION, Presets
from visionyard.training.processes import Capacity, capacity_here, capacity_of, check_processes, why_not
from visionyard.training.reports.page import render_report
from visionyard.training.reports.report import TrainingReport, read_report
from visionyard.training.scheduling import AT_ITS_TURN, Queue, Scheduling, read_queue
from visionyard.training.spec import TrainingSpec, check_spec, resumed_spec
from visionyard.training.task_metrics import metric_key


@dataclass(frozen=True)
class TrainingView:
    """A job as it is shown.

    Attributes:
        job: The job.
        progress: How far its worker is.
        queue_position: Its place among the waiting ones, from 1; 0 unless it waits.
        expected_start: When it is expected to get a slot; None unless it waits, and where that was not asked for or cannot be told.
    """

    job: Job
    progress: ProgressSnapshot
    queue_position: int
    expected_start: datetime | None = None

    @property
    def expected_end(self) -> datetime | None:
        """When it is expected to end; None where it has ended, or where that cannot be told."""
        if self.job.state is JobState.RUNNING:
            text = self.progress.detail.get("expected_end_time") if self.progress.sequence else ""
            return datetime.fromisoformat(text) if text else None
        seconds = (self.job.pointers.get("estimate") or {}).get("seconds")
        return self.expected_start + timedelta(seconds=seconds) if self.expected_start and seconds is not None else None


@dataclass(frozen=True)
class _Planned:
    """A training that was checked.

    Attributes:
        spec: What to do, everything resolved.
        follows: The id of the job that it follows; empty for none.
        epochs: How many epochs.
        hours: How long it trains in place of them (Ultralytics' ``time``); 0 where that is not said.
        effort: What decides how long it takes.
    """

    spec: TrainingSpec
    follows: str
    epochs: int
    hours: float
    effort: Effort


class Trainings:
    """Creates, reads and cancels training jobs.

    Args:
        store: The bucket.
        table: Gives the installed Ultralytics' arguments.
        events: Hears of every change of a job that is made here.
        estimates: Says how long trainings take; by default on this machine without its GPUs, and without a price.
        slots: How many slots there are here.
        capacity: What trainings may use; this process's machine, and no cluster, where it is not given.
        width: Tells, by a job's spec, how many of the slots it takes; one where it is not given.
        node: What this machine is called in leases; see :func:`visionyard.kit.jobs.model.node_name`.
    """

    def __init__(
        self,
        store: ObjectStore,
        table: Callable[[], ArgumentTable],
        events: JobEvents | None = None,
        estimates: Estimates | None = None,
        slots: int = 1,
        capacity: Capacity | None = None,
        width: Callable[[Mapping[str, Any]], int] = lambda _: 1,
        node: str = "",
    ) -> None:
        self.store = store
        self.jobs = JobService(store, JobKind.TRAINING, events)
        self.estimates = estimates or Estimates(store, this_machine(uses_gpus=False))
        self._forecast = Forecast(self.jobs.records, self.jobs.progress, slots, width, node)
        self._table = table
        self._capacity = capacity or capacity_here()
        self.presets = Presets(store, table)

    def create(
        self,
        project: ProjectName,
        spec: TrainingSpec,
        request_id: str,
        scheduling: Scheduling = AT_ITS_TURN,
        preset: str = "",
        *,
        without_tensorboard: bool = False,
    ) -> TrainingView:
        """Checks what is asked for and queues it.

        Args:
            project: The project; what the spec names must be in it, or for what is only read in the shared one.
            spec: What to do; version numbers may be ``-`` for the newest.
            request_id: The client's key for this creation; empty for none.
            scheduling: When it gets a slot.
            preset: The preset that fills in what ``spec`` and ``scheduling`` do not say; empty for none.
            without_tensorboard: Whether the preset's event files are not wanted.

        Raises:
            YardError: INVALID_NAME, INVALID_FIELD, UNKNOWN_ARGUMENT, RESERVED_ARGUMENT, INVALID_ARGUMENT_VALUE, MODEL_YAML_INVALID, UNSUPPORTED_TASK,
                DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND, JOB_NOT_FOUND, PRESET_NOT_FOUND,
                PRICE_UNKNOWN or REQUEST_ID_REUSED.
        """
        planned = self._plan(project, *self._filled(project, spec, scheduling, preset, without_tensorboard=without_tensorboard))
        estimate = self.estimates.on_own(project, planned.effort, planned.epochs, planned.hours)
        asked = {
            **spec.to_json(),
            **({"scheduling": vars(scheduling)} if scheduling != AT_ITS_TURN else {}),
            **({"preset": preset} if preset else {}),
            **({"without_tensorboard": True} if without_tensorboard else {}),
        }
        job = self.jobs.create(
            project.project,
            planned.spec.to_json(),
            request_id,
            asked=asked,
            priority=scheduling.priority,
            follows=planned.follows,
            pointers={"estimate": estimate.to_json(), "effort": planned.effort.to_json()},
        )
        return self.view(job)

    def estimate(
        self, project: ProjectName, spec: TrainingSpec, scheduling: Scheduling = AT_ITS_TURN, preset: str = ""
    ) -> list[MachineEstimate]:
        """How long such a job would take on each machine that is known, the service's own first; one that cannot run it says why.

        Arguments and errors as of :meth:`create`; that the service's own machine is too small is none.
        """
        planned = self._plan(project, *self._filled(project, spec, scheduling, preset), here=False)
        found = self.estimates.side_by_side(project, planned.effort, planned.epochs, planned.hours)
        return [
            replace(one, unfit_reason=why_not(planned.spec, self._capacity if one.own else capacity_of(one.known.machine))) for one in found
        ]

    def resolve(self, project: ProjectName, spec: TrainingSpec) -> tuple[TrainingSpec, str]:
        """Checks what is asked for.

        Returns:
            The same with every name whole, every version numbered and every argument in Ultralytics' own type; and the task.

        Raises:
            YardError: what :meth:`create` raises.
        """
        planned = self._plan(project, spec, AT_ITS_TURN)
        return planned.spec, planned.effort.task

    def _plan(self, project: ProjectName, spec: TrainingSpec, scheduling: Scheduling, *, here: bool = True) -> _Planned:
        """Checks what is asked for, and resolves it; raises as :meth:`create` does. ``here``: see :func:`.processes.check_processes`."""
        model = ResourceName.parse(spec.model, "models")
        dataset = VersionName.parse(spec.dataset_version, "datasets")
        if model.project != project.project:
            raise invalid_field("training_job.spec.model", f"{model} is not in {project}, so it gets no version from its job")
        _must_reach(project, dataset.parent, "dataset_version")
        table = self._table()
        checked, task = check_spec(spec, table)
        check_processes(checked, self._capacity, here=here)
        version = read_dataset_version(self.store, dataset)
        initial = self._version(project, checked.model_version, "model_version")
        _must_fit(version, initial.task if initial else task, str(initial.name) if initial else checked.architecture or "the model YAML")
        pretrained = self._version(project, checked.pretrained_model_version, "pretrained_model_version")
        resolved = replace(
            checked,
            dataset_version=str(version.name),
            model=str(model),
            model_version=str(initial.name) if initial else "",
            pretrained_model_version=str(pretrained.name) if pretrained else "",
            best_metric=metric_key(checked.best_metric, version.task) if checked.best_metric else "",
            time_limit_s=scheduling.time_limit_s,
            budget=scheduling.budget,
        )
        follows = scheduling.check(project, self.jobs.records, self.estimates.price)
        arguments = {**table.defaults, **resolved.arguments()}
        effort = effort_of(resolved, table.defaults, version, initial)
        return _Planned(resolved, follows, int(arguments["epochs"]), float(arguments.get("time") or 0.0), effort)

    def _filled(
        self, project: ProjectName, spec: TrainingSpec, scheduling: Scheduling, preset: str, *, without_tensorboard: bool = False
    ) -> tuple[TrainingSpec, Scheduling]:
        if not preset:
            return spec, scheduling
        name = ResourceName.parse(preset, COLLECTION)
        if name.project != project.project:
            raise invalid_field("preset", f"{name} is not in {project}")
        found = self.presets.get(name)
        limited = replace(scheduling, time_limit_s=scheduling.time_limit_s or found.time_limit_s)
        return found.fill(spec, without_tensorboard=without_tensorboard), limited

    def _version(self, project: ProjectName, text: str, field: str) -> ModelVersion | None:
        """A model version that the spec names in a field, if it names one."""
        if not text:
            return None
        name = VersionName.parse(text, "models")
        _must_reach(project, name.parent, field)
        return read_model_version(self.store, name)

    def view(self, job: Job, progress: ProgressSnapshot | None = None) -> TrainingView:
        """The job with its progress and place in the queue."""
        return TrainingView(job, progress or self.jobs.progress(job), self.jobs.queue_position(job))

    def get(self, name: ResourceName) -> TrainingView:
        """Reads a job; raises YardError (JOB_NOT_FOUND)."""
        view = self.view(self.jobs.get(name))
        if not view.queue_position:
            return view
        return replace(view, expected_start=self._forecast.starts().get(name))

    def list_jobs(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[TrainingView], str]:
        """A page of jobs, newest first, and the next page's token; raises YardError (INVALID_PAGE_TOKEN, INVALID_FIELD)."""
        jobs, token = self.jobs.list(project.project, page_size, page_token)
        return list(read_ahead(self.view, jobs)), token

    def cancel(self, name: ResourceName) -> TrainingView:
        """Cancels a job; raises YardError (JOB_NOT_FOUND, JOB_FINISHED)."""
        return self.view(self.jobs.cancel(name))

    def resume(self, name: ResourceName, epochs: int, from_epoch: int = 0) -> TrainingView:
        """Queues an ended job once more, to go on behind its last stored epoch, or one that it has kept. Doing so twice is no error.

        Args:
            name: The job.
            epochs: How many epochs it is to have in all; 0 for as many as before.
            from_epoch: The finished epoch that it goes on behind; 0 for the last one.

        Raises:
            YardError: JOB_NOT_FOUND; JOB_UNFINISHED, it waits or runs; JOB_FINISHED, it ended well and has no epoch left; INVALID_FIELD, it has trained
                as many epochs already, or has not kept that one.
        """
        job = self.jobs.get(name)
        if job.resumptions and epochs and not from_epoch and job.spec.get("epochs") == epochs <= _trained_epochs(job):
            return self.view(job)  # asked again, and it has got there meanwhile

        def spec(job: Job) -> dict[str, Any]:
            if from_epoch and not job.state.finished and job.pointers.get("went_back_to") != from_epoch:
                return {}  # something else than what it does: JOB_UNFINISHED
            if not epochs and not from_epoch:
                return job.spec
            before = TrainingSpec.from_json(job.spec)
            wanted = epochs or int(before.arguments().get("epochs", self._table().defaults["epochs"]))
            after = resumed_spec(before, wanted, from_epoch or _trained_epochs(job))
            return after.to_json() if epochs else job.spec

        def pointers(job: Job) -> dict[str, Any]:
            # What it has spent counts anew for its limits: one that has ended it would end it again at once.
            before = {"spent_before": spent_in_all(job.pointers).to_json()} if "spent" in job.pointers else {}
            kept = {name: job.pointers[name] for name in ("estimate", "effort", "spent_before") if name in job.pointers} | before
            if from_epoch:
                return {**kept, "checkpoint": checkpoint_at(job, from_epoch), "went_back_to": from_epoch}
            if not epochs and job.state is JobState.SUCCEEDED and not job.pointers.get("early_stop"):
                raise YardError(
                    Reason.JOB_FINISHED,
                    f"job {name.id} has ended SUCCEEDED after {_trained_epochs(job)} epochs: give more of them (--epochs) to go on",
                    {"name": str(name), "state": job.state.value},
                )
            checkpoint = job.pointers.get("checkpoint")
            goes_on = epochs or (job.state is JobState.SUCCEEDED and job.pointers.get("early_stop"))
            if goes_on and checkpoint:
                return {**kept, "checkpoint": {**checkpoint, "ended": False}}
            if epochs and "trained" in job.pointers:
                raise YardError(
                    Reason.ARTIFACT_CORRUPT,
                    f"job {name.id} has kept no checkpoint to go on from: start a training from the model that it made",
                    {"name": str(name)},
                )
            return {name: value for name, value in job.pointers.items() if name != "spent"} | before

        return self.view(self.jobs.resume(name, spec, pointers))

    def queue(self, project: ProjectName) -> tuple[list[TrainingView], Queue]:
        """The project's jobs that have not ended, in the order in which they get slots, and the queue that they are of."""
        queue = read_queue(self.jobs.records, project)
        starts = self._forecast.starts()
        return [replace(view, expected_start=starts.get(view.job.name)) for view in read_ahead(self.view, queue.jobs)], queue

    def report(self, name: ResourceName) -> TrainingReport:
        """What the job has come to; raises YardError (JOB_NOT_FOUND, ARTIFACT_CORRUPT)."""
        return read_report(self.jobs, name)

    def page(self, name: ResourceName) -> bytes:
        """The same as an HTML page; raises YardError (JOB_NOT_FOUND, ARTIFACT_CORRUPT)."""
        return render_report(self.store, self.report(name))

    def files(self, name: ResourceName) -> dict[str, ModelFile]:
        """What the job has made so far, by path: all at the end, the newest checkpoint before; raises YardError (JOB_NOT_FOUND)."""
        pointers = self.jobs.get(name).pointers
        entries = pointers.get("files") or (pointers.get("checkpoint") or {}).get("files") or {}
        return {path: ModelFile(entry["key"], entry["size_bytes"], entry["sha256"]) for path, entry in sorted(entries.items())}


def _trained_epochs(job: Job) -> int:
    return int((job.pointers.get("checkpoint") or {}).get("epoch", 0))


def _must_reach(project: ProjectName, name: ResourceName, field: str) -> None:
    if not may_refer(project.project, name.project):
        raise invalid_field(f"training_job.spec.{field}", f"{name} is neither in {project} nor shared")


_EXAMPLES = {
    "detect": "yolo11n.yaml",
    "segment": "yolo11n-seg.yaml",
    "classify": "yolo11n-cls.yaml",
    "pose": "yolo11n-pose.yaml",
    "obb": "yolo11n-obb.yaml",
}
"""A model of each task that Ultralytics brings."""


def _must_fit(version: DatasetVersion, task: str, model: str) -> None:
    """Refuses a model for another task than the set's."""
    if task != version.task:
        raise YardError(
            Reason.UNSUPPORTED_TASK,
            f"{version.name} is a set for {version.task}, and {model} is a model for {task}: take one for {version.task}, such as {_EXAMPLES[version.task]}",
            {"task": task},
        )
