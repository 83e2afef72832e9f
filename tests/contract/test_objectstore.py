"""The contract of the object store, held by every adapter."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from visionyard.kit.objectstore import s3
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import Conflict, NotFound
from visionyard.kit.objectstore.probe import StoreUnfitError, probe_conditional_writes

ODD_KEYS = ["p/a b", "p/z+%&=é日本", "p/q?x#y", "p/x<y>&\"'", "p/~_-.!*()", "p/\U0001f600", "p/~", "p/A", "p/%2F"]


def keys(entries):
    return [entry.key for entry in entries]


def test_what_was_put_is_got(store):
    before = datetime.now(UTC) - timedelta(seconds=2)
    etag = store.put("p/a", b"hello")
    stored = store.get("p/a")
    assert stored.data == b"hello"
    assert (stored.info.key, stored.info.size, stored.info.etag) == ("p/a", 5, etag)
    assert before <= stored.info.last_modified <= stored.info.now <= datetime.now(UTC) + timedelta(seconds=1)
    assert stored.info.last_modified.microsecond == 0
    head = store.head("p/a")
    assert (head.size, head.etag, head.last_modified) == (5, etag, stored.info.last_modified)
    (entry,) = store.list("p/")
    assert (entry.key, entry.size, entry.etag, entry.is_prefix) == ("p/a", 5, etag, False)
    assert abs(entry.last_modified - head.last_modified) < timedelta(seconds=1)


def test_an_empty_object(store):
    etag = store.put("p/empty", b"")
    assert store.get("p/empty").data == b""
    assert store.get("p/empty", 0, 10).data == b""
    assert store.get("p/empty", 0, 10).info.etag == etag
    with store.open("p/empty") as stream:
        assert stream.read() == b""


def test_a_document_is_swapped_for_one_without_bytes_and_a_listing_tells_it(store):
    """Tombstones of versions rest on it."""
    etag = store.create("p/v/1.json", b"{}")
    store.create("p/v/2.json", b"{}")
    empty = store.compare_and_swap("p/v/1.json", b"", etag)
    assert store.get("p/v/1.json").data == b""
    assert [(entry.key, entry.size) for entry in store.list("p/v/", delimiter="/")] == [("p/v/1.json", 0), ("p/v/2.json", 2)]
    with pytest.raises(Conflict):
        store.compare_and_swap("p/v/1.json", b"{}", etag)
    with pytest.raises(Conflict):
        store.create("p/v/1.json", b"{}")
    assert store.head("p/v/1.json").etag == empty


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (8, 100, b"89"),
        (10, None, b""),
        (10, 1, b""),
        (99, 1, b""),
        (2, 0, b""),
        (0, 1, b"0"),
    ],
)
def test_ranges(store, offset, length, expected):
    store.put("p/a", b"0123456789")
    stored = store.get("p/a", offset, length)
    assert stored.data == expected
    assert stored.info.size == 10
    with store.open("p/a", offset, length) as stream:
        assert stream.read() == expected


def test_a_negative_range_is_refused(store):
    store.put("p/a", b"0123456789")
    with pytest.raises(ValueError, match="0 or more"):
        store.get("p/a", -1)
    with pytest.raises(ValueError, match="0 or more"):
        store.open("p/a", 0, -1)


@pytest.mark.parametrize("call", ["get", "head", "open"])
def test_what_is_not_there(store, call):
    with pytest.raises(NotFound):
        getattr(store, call)("p/none")


def test_what_is_not_there_otherwise(store, tmp_path):
    with pytest.raises(NotFound):
        store.get_if_changed("p/none", "0" * 32)
    with pytest.raises(NotFound):
        store.get("p/none", 0, 0)
    with pytest.raises(NotFound):
        store.get_file("p/none", tmp_path / "none")
    assert not list(tmp_path.iterdir())
    store.delete("p/none")
    store.delete_many(["p/none"])
    assert keys(store.list("p/")) == []


def test_get_if_changed(store):
    etag = store.put("p/a", b"1")
    assert store.get_if_changed("p/a", etag) is None
    store.put("p/a", b"22")
    assert store.get_if_changed("p/a", etag).data == b"22"


def test_create_and_compare_and_swap(store):
    first = store.create("p/a", b"1")
    assert store.head("p/a").etag == first
    with pytest.raises(Conflict):
        store.create("p/a", b"2")
    second = store.compare_and_swap("p/a", b"2", first)
    assert second != first
    with pytest.raises(Conflict):
        store.compare_and_swap("p/a", b"3", first)
    assert store.get("p/a").data == b"2"
    store.delete("p/a")
    with pytest.raises(Conflict):
        store.compare_and_swap("p/a", b"3", second)
    assert keys(store.list("p/")) == []
    store.create("p/a", b"4")


def test_writing_the_same_bytes_keeps_the_etag(store):
    """Why documents carry a nonce."""
    etag = store.put("p/a", b"1")
    assert store.compare_and_swap("p/a", b"1", etag) == etag


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys(store, key):
    etag = store.create(key, b"1")
    with pytest.raises(Conflict):
        store.create(key, b"2")
    store.compare_and_swap(key, b"22", etag)
    assert store.get(key).data == b"22"
    assert keys(store.list("p/")) == [key]
    store.put(key, b"333")
    assert store.head(key).size == 3
    store.delete_many([key])
    with pytest.raises(NotFound):
        store.head(key)


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "a/../b", "./a", "a\nb", "a\\b", "a\x00", "x" * 1025])
def test_keys_that_stores_fold_or_refuse(store, key):
    for call in (lambda: store.put(key, b""), lambda: store.create(key, b""), lambda: store.get(key), lambda: store.delete(key)):
        with pytest.raises(ValueError, match="cannot be an object's key"):
            call()


TREE = ["t/A", "t/a!", "t/a-b", "t/a.json", "t/a/1", "t/a/2", "t/a0", "t/ab/1", "t/ab-c/1", "t/~", "t/ü", "t/\uff5e", "t/\U0001f600"]
FOLDED = sorted({"t/a/" if k.startswith("t/a/") else f"{k[:-2]}/" if k.endswith("/1") else k for k in TREE})


def test_folders_are_listed_in_the_order_of_keys(store):
    """SeaweedFS walks by names: a/ before a-b and a.json."""
    for key in TREE:
        store.put(key, b"x")
    entries = list(store.list("t/", delimiter="/"))
    assert keys(entries) == FOLDED
    assert [entry.key for entry in entries if entry.is_prefix] == ["t/a/", "t/ab-c/", "t/ab/"]
    assert sorted(keys(store.list("t/"))) == sorted(TREE)
    assert keys(store.list("t/a", delimiter="/")) == [key for key in FOLDED if key.startswith("t/a")]


@pytest.mark.parametrize(
    "start_after", ["t/a", "t/a!", "t/a-", "t/a-b", "t/a.json", "t/a/", "t/a/1", "t/a0", "t/aa", "t/ab-c0", "t/ab0", "t/~", "u", "a"]
)
@pytest.mark.parametrize("limit", [None, 2])
def test_a_listing_goes_on_behind_any_key(store, start_after, limit):
    for key in TREE:
        store.put(key, b"x")
    assert (
        keys(store.list("t/", start_after=start_after, delimiter="/", limit=limit)) == [key for key in FOLDED if key > start_after][:limit]
    )


def test_flat_listings_go_on_and_end(store):
    for i in range(5):
        store.put(f"p/{i}", b"x")
    store.put("pq", b"x")
    assert keys(store.list("p/", limit=2)) == ["p/0", "p/1"]
    assert keys(store.list("p/", start_after="p/1", limit=2)) == ["p/2", "p/3"]
    assert keys(store.list("p/", start_after="p/4")) == []
    assert keys(store.list("p/", limit=0)) == []
    assert keys(store.list("p")) == ["p/0", "p/1", "p/2", "p/3", "p/4", "pq"]
    assert keys(store.list("", delimiter="/")) == ["p/", "pq"]
    with pytest.raises(ValueError, match="delimiter"):
        list(store.list("p", delimiter="-"))


def test_more_than_a_page(store):
    """1,060 entries: two pages of S3, folders and objects mixed; the folder 0499/ and the object 0499.json fall on two sides of the page's end."""
    names = [f"{i:04d}" for i in range(530)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: (store.put(f"m/{n}.json", b"x"), store.put(f"m/{n}/a", b"x")), names))
    folded = sorted([f"m/{n}.json" for n in names] + [f"m/{n}/" for n in names])
    assert keys(store.list("m/", delimiter="/")) == folded
    assert keys(store.list("m/", delimiter="/", start_after=folded[990], limit=30)) == folded[991:1021]
    assert sorted(keys(store.list("m/"))) == sorted([f"m/{n}.json" for n in names] + [f"m/{n}/a" for n in names])
    assert len(list(store.list("m/", limit=1001))) == 1001
    store.delete_many(keys(store.list("m/")))
    assert keys(store.list("m/")) == []


@pytest.mark.parametrize("size", [0, 1, 16 * 2**20, 16 * 2**20 + 1, 40 * 2**20])
def test_files_of_any_size(store, tmp_path, size):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1024) * (size // 1024) + b"x" * (size % 1024))
    etag = store.put_file("p/file", source)
    assert store.head("p/file").etag == etag
    assert [entry.etag for entry in store.list("p/")] == [etag]
    info = store.get_file("p/file", tmp_path / "target")
    assert (info.size, info.etag) == (size, etag)
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert store.get("p/file", max(size - 3, 0), 10).data == source.read_bytes()[-3:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_file_too_large_for_one_request_goes_in_parts(s3_store, tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "_ONE_REQUEST_BYTES", 20 << 20)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(2**20) * 40)
    etag = s3_store.put_file("p/file", source)
    assert etag.endswith("-3")  # S3's mark of three parts
    assert s3_store.get("p/file").data == source.read_bytes()


def test_a_file_is_there_whole_or_not_at_all(store, tmp_path):
    store.put("p/a", b"new")
    (tmp_path / "target").write_bytes(b"old")
    store.get_file("p/a", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"new"
    with pytest.raises(OSError, match="No such file"):
        store.get_file("p/a", tmp_path / "missing" / "target")
    with pytest.raises(OSError, match="No such file"):
        store.put_file("p/b", tmp_path / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_the_probe_accepts_it_and_leaves_nothing(store):
    probe_conditional_writes(store)
    assert keys(store.list("")) == []


class Overwriting(MemoryObjectStore):
    """As a store that does not know the headers."""

    def create(self, key, data):
        return self.put(key, data)


class Resurrecting(MemoryObjectStore):
    """As MinIO before 2025-09: If-Match on a missing key writes."""

    def compare_and_swap(self, key, data, etag):
        return super().compare_and_swap(key, data, etag) if key in self._objects else self.put(key, data)


@pytest.mark.parametrize(("unfit", "said"), [(Overwriting, "overwrote"), (Resurrecting, "missing object")])
def test_the_probe_refuses_an_unfit_store(unfit, said):
    store = unfit()
    with pytest.raises(StoreUnfitError, match=said):
        probe_conditional_writes(store)
    assert keys(store.list("")) == []


def test_seaweedfs_takes_a_folder_for_an_object(s3_store):
    """Why no key of the layout may be another's folder."""
    s3_store.put("p/a/b", b"1")
    with pytest.raises(Conflict):
        s3_store.create("p/a", b"2")
    with pytest.raises(NotFound):
        s3_store.get("p/a")
