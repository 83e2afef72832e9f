"""The messages of storage and deletion to domain objects and back; a request that cannot be meant is refused here."""

from __future__ import annotations

from datetime import timedelta

from visionyard.dataset.deletion import Deletion
from visionyard.dataset.storage.accounting import Account
from visionyard.dataset.storage.collection import Collected, Progress
from visionyard.dataset.storage.kinds import UNKNOWN_SHOWN, Amount, Kind
from visionyard.dataset.v1 import dataset_service_pb2, storage_pb2, storage_service_pb2
from visionyard.kit.errors import invalid_field

_MAX_GRACE = timedelta(days=3650)
_MAX_NANOS = 999_999_999
_JOBS_SHOWN = 20
_KINDS = {kind: storage_pb2.StorageKind.Value(f"STORAGE_KIND_{kind.value}") for kind in Kind}


def grace_from_proto(request: storage_service_pb2.CollectStorageRequest, default: timedelta) -> timedelta:
    """The grace period that a request asks for.

    Raises:
        YardError: INVALID_FIELD.
    """
    if not request.HasField("grace"):
        return default
    seconds, nanos = request.grace.seconds, request.grace.nanos
    if not 0 <= seconds <= _MAX_GRACE.total_seconds() or not 0 <= nanos <= _MAX_NANOS:
        raise invalid_field("grace", f"must be from 0 s to {_MAX_GRACE.days} days")
    return timedelta(seconds=seconds, microseconds=nanos // 1000)


def deletion_to_proto(deletion: Deletion) -> dataset_service_pb2.DatasetDeletion:
    """A deletion on the wire."""
    return dataset_service_pb2.DatasetDeletion(
        versions=[str(version) for version in deletion.versions], freeable_bytes=deletion.freeable_bytes
    )


def _amount(amount: Amount) -> storage_pb2.StorageAmount:
    return storage_pb2.StorageAmount(object_count=amount.count, bytes=amount.size)


def account_to_proto(account: Account, quota_bytes: int) -> storage_pb2.Storage:
    """What a project takes up, on the wire."""
    inventory = account.inventory
    return storage_pb2.Storage(
        project=f"projects/{inventory.project}",
        total=_amount(inventory.total),
        uses=[
            storage_pb2.StorageUse(kind=_KINDS[kind], total=_amount(amount), unreferenced=_amount(account.unreferenced.get(kind, Amount())))
            for kind, amount in inventory.amounts.items()
            if amount.count
        ],
        quota_bytes=quota_bytes,
        dead_shard_bytes=account.dead_shard_bytes,
        unknown_keys=inventory.unknown[:UNKNOWN_SHOWN],
    )


def progress_to_proto(progress: Progress) -> storage_service_pb2.CollectStorageResponse:
    """How far a collection is, on the wire."""
    message = storage_service_pb2.CollectionProgress(phase=progress.phase, done=progress.done, total=progress.total, unit=progress.unit)
    return storage_service_pb2.CollectStorageResponse(progress=message)


def collected_to_proto(collected: Collected) -> storage_service_pb2.CollectStorageResponse:
    """What a collection did, on the wire."""
    collection = storage_pb2.StorageCollection(
        project=f"projects/{collected.project}",
        freed_bytes=collected.freed_bytes,
        collected=[
            storage_pb2.CollectedKind(kind=_KINDS[kind], amount=_amount(collected.deleted[kind]))
            for kind in Kind
            if kind in collected.deleted
        ],
        rewritten_shard_count=collected.rewritten_shards,
        young=_amount(collected.young),
        pinned=_amount(collected.pinned),
        pinning_jobs=[str(name) for name in collected.pinning_jobs[:_JOBS_SHOWN]],
        unknown=_amount(collected.before.amounts[Kind.UNKNOWN]),
        unknown_keys=collected.before.unknown,
        before=_amount(collected.before.total),
        after=_amount(collected.after.total),
    )
    return storage_service_pb2.CollectStorageResponse(collection=collection)
