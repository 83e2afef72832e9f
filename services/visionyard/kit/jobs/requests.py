"""Which job a request made: a client that got no answer asks again under the same ``request_id``, and finds it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.port import Conflict, NotFound


class Requests:
    """The records of requests for one kind of job, ``projects/{project}/requests/{sha256}``.

    Args:
        documents: The bucket's documents.
        kind: The kind of job.
    """

    def __init__(self, documents: Documents, kind: JobKind) -> None:
        self._documents = documents
        self._kind = kind

    def claim(self, project: str, request_id: str, asked: dict[str, Any], job_id: str) -> tuple[str, datetime]:
        """Records the request for a job, or finds the job that it was recorded for before.

        Args:
            project: The project's id.
            request_id: The client's key.
            asked: What was asked for.
            job_id: The job that is made where the request is new.

        Returns:
            The job's id, and when the request was recorded, by the store's clock.

        Raises:
            YardError: REQUEST_ID_REUSED, something else was asked for under it.
        """
        wanted = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        key = self._key(project, request_id)
        try:
            record = self._documents.create(key, {"job": job_id, "spec": wanted})
        except Conflict:
            record = self._documents.read(key)
        if record.body["spec"] != wanted:
            raise YardError(
                Reason.REQUEST_ID_REUSED,
                f"request_id {request_id} was used before for another {self._kind.value} job; choose a new one",
                {"request_id": request_id},
            )
        return str(record.body["job"]), record.last_modified

    def was_made(self, project: str, request_id: str) -> bool:
        """Whether anything was asked for under this key."""
        try:
            self._documents.read(self._key(project, request_id))
        except NotFound:
            return False
        return True

    def _key(self, project: str, request_id: str) -> str:
        digest = hashlib.sha256(f"{self._kind.value}\n{request_id}".encode()).hexdigest()
        return f"projects/{project}/requests/{digest}"
