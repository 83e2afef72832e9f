"""What people type for a resource, ``cones``, ``cones@3``, ``shared/cones`` or its whole name, as resource names."""

from __future__ import annotations

from visionyard.client.errors import from_yard_error
from visionyard.kit.errors import YardError
from visionyard.kit.names import NEWEST, SHARED_PROJECT, ProjectName, ResourceName, VersionName, check_id

_SHARED_COLLECTIONS = (["datasets"], ["models"])


class References:
    """Names in one project.

    Args:
        project: The project's id.

    Raises:
        ClientError: INVALID_NAME.
    """

    def __init__(self, project: str) -> None:
        try:
            check_id(project, "project")
        except YardError as error:
            raise from_yard_error(error) from error
        self.project = project

    @property
    def parent(self) -> str:
        """The project's resource name."""
        return str(ProjectName(self.project))

    def resource(self, collection: str, text: str) -> str:
        """The resource name of ``text``: an id, ``shared/`` and the id of something that all projects share, or already a resource name.

        Raises:
            ClientError: INVALID_NAME.
        """
        try:
            project, slash, id_ = text.rpartition("/")
            if slash and project != SHARED_PROJECT:
                return str(ResourceName.parse(text, collection))
            return str(ResourceName(project or self.project, collection, check_id(id_, collection.removesuffix("s"))))
        except YardError as error:
            raise from_yard_error(error) from error

    def version(self, collection: str, text: str) -> str:
        """The resource name of the version ``NAME``, ``NAME@V``, ``shared/NAME@V`` or a resource name; without a version the newest (``-``).

        Raises:
            ClientError: INVALID_NAME.
        """
        try:
            if "/versions/" in text:
                return str(VersionName.parse(text, collection))
            base, at, number = text.partition("@")
            return str(VersionName.parse(f"{self.resource(collection, base)}/versions/{number if at else NEWEST}", collection))
        except YardError as error:
            raise from_yard_error(error) from error


def short(name: str) -> str:
    """A resource name as people write it: ``cones``, ``cones@3``, ``shared/cones@3``, a job's id."""
    parts = name.split("/")
    shared = f"{SHARED_PROJECT}/" if parts[:2] == ["projects", SHARED_PROJECT] and parts[2:3] in _SHARED_COLLECTIONS else ""
    if "versions" in parts:
        at = parts.index("versions")
        return f"{shared}{parts[at - 1]}@{parts[at + 1]}"
    return f"{shared}{parts[-1]}"
