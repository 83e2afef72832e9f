"""Uploads that can be broken off at any byte and taken up again.

In the bucket, under ``projects/{project}/uploads/{upload}/``: ``upload.json`` (what was announced; immutable), ``parts/{offset:016d}`` and ``complete``,
written once all bytes are there and their sha256 fits, which it holds.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, cast

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.documents import Document, Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore
from visionyard.kit.projects import project_ids
from visionyard.kit.quota import ProjectQuota
from visionyard.kit.transfer.announced import COMPLETE, DOCUMENT, PARTS
from visionyard.kit.transfer.copies import LocalCopies
from visionyard.kit.transfer.parts import PartsReader, StoredPart, contiguous
from visionyard.kit.transfer.writer import SHA256, UploadWriter

COLLECTION = "uploads"
_ID_DIGITS = 32
_MAX_REQUEST_ID = 200
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Upload:
    """A file on its way into the bucket.

    Attributes:
        name: ``projects/{project}/uploads/{upload}``.
        size: The size of the whole file, in bytes.
        sha256: The sha256 of the whole file, as announced; empty where that comes at the end.
        committed: How many bytes are stored, from the beginning.
        complete: Whether all bytes are there and their sha256 fits.
        create_time: When it was begun, by the store's clock.
    """

    name: ResourceName
    size: int
    sha256: str
    committed: int
    complete: bool
    create_time: datetime


class UploadStore:
    """The uploads of all projects. All calls block; safe for threads.

    Args:
        store: The bucket.
        limit_bytes: The largest file that may be uploaded.
        quota: What each project may hold; None: as much as there is room for.
        copies: This machine's copies of what came through it; None where none are kept.
    """

    def __init__(
        self, store: ObjectStore, limit_bytes: int, quota: ProjectQuota | None = None, *, copies: LocalCopies | None = None
    ) -> None:
        self._store = store
        self._documents = Documents(store)
        self._limit_bytes = limit_bytes
        self._quota = quota
        self._copies = copies

    def start(self, project: ProjectName, size: int, sha256: str, request_id: str) -> Upload:
        """Begins an upload, or finds the one that was begun with the same arguments.

        Args:
            project: Where it belongs.
            size: The size of the whole file, in bytes.
            sha256: The sha256 of the whole file, 64 lower-case hexadecimal digits; empty where it is announced at the end.
            request_id: The client's key, which tells apart two uploads of the same bytes; may be empty where ``sha256`` is not.

        Raises:
            YardError: INVALID_FIELD; REQUEST_TOO_LARGE; QUOTA_EXCEEDED.
            StoreUnavailable: the store does not answer.
        """
        self._check(size, sha256, request_id)
        digest = hashlib.sha256(f"{project.project}\n{size}\n{sha256}\n{request_id}".encode()).hexdigest()
        name = ResourceName(project.project, COLLECTION, digest[:_ID_DIGITS])
        if self._quota is not None and not self._is_begun(name):
            self._quota.admit(project.project, size)
        with suppress(Conflict):
            self._documents.create(_document_key(name), {"size": size, "sha256": sha256})
        if not size:
            self._store.put(_complete_key(name), hashlib.sha256().hexdigest().encode())
        return self.get(name)

    def _check(self, size: int, sha256: str, request_id: str) -> None:
        if size < 0:
            raise invalid_field("size_bytes", f"must be 0 or more, but is {size}")
        if not sha256 and not request_id:
            raise invalid_field("request_id", "must be given where no sha256 is")
        if sha256 and not SHA256.match(sha256):
            raise invalid_field("sha256", "must be 64 lower-case hexadecimal digits")
        if len(request_id) > _MAX_REQUEST_ID:
            raise invalid_field("request_id", f"must have at most {_MAX_REQUEST_ID} characters")
        if not size and sha256 not in {"", hashlib.sha256().hexdigest()}:
            raise invalid_field("sha256", "is not that of an empty file, but size_bytes is 0")
        if size > self._limit_bytes:
            raise YardError(
                Reason.REQUEST_TOO_LARGE,
                f"the file has {size} bytes, and this service takes uploads of at most {self._limit_bytes}: divide it into several",
                {"size_bytes": str(size), "limit_bytes": str(self._limit_bytes)},
            )

    def get(self, name: ResourceName) -> Upload:
        """How an upload stands.

        Raises:
            YardError: UPLOAD_NOT_FOUND.
            StoreUnavailable: the store does not answer.
        """
        document = self._read(name)
        size = int(document.body["size"])
        complete = self._is_complete(name)
        committed = size if complete else _end(self._parts(name))
        sha256 = str(document.body["sha256"])
        if complete and not sha256:
            sha256 = self._store.get(_complete_key(name)).data.decode()
        return Upload(name, size, sha256, min(committed, size), complete, document.last_modified)

    def _read(self, name: ResourceName) -> Document:
        try:
            return self._documents.read(_document_key(name))
        except NotFound:
            raise YardError(
                Reason.UPLOAD_NOT_FOUND, f"there is no upload {name.id!r} in project {name.project!r}: begin it anew", {"name": str(name)}
            ) from None

    def _is_begun(self, name: ResourceName) -> bool:
        try:
            self._store.head(_document_key(name))
        except NotFound:
            return False
        return True

    def _is_complete(self, name: ResourceName) -> bool:
        try:
            self._store.head(_complete_key(name))
        except NotFound:
            return False
        return True

    def _parts(self, name: ResourceName) -> list[StoredPart]:
        prefix = _parts_prefix(name)
        return contiguous(prefix, self._store.list(prefix))

    def writer(self, name: ResourceName) -> UploadWriter:
        """Takes the bytes of one stream.

        Raises:
            YardError: UPLOAD_NOT_FOUND.
            StoreUnavailable: the store does not answer.
        """
        upload = self.get(name)
        fresh = self._copies is not None and not upload.committed and not upload.complete
        copy = self._copies.begin(name, upload.size) if self._copies is not None and fresh else None
        return UploadWriter(self._store, _parts_prefix(name), upload, self.finish, copy)

    def finish(self, name: ResourceName, digest: str | None, announced: str = "") -> Upload:
        """Looks whether all bytes are there, and if so whether they are the announced ones.

        Args:
            name: The upload.
            digest: The sha256 of the bytes where they all came in one stream; None to read them back.
            announced: The sha256 that the last chunk brought; counts where the upload was begun without one.

        Returns:
            The upload as it stands; complete, or with bytes or its sha256 missing.

        Raises:
            YardError: UPLOAD_CORRUPT, its sha256 is another one; it is deleted. UPLOAD_NOT_FOUND.
            StoreUnavailable: the store does not answer.
        """
        upload = self.get(name)
        if upload.complete or upload.committed < upload.size:
            return upload
        wanted = upload.sha256 or announced
        if not wanted:
            return upload
        found = digest or self._digest(upload)
        if found != wanted:
            self.delete(name)
            raise YardError(
                Reason.UPLOAD_CORRUPT,
                f"the uploaded bytes have the sha256 {found}, but {wanted} was announced: the file changed meanwhile or was damaged"
                " on its way; the upload was deleted, begin it anew",
                {"offset": "0"},
            )
        self._store.put(_complete_key(name), found.encode())
        return self.get(name)

    def _digest(self, upload: Upload) -> str:
        digest = hashlib.sha256()
        with PartsReader(self._store, self._parts(upload.name), upload.size) as reader:
            while data := reader.read(_READ_BYTES):
                digest.update(data)
        return digest.hexdigest()

    def open(self, name: ResourceName) -> BinaryIO:
        """A complete upload's bytes, seekable, with flat memory (about 25 MiB); zipfile and tarfile read it as a file. Close it.

        They come from this machine's copy where there is one, else from the bucket.

        Raises:
            YardError: UPLOAD_NOT_FOUND; UPLOAD_INCOMPLETE.
            StoreUnavailable: the store does not answer.
        """
        upload = self.get(name)
        if not upload.complete:
            raise YardError(
                Reason.UPLOAD_INCOMPLETE,
                f"of the upload {name.id!r} only {upload.committed} of {upload.size} bytes have arrived: send the rest first",
                {"committed_bytes": str(upload.committed), "size_bytes": str(upload.size)},
            )
        if self._copies is not None and (copy := self._copies.open(name, upload.size)) is not None:
            return copy
        return cast("BinaryIO", io.BufferedReader(PartsReader(self._store, self._parts(name), upload.size), _READ_BYTES))

    def delete(self, name: ResourceName) -> None:
        """Deletes an upload; one that is not there is no error. What says that there is one goes last, so that a broken delete can be repeated.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        if self._copies is not None:
            self._copies.delete(name)
        self._store.delete(_complete_key(name))
        self._store.delete_many(entry.key for entry in self._store.list(_parts_prefix(name)))
        self._store.delete(_document_key(name))

    def sweep(self, older_than: timedelta) -> list[ResourceName]:
        """Deletes the uploads of all projects into which nothing has come for long, complete or not.

        Args:
            older_than: For how long, by the store's clock. Longer than a job may wait in the queue with its upload.

        Returns:
            What was deleted.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        swept = []
        for name in list(self._all()):
            entries = list(self._store.list(f"{name}/"))
            newest = max(entries, key=lambda entry: entry.last_modified.timestamp() if entry.last_modified else 0.0, default=None)
            if newest is None:
                continue
            try:
                info = self._store.head(newest.key)
            except NotFound:
                continue
            if info.now - info.last_modified > older_than:
                self.delete(name)
                swept.append(name)
        if self._copies is not None:
            self._copies.sweep(self._is_known)
        return swept

    def _is_known(self, name: ResourceName) -> bool:
        try:
            self._store.head(_document_key(name))
        except NotFound:
            return False
        return True

    def _all(self) -> Iterator[ResourceName]:
        for project in project_ids(self._store):
            prefix = f"projects/{project}/{COLLECTION}/"
            for entry in self._store.list(prefix, delimiter="/"):
                if entry.is_prefix:
                    yield ResourceName(project, COLLECTION, entry.key[len(prefix) : -1])


def _document_key(name: ResourceName) -> str:
    return f"{name}/{DOCUMENT}"


def _complete_key(name: ResourceName) -> str:
    return f"{name}/{COMPLETE}"


def _parts_prefix(name: ResourceName) -> str:
    return f"{name}/{PARTS}"


def _end(parts: list[StoredPart]) -> int:
    return parts[-1].end if parts else 0
