"""The document of what a validation has found: exact totals, bounded lists."""

import numpy as np
import pytest

from visionyard.training.report_mapping import findings_to_proto
from visionyard.training.reports import findings
from visionyard.training.reports.comparison import differences
from visionyard.training.reports.findings import Picture, Subject, errors_by_picture, summarise
from visionyard.training.reports.matching import Found


def subject(task="detect", names=("cone", "cube")):
    return Subject(task, "val", names, {"metrics/mAP50(B)": 0.5}, 12.5)


def picture(name, predictions, labels, pairs=()):
    boxes = np.array([[at, 0, at + 10, 10] for at in range(len(predictions))], np.float32).reshape(-1, 4)
    true = np.array([[at, 0, at + 10, 10] for at in range(len(labels))], np.float32).reshape(-1, 4)
    confidences, classes = [c for c, _ in predictions], [c for _, c in predictions]
    found = Found(np.array(confidences, np.float32), np.array(classes, np.int32), boxes, np.array(labels, np.int32), true, tuple(pairs))
    return Picture(name, 64, 48, found)


PICTURES = [
    picture("val/right.jpg", [(0.9, 0)], [0], [(0, 0, 0.9)]),
    picture("val/confused.jpg", [(0.9, 1), (0.8, 0)], [0, 1], [(0, 0, 0.9)]),
    picture("val/missed.jpg", [(0.1, 0)], [1]),
]


def test_counts_matrix_and_lists_say_the_same():
    document = summarise(subject(), PICTURES, 0.5)
    assert (document["image_count"], document["label_count"], document["wrong_image_count"]) == (3, 4, 2)
    cells = {(cell["predicted"], cell["true"]): cell["count"] for cell in document["confusion"]}
    assert cells == {(0, 0): 1, (1, 0): 1, (0, 2): 1, (2, 1): 2}
    by_name = {row["name"]: (row["true_positives"], row["false_positives"], row["false_negatives"]) for row in document["classes"]}
    assert by_name == {"cone": (1, 1, 1), "cube": (0, 1, 2)}
    assert (document["false_positive_count"], document["false_negative_count"]) == (2, 3)
    assert [entry["image"] for entry in document["images"]] == ["val/confused.jpg", "val/missed.jpg"], "the worst first"
    worst = document["images"][0]
    assert worst["false_positives"] == [
        {"class_id": 1, "true_class_id": 0, "confidence": 0.9, "points": [0, 0, 10, 10]},
        {"class_id": 0, "true_class_id": -1, "confidence": 0.8, "points": [1, 0, 11, 10]},
    ]
    assert [(mark["class_id"], mark["predicted_class_id"]) for mark in worst["false_negatives"]] == [(0, 1), (1, -1)]
    assert not document["images_truncated"]
    assert errors_by_picture(PICTURES, 0.5) == {"val/confused.jpg": (2, 2), "val/missed.jpg": (0, 1)}


def test_lists_are_bounded_and_counts_are_not(monkeypatch):
    monkeypatch.setattr(findings, "MAX_IMAGES", 5)
    many = [picture(f"val/{at}.jpg", [], [0] * 3) for at in range(9)]
    document = summarise(subject(), many, 0.5)
    assert (len(document["images"]), document["wrong_image_count"], document["false_negative_count"]) == (5, 9, 27)
    assert document["images_truncated"]
    monkeypatch.setattr(findings, "MAX_MARKS", 7)
    assert len(summarise(subject(), many, 0.5)["images"]) == 2
    monkeypatch.setattr(findings, "MAX_MARKS_AN_IMAGE", 2)
    one = summarise(subject(), many[:1], 0.5)
    assert (len(one["images"][0]["false_negatives"]), one["images"][0]["false_negative_count"], one["images_truncated"]) == (2, 3, True)


def test_a_wrong_top_class_is_a_false_positive_and_a_false_negative():
    pictures = [
        Picture("val/a.jpg", true_class=0, predicted_class=1, confidence=0.7),
        Picture("val/b.jpg", true_class=1, predicted_class=1),
    ]
    document = summarise(subject("classify"), pictures, 0.25)
    assert {(c["predicted"], c["true"]): c["count"] for c in document["confusion"]} == {(1, 0): 1, (1, 1): 1}
    assert (document["false_positive_count"], document["false_negative_count"], document["confidence"]) == (1, 1, 0.0)
    assert document["images"][0]["false_positives"] == [{"class_id": 1, "true_class_id": 0, "confidence": 0.7, "points": []}]
    assert errors_by_picture(pictures, 0.25) == {"val/a.jpg": (1, 1)}


def test_on_the_wire_classes_have_their_names():
    message = findings_to_proto(summarise(subject(), PICTURES, 0.5))
    confused = message.images[0]
    assert (confused.false_positives[0].class_name, confused.false_positives[0].true_class_name) == ("cube", "cone")
    assert (confused.false_negatives[1].class_name, confused.false_negatives[1].predicted_class_name) == ("cube", "")
    assert not message.classes[0].HasField("ap50")
    assert message.metrics["metrics/mAP50(B)"] == pytest.approx(0.5)


def test_two_models_differ_where_only_one_is_wrong():
    first, second = {"val/a.jpg": (1, 0), "val/b.jpg": (0, 1)}, {"val/b.jpg": (2, 0), "val/c.jpg": (0, 1), "val/d.jpg": (3, 3)}
    assert differences(first, second, 10) == {
        "only_right": [
            {
                "count": 2,
                "images": [
                    {"image": "val/d.jpg", "false_positive_count": 3, "false_negative_count": 3},
                    {"image": "val/c.jpg", "false_positive_count": 0, "false_negative_count": 1},
                ],
            },
            {"count": 1, "images": [{"image": "val/a.jpg", "false_positive_count": 1, "false_negative_count": 0}]},
        ],
        "both_wrong": 1,
        "both_right": 6,
    }
    assert differences(first, first, 2)["only_right"] == [{"count": 0, "images": []}] * 2
