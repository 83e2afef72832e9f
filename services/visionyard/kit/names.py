"""Resource names, after Google's AIP-122: ``projects/{project}/datasets/{dataset}/versions/{number}`` and so on.

Every key in the bucket begins with a resource name or with ``queue/``; ids are checked here, once, so that no key can be made of anything else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from visionyard.kit.errors import Reason, YardError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")
NEWEST = "-"
"""Stands for the newest version where a version's number is asked for (AIP-159's wildcard, used for one)."""

SHARED_PROJECT = "shared"
"""The project whose datasets and models every project may refer to; only an administrator writes into it."""


def may_refer(project: str, other: str) -> bool:
    """Whether jobs and deployments of ``project`` may refer to datasets and models of the project ``other``: their own, and the shared ones."""
    return other in {project, SHARED_PROJECT}


def check_id(value: str, what: str) -> str:
    """Returns ``value`` if it may be an id.

    Raises:
        YardError: INVALID_NAME.
    """
    if not _ID.match(value):
        raise YardError(
            Reason.INVALID_NAME,
            f"{what} {value!r} is not a valid id: use 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit",
            {"name": value[:200]},
        )
    return value


def _parse(name: str, pattern: tuple[str, ...], example: str) -> tuple[str, ...]:
    parts = name.split("/")
    if len(parts) != 2 * len(pattern) or tuple(parts[::2]) != pattern:
        raise YardError(Reason.INVALID_NAME, f"{name[:200]!r} is not a resource name of the form {example}", {"name": name[:200]})
    return tuple(check_id(value, kind[:-1]) if kind != "versions" else value for kind, value in zip(pattern, parts[1::2], strict=True))


@dataclass(frozen=True)
class ProjectName:
    """``projects/{project}``."""

    project: str

    @classmethod
    def parse(cls, name: str) -> ProjectName:
        """Raises YardError (INVALID_NAME) for anything else."""
        return cls(*_parse(name, ("projects",), "projects/{project}"))

    def __str__(self) -> str:
        return f"projects/{self.project}"


@dataclass(frozen=True)
class ResourceName:
    """``projects/{project}/{collection}/{id}``: a dataset, model, deployment, upload, notification channel, preset or job.

    Attributes:
        project: The project's id.
        collection: ``datasets``, ``models``, ``deployments``, ``uploads``, ``notificationChannels``, ``presets``, ``importJobs``,
            ``trainingJobs``, ``exportJobs``, ``evaluationJobs`` or ``tuningJobs``.
        id: The resource's id in its collection.
    """

    project: str
    collection: str
    id: str

    @classmethod
    def parse(cls, name: str, collection: str) -> ResourceName:
        """Raises YardError (INVALID_NAME) for anything but a name in that collection."""
        project, id_ = _parse(name, ("projects", collection), f"projects/{{project}}/{collection}/{{id}}")
        return cls(project, collection, id_)

    def __str__(self) -> str:
        return f"projects/{self.project}/{self.collection}/{self.id}"


@dataclass(frozen=True)
class VersionName:
    """``projects/{project}/{collection}/{id}/versions/{number}``: a version of a dataset or model.

    Attributes:
        parent: The dataset or model.
        number: From 1; None where the newest is meant (``-`` in the name).
    """

    parent: ResourceName
    number: int | None

    @classmethod
    def parse(cls, name: str, collection: str, *, allow_newest: bool = True) -> VersionName:
        """Raises YardError (INVALID_NAME) for anything but a version's name in that collection."""
        project, id_, number = _parse(
            name, ("projects", collection, "versions"), f"projects/{{project}}/{collection}/{{id}}/versions/{{number}}"
        )
        parent = ResourceName(project, collection, id_)
        if number == NEWEST and allow_newest:
            return cls(parent, None)
        if not _NUMBER.match(number):
            raise YardError(Reason.INVALID_NAME, f"{number[:40]!r} is not a version number: use 1, 2, 3, ...", {"name": name[:200]})
        return cls(parent, int(number))

    def __str__(self) -> str:
        return f"{self.parent}/versions/{NEWEST if self.number is None else self.number}"


@dataclass(frozen=True)
class ArtifactName:
    """``projects/{project}/models/{model}/versions/{number}/artifacts/{key digest}``."""

    version: VersionName
    id: str

    @classmethod
    def parse(cls, name: str) -> ArtifactName:
        """Raises YardError (INVALID_NAME) for anything else."""
        form = "projects/{project}/models/{model}/versions/{number}/artifacts/{key}"
        project, model, number, key = _parse(name, ("projects", "models", "versions", "artifacts"), form)
        version = VersionName.parse(f"projects/{project}/models/{model}/versions/{number}", "models", allow_newest=False)
        return cls(version, key)

    def __str__(self) -> str:
        return f"{self.version}/artifacts/{self.id}"
