"""A deletion is refused as long as a job, a model or a deployment refers to what would go, in the project or, for what is shared, in any."""

import pytest
from tests.unit.dataset.conftest import good_set, zipped

from visionyard.dataset.deletion import Deletions
from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.model import ModelFile, ModelVersion
from visionyard.kit.errors import Code, Reason, YardError
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.status import to_status

SET = ResourceName("default", "datasets", "set")
ONE = f"{SET}/versions/1"


def job(bench, kind, spec, project="default"):
    records = JobRecords(bench.store, kind)
    made, _ = records.create(project, spec, "", "call")
    return made.name, lambda: records.update(made.name, lambda current, _: current.changed(state=JobState.CANCELLED))


def model(bench, dataset_version, project="default", name="m"):
    parent = ResourceName(project, "models", name)
    made = ModelVersion(
        name=VersionName(parent, None), digest="sha256:0", task="detect", class_names=("a",), parameter_count=1, image_size_px=64, stride=32,
        architecture="", weights="best.pt", files={"best.pt": ModelFile("k", 1, "0")}, dataset_version=dataset_version,
    )  # fmt: skip
    return versions.publish(bench.store, parent, made.body(), "maker").name


def refusal(bench, target=SET, number=None):
    with pytest.raises(YardError) as caught:
        deletable(bench, target, number)
    assert caught.value.reason is Reason.DATASET_IN_USE
    return caught.value


def deletable(bench, target=SET, number=None):
    if number is None:
        return Deletions(bench.store).delete_dataset(target, validate_only=True).versions
    return Deletions(bench.store).delete_version(VersionName(target, number), validate_only=True).versions


@pytest.fixture
def two(bench):
    bench.run(zipped(good_set()), "set")
    bench.run(zipped(good_set(6)), "set")
    return bench


@pytest.mark.parametrize("kind", [JobKind.TRAINING, JobKind.EXPORT])
def test_a_job_holds_the_version_that_it_reads_until_it_has_ended(two, kind):
    name, cancel = job(two, kind, {"dataset_version": ONE, "model": "projects/default/models/x"})
    for error in (refusal(two), refusal(two, number=1)):
        assert error.metadata["used_by"] == str(name)
        assert str(name) in error.message
    assert len(deletable(two, number=2)) == 1
    cancel()
    assert len(deletable(two)) == 2


def test_an_import_holds_its_dataset_and_a_derivation_its_sources(two):
    _, cancel = job(two, JobKind.IMPORT, {"dataset": str(SET), "upload": "projects/default/uploads/u"})
    refusal(two)
    assert len(deletable(two, number=1)) == 1, "it makes the next version, and reads none"
    cancel()
    _, cancel = job(two, JobKind.IMPORT, {"dataset": "projects/default/datasets/new", "sources": [ONE]})
    refusal(two)
    refusal(two, number=1)
    assert len(deletable(two, number=2)) == 1
    cancel()
    assert len(deletable(two)) == 2


def test_the_version_that_an_import_has_just_published_stays_until_its_job_has_ended(bench):
    spec = bench.spec(zipped(good_set()), "set")
    records = JobRecords(bench.store, JobKind.IMPORT)
    made, _ = records.create("default", spec.to_json(), "", "call")
    body = {
        "digest": "sha256:0", "task": "detect", "image_count": 1, "label_count": 1, "classes": [], "splits": [], "total_bytes": 1, "stored_bytes": 1,
        "source_format": "yolo", "import_job": str(made.name), "manifest_key": "m", "report_key": "r",
    }  # fmt: skip
    versions.publish(bench.store, SET, body, str(made.name))
    assert refusal(bench, number=1).metadata["used_by"] == str(made.name)


def test_a_model_holds_what_it_was_trained_on_and_its_deployment_is_named_too(two):
    name = model(two, ONE)
    revision = {"model_version": str(name), "artifact": f"{name}/artifacts/0a"}
    Documents(two.store).create("projects/default/deployments/live.json", {"wanted": revision, "request_id": ""})
    error = refusal(two, number=1)
    assert error.metadata["used_by"] == f"{name},projects/default/deployments/live"
    assert error.metadata["used_by_count"] == "2"
    assert error.metadata["name"] == ONE
    assert error.reason.code is Code.FAILED_PRECONDITION
    assert any("PreconditionFailure" in detail.type_url for detail in to_status(error).details)
    assert len(deletable(two, number=2)) == 1


def test_many_users_are_counted_and_some_named(two):
    for n in range(9):
        model(two, ONE, name=f"m{n}")
    error = refusal(two)
    assert error.metadata["used_by"].count(",") == 4
    assert error.metadata["used_by_count"] == "9"
    assert "and 4 more" in error.message


def test_what_is_shared_is_held_from_every_project_and_nothing_else_is(two):
    body = versions.newest(two.store, SET).body
    shared = ResourceName("shared", "datasets", "set")
    versions.publish(two.store, shared, body, "publisher")
    name = model(two, f"{shared}/versions/1", project="far")
    assert refusal(two, shared).metadata["used_by"] == str(name)
    model(two, ONE, project="other")  # somebody's document names it, but no project reaches into another
    assert len(deletable(two)) == 2


def test_a_deletion_that_was_cut_short_is_done_by_the_next(two, monkeypatch):
    real, calls = two.store.compare_and_swap, []

    def dying(*arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(real(*arguments))

    with monkeypatch.context() as patched:
        patched.setattr(two.store, "compare_and_swap", dying)
        with pytest.raises(KeyboardInterrupt):
            Deletions(two.store).delete_dataset(SET, validate_only=False)
    assert [v.number for v in deletable(two)] == [2]
    assert len(Deletions(two.store).delete_dataset(SET, validate_only=False).versions) == 1


def test_a_version_that_is_published_meanwhile_stays_under_the_next_number(two, monkeypatch):
    real = versions.delete

    def late(store, version):
        done = real(store, version)
        if version.name.number == 2:
            versions.publish(store, SET, version.body, "late job")
        return done

    monkeypatch.setattr(versions, "delete", late)
    Deletions(two.store).delete_dataset(SET, validate_only=False)
    assert [v.name.number for v in versions.list_versions(two.store, SET)] == [3]
