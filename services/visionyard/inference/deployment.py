"""What a deployment is: what it should serve, what it served before, and how its document is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from visionyard.kit.names import ArtifactName, ResourceName, VersionName
from visionyard.kit.objectstore.documents import Document
from visionyard.kit.vision.letterbox import LetterboxMode

_TRITON_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.[A-Za-z0-9][A-Za-z0-9._-]*\.[0-9a-f]{12}")


def is_triton_model(name: str) -> bool:
    """Whether a name has the form of :meth:`Revision.triton_model`, so that a model or folder of that name was made by this service."""
    return _TRITON_MODEL.fullmatch(name) is not None


@dataclass(frozen=True)
class Revision:
    """One state of what a deployment should serve.

    Attributes:
        id: 12 hexadecimal digits, new with every change.
        model_version: The model version, with its number.
        artifact: The artifact of that version.
        letterbox: How images are fitted.
    """

    id: str
    model_version: VersionName
    artifact: ArtifactName
    letterbox: LetterboxMode

    def triton_model(self, deployment: ResourceName) -> str:
        """The Triton model's name: one a revision, so that two can be loaded side by side and none is ever overwritten."""
        return f"{deployment.project}.{deployment.id}.{self.id}"


@dataclass(frozen=True)
class Deployment:
    """What a deployment should serve.

    Attributes:
        name: The deployment.
        wanted: What it should serve.
        fallback: What it served before, to go on with where the wanted revision cannot be loaded, also after a restart of the service.
        request_id: The client's id of the request that created it; may be empty.
        etag: The document's.
        create_time: When it was made, by the store's clock.
        update_time: When it last changed, by the store's clock.
    """

    name: ResourceName
    wanted: Revision
    fallback: Revision | None
    request_id: str
    etag: str
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class Wanted:
    """What a client asks a deployment to serve.

    Attributes:
        model_version: The model version; without a number the newest.
        artifact: The artifact; None: the newest of the model version that can be served.
        letterbox: How images are fitted.
    """

    model_version: VersionName
    artifact: ArtifactName | None
    letterbox: LetterboxMode


def _parse_revision(body: dict[str, Any]) -> Revision:
    return Revision(
        id=body["id"],
        model_version=VersionName.parse(body["model_version"], "models"),
        artifact=ArtifactName.parse(body["artifact"]),
        letterbox=LetterboxMode(body["letterbox"]),
    )


def parse_deployment(name: ResourceName, document: Document) -> Deployment | None:
    """The deployment that a document describes; None where it was deleted."""
    body = document.body
    if body.get("deleted"):
        return None
    created, fallback = body.get("create_time"), body.get("fallback")
    return Deployment(
        name=name,
        wanted=_parse_revision(body["wanted"]),
        fallback=_parse_revision(fallback) if fallback else None,
        request_id=body["request_id"],
        etag=document.etag,
        # The first write cannot know the store's clock; its Last-Modified tells it, and the first update writes it down.
        create_time=datetime.fromisoformat(created) if created else document.last_modified,
        update_time=document.last_modified,
    )
