"""The use cases of models: pushed, read, listed. All calls block."""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Protocol

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.model import (
    ModelFile,
    ModelVersion,
    blob_key,
    list_model_versions,
    newest_model_version,
    read_model_version,
    sha256_of,
)
from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.names import ProjectName, ResourceName, VersionName
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable
from visionyard.kit.pagination import paginate
from visionyard.training.backbones import check_network, yaml_name
from visionyard.training.inspection import WeightFacts
from visionyard.training.push_requests import PushRequests

_SAFE_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 200
_LONGEST_REQUEST_ID = 128


@dataclass(frozen=True)
class ModelView:
    """A model as it is shown.

    Attributes:
        newest: Its newest version.
        create_time: When its first version was made, by the store's clock.
    """

    newest: ModelVersion
    create_time: datetime | None


class CompleteUploads(Protocol):
    """Where pushed files come from."""

    def as_file(self, name: ResourceName) -> AbstractContextManager[tuple[Path, str]]:
        """A complete upload as a local file with its sha256, removed when the block ends.

        Raises:
            YardError: UPLOAD_NOT_FOUND or UPLOAD_INCOMPLETE.
        """
        ...

    def delete(self, name: ResourceName) -> None:
        """Throws an upload away."""
        ...


class Models:
    """Makes and reads model versions.

    Args:
        store: The bucket.
        uploads: The uploads of all projects.
        inspect: Opens a weight file safely: (path, name) to what it is; raises YardError.
        convert: Makes a checkpoint of a state dict safely: (path, name, network, checkpoint to write) to what it is; raises YardError.
    """

    def __init__(
        self,
        store: ObjectStore,
        uploads: CompleteUploads,
        inspect: Callable[[Path, str], WeightFacts],
        convert: Callable[[Path, str, str, Path], WeightFacts],
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._inspect = inspect
        self._convert = convert
        self._requests = PushRequests(store)

    def push(
        self,
        parent: ResourceName,
        upload: ResourceName,
        source_name: str,
        request_id: str = "",
        architecture: str = "",
        fetched_from: str = "",
    ) -> ModelVersion:
        """Makes a version from an uploaded weight file; the upload is gone afterwards, unless the store was away.

        Args:
            parent: The model.
            upload: The file.
            source_name: What the client calls it.
            request_id: The client's key for this creation: with the same one the same version comes back, though its upload is gone.
                Empty for none.
            architecture: The torchvision network that the file is a state dict of; empty for a checkpoint of Ultralytics.
            fetched_from: What the client fetched it from, an address or ``file:NAME``; empty for none. Bytes of a version that says none make one that says it.

        Raises:
            YardError: INVALID_FIELD, REQUEST_ID_REUSED, UPLOAD_NOT_FOUND, UPLOAD_INCOMPLETE, WEIGHTS_UNREADABLE, WEIGHTS_UNSAFE or
                UNSUPPORTED_TASK.
        """
        if upload.project != parent.project:
            raise invalid_field("upload", f"{upload} is not in project {parent.project!r}")
        if len(request_id) > _LONGEST_REQUEST_ID:
            raise invalid_field("request_id", f"must have at most {_LONGEST_REQUEST_ID} characters")
        made = self._requests.find(parent, upload, request_id, architecture)
        if made is not None:
            version = read_model_version(self._store, made)
            self._uploads.delete(upload)  # sent again by a client that did not hear that it had been taken
            return version
        try:
            if architecture:
                check_network(architecture)
            with self._uploads.as_file(upload) as (path, sha256):
                newest = newest_model_version(self._store, parent)
                if newest is not None and _same(newest, sha256, architecture, fetched_from):
                    version = newest
                else:
                    # A call made again finds its version by the bytes (above) or its request. Without one each call is a maker of its own: an
                    # upload's name can come back later.
                    maker = f"{upload} {request_id or uuid.uuid4()}"
                    version = self._make(parent, maker, source_name, path, sha256, architecture, fetched_from)
            self._requests.record(parent, upload, request_id, version.name, architecture)
        except YardError as error:
            if error.reason is not Reason.UPLOAD_INCOMPLETE:
                self._uploads.delete(upload)
            raise
        except StoreUnavailable:
            raise  # the same call can be made again
        except BaseException:
            self._uploads.delete(upload)
            raise
        self._uploads.delete(upload)
        return version

    def _make(
        self, parent: ResourceName, maker: str, source_name: str, path: Path, sha256: str, architecture: str, fetched_from: str
    ) -> ModelVersion:
        if not architecture:
            made = self._stored(parent, path, sha256, file_name(source_name), self._inspect(path, plain_name(source_name)))
        else:
            pushed = plain_name(source_name)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                checkpoint = Path(folder, f"{architecture}.pt")
                facts = self._convert(path, pushed, architecture, checkpoint)
                stored = self._stored(parent, checkpoint, sha256_of(checkpoint), checkpoint.name, facts)
            made = replace(stored, pushed_file=pushed, state_dict_sha256=sha256)
        made = replace(made, fetched_from=fetched_from)
        return ModelVersion.from_document(versions.publish(self._store, parent, made.body(), made_by=maker))

    def _stored(self, parent: ResourceName, path: Path, sha256: str, name: str, facts: WeightFacts) -> ModelVersion:
        """A version to publish, its weight file in the bucket."""
        file = ModelFile(blob_key(parent.project, sha256), path.stat().st_size, sha256)
        self._store.put_file(file.key, path)
        return ModelVersion(
            name=VersionName(parent, None),
            digest=f"sha256:{sha256}",
            task=facts.task,
            class_names=facts.class_names,
            parameter_count=facts.parameter_count,
            image_size_px=facts.image_size_px,
            stride=facts.stride,
            architecture=facts.architecture,
            weights=name,
            files={name: file},
            pushed_file=name,
        )

    def get(self, name: ResourceName) -> ModelView:
        """Reads a model; raises YardError (MODEL_NOT_FOUND)."""
        newest = read_model_version(self._store, VersionName(name, None))
        first = versions.first(self._store, name)
        return ModelView(newest, first.create_time if first else newest.create_time)

    def list_models(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[ModelView], str]:
        """A page of models, by name, and the next page's token; raises YardError (INVALID_PAGE_TOKEN, INVALID_FIELD)."""
        page = paginate(f"{project}/models", page_size, page_token)
        names = list(islice(versions.list_parents(self._store, project.project, "models", page.after), page.size + 1))
        views = list(self._views(names[: page.size]))
        return views, page.next_token(names[page.size - 1].id) if len(names) > page.size else ""

    def _views(self, names: list[ResourceName]) -> Iterator[ModelView]:
        for name in names:
            newest = newest_model_version(self._store, name)
            first = versions.first(self._store, name)
            if newest is not None and first is not None:
                yield ModelView(newest, first.create_time)

    def version(self, name: VersionName) -> ModelVersion:
        """Reads a version, without a number the newest; raises YardError (MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND)."""
        return read_model_version(self._store, name)

    def list_versions(self, name: ResourceName, page_size: int, page_token: str) -> tuple[list[ModelVersion], str]:
        """A page of versions, newest first, and the next page's token; raises YardError (MODEL_NOT_FOUND, INVALID_PAGE_TOKEN, INVALID_FIELD)."""
        page = paginate(f"{name}/versions", page_size, page_token)
        before = page.after_number
        found = list(list_model_versions(self._store, name, before, page.size + 1))
        if not found and before is None:
            read_model_version(self._store, VersionName(name, None))  # MODEL_NOT_FOUND rather than an empty list
        return found[: page.size], page.next_token(str(found[page.size - 1].name.number)) if len(found) > page.size else ""


def _same(newest: ModelVersion, sha256: str, architecture: str, fetched_from: str) -> bool:
    """Whether a version was made of the file with this sha256, in the same way, and says where it was fetched if that is known now."""
    if fetched_from and not newest.fetched_from:
        return False
    if architecture:
        return (newest.state_dict_sha256, newest.architecture) == (sha256, yaml_name(architecture))
    return newest.weight_file.sha256 == sha256


def plain_name(source_name: str) -> str:
    """A plain file name, from what a client says its file is called."""
    last = source_name.replace("\\", "/").rsplit("/", 1)[-1]
    return _SAFE_NAME.sub("_", last)[-_LONGEST_NAME:].lstrip(".-") or "weights"


def file_name(source_name: str) -> str:
    """A plain file name that ends in .pt."""
    plain = plain_name(source_name)
    return plain if plain.endswith(".pt") else f"{plain}.pt"
