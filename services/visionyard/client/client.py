"""The clients: :class:`AsyncClient` for asyncio, :class:`Client` for notebooks and scripts. Same names, same arguments, same errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from visionyard.client.datasets import AsyncDatasets, Datasets
from visionyard.client.deployments import AsyncDeployments, Deployments
from visionyard.client.downloads import Downloads
from visionyard.client.endpoints import Endpoints, Service, default_project, default_state_dir
from visionyard.client.evaluations import AsyncEvaluationJobs, EvaluationJobs
from visionyard.client.exports import Artifacts, AsyncArtifacts, AsyncExportJobs, ExportJobs
from visionyard.client.imports import AsyncImportJobs, ImportJobs
from visionyard.client.models import AsyncModels, Models
from visionyard.client.notifications import AsyncNotificationChannels, NotificationChannels
from visionyard.client.predictions import AsyncPredictions, Predictions
from visionyard.client.presets import AsyncPresets, Presets
from visionyard.client.references import References
from visionyard.client.storage import AsyncStorage, Storage
from visionyard.client.sync import LoopThread
from visionyard.client.training import AsyncTrainingJobs, TrainingJobs
from visionyard.client.transport import Transport
from visionyard.client.tuning import AsyncTuningJobs, TuningJobs
from visionyard.client.uploads import AsyncUploads


class AsyncClient:
    """Visionyard for asyncio code. Close it, or use it as ``async with AsyncClient() as client``.

    Args:
        project: The project; None: VISIONYARD_PROJECT, else ``default``.
        state_dir: The embedded stack's state directory, whose ``endpoints.json`` names the services; None: VISIONYARD_HOME, else the usual one.
        addresses: Addresses (host:port) by service, which go before everything else.
        on_waiting: Called with a sentence when a server is away and waited for.

    Attributes:
        datasets: Datasets and their versions.
        imports: Import jobs.
        training: Training jobs.
        tuning: Searches for good training arguments.
        models: Models and their versions.
        presets: Ways to train, under names.
        notifications: Channels that are told what becomes of training jobs.
        evaluations: Comparisons of two models.
        exports: Export jobs.
        artifacts: What export jobs made.
        deployments: Deployments.
        predictions: Predictions.
        storage: What the project takes up, and its collection.
        uploads: Files on their way in; the methods that need one make it themselves.

    Raises:
        ClientError: INVALID_ARGUMENT (INVALID_NAME): the project's name cannot be one.
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        state_dir: Path | str | None = None,
        addresses: dict[Service, str] | None = None,
        on_waiting: Callable[[str], None] | None = None,
    ) -> None:
        names = References(project or default_project())
        endpoints = Endpoints(Path(state_dir) if state_dir else default_state_dir(), dict(addresses or {}))
        self._transport = Transport(endpoints, on_waiting)
        downloads = Downloads(self._transport)
        self.project = names.project
        self.uploads = AsyncUploads(self._transport, names)
        self.datasets = AsyncDatasets(self._transport, names)
        self.imports = AsyncImportJobs(self._transport, names, self.uploads)
        self.training = AsyncTrainingJobs(self._transport, names, downloads)
        self.tuning = AsyncTuningJobs(self._transport, names)
        self.models = AsyncModels(self._transport, names, self.uploads, downloads)
        self.presets = AsyncPresets(self._transport, names)
        self.notifications = AsyncNotificationChannels(self._transport, names)
        self.evaluations = AsyncEvaluationJobs(self._transport, names)
        self.exports = AsyncExportJobs(self._transport, names)
        self.artifacts = AsyncArtifacts(self._transport, names)
        self.deployments = AsyncDeployments(self._transport, names)
        self.predictions = AsyncPredictions(self._transport, names)
        self.storage = AsyncStorage(self._transport, names)

    async def close(self) -> None:
        """Closes the channels."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class Client:
    """Visionyard for notebooks and scripts: :class:`AsyncClient`'s methods, waited for. Close it, or use it as ``with Client() as client``.

    >>> with Client() as client:
    ...     job = client.imports.run("cones.zip", "cones")
    ...     print(job.dataset_version.image_count)

    Args:
        project: As for :class:`AsyncClient`; so are all other arguments, the attributes and the errors.
        state_dir: See there.
        addresses: See there.
        on_waiting: See there; called in another thread.
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        state_dir: Path | str | None = None,
        addresses: dict[Service, str] | None = None,
        on_waiting: Callable[[str], None] | None = None,
    ) -> None:
        client = AsyncClient(project, state_dir=state_dir, addresses=addresses, on_waiting=on_waiting)
        loop = LoopThread()
        self._client = client
        self._loop = loop
        self.project = client.project
        self.datasets = Datasets(client.datasets, loop)
        self.imports = ImportJobs(client.imports, loop)
        self.training = TrainingJobs(client.training, loop)
        self.tuning = TuningJobs(client.tuning, loop)
        self.models = Models(client.models, loop)
        self.presets = Presets(client.presets, loop)
        self.notifications = NotificationChannels(client.notifications, loop)
        self.evaluations = EvaluationJobs(client.evaluations, loop)
        self.exports = ExportJobs(client.exports, loop)
        self.artifacts = Artifacts(client.artifacts, loop)
        self.deployments = Deployments(client.deployments, loop)
        self.predictions = Predictions(client.predictions, loop)
        self.storage = Storage(client.storage, loop)

    def close(self) -> None:
        """Closes the channels and stops the thread."""
        self._loop.run(self._client.close())
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
