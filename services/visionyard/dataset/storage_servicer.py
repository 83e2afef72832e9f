"""The storage service's RPCs: each translates its request, works in threads, and translates the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import grpc.aio

from visionyard.dataset import storage_mapping
from visionyard.dataset.storage.accounting import account
from visionyard.dataset.storage.collection import Collection
from visionyard.dataset.v1 import storage_service_pb2, storage_service_pb2_grpc
from visionyard.kit.names import ProjectName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.server.steps import Steps

Context = grpc.aio.ServicerContext[Any, Any]
_TELL_EVERY_S = 0.5


class StorageServicer(storage_service_pb2_grpc.StorageServiceServicer):
    """``visionyard.dataset.v1.StorageService``.

    Args:
        store: The bucket.
        begin: Makes a collection of a project with a grace period.
        grace: The grace period where a request gives none.
        quota_bytes: What each project may hold; 0 for no limit.
    """

    def __init__(self, store: ObjectStore, begin: Callable[[str, timedelta], Collection], grace: timedelta, quota_bytes: int) -> None:
        self._store = store
        self._begin = begin
        self._grace = grace
        self._quota_bytes = quota_bytes

    async def GetStorage(self, request: storage_service_pb2.GetStorageRequest, _context: Context) -> storage_service_pb2.GetStorageResponse:
        """Counts what a project takes up."""
        found = await asyncio.to_thread(account, self._store, ProjectName.parse(request.parent).project)
        return storage_service_pb2.GetStorageResponse(storage=storage_mapping.account_to_proto(found, self._quota_bytes))

    async def CollectStorage(
        self, request: storage_service_pb2.CollectStorageRequest, _context: Context
    ) -> AsyncIterator[storage_service_pb2.CollectStorageResponse]:
        """Collects; where the call is ended, so is the collection, behind the step at hand."""
        grace = storage_mapping.grace_from_proto(request, self._grace)
        collection = self._begin(ProjectName.parse(request.parent).project, grace)
        steps = collection.rehearse() if request.validate_only else collection.run()
        told = float("-inf")
        with Steps(steps) as taken:
            async for progress in taken:
                if time.monotonic() - told >= _TELL_EVERY_S:
                    told = time.monotonic()
                    yield storage_mapping.progress_to_proto(progress)
        yield storage_mapping.collected_to_proto(collection.result)
