"""Which predictions are right; and that Ultralytics, told the same, counts the same."""

import numpy as np
import pytest

from visionyard.training.reports.matching import Found, judge


def found(predictions, labels, pairs):
    """Predictions as (confidence, class), the surest first; labels as classes; pairs as (label, prediction, IoU)."""
    boxes = np.zeros((len(predictions), 4), np.float32)
    return Found(
        np.array([confidence for confidence, _ in predictions], np.float32),
        np.array([class_id for _, class_id in predictions], np.int32),
        boxes,
        np.array(labels, np.int32),
        np.zeros((len(labels), 4), np.float32),
        tuple(pairs),
    )


def test_the_surest_prediction_takes_the_label_that_it_overlaps_most():
    verdict = judge(found([(0.9, 0), (0.8, 0)], [0, 0], [(0, 0, 0.6), (1, 0, 0.8), (1, 1, 0.9), (0, 1, 0.55)]), 0.5)
    assert verdict.right == ((0, 1), (1, 0))
    assert (verdict.false_positives, verdict.false_negatives) == (0, 0)


def test_a_second_prediction_of_a_found_label_is_a_false_positive():
    verdict = judge(found([(0.9, 0), (0.8, 0)], [0], [(0, 0, 0.6), (0, 1, 0.9)]), 0.5)
    assert verdict.right == ((0, 0),)
    assert verdict.invented == (1,)


def test_another_class_on_a_label_is_confused_with_it_and_takes_it_from_no_right_one():
    one = judge(found([(0.9, 1)], [0], [(0, 0, 0.9)]), 0.5)
    assert one.confused == ((0, 0),)
    assert (one.false_positives, one.false_negatives, one.missed) == (1, 1, ())
    both = judge(found([(0.9, 1), (0.4, 0)], [0], [(0, 0, 0.9), (0, 1, 0.6)]), 0.3)
    assert both.right == ((1, 0),)
    assert both.invented == (0,)


def test_predictions_below_the_confidence_do_not_count():
    given = found([(0.9, 0), (0.5, 0), (0.2, 0)], [0, 0], [(0, 0, 0.9), (1, 2, 0.9)])
    assert judge(given, 0.5).missed == (1,)
    assert judge(given, 0.5).invented == (1,)
    assert judge(given, 0.51).invented == ()
    assert judge(given, 0.2).missed == ()


def test_nothing_is_found_where_nothing_is():
    verdict = judge(found([], [], []), 0.25)
    assert (verdict.right, verdict.confused, verdict.invented, verdict.missed) == ((), (), (), ())


@pytest.mark.parametrize("seed", range(20))
def test_what_is_right_is_what_ultralytics_counts(seed):
    torch = pytest.importorskip("torch")
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import box_iou

    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (12, 2))
    labels = torch.tensor(np.hstack([corner, corner + rng.uniform(10, 30, (12, 2))]), dtype=torch.float32)
    near = labels[rng.integers(0, 12, 30)] + torch.tensor(rng.normal(0, 3, (30, 4)), dtype=torch.float32)
    true, predicted = torch.tensor(rng.integers(0, 3, 12)), torch.tensor(rng.integers(0, 3, 30))
    confidences = np.sort(rng.uniform(0.1, 1, 30))[::-1]
    ious = box_iou(labels, near)
    stand_in = type("Validator", (), {"iouv": torch.tensor([0.5]), "match_predictions": BaseValidator.match_predictions})()
    expected = stand_in.match_predictions(predicted, true, ious).numpy()[:, 0]
    at = (ious >= 0.5).nonzero()
    pairs = [(int(label), int(prediction), float(ious[label, prediction])) for label, prediction in at]
    verdict = judge(found(list(zip(confidences, predicted.tolist(), strict=True)), true.tolist(), pairs), 0.0)
    assert sorted(prediction for prediction, _ in verdict.right) == np.flatnonzero(expected).tolist()
    assert len(verdict.right) + verdict.false_positives == 30
    assert len(verdict.right) + verdict.false_negatives == 12
