"""Downloads of weights from a real server on loopback, well behaved and not."""

import pytest
from web import serving

from visionyard.client import fetching
from visionyard.client.errors import ClientError
from visionyard.client.fetching import Download
from visionyard.kit.web.urls import Url

DATA = b"PK\x03\x04" + bytes(range(256)) * 4000


@pytest.fixture
def web():
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(fetching, "_FIRST_WAIT_S", 0.01)


class Fetch:
    """A download into a folder of the test."""

    def __init__(self, folder):
        self.path = folder / "one" / "w.pt"
        self.heard = []

    def run(self, address, **limits):
        download = Download(Url.parse(address), self.path, lambda: None, lambda done, total: self.heard.append((done, total)), **limits)
        download.run()
        return download


@pytest.fixture
def fetch(tmp_path):
    return Fetch(tmp_path)


def refused(fetch, address, **limits):
    with pytest.raises(ClientError) as error:
        fetch.run(address, **limits)
    return error.value


def test_a_file_that_breaks_off_goes_on_where_it_was(web, fetch):
    download = fetch.run(web.file("/w.pt", DATA, drop_after=len(DATA) // 3))
    assert fetch.path.read_bytes() == DATA
    assert fetch.heard[-1] == (len(DATA), len(DATA))
    begun = [int(headers["Range"].removeprefix("bytes=").removesuffix("-")) for _, headers in web.asked if "Range" in headers]
    assert begun == sorted(begun)
    assert begun[0] > 0
    download.discard()
    assert not fetch.path.parent.exists()


def test_another_run_goes_on_too_and_asks_for_nothing_once_it_is_whole(web, fetch):
    web.file("/half.pt", DATA, drop_after=len(DATA) // 2)

    def once(request):
        web.serve("/w.pt", lambda late: late.head(503, Content_Length=0))
        web.behaviours["/half.pt"](request)

    address = web.serve("/w.pt", once)
    assert "answers 503" in refused(fetch, address).message
    assert fetch.path.stat().st_size == len(DATA) // 2
    web.file("/w.pt", DATA)
    fetch.run(address)
    assert fetch.path.read_bytes() == DATA
    assert web.asked[-1][1]["Range"] == f"bytes={len(DATA) // 2}-"
    web.serve("/w.pt", lambda request: request.head(416, Content_Length=0, Content_Range=f"bytes */{len(DATA)}"))
    fetch.run(address)
    assert fetch.path.read_bytes() == DATA


def test_a_file_that_has_changed_meanwhile_is_fetched_anew(web, fetch):
    address = web.file("/w.pt", b"PK\x03\x04 old" * 1000, etag='"old"')
    fetch.run(address)
    web.file("/w.pt", DATA, etag='"new"')
    fetch.run(address)
    assert fetch.path.read_bytes() == DATA


def test_redirects_are_followed_but_not_for_ever_and_not_out_of_the_web(web, fetch):
    web.file("/real.pt", DATA)
    fetch.run(web.serve("/w.pt", lambda request: request.head(302, Location="/real.pt", Content_Length=0)))
    assert fetch.path.read_bytes() == DATA
    assert "more than 5" in refused(fetch, web.serve("/r", lambda request: request.head(302, Location="/r", Content_Length=0))).message
    for place in ("file:///etc/passwd", "ftp://host/x", "s3://bucket/x"):
        web.serve("/out", lambda request, place=place: request.head(302, Location=place, Content_Length=0))
        assert "redirects to" in refused(fetch, f"{web.root}/out").message


def test_the_first_host_may_be_private_and_where_it_leads_to_may_not(web, fetch):
    port = web.root.rpartition(":")[2]
    web.serve("/w.pt", lambda request: request.head(302, Location=f"http://localhost:{port}/real.pt", Content_Length=0))
    error = refused(fetch, f"{web.root}/w.pt")
    assert error.reason == "SOURCE_UNREACHABLE"
    assert "localhost" in error.message


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("text/html; charset=utf-8", b"<html>", "WEIGHTS_UNREADABLE"),
        ("application/octet-stream", b"version https://git-lfs", "WEIGHTS_UNREADABLE"),
    ],
)
def test_what_is_no_weight_file_is_refused_and_leaves_nothing(web, fetch, kind, data, reason):
    def answer(request):
        request.head(200, Content_Type=kind, Content_Length=len(data))
        request.wfile.write(data)

    assert refused(fetch, web.serve("/w.pt", answer)).reason == reason
    assert not fetch.path.parent.exists()


def test_what_is_too_large_is_refused_told_or_not(web, fetch):
    assert refused(fetch, web.file("/w.pt", DATA), limit_bytes=1000).reason == "REQUEST_TOO_LARGE"

    def endless(request):
        request.head(200, Transfer_Encoding="chunked")
        while not web.ended.is_set():
            request.chunk(DATA)

    assert refused(fetch, web.serve("/e.pt", endless), limit_bytes=4 * len(DATA)).reason == "REQUEST_TOO_LARGE"
    assert not fetch.path.parent.exists()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_told_at_once(web, fetch, status):
    error = refused(fetch, web.serve("/w.pt", lambda request: request.head(status, Content_Length=0)))
    assert f"answers {status}" in error.message
    assert len(web.asked) == 1
    assert not fetch.path.parent.exists(), "nothing came, and nothing is left"


def test_a_server_that_is_not_there_is_told_without_the_query(fetch, free_port):
    error = refused(fetch, f"http://127.0.0.1:{free_port}/w.pt?key=secret")
    assert error.reason == "SOURCE_UNREACHABLE"
    assert "secret" not in error.message


@pytest.fixture
def free_port():
    with serving() as found:
        return int(found.root.rpartition(":")[2])


def test_whoever_asks_to_stop_is_heard_while_the_server_says_nothing(web, tmp_path):
    stop = []

    def silent(request):
        request.head(200, Content_Length=len(DATA))
        request.wfile.write(DATA[:1000])
        request.wfile.flush()
        stop.append(1)
        web.ended.wait(60)

    def check():
        if stop:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Download(Url.parse(web.serve("/w.pt", silent)), tmp_path / "f" / "w.pt", check, lambda *_: None).run()
