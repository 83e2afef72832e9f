"""The same request again is the same job, also where it names the newest version of a dataset that has moved on since."""

import uuid

import pytest
from tests.unit.dataset.conftest import good_set, zipped

from visionyard.dataset.catalogue import Catalogue
from visionyard.dataset.deletion import Deletions
from visionyard.dataset.fetching.addresses import AllowList
from visionyard.dataset.import_spec import Derivation, ImportSpec
from visionyard.dataset.imports import Imports
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ProjectName, ResourceName, VersionName

PROJECT = ProjectName("default")
DATASET = ResourceName("default", "datasets", "set")


@pytest.fixture
def imports(bench):
    bench.run(zipped(good_set()))
    return Imports(JobService(bench.store, JobKind.IMPORT), Catalogue(bench.store), bench.uploads, AllowList())


def subset_of_the_newest(size=2):
    return ImportSpec(DATASET, None, derivation=Derivation("subset", (VersionName(DATASET, None),), {"size": size, "seed": 0}))


def test_a_repeated_derivation_of_the_newest_version_is_its_job(bench, imports):
    request = str(uuid.uuid4())
    first = imports.create(PROJECT, subset_of_the_newest(), request).job
    assert first.spec["derivation"]["sources"] == [f"{DATASET}/versions/1"]
    bench.run(zipped(good_set(6)))
    again = imports.create(PROJECT, subset_of_the_newest(), request).job
    assert (again.name, again.spec) == (first.name, first.spec)
    Deletions(bench.store).delete_version(VersionName(DATASET, 2), validate_only=False)
    assert imports.create(PROJECT, subset_of_the_newest(), request).job.name == first.name
    with pytest.raises(YardError) as caught:
        imports.create(PROJECT, subset_of_the_newest(3), request)
    assert caught.value.reason is Reason.REQUEST_ID_REUSED


def test_a_request_whose_job_was_never_made_still_names_the_version_it_uses(bench, imports, monkeypatch):
    """The service died between the two: what is made then has to say of which version."""
    request = str(uuid.uuid4())
    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            imports.create(PROJECT, subset_of_the_newest(), request)
    job = imports.create(PROJECT, subset_of_the_newest(), request).job
    assert job.spec["derivation"]["sources"] == [f"{DATASET}/versions/1"]
