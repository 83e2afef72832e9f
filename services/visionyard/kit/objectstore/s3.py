"""An object store that speaks S3: MinIO, SeaweedFS, RustFS, Ceph, AWS.

Everything goes through minio-py's public calls, except listings (see :mod:`visionyard.kit.objectstore.s3_listing`) and conditional writes: minio-py has
none, and turns ``metadata={"If-None-Match": "*"}`` into user metadata, which overwrites. A presigned PUT sent with the header ``If-None-Match: *`` or
``If-Match: "<etag>"`` does what RFC 9110 section 13.1 says.

What SeaweedFS 4.48 does, tried; ``tests/contract`` holds what this adapter rests on:

- A stale or missing ``If-Match`` and an existing ``If-None-Match: *`` answer 412; of twelve processes racing one wins.
- A folder is something: where ``a/b`` exists, creating ``a`` answers 412 although there is no object ``a``. No key of the layout is another's folder.
- The etag of an object written in one request is its MD5, so writing the same bytes again keeps it. Documents carry a nonce for that reason.
- Listings walk folders, see :mod:`visionyard.kit.objectstore.listing`. An emptied folder may show as a common prefix for a while.
- A range that begins at or behind the end answers 416, for an empty object any range does.
- ``append_object`` replaces the object: never used.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from minio import Minio
from minio.credentials.credentials import Credentials
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from visionyard.kit.objectstore.files import FileBody, check_key, check_range, whole_file
from visionyard.kit.objectstore.listing import in_key_order, server_start
from visionyard.kit.objectstore.port import (
    Conflict,
    Listing,
    NotFound,
    ObjectInfo,
    ObjectStore,
    OutcomeUnknown,
    Stored,
    StoreFull,
    StoreUnavailable,
)
from visionyard.kit.objectstore.s3_errors import check_room, status_of, translated, unavailable
from visionyard.kit.objectstore.s3_listing import Lister
from visionyard.kit.objectstore.stream import ObjectStream, clean_etag, read_info
from visionyard.kit.objectstore.transport import PatientPool, Pool, is_transient, never_sent, patience

if TYPE_CHECKING:  # pydantic costs a spawned process half a second
    from visionyard.kit.config import ServiceSettings

_PART_BYTES = 16 * 1024 * 1024
_ONE_REQUEST_BYTES = 4 << 30
"""A file up to this size is sent in one request, of which S3 takes 5 GiB (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).

A writer that is killed over it leaves nothing; killed over parts it leaves those, which take room for good and which no listing of objects shows. SeaweedFS takes one request
with a tenth less CPU than parts, and this side with a quarter (nothing is hashed twice).
"""
_COPY_BYTES = 1024 * 1024
_PAGE = 1000
_PRESIGNED_FOR = timedelta(hours=1)
_FILE_ATTEMPTS = 3
_OK = 200
_NOT_MODIFIED = 304
_NOT_FOUND = 404
_CONFLICT = 409
_PRECONDITION_FAILED = 412
_RANGE_NOT_SATISFIABLE = 416

list_ = list
"""The built-in, which the method of that name hides in the class."""


@dataclass(frozen=True)
class S3Settings:
    """Where the store is and who we are to it.

    Attributes:
        endpoint: ``host:port``.
        bucket: The bucket; made where it is missing.
        access_key: The access key; empty for a bucket that everybody may read.
        secret_key: The secret key; never shown.
        region: The region that requests are signed for.
        secure: Whether over TLS.
    """

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    secure: bool = False


class S3ObjectStore(ObjectStore):
    """The adapter. Safe for threads; makes no connection before its first call.

    Args:
        settings: The store.
        retry_for_s: How long reads and plain writes are retried before StoreUnavailable: short in services, which answer somebody; long in workers.
            In a stream or a large file it counts from the last progress. A conditional write is retried only while no connection can be made.
        ours: Whether the bucket is made where it is missing; false for one of somebody else's, which is only read.
    """

    def __init__(self, settings: S3Settings, retry_for_s: float = 5.0, *, ours: bool = True) -> None:
        self._endpoint = settings.endpoint
        self._bucket = settings.bucket
        self._region = settings.region
        self._retry_for_s = retry_for_s
        self._pool = PatientPool(retry_for_s)
        self._plain_pool = Pool(retry_for_s)
        self._client = Minio(
            settings.endpoint,
            settings.access_key,
            settings.secret_key,
            secure=settings.secure,
            region=settings.region,
            http_client=self._pool,
        )
        credentials = Credentials(settings.access_key, settings.secret_key) if settings.access_key else None
        self._lister = Lister(self._client, self._pool, credentials, settings.region, settings.bucket)
        self._bucket_lock = threading.Lock()
        self._bucket_is_there = not ours

    # Reads

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Stored:
        """See the port. At or behind the end there are no bytes."""
        check_range(offset, length)
        if length == 0:
            return Stored(self.head(key), b"")
        stream = self._stream(key, offset, length)
        if stream is None:
            return Stored(self.head(key), b"")
        with closing(stream):
            return Stored(stream.info, stream.readall())

    def get_if_changed(self, key: str, etag: str) -> Stored | None:
        """See the port."""
        with self._meaning(key):
            try:
                answer = self._client.get_object(self._bucket, key, request_headers={"If-None-Match": f'"{etag}"'})
            except ServerError as error:
                if error.status_code == _NOT_MODIFIED:
                    return None
                raise
        with closing(self._stream_of(key, answer, 0, None)) as stream:
            return Stored(stream.info, stream.readall())

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        with self._meaning(check_key(key)):
            found = self._client.stat_object(self._bucket, key)
        return read_info(key, found.size or 0, dict(found.metadata or {}))

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See the port. A broken connection is taken up again where it broke."""
        check_range(offset, length)
        stream = None if length == 0 else self._stream(key, offset, length)
        if stream is None:
            self.head(key)
            return io.BytesIO()
        return cast("BinaryIO", io.BufferedReader(stream, _COPY_BYTES))

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """See the port."""
        stream = self._stream(key, 0, None)
        if stream is None:
            raise StoreUnavailable(f"the object store at {self._endpoint} refused to send {key}")
        with closing(stream), whole_file(path) as file:
            while chunk := stream.read(_COPY_BYTES):
                file.write(chunk)
            return stream.info

    def list(self, prefix: str, *, start_after: str = "", delimiter: str = "", limit: int | None = None) -> Iterator[Listing]:
        """See the port."""
        if delimiter not in {"", "/"}:
            raise ValueError(f"the delimiter must be '/' or empty, but is {delimiter!r}")
        if start_after > prefix and not start_after.startswith(prefix):
            return
        # Two more: the store may count start_after itself, and the first one behind the last tells that there are more.
        keys = _PAGE if limit is None else min(limit + 2, _PAGE)
        with self._meaning(prefix), _there():
            pages = self._lister.pages(prefix, server_start(prefix, start_after) if delimiter else start_after, keys, delimiter=delimiter)
            entries = in_key_order(pages) if delimiter else chain.from_iterable(pages)
            left = limit
            for entry in entries:
                if entry.key <= start_after:
                    continue
                if left is not None:
                    if left <= 0:
                        return
                    left -= 1
                yield entry

    # Writes

    def put(self, key: str, data: bytes) -> str:
        """See the port."""
        with self._meaning(check_key(key)):
            return clean_etag(self._client.put_object(self._bucket, key, io.BytesIO(data), len(data), part_size=0).etag)

    def create(self, key: str, data: bytes) -> str:
        """See the port."""
        return self._put_if(key, data, {"If-None-Match": "*"})

    def compare_and_swap(self, key: str, data: bytes, etag: str) -> str:
        """See the port."""
        return self._put_if(key, data, {"If-Match": f'"{etag}"'})

    def _put_if(self, key: str, data: bytes, condition: dict[str, str]) -> str:
        with self._meaning(check_key(key)):
            url = self._client.get_presigned_url("PUT", self._bucket, key, expires=_PRESIGNED_FOR)
        try:
            # 409 (AWS) says that another conditional write was under way and that this one was not done.
            answer = patience(self._retry_for_s, _may_be_sent_again)(self._send, url, data, condition)
        except _BusyError:
            raise Conflict(key) from None
        except HTTPError as error:
            if never_sent(error):
                raise unavailable(self._endpoint, error) from error
            raise OutcomeUnknown(f"writing {key}: {error}") from error
        if answer.status == _OK:
            return clean_etag(answer.headers.get("etag"))
        text = answer.data.decode(errors="replace")
        if answer.status == _PRECONDITION_FAILED or (answer.status == _NOT_FOUND and "NoSuchBucket" not in text):
            raise Conflict(key)
        check_room(self._endpoint, answer.status, text)
        if is_transient(answer.status) or "RequestTimeout" in text:
            raise OutcomeUnknown(f"writing {key}: HTTP status {answer.status}")
        raise StoreUnavailable(f"the object store at {self._endpoint} refused to write: HTTP status {answer.status}, {text[:300]}")

    def _send(self, url: str, data: bytes, condition: dict[str, str]) -> BaseHTTPResponse:
        answer = self._plain_pool.request("PUT", url, body=data, headers=condition)
        if answer.status == _CONFLICT:
            raise _BusyError
        return answer

    def put_file(self, key: str, path: Path) -> str:
        """See the port. Up to 4 GiB in one request, above that in parts of 16 MiB, two at a time."""
        body = FileBody(path, _COPY_BYTES)
        if body.size <= _ONE_REQUEST_BYTES:
            return self._put_body(check_key(key), body)
        return self._put_parts(check_key(key), path)

    def _put_body(self, key: str, body: FileBody) -> str:
        """One presigned request: its payload is not signed, so that the file is read once. Repeated like any plain write."""
        with self._meaning(key):
            url = self._client.get_presigned_url("PUT", self._bucket, key, expires=_PRESIGNED_FOR)
            answer = self._pool.request("PUT", url, body=body, headers={"Content-Length": str(body.size)})
        if answer.status == _OK:
            return clean_etag(answer.headers.get("etag"))
        text = answer.data.decode(errors="replace")
        check_room(self._endpoint, answer.status, text)
        raise StoreUnavailable(f"the object store at {self._endpoint} refused to write {key}: HTTP status {answer.status}, {text[:300]}")

    def _put_parts(self, key: str, path: Path) -> str:
        for attempt in range(_FILE_ATTEMPTS):
            try:
                with self._meaning(key):
                    return clean_etag(
                        self._client.fput_object(self._bucket, key, str(path), part_size=_PART_BYTES, num_parallel_uploads=2).etag,
                    )
            except (StoreFull, OSError):
                raise
            except (StoreUnavailable, NotFound):
                # The one request that is not repeated by itself, completing the parts, may have got lost, or its answer; then the parts are gone.
                if attempt == _FILE_ATTEMPTS - 1:
                    raise
        raise AssertionError("the loop returns or raises")

    def delete(self, key: str) -> None:
        """See the port."""
        with self._meaning(check_key(key)):
            self._client.remove_object(self._bucket, key)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See the port. A request for each 1,000."""
        with self._meaning(""):
            for problem in self._client.remove_objects(self._bucket, [DeleteObject(check_key(key)) for key in keys]):
                raise StoreUnavailable(f"the object store at {self._endpoint} did not delete {problem.name}: {problem.message}")

    # What is shared

    def ensure_bucket(self) -> None:
        """Makes the bucket where it is missing. The first call of any other method does it; a service calls it early to fail early.

        Raises:
            StoreUnavailable: the store does not answer, or refuses.
        """
        with self._bucket_lock:
            if self._bucket_is_there:
                return
            with translated(self._endpoint, ""):
                if not self._client.bucket_exists(self._bucket):
                    try:
                        self._client.make_bucket(self._bucket, self._region)
                    except S3Error as error:
                        if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                            raise
            self._bucket_is_there = True

    def _stream(self, key: str, offset: int, length: int | None) -> ObjectStream | None:
        """The object's bytes from ``offset`` on, or None where there are none because it ends before."""
        answer = self._fetch(key, offset, length)
        return None if answer is None else self._stream_of(key, answer, offset, length)

    def _stream_of(self, key: str, answer: BaseHTTPResponse, offset: int, length: int | None) -> ObjectStream:
        return ObjectStream(key, answer, partial(self._fetch, key), offset, length, self._retry_for_s)

    def _fetch(self, key: str, offset: int, length: int | None, etag: str | None = None) -> BaseHTTPResponse | None:
        """One ranged read, its body not read yet; None where the object ends at or before ``offset``.

        Args:
            key: The object.
            offset: Where to begin, in bytes.
            length: How many bytes at most; None for all.
            etag: If given, the object must still be this one.

        Raises:
            NotFound: no such object.
            StoreUnavailable: the store does not answer, or the object is another one now.
        """
        headers: dict[str, str | list_[str] | tuple[str]] = {"If-Match": f'"{etag}"'} if etag else {}
        if offset or length is not None:
            headers["Range"] = f"bytes={offset}-" if length is None else f"bytes={offset}-{offset + length - 1}"
        with self._meaning(check_key(key)):
            try:
                return self._client.get_object(self._bucket, key, request_headers=headers)
            except S3Error as error:
                if status_of(error) == _RANGE_NOT_SATISFIABLE:
                    return None
                raise

    @contextmanager
    def _meaning(self, key: str) -> Iterator[None]:
        """Sees to the bucket, then turns minio-py's and urllib3's errors into the port's."""
        if not self._bucket_is_there:
            self.ensure_bucket()
        with translated(self._endpoint, key):
            yield


@contextmanager
def _there() -> Iterator[None]:
    """A listing finds nothing, but is always there: where the store says that it is not, it is the bucket that is gone, or no store that answers."""
    try:
        yield
    except S3Error as error:
        if status_of(error) == _NOT_FOUND and error.code != "NoSuchBucket":
            raise MinioException(f"{error.code}: {error.message}") from error
        raise


class _BusyError(Exception):
    """Another conditional write was under way; ours was not done."""


def _may_be_sent_again(error: BaseException) -> bool:
    return never_sent(error) or isinstance(error, _BusyError)


def open_store(settings: ServiceSettings, retry_for_s: float = 5.0) -> S3ObjectStore:
    """The bucket that a service's or worker's settings name. Makes no connection yet.

    Args:
        settings: The service's settings.
        retry_for_s: See :class:`S3ObjectStore`.
    """
    return S3ObjectStore(
        S3Settings(
            endpoint=settings.s3_endpoint,
            bucket=settings.s3_bucket,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key.get_secret_value(),
            region=settings.s3_region,
            secure=settings.s3_secure,
        ),
        retry_for_s,
    )
