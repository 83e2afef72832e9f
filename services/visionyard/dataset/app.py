"""Puts the dataset service together: the only place where its adapters are built."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from functools import partial

from prometheus_client import CollectorRegistry

from visionyard.dataset.aftercare import Aftercare
from visionyard.dataset.catalogue import Catalogue
from visionyard.dataset.config import DatasetSettings
from visionyard.dataset.deletion import Deletions
from visionyard.dataset.files import DatasetFiles
from visionyard.dataset.imports import Imports
from visionyard.dataset.metrics import Metrics
from visionyard.dataset.servicer import DatasetServicer, ImportJobServicer
from visionyard.dataset.storage.collection import Collection
from visionyard.dataset.storage_servicer import StorageServicer
from visionyard.dataset.v1.dataset_service_pb2_grpc import add_DatasetServiceServicer_to_server
from visionyard.dataset.v1.import_job_service_pb2_grpc import add_ImportJobServiceServicer_to_server
from visionyard.dataset.v1.storage_service_pb2_grpc import add_StorageServiceServicer_to_server
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.service import JobService
from visionyard.kit.jobs.standby import Standby
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.objectstore.readiness import StoreReadiness
from visionyard.kit.objectstore.s3 import open_store
from visionyard.kit.quota import ProjectQuota
from visionyard.kit.server.app import App, BackgroundTask, Service
from visionyard.kit.transfer.copies import LocalCopies
from visionyard.kit.transfer.servicer import TransferServicer
from visionyard.kit.transfer.uploads import UploadStore
from visionyard.transfer.v1.transfer_service_pb2_grpc import add_TransferServiceServicer_to_server

_WORKER_MODULE = "visionyard.dataset.worker"
_COLLECTIONS = "collections"


async def build_app(settings: DatasetSettings, registry: CollectorRegistry) -> App:
    """Builds the service over the store that its settings name."""
    # What a collection that was killed had begun to rewrite.
    await asyncio.to_thread(shutil.rmtree, settings.work_dir / _COLLECTIONS, ignore_errors=True)
    return build(settings, registry, await asyncio.to_thread(open_store, settings))


def build(settings: DatasetSettings, registry: CollectorRegistry, store: ObjectStore) -> App:
    """Builds the service over a store.

    Args:
        settings: Its configuration.
        registry: Where its metrics are registered.
        store: The bucket.
    """
    metrics = Metrics(registry)
    jobs = JobService(store, JobKind.IMPORT)
    quota = ProjectQuota(store, settings.project_quota_bytes)
    uploads = UploadStore(store, settings.upload_limit_bytes, quota, copies=LocalCopies(settings.upload_copies()))
    catalogue = Catalogue(store)
    aftercare = Aftercare(jobs.records, uploads, metrics, timedelta(days=settings.upload_keep_days))
    standby = Standby(_WORKER_MODULE)
    dispatcher = Dispatcher(
        store,
        JobKind.IMPORT,
        _WORKER_MODULE,
        [{} for _ in range(settings.import_slots)],
        settings.work_dir,
        settings.lease_s,
        stop_workers=settings.stop_workers,
        standby=standby,
    )
    jobs.tell(dispatcher.wake)
    dispatcher.tell(jobs.look)
    imports = ImportJobServicer(
        Imports(jobs, catalogue, uploads, settings.allow_list(), has_datumaro=bool(settings.datumaro_python)), metrics
    )
    transfers = TransferServicer(store, uploads, DatasetFiles(store, catalogue), on_upload=standby.prepare)
    grace, scratch = timedelta(seconds=settings.collection_grace_s), settings.work_dir / _COLLECTIONS
    storage = StorageServicer(
        store, lambda project, age: Collection(store, jobs.records, project, age, scratch), grace, settings.project_quota_bytes
    )
    datasets = DatasetServicer(catalogue, Deletions(store), metrics)
    readiness = StoreReadiness(store)
    return App(
        services=[
            Service("visionyard.dataset.v1.DatasetService", partial(add_DatasetServiceServicer_to_server, datasets)),
            Service("visionyard.dataset.v1.ImportJobService", partial(add_ImportJobServiceServicer_to_server, imports)),
            Service("visionyard.dataset.v1.StorageService", partial(add_StorageServiceServicer_to_server, storage)),
            Service("visionyard.transfer.v1.TransferService", partial(add_TransferServiceServicer_to_server, transfers)),
        ],
        ready=readiness.ready,
        tasks=[BackgroundTask("dispatcher", partial(readiness.then, dispatcher.run)), BackgroundTask("aftercare", aftercare.run)],
    )
