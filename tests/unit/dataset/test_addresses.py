"""Which addresses may be fetched: hostile spellings, the list, redirect targets, IP addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from visionyard.dataset.config import DatasetSettings
from visionyard.dataset.fetching.addresses import AllowList, SourceUrl
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.web.networks import may_connect

NO_ADDRESS = [
    "",
    "cones.zip",
    "/etc/passwd",
    "file:///etc/passwd",
    "ftp://a.example/x",
    "gopher://a.example/x",
    "//a.example/x",
    "https:/a.example/x",
    "https:a.example",
    "https://",
    "https:///x",
    "https://user@a.example/x",
    "https://user:secret@a.example/x",
    "https://a.example@b.example/x",
    "https://a.example:80:80/x",
    "https://a.example:0/x",
    "https://a.example:65536/x",
    "https://a.example:port/x",
    "https://a.example:/x",
    "https://a..example/x",
    "https://-a.example/x",
    "https://a_b.exa mple/x",
    "https://a.example\\@b.example/x",
    "https://a.example/x\ny",
    "https://a.example/x\r\nHost: b",
    "https://a.example/x\x00",
    "https://a.example/a b.zip",
    "https://a.example/data/../x",
    "https://a.example/data/./x",
    "https://a.example/data/%2e%2e/x",
    "https://a.example/data/%2E./x",
    "https://a.example/data/%252e%252e/x",
    "https://a.example/data/..;/x",
    "https://a.example/data/%2e%2e%3bx/x",
    "https://a.example/data%2fx",
    "https://a.example/data%5cx",
    "https://a.example/data%255cx",
    "https://a.example/x%00.zip",
    "https://a.example/x%0d%0aHost:b",
    "https://a.example/100%.zip",
    "https://a.example/%" + "25" * 20 + "2e",
    "https://[::1/x",
    "https://[fe80::1%25eth0]/x",
    "https://a.example/" + "x" * 2048,
    "s3://",
    "s3:///x",
    "s3://UPPER/x",
    "s3://ab/x",
    "s3://key:secret@bucket/x",
    "s3://bucket/a//b",
    "s3://bucket/a/../b",
    "s3://bucket//a",
    "s3://bucket/./a",
    "s3://bucket?x",
    "s3://bucket\\x",
]


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_no_address(text):
    with pytest.raises(YardError) as caught:
        AllowList.parse("https://a.example,http://a.example,s3://bucket").allowed(text)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("text", ["ftp://a.example/x", "a.example/x", "x"])
def test_what_an_address_begins_with_is_told_as_it_is_there(text):
    with pytest.raises(ValueError, match=r"^begins with none of https://, http:// and s3://$"):
        SourceUrl.parse(text, buckets=True)
    for other in (text, "s3://bucket/x"):
        with pytest.raises(ValueError, match=r"^begins with neither https:// nor http://$"):
            SourceUrl.parse(other)


ALLOW = "https://a.example/data, https://b.example:8443/ http://c.example/open/,s3://bucket/sets s3://whole https://10.1.2.3 https://b\u00fccher.example"

ALLOWED = [
    "https://a.example/data",
    "https://a.example/data/",
    "https://a.example/data/x.zip",
    "HTTPS://A.Example./data/x.zip",
    "https://a.example:443/data/x.zip",
    "https://a.example/data/x.zip?token=secret",
    "https://a.example/data/x.zip#part",
    "https://a.example/%64ata/x.zip",
    "https://a.example/data/100%25.zip",
    "https://a.example/data/.../x..zip",
    "https://a.example/data/\u00fc.zip",
    "https://b.example:8443",
    "https://b.example:8443/x",
    "http://c.example/open/x",
    "https://10.1.2.3/x",
    "https://xn--bcher-kva.example/x",
    "s3://bucket/sets",
    "s3://bucket/sets/",
    "s3://bucket/sets/a b?#%2e.zip",
    "s3://whole",
    "s3://whole/",
    "s3://whole/x",
]
REFUSED = [
    "https://a.example/",
    "https://a.example",
    "https://a.example/database",
    "https://a.example/Data/x.zip",
    "https://a.example/x/data",
    "https://a.example//data/x.zip",
    "https://a.example:8443/data/x.zip",
    "http://a.example/data/x.zip",
    "https://a.example.evil.example/data/x.zip",
    "https://evil-a.example/data/x.zip",
    "https://a.example.:444/data/x",
    "https://b.example/x",
    "https://c.example/open/x",
    "http://c.example/opened",
    "http://10.1.2.3/x",
    "https://167838211/x",
    "https://0x0a010203/x",
    "https://10.1.515/x",
    "https://[::ffff:10.1.2.3]/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://localhost/",
    "http://[::1]/",
    "s3://bucket",
    "s3://bucket/",
    "s3://bucket/setsandmore",
    "s3://bucket/set",
    "s3://other/sets/x",
    "s3://visionyard/projects/default/",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_what_lies_below_an_entry_is_allowed(text):
    assert "secret" not in AllowList.parse(ALLOW).allowed(text).shown


@pytest.mark.parametrize("text", REFUSED)
def test_all_else_is_refused_and_the_setting_is_named(text):
    with pytest.raises(YardError, match="VISIONYARD_IMPORT_ALLOW") as caught:
        AllowList.parse(ALLOW).allowed(text)
    assert caught.value.reason is Reason.SOURCE_NOT_ALLOWED
    assert caught.value.metadata["setting"] == "VISIONYARD_IMPORT_ALLOW"


@pytest.mark.parametrize("text", [*ALLOWED, *REFUSED])
def test_without_a_list_nothing_is_allowed(text):
    with pytest.raises(YardError) as caught:
        AllowList.parse("").allowed(text)
    assert caught.value.reason is Reason.SOURCE_NOT_ALLOWED


@given(st.text(st.sampled_from("ae./\\%25;:@?#[]-2fFcC \n\u00fc"), max_size=30))
def test_whatever_follows_a_foreign_host_is_not_allowed(tail):
    with pytest.raises(YardError):
        AllowList.parse("https://a.example/data").allowed(f"https://evil.example{tail}")


@given(st.text(st.sampled_from("ad./%25;?#ef2E"), max_size=30))
def test_an_allowed_path_is_below_its_entry_however_often_it_is_unescaped(tail):
    from urllib.parse import unquote

    try:
        url = AllowList.parse("https://a.example/data").allowed(f"https://a.example/data/{tail}")
    except YardError:
        return
    path = url.path
    for _ in range(6):
        assert path == "/data" or path.startswith("/data/")
        assert not {".", ".."} & {part.partition(";")[0] for part in path.split("/")}
        path = unquote(path)


def test_what_an_address_is_called():
    assert SourceUrl.parse("https://a.example/x/%C3%BC.zip?y").file_name == "\u00fc.zip"
    assert SourceUrl.parse("https://a.example:8443").file_name == "https://a.example:8443/"
    assert SourceUrl.parse("s3://bucket/a/b/", buckets=True).file_name == "b"
    assert SourceUrl.parse("http://[::1]:8080/x").authority == "[::1]:8080"


PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.1.1", "::1", "fd12::1", "fec0::1", "feff::1"]
PRIVATE += ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
NEVER = [
    "169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
]
NEVER += ["240.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::127.0.0.1", "::ffff:0:127.0.0.1", "2002:a9fe:a9fe::", "nonsense"]


@pytest.mark.parametrize(("addresses", "plain", "named"), [(PUBLIC, True, True), (PRIVATE, False, True), (NEVER, False, False)])
def test_addresses_that_may_be_connected_to(addresses, plain, named):
    assert {a for a in addresses if may_connect(a, private=False)} == (set(addresses) if plain else set())
    assert {a for a in addresses if may_connect(a, private=True)} == (set(addresses) if named else set())


STORE = {"s3_endpoint": "127.0.0.1:9000", "s3_access_key": "key", "s3_secret_key": "very-secret"}
WRONG_SETTINGS = {
    "no address": {"import_allow": "a.example"},
    "a password": {"import_allow": "https://me:hidden@a.example/"},
    "a query": {"import_allow": "https://a.example/?x"},
    "a climbing entry": {"import_allow": "https://a.example/data/../"},
    "no host": {"import_private_hosts": "https://a.example"},
    "s3 without a store": {"import_allow": "s3://bucket"},
    "two stores": {"import_s3_own_store": True, "import_s3_endpoint": "s3.example:443"},
    "half a key": {"import_s3_endpoint": "s3.example:443", "import_s3_access_key": "key"},
    "the service's own bucket": {"import_allow": "s3://visionyard/projects", "import_s3_own_store": True},
    "the service's own bucket by its endpoint": {"import_allow": "s3://visionyard", "import_s3_endpoint": "127.0.0.1:9000"},
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_settings_that_cannot_be_meant(case):
    with pytest.raises(ValidationError) as caught:
        DatasetSettings(**STORE, **WRONG_SETTINGS[case])
    assert "hidden" not in str(caught.value)


def test_where_s3_sources_lie():
    assert DatasetSettings(**STORE).source_access() is None
    own = DatasetSettings(**STORE, import_allow="s3://other", import_s3_own_store=True).source_access()
    assert (own.endpoint, own.access_key, own.secure) == ("127.0.0.1:9000", "key", False)
    foreign = DatasetSettings(**STORE, import_allow="s3://visionyard", import_s3_endpoint="s3.example:443").source_access()
    assert (foreign.endpoint, foreign.access_key, foreign.secure) == ("s3.example:443", "", True)
    assert "very-secret" not in repr(own)
