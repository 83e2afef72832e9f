"""Between the inference protos and the domain, with the checks of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from visionyard.inference.deployment import Deployment, Wanted
from visionyard.inference.execution import TritonBackend
from visionyard.inference.options import Options
from visionyard.inference.predictor import Prediction
from visionyard.inference.serving import Alias, DeploymentState
from visionyard.inference.v1 import deployment_pb2, prediction_service_pb2
from visionyard.kit.errors import YardError, invalid_field
from visionyard.kit.names import ArtifactName, VersionName, may_refer
from visionyard.kit.status import to_status
from visionyard.kit.vision.letterbox import LetterboxMode

_LETTERBOX = {
    deployment_pb2.LETTERBOX_UNSPECIFIED: LetterboxMode.RECT,
    deployment_pb2.LETTERBOX_RECT: LetterboxMode.RECT,
    deployment_pb2.LETTERBOX_SQUARE: LetterboxMode.SQUARE,
}
_LETTERBOX_TO_PROTO = {LetterboxMode.RECT: deployment_pb2.LETTERBOX_RECT, LetterboxMode.SQUARE: deployment_pb2.LETTERBOX_SQUARE}
_STATE_TO_PROTO = {
    DeploymentState.LOADING: deployment_pb2.DEPLOYMENT_STATE_LOADING,
    DeploymentState.READY: deployment_pb2.DEPLOYMENT_STATE_READY,
    DeploymentState.UPDATING: deployment_pb2.DEPLOYMENT_STATE_UPDATING,
    DeploymentState.FAILED: deployment_pb2.DEPLOYMENT_STATE_FAILED,
}
_CHANGEABLE = ("model_version", "artifact", "letterbox")


def _letterbox(message: deployment_pb2.Deployment) -> LetterboxMode:
    try:
        return _LETTERBOX[message.letterbox]
    except KeyError:
        raise invalid_field("deployment.letterbox", f"{message.letterbox} is not a letterbox mode") from None


def _artifact(message: deployment_pb2.Deployment) -> ArtifactName | None:
    return ArtifactName.parse(message.artifact) if message.artifact else None


def _model_version(message: deployment_pb2.Deployment, project: str) -> VersionName:
    if not message.model_version:
        raise invalid_field("deployment.model_version", "is empty: name the model version to serve")
    version = VersionName.parse(message.model_version, "models")
    if not may_refer(project, version.parent.project):
        raise invalid_field("deployment.model_version", f"{version} belongs to another project than the deployment")
    return version


def wanted_from_proto(message: deployment_pb2.Deployment, project: str) -> Wanted:
    """What a new deployment should serve.

    Raises:
        YardError: INVALID_NAME, INVALID_FIELD.
    """
    return Wanted(_model_version(message, project), _artifact(message), _letterbox(message))


def change_from_proto(message: deployment_pb2.Deployment, paths: Sequence[str], project: str) -> dict[str, Any]:
    """What an update changes, by field; an empty mask means all fields.

    Raises:
        YardError: INVALID_NAME, INVALID_FIELD.
    """
    for path in paths:
        if path not in _CHANGEABLE:
            raise invalid_field("update_mask", f"{path!r} cannot be changed: use {', '.join(_CHANGEABLE)}")
    chosen = set(paths) or set(_CHANGEABLE)
    change: dict[str, Any] = {}
    if "model_version" in chosen:
        change["model_version"] = _model_version(message, project)
    if "artifact" in chosen:
        change["artifact"] = _artifact(message)
    if "letterbox" in chosen:
        change["letterbox"] = _letterbox(message)
    return change


def deployment_to_proto(deployment: Deployment, alias: Alias | None, backend: TritonBackend) -> deployment_pb2.Deployment:
    """A deployment, with how far this server got with it.

    Args:
        deployment: What it should serve.
        alias: What answers to it here; None where nothing was done for it yet.
        backend: The Triton backend that runs it.
    """
    created, updated = Timestamp(), Timestamp()
    created.FromDatetime(deployment.create_time)
    updated.FromDatetime(deployment.update_time)
    state = alias.state(deployment.wanted.id) if alias is not None else DeploymentState.LOADING
    served = alias.served if alias is not None else None
    message = deployment_pb2.Deployment(
        name=str(deployment.name),
        model_version=str(deployment.wanted.model_version),
        artifact=str(deployment.wanted.artifact),
        letterbox=_LETTERBOX_TO_PROTO[deployment.wanted.letterbox],
        state=_STATE_TO_PROTO[state],
        served_version=str(served.artifact.name.version) if served is not None else "",
        class_names=served.artifact.class_names if served is not None else (),
        backend=backend.value,
        create_time=created,
        update_time=updated,
        etag=deployment.etag,
    )
    if state is DeploymentState.FAILED and alias is not None and alias.failure is not None:
        message.error.CopyFrom(to_status(alias.failure))
    return message


def options_from_proto(message: prediction_service_pb2.PredictOptions) -> Options:
    """The options; what is left out takes Ultralytics' default.

    Raises:
        YardError: INVALID_FIELD.
    """
    default = Options()
    return Options(
        confidence=message.confidence if message.HasField("confidence") else default.confidence,
        iou=message.iou if message.HasField("iou") else default.iou,
        class_ids=frozenset(message.class_ids),
        max_detections=message.max_detections if message.HasField("max_detections") else default.max_detections,
    )


def prediction_to_proto(prediction: Prediction) -> prediction_service_pb2.Prediction:
    """A prediction as it travels."""
    found = prediction.detections
    message = prediction_service_pb2.Prediction(
        image_width_px=prediction.width_px,
        image_height_px=prediction.height_px,
        served_version=str(prediction.served_version),
        candidates_truncated=found.truncated,
        timings=prediction_service_pb2.Timings(
            decode_ms=prediction.decode_ms,
            queue_ms=prediction.queue_ms,
            compute_ms=prediction.compute_ms,
            total_ms=prediction.total_ms,
        ),
    )
    # Set even when nothing was found, so that the result's kind can be read.
    message.detection.SetInParent()
    for box, score, class_id in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True):
        message.detection.detections.add(
            class_id=class_id,
            class_name=prediction.class_names[class_id],
            confidence=score,
            box=prediction_service_pb2.Box(x1=box[0], y1=box[1], x2=box[2], y2=box[3]),
        )
    return message


def item_to_proto(answer: Prediction | YardError) -> prediction_service_pb2.BatchPredictItem:
    """One image's answer in a batch."""
    if isinstance(answer, YardError):
        return prediction_service_pb2.BatchPredictItem(error=to_status(answer))
    return prediction_service_pb2.BatchPredictItem(prediction=prediction_to_proto(answer))
