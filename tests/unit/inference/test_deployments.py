from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from visionyard.inference.deployment import Wanted, is_triton_model
from visionyard.inference.deployments import Deployments
from visionyard.kit.artifacts import exported, versions
from visionyard.kit.artifacts.exported import Artifact, ArtifactFormat, Comparison
from visionyard.kit.artifacts.model import ModelFile, ModelVersion
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ArtifactName, ProjectName, ResourceName, VersionName
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.vision.letterbox import LetterboxMode

MODEL = ResourceName("p", "models", "m")
NAME = ResourceName("p", "deployments", "d")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore(Clock())


@pytest.fixture
def deployments(store: MemoryObjectStore) -> Deployments:
    return Deployments(store, Documents(store))


def version(store: MemoryObjectStore, number: int) -> VersionName:
    body = ModelVersion(
        VersionName(MODEL, None), "sha256:0", "detect", ("a",), 1, 64, 32, "", "best.pt", {"best.pt": ModelFile("k", 1, "0")}
    ).body()
    return versions.publish(store, MODEL, body, made_by=str(number)).name


def artifact(store: MemoryObjectStore, of: VersionName, id_: str) -> ArtifactName:
    name = ArtifactName(of, id_)
    nothing = Comparison("nothing", 1, 0.0, 0.0, 1.0, 1.0, 0)
    exported.publish_artifact(store, Artifact(name, ArtifactFormat.ONNX, {}, "sha256:0", 1, ("a",), 32, 64, 10, False, nothing))
    return name


def wanted(of: VersionName, name: ArtifactName | None = None, letterbox: LetterboxMode = LetterboxMode.RECT) -> Wanted:
    return Wanted(of, name, letterbox)


def refusal(call: object, *arguments: object) -> Reason:
    with pytest.raises(YardError) as raised:
        call(*arguments)  # type: ignore[operator]
    return raised.value.reason


def test_the_newest_version_and_artifact_are_taken_and_held(store: MemoryObjectStore, deployments: Deployments) -> None:
    artifact(store, version(store, 1), "old")
    second = version(store, 2)
    artifact(store, second, "b")
    newest = artifact(store, second, "a")
    made = deployments.create(NAME, wanted(VersionName(MODEL, None)), "")
    assert (made.wanted.model_version, made.wanted.artifact) == (second, newest)
    artifact(store, version(store, 3), "c")
    assert deployments.get(NAME) == made


def test_a_version_that_was_not_exported_says_what_to_run(store: MemoryObjectStore, deployments: Deployments) -> None:
    with pytest.raises(YardError) as raised:
        deployments.create(NAME, wanted(version(store, 1)), "")
    assert raised.value.reason is Reason.ARTIFACT_NOT_FOUND
    assert "yard export m@1" in raised.value.message


def test_the_same_request_makes_one_deployment(store: MemoryObjectStore, deployments: Deployments) -> None:
    first = version(store, 1)
    artifact(store, first, "a")
    made = deployments.create(NAME, wanted(first), "request")
    assert deployments.create(NAME, wanted(first), "request") == made
    assert refusal(deployments.create, NAME, wanted(first), "another") is Reason.ALREADY_EXISTS
    assert refusal(deployments.create, NAME, wanted(first), "") is Reason.ALREADY_EXISTS


def test_a_request_id_that_comes_with_another_wish_is_refused(store: MemoryObjectStore, deployments: Deployments) -> None:
    first = version(store, 1)
    name = artifact(store, first, "a")
    made = deployments.create(NAME, wanted(VersionName(MODEL, None)), "request")
    second = version(store, 2)
    artifact(store, second, "b")
    # The newest version is another one now, but what is asked for is the same.
    assert deployments.create(NAME, wanted(VersionName(MODEL, None)), "request") == made
    for other in (wanted(first), wanted(second), wanted(first, name), wanted(VersionName(MODEL, None), None, LetterboxMode.SQUARE)):
        assert refusal(deployments.create, NAME, other, "request") is Reason.REQUEST_ID_REUSED
    changed = deployments.update(NAME, {"letterbox": LetterboxMode.SQUARE}, "", made.wanted.id)
    assert deployments.create(NAME, wanted(VersionName(MODEL, None)), "request") == changed
    assert refusal(deployments.create, NAME, wanted(first), "request") is Reason.REQUEST_ID_REUSED


def test_an_update_that_asks_for_what_failed_tries_it_anew(store: MemoryObjectStore, deployments: Deployments) -> None:
    first, second = version(store, 1), version(store, 2)
    artifact(store, first, "a")
    b = artifact(store, second, "b")
    made = deployments.create(NAME, wanted(first), "")
    again = deployments.update(NAME, {"model_version": first}, "", "", made.wanted.id)
    assert (again.wanted.id != made.wanted.id, again.wanted.artifact) == (True, made.wanted.artifact)
    # Nothing that failed is fallen back to.
    assert again.fallback is None
    # The same failure told a second time, as by a request that is sent again, changes nothing more.
    assert deployments.update(NAME, {"model_version": first}, "", "", made.wanted.id) == again
    failing = deployments.update(NAME, {"model_version": second}, "", again.wanted.id)
    retried = deployments.update(NAME, {"model_version": second}, "", again.wanted.id, failing.wanted.id)
    assert (retried.wanted.artifact, retried.fallback) == (b, again.wanted)
    assert retried.wanted.id != failing.wanted.id


@pytest.mark.parametrize(
    "name", ["lost+found", "resnet50", "p.d.0123", "p.d.0123456789AB", ".p.d.0123456789ab", "p.0123456789ab", "p.d.0123456789ab.old"]
)
def test_other_peoples_models_are_not_taken_for_ours(name: str) -> None:
    assert not is_triton_model(name)


def test_our_models_are_known_by_their_names(store: MemoryObjectStore, deployments: Deployments) -> None:
    first = version(store, 1)
    artifact(store, first, "a")
    for id_ in ("d", "A.b-c_d.9"):
        name = ResourceName("p", "deployments", id_)
        assert is_triton_model(deployments.create(name, wanted(first), "").wanted.triton_model(name))


def test_an_update_changes_the_revision_and_keeps_the_creation(store: MemoryObjectStore, deployments: Deployments) -> None:
    first, second = version(store, 1), version(store, 2)
    a, b = artifact(store, first, "a"), artifact(store, second, "b")
    made = deployments.create(NAME, wanted(first), "")
    changed = deployments.update(NAME, {"model_version": second}, made.etag, made.wanted.id)
    assert (changed.wanted.artifact, changed.fallback) == (b, made.wanted)
    assert changed.wanted.id != made.wanted.id
    assert (changed.create_time, changed.update_time > made.update_time) == (made.create_time, True)
    assert refusal(deployments.update, NAME, {"letterbox": LetterboxMode.SQUARE}, made.etag, "") is Reason.ETAG_MISMATCH
    # The second never served: what is fallen back to stays the first.
    third = deployments.update(NAME, {"letterbox": LetterboxMode.SQUARE}, "", made.wanted.id)
    assert (third.wanted.artifact, third.wanted.letterbox, third.fallback) == (b, LetterboxMode.SQUARE, made.wanted)
    assert third.fallback is not None
    assert third.fallback.artifact == a


def test_an_update_that_changes_nothing_writes_nothing(store: MemoryObjectStore, deployments: Deployments) -> None:
    first = version(store, 1)
    name = artifact(store, first, "a")
    made = deployments.create(NAME, wanted(first), "")
    assert deployments.update(NAME, {"model_version": first, "artifact": name, "letterbox": LetterboxMode.RECT}, "", "") == made


def test_an_artifact_of_another_version_is_refused(store: MemoryObjectStore, deployments: Deployments) -> None:
    first, second = version(store, 1), version(store, 2)
    name = artifact(store, first, "a")
    assert refusal(deployments.create, NAME, wanted(second, name), "") is Reason.INVALID_FIELD
    assert refusal(deployments.create, NAME, wanted(VersionName(MODEL, None), name), "") is Reason.INVALID_FIELD


def test_a_deleted_deployment_is_gone_and_its_name_free(store: MemoryObjectStore, deployments: Deployments) -> None:
    first = version(store, 1)
    artifact(store, first, "a")
    made = deployments.create(NAME, wanted(first), "request")
    assert refusal(deployments.delete, NAME, "stale") is Reason.ETAG_MISMATCH
    deployments.delete(NAME, made.etag)
    assert refusal(deployments.get, NAME) is Reason.DEPLOYMENT_NOT_FOUND
    assert refusal(deployments.delete, NAME, "") is Reason.DEPLOYMENT_NOT_FOUND
    assert refusal(deployments.update, NAME, {}, "", "") is Reason.DEPLOYMENT_NOT_FOUND
    assert deployments.list(ProjectName("p"), 10, "") == ([], "")
    assert deployments.create(NAME, wanted(first), "request").wanted.id != made.wanted.id


def test_lists_go_by_name_in_pages(store: MemoryObjectStore, deployments: Deployments) -> None:
    first = version(store, 1)
    artifact(store, first, "a")
    for id_ in ("b", "a.b", "c", "a"):
        deployments.create(ResourceName("p", "deployments", id_), wanted(first), "")
    deployments.delete(ResourceName("p", "deployments", "b"), "")
    found, token = deployments.list(ProjectName("p"), 10, "")
    assert ([d.name.id for d in found], token) == (["a", "a.b", "c"], "")
    found, token = deployments.list(ProjectName("p"), 1, "")
    assert [d.name.id for d in found] == ["a"]
    found, token = deployments.list(ProjectName("p"), 2, token)
    assert ([d.name.id for d in found], token) == (["a.b", "c"], "")
    assert deployments.projects() == ["p"]
