"""Which model version a request made: ``projects/{p}/requests/{sha256}``, beside the requests of jobs."""

from __future__ import annotations

import hashlib

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore

_KIND = "modelVersion"


class PushRequests:
    """The records of pushes. A record is written once its version is published; before that the version is found by its maker.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._documents = Documents(store)

    def find(self, parent: ResourceName, upload: ResourceName, request_id: str, architecture: str = "") -> VersionName | None:
        """The version that the request made; None where it made none, or there is no request_id.

        Raises:
            YardError: REQUEST_ID_REUSED, it asked for another model, upload or architecture.
        """
        if not request_id:
            return None
        try:
            body = self._documents.read(_key(parent.project, request_id)).body
        except NotFound:
            return None
        if (body["parent"], body["upload"], body.get("architecture", "")) != (str(parent), str(upload), architecture):
            raise YardError(
                Reason.REQUEST_ID_REUSED,
                f"request_id {request_id} was used before for another model version; choose a new one",
                {"request_id": request_id},
            )
        return VersionName(parent, int(body["number"]))

    def record(self, parent: ResourceName, upload: ResourceName, request_id: str, made: VersionName, architecture: str = "") -> None:
        """Notes what the request made; nothing without a request_id.

        Raises:
            YardError: REQUEST_ID_REUSED, another call with the same request_id came between and asked for something else.
        """
        if not request_id:
            return
        try:
            body = {"parent": str(parent), "upload": str(upload), "architecture": architecture, "number": made.number}
            self._documents.create(_key(parent.project, request_id), body)
        except Conflict:
            self.find(parent, upload, request_id, architecture)


def _key(project: str, request_id: str) -> str:
    digest = hashlib.sha256(f"{_KIND}\n{request_id}".encode()).hexdigest()
    return f"projects/{project}/requests/{digest}"
