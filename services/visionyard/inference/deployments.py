"""What deployments should serve: documents `projects/{project}/deployments/{deployment}.json`, changed by compare-and-swap only.

A document says what is wanted, never how far a server got with it; every inference service reads it and brings its own Triton there.
A deleted deployment leaves a document that says so: a conditional delete does not exist in S3, and an unconditional one could take away
what somebody else has created under the name in the meantime.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from visionyard.inference.deployment import Deployment, Wanted, parse_deployment
from visionyard.kit.artifacts import exported
from visionyard.kit.artifacts.exported import Artifact, ArtifactFormat
from visionyard.kit.artifacts.model import read_model_version
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ArtifactName, ProjectName, ResourceName, VersionName
from visionyard.kit.objectstore.documents import Document, Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore
from visionyard.kit.pagination import paginate
from visionyard.kit.projects import project_ids
from visionyard.kit.vision.letterbox import LetterboxMode

SERVABLE_FORMATS = frozenset({ArtifactFormat.ONNX})
"""What either backend can load."""
_SUFFIX = ".json"


def document_key(name: ResourceName) -> str:
    """Where a deployment's document lies in the bucket."""
    return f"{name}{_SUFFIX}"


def choose_artifact(store: ObjectStore, model_version: VersionName, artifact: ArtifactName | None) -> Artifact:
    """The artifact to serve. Blocks.

    Args:
        store: The bucket.
        model_version: The model version; without a number the newest.
        artifact: The one asked for; None: the newest that can be served.

    Raises:
        YardError: MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND, ARTIFACT_NOT_FOUND, or INVALID_FIELD for another version's artifact.
    """
    if artifact is not None and model_version.number is not None and artifact.version != model_version:
        raise YardError(
            Reason.INVALID_FIELD,
            f"artifact {artifact} does not belong to {model_version}: name one of that version's artifacts, or none",
            {"field": "deployment.artifact"},
        )
    version = read_model_version(store, model_version)
    if artifact is None:
        return exported.newest_artifact(store, version.name, SERVABLE_FORMATS)
    if artifact.version != version.name:
        raise YardError(
            Reason.INVALID_FIELD,
            f"artifact {artifact} does not belong to {version.name}, the newest version: name one of that version's artifacts, or none",
            {"field": "deployment.artifact"},
        )
    return exported.read_artifact(store, artifact)


class Deployments:
    """The deployments in the bucket. All methods block and may raise StoreUnavailable.

    Args:
        store: The bucket.
        documents: The same bucket's mutable documents.
    """

    def __init__(self, store: ObjectStore, documents: Documents) -> None:
        self._store = store
        self._documents = documents

    def get(self, name: ResourceName) -> Deployment:
        """Reads one.

        Raises:
            YardError: DEPLOYMENT_NOT_FOUND.
        """
        document = self._read(name)
        deployment = parse_deployment(name, document) if document is not None else None
        if deployment is None:
            raise not_found(name)
        return deployment

    def create(self, name: ResourceName, wanted: Wanted, request_id: str) -> Deployment:
        """Makes one; the same request again returns what the first one made.

        Raises:
            YardError: ALREADY_EXISTS, REQUEST_ID_REUSED where the first one asked for something else, or what :func:`choose_artifact` raises.
        """
        artifact = choose_artifact(self._store, wanted.model_version, wanted.artifact)
        asked = _digest(wanted)
        body = {"wanted": _revision_body(artifact.name, wanted.letterbox), "request_id": request_id, "asked": asked}
        while True:
            document = self._read(name)
            existing = parse_deployment(name, document) if document is not None else None
            if existing is not None:
                if document is not None and request_id and existing.request_id == request_id:
                    _check_asked(document, asked, request_id)
                    return existing
                raise YardError(
                    Reason.ALREADY_EXISTS,
                    f"deployment {name.id!r} exists already in project {name.project!r}: update it, or choose another name",
                    {"name": str(name)},
                )
            try:
                made = self._documents.swap(document, body) if document is not None else self._documents.create(document_key(name), body)
            except Conflict:
                continue
            return _known(name, made)

    def update(self, name: ResourceName, change: dict[str, Any], etag: str, serving: str, failed: str = "") -> Deployment:
        """Changes what one serves; nothing is written where nothing changes, unless that has failed: then it is tried anew.

        Args:
            name: The deployment.
            change: What to change, of `model_version` (VersionName), `artifact` (ArtifactName or None for the newest) and `letterbox` (LetterboxMode).
                A new model version without an artifact takes that version's newest.
            etag: Only if the deployment still has it; empty: in any case.
            serving: The id of the revision that serves now, the one to fall back to; empty where none does.
            failed: The id of the revision that could not be brought up; empty where none is known to have failed.

        Raises:
            YardError: DEPLOYMENT_NOT_FOUND, ETAG_MISMATCH, or what :func:`choose_artifact` raises.
        """
        while True:
            document, current = self._current(name, etag)
            wanted = current.wanted
            model_version = change.get("model_version", wanted.model_version)
            asked = change.get("artifact", None if "model_version" in change else wanted.artifact)
            artifact = choose_artifact(self._store, model_version, asked)
            letterbox = change.get("letterbox", wanted.letterbox)
            if (artifact.name, letterbox) == (wanted.artifact, wanted.letterbox) and wanted.id != failed:
                return current
            body = dict(document.body) | {
                "wanted": _revision_body(artifact.name, letterbox),
                "create_time": current.create_time.isoformat(),
            }
            if wanted.id == serving or not (serving or "fallback" in body or wanted.id == failed):
                body["fallback"] = document.body["wanted"]
            try:
                return _known(name, self._documents.swap(document, body))
            except Conflict:
                continue

    def delete(self, name: ResourceName, etag: str) -> None:
        """Takes one away.

        Raises:
            YardError: DEPLOYMENT_NOT_FOUND, ETAG_MISMATCH.
        """
        while True:
            document, _ = self._current(name, etag)
            try:
                self._documents.swap(document, {"deleted": True})
            except Conflict:
                continue
            return

    def etags(self, project: str) -> dict[ResourceName, str]:
        """The etags of a project's documents, deleted deployments' included: one listing, nothing read."""
        prefix = f"projects/{project}/deployments/"
        entries = self._store.list(prefix, delimiter="/")
        return {
            ResourceName(project, "deployments", entry.key[len(prefix) : -len(_SUFFIX)]): entry.etag
            for entry in entries
            if not entry.is_prefix and entry.key.endswith(_SUFFIX)
        }

    def projects(self) -> list[str]:
        """The ids of all projects that hold anything."""
        return project_ids(self._store)

    def list(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[Deployment], str]:
        """A page of a project's deployments, by id, and the next page's token.

        Raises:
            YardError: INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        page = paginate(f"{project}/deployments", page_size, page_token)
        found: list[Deployment] = []
        for name in sorted(self.etags(project.project), key=lambda n: n.id):
            document = self._read(name) if name.id > page.after else None
            deployment = parse_deployment(name, document) if document is not None else None
            if deployment is None:
                continue
            if len(found) == page.size:
                return found, page.next_token(found[-1].name.id)
            found.append(deployment)
        return found, ""

    def _read(self, name: ResourceName) -> Document | None:
        try:
            return self._documents.read(document_key(name))
        except NotFound:
            return None

    def _current(self, name: ResourceName, etag: str) -> tuple[Document, Deployment]:
        document = self._read(name)
        deployment = parse_deployment(name, document) if document is not None else None
        if document is None or deployment is None:
            raise not_found(name)
        if etag and etag != deployment.etag:
            raise YardError(
                Reason.ETAG_MISMATCH, f"deployment {name.id!r} has changed since you read it: read it again", {"name": str(name)}
            )
        return document, deployment


def not_found(name: ResourceName) -> YardError:
    """The error for a deployment that does not exist."""
    return YardError(
        Reason.DEPLOYMENT_NOT_FOUND,
        f"there is no deployment {name.id!r} in project {name.project!r}: see `yard deployment list`",
        {"name": str(name)},
    )


def _digest(wanted: Wanted) -> str:
    """Of what was asked, not of what it was resolved to: that may have changed when a client sends its request again."""
    asked = [str(wanted.model_version), str(wanted.artifact or ""), wanted.letterbox.value]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _check_asked(document: Document, asked: str, request_id: str) -> None:
    """Refuses a request_id that came with another wish; documents of before digests were kept are taken as they are."""
    if document.body.get("asked", asked) != asked:
        raise YardError(
            Reason.REQUEST_ID_REUSED,
            f"request_id {request_id} was used before for another deployment; choose a new one",
            {"request_id": request_id},
        )


def _revision_body(artifact: ArtifactName, letterbox: LetterboxMode) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex[:12],
        "model_version": str(artifact.version),
        "artifact": str(artifact),
        "letterbox": letterbox.value,
    }


def _known(name: ResourceName, document: Document) -> Deployment:
    deployment = parse_deployment(name, document)
    if deployment is None:
        raise not_found(name)
    return deployment
