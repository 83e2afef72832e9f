"""Searches for good training arguments: trials that are training jobs, of which the better ones are trained on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.protobuf import duration_pb2

from visionyard.client.jobs import PAGE, AsyncJobs, Snapshot
from visionyard.client.search_space import read_search_space, search_space
from visionyard.client.sync import Blocking, BlockingIterator, Facade
from visionyard.client.training import CREATE_TIMEOUT_S
from visionyard.client.training_spec import training_spec
from visionyard.client.transport import Patience
from visionyard.kit.request_id import new_request_id
from visionyard.training.v1 import tuning_job_pb2, tuning_job_service_pb2
from visionyard.training.v1.tuning_job_service_pb2_grpc import TuningJobServiceStub

SnapshotOfTuning = Snapshot[tuning_job_pb2.TuningJob]
Space = Mapping[str, Any] | Sequence[tuning_job_pb2.TuningParameter] | Path | str


class AsyncTuningJobs(AsyncJobs[tuning_job_pb2.TuningJob]):
    """The searches of a project."""

    service = "training"
    collection = "tuningJobs"

    async def create(
        self,
        /,
        dataset: str,
        space: Space,
        *,
        trials: int,
        eta: int = 0,
        min_epochs: int = 0,
        seed: int = 0,
        metric: str = "",
        time_limit: timedelta | None = None,
        max_parallel_trials: int = 0,
        priority: int = 0,
        budget: float = 0.0,
        request_id: str = "",
        **training: Any,
    ) -> tuning_job_pb2.TuningJob:
        """Begins a search.

        Args:
            dataset: The dataset version, ``NAME[@V]`` or a resource name.
            space: What is searched: a file (see :mod:`visionyard.client.search_space`), or what would stand there,
                ``{"lr0": {"min": 1e-4, "max": 1e-2, "log": True}, "optimizer": ["SGD", "AdamW"]}``.
            trials: How many begin.
            eta: Of so many trials one goes on to the next rung; 0: 3.
            min_epochs: How many epochs the first rung has at least; 0: 1.
            seed: Of what is drawn.
            metric: Which one counts, ``mAP50`` or ``metrics/mAP50(B)``; empty: the one that the task is judged by.
            time_limit: How long the trials may train, all together; None for no limit.
            max_parallel_trials: How many may run or wait at once; 0: as many as there are slots, and one that waits.
            priority: From -1000 to 1000; that of the trials.
            budget: What the trials may cost, all together, at the price of the machine whose service takes the search; 0 for no limit.
            request_id: A UUID; the same one again gives the same search. Empty: a fresh one.
            training: What each trial trains: ``model``, ``architecture``, ``epochs``, ``overrides`` and so on, as for
                :meth:`visionyard.client.training.AsyncTrainingJobs.create`. ``epochs`` are those of the last rung; ``model`` gets the best trial's version.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD, UNKNOWN_ARGUMENT, RESERVED_ARGUMENT, INVALID_ARGUMENT_VALUE, MODEL_YAML_INVALID,
                UNSUPPORTED_TASK), FAILED_PRECONDITION (PRICE_UNKNOWN), NOT_FOUND (FILE_NOT_FOUND, DATASET_NOT_FOUND, MODEL_NOT_FOUND and their versions).
        """
        limit = duration_pb2.Duration()
        limit.FromTimedelta(time_limit or timedelta())
        spec = tuning_job_pb2.TuningSpec(
            training=training_spec(self._names, dataset, **training),
            parameters=_parameters(space),
            trials=trials,
            eta=eta,
            min_epochs=min_epochs,
            seed=seed,
            metric=metric,
            time_limit=limit if time_limit else None,
            max_parallel_trials=max_parallel_trials,
            priority=priority,
            budget=budget,
        )
        request = tuning_job_service_pb2.CreateTuningJobRequest(
            parent=self._names.parent, tuning_job=tuning_job_pb2.TuningJob(spec=spec), request_id=request_id or new_request_id()
        )
        response = await self._transport.unary(
            self.service, lambda channel: TuningJobServiceStub(channel).CreateTuningJob, request, timeout_s=CREATE_TIMEOUT_S
        )
        return response.tuning_job

    async def _get(self, name: str) -> tuning_job_pb2.TuningJob:
        request = tuning_job_service_pb2.GetTuningJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: TuningJobServiceStub(channel).GetTuningJob, request)
        return response.tuning_job

    async def _page(self, token: str, where: str) -> tuple[list[tuning_job_pb2.TuningJob], str]:
        request = tuning_job_service_pb2.ListTuningJobsRequest(parent=self._names.parent, page_size=PAGE, page_token=token, filter=where)
        response = await self._transport.unary(self.service, lambda channel: TuningJobServiceStub(channel).ListTuningJobs, request)
        return list(response.tuning_jobs), response.next_page_token

    async def _cancel(self, name: str) -> tuning_job_pb2.TuningJob:
        request = tuning_job_service_pb2.CancelTuningJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: TuningJobServiceStub(channel).CancelTuningJob, request)
        return response.tuning_job

    async def _watch(self, name: str, sequence: Callable[[], int], patience: Patience) -> AsyncIterator[SnapshotOfTuning]:
        async for response in self._transport.stream(
            self.service,
            lambda channel: TuningJobServiceStub(channel).WatchTuningJob,
            lambda: tuning_job_service_pb2.WatchTuningJobRequest(name=name, after_sequence=sequence()),
            patience,
        ):
            yield Snapshot(response.tuning_job, response.sequence, response)


def _parameters(space: Space) -> Sequence[tuning_job_pb2.TuningParameter]:
    if isinstance(space, Path | str):
        return read_search_space(space)
    return search_space(space) if isinstance(space, Mapping) else space


class TuningJobs(Facade[AsyncTuningJobs]):
    """The searches of a project."""

    create = Blocking(AsyncTuningJobs.create)
    get = Blocking(AsyncTuningJobs.get)
    list = Blocking(AsyncTuningJobs.list)
    cancel = Blocking(AsyncTuningJobs.cancel)
    watch = BlockingIterator(AsyncTuningJobs.watch)
    wait = Blocking(AsyncTuningJobs.wait)
