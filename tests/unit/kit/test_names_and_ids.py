import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import new_job_id
from visionyard.kit.names import ArtifactName, ProjectName, ResourceName, VersionName, check_id

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)


@given(IDS, IDS)
def test_a_resource_name_is_read_as_it_is_written(project, dataset):
    name = ResourceName(project, "datasets", dataset)
    assert ResourceName.parse(str(name), "datasets") == name


@given(IDS, st.integers(1, 10**9 - 1))
def test_a_version_name_is_read_as_it_is_written(dataset, number):
    name = VersionName(ResourceName("p", "models", dataset), number)
    assert VersionName.parse(str(name), "models") == name
    artifact = ArtifactName(name, "abc123")
    assert ArtifactName.parse(str(artifact)) == artifact


def test_newest_is_a_dash():
    assert VersionName.parse("projects/p/datasets/d/versions/-", "datasets").number is None
    with pytest.raises(YardError):
        VersionName.parse("projects/p/datasets/d/versions/-", "datasets", allow_newest=False)


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "../x", "-a", "a" * 64, "a b", "a\n", "ä", "a\0"])
def test_ids_that_could_become_other_keys_are_refused(bad):
    with pytest.raises(YardError) as error:
        check_id(bad, "dataset")
    assert error.value.reason is Reason.INVALID_NAME


@pytest.mark.parametrize(
    "bad",
    [
        "projects/p/models/m",
        "projects/p/datasets",
        "projects/p/datasets/../x",
        "/projects/p/datasets/d",
        "projects/p/datasets/d/",
        "projects/p/datasets/d\n",
        "projects//datasets/d",
    ],
)
def test_other_names_are_refused(bad):
    with pytest.raises(YardError) as error:
        ResourceName.parse(bad, "datasets")
    assert error.value.reason is Reason.INVALID_NAME


@pytest.mark.parametrize("number", ["0", "01", "-1", "1.0", "x", "1" * 10])
def test_other_version_numbers_are_refused(number):
    with pytest.raises(YardError):
        VersionName.parse(f"projects/p/datasets/d/versions/{number}", "datasets")


def test_a_project_name():
    assert ProjectName.parse("projects/default").project == "default"
    with pytest.raises(YardError):
        ProjectName.parse("default")


def test_job_ids_sort_newest_first_even_those_of_one_millisecond():
    ids = [new_job_id() for _ in range(500)]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids)
    assert len({len(job_id) for job_id in ids}) == 1
