"""Searches on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import duration_pb2, json_format, struct_pb2

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.jobs.mapping import job_status, timestamp
from visionyard.kit.jobs.model import Job, JobKind, ProgressSnapshot
from visionyard.kit.names import ResourceName
from visionyard.kit.status import to_status
from visionyard.training.mapping import spec_from_proto, spec_to_proto
from visionyard.training.tuning.search import Result, Search, Trial, TrialState, TuningSpec
from visionyard.training.tuning.space import Parameter
from visionyard.training.tuning.tunings import Wanted
from visionyard.training.v1 import training_job_pb2, tuning_job_pb2

_STATES = {state: tuning_job_pb2.TrialState.Value(f"TRIAL_STATE_{state.value}") for state in TrialState}
_NANOS = 1e9


def wanted_from_proto(spec: tuning_job_pb2.TuningSpec) -> Wanted:
    """What a request asks for; the use case checks it.

    Raises:
        YardError: INVALID_FIELD or INVALID_ARGUMENT_VALUE.
    """
    return Wanted(
        training=spec_from_proto(spec.training),
        space=tuple(map(_parameter, spec.parameters)),
        trials=spec.trials,
        eta=spec.eta,
        min_epochs=spec.min_epochs,
        seed=spec.seed,
        metric=spec.metric,
        time_limit_s=spec.time_limit.seconds + spec.time_limit.nanos / _NANOS,
        max_parallel=spec.max_parallel_trials,
        priority=spec.priority,
        budget=spec.budget,
    )


def _parameter(message: tuning_job_pb2.TuningParameter) -> Parameter:
    kind = message.WhichOneof("values")
    if kind == "range":
        return Parameter(message.name, message.range.min, message.range.max, message.range.log)
    if kind != "choices":
        raise invalid_field("tuning_job.spec.parameters", f"{message.name[:100]!r} has neither a range nor choices")
    try:
        choices = json_format.MessageToDict(message.choices)
    except ValueError as error:
        raise YardError(
            Reason.INVALID_ARGUMENT_VALUE, f"a value of {message.name[:100]!r} is not a finite number", {"argument": message.name[:100]}
        ) from error
    if not choices:
        raise invalid_field("tuning_job.spec.parameters", f"{message.name[:100]!r} has no values to choose from")
    return Parameter(message.name, choices=tuple(choices))


def tuning_to_proto(job: Job, *, with_trials: bool = True) -> tuning_job_pb2.TuningJob:
    """A search on the wire.

    Args:
        job: Its job.
        with_trials: Whether its trials are told.
    """
    search = Search.of(job)
    best = search.best
    trained = duration_pb2.Duration()
    trained.FromMilliseconds(round(search.trained_seconds(job.update_time or job.create_time) * 1000))
    return tuning_job_pb2.TuningJob(
        name=str(job.name),
        spec=_spec(search.spec),
        status=job_status(job, _progress(search)),
        create_time=timestamp(job.create_time),
        update_time=timestamp(job.update_time),
        etag=job.etag,
        rungs=[tuning_job_pb2.TuningRung(trials=rung.trials, epochs=rung.epochs) for rung in search.spec.rungs],
        trials=[_trial(job, trial) for trial in search.trials] if with_trials else [],
        best_trial=best.number if best else 0,
        model_version=job.pointers.get("model_version", ""),
        training_time=trained,
        stopped_early=search.stopped_early,
        cost=training_job_pb2.TrainingCost(
            training_time=trained,
            amount=search.cost,
            currency=search.spec.price.currency if search.spec.price else "",
        ),
    )


def _progress(search: Search) -> ProgressSnapshot:
    rungs = search.spec.rungs
    settled = sum(trial.rung == search.rung and not trial.state.open for trial in search.trials)
    phase = f"rung {search.rung + 1} of {len(rungs)}, to {rungs[search.rung].epochs} epochs"
    return ProgressSnapshot(phase=phase, done=settled, total=rungs[search.rung].trials, unit="trials")


def _spec(spec: TuningSpec) -> tuning_job_pb2.TuningSpec:
    limit = duration_pb2.Duration()
    limit.FromMilliseconds(round(spec.time_limit_s * 1000))
    return tuning_job_pb2.TuningSpec(
        training=spec_to_proto(spec.training),
        parameters=map(_parameter_to_proto, spec.space),
        trials=spec.trials,
        eta=spec.eta,
        min_epochs=spec.min_epochs,
        seed=spec.seed,
        metric=spec.metric,
        time_limit=limit if spec.time_limit_s else None,
        max_parallel_trials=spec.max_parallel,
        priority=spec.priority,
        budget=spec.budget,
    )


def _parameter_to_proto(parameter: Parameter) -> tuning_job_pb2.TuningParameter:
    if parameter.choices:
        choices = struct_pb2.ListValue()
        choices.extend(parameter.choices)
        return tuning_job_pb2.TuningParameter(name=parameter.name, choices=choices)
    held = tuning_job_pb2.TuningRange(min=parameter.low, max=parameter.high, log=parameter.log)
    return tuning_job_pb2.TuningParameter(name=parameter.name, range=held)


def _trial(job: Job, trial: Trial) -> tuning_job_pb2.TuningTrial:
    name = ResourceName(job.name.project, JobKind.TRAINING.collection, trial.job) if trial.job else ""
    return tuning_job_pb2.TuningTrial(
        number=trial.number,
        parameters=_struct(trial.parameters),
        training_job=str(name),
        state=_STATES[trial.state],
        rung=trial.rung + 1,
        epoch=trial.epoch,
        value=trial.value,
        results=map(_result, trial.results),
        error=to_status(trial.error) if trial.error else None,
    )


def _struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(dict(values))
    return struct


def _result(result: Result) -> tuning_job_pb2.TrialResult:
    return tuning_job_pb2.TrialResult(rung=result.rung + 1, epochs=result.epochs, value=result.value, model_version=result.model_version)
