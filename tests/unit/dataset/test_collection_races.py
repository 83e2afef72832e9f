"""Collections beside imports that run, die and win races, and beside other projects' collections."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from collecting import (
    WRITES,
    Killed,
    collect,
    collection_of,
    contents,
    delete,
    other_set,
    sizes,
    version_of,
)
from tests.unit.dataset.conftest import good_set, zipped

from visionyard.dataset import pins
from visionyard.dataset.deletion import Deletions
from visionyard.dataset.import_attempt import ImportLimits
from visionyard.dataset.import_job import run_import
from visionyard.dataset.import_spec import ImportSpec
from visionyard.dataset.storage.kinds import Kind
from visionyard.kit.artifacts.dataset import read_dataset_version
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore


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
