"""Listings as AWS and MinIO answer them; SeaweedFS's own are held by tests/contract."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.error import InvalidResponseError, MinioException, S3Error

from visionyard.kit.objectstore.port import Listing
from visionyard.kit.objectstore.s3_listing import Lister

AWS = "http://s3.amazonaws.com/doc/2006-03-01/"
OBJECT = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;abc&quot;</ETag><Size>7</Size></Contents>"
)


class Answers:
    """A pool that gives what it is told."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def request(self, method, url):
        self.asked.append((method, urlsplit(url)))
        status, body = self.answers.pop(0)
        return urllib3.HTTPResponse(body.encode(), status=status, headers={"content-type": "application/xml"})


def listing(body, *, space=f' xmlns="{AWS}"'):
    return 200, f'<?xml version="1.0"?>\n<ListBucketResult{space}><Name>b</Name>{body}</ListBucketResult>'


def lister(pool, endpoint="store:9000"):
    return Lister(Minio(endpoint, "key", "secret", region="eu-north-1"), pool, Credentials("key", "secret"), "eu-north-1", "bucket")


def pages(*answers, start_after="", delimiter="", keys=2):
    pool = Answers(*answers)
    return list(lister(pool).pages("p/ü", start_after, keys, delimiter=delimiter)), pool


@pytest.mark.parametrize("space", [f' xmlns="{AWS}"', "", ' xmlns="http://elsewhere/"'])
def test_objects_and_folders(space):
    body = (
        f"<EncodingType>url</EncodingType>{OBJECT.format(key='p/a%20b+c%2Fd')}<CommonPrefixes><Prefix>p/%C3%BC/</Prefix></CommonPrefixes>"
    )
    found, _ = pages(listing(body, space=space), delimiter="/")
    when = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert found == [[Listing("p/a b c/d", 7, "abc", when), Listing("p/ü/", 0, "", None, is_prefix=True)]]


def test_keys_that_are_not_encoded_stay_as_they_are():
    found, _ = pages(listing(OBJECT.format(key="p/a%20b+c")))
    assert [entry.key for entry in found[0]] == ["p/a%20b+c"]


def test_the_empty_object_of_a_folder_is_a_folder():
    found, _ = pages(listing(OBJECT.format(key="p/x/")))
    assert found == [[Listing("p/x/", 0, "", None, is_prefix=True)]]


def test_an_empty_listing():
    assert pages(listing("<IsTruncated>false</IsTruncated>"))[0] == [[]]


def test_it_goes_on_with_the_token_and_asks_for_so_many():
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>a+/=</NextContinuationToken>"
    found, pool = pages(listing(OBJECT.format(key="p/ü1") + more), listing(OBJECT.format(key="p/ü2")), start_after="p/ü0", delimiter="/")
    assert [[entry.key for entry in page] for page in found] == [["p/ü1"], ["p/ü2"]]
    first, second = (parse_qs(url.query) for _, url in pool.asked)
    asked = {"list-type": ["2"], "delimiter": ["/"], "encoding-type": ["url"], "max-keys": ["2"], "prefix": ["p/ü"]}
    assert asked.items() <= first.items()
    assert asked.items() <= second.items()
    assert (first["start-after"], first.get("continuation-token")) == (["p/ü0"], None)
    assert (second.get("start-after"), second["continuation-token"]) == (None, ["a+/="])


def test_a_page_is_asked_for_when_it_is_wanted():
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    pool = Answers(listing(OBJECT.format(key="p/1") + more))
    assert len(next(lister(pool).pages("p/", "", 1, delimiter=""))) == 1
    assert len(pool.asked) == 1


@pytest.mark.parametrize(
    ("endpoint", "host", "path"),
    [("store:9000", "store:9000", "/bucket"), ("s3.amazonaws.com", "bucket.s3.eu-north-1.amazonaws.com", "/")],
)
def test_the_address_is_a_path_or_a_host_as_the_store_has_it(endpoint, host, path):
    pool = Answers(listing(""))
    list(lister(pool, endpoint).pages("", "", 1000, delimiter=""))
    [(method, url)] = pool.asked
    assert (method, url.netloc, url.path) == ("GET", host, path)
    assert "eu-north-1" in parse_qs(url.query)["X-Amz-Credential"][0]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ((403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"), S3Error, "AccessDenied"),
        ((404, "<html>not here</html>"), InvalidResponseError, "not here"),
        ((502, "bad gateway"), InvalidResponseError, "bad gateway"),
        ((200, "<html><br></html>"), InvalidResponseError, "<br>"),
        ((200, '<html xmlns="http://www.w3.org/1999/xhtml"><body>Sign in</body></html>'), InvalidResponseError, "Sign in"),
        ((200, "<Error><Code>SlowDown</Code></Error>"), InvalidResponseError, "SlowDown"),
        ((200, "<ListAllMyBucketsResult/>"), InvalidResponseError, "ListAllMyBuckets"),
        (listing("<IsTruncated>true</IsTruncated>"), InvalidResponseError, "ListBucketResult"),
        (listing("<Contents><Key>p/1</Key><Size>many</Size></Contents>"), InvalidResponseError, "many"),
        (listing("<Contents><Key>p/1</Key><LastModified>yesterday</LastModified></Contents>"), InvalidResponseError, "yesterday"),
        (listing("<Contents><Size>1</Size></Contents>"), InvalidResponseError, "ListBucketResult"),
    ],
)
def test_what_is_no_listing_is_an_error(answer, error, says):
    with pytest.raises(error, match=says):
        pages(answer)


def test_a_listing_that_goes_on_with_itself_is_no_listing():
    again = listing(OBJECT.format(key="p/1") + "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>")
    with pytest.raises(MinioException, match="for ever"):
        pages(again, again, again)


def test_a_time_without_a_zone_is_universal():
    body = "<Contents><Key>p/1</Key><LastModified>2026-01-02T03:04:05</LastModified></Contents>"
    assert pages(listing(body))[0][0][0].last_modified == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_bucket_that_everybody_may_list_is_asked_without_a_signature():
    pool = Answers(listing(""))
    assert list(Lister(Minio("store:9000"), pool, None, "eu-north-1", "bucket").pages("p/", "", 10, delimiter="")) == [[]]
    [(_, url)] = pool.asked
    assert (url.path, "X-Amz-Signature" in url.query) == ("/bucket", False)
