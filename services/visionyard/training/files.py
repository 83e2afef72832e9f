"""Which files the room's resources hold: training jobs and model versions."""

from __future__ import annotations

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.transfer.files import FileLocation, file_not_found
from visionyard.training.models import Models
from visionyard.training.trainings import Trainings


class TrainingFiles:
    """Finds the files of training jobs and model versions; a ``FileResolver``.

    Args:
        trainings: The jobs.
        models: The models.
    """

    def __init__(self, trainings: Trainings, models: Models) -> None:
        self._trainings = trainings
        self._models = models

    def resolve(self, name: str, path: str) -> FileLocation:
        """Finds a file. Blocks.

        Raises:
            YardError: INVALID_NAME, JOB_NOT_FOUND, MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND or FILE_NOT_FOUND.
        """
        collection = (name.split("/") + [""] * 3)[2]
        if collection == JobKind.TRAINING.collection:
            files = self._trainings.files(ResourceName.parse(name, collection))
        elif collection == "models":
            files = dict(self._models.version(VersionName.parse(name, collection)).files)
        else:
            raise YardError(Reason.INVALID_NAME, f"{name[:200]!r} is neither a training job nor a model version", {"name": name[:200]})
        if path not in files:
            raise file_not_found(name, path[:200])
        return FileLocation(files[path].key, files[path].size, files[path].sha256)
