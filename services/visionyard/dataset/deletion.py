"""Deletes datasets and versions: what names them goes, their bytes stay until a collection. All calls block."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from visionyard.dataset.shards import shard_prefix
from visionyard.dataset.storage.marking import images_of
from visionyard.dataset.users import users_of
from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.versions import VersionDocument
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import NotFound, ObjectStore

_NAMED = 5


@dataclass(frozen=True)
class Deletion:
    """What a deletion takes away.

    Attributes:
        versions: The versions, the oldest first.
        freeable_bytes: The most that a collection can then free.
    """

    versions: tuple[VersionName, ...]
    freeable_bytes: int


class Deletions:
    """Deletes what nothing uses any more.

    A job that is created at the very moment of a deletion is not seen: it fails when it begins, for want of its version.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def delete_dataset(self, name: ResourceName, *, validate_only: bool) -> Deletion:
        """Deletes all versions that a dataset has now. One that an import publishes meanwhile stays, under the next number.

        Args:
            name: The dataset.
            validate_only: Only say what would go.

        Raises:
            YardError: DATASET_NOT_FOUND, DATASET_IN_USE.
            StoreUnavailable: the store does not answer; calling again deletes the rest.
        """
        versions.resolve(self._store, VersionName(name, None))
        found = sorted(versions.list_versions(self._store, name), key=lambda version: version.name.number or 0)
        return self._delete(name, found, validate_only=validate_only, all_of_it=True)

    def delete_version(self, name: VersionName, *, validate_only: bool) -> Deletion:
        """Deletes one version.

        Args:
            name: The version, with its number.
            validate_only: Only say what would go.

        Raises:
            YardError: DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, DATASET_IN_USE.
            StoreUnavailable: the store does not answer.
        """
        document = versions.resolve(self._store, name)
        deletion = self._delete(name.parent, [document], validate_only=validate_only, all_of_it=False)
        if not deletion.versions:  # somebody else was faster
            versions.resolve(self._store, document.name)
        return deletion

    def _delete(self, dataset: ResourceName, documents: list[VersionDocument], *, validate_only: bool, all_of_it: bool) -> Deletion:
        going = [DatasetVersion.from_document(document) for document in documents]
        self._refuse_used(dataset, going, all_of_it=all_of_it)
        size = self._freeable(dataset, documents, going)
        gone = documents if validate_only else [document for document in documents if versions.delete(self._store, document)]
        return Deletion(tuple(document.name for document in gone), size)

    def _refuse_used(self, dataset: ResourceName, going: list[DatasetVersion], *, all_of_it: bool) -> None:
        users = list(users_of(self._store, dataset, going, all_of_it=all_of_it))
        if not users:
            return
        what = f"dataset {dataset.id!r}" if all_of_it else f"version {going[0].name.number} of dataset {dataset.id!r}"
        more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
        raise YardError(
            Reason.DATASET_IN_USE,
            f"{what} is still used by {', '.join(users[:_NAMED])}{more}: wait for jobs or cancel them; what a model was trained on stays with it",
            {"name": str(dataset if all_of_it else going[0].name), "used_by": ",".join(users[:_NAMED]), "used_by_count": str(len(users))},
        )

    def _freeable(self, dataset: ResourceName, documents: list[VersionDocument], going: list[DatasetVersion]) -> int:
        images = images_of(self._store, documents, shard_prefix(dataset.project))
        size = images.total_bytes
        for key in {key for version in going for key in (version.manifest_key, version.report_key)}:
            with suppress(NotFound):
                size += self._store.head(key).size
        return size
