"""Predictions on images with deployed models."""

from __future__ import annotations

from collections.abc import Sequence

from visionyard.client.errors import local
from visionyard.client.references import References
from visionyard.client.sync import Blocking, Facade
from visionyard.client.transport import MESSAGE_BYTES, Transport
from visionyard.inference.v1 import prediction_service_pb2
from visionyard.inference.v1.prediction_service_pb2_grpc import PredictionServiceStub
from visionyard.kit.errors import Reason

PREDICT_TIMEOUT_S = 60.0
"""The deadline of a prediction; waiting for a model that has just been loaded included."""
_FRAME_BYTES = 1 << 16


class AsyncPredictions:
    """Predictions in a project.

    Args:
        transport: The channels.
        names: Names in the project.
    """

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    async def predict(
        self,
        deployment: str,
        image: bytes,
        *,
        confidence: float | None = None,
        iou: float | None = None,
        class_ids: Sequence[int] = (),
        max_detections: int | None = None,
    ) -> prediction_service_pb2.Prediction:
        """Predicts on one image.

        Args:
            deployment: Its id or resource name.
            image: A JPEG or PNG file's bytes.
            confidence: Only detections strictly above it; None: 0.25.
            iou: Of two boxes of a class that overlap by more than this, only the surer one; None: 0.7.
            class_ids: Only these classes; empty: all.
            max_detections: At most so many; None: 300.

        Raises:
            ClientError: NOT_FOUND (DEPLOYMENT_NOT_FOUND), INVALID_ARGUMENT (INVALID_FIELD, IMAGE_UNREADABLE, IMAGE_TOO_LARGE),
                FAILED_PRECONDITION (DEPLOYMENT_NOT_READY), RESOURCE_EXHAUSTED (REQUEST_TOO_LARGE, OVERLOADED).
        """
        if len(image) > MESSAGE_BYTES - _FRAME_BYTES:
            raise too_large(len(image))
        request = prediction_service_pb2.PredictRequest(
            name=self._names.resource("deployments", deployment),
            image=image,
            options=prediction_service_pb2.PredictOptions(
                confidence=confidence, iou=iou, class_ids=class_ids, max_detections=max_detections
            ),
        )
        response = await self._transport.unary(
            "inference", lambda channel: PredictionServiceStub(channel).Predict, request, timeout_s=PREDICT_TIMEOUT_S
        )
        return response.prediction

    async def batch_predict(
        self,
        deployment: str,
        images: Sequence[bytes],
        *,
        confidence: float | None = None,
        iou: float | None = None,
        class_ids: Sequence[int] = (),
        max_detections: int | None = None,
    ) -> list[prediction_service_pb2.BatchPredictItem]:
        """Predicts on several images, 1 to 64, in one call; each item holds a prediction or an error. Arguments and errors as for :meth:`predict`."""
        if sum(map(len, images)) > MESSAGE_BYTES - _FRAME_BYTES:
            raise too_large(sum(map(len, images)))
        request = prediction_service_pb2.BatchPredictRequest(
            name=self._names.resource("deployments", deployment),
            images=images,
            options=prediction_service_pb2.PredictOptions(
                confidence=confidence, iou=iou, class_ids=class_ids, max_detections=max_detections
            ),
        )
        response = await self._transport.unary(
            "inference", lambda channel: PredictionServiceStub(channel).BatchPredict, request, timeout_s=PREDICT_TIMEOUT_S
        )
        return list(response.items)


def too_large(size_bytes: int) -> Exception:
    """An image that no server would take."""
    return local(
        Reason.REQUEST_TOO_LARGE,
        f"the image has {size_bytes} bytes, more than the {MESSAGE_BYTES} that are ever sent: send it smaller",
        {"size_bytes": str(size_bytes), "limit_bytes": str(MESSAGE_BYTES)},
    )


class Predictions(Facade[AsyncPredictions]):
    """Predictions in a project."""

    predict = Blocking(AsyncPredictions.predict)
    batch_predict = Blocking(AsyncPredictions.batch_predict)
