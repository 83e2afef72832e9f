"""Who still uses a dataset's versions: jobs that have not ended, models trained on them, deployments of those models."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.model import list_model_versions
from visionyard.kit.artifacts.references import Reference, deployed_models, references
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import SHARED_PROJECT, ResourceName, VersionName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.projects import project_ids


def users_of(store: ObjectStore, dataset: ResourceName, going: Collection[DatasetVersion], *, all_of_it: bool) -> Iterator[str]:
    """The resource names of what refers to versions that are to go, in the dataset's own project, or of a shared dataset in any. Blocks.

    Args:
        store: The bucket.
        dataset: The dataset.
        going: The versions.
        all_of_it: Whether the dataset goes as a whole: then an import that is making a version of it refers to it too.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    projects = project_ids(store) if dataset.project == SHARED_PROJECT else [dataset.project]
    # Publishing is a job of the shared project that reads another's versions.
    yield from _jobs(store, {*projects, SHARED_PROJECT}, dataset, going, all_of_it=all_of_it)
    names = {version.name for version in going}
    for project in projects:
        trained = frozenset(_models(store, project, names))
        yield from (str(name) for name in sorted(trained, key=str))
        for deployment, models in deployed_models(store, project):
            if any(_is_trained_on(store, model, names) for model in models):
                yield str(deployment)


def _jobs(
    store: ObjectStore, projects: Collection[str], dataset: ResourceName, going: Collection[DatasetVersion], *, all_of_it: bool
) -> Iterator[str]:
    made_by = {version.import_job for version in going}
    for kind in JobKind:
        for job in JobRecords(store, kind).unfinished():
            if job.name.project not in projects:
                continue
            named = list(references(job.spec, "datasets"))
            uses = any(_uses(reference, version, job.kind) for reference in named for version in going)
            feeds = all_of_it and any(reference.parent == dataset for reference in named)
            if uses or feeds or str(job.name) in made_by:
                yield str(job.name)


def _uses(reference: Reference, version: DatasetVersion, kind: JobKind) -> bool:
    """Whether a job's reference is to the version. An import that names a dataset without a number gives it a version, and uses none."""
    return reference.reaches(version.name) and (reference.number is not None or kind is not JobKind.IMPORT)


def _models(store: ObjectStore, project: str, names: Collection[VersionName]) -> Iterator[VersionName]:
    for model in versions.list_parents(store, project, "models"):
        for version in list_model_versions(store, model):
            if _among(version.dataset_version, names):
                yield version.name


def _is_trained_on(store: ObjectStore, model: VersionName, names: Collection[VersionName]) -> bool:
    document = versions.lookup(store, model)
    return document is not None and _among(str(document.body.get("dataset_version", "")), names)


def _among(text: str, names: Collection[VersionName]) -> bool:
    return any(reference.reaches(name) for reference in references(text, "datasets") for name in names)
