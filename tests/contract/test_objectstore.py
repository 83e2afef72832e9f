"""The contract of the object store, held by every adapter."""

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import Conflict, NotFound, OutcomeUnknown, StoreUnavailable
from visionyard.kit.objectstore.probe import StoreUnfitError, probe_conditional_writes
from visionyard.kit.objectstore.s3 import S3ObjectStore

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


# Races between processes


ROUNDS = 5


def _race(settings, swap_etag, barrier, results):
    store = S3ObjectStore(settings, retry_for_s=30)
    store.ensure_bucket()
    data = str(os.getpid()).encode()
    for round_ in range(ROUNDS):
        for key, write in (
            (f"race/create-{round_}", lambda key: store.create(key, data)),
            (f"race/swap-{round_}", lambda key: store.compare_and_swap(key, data, swap_etag)),
        ):
            barrier.wait()
            try:
                write(key)
                results.put((key, os.getpid()))
            except Conflict:
                results.put((key, None))


def test_of_twelve_processes_one_wins(seaweed, s3_bucket, s3_store):
    swap_etag = {s3_store.put(f"race/swap-{round_}", b"before") for round_ in range(ROUNDS)}.pop()
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(12), context.Queue()
    racers = [context.Process(target=_race, args=(seaweed.settings(s3_bucket), swap_etag, barrier, results)) for _ in range(12)]
    for racer in racers:
        racer.start()
    outcomes = [results.get(timeout=120) for _ in range(12 * ROUNDS * 2)]
    for racer in racers:
        racer.join(30)
    for key in {key for key, _ in outcomes}:
        (winner,) = [pid for each, pid in outcomes if each == key and pid is not None]
        assert s3_store.get(key).data == str(winner).encode()


def test_updates_from_many_threads_are_all_kept(store):
    documents = Documents(store)
    documents.create("p/count", {"n": 0})

    def add():
        for _ in range(5):
            documents.update("p/count", lambda body: {"n": body["n"] + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert documents.read("p/count").body == {"n": 20}


# What networks do


@pytest.fixture
def behind_proxy(seaweed, s3_bucket, proxy):
    return S3ObjectStore(seaweed.settings(s3_bucket, proxy.endpoint), retry_for_s=10)


def test_a_lost_answer_to_a_create_is_not_a_conflict(behind_proxy, proxy):
    documents = Documents(behind_proxy)
    proxy.lose_answers = 1
    made = documents.create("p/doc", {"a": 1})
    assert len(proxy.lost) == 1
    assert made.body == {"a": 1}
    with pytest.raises(Conflict):
        documents.create("p/doc", {"a": 2})
    assert documents.read("p/doc").etag == made.etag


def test_a_lost_answer_to_a_swap_is_not_a_conflict(behind_proxy, proxy):
    documents = Documents(behind_proxy)
    made = documents.create("p/doc", {"a": 1})
    proxy.lose_answers = 1
    swapped = documents.swap(made, {"a": 2})
    assert len(proxy.lost) == 1
    assert documents.read("p/doc") == documents.refresh(swapped)
    assert documents.read("p/doc").body == {"a": 2}
    with pytest.raises(Conflict):
        documents.swap(made, {"a": 3})


def test_a_conditional_write_without_an_answer_is_sent_once(behind_proxy, proxy):
    behind_proxy.put("p/warm", b"")
    proxy.lose_answers = 5
    with pytest.raises(OutcomeUnknown):
        behind_proxy.create("p/a", b"1")
    assert len(proxy.lost) == 1
    proxy.lose_answers = 0
    assert behind_proxy.get("p/a").data == b"1"


def test_plain_writes_and_large_files_survive_lost_answers(behind_proxy, proxy, tmp_path):
    behind_proxy.ensure_bucket()
    proxy.lose_answers = 2
    behind_proxy.put("p/a", b"1")
    assert len(proxy.lost) == 2
    source = tmp_path / "large"
    source.write_bytes(os.urandom(2**20) * 40)
    proxy.lose_answers = 3
    behind_proxy.put_file("p/large", source)
    assert len(proxy.lost) == 5
    behind_proxy.get_file("p/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_a_lost_answer_to_the_last_request_of_a_large_file(behind_proxy, proxy, tmp_path):
    source = tmp_path / "large"
    source.write_bytes(os.urandom(2**20) * 33)
    behind_proxy.ensure_bucket()
    original = proxy._takes_a_loss
    armed = [True]

    def lose_the_completion(line):
        if armed and line.startswith("POST") and "uploadId=" in line:
            armed.clear()
            proxy.lose_answers = 1
        return original(line)

    proxy._takes_a_loss = lose_the_completion
    behind_proxy.put_file("p/large", source)
    assert len(proxy.lost) == 1
    assert behind_proxy.get("p/large").data == source.read_bytes()


def test_reading_goes_on_where_it_broke(behind_proxy, proxy, tmp_path):
    data = os.urandom(2**20) * 6
    behind_proxy.put("p/large", data)
    for read in (
        lambda: behind_proxy.get("p/large").data,
        lambda: behind_proxy.get("p/large", 5).data,
        lambda: (behind_proxy.get_file("p/large", tmp_path / "f"), (tmp_path / "f").read_bytes())[1],
        lambda: behind_proxy.open("p/large", 5).read(),
    ):
        proxy.cut_after = 3_000_000
        asked = len(proxy.requests)
        got = read()
        assert got in {data, data[5:]}
        assert len(proxy.requests) == asked + 2


def test_a_replaced_object_is_not_stitched_together(behind_proxy, proxy, s3_store):
    behind_proxy.put("p/large", b"1" * 6_000_000)
    proxy.cut_after = 3_000_000
    with behind_proxy.open("p/large") as stream:
        stream.read(100)
        s3_store.put("p/large", b"2" * 6_000_000)
        with pytest.raises(StoreUnavailable, match="replaced"):
            stream.read()


def test_a_store_that_is_away_for_a_moment(behind_proxy, proxy):
    behind_proxy.put("p/a", b"1")
    proxy.go_away()
    back = threading.Timer(1.0, proxy.come_back)
    back.start()
    assert behind_proxy.get("p/a").data == b"1"
    back.join()
    proxy.go_away()
    back = threading.Timer(1.0, proxy.come_back)
    back.start()
    behind_proxy.create("p/b", b"1")  # no connection was made, so nothing can have been sent
    back.join()
    assert behind_proxy.get("p/b").data == b"1"


def test_a_store_that_stays_away(seaweed, s3_bucket, proxy, tmp_path):
    store = S3ObjectStore(seaweed.settings(s3_bucket, proxy.endpoint), retry_for_s=0.5)
    etag = store.put("p/a", b"1")
    proxy.go_away()
    (tmp_path / "f").write_bytes(b"x")
    for call in (
        lambda: store.get("p/a"),
        lambda: store.head("p/a"),
        lambda: store.get_if_changed("p/a", etag),
        lambda: list(store.list("p/")),
        lambda: store.put("p/a", b"2"),
        lambda: store.create("p/b", b"2"),
        lambda: store.compare_and_swap("p/a", b"2", etag),
        lambda: store.delete("p/a"),
        lambda: store.delete_many(["p/a"]),
        lambda: store.get_file("p/a", tmp_path / "g"),
    ):
        begin = datetime.now(UTC)
        with pytest.raises(StoreUnavailable, match=proxy.endpoint):
            call()
        assert datetime.now(UTC) - begin < timedelta(seconds=4)


def test_wrong_keys_are_said_at_once(seaweed, s3_bucket):
    settings = seaweed.settings(s3_bucket)
    store = S3ObjectStore(type(settings)(settings.endpoint, s3_bucket, settings.access_key, "wrong" * 5), retry_for_s=20)
    begin = datetime.now(UTC)
    with pytest.raises(StoreUnavailable, match="AccessDenied"):
        store.get("p/a")
    assert datetime.now(UTC) - begin < timedelta(seconds=5)
    assert "wrong" not in repr(settings)


def test_the_bucket_is_made_where_it_is_missing(seaweed):
    store = S3ObjectStore(seaweed.settings("made-by-the-first-call"), retry_for_s=20)
    with pytest.raises(NotFound):
        store.get("p/a")
    store.put("p/a", b"1")
    other = S3ObjectStore(seaweed.settings("made-by-the-first-call"), retry_for_s=20)
    other.ensure_bucket()
    assert keys(other.list("p/")) == ["p/a"]
