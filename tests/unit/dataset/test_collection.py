"""What a collection frees, and what it must never touch, also where it is killed anywhere."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from collecting import (
    WRITES,
    Killed,
    collect,
    collection_of,
    contents,
    dataset,
    delete,
    downloaded,
    mostly_deleted,
    other_set,
    sizes,
    version_of,
)
from tests.unit.dataset.conftest import good_set, zipped

from visionyard.dataset.catalogue import Catalogue
from visionyard.dataset.deletion import Deletions
from visionyard.dataset.storage import lease as lease_module
from visionyard.dataset.storage.accounting import account
from visionyard.dataset.storage.kinds import Kind
from visionyard.kit.artifacts.dataset import read_images
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.objectstore.memory import MemoryObjectStore


def test_what_a_deleted_dataset_held_is_freed_and_nothing_else(bench, tmp_path):
    bench.run(zipped(good_set()), "set")
    before_other = sizes(bench)
    kept, _ = bench.run(zipped(other_set()), "other")
    seen = downloaded(bench, kept)
    whole = sizes(bench)
    deletion = delete(bench, "set")
    assert [v.number for v in deletion.versions] == [1]
    result = collect(bench, tmp_path)
    gone = {key: size for key, size in whole.items() if key not in sizes(bench)}
    grown = {key: size for key, size in sizes(bench).items() if key not in whole}
    assert result.freed_bytes == sum(gone.values()) - sum(grown.values())
    assert {key for key in gone if "/index/" not in key} == {
        key for key in before_other if any(f"/{kind}/" in key for kind in ("shards", "manifests", "reports"))
    }
    assert result.deleted[Kind.SHARDS].count == 1
    assert deletion.freeable_bytes <= result.freed_bytes + 4096
    assert downloaded(bench, kept) == seen
    again = collect(bench, tmp_path)
    assert (again.freed_bytes, again.deleted) == (0, {})
    assert not again.before.unknown


def test_a_shared_image_stays_as_long_as_one_version_holds_it(bench, tmp_path):
    first, _ = bench.run(zipped(good_set()), "set")
    second, _ = bench.run(zipped(good_set()), "twin")
    assert second.digest == first.digest
    delete(bench, "set")
    result = collect(bench, tmp_path)
    assert Kind.SHARDS not in result.deleted
    assert len(contents(bench, second)) == 6
    delete(bench, "twin")
    assert collect(bench, tmp_path).deleted[Kind.SHARDS].count == 1
    assert sizes(bench) == {key: size for key, size in sizes(bench).items() if "/versions/" in key}


def test_numbers_are_not_given_out_again(bench, tmp_path):
    bench.run(zipped(good_set()), "set")
    second, _ = bench.run(zipped(good_set(6)), "set")
    assert delete(bench, "set", 2).versions == (second.name,)
    assert version_of(bench).name.number == 1
    with pytest.raises(YardError) as caught:
        delete(bench, "set", 2)
    assert caught.value.reason is Reason.DATASET_VERSION_NOT_FOUND
    assert "no longer" in caught.value.message
    third, _ = bench.run(zipped(good_set(6)), "set")
    assert third.name.number == 3
    assert third.digest == second.digest
    delete(bench, "set")
    for call in (lambda: delete(bench, "set"), lambda: version_of(bench), lambda: Catalogue(bench.store).get_dataset(dataset())):
        with pytest.raises(YardError) as caught:
            call()
        assert caught.value.reason is Reason.DATASET_NOT_FOUND
    assert Catalogue(bench.store).list_datasets("default", 10, "") == ([], "")
    fourth, _ = bench.run(zipped(good_set()), "set")
    assert fourth.name.number == 4


def test_a_rehearsal_changes_nothing_and_says_what_would_go(bench, tmp_path):
    bench.run(zipped(good_set()), "set")
    assert Deletions(bench.store).delete_dataset(dataset(), validate_only=True).versions
    assert version_of(bench)
    delete(bench)
    before = {entry.key: entry.etag for entry in bench.store.list("")}
    rehearsed = collection_of(bench, tmp_path)
    for _ in rehearsed.rehearse():
        pass
    assert {entry.key: entry.etag for entry in bench.store.list("")} == before
    done = collect(bench, tmp_path)
    assert {kind: amount for kind, amount in done.deleted.items() if kind is not Kind.INDEX} == rehearsed.result.deleted
    index = done.deleted.get(Kind.INDEX)
    assert rehearsed.result.freed_bytes == done.freed_bytes - (index.size if index else 0)


def test_what_is_young_waits_for_the_stores_clock(bench, tmp_path):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    bench.store = MemoryObjectStore(lambda: now)
    bench.run(zipped(good_set()), "set")
    delete(bench)
    first = collect(bench, tmp_path, timedelta(hours=1))
    assert (first.freed_bytes, first.young.count) == (0, 3)
    bench.run(zipped(good_set()), "twin")
    assert sum("/shards/" in key for key in sizes(bench)) == 1, "what is still there is used, not stored again"
    delete(bench, "twin")
    now += timedelta(hours=2)
    assert collect(bench, tmp_path, timedelta(hours=1)).deleted[Kind.SHARDS].count == 1


def test_a_shard_that_is_mostly_dead_is_rewritten(bench, tmp_path, monkeypatch):
    _, small = mostly_deleted(bench, monkeypatch)
    old_rows, seen, listed = bench.rows(small), contents(bench, small), downloaded(bench, small)
    delete(bench, "big")
    assert account(bench.store, "default").dead_shard_bytes > 0
    before = sizes(bench)
    result = collect(bench, tmp_path)
    after = sizes(bench)
    assert result.rewritten_shards == 1
    documents = "projects/default/datasets/small/versions/00000001.json"
    assert result.freed_bytes == sum(before.values()) - sum(after.values()) + (after[documents] - before[documents]) > 0
    moved = version_of(bench, "small")
    assert (moved.digest, moved.create_time, moved.name) == (small.digest, small.create_time, small.name)
    assert moved.manifest_key != small.manifest_key
    assert [(r.name, r.labels, r.sha256) for r in bench.rows(moved)] == [(r.name, r.labels, r.sha256) for r in old_rows]
    assert not {r.shard for r in old_rows} & set(after)
    assert contents(bench, moved) == seen
    # Readers that had read the version, its rows, or half of its files before.
    assert downloaded(bench, small) == listed
    assert {row.name: data for row, data in read_images(bench.store, old_rows, small)} == seen
    assert collect(bench, tmp_path).freed_bytes == 0
    assert not list((tmp_path / "collections").iterdir())
    # The index tells where they lie now: nothing is stored again.
    bench.run(zipped({p: c for p, c in good_set(8).items() if p == "data.yaml" or "train0." in p or "val0." in p}), "third")
    assert sum("/shards/" in key for key in sizes(bench)) == 1


def dying(bench, monkeypatch, number):
    """The store's nth write from now on kills; gives the number of writes that there were."""
    count = [0]
    for name in WRITES:
        real = getattr(bench.store, name)

        def call(*arguments, real=real, name=name, **words):
            if threading.current_thread() is threading.main_thread():
                count[0] += 1
                if count[0] == number and name == "delete_many":
                    for key in list(arguments[0])[:1]:  # it dies in the midst of it
                        MemoryObjectStore.delete(bench.store, key)
                    raise Killed
                if count[0] >= number:
                    raise Killed
            return real(*arguments, **words)

        monkeypatch.setattr(bench.store, name, call)
    return count


@pytest.mark.parametrize("number", range(1, 21))
def test_killed_at_any_write_the_bucket_is_right_and_the_next_one_finishes(bench, tmp_path, monkeypatch, number):
    _, small = mostly_deleted(bench, monkeypatch)
    bench.run(zipped(other_set()), "gone")
    seen = contents(bench, small)
    delete(bench, "big")
    delete(bench, "gone")
    with monkeypatch.context() as patched:
        dying(bench, patched, number)
        try:
            collect(bench, tmp_path)
        except Killed:
            died = True
        else:
            died = False
    assert died == (number < 20)
    assert contents(bench, version_of(bench, "small")) == seen
    for entry in bench.store.list("projects/default/index/"):
        assert bench.store.get(entry.key).data
    monkeypatch.setattr(lease_module, "_DEAD", timedelta(0))
    collect(bench, tmp_path)
    assert contents(bench, version_of(bench, "small")) == seen
    kinds = [key.split("/")[2] for key in sizes(bench) if "/datasets/" not in key]
    assert sorted(kinds) == ["index", "manifests", "reports", "shards"]
    assert collect(bench, tmp_path).freed_bytes == 0
    again, _ = bench.run(zipped(good_set(8)), "again")
    assert len(contents(bench, again)) == 12


def test_one_collection_at_a_time(bench, tmp_path):
    bench.run(zipped(good_set()))
    first = collection_of(bench, tmp_path).run()
    next(first)
    with pytest.raises(YardError) as caught:
        collect(bench, tmp_path)
    assert caught.value.reason is Reason.COLLECTION_RUNNING
    first.close()
    collect(bench, tmp_path)


def test_a_collector_that_was_taken_over_deletes_nothing(bench, tmp_path, monkeypatch):
    bench.run(zipped(good_set()))
    delete(bench)
    monkeypatch.setattr(lease_module, "_DEAD", timedelta(0))
    frozen = collection_of(bench, tmp_path).run()
    next(frozen)
    other = collection_of(bench, tmp_path).run()
    next(other)
    before = sizes(bench)
    with pytest.raises(YardError) as caught:
        list(frozen)
    assert caught.value.reason is Reason.COLLECTION_RUNNING
    assert sizes(bench) == before
    other.close()


def test_unknown_objects_are_told_and_left_alone(bench, tmp_path):
    bench.run(zipped(good_set()))
    for key in ("shards/readme.txt", "secrets", "datasets/set/notes.json"):
        bench.store.put(f"projects/default/{key}", b"what is this?")
    delete(bench)
    result = collect(bench, tmp_path)
    assert sorted(result.before.unknown) == [
        "projects/default/datasets/set/notes.json",
        "projects/default/secrets",
        "projects/default/shards/readme.txt",
    ]
    assert bench.store.get("projects/default/secrets").data


def test_a_version_without_its_manifest_stops_the_collection(bench, tmp_path):
    version, _ = bench.run(zipped(good_set()))
    bench.run(zipped(other_set()), "gone")
    delete(bench, "gone")
    bench.store.delete(version.manifest_key)
    before = sizes(bench)
    with pytest.raises(YardError) as caught:
        collect(bench, tmp_path)
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
    assert sizes(bench) == before
    delete(bench)
    assert collect(bench, tmp_path).deleted[Kind.SHARDS].count == 2
