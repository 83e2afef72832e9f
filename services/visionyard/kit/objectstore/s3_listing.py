"""A bucket's listings, page by page as the store answers them: ListObjectsV2 (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).

minio-py lists too, but always 1,000 entries at once, hides where a page ends, and takes 40 ms of Python for the XML of 1,000 entries that take
4 ms here (docs/performance.md): a service that lists a long queue each second would do little else. Its signatures and its errors are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from urllib.parse import SplitResult, quote, unquote_plus, urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree as ET

from minio import Minio
from minio.credentials.credentials import Credentials
from minio.error import InvalidResponseError, MinioException, S3Error
from minio.signer import presign_v4
from urllib3.response import BaseHTTPResponse

from visionyard.kit.objectstore.port import Listing
from visionyard.kit.objectstore.stream import clean_etag
from visionyard.kit.objectstore.transport import Pool

_SIGNED_FOR = timedelta(hours=1)
_OK = 200


class Lister:
    """Lists one bucket.

    Args:
        client: Knows how the store's addresses are made (a path for each bucket, or a host, as AWS has it).
        pool: Sends the requests.
        credentials: Sign them; None where everybody may list the bucket.
        region: The region that they are signed for.
        bucket: The bucket.
    """

    def __init__(self, client: Minio, pool: Pool, credentials: Credentials | None, region: str, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._pool = pool
        self._credentials = credentials
        self._region = region

    @cached_property
    def _address(self) -> SplitResult:
        """The bucket's: made of an object's, since a bucket's is not told; the object's name is the last character of the path."""
        address = urlsplit(self._client.get_presigned_url("GET", self._bucket, "k"))
        return address._replace(path=address.path[:-1].rstrip("/") or "/", query="")

    def pages(self, prefix: str, start_after: str, keys: int, *, delimiter: str) -> Iterator[list[Listing]]:
        """The pages; a request for each, made when it is asked for.

        Args:
            prefix: What the keys begin with.
            start_after: A key behind which to begin, or an empty string.
            keys: How many entries to ask for at once; 1,000 at most.
            delimiter: See :meth:`.port.ObjectStore.list`.

        Raises:
            MinioException: the store refused, or what answered is no store's listing.
            ValueError: No bucket can have this name.
        """
        query = {"list-type": "2", "delimiter": delimiter, "encoding-type": "url", "max-keys": str(keys), "prefix": prefix}
        if start_after:
            query["start-after"] = start_after
        while True:
            entries, goes_on = _read(self._get(query))
            yield entries
            if not goes_on:
                return
            query.pop("start-after", None)
            if query.get("continuation-token") == goes_on:
                raise MinioException("its listing goes on for ever: the same page is to be followed by itself")
            query["continuation-token"] = goes_on

    def _get(self, query: dict[str, str]) -> BaseHTTPResponse:
        unsigned = self._address._replace(query=urlencode(query, quote_via=quote, safe=""))
        url = self._sign(unsigned, self._credentials) if self._credentials is not None else unsigned
        answer = self._pool.request("GET", urlunsplit(url))
        if answer.status != _OK:
            raise _error(answer)
        return answer

    def _sign(self, url: SplitResult, credentials: Credentials) -> SplitResult:
        return presign_v4(
            method="GET",
            url=url,
            region=self._region,
            credentials=credentials,
            date=datetime.now(UTC),
            expires=int(_SIGNED_FOR.total_seconds()),
        )


def _error(answer: BaseHTTPResponse) -> MinioException:
    """What the store said instead of a listing."""
    try:
        error = S3Error.fromxml(answer)
    except (ET.ParseError, UnicodeDecodeError):
        return _no_listing(answer)
    return error if error.code else _no_listing(answer)


def _no_listing(answer: BaseHTTPResponse) -> InvalidResponseError:
    return InvalidResponseError(answer.status, answer.headers.get("content-type"), answer.data[:300].decode(errors="replace"))


def _read(answer: BaseHTTPResponse) -> tuple[list[Listing], str]:
    """A page's entries, folders behind objects, and the token with which it goes on; an empty one at the end.

    Whatever is no listing must not pass for an empty one: what nobody lists is collected, and a machine on which nothing waits is switched off.
    """
    try:
        root = ET.fromstring(answer.data)  # noqa: S314 - the store's, as minio-py reads it; expat bounds what entities become
        space, _, name = root.tag.rpartition("}")  # "{http://s3.amazonaws.com/doc/2006-03-01/", or nothing
        if name == "ListBucketResult":
            return _entries(root, f"{space}}}" if space else "")
    except (ET.ParseError, ValueError) as error:
        raise _no_listing(answer) from error
    raise _no_listing(answer)


def _entries(root: ET.Element, space: str) -> tuple[list[Listing], str]:
    quoted = root.findtext(f"{space}EncodingType") == "url"  # SeaweedFS does not encode, and does not say so

    def key_in(element: ET.Element, name: str) -> str:
        text = element.findtext(space + name)
        if not text:
            raise ValueError(f"an entry without a {name}")
        return unquote_plus(text) if quoted else text

    entries = [
        _entry(
            key_in(element, "Key"),
            element.findtext(f"{space}Size") or "0",
            element.findtext(f"{space}ETag", ""),
            element.findtext(f"{space}LastModified"),
        )
        for element in root.iterfind(f"{space}Contents")
    ]
    folders = [Listing(key_in(element, "Prefix"), 0, "", None, is_prefix=True) for element in root.iterfind(f"{space}CommonPrefixes")]
    goes_on = root.findtext(f"{space}IsTruncated", "").strip().lower() == "true"
    token = root.findtext(f"{space}NextContinuationToken", "")
    if goes_on and not token:
        raise ValueError("a page that is not the last, and does not say how to go on")
    return entries + folders, token if goes_on else ""


def _entry(key: str, size: str, etag: str, modified: str | None) -> Listing:
    if key.endswith("/"):  # the empty objects that some programs write for folders
        return Listing(key, 0, "", None, is_prefix=True)
    when = datetime.fromisoformat(modified) if modified else None
    if when is not None and when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return Listing(key, int(size), clean_etag(etag), when)
