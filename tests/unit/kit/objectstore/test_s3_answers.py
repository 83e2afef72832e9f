"""What the S3 adapter makes of answers that a SeaweedFS at hand does not give: MinIO's, AWS's, a proxy's."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from visionyard.kit.objectstore.port import Conflict, NotFound, OutcomeUnknown, StoreFull, StoreUnavailable
from visionyard.kit.objectstore.s3 import S3ObjectStore, S3Settings


def xml(code):
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>as told</Message><Resource>/b/k</Resource></Error>'.encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.partition("?")[0]
        if path in {"/bucket", "/bucket/"}:
            status, body, headers = 200, b"", {}
        else:
            self.server.seen.append((self.command, self.headers.get("if-match"), self.headers.get("if-none-match")))
            status, body, headers = self.server.script.pop(0)
        self.send_response_only(status)
        if headers.get("date") != "":
            self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", headers.get("type", "application/xml"))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads = True
        made.script, made.seen = [], []
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def store(server):
    made = S3ObjectStore(S3Settings(f"127.0.0.1:{server.server_port}", "bucket", "access", "secretsecret"), retry_for_s=2)
    yield made
    made._pool.clear()
    made._plain_pool.clear()


def script(server, *answers):
    server.script[:] = [(status, body if isinstance(body, bytes) else xml(body), {}) for status, body in answers]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([(200, b"")], None),
        ([(412, "PreconditionFailed")], Conflict),
        ([(409, "ConditionalRequestConflict"), (200, b"")], None),
        ([(409, "ConditionalRequestConflict"), (412, "PreconditionFailed")], Conflict),
        ([(404, "NoSuchKey")], Conflict),
        ([(404, "NoSuchBucket")], StoreUnavailable),
        ([(500, "InternalError")], OutcomeUnknown),
        ([(503, "SlowDown")], OutcomeUnknown),
        ([(502, b"<html>bad gateway</html>")], OutcomeUnknown),
        ([(400, "RequestTimeout")], OutcomeUnknown),
        ([(403, "AccessDenied")], StoreUnavailable),
        ([(507, "XMinioStorageFull")], StoreFull),
    ],
)
@pytest.mark.parametrize("kind", ["create", "compare_and_swap"])
def test_conditional_writes(server, store, answers, expected, kind):
    script(server, *answers)

    def write():
        return store.create("k", b"1") if kind == "create" else store.compare_and_swap("k", b"1", "old")

    if expected is None:
        assert write() == "e"
    else:
        with pytest.raises(expected) as error:
            write()
        assert error.type is expected
    assert server.script == []
    assert set(server.seen) == {("PUT", None, "*") if kind == "create" else ("PUT", '"old"', None)}


@pytest.mark.parametrize(
    "passing", [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests"), (502, b"<html>bad gateway</html>")]
)
def test_reads_and_plain_writes_outlast_passing_failures(server, store, passing):
    for call, good in ((lambda: store.get("k").data, b"data"), (lambda: store.put("k", b"data"), b""), (lambda: store.delete("k"), b"")):
        script(server, passing, passing, (200, good))
        call()
        assert server.script == []


@pytest.mark.parametrize("kind", ["get", "put"])
def test_what_will_not_pass_is_not_repeated(server, store, kind):
    for answer, expected in (((403, "AccessDenied"), StoreUnavailable), ((507, "XMinioStorageFull"), StoreFull)):
        script(server, answer, (200, b""))
        with pytest.raises(expected):
            store.get("k") if kind == "get" else store.put("k", b"1")
        assert len(server.script) == 1


def test_a_failure_that_lasts_ends_in_time(server, store):
    script(server, *[(503, "SlowDown")] * 100)
    begin = time.monotonic()
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        store.get("k")
    assert time.monotonic() - begin < 4
    assert len(server.script) < 99


def test_a_store_that_does_not_tell_the_time(server, store):
    server.script[:] = [(200, b"data", {"date": ""})]
    with pytest.raises(StoreUnavailable, match="time"):
        store.get("k")


def test_an_answer_that_is_not_s3(server, store):
    server.script[:] = [(404, b"<html>not here</html>", {"type": "text/html"})]
    with pytest.raises(StoreUnavailable, match="no S3 answer"):
        store.get("k")


def test_a_head_that_finds_nothing(server, store):
    script(server, (404, b""))
    with pytest.raises(NotFound):
        store.head("k")


@pytest.fixture
def listed(store):
    """The server answers the bucket's own address by itself; here the listing is asked for at another."""
    store._lister._address = store._lister._address._replace(path="/listing")
    return lambda: list(store.list("p/"))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, "NoSuchKey"), "NoSuchKey"),
        ((404, "NoSuchBucket"), "NoSuchBucket"),
        ((403, "AccessDenied"), "AccessDenied"),
        ((200, b"<html><body>Sign in</body></html>"), "no S3 answer"),
        ((404, b"<html>not here</html>"), "no S3 answer"),
    ],
)
def test_what_is_no_listing_is_a_store_that_is_away_never_an_empty_bucket(server, listed, answer, says):
    script(server, answer)
    with pytest.raises(StoreUnavailable, match=says):
        listed()


def test_a_listing_outlasts_passing_failures(server, listed):
    script(server, (503, "SlowDown"), (502, b"<html>bad gateway</html>"), (200, b"<ListBucketResult></ListBucketResult>"))
    assert listed() == []
    assert server.script == []
