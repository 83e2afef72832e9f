"""Dataset versions as every room reads them: what is known of one, its rows, and its images with few large reads.

The dataset room publishes them; training and export read them. For the folder that Ultralytics trains on see
:func:`visionyard.kit.artifacts.materialise.materialise`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.manifest import Label, ManifestRow, decode_manifest
from visionyard.kit.artifacts.versions import VersionDocument
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import NotFound, ObjectStore

__all__ = [
    "DatasetClass",
    "DatasetSplit",
    "DatasetVersion",
    "KeypointLayout",
    "Label",
    "ManifestRow",
    "fetch_manifest",
    "iterate_manifest",
    "list_dataset_versions",
    "manifest_reader",
    "newest_dataset_version",
    "read_dataset_version",
    "read_images",
    "read_manifest",
]
_GAP_BYTES = 128 << 10


@dataclass(frozen=True)
class DatasetClass:
    """A class of a version.

    Attributes:
        id: Its id in the labels, from 0.
        name: Its name, as in the source.
        label_count: How many labels are of this class.
    """

    id: int
    name: str
    label_count: int


@dataclass(frozen=True)
class DatasetSplit:
    """A split of a version.

    Attributes:
        name: ``train``, ``val`` or ``test``.
        image_count: How many images are in it.
        label_count: How many labels are in it.
    """

    name: str
    image_count: int
    label_count: int


@dataclass(frozen=True)
class KeypointLayout:
    """What the keypoints of a pose dataset are (``kpt_shape`` and ``flip_idx`` of Ultralytics' data.yaml).

    Attributes:
        count: How many each object has.
        dimensions: Numbers a keypoint: 2 (x, y) or 3 (and visibility: 0 not there, 1 hidden, 2 seen).
        names: What each is called, in their order; empty where the source does not tell.
        flip: For each keypoint which one it becomes in the mirror; empty where the source does not tell.
    """

    count: int
    dimensions: int
    names: tuple[str, ...] = ()
    flip: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> KeypointLayout:
        """Reads what :meth:`to_json` wrote."""
        return cls(document["count"], document["dimensions"], tuple(document["names"]), tuple(document["flip"]))

    def to_json(self) -> dict[str, Any]:
        """The form in which a version's document keeps it."""
        return {"count": self.count, "dimensions": self.dimensions, "names": list(self.names), "flip": list(self.flip)}


@dataclass(frozen=True)
class DatasetVersion:
    """An immutable set of images with labels.

    Attributes:
        name: ``projects/{project}/datasets/{dataset}/versions/{number}``, with its number.
        digest: ``sha256:`` and 64 hexadecimal digits of the content (classes, images, splits, labels).
        task: ``detect``, ``segment``, ``classify``, ``pose`` or ``obb``, in Ultralytics' words.
        image_count: How many images it holds.
        label_count: How many labels it holds.
        classes: In the order of their ids, from 0 without gaps.
        splits: Those that it has, in the order train, val, test. Always ``train``; ``val`` unless the importer asked for none.
        total_bytes: The bytes of all its images.
        stored_bytes: The bytes that making it added to the store.
        source_format: What it was read from: ``yolo``, ``voc``, ``coco``, ...; empty for one that was made of other versions.
        import_job: The job that made it, ``projects/{project}/importJobs/{job}``.
        manifest_key: Where its manifest lies.
        report_key: Where the import's report lies.
        keypoints: What its keypoints are; None unless the task is ``pose``.
        origin: How it was made: ``operation`` (``import``, ``append``, ``merge``, ...), ``sources`` (names of versions) and what else the operation was given.
        create_time: When it was published, by the store's clock.
    """

    name: VersionName
    digest: str
    task: str
    image_count: int
    label_count: int
    classes: tuple[DatasetClass, ...]
    splits: tuple[DatasetSplit, ...]
    total_bytes: int
    stored_bytes: int
    source_format: str
    import_job: str
    manifest_key: str
    report_key: str
    keypoints: KeypointLayout | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    create_time: datetime | None = None

    @classmethod
    def from_document(cls, document: VersionDocument) -> DatasetVersion:
        """Reads a published version's document."""
        body = document.body
        return cls(
            name=document.name,
            digest=body["digest"],
            task=body["task"],
            image_count=body["image_count"],
            label_count=body["label_count"],
            classes=tuple(DatasetClass(**c) for c in body["classes"]),
            splits=tuple(DatasetSplit(**s) for s in body["splits"]),
            total_bytes=body["total_bytes"],
            stored_bytes=body["stored_bytes"],
            source_format=body["source_format"],
            import_job=body["import_job"],
            manifest_key=body["manifest_key"],
            report_key=body["report_key"],
            keypoints=KeypointLayout.from_json(body["keypoints"]) if body.get("keypoints") else None,
            origin=body.get("origin", {}),
            create_time=document.create_time,
        )

    def body(self) -> dict[str, Any]:
        """The JSON document to publish: everything but ``name`` and ``create_time``, which publishing decides."""
        return {
            "digest": self.digest,
            "task": self.task,
            "image_count": self.image_count,
            "label_count": self.label_count,
            "classes": [vars(c) for c in self.classes],
            "splits": [vars(s) for s in self.splits],
            "total_bytes": self.total_bytes,
            "stored_bytes": self.stored_bytes,
            "source_format": self.source_format,
            "import_job": self.import_job,
            "manifest_key": self.manifest_key,
            "report_key": self.report_key,
            "keypoints": self.keypoints.to_json() if self.keypoints else None,
            "origin": dict(self.origin),
        }

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names in the order of their ids."""
        return tuple(c.name for c in self.classes)

    def split(self, name: str) -> DatasetSplit | None:
        """The split of that name, or None where the version has none."""
        return next((s for s in self.splits if s.name == name), None)


def read_dataset_version(store: ObjectStore, name: VersionName) -> DatasetVersion:
    """Reads a version; without a number the newest.

    Raises:
        YardError: DATASET_NOT_FOUND or DATASET_VERSION_NOT_FOUND.
    """
    return DatasetVersion.from_document(versions.resolve(store, name))


def newest_dataset_version(store: ObjectStore, dataset: ResourceName) -> DatasetVersion | None:
    """The newest version of a dataset, or None where there is no such dataset."""
    document = versions.newest(store, dataset)
    return DatasetVersion.from_document(document) if document else None


def list_dataset_versions(
    store: ObjectStore, dataset: ResourceName, before: int | None = None, at_most: int | None = None
) -> Iterator[DatasetVersion]:
    """A dataset's versions, newest first, with numbers below ``before``, at most so many; none where there is no such dataset."""
    return (DatasetVersion.from_document(document) for document in versions.list_versions(store, dataset, before, at_most))


def read_manifest(store: ObjectStore, version: DatasetVersion, split: str = "") -> list[ManifestRow]:
    """A version's rows, sorted by split (train, val, test) and name. Blocks.

    A collection may have moved the version's images, and its manifest with them, since it was read: then the version is read again.

    Args:
        store: The bucket.
        version: The version.
        split: Only this split's rows; all where it is empty.

    Raises:
        YardError: ARTIFACT_CORRUPT, the manifest is gone; DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, the version was deleted meanwhile.
        StoreUnavailable: the store does not answer.
    """
    return [row for row in iterate_manifest(store, version) if split in {"", row.split}]


def iterate_manifest(store: ObjectStore, version: DatasetVersion) -> Iterator[ManifestRow]:
    """A version's rows likewise, one by one, so that memory stays flat: the packed manifest alone is held."""
    return manifest_reader(store, version)()


def manifest_reader(store: ObjectStore, version: DatasetVersion) -> Callable[[], Iterator[ManifestRow]]:
    """Fetches a version's manifest once; what it returns gives the rows from the beginning as often as it is called."""
    data = fetch_manifest(store, version)
    return lambda: decode_manifest(data)


def fetch_manifest(store: ObjectStore, version: DatasetVersion) -> bytes:
    """A version's manifest as :func:`visionyard.kit.artifacts.manifest.encode_manifest` wrote it; see :func:`read_manifest`. Blocks."""
    for known in _as_it_is_now(store, version):
        with suppress(NotFound):
            return store.get(known.manifest_key).data
    raise YardError(
        Reason.ARTIFACT_CORRUPT,
        f"the manifest of {version.name} is missing in the bucket: import it again",
        {"name": str(version.name)},
    )


def _as_it_is_now(store: ObjectStore, version: DatasetVersion) -> Iterator[DatasetVersion]:
    """The version as it was read; then, for whoever did not find its bytes, as it is now, as often as it has changed in between."""
    yield version
    while (current := read_dataset_version(store, version.name)).manifest_key != version.manifest_key:
        yield current
        version = current


def read_images(store: ObjectStore, rows: Iterable[ManifestRow], version: DatasetVersion) -> Iterator[tuple[ManifestRow, bytes]]:
    """The image files of ``rows``, shard by shard in the order of their bytes (not in the order given), each checked. Blocks.

    Neighbours come in one stream, so a version's images cost a request a shard and flat memory. Images that a collection moved meanwhile are looked up again in the
    version's new manifest.

    Raises:
        YardError: ARTIFACT_CORRUPT, an image is gone or does not fit its sha256; DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, the version was deleted meanwhile.
        StoreUnavailable: the store does not answer.
    """
    moved = _MovedImages(store, version)
    for run in _runs(sorted(rows, key=lambda row: (row.shard, row.offset))):
        yield from _read_run(store, run, moved)


class _MovedImages:
    """Where a version's images lie now, for a reader whose rows are older.

    Args:
        store: The bucket.
        version: As the reader knows it.
    """

    def __init__(self, store: ObjectStore, version: DatasetVersion) -> None:
        self._store = store
        self._version = version
        self._rows: dict[tuple[str, str], ManifestRow] = {}

    def find(self, run: list[ManifestRow]) -> list[ManifestRow] | None:
        """The same images where they lie now; None where they have not moved since the last look."""
        first = self._rows.get((run[0].split, run[0].name))
        if first is None or first == run[0]:  # not looked up yet, or moved once more since
            current = read_dataset_version(self._store, self._version.name)
            if current.manifest_key == self._version.manifest_key:
                return None
            self._version = current
            self._rows = {(row.split, row.name): row for row in read_manifest(self._store, current)}
        return [self._rows[row.split, row.name] for row in run]


def _read_run(store: ObjectStore, run: list[ManifestRow], moved: _MovedImages) -> Iterator[tuple[ManifestRow, bytes]]:
    read = 0
    try:
        with store.open(run[0].shard, run[0].offset, run[-1].offset + run[-1].length - run[0].offset) as stream:
            end = run[0].offset
            image = b""
            for row in run:
                if row.offset >= end:  # else it is the one before, under another name
                    stream.read(row.offset - end)
                    image = stream.read(row.length)
                    end = row.offset + row.length
                if hashlib.sha256(image).hexdigest() != row.sha256:
                    raise _corrupt(row, "its bytes do not fit their recorded sha256")
                yield row, image
                read += 1
    except NotFound:
        found = moved.find(run[read:])
        if found is None:
            raise _corrupt(run[read], "its shard is missing in the bucket") from None
        for part in _runs(sorted(found, key=lambda row: (row.shard, row.offset))):
            yield from _read_run(store, part, moved)


def _runs(rows: list[ManifestRow]) -> Iterator[list[ManifestRow]]:
    run: list[ManifestRow] = []
    for row in rows:
        if run and (row.shard != run[-1].shard or row.offset - (run[-1].offset + run[-1].length) > _GAP_BYTES):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def _corrupt(row: ManifestRow, what: str) -> YardError:
    return YardError(Reason.ARTIFACT_CORRUPT, f"image {row.name} cannot be read: {what}; import its dataset again", {"name": row.name})
