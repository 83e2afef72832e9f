"""Holds an exported graph against its source model, on the same letterboxed images.

Candidate by candidate, each is looked up by its anchor and class in the source's raw output; then the detections that both give at
Ultralytics' default thresholds are matched, the source's by Ultralytics' own NMS, the artifact's by the one that serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.nms import non_max_suppression

from visionyard.export.worker.graph import INPUT_NAME, OUTPUT_NAMES
from visionyard.export.worker.images import Picture
from visionyard.kit.artifacts.exported import Comparison
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.vision.letterbox import LetterboxMode, letterbox, plan
from visionyard.kit.vision.nms import Candidates, detect

BOX_LIMIT_PX = 0.1
"""Above what FP32 rounding makes of a coordinate (about 0.003 on yolov8n at 640 pixels), far below what moves a box visibly."""
CONFIDENCE_LIMIT = 0.001
"""Above what FP32 rounding makes of a confidence (about 0.00001), far below what a threshold is chosen by."""
_CONFIDENCE = 0.25
_IOU = 0.7
_MAX_DETECTIONS = 300
_UNMATCHED_RATIO = 0.01


@dataclass(frozen=True)
class ImageComparison:
    """What one image showed; the fields are those of comparison.json.

    Attributes:
        name: The image.
        height_px: The letterboxed input's height.
        width_px: The letterboxed input's width.
        candidate_count: How many candidates were compared.
        max_box_difference_px: The largest difference of a box corner.
        max_confidence_difference: The largest difference of a confidence.
        source_detections: How many detections the source gives.
        artifact_detections: How many the artifact gives.
        unmatched_detections: How many of both have no partner within the limits and are not within the limit of the threshold.
    """

    name: str
    height_px: int
    width_px: int
    candidate_count: int
    max_box_difference_px: float
    max_confidence_difference: float
    source_detections: int
    artifact_detections: int
    unmatched_detections: int


class Comparer:
    """Compares one artifact with its source, image by image.

    Args:
        path: The ONNX file.
        source: The model as :func:`visionyard.export.worker.weights.load_detector` gives it.
        image_size_px: The side to letterbox to.
        stride_px: The model's stride.
        threads: How many threads ONNX Runtime may use.
    """

    def __init__(self, path: Path, source: BaseModel, image_size_px: int, stride_px: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._source = source
        self._end2end = bool(source.end2end)
        self._image_size_px = image_size_px
        self._stride_px = stride_px

    def compare(self, picture: Picture) -> ImageComparison:
        """Runs both on one image and measures how far apart they are; NaN on one side counts as infinitely far."""
        height, width = picture.pixels.shape[:2]
        fit = plan(width, height, self._image_size_px, self._stride_px, LetterboxMode.RECT)
        pixels = letterbox(picture.pixels, fit)[None]
        outputs = self._session.run(list(OUTPUT_NAMES), {INPUT_NAME: pixels})
        candidates = Candidates(*(output[0] for output in outputs))
        source = self._predict(pixels)
        box, confidence = _candidate_differences(candidates, source)
        found = detect(candidates, confidence=_CONFIDENCE, iou=_IOU, max_detections=_MAX_DETECTIONS, nms_applied=self._end2end)
        actual = np.column_stack([found.boxes, found.scores, found.classes])
        expected = self._expected(source, len(candidates.scores))
        return ImageComparison(
            name=picture.name,
            height_px=fit.height,
            width_px=fit.width,
            candidate_count=int(np.count_nonzero(candidates.scores >= 0)),
            max_box_difference_px=box,
            max_confidence_difference=confidence,
            source_detections=len(expected),
            artifact_detections=len(actual),
            unmatched_detections=_unmatched(expected, actual) + _unmatched(actual, expected),
        )

    def _expected(self, source: _Prediction, most: int) -> NDArray[np.float32]:
        """The source's detections: Ultralytics' own, or, where more pairs are above the confidence than the graph gives out, those of its surest pairs.

        A model that has hardly learned finds thousands of pairs in a crowd; the graph cuts them by design, and the answer of a prediction says so.
        """
        if self._end2end or int(np.count_nonzero(source.scores > _CONFIDENCE)) <= most:
            return source.detections
        flat = np.argsort(-source.scores, axis=None, kind="stable")[:most]
        anchors, classes = np.unravel_index(flat, source.scores.shape)
        surest = Candidates(source.boxes[anchors], source.scores[anchors, classes], classes.astype(np.int32), anchors.astype(np.int32))
        found = detect(surest, confidence=_CONFIDENCE, iou=_IOU, max_detections=_MAX_DETECTIONS)
        return np.column_stack([found.boxes, found.scores, found.classes])

    def _predict(self, pixels: NDArray[np.uint8]) -> _Prediction:
        head = self._source.model[-1]
        with torch.inference_mode():
            predictions, maps = self._source(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
            if self._end2end:  # the head has chosen already: its decoding is asked again for all anchors
                raw = head._inference(maps["one2one"])  # noqa: SLF001 - there is no public way to an NMS-free head's raw boxes
                corners = raw[:, :4]
            else:
                raw = predictions
                corners = torch.cat((raw[:, :2] - raw[:, 2:4] / 2, raw[:, :2] + raw[:, 2:4] / 2), 1)
            boxes, scores = corners[0].T.numpy().copy(), raw[0, 4:].T.numpy().copy()
            detections = non_max_suppression(predictions.clone(), _CONFIDENCE, _IOU, max_det=_MAX_DETECTIONS, end2end=self._end2end)[0]
        return _Prediction(boxes, scores, detections.numpy())


@dataclass(frozen=True)
class _Prediction:
    """What the source says of an image.

    Attributes:
        boxes: FP32 [anchors, 4], corners in pixels of the input.
        scores: FP32 [anchors, classes].
        detections: FP32 [M, 6], corners, confidence, class.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    detections: NDArray[np.float32]


def _candidate_differences(candidates: Candidates, source: _Prediction) -> tuple[float, float]:
    """The largest differences of corners and confidences over all candidates."""
    real = candidates.scores >= 0
    anchors, classes = candidates.anchors[real], candidates.classes[real]
    box = candidates.boxes[real] - source.boxes[anchors]
    confidence = candidates.scores[real] - source.scores[anchors, classes]
    # That the graph chose the surest pairs shows in the scores alone: sorted, they must be the source's surest ones.
    surest = np.sort(source.scores, axis=None)[::-1][: len(candidates.scores)]
    rank = candidates.scores[: len(surest)] - surest
    return _largest(box), max(_largest(confidence), _largest(rank))


def _largest(differences: NDArray[np.float32]) -> float:
    return float(np.nan_to_num(np.abs(differences), nan=np.inf).max(initial=0.0))


def _unmatched(detections: NDArray[np.float32], others: NDArray[np.float32]) -> int:
    """How many detections (corners, confidence, class) have no partner among the others and are clearly above the threshold."""
    clear = detections[detections[:, 4] > _CONFIDENCE + CONFIDENCE_LIMIT]
    close = np.abs(clear[:, None, :4] - others[None, :, :4]).max(axis=2, initial=0.0) <= BOX_LIMIT_PX
    sure = np.abs(clear[:, None, 4] - others[None, :, 4]) <= CONFIDENCE_LIMIT
    same = clear[:, None, 5] == others[None, :, 5]
    return int(np.count_nonzero(~(close & sure & same).any(axis=1)))


def summarise(images_from: str, images: Sequence[ImageComparison]) -> Comparison:
    """What the artifact's document says of the comparison.

    Raises:
        YardError: EXPORT_MISMATCH, the artifact differs from its source by more than the limits; EXPORT_FAILED, there was no image.
    """
    if not images:
        raise YardError(Reason.EXPORT_FAILED, f"none of the images of {images_from} can be decoded", {"step": "comparing"})
    box = max(image.max_box_difference_px for image in images)
    confidence = max(image.max_confidence_difference for image in images)
    detections = sum(image.source_detections for image in images)
    unmatched = sum(image.unmatched_detections for image in images)
    if box > BOX_LIMIT_PX:
        raise _mismatch("a box corner", f"{box:.4g} px", f"{BOX_LIMIT_PX} px")
    if confidence > CONFIDENCE_LIMIT:
        raise _mismatch("a confidence", f"{confidence:.4g}", str(CONFIDENCE_LIMIT))
    # Two boxes whose overlap is the NMS's threshold to the last digit may fall to either side; more than a few are no accident.
    if unmatched > 2 + _UNMATCHED_RATIO * detections:
        raise _mismatch("the number of detections without a partner", str(unmatched), f"{_UNMATCHED_RATIO:.0%} of {detections}")
    return Comparison(images_from, len(images), box, confidence, BOX_LIMIT_PX, CONFIDENCE_LIMIT, detections)


def _mismatch(what: str, difference: str, limit: str) -> YardError:
    return YardError(
        Reason.EXPORT_MISMATCH,
        f"the exported graph does not give what its source model gives: {what} differs by {difference}, more than {limit}; report this model",
        {"difference": difference, "limit": limit},
    )


def report(comparison: Comparison, images: Sequence[ImageComparison]) -> dict[str, Any]:
    """The document that is stored with the artifact: the summary, and each image."""
    return {**asdict(comparison), "images": [asdict(image) for image in images]}
