"""What minio-py's and urllib3's errors mean in the port's terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from minio.error import MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from visionyard.kit.objectstore.port import NotFound, StoreFull, StoreUnavailable

_NOT_FOUND = 404
_PRECONDITION_FAILED = 412
_INSUFFICIENT_STORAGE = 507
# MinIO says XMinioStorageFull with 507. SeaweedFS 4.48 answers InternalError, as to anything that goes wrong inside (tried), so with it a full disk
# looks like a store that is away.
_FULL_CODES = ("StorageFull", "InsufficientStorage")


def status_of(error: S3Error) -> int:
    """The HTTP status that an S3 error came with."""
    return int(error.response.status)


def check_room(endpoint: str, status: int, text: str) -> None:
    """Raises StoreFull if an answer says that there is no room left."""
    if status == _INSUFFICIENT_STORAGE or any(code in text for code in _FULL_CODES):
        raise StoreFull(f"the object store at {endpoint} has no room left: free some on its disk")


def unavailable(endpoint: str, error: Exception) -> StoreUnavailable:
    """The store's failure in a sentence."""
    if isinstance(error, S3Error):
        hint = " (its log says why; a full disk is one cause)" if error.code == "InternalError" else ""
        return StoreUnavailable(f"the object store at {endpoint} answered {error.code}: {error.message}{hint}")
    what = "does not answer" if isinstance(error, HTTPError | ServerError) else "sent no S3 answer"
    return StoreUnavailable(f"the object store at {endpoint} {what}: {str(error)[:300]}")


@contextmanager
def translated(endpoint: str, key: str) -> Iterator[None]:
    """Turns the errors of its block into the port's."""
    try:
        yield
    except S3Error as error:
        _raise_meaning(endpoint, error, key)
    except (HTTPError, MinioException) as error:
        check_room(endpoint, error.status_code if isinstance(error, ServerError) else 0, str(error))
        raise unavailable(endpoint, error) from error


def _raise_meaning(endpoint: str, error: S3Error, key: str) -> NoReturn:
    status = status_of(error)
    if status == _NOT_FOUND and error.code != "NoSuchBucket":
        raise NotFound(key) from error
    if status == _PRECONDITION_FAILED:
        raise StoreUnavailable(f"{key} was replaced while it was read") from error
    check_room(endpoint, status, f"{error.code} {error.message}")
    raise unavailable(endpoint, error) from error
