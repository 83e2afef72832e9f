"""Detections from candidates against Ultralytics' own post-processing, on crowded random predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ultralytics.utils.nms import non_max_suppression

from visionyard.kit.vision.nms import Candidates, detect

_GENERATOR = np.random.default_rng(11)


def _raw(anchors: int, classes: int, spread: float) -> np.ndarray:
    """Predictions as Ultralytics' head gives them, [4 + classes, anchors]: many boxes on few places, scores that often lie close together."""
    centres = _GENERATOR.uniform(50, 600, (6, 2))[_GENERATOR.integers(0, 6, anchors)] + _GENERATOR.normal(0, spread, (anchors, 2))
    sizes = _GENERATOR.uniform(40, 80, (anchors, 2))
    scores = _GENERATOR.beta(0.4, 2.0, (anchors, classes))
    return np.concatenate([centres, sizes, scores], axis=1).T.astype(np.float32)


def _candidates(raw: np.ndarray, count: int) -> Candidates:
    """What the serving graph makes of raw predictions."""
    scores = raw[4:].T
    surest = np.argsort(-scores, axis=None, kind="stable")[:count]
    anchors, classes = np.unravel_index(surest, scores.shape)
    half = raw[2:4] / 2
    corners = np.concatenate([raw[:2] - half, raw[:2] + half]).T
    return Candidates(corners[anchors], scores[anchors, classes], classes.astype(np.int32), anchors.astype(np.int32))


@pytest.mark.parametrize("confidence", [0.001, 0.25, 0.6])
@pytest.mark.parametrize("iou", [0.0, 0.45, 0.7, 1.0])
@pytest.mark.parametrize("class_ids", [(), (1,), (0, 3)])
@pytest.mark.parametrize("max_detections", [1, 300])
def test_same_detections(confidence: float, iou: float, class_ids: tuple[int, ...], max_detections: int) -> None:
    for anchors, classes, spread in [(40, 4, 4.0), (250, 4, 8.0), (900, 5, 10.0), (30, 80, 3.0)]:
        raw = _raw(anchors, classes, spread)
        want = non_max_suppression(
            torch.from_numpy(raw.copy())[None], confidence, iou, classes=list(class_ids) or None, max_det=max_detections
        )[0].numpy()
        found = detect(
            _candidates(raw, anchors * classes), confidence=confidence, iou=iou, class_ids=class_ids, max_detections=max_detections
        )
        assert np.array_equal(found.scores, want[:, 4])
        assert np.array_equal(found.classes, want[:, 5])
        np.testing.assert_allclose(found.boxes, want[:, :4], atol=1e-4)


def test_confidence_is_strict() -> None:
    box = np.array([[0, 0, 10, 10]], np.float32)
    candidates = Candidates(box, np.array([0.5], np.float32), np.zeros(1, np.int32), np.zeros(1, np.int32))
    assert len(detect(candidates, confidence=0.5).scores) == 0
    assert len(detect(candidates, confidence=0.49).scores) == 1


def test_an_anchor_whose_best_class_is_not_asked_for_is_dropped() -> None:
    candidates = Candidates(
        np.array([[0, 0, 10, 10]] * 2, np.float32), np.array([0.9, 0.8], np.float32), np.array([2, 1], np.int32), np.zeros(2, np.int32)
    )
    assert len(detect(candidates, class_ids=[1]).scores) == 0
    assert detect(candidates, class_ids=[2]).classes.tolist() == [2]


def test_says_when_the_candidates_ran_out() -> None:
    raw = _raw(300, 4, 100.0)
    assert detect(_candidates(raw, 50), confidence=0.001).truncated
    assert not detect(_candidates(raw, 1200), confidence=0.5).truncated


def test_filled_up_candidates_are_no_detections_at_any_threshold() -> None:
    candidates = Candidates(
        np.zeros((2, 4), np.float32), np.array([0.4, -1.0], np.float32), np.zeros(2, np.int32), np.array([0, 1], np.int32)
    )
    found = detect(candidates, confidence=0.0)
    assert found.scores.tolist() == [np.float32(0.4)]
    assert not found.truncated


def test_nms_free_candidates_are_only_filtered() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    candidates = Candidates(boxes, scores, np.array([0, 1, 0], np.int32), np.zeros(3, np.int32))
    assert detect(candidates, nms_applied=True).scores.tolist() == scores.tolist()
    assert detect(candidates, nms_applied=True, class_ids=[0], max_detections=1).scores.tolist() == [np.float32(0.9)]


def test_no_candidates_at_all() -> None:
    empty = Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32))
    found = detect(empty)
    assert found.boxes.shape == (0, 4)
    assert not found.truncated
