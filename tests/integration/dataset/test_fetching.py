"""Sources fetched from a real HTTP server that fails in every way."""

import gzip
import hashlib
import os
import shutil
import socket
import threading
from dataclasses import replace
from email.utils import formatdate

import pytest
from fetching import DATA, QUICK, Stop
from tests.unit.dataset.conftest import zipped

from visionyard.dataset.fetching import http
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.web import connecting


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


def test_the_time_to_connect_is_bounded():
    assert connecting.CONNECT_TIMEOUT_S < 5  # less than the grace of a worker that is told to go
