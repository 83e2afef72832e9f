"""Sources fetched from real servers: an HTTP server that fails in every way, and other buckets of a real SeaweedFS."""

import gzip
import hashlib
import os
import shutil
import socket
import ssl
import threading
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate

import pytest
from certificates import make_certificate
from minio import Minio
from tests.unit.dataset.conftest import zipped
from web import serving

from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.dataset.fetching import http
from visionyard.dataset.fetching.addresses import AllowList
from visionyard.dataset.fetching.patience import FetchLimits
from visionyard.dataset.fetching.s3 import S3Access
from visionyard.dataset.fetching.sources import AllowedSources
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.web import connecting
from visionyard.local import seaweed as weed_process

FILES = {f"images/{i}.jpg": os.urandom(40_000) for i in range(20)} | {"labels/1.txt": b"0 .5 .5 .1 .1\n"}
DATA = zipped(FILES)
QUICK = FetchLimits(patience_s=0.6, window_s=0.3, first_wait_s=0.01, longest_wait_s=0.05, reserve_bytes=0, restarts=3)


class Stop(Exception):
    pass


@pytest.fixture
def web():
    with serving() as running:
        yield running


class Fetcher:
    """Fetches into a folder and reads the archive."""

    def __init__(self, folder, access):
        self.folder = folder
        self.access = access
        self.limits = QUICK
        self.allow = "http://127.0.0.1 https://127.0.0.1"
        self.private = ""
        self.steps = []
        self.stops = lambda: None

    @contextmanager
    def opened(self, url, archive_limits=None):
        sources = AllowedSources(AllowList.parse(self.allow, self.private), self.access, self.limits)
        with sources.open(url, self.folder, archive_limits or ArchiveLimits(), self.stops, lambda *step: self.steps.append(step)) as got:
            yield got
        assert list(self.folder.iterdir()) == []

    def read(self, url):
        with self.opened(url) as (archive, fetched):
            return {entry.path: data for entry, data in archive.read(lambda _: True)}, fetched

    def good(self, url):
        files, fetched = self.read(url)
        assert files == FILES
        return fetched

    def refused(self, url):
        with pytest.raises(YardError) as caught, self.opened(url):
            pass
        assert list(self.folder.iterdir()) == []
        assert url.partition("?")[0] in caught.value.message
        return caught.value


@pytest.fixture
def fetcher(tmp_path, web):
    (tmp_path / "scratch").mkdir()
    made = Fetcher(tmp_path / "scratch", None)
    made.allow = web.root
    return made


def test_a_file_comes_whole_with_its_provenance(web, fetcher):
    url = web.file("/sets/cones.zip", DATA)
    fetched = fetcher.good(url + "?signature=secret")
    assert fetched.to_json() == {
        "url": url,
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "size_bytes": len(DATA),
        "etag": '"one"',
        "last_modified": "",
        "objects": 1,
    }
    assert {step[0] for step in fetcher.steps} == {"fetching"}
    assert fetcher.steps[-1] == ("fetching", len(DATA), len(DATA), "bytes")
    [(_, headers)] = web.asked
    assert headers["Accept-Encoding"] == "identity"
    assert "Range" not in headers


def test_a_connection_that_drops_again_and_again_goes_on_where_it_ended(web, fetcher):
    fetched = fetcher.good(web.file("/x.zip", DATA, drop_after=100_000))
    assert fetched.sha256 == hashlib.sha256(DATA).hexdigest()
    ranges = [headers.get("Range") for _, headers in web.asked]
    assert ranges[0] is None
    assert len(ranges) == -(-len(DATA) // 100_000)
    assert all(headers["If-Range"] == '"one"' for _, headers in web.asked[1:])


def test_what_cannot_go_on_begins_anew_and_not_forever(web, fetcher):
    for path, drop in (("/half", len(DATA) // 2), ("/third", len(DATA) // 3), ("/whole", None)):
        web.file(path, DATA, drop_after=drop, ranges=False)
    fetcher.good(web.turns("/x.zip", "/half", "/third", "/whole"))
    assert "broke off 4 times" in fetcher.refused(web.file("/y.zip", DATA, drop_after=len(DATA) // 2, ranges=False)).message
    assert "broke off 4 times" in fetcher.refused(web.file("/z.zip", DATA, drop_after=len(DATA) // 2, etag="")).message


def test_a_date_serves_as_well_as_an_etag_where_it_is_strong(web, fetcher):
    def answer(request, modified):
        begin = request.begin if request.headers.get("If-Range") == modified else 0
        rest = DATA[begin:]
        ranged = {"Content_Range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"} if begin else {}
        request.head(206 if begin else 200, Content_Length=len(rest), Last_Modified=modified, **ranged)
        request.wfile.write(rest[:300_000])

    old, new = formatdate(1e9, usegmt=True), formatdate(4e9, usegmt=True)
    assert fetcher.good(web.serve("/x.zip", lambda request: answer(request, old))).last_modified == old
    assert all("If-Range" in headers for _, headers in web.asked[1:])
    web.asked.clear()
    assert fetcher.refused(web.serve("/y.zip", lambda request: answer(request, new))).reason is Reason.SOURCE_UNREACHABLE
    assert not any("Range" in headers for _, headers in web.asked)


def test_a_file_that_is_replaced_meanwhile_is_never_mixed(web, fetcher):
    other = zipped({"other.txt": os.urandom(len(DATA))})
    web.file("/old", other, drop_after=200_000)
    web.file("/new", DATA, etag='"two"')
    fetched = fetcher.good(web.turns("/x.zip", "/old", "/new"))
    assert (fetched.sha256, fetched.etag) == (hashlib.sha256(DATA).hexdigest(), '"two"')


@pytest.mark.parametrize(
    "part",
    [
        {"Content_Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"},
        {"Content_Range": "bytes everything"},
        {},
        {"Content_Range": f"bytes 200000-{len(DATA)}/{len(DATA) + 1}"},
        {"Content_Range": f"bytes 200000-{len(DATA) - 1}/{len(DATA)}", "ETag": '"two"'},
    ],
)
def test_a_part_that_does_not_fit_is_not_taken(web, fetcher, part):
    """The server lies in its first answer to a range; then the file is whole."""
    web.file("/first", DATA, drop_after=200_000)
    web.file("/last", DATA)

    def lie(request):
        request.head(206, Content_Length=100_000, **part)
        request.wfile.write(b"x" * 100_000)

    web.serve("/lie", lie)
    fetcher.good(web.turns("/x.zip", "/first", "/lie", "/last"))


def test_a_range_that_is_refused(web, fetcher):
    web.file("/first", DATA, drop_after=200_000)
    web.serve("/refuse", lambda request: request.head(416, Content_Length=0))
    web.file("/last", DATA)
    fetcher.good(web.turns("/x.zip", "/first", "/refuse", "/last"))
    assert "Range" not in web.asked[-1][1]


def test_lies_about_the_length(web, fetcher):
    def longer(request):
        request.head(Content_Length=len(DATA) + 1000)
        request.wfile.write(DATA)

    assert fetcher.refused(web.serve("/longer.zip", longer)).reason is Reason.SOURCE_UNREACHABLE

    def shorter(request):
        request.head(Content_Length=len(DATA) - 1000)
        request.wfile.write(DATA)

    with pytest.raises(YardError) as caught:
        fetcher.read(web.serve("/shorter.zip", shorter))
    assert caught.value.reason is Reason.ARCHIVE_TRUNCATED


@pytest.mark.parametrize("length", ["-5", "many", "1e3", "0x10", "9" * 40])
def test_lengths_that_are_none(web, fetcher, length):
    def answer(request):
        request.head(Content_Length=length)
        request.wfile.write(DATA)

    url = web.serve("/x.zip", answer)
    if length.isdecimal():
        assert fetcher.refused(url).reason is Reason.REQUEST_TOO_LARGE
    else:
        fetcher.good(url)


def test_chunks(web, fetcher):
    def chunked(request, end=True):
        request.head(Transfer_Encoding="chunked")
        for at in range(0, len(DATA), 70_000):
            request.chunk(DATA[at : at + 70_000])
        if end:
            request.chunk(b"")

    fetcher.good(web.serve("/x.zip", chunked))
    cut = fetcher.refused(web.serve("/cut.zip", lambda request: chunked(request, end=False)))
    assert cut.reason is Reason.SOURCE_UNREACHABLE


def test_without_a_length_the_end_of_the_connection_is_the_end(web, fetcher):
    def answer(request):
        request.head()
        request.wfile.write(DATA)

    fetcher.good(web.serve("/x.zip", answer))


def test_content_codings(web, fetcher):
    packed = gzip.compress(DATA)

    def coded(request, coding, data):
        request.head(Content_Length=len(data), Content_Encoding=coding)
        request.wfile.write(data)

    assert "Content-Encoding: gzip" in fetcher.refused(web.serve("/x.zip", lambda r: coded(r, "gzip", packed))).message
    assert fetcher.refused(web.serve("/y.zip", lambda r: coded(r, "br", DATA))).reason is Reason.SOURCE_UNREACHABLE
    fetcher.good(web.serve("/z.zip", lambda r: coded(r, "identity", DATA)))
    # A server that knows .tar.gz as a coding says so of the file as it is: nothing is unpacked on its way.
    with fetcher.opened(web.serve("/x.tar.gz", lambda r: coded(r, "gzip", DATA))) as (_, fetched):
        assert fetched.sha256 == hashlib.sha256(DATA).hexdigest()
    transfer = fetcher.refused(web.serve("/t.zip", lambda r: r.head(Transfer_Encoding="gzip, chunked")))
    assert "Transfer-Encoding" in transfer.message


def test_too_large_by_what_it_says_and_by_what_it_sends(web, fetcher):
    fetcher.limits = replace(QUICK, file_bytes=len(DATA) - 1)
    error = fetcher.refused(web.file("/x.zip", DATA))
    assert (error.reason, error.metadata["limit_bytes"]) == (Reason.REQUEST_TOO_LARGE, str(len(DATA) - 1))

    def endless(request):
        request.head(Transfer_Encoding="chunked")
        while not web.ended.is_set():
            request.chunk(bytes(1 << 20))

    assert fetcher.refused(web.serve("/endless.zip", endless)).reason is Reason.REQUEST_TOO_LARGE
    fetcher.limits = replace(QUICK, file_bytes=len(DATA))
    fetcher.good(web.file("/x.zip", DATA))


def test_a_disk_without_room(web, fetcher):
    fetcher.limits = replace(QUICK, reserve_bytes=shutil.disk_usage(fetcher.folder).free + (1 << 40))
    assert fetcher.refused(web.file("/x.zip", DATA)).reason is Reason.DISK_FULL
    fetcher.limits = replace(QUICK, reserve_bytes=max(0, shutil.disk_usage(fetcher.folder).free - (8 << 20)))

    def endless(request):
        request.head(Transfer_Encoding="chunked")
        while not web.ended.is_set():
            request.chunk(bytes(1 << 20))

    assert fetcher.refused(web.serve("/endless.zip", endless)).reason is Reason.DISK_FULL


def drip(web, head=b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"):
    def answer(request):
        request.wfile.write(head)
        while not web.ended.wait(0.02):
            request.wfile.write(b"x")

    return answer


def test_a_drip_is_given_up(web, fetcher):
    error = fetcher.refused(web.serve("/x.zip", drip(web)))
    assert (error.reason, "less than 1024 bytes a second" in error.message) == (Reason.SOURCE_UNREACHABLE, True)


def test_a_drip_of_headers_is_given_up(web, fetcher, monkeypatch):
    monkeypatch.setattr(http, "_HEAD_S", 0.3)
    error = fetcher.refused(web.serve("/x.zip", drip(web, b"HTTP/1.1 200 OK\r\nX-Long: ")))
    assert "did not answer within" in error.message


def test_silence_is_given_up(web, fetcher, monkeypatch):
    monkeypatch.setattr(http, "_HEAD_S", 0.3)
    assert fetcher.refused(web.serve("/x.zip", lambda _: web.ended.wait(60))).reason is Reason.SOURCE_UNREACHABLE


def test_what_takes_too_long_in_all_is_given_up(web, fetcher):
    fetcher.limits = replace(QUICK, total_s=0.5, patience_s=60, window_s=60)
    assert "VISIONYARD_IMPORT_FETCH_LIMIT_S" in fetcher.refused(web.serve("/x.zip", drip(web))).message


@pytest.mark.parametrize("where", ["head", "body", "between"])
def test_a_stop_is_heard_while_a_server_keeps_silent(web, fetcher, where):
    """The server never sends another byte, and no time-out of a socket or a pace is near."""
    asked = threading.Event()
    fetcher.limits = replace(QUICK, patience_s=600, window_s=600)

    def answer(request):
        if where == "body":
            request.head(Content_Length=1000)
            request.wfile.write(b"x" * 10)
        if where == "between":
            request.head(503, Content_Length=0)
        asked.set()
        web.ended.wait(600 if where != "between" else 0)

    def check():
        if asked.is_set():
            raise Stop

    fetcher.stops = check
    with pytest.raises(Stop), fetcher.opened(web.serve("/x.zip", answer)):
        pass
    assert list(fetcher.folder.iterdir()) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(web, fetcher, status):
    web.serve("/busy", lambda request: request.head(status, Content_Length=0))
    web.file("/then", DATA)
    fetcher.good(web.turns("/x.zip", "/busy", "/busy", "/then"))
    assert [phase for phase, *_ in fetcher.steps if "trying again" in phase and str(status) in phase]


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 410, 451])
def test_a_refusal_is_final(web, fetcher, status):
    error = fetcher.refused(web.serve("/x.zip", lambda request: request.head(status)))
    assert (error.reason, str(status) in error.message) == (Reason.SOURCE_UNREACHABLE, True)
    assert len(web.asked) == 1


def test_nonsense_instead_of_an_answer(web, fetcher):
    for answer in (
        b"",
        b"HTTP/1.1 200 OK\r\nConte",
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 " + b"9" * 100_000,
    ):
        error = fetcher.refused(web.serve("/x.zip", lambda request, answer=answer: request.wfile.write(answer)))
        assert error.reason is Reason.SOURCE_UNREACHABLE


def test_a_source_that_never_answered_is_given_up_sooner(web, fetcher):
    fetcher.limits = replace(QUICK, patience_s=3600, contact_s=0.3)
    assert fetcher.refused(web.serve("/x.zip", lambda request: request.head(503, Content_Length=0))).reason is Reason.SOURCE_UNREACHABLE
    asked = len(web.asked)
    web.file("/first", DATA, drop_after=200_000)
    web.serve("/busy", lambda request: request.head(503, Content_Length=0))
    web.file("/then", DATA)
    fetcher.good(web.turns("/y.zip", "/first", *["/busy"] * 20, "/then"))
    assert len(web.asked) == asked + 22


def test_nobody_there(web, fetcher):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x.zip"
        fetcher.allow = url
        assert "cannot be connected to" in fetcher.refused(url).message


def redirect(to, status=302):
    return lambda request: request.head(status, Location=to, Content_Length=0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_within_the_list_are_followed(web, fetcher, status):
    web.file("/open/x.zip", DATA)
    web.serve("/open/b", redirect("x.zip?signature=secret", status))
    fetcher.allow = f"{web.root}/open"
    fetched = fetcher.good(web.serve("/open/a", redirect(f"{web.root}/open/b", status)))
    assert fetched.url == f"{web.root}/open/a"
    assert web.paths() == ["/open/a", "/open/b", "/open/x.zip"]


OUT = ["/secret/x.zip", "/open/../secret/x.zip", "/open/%2e%2e/secret/x.zip", "//localhost/open/x.zip", "http://169.254.169.254/open/"]
OUT += ["https://127.0.0.1/open/x.zip", "http://127.0.0.1:1/open/x.zip", "http://me@127.0.0.1/open/x.zip", "http://[::1]/open/"]


@pytest.mark.parametrize("to", OUT)
def test_redirects_out_of_the_list_are_not(web, fetcher, to):
    web.file("/secret/x.zip", DATA)
    fetcher.allow = f"{web.root}/open"
    error = fetcher.refused(web.serve("/open/a", redirect(to)))
    assert error.reason is Reason.SOURCE_NOT_ALLOWED
    assert web.paths() == ["/open/a"]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "s3://bucket/x", "ftp://127.0.0.1/", "", "\u00fc\\"])
def test_redirects_to_no_address(web, fetcher, to):
    error = fetcher.refused(web.serve("/a", redirect(to.encode().decode("latin-1"))))
    assert error.reason in {Reason.SOURCE_NOT_ALLOWED, Reason.SOURCE_UNREACHABLE}
    assert len(web.asked) <= 6


def test_redirects_in_a_circle(web, fetcher):
    web.serve("/b", redirect("/a"))
    assert "more than 5 times" in fetcher.refused(web.serve("/a", redirect("/b"))).message
    assert len(web.asked) == 6


@pytest.fixture
def names(monkeypatch):
    """What names lead to, each look-up the next answer."""
    known, real = {}, socket.getaddrinfo

    def look_up(host, port, *arguments, **options):
        if host in known:
            addresses = known[host]
            return [
                info
                for address in (addresses.pop(0) if len(addresses) > 1 else addresses[0])
                for info in real(address, port, *arguments, **options)
            ]
        return real(host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_a_listed_name_that_leads_to_a_private_address_is_refused_unless_it_is_named(web, fetcher, names):
    port = web.root.rpartition(":")[2]
    names["data.example"] = [["127.0.0.1"]]
    url = f"http://data.example:{port}/x.zip"
    web.file("/x.zip", DATA)
    fetcher.allow = url
    error = fetcher.refused(url)
    assert (error.reason, "VISIONYARD_IMPORT_PRIVATE_HOSTS" in error.message) == (Reason.SOURCE_NOT_ALLOWED, True)
    fetcher.private = "other.example"
    assert fetcher.refused(url).reason is Reason.SOURCE_NOT_ALLOWED
    assert web.asked == []
    fetcher.private = "other.example data.example"
    fetcher.good(url)
    assert web.asked[0][1]["Host"] == f"data.example:{port}"
    names["data.example"] = [["169.254.169.254"]]
    assert fetcher.refused(url).reason is Reason.SOURCE_NOT_ALLOWED


def test_a_name_that_changes_between_two_look_ups_gains_nothing(web, fetcher, names, monkeypatch):
    """The address that was judged is the one connected to: nobody asks for it again."""
    tried = []

    def connect(address, timeout):
        tried.append(address[0])
        raise OSError("no way out of a test")

    monkeypatch.setattr(socket, "create_connection", connect)
    names["data.example"] = [["8.8.8.8", "127.0.0.1"], ["127.0.0.1"]]
    fetcher.allow = "http://data.example"
    assert fetcher.refused("http://data.example/x.zip").reason is Reason.SOURCE_NOT_ALLOWED
    assert tried == ["8.8.8.8"]


def test_a_redirect_to_a_listed_name_at_a_private_address_is_refused(web, fetcher, names):
    port = web.root.rpartition(":")[2]
    names["data.example"] = [["127.0.0.1"]]
    fetcher.allow = f"{web.root} http://data.example:{port}"
    web.file("/x.zip", DATA)
    assert fetcher.refused(web.serve("/a", redirect(f"http://data.example:{port}/x.zip"))).reason is Reason.SOURCE_NOT_ALLOWED
    assert web.paths() == ["/a"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 by its own authority, and its key."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def secure_web(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(context) as running:
        running.root = running.root.replace("http:", "https:")
        yield running


def test_https(secure_web, fetcher, certificate, monkeypatch):
    url = secure_web.file("/x.zip", DATA, drop_after=200_000)
    fetcher.allow = secure_web.root
    error = fetcher.refused(url)
    assert "certificate that is not trusted" in error.message
    assert secure_web.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    fetcher.good(url)
    fetcher.allow = url = secure_web.root.replace("127.0.0.1", "localhost") + "/x.zip"
    fetcher.private = "localhost"
    assert "certificate that is not trusted" in fetcher.refused(url).message  # it is another host's


def test_a_handshake_that_never_ends_is_given_up(fetcher, monkeypatch):
    monkeypatch.setattr(http, "_HEAD_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/x.zip"
        fetcher.allow = url
        assert "makes no secure connection" in fetcher.refused(url).message


def test_an_environments_proxy_is_not_used(web, fetcher, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    fetcher.good(web.file("/x.zip", DATA))


# Other buckets


@pytest.fixture
def bucket(seaweed, s3_bucket):
    """A client of an empty bucket; s3_bucket removes what is in it."""
    client = Minio(seaweed.endpoint, seaweed.access_key, seaweed.secret_key, secure=False, region=weed_process.REGION)

    def put(key, data):
        import io

        client.put_object(s3_bucket, key, io.BytesIO(data), len(data))
        return f"s3://{s3_bucket}/{key}"

    return put


@pytest.fixture
def store(tmp_path, seaweed, s3_bucket):
    (tmp_path / "scratch").mkdir(exist_ok=True)
    access = S3Access(seaweed.endpoint, seaweed.access_key, seaweed.secret_key, weed_process.REGION, secure=False)
    made = Fetcher(tmp_path / "scratch", access)
    made.allow = f"s3://{s3_bucket}"
    return made


def test_an_object(bucket, store):
    fetched = store.good(bucket("sets/my cones.zip", DATA))
    assert (fetched.size_bytes, fetched.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert fetched.etag
    assert fetched.last_modified.endswith("GMT")


def test_a_folder(bucket, store, s3_bucket):
    for path, data in FILES.items():
        bucket(f"sets/cones/{path}", data)
    bucket("sets/cones/.hidden", b"x")
    bucket("sets/cones-not-these/images/1.jpg", b"x")
    fetched = store.good(f"s3://{s3_bucket}/sets/cones/")
    assert (fetched.objects, fetched.size_bytes) == (len(FILES), sum(map(len, FILES.values())))
    assert store.good(f"s3://{s3_bucket}/sets/cones") == replace(fetched, url=f"s3://{s3_bucket}/sets/cones")
    with store.opened(f"s3://{s3_bucket}/sets/cones/", ArchiveLimits(file_bytes=20_000)) as (archive, _):
        for _ in range(2):
            read = {entry.path: (entry.too_large, data) for entry, data in archive.read(lambda entry: entry.path.startswith("labels"))}
        assert read["labels/1.txt"] == (False, FILES["labels/1.txt"])
        assert read["images/1.jpg"] == (True, None)
    bucket("sets/cones/labels/1.txt", b"0 .4 .4 .1 .1\n")
    assert store.read(f"s3://{s3_bucket}/sets/cones/")[1].sha256 != fetched.sha256


def test_a_folder_that_holds_too_much(bucket, store, s3_bucket):
    for i in range(5):
        bucket(f"set/{i}.jpg", b"x" * 1000)
    for limits in (ArchiveLimits(entries=4), ArchiveLimits(unpacked_bytes=4999), ArchiveLimits(path_characters=4)):
        with pytest.raises(YardError) as caught, store.opened(f"s3://{s3_bucket}/set/", limits):
            pass
        assert caught.value.reason in {Reason.ARCHIVE_BOMB, Reason.ARCHIVE_UNSAFE_PATH}


def test_an_object_that_is_replaced_while_its_folder_is_read(bucket, store, s3_bucket):
    for i in range(60):
        bucket(f"set/{i:02}.txt", b"x" * 100)
    with store.opened(f"s3://{s3_bucket}/set/") as (archive, _):
        files = archive.read(lambda _: True)
        next(files)
        bucket("set/59.txt", b"y" * 200)
        with pytest.raises(YardError, match="was replaced while") as caught:
            list(files)
    assert caught.value.reason is Reason.SOURCE_UNREACHABLE


def test_a_stop_is_heard_while_a_folder_is_read(bucket, store, s3_bucket):
    for i in range(3):
        bucket(f"set/{i}.txt", b"x")
    with store.opened(f"s3://{s3_bucket}/set/") as (archive, _):
        files = archive.read(lambda _: True)
        next(files)
        files.close()

    def stop():
        raise Stop

    store.stops = stop
    with pytest.raises(Stop), store.opened(f"s3://{s3_bucket}/set/"):
        pass


def test_what_is_not_there(bucket, store, s3_bucket):
    bucket("sets/cones.zip", DATA)
    for url in (f"s3://{s3_bucket}/sets/nothing.zip", f"s3://{s3_bucket}/nothing/", f"s3://{s3_bucket}/sets/con"):
        assert store.refused(url).reason is Reason.SOURCE_UNREACHABLE
    missing = f"s3://{s3_bucket}-missing/x.zip"
    store.allow = "s3://" + missing.split("/")[2]
    assert store.refused(missing).reason is Reason.SOURCE_UNREACHABLE


@pytest.mark.parametrize("bucket_name", ["1.2.3.4", "team..data", "x-s3alias"])
def test_a_name_that_no_bucket_can_have(store, bucket_name):
    store.allow = f"s3://{bucket_name}"
    for url in (f"s3://{bucket_name}/x.zip", f"s3://{bucket_name}/x/"):
        assert store.refused(url).reason is Reason.SOURCE_UNREACHABLE


def test_a_bucket_that_is_missing_is_not_made(store, seaweed, s3_bucket):
    store.allow = f"s3://{s3_bucket}-missing"
    store.refused(f"{store.allow}/x/")
    client = Minio(seaweed.endpoint, seaweed.access_key, seaweed.secret_key, secure=False, region=weed_process.REGION)
    assert not client.bucket_exists(f"{s3_bucket}-missing")


def test_wrong_keys_are_told_at_once(bucket, store):
    url = bucket("x.zip", DATA)
    store.access = replace(store.access, secret_key="wrong")
    error = store.refused(url)
    assert "VISIONYARD_IMPORT_S3_ACCESS_KEY" in error.message
    assert "wrong" not in error.message
    store.access = replace(store.access, access_key="", secret_key="")
    assert store.refused(url).reason is Reason.SOURCE_UNREACHABLE


def test_a_store_that_is_away_is_given_up(store, s3_bucket, monkeypatch):
    monkeypatch.setattr("visionyard.dataset.fetching.s3._RETRY_S", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store.access = replace(store.access, endpoint=f"127.0.0.1:{taken.getsockname()[1]}")
        for url in (f"s3://{s3_bucket}/x.zip", f"s3://{s3_bucket}/x/"):
            assert store.refused(url).reason is Reason.SOURCE_UNREACHABLE


def test_a_bucket_that_is_not_listed(store, s3_bucket):
    store.allow = f"s3://{s3_bucket}/sets"
    for url in (f"s3://{s3_bucket}/", f"s3://{s3_bucket}/other/x.zip", f"s3://{s3_bucket}x/sets/x.zip"):
        assert store.refused(url).reason is Reason.SOURCE_NOT_ALLOWED
    store.allow, store.access = f"s3://{s3_bucket}", None
    assert store.refused(f"s3://{s3_bucket}/x.zip").reason is Reason.SOURCE_NOT_ALLOWED


def test_the_time_to_connect_is_bounded():
    assert connecting.CONNECT_TIMEOUT_S < 5  # less than the grace of a worker that is told to go
