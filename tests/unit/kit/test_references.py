"""What documents refer to, told by the names in them."""

from visionyard.kit.artifacts.references import Reference, deployed_models, references
from visionyard.kit.names import ResourceName, VersionName, may_refer
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.memory import MemoryObjectStore

CONES = ResourceName("p", "datasets", "cones")


def test_names_are_found_wherever_they_stand():
    document = {
        "dataset": "projects/p/datasets/cones",
        "sources": ["projects/p/datasets/cones/versions/3", {"deep": "projects/shared/datasets/x/versions/-"}],
        "upload": "projects/p/uploads/u",
        "model": "projects/p/models/m/versions/1",
        "text": "see projects/p/datasets/cones",
        "wrong": "projects/p/datasets/a b",
        "number": 3,
        "nothing": None,
    }
    assert list(references(document, "datasets")) == [
        Reference(CONES, None),
        Reference(CONES, 3),
        Reference(ResourceName("shared", "datasets", "x"), None),
    ]


def test_a_reference_reaches_its_version_and_one_without_a_number_all():
    assert Reference(CONES, 3).reaches(VersionName(CONES, 3))
    assert not Reference(CONES, 3).reaches(VersionName(CONES, 4))
    assert Reference(CONES, None).reaches(VersionName(CONES, 4))
    assert not Reference(CONES, None).reaches(VersionName(ResourceName("q", "datasets", "cones"), 4))


def test_deployments_name_what_they_serve_and_would_fall_back_to():
    store = MemoryObjectStore()
    documents = Documents(store)
    version = "projects/p/models/m/versions"
    revisions = [{"model_version": f"{version}/{n}", "artifact": f"{version}/{n}/artifacts/0a"} for n in (1, 2)]
    documents.create("projects/p/deployments/live.json", {"wanted": revisions[1], "fallback": revisions[0], "request_id": ""})
    documents.create("projects/p/deployments/gone.json", {"deleted": True})
    model = ResourceName("p", "models", "m")
    assert {name.id: models for name, models in deployed_models(store, "p")} == {
        "live": {VersionName(model, 1), VersionName(model, 2)},
        "gone": frozenset(),
    }


def test_a_project_refers_to_its_own_and_to_what_is_shared():
    assert [may_refer("p", other) for other in ("p", "shared", "q")] == [True, True, False]
    assert not may_refer("shared", "p")
