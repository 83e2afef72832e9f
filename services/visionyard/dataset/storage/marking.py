"""Which shards, manifests and reports the dataset versions refer to, and which images in the shards."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from visionyard.dataset.shards import shard_prefix
from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.versions import VersionDocument
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import SHARED_PROJECT, ResourceName, VersionName
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.kit.projects import project_ids

_VERSION = re.compile(r"projects/([^/]+)/datasets/([^/]+)/versions/([0-9]+)\.json")
_BLOCK = 512
_FRAME = 4 * _BLOCK
"""What a shard holds besides its images and their headers: the comment at its beginning and the two blocks at its end."""
_Integers = npt.NDArray[np.int64]


class Images:
    """Images in shards, each counted once, 16 bytes of memory each.

    Args:
        prefix: Only shards whose key begins so are looked at.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._found: dict[str, tuple[_Integers, _Integers]] = {}

    def add(self, manifest: bytes) -> frozenset[str]:
        """Adds a manifest's images; returns the shards that it refers to."""
        table = pq.read_table(io.BytesIO(manifest), columns=["shard", "offset", "length"])
        shards = table["shard"].unify_dictionaries().combine_chunks()
        codes, names = shards.indices.to_numpy(), shards.dictionary.to_pylist()
        offsets, lengths = (table[name].to_numpy() for name in ("offset", "length"))
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
        used = set()
        for i, shard in enumerate(names):
            rows = order[bounds[i] : bounds[i + 1]]
            if len(rows) and shard.startswith(self._prefix):
                used.add(shard)
                self._merge(shard, offsets[rows], lengths[rows])
        return frozenset(used)

    def _merge(self, shard: str, offsets: _Integers, lengths: _Integers) -> None:
        known = self._found.get(shard)
        if known is not None:
            offsets, lengths = np.concatenate([known[0], offsets]), np.concatenate([known[1], lengths])
        unique, first = np.unique(offsets, return_index=True)
        self._found[shard] = unique, lengths[first]

    def of(self, shard: str) -> list[tuple[int, int]]:
        """Offset and length of each image in a shard, in their order."""
        offsets, lengths = self._found.get(shard, (np.empty(0, np.int64), np.empty(0, np.int64)))
        return list(zip(offsets.tolist(), lengths.tolist(), strict=True))

    def space(self, shard: str) -> int:
        """How many bytes of a shard its images need, with their headers and the shard's own."""
        lengths = self._found[shard][1] if shard in self._found else np.empty(0, np.int64)
        return int((_BLOCK + -(-lengths // _BLOCK) * _BLOCK).sum()) + _FRAME

    @property
    def total_bytes(self) -> int:
        """The bytes of all images."""
        return sum(int(lengths.sum()) for _, lengths in self._found.values())


@dataclass(frozen=True)
class MarkedVersion:
    """What a version refers to.

    Attributes:
        name: The version.
        etag: Its document's, when it was read.
        manifest_key: Its manifest.
        report_key: Its report.
        shards: The shards of the project at hand that hold its images.
    """

    name: VersionName
    etag: str
    manifest_key: str
    report_key: str
    shards: frozenset[str]


class Marker:
    """Marks what the versions refer to that may refer to a project's shards: its own, the shared ones, and, for the shared project, those of all projects.

    Args:
        store: The bucket.
        project: Whose shards are looked at.

    Attributes:
        images: Those of all versions that were ever looked at; a version that is deleted meanwhile still counts here.
        versions: By the keys of their documents, as of the last look.
    """

    def __init__(self, store: ObjectStore, project: str) -> None:
        self.images = Images(shard_prefix(project))
        self.versions: dict[str, MarkedVersion] = {}
        self._store = store
        self._project = project

    def projects(self) -> list[str]:
        """Whose versions, and whose imports, may refer to the project's shards."""
        if self._project == SHARED_PROJECT:
            return project_ids(self._store)
        return [self._project, SHARED_PROJECT]

    def look(self) -> Iterator[tuple[int, int]]:
        """Looks at all versions, reading only what is new or changed since the last look; gives how many of how many are read. Blocks.

        Raises:
            YardError: ARTIFACT_CORRUPT, a version's manifest is missing, so that nobody can tell what it refers to.
            StoreUnavailable: the store does not answer.
        """
        listed = {
            entry.key: entry.etag
            for project in self.projects()
            for entry in self._store.list(f"projects/{project}/datasets/")
            if entry.size and _VERSION.fullmatch(entry.key)
        }
        self.versions = {key: version for key, version in self.versions.items() if listed.get(key) == version.etag}
        new = [key for key in listed if key not in self.versions]
        for done, key in enumerate(new):
            yield done, len(new)
            document = versions.lookup(self._store, _name(key))
            marked = self._mark(document) if document is not None else None
            if marked is not None:
                self.versions[key] = marked

    def _mark(self, document: VersionDocument) -> MarkedVersion | None:
        found = read_manifest_bytes(self._store, document)
        if found is None:
            return None
        current, data = found
        version = DatasetVersion.from_document(current)
        return MarkedVersion(version.name, current.etag, version.manifest_key, version.report_key, self.images.add(data))

    @property
    def referenced(self) -> set[str]:
        """The keys that the versions refer to."""
        keys: set[str] = set()
        for version in self.versions.values():
            keys |= {version.manifest_key, version.report_key, *version.shards}
        return keys


def _name(key: str) -> VersionName:
    match = _VERSION.fullmatch(key)
    if match is None:
        raise ValueError(f"{key} is no version's document")
    return VersionName(ResourceName(match[1], "datasets", match[2]), int(match[3]))


def read_manifest_bytes(store: ObjectStore, document: VersionDocument) -> tuple[VersionDocument, bytes] | None:
    """A version's manifest as it lies in the bucket, with the document that led to it; None where the version was deleted meanwhile. Blocks.

    Raises:
        YardError: ARTIFACT_CORRUPT, it is missing.
        StoreUnavailable: the store does not answer.
    """
    current: VersionDocument | None = document
    while current is not None:
        try:
            return current, store.get(_manifest_key(current.body)).data
        except NotFound:
            before, current = current, versions.lookup(store, current.name)
        if current is not None and _manifest_key(current.body) == _manifest_key(before.body):
            raise YardError(
                Reason.ARTIFACT_CORRUPT,
                f"the manifest of {current.name} is missing in the bucket, so nobody can tell which images it refers to: delete that version first",
                {"name": str(current.name)},
            )
    return None


def _manifest_key(body: dict[str, Any]) -> str:
    return str(body["manifest_key"])


def images_of(store: ObjectStore, documents: Iterable[VersionDocument], prefix: str) -> Images:
    """The images of some versions; those whose manifest is missing count for nothing. Blocks."""
    images = Images(prefix)
    for document in documents:
        try:
            found = read_manifest_bytes(store, document)
        except YardError:
            continue
        if found is not None:
            images.add(found[1])
    return images
