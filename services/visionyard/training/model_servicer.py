"""``visionyard.training.v1.ModelService``: each RPC translates its request, calls a use case in a thread, and translates the answer."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc.aio

from visionyard.kit.names import ProjectName, ResourceName, VersionName
from visionyard.kit.server.listing import list_page
from visionyard.training import mapping
from visionyard.training.models import Models
from visionyard.training.official_weights import OfficialWeights
from visionyard.training.turns import Turns
from visionyard.training.v1 import model_pb2, model_service_pb2_grpc
from visionyard.training.v1 import model_service_pb2 as messages

Context = grpc.aio.ServicerContext[Any, Any]


def _model_name(name: str) -> ResourceName:
    return ResourceName.parse(name, "models")


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Models and their versions.

    Args:
        models: The use cases.
        pushes: The turns of weight files that are opened.
        official: Where published weights lie.
    """

    def __init__(self, models: Models, pushes: Turns, official: OfficialWeights) -> None:
        self._models = models
        self._official = official
        self._pushes = pushes

    async def CreateModelVersion(
        self, request: messages.CreateModelVersionRequest, _context: Context
    ) -> messages.CreateModelVersionResponse:
        """Makes a version from an uploaded weight file."""
        parent, upload = _model_name(request.parent), ResourceName.parse(request.upload, "uploads")
        fetched_from = mapping.address_from_proto(request.fetched_from)
        push = partial(self._models.push, parent, upload, request.source_name, request.request_id, request.architecture, fetched_from)
        version = await self._pushes.take(push)
        return messages.CreateModelVersionResponse(model_version=mapping.model_version_to_proto(version))

    async def GetModel(self, request: messages.GetModelRequest, _context: Context) -> messages.GetModelResponse:
        """Reads a model."""
        view = await asyncio.to_thread(self._models.get, _model_name(request.name))
        return messages.GetModelResponse(model=mapping.model_to_proto(view))

    async def ListModels(self, request: messages.ListModelsRequest, _context: Context) -> messages.ListModelsResponse:
        """Reads a page of models."""
        read = partial(self._models.list_models, ProjectName.parse(request.parent))
        models, token = await list_page(request, model_pb2.Model, read, mapping.model_to_proto)
        return messages.ListModelsResponse(models=models, next_page_token=token)

    async def GetModelVersion(self, request: messages.GetModelVersionRequest, _context: Context) -> messages.GetModelVersionResponse:
        """Reads a version."""
        version = await asyncio.to_thread(self._models.version, VersionName.parse(request.name, "models"))
        return messages.GetModelVersionResponse(model_version=mapping.model_version_to_proto(version))

    async def ListModelVersions(self, request: messages.ListModelVersionsRequest, _context: Context) -> messages.ListModelVersionsResponse:
        """Reads a page of versions."""
        read = partial(self._models.list_versions, _model_name(request.parent))
        versions, token = await list_page(request, model_pb2.ModelVersion, read, mapping.model_version_to_proto)
        return messages.ListModelVersionsResponse(model_versions=versions, next_page_token=token)

    async def ListModelFiles(self, request: messages.ListModelFilesRequest, _context: Context) -> messages.ListModelFilesResponse:
        """Lists a version's files."""
        version = await asyncio.to_thread(self._models.version, VersionName.parse(request.name, "models"))
        return messages.ListModelFilesResponse(files=mapping.files_to_proto(version.files))

    async def GetOfficialWeights(
        self, request: messages.GetOfficialWeightsRequest, _context: Context
    ) -> messages.GetOfficialWeightsResponse:
        """Says where published weights are."""
        url = await asyncio.to_thread(self._official.locate, request.file_name)
        return messages.GetOfficialWeightsResponse(file_name=request.file_name, url=url)
