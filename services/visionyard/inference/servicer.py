"""The inference service's RPCs: each translates its request, calls the domain, and translates the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc.aio

from visionyard.inference import mapping
from visionyard.inference.deployment import Deployment
from visionyard.inference.deployments import Deployments, not_found
from visionyard.inference.execution import TritonBackend
from visionyard.inference.predictor import Predictor
from visionyard.inference.reconciler import Reconciler
from visionyard.inference.serving import DeploymentState, ServingTable
from visionyard.inference.v1 import (
    deployment_pb2,
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)
from visionyard.kit.names import ProjectName, ResourceName, check_id
from visionyard.kit.server.listing import list_page

Context = grpc.aio.ServicerContext[Any, Any]
_COLLECTION = "deployments"
_WATCH_INTERVAL_S = 1.0
_NO_DEADLINE_S = 120.0


class DeploymentServicer(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """`visionyard.inference.v1.DeploymentService`.

    Args:
        deployments: The documents.
        reconciler: Brings changes about.
        table: How far it got.
        backend: The Triton backend that runs models.
    """

    def __init__(self, deployments: Deployments, reconciler: Reconciler, table: ServingTable, backend: TritonBackend) -> None:
        self._deployments = deployments
        self._reconciler = reconciler
        self._table = table
        self._backend = backend

    def _message(self, deployment: Deployment) -> deployment_pb2.Deployment:
        return mapping.deployment_to_proto(deployment, self._table.get(deployment.name), self._backend)

    async def CreateDeployment(
        self, request: deployment_service_pb2.CreateDeploymentRequest, _context: Context
    ) -> deployment_service_pb2.CreateDeploymentResponse:
        """Writes the wish down; the reconciler loads it."""
        project = ProjectName.parse(request.parent).project
        name = ResourceName(project, _COLLECTION, check_id(request.deployment_id, "deployment"))
        wanted = mapping.wanted_from_proto(request.deployment, project)
        await asyncio.to_thread(self._deployments.create, name, wanted, request.request_id)
        return deployment_service_pb2.CreateDeploymentResponse(deployment=self._message(await self._reconciler.refresh(name)))

    async def UpdateDeployment(
        self, request: deployment_service_pb2.UpdateDeploymentRequest, _context: Context
    ) -> deployment_service_pb2.UpdateDeploymentResponse:
        """Writes the changed wish down; the reconciler loads it beside what serves."""
        name = ResourceName.parse(request.deployment.name, _COLLECTION)
        change = mapping.change_from_proto(request.deployment, request.update_mask.paths, name.project)
        alias = self._table.get(name)
        serving = alias.served.revision if alias is not None and alias.served is not None else ""
        await asyncio.to_thread(self._deployments.update, name, change, request.deployment.etag, serving, self._failed(name))
        return deployment_service_pb2.UpdateDeploymentResponse(deployment=self._message(await self._reconciler.refresh(name)))

    def _failed(self, name: ResourceName) -> str:
        """The id of the wanted revision where this server could not bring it up; empty elsewhere."""
        alias, deployment = self._table.get(name), self._reconciler.deployment(name)
        if alias is None or deployment is None or alias.state(deployment.wanted.id) is not DeploymentState.FAILED:
            return ""
        return deployment.wanted.id

    async def GetDeployment(
        self, request: deployment_service_pb2.GetDeploymentRequest, _context: Context
    ) -> deployment_service_pb2.GetDeploymentResponse:
        """Reads a deployment."""
        deployment = await self._reconciler.refresh(ResourceName.parse(request.name, _COLLECTION))
        return deployment_service_pb2.GetDeploymentResponse(deployment=self._message(deployment))

    async def ListDeployments(
        self, request: deployment_service_pb2.ListDeploymentsRequest, _context: Context
    ) -> deployment_service_pb2.ListDeploymentsResponse:
        """Reads a page of deployments."""
        read = partial(self._deployments.list, ProjectName.parse(request.parent))
        deployments, token = await list_page(request, deployment_pb2.Deployment, read, self._message)
        return deployment_service_pb2.ListDeploymentsResponse(deployments=deployments, next_page_token=token)

    async def DeleteDeployment(
        self, request: deployment_service_pb2.DeleteDeploymentRequest, _context: Context
    ) -> deployment_service_pb2.DeleteDeploymentResponse:
        """Writes down that it is gone; the reconciler drains and unloads it."""
        name = ResourceName.parse(request.name, _COLLECTION)
        await asyncio.to_thread(self._deployments.delete, name, request.etag)
        await self._reconciler.forget(name)
        return deployment_service_pb2.DeleteDeploymentResponse()

    async def WatchDeployment(
        self, request: deployment_service_pb2.WatchDeploymentRequest, _context: Context
    ) -> AsyncIterator[deployment_service_pb2.WatchDeploymentResponse]:
        """Streams snapshots until the client goes or the deployment is deleted."""
        name = ResourceName.parse(request.name, _COLLECTION)
        deployment: Deployment | None = await self._reconciler.refresh(name)
        sent: deployment_pb2.Deployment | None = None
        while deployment is not None:
            alias = self._table.get(name)
            message = self._message(deployment)
            if message != sent:
                yield deployment_service_pb2.WatchDeploymentResponse(deployment=message)
                sent = message
                # The alias may have changed while the snapshot was on its way.
                continue
            if alias is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_WATCH_INTERVAL_S):
                        await alias.changed()
            deployment = self._reconciler.deployment(name)
        raise not_found(name)


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """`visionyard.inference.v1.PredictionService`.

    Args:
        predictor: Answers.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def Predict(self, request: prediction_service_pb2.PredictRequest, context: Context) -> prediction_service_pb2.PredictResponse:
        """Predicts on one image."""
        name = ResourceName.parse(request.name, _COLLECTION)
        options = mapping.options_from_proto(request.options)
        prediction = await self._predictor.predict(name, request.image, options, _remaining_s(context))
        return prediction_service_pb2.PredictResponse(prediction=mapping.prediction_to_proto(prediction))

    async def BatchPredict(
        self, request: prediction_service_pb2.BatchPredictRequest, context: Context
    ) -> prediction_service_pb2.BatchPredictResponse:
        """Predicts on several images."""
        name = ResourceName.parse(request.name, _COLLECTION)
        options = mapping.options_from_proto(request.options)
        answers = await self._predictor.predict_batch(name, request.images, options, _remaining_s(context))
        return prediction_service_pb2.BatchPredictResponse(items=map(mapping.item_to_proto, answers))


def _remaining_s(context: Context) -> float:
    # grpcio's stubs leave out that there may be no deadline; the server's own interceptor bounds the call then.
    remaining: float | None = context.time_remaining()
    return _NO_DEADLINE_S if remaining is None else remaining
