"""Attempts of an import that are killed, cancelled, or fail while they tell of it."""

from types import SimpleNamespace

import pytest
from tests.unit.dataset.conftest import good_set, zipped

from visionyard.dataset.held import HeldImages
from visionyard.dataset.import_attempt import ImportLimits
from visionyard.dataset.import_job import run_import
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.service import JobService


class Killed(BaseException):
    """Stands for kill -9: nothing of the attempt runs on."""


def killed_at(bench, context, monkeypatch, write_number):
    """Lets the attempt die before its nth write."""
    writes = 0
    real = {name: getattr(bench.store, name) for name in ("put", "put_file", "create", "delete_many", "delete")}

    def dying(name):
        def call(*arguments, **words):
            nonlocal writes
            writes += 1
            if writes >= write_number:
                raise Killed
            return real[name](*arguments, **words)

        return call

    for name in real:
        monkeypatch.setattr(bench.store, name, dying(name))
    monkeypatch.setattr("visionyard.dataset.import_job._clear_up", lambda *_: None)
    try:
        run_import(context, bench.uploads, ImportLimits())
    except Killed:
        died = True
    else:
        died = False
    monkeypatch.undo()
    return died


@pytest.mark.parametrize("number", range(1, 12))
def test_a_killed_attempt_is_taken_up_and_publishes_once(bench, monkeypatch, number):
    spec = bench.spec(zipped(good_set()))
    context = bench.context(spec)
    died = killed_at(bench, context, monkeypatch, number)
    assert died == (number < 11)
    if died:
        again = bench.context(spec, attempt=2, pointers=context.job.pointers, job=context.job.name)
        context.job.pointers.update(run_import(again, bench.uploads, ImportLimits()))
    keys = bench.listing()
    assert sum("/datasets/" in key for key in keys) == 1
    assert sum("/shards/" in key for key in keys) == 1
    assert sum("/manifests/" in key for key in keys) == 1
    assert sum("/reports/" in key for key in keys) == 1
    assert sum("/index/" in key for key in keys) == 1
    assert not any("/pins/" in key for key in keys)
    other, _ = bench.run(zipped(good_set()), "other")
    assert other.digest
    assert sum("/shards/" in key for key in bench.listing()) == 1


@pytest.mark.parametrize("write", ["put_file", "put"])
def test_an_import_that_kills_every_worker_fails_in_the_end(bench, monkeypatch, tmp_path, write):
    """A worker that dies behind its first shard, or behind the manifest, has announced what it writes, but saved no work."""
    spec = bench.spec(zipped(good_set()))
    service = JobService(bench.store, JobKind.IMPORT)
    job = service.create("default", spec.to_json(), "")
    dispatcher = Dispatcher(bench.store, JobKind.IMPORT, "nothing", [{}], tmp_path, 15.0)
    monkeypatch.setattr("visionyard.dataset.import_job._clear_up", lambda *_: None)
    quiet = SimpleNamespace(cause=None, report=lambda _: None)
    real = getattr(bench.store, write)

    def dying(key, *arguments, **words):
        if "/shards/" in key or "/manifests/" in key:
            raise Killed
        return real(key, *arguments, **words)

    for attempt in range(1, 7):
        taken = dispatcher._settler.claim(service.get(job.name), dispatcher._node, (0,))
        assert taken.attempt == attempt
        scratch = tmp_path / str(attempt)
        scratch.mkdir()
        with monkeypatch.context() as patched:
            patched.setattr(bench.store, write, dying)
            with pytest.raises(Killed):
                run_import(JobContext(taken, service.records, quiet, quiet, scratch, None), bench.uploads, ImportLimits())
        assert service.get(job.name).pointers["written"]
        dispatcher._settler.requeue(taken)
    ended = service.get(job.name)
    assert ended.state is JobState.FAILED
    assert ended.error.reason is Reason.WORKER_CRASHED


def test_a_failure_that_was_not_told_is_told_again(bench, monkeypatch):
    spec = bench.spec(zipped({"readme.md": "no"}))
    context = bench.context(spec)
    with monkeypatch.context() as patched:
        patched.setattr("visionyard.dataset.import_job._clear_up", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run_import(context, bench.uploads, ImportLimits())
    again = bench.context(spec, attempt=2, pointers=context.job.pointers, job=context.job.name)
    with pytest.raises(YardError) as caught:
        run_import(again, bench.uploads, ImportLimits())
    assert caught.value.reason is Reason.NO_IMAGES
    assert not bench.uploads.held


def test_an_unchanged_version_is_told_again(bench, monkeypatch):
    """Killed when its upload was gone already, and its end not written yet."""
    first, _ = bench.run(zipped(good_set()))
    spec = bench.spec(zipped(good_set()))
    context = bench.context(spec)
    delete = bench.uploads.delete

    def delete_and_die(name):
        delete(name)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(bench.uploads, "delete", delete_and_die)
        with pytest.raises(Killed):
            run_import(context, bench.uploads, ImportLimits())
    assert not bench.uploads.held
    again = bench.context(spec, attempt=2, pointers=context.job.pointers, job=context.job.name)
    again.job.pointers.update(run_import(again, bench.uploads, ImportLimits()))
    assert again.job.pointers["version"] == str(first.name)
    assert [finding["code"] for finding in bench.report(again)["findings"]] == ["VERSION_UNCHANGED"]


@pytest.mark.parametrize("where", ["labels/train/train0.txt", "labels/train/orphan.txt"])
def test_a_cancel_is_heard_within_a_long_label_file(bench, where):
    files = {**good_set(), where: "0 0.5 0.5 0 0\n" * 30_000}
    context = bench.context(bench.spec(zipped(files)))
    checks = []
    context.check = lambda: checks.append(1)
    run_import(context, bench.uploads, ImportLimits())
    assert len(checks) > 30


def test_what_stops_an_import_is_heard_between_all_images(bench, monkeypatch):
    """Also between the last ones, which wait for their check together, and however long each takes."""
    monkeypatch.setattr("visionyard.dataset.importing._LISTEN_S", -1.0)
    heard = []
    added, add = [], HeldImages.add
    monkeypatch.setattr(HeldImages, "add", lambda self, image: added.append(len(heard)) or add(self, image))
    context = bench.context(bench.spec(zipped(good_set(40))))
    check = context.check
    context.check = lambda: heard.append(None) or check()
    bench.attempt(context)
    assert len(added) == 60
    assert len(set(added)) == 60


def test_a_cancelled_import_leaves_nothing(bench):
    from visionyard.kit.jobs.lease import JobCancelled

    context = bench.context(bench.spec(zipped(good_set())))
    calls = iter(range(100))

    def check():
        if next(calls) >= 18:
            raise JobCancelled

    context.check = check
    with pytest.raises(JobCancelled):
        run_import(context, bench.uploads, ImportLimits())
    assert not bench.listing()
    assert not bench.uploads.held
