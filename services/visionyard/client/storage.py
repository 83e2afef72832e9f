"""What the project takes up in the bucket, and the collection that frees what nothing refers to any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from google.protobuf import duration_pb2

from visionyard.client.errors import ClientError
from visionyard.client.references import References
from visionyard.client.sync import Blocking, Facade
from visionyard.client.transport import Patience, Transport
from visionyard.dataset.v1 import storage_pb2, storage_service_pb2
from visionyard.dataset.v1.storage_service_pb2_grpc import StorageServiceStub
from visionyard.kit.errors import Code

OnCollection = Callable[[storage_service_pb2.CollectionProgress], None]
"""Called with how far a collection is."""
_COUNT_TIMEOUT_S = 600.0
_COLLECT_TIMEOUT_S = 86_400.0
"""A stream that is begun again is another collection, which would not know what the one before has freed."""


class AsyncStorage:
    """The project's storage.

    Args:
        transport: The channels.
        names: Names in the project.
    """

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    async def get(self) -> storage_pb2.Storage:
        """Counts what the project takes up now.

        Raises:
            ClientError: DATA_LOSS (ARTIFACT_CORRUPT).
        """
        request = storage_service_pb2.GetStorageRequest(parent=self._names.parent)
        response = await self._transport.unary(
            "dataset", lambda channel: StorageServiceStub(channel).GetStorage, request, timeout_s=_COUNT_TIMEOUT_S
        )
        return response.storage

    async def collect(
        self, *, grace: timedelta | None = None, dry_run: bool = False, on_progress: OnCollection | None = None
    ) -> storage_pb2.StorageCollection:
        """Deletes what nothing refers to any more. Where the connection breaks a new collection finishes; its result is then only its own.

        Args:
            grace: Objects younger than this stay; None: as long as the service says, an hour by default.
            dry_run: Only find out what would be deleted.
            on_progress: Called with how far it is.

        Raises:
            ClientError: FAILED_PRECONDITION (COLLECTION_RUNNING), DATA_LOSS (ARTIFACT_CORRUPT), INVALID_ARGUMENT (INVALID_FIELD),
                PERMISSION_DENIED (SHARED_READ_ONLY).
        """
        request = storage_service_pb2.CollectStorageRequest(parent=self._names.parent, validate_only=dry_run)
        if grace is not None:
            duration = duration_pb2.Duration()
            duration.FromTimedelta(grace)
            request.grace.CopyFrom(duration)
        patience = Patience(self._transport, "dataset")
        result: storage_pb2.StorageCollection | None = None
        async for response in self._transport.stream(
            "dataset", lambda channel: StorageServiceStub(channel).CollectStorage, lambda: request, patience, _COLLECT_TIMEOUT_S
        ):
            if response.WhichOneof("news") == "collection":
                result = response.collection
            elif on_progress is not None:
                on_progress(response.progress)
        if result is None:
            raise ClientError(Code.INTERNAL, "", "the collection ended without a result: run it again")
        return result


class Storage(Facade[AsyncStorage]):
    """The project's storage."""

    get = Blocking(AsyncStorage.get)
    collect = Blocking(AsyncStorage.collect)
