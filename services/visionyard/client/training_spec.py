"""What a training is asked for, as trainings and searches send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionyard.client.errors import local
from visionyard.client.references import References
from visionyard.kit.errors import Reason
from visionyard.training.v1 import training_job_pb2

_LAUNCHERS = {
    "": training_job_pb2.LAUNCHER_UNSPECIFIED,
    "local": training_job_pb2.LAUNCHER_LOCAL,
    "ray": training_job_pb2.LAUNCHER_RAY,
}


def _launcher(name: str) -> training_job_pb2.Launcher.ValueType:
    if name not in _LAUNCHERS:
        raise local(Reason.INVALID_FIELD, f"there is no launcher {name!r}: choose local or ray", {"field": "training_job.spec.launcher"})
    return _LAUNCHERS[name]


def training_spec(
    names: References,
    dataset: str,
    *,
    model: str,
    model_version: str = "",
    architecture: str = "",
    model_yaml: str = "",
    epochs: int = 0,
    batch_size: int = 0,
    image_size_px: int = 0,
    overrides: Mapping[str, Any] | None = None,
    gpus: int = 0,
    nodes: int = 0,
    launcher: str = "",
    pretrained: str = "",
) -> training_job_pb2.TrainingSpec:
    """The message; arguments as for :meth:`visionyard.client.training.AsyncTrainingJobs.create`.

    Raises:
        ClientError: INVALID_ARGUMENT (INVALID_NAME, INVALID_FIELD, INVALID_ARGUMENT_VALUE).
    """
    spec = training_job_pb2.TrainingSpec(
        dataset_version=names.version("datasets", dataset),
        model=names.resource("models", model),
        epochs=epochs,
        batch_size=batch_size,
        image_size_px=image_size_px,
        gpus=gpus,
        nodes=nodes,
        launcher=_launcher(launcher),
        pretrained_model_version=names.version("models", pretrained) if pretrained else "",
    )
    if model_version:
        spec.model_version = names.version("models", model_version)
    if architecture:
        spec.architecture = architecture
    if model_yaml:
        spec.model_yaml = model_yaml
    try:
        spec.overrides.update(dict(overrides or {}))
    except (TypeError, ValueError) as error:
        raise local(
            Reason.INVALID_ARGUMENT_VALUE,
            f"a training argument cannot be sent: {error}; use numbers, texts, booleans and lists of them",
        ) from error
    return spec
