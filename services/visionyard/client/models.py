"""Models and their versions: read, list, push, download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visionyard.client.downloads import Downloads, OnFile
from visionyard.client.errors import ClientError
from visionyard.client.jobs import PAGE, all_pages
from visionyard.client.references import References
from visionyard.client.sources import open_source
from visionyard.client.sync import Blocking, Facade
from visionyard.client.training import CREATE_TIMEOUT_S
from visionyard.client.transport import Transport
from visionyard.client.uploads import AsyncUploads, OnProgress
from visionyard.kit.errors import Code
from visionyard.kit.request_id import new_request_id
from visionyard.training.v1 import model_pb2, model_service_pb2
from visionyard.training.v1.model_service_pb2_grpc import ModelServiceStub
from visionyard.transfer.v1 import transfer_service_pb2

_COLLECTION = "models"
INSPECTION_TIMEOUT_S = 300.0
"""A pushed weight file is opened in a worker of its own, which has to import PyTorch first."""


class AsyncModels:
    """The models of a project.

    Args:
        transport: The channels.
        names: Names in the project.
        uploads: How weight files get to the service.
        downloads: How files get back.
    """

    def __init__(self, transport: Transport, names: References, uploads: AsyncUploads, downloads: Downloads) -> None:
        self._transport = transport
        self._names = names
        self._uploads = uploads
        self._downloads = downloads

    async def get(self, model: str) -> model_pb2.Model:
        """Reads a model.

        Args:
            model: Its id or resource name.

        Raises:
            ClientError: NOT_FOUND (MODEL_NOT_FOUND).
        """
        request = model_service_pb2.GetModelRequest(name=self._names.resource(_COLLECTION, model))
        response = await self._transport.unary("training", lambda channel: ModelServiceStub(channel).GetModel, request)
        return response.model

    async def list(self, where: str = "") -> list[model_pb2.Model]:
        """All models, by name.

        Args:
            where: Only those, as ``latest_version.dataset_version:cones``: a filter of https://google.aip.dev/160 on the model's fields.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD), ``where`` is no filter.
        """

        async def page(token: str) -> model_service_pb2.ListModelsResponse:
            request = model_service_pb2.ListModelsRequest(parent=self._names.parent, page_size=PAGE, page_token=token, filter=where)
            return await self._transport.unary("training", lambda channel: ModelServiceStub(channel).ListModels, request)

        return await all_pages(page, "models")

    async def get_version(self, version: str) -> model_pb2.ModelVersion:
        """Reads a version.

        Args:
            version: ``NAME``, ``NAME@V`` or a resource name; without a number the newest.

        Raises:
            ClientError: NOT_FOUND (MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND).
        """
        request = model_service_pb2.GetModelVersionRequest(name=self._names.version(_COLLECTION, version))
        response = await self._transport.unary("training", lambda channel: ModelServiceStub(channel).GetModelVersion, request)
        return response.model_version

    async def list_versions(self, model: str, where: str = "") -> Sequence[model_pb2.ModelVersion]:
        """All versions of a model, newest first.

        Args:
            model: Its id or resource name.
            where: Only those, as ``metrics."metrics/mAP50(B)" > 0.9``: a filter of https://google.aip.dev/160 on the version's fields.

        Raises:
            ClientError: NOT_FOUND (MODEL_NOT_FOUND), INVALID_ARGUMENT (INVALID_FIELD), ``where`` is no filter.
        """
        parent = self._names.resource(_COLLECTION, model)

        async def page(token: str) -> model_service_pb2.ListModelVersionsResponse:
            request = model_service_pb2.ListModelVersionsRequest(parent=parent, page_size=PAGE, page_token=token, filter=where)
            return await self._transport.unary("training", lambda channel: ModelServiceStub(channel).ListModelVersions, request)

        return await all_pages(page, "model_versions")

    async def find_content(self, model: str, sha256: str) -> model_pb2.ModelVersion | None:
        """The newest version of a model whose weight file has these bytes; None where there is none, or no such model.

        Args:
            model: Its id or resource name.
            sha256: Of the file, 64 hexadecimal digits.
        """
        return next((version for version in await self.versions_or_none(model) if version.digest == f"sha256:{sha256}"), None)

    async def versions_or_none(self, model: str) -> Sequence[model_pb2.ModelVersion]:
        """All versions of a model, newest first; none where there is no such model."""
        try:
            return await self.list_versions(model)
        except ClientError as error:
            if error.code is Code.NOT_FOUND:
                return []
            raise

    async def locate_official_weights(self, file_name: str) -> str:
        """Where weights that Ultralytics publishes are to be had: at its release, or at the mirror that the service's administrator has set.

        Args:
            file_name: Such as ``yolo11n-seg.pt``.

        Raises:
            ClientError: NOT_FOUND (FILE_NOT_FOUND), there are none of that name; INVALID_ARGUMENT (WEIGHTS_UNREADABLE), those of the original YOLOv5.
        """
        request = model_service_pb2.GetOfficialWeightsRequest(file_name=file_name)
        response = await self._transport.unary(
            "training", lambda channel: ModelServiceStub(channel).GetOfficialWeights, request, timeout_s=CREATE_TIMEOUT_S
        )
        return response.url

    async def create_version(
        self, model: str, upload: str, *, source_name: str = "", request_id: str = "", architecture: str = "", fetched_from: str = ""
    ) -> model_pb2.ModelVersion:
        """Makes a version from a complete upload; the same bytes as the newest version's give that version again.

        Args:
            model: The model, an id or resource name; made where it is not there.
            upload: The upload's resource name.
            source_name: The file's name, for messages.
            request_id: A UUID; the same one again gives the same version, also after its upload is gone. Empty: a fresh one.
            architecture: The classification network of torchvision that the file is a state dict of (``resnet34``). Empty: it is a checkpoint of
                Ultralytics.
            fetched_from: The address that the file was fetched from, whose query is not kept, or ``file:`` and a file's name. Empty: it is a file of one's own.

        Raises:
            ClientError: NOT_FOUND (UPLOAD_NOT_FOUND), INVALID_ARGUMENT (WEIGHTS_UNREADABLE, WEIGHTS_UNSAFE, INVALID_NAME, INVALID_FIELD),
                RESOURCE_EXHAUSTED (OVERLOADED).
        """
        request = model_service_pb2.CreateModelVersionRequest(
            parent=self._names.resource(_COLLECTION, model),
            upload=upload,
            source_name=source_name,
            request_id=request_id or new_request_id(),
            architecture=architecture,
            fetched_from=fetched_from,
        )
        response = await self._transport.unary(
            "training", lambda channel: ModelServiceStub(channel).CreateModelVersion, request, timeout_s=INSPECTION_TIMEOUT_S
        )
        return response.model_version

    async def push(
        self, path: Path | str, model: str, *, request_id: str = "", on_upload: OnProgress | None = None, architecture: str = ""
    ) -> model_pb2.ModelVersion:
        """Uploads a weight file and makes a version of it. It is opened by a worker of the service only, and no code in it is run.

        Args:
            path: The ``.pt`` file, or that of a state dict.
            model: The model that gets a new version, an id or resource name; made where it is not there.
            request_id: A UUID; with the same one an interrupted push goes on. Empty: a fresh one.
            on_upload: Called now and then.
            architecture: As for :meth:`create_version`.

        Raises:
            ClientError: as :meth:`create_version`, and NOT_FOUND (FILE_NOT_FOUND) for the local file.
        """
        self._names.resource(_COLLECTION, model)
        source = open_source(Path(path))
        upload = await self._uploads.upload("training", source, request_id=request_id, on_progress=on_upload)
        return await self.create_version(model, upload.name, source_name=source.name, request_id=request_id, architecture=architecture)

    async def list_files(self, version: str) -> Sequence[transfer_service_pb2.StoredFile]:
        """The files of a version, by path.

        Raises:
            ClientError: NOT_FOUND (MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND).
        """
        request = model_service_pb2.ListModelFilesRequest(name=self._names.version(_COLLECTION, version))
        response = await self._transport.unary("training", lambda channel: ModelServiceStub(channel).ListModelFiles, request)
        return list(response.files)

    async def download(self, version: str, to: Path | str, on_file: OnFile | None = None) -> Sequence[Path]:
        """Downloads the files of a version.

        Returns:
            Their paths.

        Raises:
            ClientError: NOT_FOUND (MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND, FILE_NOT_FOUND).
        """
        found = await self.get_version(version)
        return await self._downloads.files("training", found.name, await self.list_files(found.name), Path(to), on_file)


class Models(Facade[AsyncModels]):
    """The models of a project."""

    get = Blocking(AsyncModels.get)
    list = Blocking(AsyncModels.list)
    get_version = Blocking(AsyncModels.get_version)
    list_versions = Blocking(AsyncModels.list_versions)
    find_content = Blocking(AsyncModels.find_content)
    versions_or_none = Blocking(AsyncModels.versions_or_none)
    locate_official_weights = Blocking(AsyncModels.locate_official_weights)
    create_version = Blocking(AsyncModels.create_version)
    push = Blocking(AsyncModels.push)
    list_files = Blocking(AsyncModels.list_files)
    download = Blocking(AsyncModels.download)
