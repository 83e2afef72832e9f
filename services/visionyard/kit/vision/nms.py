"""From the serving graph's candidates to detections: thresholds and class-aware non-maximum suppression.

Follows Ultralytics 8.4's ``predict`` (``ultralytics/utils/nms.py``, ``non_max_suppression`` with ``multi_label=False`` and
``agnostic=False``): the best class of each anchor, strictly above the confidence, then the class filter, then greedy suppression of boxes that
are shifted by 7680 pixels a class so that classes don't touch each other. All arithmetic is FP32, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

CLASS_OFFSET_PX = 7680
"""By how much the boxes of one class are shifted against those of the class before it (``max_wh``)."""
MAX_BOXES = 30_000
"""At most so many boxes enter the suppression, the surest ones (``max_nms``)."""
_BLOCK_BOXES = 128


@dataclass(frozen=True)
class Candidates:
    """What the serving graph gives out for one image: the surest pairs of a box and a class, sorted by score, descending.

    Attributes:
        boxes: FP32 [K, 4], x1 y1 x2 y2 in pixels of the input.
        scores: FP32 [K], from 0 to 1; -1 fills up where a model has fewer pairs than K.
        classes: INT32 [K].
        anchors: INT32 [K], which of the model's predictions a pair belongs to; several pairs can share one.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    anchors: NDArray[np.int32]


@dataclass(frozen=True)
class Detections:
    """What is left after thresholds and suppression, surest first.

    Attributes:
        boxes: FP32 [M, 4], x1 y1 x2 y2 in pixels of the input.
        scores: FP32 [M], from 0 to 1.
        classes: INT32 [M].
        truncated: Whether every candidate was above the confidence threshold, so that the model may have had more than the graph gives out.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    truncated: bool


def detect(
    candidates: Candidates,
    *,
    confidence: float = 0.25,
    iou: float = 0.7,
    class_ids: Collection[int] = (),
    max_detections: int = 300,
    nms_applied: bool = False,
) -> Detections:
    """Turns an image's candidates into detections, as Ultralytics' ``predict`` does.

    Args:
        candidates: The serving graph's output for the image.
        confidence: Only detections strictly above it, from 0 to 1.
        iou: Of two boxes of a class that overlap by more than this, only the surer one, from 0 to 1.
        class_ids: Only these classes; empty: all. An anchor whose best class is another one is dropped, as Ultralytics does.
        max_detections: At most so many.
        nms_applied: The model is NMS-free (:attr:`visionyard.kit.artifacts.exported.Artifact.nms_applied`): its candidates are detections already, ``iou`` means nothing and an anchor
            may have several classes.
    """
    threshold = np.float32(confidence)
    count = int(np.count_nonzero(candidates.scores > threshold))
    truncated = 0 < len(candidates.scores) == count
    # The scores are sorted, so those above the threshold are the first ones.
    scores, classes, boxes = candidates.scores[:count], candidates.classes[:count], candidates.boxes[:count]
    keep = np.arange(count) if nms_applied else _best_class(candidates.anchors[:count], scores, classes)
    if class_ids:
        keep = keep[np.isin(classes[keep], np.fromiter(class_ids, np.int64))]
    if nms_applied:
        keep = keep[:max_detections]
    else:
        keep = keep[:MAX_BOXES]
        shifted = boxes[keep] + (classes[keep].astype(np.float32) * np.float32(CLASS_OFFSET_PX))[:, None]
        keep = keep[suppress(shifted, iou, max_detections)]
    return Detections(boxes[keep], scores[keep], classes[keep], truncated)


def _best_class(anchors: NDArray[np.int32], scores: NDArray[np.float32], classes: NDArray[np.int32]) -> NDArray[np.intp]:
    """Indices of each anchor's best pair, in the order given; of equal scores the lower class, as torch.max does."""
    if not len(anchors):
        return np.empty(0, np.intp)
    order = np.lexsort((classes, -scores, anchors))
    sorted_anchors = anchors[order]
    first = np.empty(len(order), bool)
    first[0] = True
    np.not_equal(sorted_anchors[1:], sorted_anchors[:-1], out=first[1:])
    best: NDArray[np.intp] = np.sort(order[first])
    return best


def suppress(boxes: NDArray[np.float32], iou: float, limit: int) -> NDArray[np.intp]:
    """Greedy non-maximum suppression of boxes that are sorted by score, descending.

    Block by block: what the boxes kept so far cover goes first, then each block is settled within itself. So the few boxes that a usual
    threshold leaves cost one small matrix, and memory stays flat for many.

    Args:
        boxes: FP32 [M, 4], x1 y1 x2 y2; already shifted by class.
        iou: A box goes when it overlaps a surer, kept one by more than this.
        limit: Stops after so many kept boxes.

    Returns:
        Indices of the kept boxes, ascending.
    """
    threshold = np.float32(iou)
    areas = _areas(boxes)
    kept = np.empty(0, np.intp)
    for start in range(0, len(boxes), _BLOCK_BOXES):
        block = np.arange(start, min(start + _BLOCK_BOXES, len(boxes)))
        if len(kept):
            covered = _overlaps(boxes[kept, None], areas[kept, None], boxes[None, block], areas[None, block]) > threshold
            block = block[~covered.any(axis=0)]
        kept = np.concatenate([kept, block[_settle(boxes[block], areas[block], threshold)]])
        if len(kept) >= limit:
            break
    return kept[:limit]


def _settle(boxes: NDArray[np.float32], areas: NDArray[np.float32], threshold: np.float32) -> NDArray[np.bool_]:
    """Which boxes of a block are kept: those that no surer, kept one of the block covers."""
    covers = np.triu(_overlaps(boxes[:, None], areas[:, None], boxes[None], areas[None]) > threshold, 1)
    alive = np.ones(len(boxes), bool)
    for row in np.flatnonzero(covers.any(axis=1)):
        if alive[row]:
            alive &= ~covers[row]
    return alive


def _overlaps(
    box: NDArray[np.float32], area: NDArray[np.float32], others: NDArray[np.float32], other_areas: NDArray[np.float32]
) -> NDArray[np.float32]:
    """IoU of boxes against others, broadcast; 0/0 of empty boxes gives NaN, which suppresses nothing, as in torchvision."""
    width = np.minimum(box[..., 2], others[..., 2]) - np.maximum(box[..., 0], others[..., 0])
    height = np.minimum(box[..., 3], others[..., 3]) - np.maximum(box[..., 1], others[..., 1])
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    with np.errstate(divide="ignore", invalid="ignore"):
        overlap: NDArray[np.float32] = width / (area + other_areas - width)
    return overlap


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas
