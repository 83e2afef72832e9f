"""Training jobs: from a dataset version and a model to a new model version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from visionyard.client.downloads import Downloads, OnFile, write_whole
from visionyard.client.jobs import PAGE, AsyncJobs, Snapshot
from visionyard.client.references import References
from visionyard.client.sync import Blocking, BlockingIterator, Facade
from visionyard.client.training_spec import training_spec
from visionyard.client.transport import Patience, Transport
from visionyard.kit.request_id import new_request_id
from visionyard.training.v1 import training_job_pb2, training_job_service_pb2, training_report_pb2
from visionyard.training.v1.training_job_service_pb2_grpc import TrainingJobServiceStub
from visionyard.transfer.v1 import transfer_service_pb2

SnapshotOfTraining = Snapshot[training_job_pb2.TrainingJob]
CREATE_TIMEOUT_S = 180.0
"""A service that has just started asks Ultralytics for its arguments first, which takes a minute on a busy machine."""


class AsyncTrainingJobs(AsyncJobs[training_job_pb2.TrainingJob]):
    """The training jobs of a project."""

    service = "training"
    collection = "trainingJobs"

    def __init__(self, transport: Transport, names: References, downloads: Downloads) -> None:
        super().__init__(transport, names)
        self._downloads = downloads

    async def create(
        self,
        dataset: str,
        *,
        model: str,
        model_version: str = "",
        architecture: str = "",
        model_yaml: str = "",
        epochs: int = 0,
        batch_size: int = 0,
        image_size_px: int = 0,
        overrides: Mapping[str, Any] | None = None,
        gpus: int = 0,
        nodes: int = 0,
        launcher: str = "",
        pretrained: str = "",
        best_metric: str = "",
        tensorboard: bool | None = None,
        preset: str = "",
        priority: int = 0,
        after: str = "",
        time_limit_s: float = 0.0,
        budget: float = 0.0,
        request_id: str = "",
    ) -> training_job_pb2.TrainingJob:
        """Queues a training. Exactly one of ``model_version``, ``architecture`` and ``model_yaml`` says what it starts from.

        Args:
            dataset: The dataset version, ``NAME[@V]`` or a resource name.
            model: The model that gets a new version, an id or resource name; made where it is not there.
            model_version: A model version, ``NAME[@V]`` or a resource name.
            architecture: The name of a YAML that Ultralytics brings (``yolov8n.yaml``), or of a network of torchvision (``resnet34.yaml``).
            model_yaml: The text of a model YAML of one's own.
            epochs: How many; 0: Ultralytics' default, 100.
            batch_size: Images a step; 0: Ultralytics' default, 16.
            image_size_px: The image's side in pixels; 0: Ultralytics' default, 640.
            overrides: Other training arguments of Ultralytics by their own names.
            gpus: How many processes train together on each machine, each with a GPU or, where there is none, a share of the CPU; 0 for one.
            nodes: On how many machines; 0 for one.
            launcher: ``ray`` where a Ray cluster is to start the processes, ``local`` or empty where the service is.
            pretrained: A model version, ``NAME[@V]`` or a resource name, whose tensors an architecture or a YAML begins with as far as they fit.
            best_metric: What chooses the best epoch and stops early: ``mAP50``, ``recall``, ``mAP50-95(M)``, ``top1``, ...; empty: Ultralytics' own choice.
            tensorboard: Whether event files for TensorBoard are kept with the job's files; None: as the preset says. False: without, whatever it says.
            preset: A preset that fills in what is not said here, an id or resource name; empty for none.
            priority: From -1000 to 1000; jobs of a higher one get slots first.
            after: A training job that it follows, an id or resource name; empty for none.
            time_limit_s: How long it may train, in seconds; it ends well with the last epoch that fits. 0 for no limit.
            budget: What it may cost by the machine's price; likewise.
            request_id: A UUID; the same one again gives the same job. Empty: a fresh one.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD, UNKNOWN_ARGUMENT, RESERVED_ARGUMENT, INVALID_ARGUMENT_VALUE, MODEL_YAML_INVALID,
                UNSUPPORTED_TASK), NOT_FOUND (DATASET_NOT_FOUND, MODEL_NOT_FOUND and their versions, JOB_NOT_FOUND, PRESET_NOT_FOUND), FAILED_PRECONDITION
                (PRICE_UNKNOWN).
        """
        job = self._asked(
            dataset,
            model=model,
            model_version=model_version,
            architecture=architecture,
            model_yaml=model_yaml,
            epochs=epochs,
            batch_size=batch_size,
            image_size_px=image_size_px,
            overrides=overrides,
            pretrained=pretrained,
            best_metric=best_metric,
            tensorboard=tensorboard,
            priority=priority,
            after=after,
            time_limit_s=time_limit_s,
            budget=budget,
            gpus=gpus,
            nodes=nodes,
            launcher=launcher,
        )
        request = training_job_service_pb2.CreateTrainingJobRequest(
            parent=self._names.parent,
            training_job=job,
            request_id=request_id or new_request_id(),
            preset=self._preset(preset),
            without_tensorboard=tensorboard is False,
        )
        response = await self._transport.unary(
            self.service, lambda channel: TrainingJobServiceStub(channel).CreateTrainingJob, request, timeout_s=CREATE_TIMEOUT_S
        )
        return response.training_job

    async def estimate(self, /, dataset: str, *, preset: str = "", **asked: Any) -> training_job_service_pb2.EstimateTrainingResponse:
        """How long a training would take, and what it would cost, on each machine that is known; nothing is queued.

        Args:
            dataset: As of :meth:`create`.
            preset: Likewise.
            asked: Likewise, but for ``request_id``.

        Raises:
            ClientError: As of :meth:`create`.
        """
        request = training_job_service_pb2.EstimateTrainingRequest(
            parent=self._names.parent, training_job=self._asked(dataset, **asked), preset=self._preset(preset)
        )
        return await self._transport.unary(
            self.service, lambda channel: TrainingJobServiceStub(channel).EstimateTraining, request, timeout_s=CREATE_TIMEOUT_S
        )

    def _asked(
        self,
        dataset: str,
        *,
        best_metric: str = "",
        tensorboard: bool | None = None,
        priority: int = 0,
        after: str = "",
        time_limit_s: float = 0.0,
        budget: float = 0.0,
        **arguments: Any,
    ) -> training_job_pb2.TrainingJob:
        """The job that a request asks for; arguments as of :meth:`create`."""
        spec = training_spec(self._names, dataset, **arguments)
        spec.best_metric, spec.tensorboard = best_metric, bool(tensorboard)
        followed = self._names.resource(self.collection, after) if after else ""
        scheduling = training_job_pb2.Scheduling(priority=priority, after=followed, budget=budget)
        if time_limit_s:
            scheduling.time_limit.FromMilliseconds(round(time_limit_s * 1000))
        return training_job_pb2.TrainingJob(spec=spec, scheduling=scheduling)

    def _preset(self, preset: str) -> str:
        return self._names.resource("presets", preset) if preset else ""

    async def resume(self, job: str, *, epochs: int = 0, from_epoch: int = 0) -> training_job_pb2.TrainingJob:
        """Queues an ended training once more: it goes on behind its last stored epoch, or one that it has kept.

        Args:
            job: Its id or resource name.
            epochs: How many it is to have in all; 0: as many as before.
            from_epoch: The finished epoch, from 1, that it goes on behind; what came later is trained anew. 0: the last one.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND), FAILED_PRECONDITION (JOB_UNFINISHED, JOB_FINISHED), INVALID_ARGUMENT (INVALID_FIELD),
                DATA_LOSS (ARTIFACT_CORRUPT).
        """
        request = training_job_service_pb2.ResumeTrainingJobRequest(
            name=self._names.resource(self.collection, job), epochs=epochs, from_epoch=from_epoch
        )
        response = await self._transport.unary(self.service, lambda channel: TrainingJobServiceStub(channel).ResumeTrainingJob, request)
        return response.training_job

    async def queue(self) -> training_job_service_pb2.GetTrainingQueueResponse:
        """The project's jobs that run or are queued, in the order in which they get slots, and how many other projects have."""
        request = training_job_service_pb2.GetTrainingQueueRequest(parent=self._names.parent)
        return await self._transport.unary(self.service, lambda channel: TrainingJobServiceStub(channel).GetTrainingQueue, request)

    async def logs(self, job: str, *, offset: int = 0, follow: bool = False) -> AsyncIterator[training_job_service_pb2.ReadLogsResponse]:
        """What a job's workers printed.

        Args:
            job: Its id or resource name.
            offset: Where to begin, in bytes.
            follow: Whether to go on until the job has ended.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND).
        """
        name = self._names.resource(self.collection, job)
        request = training_job_service_pb2.ReadLogsRequest(name=name, offset=offset, follow=follow)
        async for response in self._transport.stream(
            self.service,
            lambda channel: TrainingJobServiceStub(channel).ReadLogs,
            lambda: request,
            Patience(self._transport, self.service),
        ):
            request.offset = response.offset + len(response.data)
            yield response

    async def report(self, job: str) -> training_report_pb2.TrainingReport:
        """What a training has come to, at its end or so far.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND), DATA_LOSS (ARTIFACT_CORRUPT).
        """
        request = training_job_service_pb2.GetTrainingReportRequest(name=self._names.resource(self.collection, job))
        response = await self._transport.unary(self.service, lambda channel: TrainingJobServiceStub(channel).GetTrainingReport, request)
        return response.report

    async def report_page(self, job: str, to: Path | str) -> Path:
        """The same as an HTML file with pictures that needs nothing from outside.

        Args:
            job: Its id or resource name.
            to: The file; it is replaced where it is there, once the new one is whole.

        Returns:
            The file's path.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND), DATA_LOSS (ARTIFACT_CORRUPT).
        """
        request = training_job_service_pb2.RenderTrainingReportRequest(name=self._names.resource(self.collection, job))
        parts = await self._transport.whole(self.service, lambda channel: TrainingJobServiceStub(channel).RenderTrainingReport, request)
        return await write_whole(Path(to), [response.data for response in parts])

    async def list_files(self, job: str) -> list[transfer_service_pb2.StoredFile]:
        """The files that a job has made so far, by path.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND).
        """
        request = training_job_service_pb2.ListJobFilesRequest(name=self._names.resource(self.collection, job))
        response = await self._transport.unary(self.service, lambda channel: TrainingJobServiceStub(channel).ListJobFiles, request)
        return list(response.files)

    async def download(self, job: str, to: Path | str, on_file: OnFile | None = None) -> list[Path]:
        """Downloads the files that a job has made so far: best.pt, last.pt, results.csv, args.yaml, plots.

        Returns:
            Their paths.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND, FILE_NOT_FOUND).
        """
        name = self._names.resource(self.collection, job)

        async def files() -> list[transfer_service_pb2.StoredFile]:
            return await self.list_files(job)

        return await self._downloads.files(self.service, name, await files(), Path(to), on_file, list_again=files)

    async def _get(self, name: str) -> training_job_pb2.TrainingJob:
        request = training_job_service_pb2.GetTrainingJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: TrainingJobServiceStub(channel).GetTrainingJob, request)
        return response.training_job

    async def _page(self, token: str, where: str) -> tuple[list[training_job_pb2.TrainingJob], str]:
        request = training_job_service_pb2.ListTrainingJobsRequest(
            parent=self._names.parent, page_size=PAGE, page_token=token, filter=where
        )
        response = await self._transport.unary(self.service, lambda channel: TrainingJobServiceStub(channel).ListTrainingJobs, request)
        return list(response.training_jobs), response.next_page_token

    async def _cancel(self, name: str) -> training_job_pb2.TrainingJob:
        request = training_job_service_pb2.CancelTrainingJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: TrainingJobServiceStub(channel).CancelTrainingJob, request)
        return response.training_job

    async def _watch(self, name: str, sequence: Callable[[], int], patience: Patience) -> AsyncIterator[SnapshotOfTraining]:
        async for response in self._transport.stream(
            self.service,
            lambda channel: TrainingJobServiceStub(channel).WatchTrainingJob,
            lambda: training_job_service_pb2.WatchTrainingJobRequest(name=name, after_sequence=sequence()),
            patience,
        ):
            yield Snapshot(response.training_job, response.sequence, response)


class TrainingJobs(Facade[AsyncTrainingJobs]):
    """The training jobs of a project."""

    create = Blocking(AsyncTrainingJobs.create)
    estimate = Blocking(AsyncTrainingJobs.estimate)
    get = Blocking(AsyncTrainingJobs.get)
    list = Blocking(AsyncTrainingJobs.list)
    cancel = Blocking(AsyncTrainingJobs.cancel)
    resume = Blocking(AsyncTrainingJobs.resume)
    queue = Blocking(AsyncTrainingJobs.queue)
    watch = BlockingIterator(AsyncTrainingJobs.watch)
    wait = Blocking(AsyncTrainingJobs.wait)
    logs = BlockingIterator(AsyncTrainingJobs.logs)
    report = Blocking(AsyncTrainingJobs.report)
    report_page = Blocking(AsyncTrainingJobs.report_page)
    list_files = Blocking(AsyncTrainingJobs.list_files)
    download = Blocking(AsyncTrainingJobs.download)
