"""Puts the training service together: the only place where its adapters are built."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from prometheus_client import CollectorRegistry

from visionyard.kit.config import variable_of
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.guarding import Guard
from visionyard.kit.jobs.model import JobKind, node_name
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable
from visionyard.kit.objectstore.readiness import StoreReadiness
from visionyard.kit.objectstore.s3 import open_store
from visionyard.kit.quota import ProjectQuota
from visionyard.kit.server.app import App, BackgroundTask, Service
from visionyard.kit.server.builder import BLOCKING_THREADS
from visionyard.kit.transfer.servicer import TransferServicer
from visionyard.kit.transfer.uploads import UploadStore
from visionyard.training.at_end.elsewhere import store_is_elsewhere
from visionyard.training.at_end.ending import Ending
from visionyard.training.at_end.results import Safety
from visionyard.training.child import ChildFailed
from visionyard.training.config import TrainingSettings
from visionyard.training.estimates.estimates import Estimates
from visionyard.training.estimates.machine import this_machine
from visionyard.training.evaluation_servicer import EvaluationJobServicer
from visionyard.training.evaluations import Evaluations
from visionyard.training.files import TrainingFiles
from visionyard.training.gpus import gpu_state
from visionyard.training.inspection import convert, inspect
from visionyard.training.machine_servicer import MachineServicer
from visionyard.training.metrics import Metrics
from visionyard.training.model_servicer import ModelServicer
from visionyard.training.models import Models
from visionyard.training.notification_servicer import NotificationServicer
from visionyard.training.notifications.channels import Channels
from visionyard.training.notifications.notifier import Notifier
from visionyard.training.notifications.outbox import Outbox
from visionyard.training.notifications.posting import Poster
from visionyard.training.official_weights import OfficialWeights
from visionyard.training.preset_servicer import PresetServicer
from visionyard.training.processes import capacity_here, slots_taken
from visionyard.training.pushed_files import PushedFiles, clear_leftovers
from visionyard.training.servicer import TrainingJobServicer
from visionyard.training.slots import DEVICES, FreeMemory, training_slots
from visionyard.training.trainings import Trainings
from visionyard.training.tuning.tuner import Tuner
from visionyard.training.tuning.tunings import Tunings
from visionyard.training.tuning_servicer import TuningJobServicer
from visionyard.training.turns import Turns
from visionyard.training.ultralytics_facts import UltralyticsFacts
from visionyard.training.v1.evaluation_job_service_pb2_grpc import add_EvaluationJobServiceServicer_to_server
from visionyard.training.v1.machine_service_pb2_grpc import add_MachineServiceServicer_to_server
from visionyard.training.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from visionyard.training.v1.notification_service_pb2_grpc import add_NotificationServiceServicer_to_server
from visionyard.training.v1.preset_service_pb2_grpc import add_PresetServiceServicer_to_server
from visionyard.training.v1.training_job_service_pb2_grpc import add_TrainingJobServiceServicer_to_server
from visionyard.training.v1.tuning_job_service_pb2_grpc import add_TuningJobServiceServicer_to_server
from visionyard.transfer.v1.transfer_service_pb2_grpc import add_TransferServiceServicer_to_server

_log = logging.getLogger(__name__)
_WORKER_MODULE = "visionyard.training.worker"
_EVALUATION_WORKER_MODULE = "visionyard.training.worker.evaluation"
_READ_LOGS = frozenset(
    {"/visionyard.training.v1.TrainingJobService/ReadLogs", "/visionyard.training.v1.EvaluationJobService/ReadEvaluationLogs"}
)
_WITH_LESS = (
    "use a smaller batch (--batch) or image size (--imgsz), fewer data loaders (--set workers=2) or no cache of images (--set cache=false)"
)
_QUEUE_METRICS_S = 5.0
_PUSH_WAIT_S = 10.0
_POSTS = 8
_TEST_POSTS = 4


async def build_app(settings: TrainingSettings, registry: CollectorRegistry) -> App:
    """Builds the service over the store that its settings name."""
    await asyncio.to_thread(clear_leftovers, settings.work_dir)
    return build(settings, registry, await asyncio.to_thread(open_store, settings))


def build(settings: TrainingSettings, registry: CollectorRegistry, store: ObjectStore) -> App:
    """Builds the service over a store.

    Args:
        settings: Its configuration.
        registry: Where its metrics are registered.
        store: The bucket.
    """
    metrics, facts = Metrics(registry), UltralyticsFacts()
    slots = training_slots(settings.cpu_slots)
    metrics.slots(slots)
    memory = FreeMemory(slots, settings.gpu_free_ratio)
    uploads = UploadStore(store, settings.upload_limit_bytes, ProjectQuota(store, settings.project_quota_bytes))
    channels = Channels(store, private=settings.notify_private)
    outbox, post = Outbox(store, channels), Poster(private=settings.notify_private).post
    estimates = Estimates(store, this_machine(uses_gpus=any(slot[DEVICES] for slot in slots)), settings.price)
    width = slots_taken(slots)
    capacity = capacity_here(slots, settings.ray_address)
    trainings = Trainings(store, facts.table, outbox, estimates, len(slots), capacity, width, node_name(settings.work_dir))
    models = Models(
        store,
        PushedFiles(uploads, settings.work_dir),
        metrics.watched(partial(inspect, timeout_s=settings.inspection_timeout_s)),
        metrics.watched(partial(convert, timeout_s=settings.inspection_timeout_s)),
    )
    ending = _ending(settings, store)
    guard = partial(Guard, settings.job_memory_bytes, settings.job_disk_bytes, settings.work_dir, _WITH_LESS)
    dispatcher = Dispatcher(
        store,
        JobKind.TRAINING,
        _WORKER_MODULE,
        slots,
        settings.work_dir,
        settings.lease_s,
        stop_workers=settings.stop_workers,
        events=outbox,
        width=width,
        open_slots=memory.open,
        guard=guard(),
        on_claim=ending.remember if ending else None,
    )
    trainings.jobs.tell(dispatcher.wake)
    dispatcher.tell(trainings.jobs.look)
    evaluations = Evaluations(store)
    evaluators = Dispatcher(
        store,
        JobKind.EVALUATION,
        _EVALUATION_WORKER_MODULE,
        slots[-1:],  # one at a time, beside the trainings: see docs/adr/0007-comparing-models.md
        settings.work_dir,
        settings.lease_s,
        stop_workers=settings.stop_workers,
        guard=guard(),
    )
    evaluations.jobs.tell(evaluators.wake)
    evaluators.tell(evaluations.jobs.look)
    transfers = TransferServicer(store, uploads, TrainingFiles(trainings, models), on_taken=ending.safety.downloaded if ending else None)
    jobs = TrainingJobServicer(trainings, lambda: memory.closed, lambda project: ending.waits_for(project) if ending else "")
    opening = ThreadPoolExecutor(settings.inspections, thread_name_prefix=f"{BLOCKING_THREADS}-push")
    pushes = Turns(
        opening, settings.inspections, _PUSH_WAIT_S, "as many weight files are being opened as this machine has room for: try again"
    )
    posting = ThreadPoolExecutor(_POSTS, thread_name_prefix=f"{BLOCKING_THREADS}-notify")
    tunings = Tunings(store, trainings, facts.table, outbox)
    trying = ThreadPoolExecutor(_TEST_POSTS, thread_name_prefix=f"{BLOCKING_THREADS}-notify-test")
    tries = Turns(trying, _TEST_POSTS, _PUSH_WAIT_S, "as many test messages are under way as are sent at once: try again")
    notifier = Notifier(store, trainings.jobs.records, channels, post, posting, _POSTS, metrics.notified)
    official = OfficialWeights(facts.table, settings.weights_mirror)
    readiness = StoreReadiness(store)
    return App(
        services=[
            Service("visionyard.training.v1.TrainingJobService", partial(add_TrainingJobServiceServicer_to_server, jobs)),
            Service(
                "visionyard.training.v1.ModelService", partial(add_ModelServiceServicer_to_server, ModelServicer(models, pushes, official))
            ),
            Service(
                "visionyard.training.v1.NotificationService",
                partial(add_NotificationServiceServicer_to_server, NotificationServicer(channels, post, tries)),
            ),
            Service("visionyard.training.v1.MachineService", partial(add_MachineServiceServicer_to_server, MachineServicer(estimates))),
            Service(
                "visionyard.training.v1.EvaluationJobService",
                partial(add_EvaluationJobServiceServicer_to_server, EvaluationJobServicer(evaluations)),
            ),
            Service(
                "visionyard.training.v1.PresetService", partial(add_PresetServiceServicer_to_server, PresetServicer(trainings.presets))
            ),
            Service("visionyard.training.v1.TuningJobService", partial(add_TuningJobServiceServicer_to_server, TuningJobServicer(tunings))),
            Service("visionyard.transfer.v1.TransferService", partial(add_TransferServiceServicer_to_server, transfers)),
        ],
        ready=readiness.ready,
        tasks=[
            BackgroundTask("dispatcher", partial(readiness.then, dispatcher.run)),
            BackgroundTask("evaluations", partial(readiness.then, evaluators.run)),
            BackgroundTask("notifier", partial(readiness.then, notifier.run)),
            BackgroundTask("tuner", partial(readiness.then, Tuner(store, tunings, trainings).run)),
            *([BackgroundTask("command at the end", partial(readiness.then, ending.run))] if ending else []),
            BackgroundTask("queue metrics", partial(_watch_queue, trainings.jobs.records, metrics, facts, slots)),
        ],
        endless_methods=_READ_LOGS,
    )


def _ending(settings: TrainingSettings, store: ObjectStore) -> Ending | None:
    """What runs the operator's command at the end; None where there is none."""
    command = settings.end_command.get_secret_value()
    os.environ.pop(variable_of("end_command"), None)  # workers, which open strangers' files, need not know of it
    if not command:
        return None

    def is_elsewhere() -> bool:
        return settings.keep_local or store_is_elsewhere(settings.s3_endpoint)

    folder = settings.work_dir / "at_end"
    return Ending(store, command, Safety(store, folder / "downloads", is_elsewhere), settings.end_after_s, folder)


async def _watch_queue(records: JobRecords, metrics: Metrics, facts: UltralyticsFacts, slots: Sequence[dict[str, str]]) -> None:
    """Asks Ultralytics about itself, so that the first job need not wait for it; then keeps the metrics of the queue and the GPUs fresh."""
    try:
        await asyncio.to_thread(facts.table)
    except ChildFailed:
        _log.exception("Ultralytics could not be asked for its arguments; each new training tries again")
    while True:
        for gpu in filter(None, (slot[DEVICES] for slot in slots)):
            metrics.gpu(gpu, await asyncio.to_thread(gpu_state, gpu))
        try:
            metrics.unfinished(await asyncio.to_thread(records.states))
        except StoreUnavailable as error:
            _log.warning("the queue could not be counted: %s", error)
        await asyncio.sleep(_QUEUE_METRICS_S)
