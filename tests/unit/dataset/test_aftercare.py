"""What imports leave that ended without their worker: it goes, unless a version refers to it."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.dataset.conftest import good_set, zipped

from visionyard.dataset import pins
from visionyard.dataset.aftercare import Aftercare
from visionyard.dataset.import_attempt import ImportLimits
from visionyard.dataset.import_job import run_import
from visionyard.dataset.metrics import Metrics
from visionyard.kit.artifacts import versions
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.lease import LeaseLost
from visionyard.kit.jobs.model import JobKind, JobState, heartbeat_key
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ResourceName


class Killed(BaseException):
    pass


@pytest.fixture
def line(bench, tmp_path, monkeypatch):
    """A service's parts over a store in memory."""
    service = JobService(bench.store, JobKind.IMPORT)
    dispatcher = Dispatcher(bench.store, JobKind.IMPORT, "nothing", [{}], tmp_path, 15.0)
    monkeypatch.setattr("visionyard.dataset.import_job._clear_up", lambda *_: None)  # a killed worker clears nothing

    def care():
        return Aftercare(service.records, bench.uploads, Metrics(CollectorRegistry()), timedelta(days=7))

    def attempt(name, dies_after):
        """One attempt whose worker dies behind the given move: of a pointer, or `publish`."""
        taken = dispatcher._settler.claim(service.get(name), dispatcher._node, (0,))
        scratch = tmp_path / str(taken.attempt)
        scratch.mkdir()
        quiet = SimpleNamespace(cause=None, report=lambda _: None)
        context = JobContext(taken, service.records, quiet, quiet, scratch, None)
        point, publish = context.point, versions.publish

        def dying_point(**pointers):
            point(**pointers)
            if dies_after in pointers:
                raise Killed

        def dying_publish(*arguments):
            if dies_after == "publish":
                publish(*arguments)
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(context, "point", dying_point)
            patched.setattr(versions, "publish", dying_publish)
            with pytest.raises(Killed):
                run_import(context, bench.uploads, ImportLimits())
        bench.store.put(heartbeat_key(name, taken.attempt), b"{}")
        return taken

    def queued():
        return service.create("default", bench.spec(zipped(good_set())).to_json(), "").name

    return SimpleNamespace(service=service, dispatcher=dispatcher, care=care, attempt=attempt, queued=queued)


def left(bench):
    return [key for key in bench.listing() if any(f"/{kind}/" in key for kind in ("shards", "manifests", "reports", "index"))]


@pytest.mark.parametrize("seen", [True, False])
def test_a_job_cancelled_behind_its_decision_leaves_nothing(bench, line, monkeypatch, seen):
    """Whether the service saw it end or was started later."""
    name, care = line.queued(), line.care()
    care.look()
    line.dispatcher._settler.requeue(line.attempt(name, "prepared"))
    assert len(left(bench)) == 3
    line.service.cancel(name)
    if not seen:
        care = line.care()
    care.look()
    assert len(left(bench)) == 3, "its worker was heard a moment ago and may be publishing"
    monkeypatch.setattr(pins, "SILENCE", timedelta(0))
    care.look()
    assert not left(bench)
    assert not bench.uploads.held
    assert line.service.get(name).state is JobState.CANCELLED
    assert not line.service.get(name).pointers["written"]


def test_what_a_version_refers_to_stays(bench, line, monkeypatch):
    monkeypatch.setattr(pins, "SILENCE", timedelta(0))
    name, care = line.queued(), line.care()
    care.look()
    line.dispatcher._settler.requeue(line.attempt(name, "publish"))
    line.service.cancel(name)
    written = left(bench)
    care.look()
    assert left(bench) == written
    assert len(written) == 3
    assert not bench.uploads.held


def test_what_a_version_held_that_was_deleted_since_is_left_to_a_collection(bench, line, monkeypatch):
    """Another version may refer to it by now."""
    monkeypatch.setattr(pins, "SILENCE", timedelta(0))
    name, care = line.queued(), line.care()
    care.look()
    line.dispatcher._settler.requeue(line.attempt(name, "publish"))
    line.service.cancel(name)
    written = left(bench)
    versions.delete(bench.store, versions.newest(bench.store, ResourceName("default", "datasets", "set")))
    care.look()
    assert left(bench) == written


def test_a_worker_that_wakes_behind_the_end_publishes_nothing(bench, line, tmp_path):
    name = line.queued()
    taken = line.attempt(name, "prepared")
    line.dispatcher._settler.requeue(taken)
    line.service.cancel(name)
    scratch = tmp_path / "again"
    scratch.mkdir()
    quiet = SimpleNamespace(cause=None, report=lambda _: None)
    frozen = JobContext(taken, line.service.records, quiet, quiet, scratch, None)
    frozen.job = taken.changed(pointers=line.service.get(name).pointers)
    with pytest.raises(LeaseLost):
        run_import(frozen, bench.uploads, ImportLimits())
    assert not [key for key in bench.listing() if "/datasets/" in key]


def test_a_worker_that_was_taken_over_and_then_fails_takes_nothing_from_its_successor(bench, line, tmp_path, monkeypatch):
    """Its scratch folder may be gone, or its disk be full: what it raises then is no word about the job, whose upload and pin the other attempt needs."""
    monkeypatch.undo()  # the real clearing up
    name = line.queued()
    taken = line.dispatcher._settler.claim(line.service.get(name), line.dispatcher._node, (0,))
    scratch = tmp_path / "1"
    scratch.mkdir()

    def report(phase, *_):
        if phase == "checking images":
            line.service.records.update(name, lambda job, _: job.changed(attempt=job.attempt + 1))
            raise OSError(28, "No space left on device")

    quiet = SimpleNamespace(cause=None, report=lambda *_: None)
    context = JobContext(taken, line.service.records, quiet, quiet, scratch, None)
    monkeypatch.setattr(context, "report", report)
    uploads = bench.uploads.held
    with pytest.raises(LeaseLost):
        run_import(context, bench.uploads, ImportLimits())
    assert bench.uploads.held == uploads
    assert bench.store.head(pins.pin_key(name))


@pytest.mark.parametrize("seen", [True, False])
def test_a_job_that_dies_before_its_decision_leaves_nothing(bench, line, seen):
    name, care = line.queued(), line.care()
    care.look()
    taken = line.dispatcher._settler.claim(line.service.get(name), line.dispatcher._node, (0,))
    key = "projects/default/shards/0.tar"
    bench.store.put(key, b"x")
    line.service.records.update(name, lambda job, _: job.changed(pointers={"written": [key]}))
    line.service.cancel(name)
    line.dispatcher._settler.finish_cancel(line.service.get(name))
    assert taken.attempt == 1
    if not seen:
        care = line.care()
    care.look()
    assert not left(bench)
    assert not bench.uploads.held


def test_jobs_cleared_once_are_not_cleared_by_every_service_that_starts(bench, line, monkeypatch):
    name = line.queued()
    line.dispatcher._settler.claim(line.service.get(name), line.dispatcher._node, (0,))
    line.service.records.update(
        name, lambda job, _: job.changed(state=JobState.FAILED, pointers={"written": ["projects/default/shards/0.tar"]})
    )
    deleted = []
    real = bench.store.delete_many
    monkeypatch.setattr(bench.store, "delete_many", lambda keys: deleted.append(list(keys)) or real(keys))
    for _ in range(3):
        line.care().look()
    assert [keys for keys in deleted if keys] == [["projects/default/shards/0.tar"]]
