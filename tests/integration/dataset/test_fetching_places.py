"""Where a fetch may lead: redirects, names and their addresses, certificates, proxies."""

import socket
import ssl

import pytest
from certificates import make_certificate
from fetching import DATA, redirect
from web import serving

from visionyard.dataset.fetching import http
from visionyard.kit.errors import Reason


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
