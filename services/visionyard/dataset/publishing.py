"""How an import becomes a version, whatever is killed when.

1. Everything that an attempt writes outside of its own folder has a key that no other attempt ever writes (each object names its maker), and the key stands in
   the job's ``written`` pointer before the object is written. Nobody else refers to it before the version is published. So until then an attempt that fails, or the
   next one after it was killed, deletes what is listed, and takes nothing from anybody.
2. The ``prepared`` pointer, moved by the lease owner's swap, is the decision: it holds the version's whole document. A worker that was taken over can no longer
   get there; whoever finds it publishes exactly that document, once for each job, and goes on.
3. After publishing, the index segment tells other imports of the images. From then on nothing is deleted.
4. What adds to a dataset's newest version is published under the very next number only. Where somebody else took that, the decision is withdrawn, and all is made anew
   on top of the version that came between: so of two imports that add at the same time the later one holds the images of both.
5. A job that is cancelled, or fails, behind its decision and before that is carried out, leaves it all to :mod:`.aftercare`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from visionyard.dataset.findings import Code, Report
from visionyard.dataset.finishing import Content
from visionyard.dataset.index import NewImages, encode_segment, store_segment
from visionyard.dataset.shards import ShardWriter
from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import DatasetClass, DatasetSplit, DatasetVersion, iterate_manifest, newest_dataset_version
from visionyard.kit.artifacts.manifest import SPLITS, ContentDigest, ManifestRow, encode_manifest
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable


class Pointers(Protocol):
    """Moves the job's pointers by the lease owner's swap."""

    def __call__(self, **pointers: Any) -> None:
        """Merges ``pointers`` into the job's."""


class Publisher:
    """One attempt's writing.

    Args:
        store: The bucket.
        dataset: What gets a version.
        job: The job's name.
        attempt: Which attempt.
        create_time: When the job was created, by the store's clock.
        pointers: What earlier attempts reached.
        point: Moves the pointers to what spares the next attempt work; raises where the lease is lost.
        announce: Moves them to what is about to be written; raises likewise.
    """

    def __init__(
        self,
        store: ObjectStore,
        dataset: ResourceName,
        job: ResourceName,
        attempt: int,
        create_time: datetime,
        pointers: dict[str, Any],
        point: Pointers,
        announce: Pointers,
    ) -> None:
        self._store = store
        self._dataset = dataset
        self._job = job
        self._attempt = attempt
        self._create_time = create_time
        self._point = point
        self._move_written = announce
        self._stale: list[str] = list(pointers.get("written", []))
        self._written: list[str] = []
        self._storing = ThreadPoolExecutor(1, "shard")
        self._on_its_way: Future[None] | None = None
        self._segment = b""

    @property
    def maker(self) -> dict[str, str]:
        """Who writes: job and attempt."""
        return {"job": str(self._job), "attempt": str(self._attempt)}

    def begin(self) -> None:
        """Deletes what earlier attempts wrote without getting to a version.

        The list of it stays until the end: a write of theirs may still be on its way.
        """
        self._store.delete_many(self._stale)

    def store_shard(self, key: str, path: Path) -> None:
        """Takes a whole shard, and stores it in a thread while the next one is written. One is on its way at a time; its file is moved away, and removed in the end.

        Raises:
            StoreUnavailable: the store did not take the one before.
        """
        self.settle()
        self._announce(key)
        self._on_its_way = self._storing.submit(self._put_shard, key, path.replace(path.with_suffix(".storing")))

    def _put_shard(self, key: str, path: Path) -> None:
        self._store.put_file(key, path)
        path.unlink()

    def settle(self) -> None:
        """Waits for the shard that is on its way.

        Raises:
            StoreUnavailable: the store did not take it.
        """
        storing, self._on_its_way = self._on_its_way, None
        if storing is not None:
            storing.result()

    def _announce(self, *keys: str) -> None:
        self._written += keys
        self._move_written(written=[*self._stale, *self._written])

    def abandon(self) -> None:
        """Deletes everything that was written for a version that will not come."""
        with suppress(StoreUnavailable, OSError):  # a write that ended after the deletion would leave its shard behind
            self.settle()
        self._storing.shutdown()
        self._store.delete_many([*self._stale, *self._written])

    def failed_report(self, report: Report) -> str:
        """Stores the report of an import that makes no new version in the attempt's own folder; returns its key."""
        key = f"{self._job}/attempts/{self._attempt}/report.json"
        self._store.put(key, _json(report.to_json()))
        return key

    def prepare(
        self,
        content: Content,
        writer: ShardWriter | None,
        report: Report,
        origin: Mapping[str, Any],
        admit: Callable[[int], None],
        after: int | None = None,
    ) -> dict[str, Any]:
        """Writes manifest and report, and moves the ``prepared`` pointer; the decision.

        Args:
            content: What the version is to hold.
            writer: Where this attempt's images went; None where it stored none.
            report: What was found.
            origin: How the version is made; see :class:`DatasetVersion`.
            admit: Hears how many bytes more than its shards the version takes; raises where the project may not hold them.
            after: The highest number of the dataset when the version was read that is added to; None where none is.

        Raises:
            YardError: QUOTA_EXCEEDED, from ``admit``.
            StoreUnavailable: the store did not take the last shard, or does not answer.

        Returns:
            The pointers of the job's result, if the dataset's newest version holds just this already; else empty: :meth:`publish` comes next.
        """
        self.settle()
        self._storing.shutdown()
        tally = _Tally()
        keypoints = content.keypoints.to_json() if content.keypoints else None
        content_digest = ContentDigest(content.task, content.class_names, keypoints)
        project, shards = self._dataset.project, writer.keys if writer else []
        images = NewImages(shards)
        manifest = encode_manifest(content_digest.passing(images.passing(tally.count(content.rows(writer)))), self.maker)
        digest = content_digest.value()
        newest = newest_dataset_version(self._store, self._dataset)
        if newest is not None and newest.digest == digest:
            report.note(
                Code.VERSION_UNCHANGED,
                f"version {newest.name.number} of {self._dataset.id!r} holds just this already; no new version was made",
            )
            self.abandon()
            return {"version": str(newest.name), "report_key": self.failed_report(report), "written": []}
        report_bytes = _json({**report.to_json(), "maker": self.maker})
        manifest_key = f"projects/{project}/manifests/{hashlib.sha256(manifest).hexdigest()}.parquet"
        report_key = f"projects/{project}/reports/{hashlib.sha256(report_bytes).hexdigest()}.json"
        self._segment = segment = images.encode() if shards else b""
        beside_shards = len(manifest) + len(report_bytes) + len(segment)
        admit(beside_shards)
        version = DatasetVersion(
            name=VersionName(self._dataset, None),
            digest=digest,
            task=content.task,
            image_count=tally.images.total(),
            label_count=tally.labels.total(),
            classes=tuple(DatasetClass(i, name, tally.classes[i]) for i, name in enumerate(content.class_names)),
            splits=tuple(DatasetSplit(split, tally.images[split], tally.labels[split]) for split in SPLITS if tally.images[split]),
            total_bytes=tally.total_bytes,
            stored_bytes=(writer.stored_bytes if writer else 0) + beside_shards,
            source_format=content.source_format,
            import_job=str(self._job),
            manifest_key=manifest_key,
            report_key=report_key,
            keypoints=content.keypoints,
            origin=origin,
        )
        self._announce(manifest_key, report_key)
        self._store.put(manifest_key, manifest)
        self._store.put(report_key, report_bytes)
        self._point(prepared={"body": version.body(), "shards": shards, "after": after})
        return {}

    def publish(self, prepared: dict[str, Any]) -> dict[str, Any]:
        """Publishes what was prepared, by this attempt or an earlier one; returns the pointers of the job's result. Calling it again changes nothing.

        Raises:
            Overtaken: it adds to a version, and the dataset got another one since; nothing was published.
        """
        document = versions.publish(self._store, self._dataset, prepared["body"], str(self._job), self._create_time, prepared.get("after"))
        version = DatasetVersion.from_document(document)
        if prepared["shards"]:
            # An attempt that found the decision made has only the manifest to tell it by.
            segment = self._segment or encode_segment(iterate_manifest(self._store, version), prepared["shards"])
            store_segment(self._store, self._dataset.project, segment)
        used = {*prepared["shards"], version.manifest_key, version.report_key}
        self._store.delete_many([key for key in self._stale if key not in used])
        return {"version": str(version.name), "report_key": version.report_key, "written": []}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, sort_keys=True).encode()


class _Tally:
    """Counts what a version holds while its rows pass by."""

    def __init__(self) -> None:
        self.classes: Counter[int] = Counter()
        self.images: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.total_bytes = 0

    def count(self, rows: Iterable[ManifestRow]) -> Iterator[ManifestRow]:
        for row in rows:
            self.images[row.split] += 1
            self.labels[row.split] += len(row.labels)
            self.total_bytes += row.length
            self.classes.update(label.class_id for label in row.labels)
            yield row
