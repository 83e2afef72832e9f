"""Wires the inference service up: the only place that builds its adapters."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
from prometheus_client import CollectorRegistry

from visionyard.inference.config import InferenceSettings
from visionyard.inference.deployments import Deployments
from visionyard.inference.execution import TritonBackend
from visionyard.inference.loader import Loader
from visionyard.inference.metrics import Metrics
from visionyard.inference.predictor import Predictor
from visionyard.inference.reconciler import Reconciler
from visionyard.inference.repository import ModelRepository
from visionyard.inference.runner import Runner
from visionyard.inference.servicer import DeploymentServicer, PredictionServicer
from visionyard.inference.serving import ServingTable
from visionyard.inference.triton import TritonClient
from visionyard.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from visionyard.inference.v1.prediction_service_pb2_grpc import add_PredictionServiceServicer_to_server
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.objectstore.probe import probe_conditional_writes
from visionyard.kit.objectstore.s3 import open_store
from visionyard.kit.server.app import App, BackgroundTask, Service


async def build_app(settings: InferenceSettings, registry: CollectorRegistry) -> App:
    """Builds the service over the store that its settings name."""
    return assemble(wire(settings, registry, await asyncio.to_thread(open_store, settings)))


class StoreCheck:
    """Whether the store's conditional writes hold, tried once.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._tried = False

    async def hold(self) -> None:
        """Tries them unless they have been found to hold.

        Raises:
            StoreUnavailable: the store does not answer.
            StoreUnfitError: they don't hold.
        """
        if not self._tried:
            await asyncio.to_thread(probe_conditional_writes, self._store)
            self._tried = True


@dataclass(frozen=True)
class Room:
    """The room's parts, wired to each other.

    Attributes:
        deployments: The documents.
        table: Who serves.
        triton: Triton.
        reconciler: Makes Triton serve what the documents say, once it runs.
        predictor: Answers.
        backend: The Triton backend that runs models.
        threads: Where images are decoded.
        store: Whether the store is fit.
    """

    deployments: Deployments
    table: ServingTable
    triton: TritonClient
    reconciler: Reconciler
    predictor: Predictor
    backend: TritonBackend
    threads: ThreadPoolExecutor
    store: StoreCheck

    async def ready(self) -> None:
        """Returns when predictions can be answered.

        Raises:
            StoreUnavailable: the store has not answered yet.
            StoreUnfitError: its conditional writes don't hold.
            YardError: STORE_UNAVAILABLE while the bucket was not read yet.
            TritonLost: Triton does not answer.
        """
        await self.store.hold()
        if not self.reconciler.ready:
            raise YardError(Reason.STORE_UNAVAILABLE, "the deployments were not read from the bucket yet")
        await self.triton.ready_models()

    async def close(self) -> None:
        """Closes the connection to Triton and ends the threads."""
        await self.triton.close()
        await asyncio.to_thread(self.threads.shutdown, cancel_futures=True)


def wire(settings: InferenceSettings, registry: CollectorRegistry, store: ObjectStore) -> Room:
    """Builds the room over a store. Call it on the event loop that it is to live on."""
    # Images are decoded side by side in our own threads; OpenCV's would only take the cores from the model.
    cv2.setNumThreads(1)
    execution = settings.execution()
    metrics, table = Metrics(registry), ServingTable()
    repository = ModelRepository(settings.model_repository, execution)
    triton = TritonClient(settings.triton_url, execution.backend)
    deployments = Deployments(store, Documents(store))
    loader = Loader(store, repository, triton, settings.model_load_timeout_s)
    reconciler = Reconciler(deployments, loader, repository, triton, table, metrics, settings.poll_interval_s)
    threads = ThreadPoolExecutor(settings.decoders(), thread_name_prefix="decode")
    runner = Runner(table, reconciler, triton, threads, settings.max_image_pixels, settings.predict_patience_s)
    predictor = Predictor(runner, threads, settings.limits(), metrics)
    return Room(deployments, table, triton, reconciler, predictor, execution.backend, threads, StoreCheck(store))


def assemble(room: Room) -> App:
    """The room as the server builder takes it."""
    deployment_servicer = DeploymentServicer(room.deployments, room.reconciler, room.table, room.backend)
    prediction_servicer = PredictionServicer(room.predictor)
    return App(
        services=(
            Service("visionyard.inference.v1.DeploymentService", partial(add_DeploymentServiceServicer_to_server, deployment_servicer)),
            Service("visionyard.inference.v1.PredictionService", partial(add_PredictionServiceServicer_to_server, prediction_servicer)),
        ),
        ready=room.ready,
        tasks=(BackgroundTask("reconciler", room.reconciler.run),),
        close=room.close,
    )
