"""Objects and folders of other buckets: those that the list names, at the one endpoint that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import format_datetime
from typing import BinaryIO

from minio.error import S3Error

from visionyard.dataset.fetching.addresses import SourceUrl, unreachable
from visionyard.dataset.fetching.port import Answer, SourceBroken
from visionyard.kit.errors import YardError
from visionyard.kit.objectstore.files import check_key
from visionyard.kit.objectstore.port import Listing, NotFound, StoreUnavailable
from visionyard.kit.objectstore.s3 import S3ObjectStore, S3Settings
from visionyard.kit.objectstore.s3_errors import status_of
from visionyard.kit.objectstore.transport import is_transient

_RETRY_S = 5.0
"""Short, as whoever waits looks in between whether to go on."""
_CLIENT_ERROR, _TIMED_OUT = 400, 408


@dataclass(frozen=True)
class S3Access:
    """Where ``s3://`` sources lie, and who we are there.

    Attributes:
        endpoint: ``host:port``.
        access_key: Empty: everybody.
        secret_key: Never shown.
        region: That requests are signed for.
        secure: Whether over TLS.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str
    secure: bool


class S3Source:
    """One object, or the objects of one folder, of another bucket. Nothing is ever written there.

    Args:
        url: The address; allowed.
        access: Where it lies.
    """

    def __init__(self, url: SourceUrl, access: S3Access) -> None:
        self._url = url
        settings = S3Settings(access.endpoint, url.host, access.access_key, access.secret_key, access.region, access.secure)
        self._store = S3ObjectStore(settings, _RETRY_S, ours=False)

    def is_object(self) -> bool:
        """Whether the address names an object; else it is a folder, if anything.

        Raises:
            SourceBroken: trying again may help.
            YardError: it will not.
        """
        if not self._url.path or self._url.path.endswith("/"):
            return False
        with self._meaning():
            try:
                self._store.head(check_key(self._url.path))
            except NotFound:
                return False
        return True

    @property
    def prefix(self) -> str:
        """What the keys of the folder begin with."""
        return f"{self._url.path.removesuffix('/')}/" if self._url.path else ""

    def list(self) -> Iterator[Listing]:
        """The objects of the folder.

        Raises:
            SourceBroken: trying again may help, from the beginning.
            YardError: it will not.
        """
        with self._meaning():
            yield from self._store.list(self.prefix)

    def get(self, entry: Listing) -> bytes:
        """The bytes of a listed object.

        Raises:
            SourceBroken: trying again may help.
            YardError: it will not; the object is another one than was listed.
        """
        with self._meaning():
            stored = self._store.get(entry.key, 0, entry.size)
        if (stored.info.etag, stored.info.size) != (entry.etag, entry.size):
            raise unreachable(
                self._url, f"holds {entry.key}, which was replaced while the folder was read: import it again when nobody writes to it"
            )
        return stored.data

    @contextmanager
    def open(self, offset: int, validator: str) -> Iterator[Answer]:
        """See :class:`visionyard.dataset.fetching.port.Remote`. Its etag is looked at before and after, and by the stream wherever it goes on."""
        with self._meaning():
            info = self._store.head(check_key(self._url.path))
            begin = offset if info.etag == validator else 0
            stream = self._store.open(self._url.path, begin)
        with closing(stream):
            modified = format_datetime(info.last_modified.astimezone(UTC), usegmt=True)
            yield Answer(begin, info.size, info.etag, info.etag, modified, lambda size: self._read(stream, size, info.etag))

    def _read(self, stream: BinaryIO, size: int, etag: str) -> bytes:
        with self._meaning():
            data = stream.read(size)
            if not data and self._store.head(self._url.path).etag != etag:
                raise SourceBroken("was replaced while it was fetched")
        return data

    @contextmanager
    def _meaning(self) -> Iterator[None]:
        """Tells the source's failures from those of the service's own store."""
        try:
            yield
        except NotFound as error:
            raise unreachable(self._url, "is not there: look whether bucket and key are right") from error
        except ValueError as error:
            raise unreachable(self._url, f"has a key that is not read ({error})") from error
        except StoreUnavailable as error:
            if _is_final(error):
                raise _refused(self._url, error) from error
            raise SourceBroken(f"cannot be read ({error})") from error


def _is_final(error: StoreUnavailable) -> bool:
    """Whether the endpoint answered, and will answer so again: no such bucket, access denied, another key's signature."""
    cause = error.__cause__
    if not isinstance(cause, S3Error):
        return False
    status = status_of(cause)
    return status >= _CLIENT_ERROR and status != _TIMED_OUT and not is_transient(status)


def _refused(url: SourceUrl, error: StoreUnavailable) -> YardError:
    return unreachable(
        url, f"cannot be read ({error}): look whether the bucket is right and the keys in VISIONYARD_IMPORT_S3_ACCESS_KEY may read it"
    )
