"""Exported artifacts: files that a server loads, made by the export service and read by the inference service.

An artifact is a JSON document ``{model version}/artifacts/{key digest}.json``, created last and never changed; its files lie under
``projects/{project}/blobs/{sha256}``. The key digest is computed from all that defines the artifact, so who finds a document need not build.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from visionyard.kit.artifacts.model import blob_key, sha256_of
from visionyard.kit.artifacts.versions import version_prefix
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ArtifactName, VersionName
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectInfo, ObjectStore, OutcomeUnknown
from visionyard.kit.objectstore.rounds import rounds

MODEL_FILE = "model.onnx"
"""Path of the serving graph among an artifact's files."""
METADATA_FILE = "metadata.json"
"""Path of the sidecar: what a program that has the graph only must know of it."""
COMPARISON_FILE = "comparison.json"
"""Path of the comparison with the source model, image by image."""


class ArtifactFormat(enum.Enum):
    """What kind of file an artifact is."""

    ONNX = "onnx"


@dataclass(frozen=True)
class ArtifactFile:
    """One of an artifact's files.

    Attributes:
        path: Its path in the artifact.
        key: Its key in the bucket.
        size_bytes: Its size.
        sha256: 64 lower-case hexadecimal digits.
    """

    path: str
    key: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Comparison:
    """An exported file held against its source model on the same letterboxed images; the fields are those of the proto message.

    Attributes:
        images_from: Where the images come from, in words.
        image_count: How many were compared.
        max_box_difference_px: The largest difference of a candidate's box corner, in pixels of the input.
        max_confidence_difference: The largest difference of a candidate's confidence, from 0 to 1.
        box_limit_px: The limit for box corners.
        confidence_limit: The limit for confidences.
        detection_count: How many detections were compared.
    """

    images_from: str
    image_count: int
    max_box_difference_px: float
    max_confidence_difference: float
    box_limit_px: float
    confidence_limit: float
    detection_count: int


@dataclass(frozen=True)
class Artifact:
    """A file that a server loads, with what must be known to serve it.

    Attributes:
        name: Its name; the id is the key digest.
        format: What kind of file it is.
        key: All that defines it.
        digest: ``sha256:`` and the 64 hexadecimal digits of the model file.
        size_bytes: The model file's size.
        class_names: In the order of their ids.
        stride_px: Height and width of an input are multiples of it.
        image_size_px: Letterboxing goes to this side.
        max_candidates: The most candidates an image that the graph gives out.
        nms_applied: The model is NMS-free: candidates are detections already, and class-aware NMS must not be applied to them.
        comparison: How it compares with its source model.
        files: The model file and what belongs to it.
        create_time: When it was made, by the store's clock; None only before it is published.
    """

    name: ArtifactName
    format: ArtifactFormat
    key: Mapping[str, str]
    digest: str
    size_bytes: int
    class_names: tuple[str, ...]
    stride_px: int
    image_size_px: int
    max_candidates: int
    nms_applied: bool
    comparison: Comparison
    files: tuple[ArtifactFile, ...] = field(default=())
    create_time: datetime | None = None

    def file(self, path: str) -> ArtifactFile:
        """The file of that path.

        Raises:
            YardError: FILE_NOT_FOUND.
        """
        for entry in self.files:
            if entry.path == path:
                return entry
        raise YardError(Reason.FILE_NOT_FOUND, f"artifact {self.name} has no file {path!r}", {"name": str(self.name), "path": path})


def key_digest(key: Mapping[str, str]) -> str:
    """The id of the artifact with this key: the first 32 hexadecimal digits of the sha256 of its canonical JSON."""
    canonical = json.dumps(dict(key), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def document_key(name: ArtifactName) -> str:
    """The bucket key of an artifact's document."""
    return f"{version_prefix(name.version)}artifacts/{name.id}.json"


def _parse(name: ArtifactName, data: bytes, created: datetime) -> Artifact:
    body: dict[str, Any] = json.loads(data)
    return Artifact(
        name=name,
        format=ArtifactFormat(body["format"]),
        key=dict(body["key"]),
        digest=body["digest"],
        size_bytes=body["size_bytes"],
        class_names=tuple(body["class_names"]),
        stride_px=body["stride_px"],
        image_size_px=body["image_size_px"],
        max_candidates=body["max_candidates"],
        nms_applied=body["nms_applied"],
        comparison=Comparison(**body["comparison"]),
        files=tuple(ArtifactFile(**entry) for entry in body["files"]),
        create_time=created,
    )


def _serialise(artifact: Artifact) -> bytes:
    body = {
        "format": artifact.format.value,
        "key": dict(artifact.key),
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
        "class_names": list(artifact.class_names),
        "stride_px": artifact.stride_px,
        "image_size_px": artifact.image_size_px,
        "max_candidates": artifact.max_candidates,
        "nms_applied": artifact.nms_applied,
        "comparison": vars(artifact.comparison),
        "files": [vars(entry) for entry in artifact.files],
        "nonce": uuid.uuid4().hex,
    }
    return json.dumps(body, sort_keys=True).encode()


def find_artifact(store: ObjectStore, name: ArtifactName) -> Artifact | None:
    """The artifact of that name, or None."""
    try:
        stored = store.get(document_key(name))
    except NotFound:
        return None
    return _parse(name, stored.data, stored.info.last_modified)


def read_artifact(store: ObjectStore, name: ArtifactName) -> Artifact:
    """The artifact of that name.

    Raises:
        YardError: ARTIFACT_NOT_FOUND.
    """
    artifact = find_artifact(store, name)
    if artifact is None:
        model = name.version.parent.id
        raise YardError(
            Reason.ARTIFACT_NOT_FOUND,
            f"model {model!r} version {name.version.number} has no artifact {name.id!r}: make one with `yard export {model}@{name.version.number} --format onnx`",
            {"name": str(name)},
        )
    return artifact


def list_artifacts(store: ObjectStore, version: VersionName, after: str = "") -> Iterator[Artifact]:
    """A model version's artifacts by key digest, those after the digest ``after``; none where there are none."""
    prefix = f"{version_prefix(version)}artifacts/"
    for entry in store.list(prefix, start_after=f"{prefix}{after}.json" if after else ""):
        artifact = find_artifact(store, ArtifactName(version, entry.key[len(prefix) :].removesuffix(".json")))
        if artifact is not None:
            yield artifact


def newest_artifact(store: ObjectStore, version: VersionName, formats: Collection[ArtifactFormat]) -> Artifact:
    """A model version's newest artifact in one of ``formats``.

    Raises:
        YardError: ARTIFACT_NOT_FOUND, when there is none.
    """
    fitting = [artifact for artifact in list_artifacts(store, version) if artifact.format in formats and artifact.create_time is not None]
    if not fitting:
        model = version.parent.id
        raise YardError(
            Reason.ARTIFACT_NOT_FOUND,
            f"model {model!r} version {version.number} was not exported yet: run `yard export {model}@{version.number} --format onnx` first",
            {"name": f"{version}/artifacts"},
        )
    # Within a second, which is as finely as the store tells, the id decides, so that every caller chooses alike.
    return max(fitting, key=lambda artifact: (artifact.create_time, artifact.name.id))


def publish_artifact(store: ObjectStore, artifact: Artifact) -> Artifact:
    """Makes an artifact known, once all its files are stored; whoever comes second with the same key gets the first one's.

    Raises:
        StoreUnavailable: the store does not answer, or does not write; calling again later is safe.
    """
    key, data = document_key(artifact.name), _serialise(artifact)
    tries = rounds(key)
    while True:
        next(tries)
        # On a conflict another export was first; without an answer our own write may have happened: either way, what is there counts.
        with contextlib.suppress(Conflict, OutcomeUnknown):
            store.create(key, data)
        published = find_artifact(store, artifact.name)
        if published is not None:
            return published


def put_blob(store: ObjectStore, project: str, path: str, source: Path) -> ArtifactFile:
    """Stores a file under its own sha256, unless it is there already.

    Args:
        store: The bucket.
        project: Whose file it is.
        path: Its path in the artifact.
        source: The file.
    """
    sha256, size = sha256_of(source), source.stat().st_size
    key = blob_key(project, sha256)
    try:
        known: ObjectInfo | None = store.head(key)
    except NotFound:
        known = None
    if known is None or known.size != size:
        store.put_file(key, source)
    return ArtifactFile(path, key, size, sha256)


def download_file(store: ObjectStore, artifact: Artifact, path: str, target: Path) -> None:
    """Reads one of an artifact's files into ``target``, which is there whole and right or not at all.

    Raises:
        YardError: FILE_NOT_FOUND, or ARTIFACT_CORRUPT when the stored bytes are gone or do not have the recorded sha256.
        OSError: the disk refused it.
    """
    entry = artifact.file(path)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        try:
            store.get_file(entry.key, partial)
        except NotFound:
            found = "nothing"
        else:
            found = sha256_of(partial)
        if found != entry.sha256:
            raise YardError(
                Reason.ARTIFACT_CORRUPT,
                f"{path} of artifact {artifact.name} does not have its recorded sha256: export the model again and look after the store",
                {"name": str(artifact.name)},
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
