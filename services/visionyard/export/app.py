"""Puts the export service together: the only place where its adapters are built."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from prometheus_client import CollectorRegistry

from visionyard.export.config import ExportSettings
from visionyard.export.exports import Exports
from visionyard.export.metrics import Metrics
from visionyard.export.servicer import ArtifactServicer, ExportJobServicer
from visionyard.export.v1.artifact_service_pb2_grpc import add_ArtifactServiceServicer_to_server
from visionyard.export.v1.export_job_service_pb2_grpc import add_ExportJobServiceServicer_to_server
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.service import JobService
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable
from visionyard.kit.objectstore.readiness import StoreReadiness
from visionyard.kit.objectstore.s3 import open_store
from visionyard.kit.server.app import App, BackgroundTask, Service

_log = logging.getLogger(__name__)
_WORKER_MODULE = "visionyard.export.worker"
_QUEUE_METRICS_S = 5.0


async def build_app(settings: ExportSettings, registry: CollectorRegistry) -> App:
    """Builds the service over the store that its settings name."""
    return build(settings, registry, await asyncio.to_thread(open_store, settings))


def build(settings: ExportSettings, registry: CollectorRegistry, store: ObjectStore) -> App:
    """Builds the service over a store.

    Args:
        settings: Its configuration.
        registry: Where its metrics are registered.
        store: The bucket.
    """
    metrics = Metrics(registry)
    jobs = JobService(store, JobKind.EXPORT)
    exports = Exports(store, jobs)
    dispatcher = Dispatcher(
        store,
        JobKind.EXPORT,
        _WORKER_MODULE,
        [{} for _ in range(settings.export_slots)],
        settings.work_dir,
        settings.lease_s,
        stop_workers=settings.stop_workers,
    )
    jobs.tell(dispatcher.wake)
    dispatcher.tell(jobs.look)
    readiness = StoreReadiness(store)
    return App(
        services=[
            Service(
                "visionyard.export.v1.ExportJobService",
                partial(add_ExportJobServiceServicer_to_server, ExportJobServicer(exports, metrics)),
            ),
            Service("visionyard.export.v1.ArtifactService", partial(add_ArtifactServiceServicer_to_server, ArtifactServicer(exports))),
        ],
        ready=readiness.ready,
        tasks=[
            BackgroundTask("dispatcher", partial(readiness.then, dispatcher.run)),
            BackgroundTask("queue metrics", partial(_watch_queue, jobs.records, metrics)),
        ],
    )


async def _watch_queue(records: JobRecords, metrics: Metrics) -> None:
    """Keeps the queue's metrics fresh."""
    while True:
        try:
            metrics.unfinished(await asyncio.to_thread(records.states))
        except StoreUnavailable as error:
            _log.debug("the queue's metrics stay as they are: %s", error)
        await asyncio.sleep(_QUEUE_METRICS_S)
