"""What the documents of the rooms refer to, by the resource names that stand in them.

A job's specification holds each resource that it uses as a resource name, whatever its kind; so does a deployment's document. Whoever wants to take something away
looks for its name here, and need not know the rooms' own forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from visionyard.kit.errors import YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.port import NotFound, ObjectStore

_DEPLOYMENTS = "deployments"


@dataclass(frozen=True)
class Reference:
    """A dataset or model, or a version of one, that a document names.

    Attributes:
        parent: The dataset or model.
        number: The version's; None where the newest or all of it is meant.
    """

    parent: ResourceName
    number: int | None

    def reaches(self, version: VersionName) -> bool:
        """Whether the version may be meant."""
        return self.parent == version.parent and self.number in {None, version.number}


def references(document: Any, collection: str) -> Iterator[Reference]:
    """Every name in ``collection`` (``datasets``, ``models``), or of a version there, among the strings of a JSON document."""
    if isinstance(document, str):
        found = _parse(document, collection)
        if found is not None:
            yield found
    elif isinstance(document, dict):
        for value in document.values():
            yield from references(value, collection)
    elif isinstance(document, list):
        for value in document:
            yield from references(value, collection)


def _parse(text: str, collection: str) -> Reference | None:
    if not text.startswith("projects/") or f"/{collection}/" not in text:
        return None
    try:
        if "/versions/" in text:
            version = VersionName.parse("/".join(text.split("/")[:6]), collection)  # an artifact's name goes on behind its version's
            return Reference(version.parent, version.number)
        return Reference(ResourceName.parse(text, collection), None)
    except YardError:
        return None


def deployed_models(store: ObjectStore, project: str) -> Iterator[tuple[ResourceName, frozenset[VersionName]]]:
    """The deployments of a project with the model versions that each serves or would fall back to. Deleted ones have none. Blocks.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    prefix, documents = f"projects/{project}/{_DEPLOYMENTS}/", Documents(store)
    for entry in store.list(prefix, delimiter="/"):
        if entry.is_prefix or not entry.key.endswith(".json"):
            continue
        try:
            body = documents.read(entry.key).body
        except NotFound:
            continue
        models = frozenset(VersionName(r.parent, r.number) for r in references(body, "models"))
        yield ResourceName(project, _DEPLOYMENTS, entry.key[len(prefix) : -len(".json")]), models
