"""What a collection frees, and what it must never touch: over imports that run, die and win races, and over a service that is killed anywhere."""

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from tests.unit.dataset.conftest import good_set, picture, zipped

from visionyard.dataset import pins
from visionyard.dataset.catalogue import Catalogue
from visionyard.dataset.deletion import Deletions
from visionyard.dataset.import_attempt import ImportLimits
from visionyard.dataset.import_job import run_import
from visionyard.dataset.import_spec import ImportSpec
from visionyard.dataset.storage import lease as lease_module
from visionyard.dataset.storage.accounting import account
from visionyard.dataset.storage.collection import Collection
from visionyard.dataset.storage.kinds import Kind
from visionyard.kit.artifacts.dataset import read_dataset_version, read_images, read_manifest
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore

NO_GRACE = timedelta(0)


def dataset(name="set"):
    return ResourceName("default", "datasets", name)


def version_of(bench, name="set", number=None):
    return read_dataset_version(bench.store, VersionName(dataset(name), number))


def collection_of(bench, tmp_path, grace=NO_GRACE, project="default"):
    return Collection(bench.store, JobRecords(bench.store, JobKind.IMPORT), project, grace, tmp_path / "collections")


def collect(bench, tmp_path, grace=NO_GRACE, project="default"):
    made = collection_of(bench, tmp_path, grace, project)
    for _ in made.run():
        pass
    return made.result


def delete(bench, name="set", number=None):
    deletions = Deletions(bench.store)
    if number is None:
        return deletions.delete_dataset(dataset(name), validate_only=False)
    return deletions.delete_version(VersionName(dataset(name), number), validate_only=False)


def sizes(bench):
    return {entry.key: entry.size for entry in bench.store.list("projects/default/") if "/collection.json" not in entry.key}


def contents(bench, version):
    """Everything that a version gives its readers."""
    return {row.name: data for row, data in read_images(bench.store, read_manifest(bench.store, version), version)}


def downloaded(bench, version):
    return [(part.path, part.data) for part in Catalogue(bench.store).download(version, "yolo", "", 0).parts]


def other_set(count=4):
    """A set that shares no image with good_set."""
    return {path: (picture(500 + i) if path.endswith(".jpg") else content) for i, (path, content) in enumerate(good_set(count).items())}


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


def mostly_deleted(bench, monkeypatch):
    """A version that keeps 2 of the 12 images of a shard; the one that held them all is deleted."""
    big, _ = bench.run(zipped(good_set(8)), "big")
    files = good_set(8)
    few = {p: c for p, c in files.items() if p == "data.yaml" or any(f"{n}." in p for n in ("train0", "val0"))}
    small, _ = bench.run(zipped(few), "small")
    assert {row.shard for row in bench.rows(small)} == {row.shard for row in bench.rows(big)}
    return big, small


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


class Killed(BaseException):
    """Stands for kill -9 of the service."""


WRITES = ("put", "put_file", "create", "compare_and_swap", "delete_many", "delete")


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


# Imports that run beside a collection.


class Line:
    """Real job records over the bench's store, for imports that a collection must see."""

    def __init__(self, bench):
        self.bench = bench
        self.records = JobRecords(bench.store, JobKind.IMPORT)

    def begin(self, archive, name):
        spec = self.bench.spec(archive, name)
        job, _ = self.records.create("default", spec.to_json(), "", "call")
        job = self.records.update(job.name, lambda j, _: j.changed(state=JobState.RUNNING, attempt=1))
        context = self.bench.context(spec, job=job.name)

        def move(**pointers):
            context.job.pointers.update(pointers)
            self.records.update(job.name, lambda j, _: j.changed(pointers=dict(context.job.pointers)))

        context.point = context.announce = move
        return context

    def finish(self, context, state=JobState.SUCCEEDED, **pointers):
        self.records.update(context.job.name, lambda j, _: j.changed(state=state, pointers={**j.pointers, **pointers}))

    def run(self, context):
        result = run_import(context, self.bench.uploads, ImportLimits())
        self.finish(context, **result)
        return read_dataset_version(self.bench.store, VersionName.parse(result["version"], "datasets"))


def in_thread(work):
    """Runs beside the test; gives the thread and where its result or error goes."""
    found = SimpleNamespace(value=None, error=None)

    def go():
        try:
            found.value = work()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            found.error = error

    thread = threading.Thread(target=go)
    thread.start()
    return thread, found


PHASES = ["checking images", "writing the manifest", "publishing"]


@pytest.mark.parametrize("phase", PHASES)
def test_what_a_running_import_was_told_of_is_not_deleted(bench, tmp_path, phase):
    """It read the index while the images' last version was there; then that is deleted, and a collection runs while the import stands still."""
    bench.run(zipped(good_set()), "set")
    line = Line(bench)
    context = line.begin(zipped(good_set()), "late")
    reached, go_on = threading.Event(), threading.Event()

    def report(name, *_):
        if name == phase:
            reached.set()
            assert go_on.wait(20)

    context.report = report
    thread, found = in_thread(lambda: line.run(context))
    assert reached.wait(20)
    delete(bench, "set")
    result = collect(bench, tmp_path)
    assert result.pinning_jobs == [context.job.name]
    assert Kind.SHARDS not in result.deleted
    go_on.set()
    thread.join()
    assert found.error is None
    assert len(contents(bench, found.value)) == 6
    assert collect(bench, tmp_path).freed_bytes == 0
    delete(bench, "late")
    assert collect(bench, tmp_path).deleted[Kind.SHARDS].count == 1


def at_step(bench, monkeypatch, step, work):
    """Has ``work`` done before the main thread's nth call of the store, once; gives a list of what it returned."""
    count, done = 0, []

    def hooked(real):
        def call(*arguments, **words):
            nonlocal count
            if threading.current_thread() is threading.main_thread():
                count += 1
                if count == step and not done:
                    done.append(None)
                    done[0] = work()
            return real(*arguments, **words)

        return call

    for name in ("get", "head", "list", *WRITES):
        monkeypatch.setattr(bench.store, name, hooked(getattr(bench.store, name)))
    return done


def deleted_set(bench, archive):
    """A bucket with a version that nobody needs, and one that somebody does."""
    bench.store = MemoryObjectStore()
    bench.run(archive, "set")
    bench.run(zipped(other_set(2)), "kept")
    delete(bench, "set")
    return Line(bench)


STEPS = range(1, 70)


def test_an_import_at_every_step_of_a_collection_gets_a_whole_version(bench, tmp_path, monkeypatch):
    """The import runs from beginning to end between any two calls that the collection makes to the store."""
    archive = zipped(good_set())
    for step in STEPS:
        line = deleted_set(bench, archive)
        with monkeypatch.context() as patched:
            made = at_step(bench, patched, step, lambda line=line: line.run(line.begin(archive, "late")))
            collect(bench, tmp_path)
        if not made:
            break
        for _ in range(2):
            assert len(contents(bench, version_of(bench, "late"))) == 6, f"step {step}"
            assert len(contents(bench, version_of(bench, "kept"))) == 3, f"step {step}"
            collect(bench, tmp_path)
        assert sum("/pins/" in key for key in sizes(bench)) == 0
    assert 20 < step < STEPS[-1], "the collection made another number of calls than this test is made for"


@pytest.mark.parametrize("deleted_now", [False, True])
def test_an_import_that_begins_at_any_step_of_a_collection_and_ends_behind_it_gets_a_whole_version(
    bench, tmp_path, monkeypatch, deleted_now
):
    """It reads the index between any two calls that the collection makes to the store, and uses what it was told when all is deleted.

    The last version that held its images is deleted before the collection, or in the midst of it.
    """
    archive = zipped(good_set())
    for step in STEPS:
        line = deleted_set(bench, archive)
        if deleted_now:
            bench.run(archive, "set")
        context, read, go_on = line.begin(archive, "late"), threading.Event(), threading.Event()

        def report(phase, *_, read=read, go_on=go_on):
            if phase == "checking images":
                read.set()
                assert go_on.wait(20)

        def begin(line=line, context=context, read=read):
            if deleted_now:
                delete(bench, "set")
            begun = in_thread(lambda: line.run(context))
            assert read.wait(20)
            return begun

        context.report = report
        with monkeypatch.context() as patched:
            begun = at_step(bench, patched, step, begin)
            collect(bench, tmp_path)
        go_on.set()
        if not begun:
            break
        thread, found = begun[0]
        thread.join()
        assert found.error is None
        for _ in range(2):
            assert len(contents(bench, version_of(bench, "late"))) == 6, f"step {step}"
            collect(bench, tmp_path)
        delete(bench, "late")
        collect(bench, tmp_path)
        assert sum("/shards/" in key for key in sizes(bench)) == 1, f"step {step}: only what `kept` holds"
    assert 15 < step < STEPS[-1]


def test_a_collection_at_every_step_of_an_import_leaves_a_whole_version(bench, tmp_path, monkeypatch):
    archive = zipped(good_set())

    def deleted_and_collected():
        delete(bench, "set")
        collect(bench, tmp_path)
        return True

    for step in STEPS:
        bench.store = MemoryObjectStore()
        bench.run(archive, "set")
        line = Line(bench)
        context = line.begin(archive, "late")
        with monkeypatch.context() as patched:
            collected = at_step(bench, patched, step, deleted_and_collected)
            version = line.run(context)
        if not collected:
            break
        assert len(contents(bench, version)) == 6, f"step {step}"
    assert 15 < step < STEPS[-1]


def test_what_killed_imports_left_goes_when_their_jobs_are_over(bench, tmp_path, monkeypatch):
    line = Line(bench)
    context = line.begin(zipped(good_set()), "set")
    with monkeypatch.context() as patched:
        patched.setattr("visionyard.dataset.import_job._clear_up", lambda *_: None)
        patched.setattr(context, "point", lambda **_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run_import(context, bench.uploads, ImportLimits())
    left = {key for key in sizes(bench) if any(f"/{kind}/" in key for kind in ("shards", "manifests", "reports"))}
    assert len(left) == 3
    assert collect(bench, tmp_path).freed_bytes == 0, "the job may go on"
    line.finish(context, JobState.FAILED)
    bench.store.put(f"{context.job.name}/attempts/1/heartbeat", b"{}")
    assert collect(bench, tmp_path).freed_bytes == 0, "its worker was heard a moment ago"
    monkeypatch.setattr(pins, "SILENCE", timedelta(0))
    result = collect(bench, tmp_path)
    assert sum(amount.count for amount in result.deleted.values()) == 3
    assert not any("/pins/" in key for key in sizes(bench))


# The shared project's collection moves versions of other projects.


def borrowed(bench):
    """A version of the default project whose images lie in a shard of the shared one that is mostly dead."""
    upload = bench.uploads.take(zipped(good_set(6)))
    context = bench.context(ImportSpec(ResourceName("shared", "datasets", "all"), upload))
    result = bench.attempt(context)
    whole = read_dataset_version(bench.store, VersionName.parse(result["version"], "datasets"))
    bench.derive("subset", whole, dataset="few", size=3, seed=1)
    Deletions(bench.store).delete_dataset(whole.name.parent, validate_only=False)
    return version_of(bench, "few")


def test_a_shared_shard_is_rewritten_under_the_versions_of_other_projects(bench, tmp_path):
    few = borrowed(bench)
    seen = contents(bench, few)
    assert collect(bench, tmp_path, project="shared").rewritten_shards == 1
    assert contents(bench, version_of(bench, "few")) == seen
    collect(bench, tmp_path, project="default")
    assert contents(bench, version_of(bench, "few")) == contents(bench, few) == seen


def test_another_projects_collection_takes_no_manifest_that_the_shared_one_is_about_to_move_to(bench, tmp_path, monkeypatch):
    """It lies there a moment before the version names it."""
    seen = contents(bench, borrowed(bench))
    swap, met = bench.store.compare_and_swap, []

    def between(key, *arguments, **words):
        if key.startswith("projects/default/datasets/few/") and not met:
            met.append(None)
            other = collection_of(bench, tmp_path, project="default")
            try:
                met[0] = list(other.run())
            except YardError as error:
                met[0] = error.reason
        return swap(key, *arguments, **words)

    monkeypatch.setattr(bench.store, "compare_and_swap", between)
    collect(bench, tmp_path, project="shared")
    assert met == [Reason.COLLECTION_RUNNING]
    assert contents(bench, version_of(bench, "few")) == seen


def test_where_another_project_is_being_collected_its_versions_are_not_moved(bench, tmp_path):
    """The shard that they refer to stays, and the next collection moves them."""
    seen = contents(bench, borrowed(bench))
    other = collection_of(bench, tmp_path, project="default")
    steps = other.run()
    next(steps)
    assert Kind.SHARDS not in collect(bench, tmp_path, project="shared").deleted
    assert contents(bench, version_of(bench, "few")) == seen
    for _ in steps:
        pass
    assert contents(bench, version_of(bench, "few")) == seen
    collect(bench, tmp_path, project="shared")
    freed = collect(bench, tmp_path, project="shared")
    assert freed.freed_bytes == 0
    assert sum("/shards/" in entry.key for entry in bench.store.list("projects/shared/")) == 1
    assert contents(bench, version_of(bench, "few")) == seen
