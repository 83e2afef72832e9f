"""Collections over the bench's store, and what a test compares before and after them."""

from datetime import timedelta

from tests.unit.dataset.conftest import good_set, picture, zipped

from visionyard.dataset.catalogue import Catalogue
from visionyard.dataset.deletion import Deletions
from visionyard.dataset.storage.collection import Collection
from visionyard.kit.artifacts.dataset import read_dataset_version, read_images, read_manifest
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName, VersionName

NO_GRACE = timedelta(0)
WRITES = ("put", "put_file", "create", "compare_and_swap", "delete_many", "delete")
"""What changes a store."""


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


def mostly_deleted(bench, monkeypatch):
    """A version that keeps 2 of the 12 images of a shard; the one that held them all is deleted."""
    big, _ = bench.run(zipped(good_set(8)), "big")
    files = good_set(8)
    few = {p: c for p, c in files.items() if p == "data.yaml" or any(f"{n}." in p for n in ("train0", "val0"))}
    small, _ = bench.run(zipped(few), "small")
    assert {row.shard for row in bench.rows(small)} == {row.shard for row in bench.rows(big)}
    return big, small


class Killed(BaseException):
    """Stands for kill -9 of the service."""
