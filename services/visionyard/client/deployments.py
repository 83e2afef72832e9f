"""Deployments: model versions under names that clients call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal

from google.protobuf import field_mask_pb2

from visionyard.client.errors import ClientError, JobFailed, job_failed, local
from visionyard.client.jobs import PAGE, all_pages
from visionyard.client.references import References
from visionyard.client.sync import Blocking, BlockingIterator, Facade
from visionyard.client.transport import Patience, Transport
from visionyard.inference.v1 import deployment_pb2, deployment_service_pb2
from visionyard.inference.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from visionyard.kit.errors import Code, Reason
from visionyard.kit.request_id import new_request_id

_COLLECTION = "deployments"
LetterboxChoice = Literal["rect", "square"]
_LETTERBOXES = {
    "": deployment_pb2.LETTERBOX_UNSPECIFIED,
    "rect": deployment_pb2.LETTERBOX_RECT,
    "square": deployment_pb2.LETTERBOX_SQUARE,
}


class DeploymentFailed(JobFailed):
    """The wanted version could not be loaded."""


class AsyncDeployments:
    """The deployments of a project.

    Args:
        transport: The channels.
        names: Names in the project.
    """

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    async def create(
        self, deployment: str, model: str, *, artifact: str = "", letterbox: LetterboxChoice | None = None, request_id: str = ""
    ) -> deployment_pb2.Deployment:
        """Makes a deployment; it loads while this returns.

        Args:
            deployment: Its id.
            model: The model version, ``NAME[@V]`` or a resource name.
            artifact: The artifact's resource name; empty: the newest that the server can load.
            letterbox: How images are fitted; None: ``rect``.
            request_id: A UUID; the same one again gives the same deployment. Empty: a fresh one.

        Raises:
            ClientError: ALREADY_EXISTS, INVALID_ARGUMENT (INVALID_NAME, INVALID_FIELD), NOT_FOUND (MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND,
                ARTIFACT_NOT_FOUND).
        """
        request = deployment_service_pb2.CreateDeploymentRequest(
            parent=self._names.parent,
            deployment_id=self._names.resource(_COLLECTION, deployment).split("/")[-1],
            deployment=deployment_pb2.Deployment(
                model_version=self._names.version("models", model), artifact=artifact, letterbox=_LETTERBOXES[letterbox or ""]
            ),
            request_id=request_id or new_request_id(),
        )
        response = await self._transport.unary("inference", lambda channel: DeploymentServiceStub(channel).CreateDeployment, request)
        return response.deployment

    async def update(
        self, deployment: str, model: str, *, artifact: str = "", letterbox: LetterboxChoice | None = None
    ) -> deployment_pb2.Deployment:
        """Changes what a deployment serves; no request is dropped on the way.

        Args:
            deployment: Its id or resource name.
            model: The model version, ``NAME[@V]`` or a resource name.
            artifact: The artifact's resource name; empty: the newest that the server can load.
            letterbox: How images are fitted; None: as before.

        Raises:
            ClientError: NOT_FOUND (DEPLOYMENT_NOT_FOUND, MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND, ARTIFACT_NOT_FOUND).
        """
        wanted = deployment_pb2.Deployment(
            name=self._names.resource(_COLLECTION, deployment),
            model_version=self._names.version("models", model),
            artifact=artifact,
            letterbox=_LETTERBOXES[letterbox or ""],
        )
        paths = ["model_version", "artifact", *(["letterbox"] if letterbox else [])]
        request = deployment_service_pb2.UpdateDeploymentRequest(deployment=wanted, update_mask=field_mask_pb2.FieldMask(paths=paths))
        response = await self._transport.unary("inference", lambda channel: DeploymentServiceStub(channel).UpdateDeployment, request)
        return response.deployment

    async def create_or_update(
        self, deployment: str, model: str, *, artifact: str = "", letterbox: LetterboxChoice | None = None, request_id: str = ""
    ) -> deployment_pb2.Deployment:
        """Makes a deployment, or changes the one of that name; arguments and errors as for :meth:`create`, ALREADY_EXISTS left out."""
        try:
            made = await self.create(deployment, model, artifact=artifact, letterbox=letterbox, request_id=request_id)
        except ClientError as error:
            if error.code is not Code.ALREADY_EXISTS:
                raise
        else:
            # A request_id of before finds the deployment as it is now, which may have been changed since.
            version = self._names.version("models", model)
            same_model = made.model_version == version or version.endswith("/-")
            if same_model and artifact in {"", made.artifact} and _LETTERBOXES[letterbox or ""] in {_LETTERBOXES[""], made.letterbox}:
                return made
        return await self.update(deployment, model, artifact=artifact, letterbox=letterbox)

    async def get(self, deployment: str) -> deployment_pb2.Deployment:
        """Reads a deployment.

        Raises:
            ClientError: NOT_FOUND (DEPLOYMENT_NOT_FOUND).
        """
        request = deployment_service_pb2.GetDeploymentRequest(name=self._names.resource(_COLLECTION, deployment))
        response = await self._transport.unary("inference", lambda channel: DeploymentServiceStub(channel).GetDeployment, request)
        return response.deployment

    async def list(self, where: str = "") -> list[deployment_pb2.Deployment]:
        """All deployments, by name.

        Args:
            where: Only those, as ``state = DEPLOYMENT_STATE_READY``: a filter of https://google.aip.dev/160 on the deployment's fields.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD), ``where`` is no filter.
        """

        async def page(token: str) -> deployment_service_pb2.ListDeploymentsResponse:
            request = deployment_service_pb2.ListDeploymentsRequest(
                parent=self._names.parent, page_size=PAGE, page_token=token, filter=where
            )
            return await self._transport.unary("inference", lambda channel: DeploymentServiceStub(channel).ListDeployments, request)

        return await all_pages(page, "deployments")

    async def delete(self, deployment: str) -> None:
        """Takes a deployment away; what is under way is answered first.

        Raises:
            ClientError: NOT_FOUND (DEPLOYMENT_NOT_FOUND).
        """
        request = deployment_service_pb2.DeleteDeploymentRequest(name=self._names.resource(_COLLECTION, deployment))
        try:
            await self._transport.unary("inference", lambda channel: DeploymentServiceStub(channel).DeleteDeployment, request)
        except ClientError as error:
            # A repeated call whose first answer got lost finds what it wanted: no deployment.
            if error.code is not Code.NOT_FOUND or error.attempts == 1:
                raise

    async def watch(self, deployment: str) -> AsyncIterator[deployment_pb2.Deployment]:
        """Snapshots of a deployment, one at once and one at each change, without end.

        Raises:
            ClientError: NOT_FOUND (DEPLOYMENT_NOT_FOUND).
        """
        name = self._names.resource(_COLLECTION, deployment)
        patience = Patience(self._transport, "inference")
        while True:
            async for response in self._transport.stream(
                "inference",
                lambda channel: DeploymentServiceStub(channel).WatchDeployment,
                lambda: deployment_service_pb2.WatchDeploymentRequest(name=name),
                patience,
            ):
                yield response.deployment
            await patience.pause()

    async def wait_ready(
        self, deployment: str, on_snapshot: Callable[[deployment_pb2.Deployment], None] | None = None
    ) -> deployment_pb2.Deployment:
        """Waits until what the deployment should serve answers.

        Raises:
            DeploymentFailed: it could not be loaded; an earlier version may go on answering.
            ClientError: NOT_FOUND (DEPLOYMENT_NOT_FOUND).
        """
        async for found in self.watch(deployment):
            if on_snapshot:
                on_snapshot(found)
            if found.state == deployment_pb2.DEPLOYMENT_STATE_READY:
                return found
            if found.state == deployment_pb2.DEPLOYMENT_STATE_FAILED:
                why = job_failed(found.error)
                raise DeploymentFailed(why.code, why.reason, why.message, why.metadata, why.violations)
        raise local(Reason.DEPLOYMENT_NOT_FOUND, f"the deployment {deployment!r} is no longer watched", {"name": deployment})

    async def deploy(
        self, deployment: str, model: str, *, artifact: str = "", letterbox: LetterboxChoice | None = None, request_id: str = ""
    ) -> deployment_pb2.Deployment:
        """Makes or changes a deployment and waits until it answers; arguments and errors as for :meth:`create` and :meth:`wait_ready`."""
        made = await self.create_or_update(deployment, model, artifact=artifact, letterbox=letterbox, request_id=request_id)
        return await self.wait_ready(made.name)


class Deployments(Facade[AsyncDeployments]):
    """The deployments of a project."""

    create = Blocking(AsyncDeployments.create)
    update = Blocking(AsyncDeployments.update)
    create_or_update = Blocking(AsyncDeployments.create_or_update)
    get = Blocking(AsyncDeployments.get)
    list = Blocking(AsyncDeployments.list)
    delete = Blocking(AsyncDeployments.delete)
    watch = BlockingIterator(AsyncDeployments.watch)
    wait_ready = Blocking(AsyncDeployments.wait_ready)
    deploy = Blocking(AsyncDeployments.deploy)
