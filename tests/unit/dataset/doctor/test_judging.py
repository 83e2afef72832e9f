"""What the doctor says of a set's numbers, and when it says nothing."""

import cv2
import numpy as np
import pytest
from tests.unit.dataset.conftest import picture, zipped

from visionyard.dataset.mapping import report_to_proto

THREE = "train: images/train\nval: images/val\nnames: [a, b, c]\n"


def judged(bench, labels, pictures=None, yaml=THREE, **options):
    """Codes with severity and message, of a set of these label files by `{split}/{stem}`."""
    files = {"data.yaml": yaml}
    for i, (place, rows) in enumerate(labels.items()):
        files[f"images/{place}.jpg"] = (pictures or {}).get(place) or picture(i)
        if rows is not None:
            files[f"labels/{place}.txt"] = "".join(f"{row}\n" for row in rows)
    _, context = bench.run(zipped(files), **options)
    found = {}
    for finding in bench.report(context, whole=True)["findings"]:
        found.setdefault(finding["code"], []).append((finding["severity"], finding["message"]))
    return found


def boxes(class_id, count, size=0.2):
    return [f"{class_id} {0.2 + 0.6 * i / max(count, 2)} 0.5 {size} {size}" for i in range(count)]


def of(train, val):
    return {**{f"train/{i}": rows for i, rows in enumerate(train)}, **{f"val/{i}": rows for i, rows in enumerate(val)}}


@pytest.mark.parametrize(("most", "severity"), [(9, None), (10, "INFO"), (99, "INFO"), (100, "WARNING")])
def test_imbalance_is_told_with_its_numbers(bench, most, severity):
    found = judged(bench, of([boxes(0, most - 1), ["1 0.1 0.1 0.1 0.1"]], [boxes(0, 1)])).get("CLASS_IMBALANCE")
    if severity is None:
        assert found is None
    else:
        ((grave, message),) = found
        assert grave == severity
        assert message.startswith(f"a has {most} labels")
        assert f"{most} times those of the rarest class, b (1)" in message


def test_classes_that_are_rare_or_missing_are_named_in_one_finding(bench):
    train = [boxes(0, 1) for _ in range(19)] + [["1 0.5 0.5 0.1 0.1"]]
    found = judged(bench, of(train, [boxes(0, 1), ["0 0.3 0.3 0.1 0.1"]]))
    assert found["RARE_CLASS"] == [("WARNING", "1 class has fewer than 10 labels in train: b (1)")]
    assert found["CLASS_WITHOUT_LABELS"] == [("INFO", "1 of 3 classes has no label: c")]
    assert found["CLASS_NOT_IN_SPLIT"] == [("WARNING", "1 class has labels, but none in val, and cannot be measured there: b")]


def test_a_class_that_is_not_in_train_cannot_be_learnt(bench):
    found = judged(bench, of([boxes(0, 2)], [[*boxes(0, 1), "1 0.9 0.9 0.1 0.1"]]))
    assert found["CLASS_NOT_IN_SPLIT"] == [("WARNING", "1 class has labels, but none in train, and cannot be learnt: b")]


def test_many_classes_are_counted_and_five_named(bench):
    yaml = f"train: images/train\nval: images/val\nnames: [{', '.join(f'class{i}' for i in range(40))}]\n"
    ((_, message),) = judged(bench, of([boxes(0, 2)], [boxes(0, 1)]), yaml=yaml)["CLASS_WITHOUT_LABELS"]
    assert message == "39 of 40 classes have no label: class1, class2, class3, class4, class5 and 34 more"


@pytest.mark.parametrize(("share", "tiny"), [(0.0124, True), (0.0126, False)])
def test_an_object_is_tiny_by_its_shorter_side_at_640(bench, share, tiny):
    # Of 64 x 48 pixels: scaled tenfold, so 8 pixels are 0.8 of the picture's 64, that is 0.0125.
    found = judged(bench, of([[f"1 0.5 0.5 {share} 0.5"], boxes(0, 3)], [boxes(0, 1)])).get("TINY_OBJECTS")
    if tiny:
        ((severity, message),) = found
        assert severity == "WARNING"
        assert message.startswith("1 of 5 objects (20.0%)")
        assert "b (1)" in message
        assert message.endswith("see images/train/0.jpg")
    else:
        assert found is None


def test_a_few_tiny_objects_are_no_warning(bench):
    ((severity, _),) = judged(bench, of([["1 0.5 0.5 0.01 0.5"], boxes(0, 30)], [boxes(0, 1)]))["TINY_OBJECTS"]
    assert severity == "INFO"


@pytest.mark.parametrize(("empty", "severity"), [(1, None), (2, "INFO"), (9, "WARNING")])
def test_backgrounds_are_told_by_their_share(bench, empty, severity):
    labels = of([boxes(0, 2)] * 8, [boxes(0, 1)]) | {f"train/empty{i}": None for i in range(empty)}
    found = judged(bench, labels).get("MANY_BACKGROUNDS")
    assert (found[0][0] if found else None) == severity


def test_boxes_around_the_whole_picture_everywhere_are_a_warning(bench):
    whole = ["0 0.5 0.5 0.98 0.97"]
    ((severity, message),) = judged(bench, of([whole] * 5, [boxes(0, 1)]))["WHOLE_PICTURE_BOXES"]
    assert (severity, message) == ("WARNING", "in 5 of 6 labelled images the only label covers nearly the whole picture")
    assert "WHOLE_PICTURE_BOXES" not in judged(bench, of([whole] * 5 + [boxes(0, 2)] * 6, [boxes(0, 1)]))
    assert "WHOLE_PICTURE_BOXES" not in judged(bench, of([[*whole, "0 0.1 0.1 0.1 0.1"]] * 5, [boxes(0, 1)]))


def test_small_sets_and_mixed_pictures_are_told(bench):
    grey = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (48, 64), np.uint8))[1].tobytes()
    pictures = {"train/0": grey, "train/1": picture(1, 640, 480)}
    found = judged(bench, of([boxes(0, 2)] * 3, [boxes(0, 1)]), pictures)
    assert [message.split(":")[0] for _, message in found["FEW_IMAGES"]] == ["train has 3 images", "val has 1 image"]
    assert found["CHANNELS_DIFFER"] == [("INFO", "the pictures are of several kinds: 3 colour, 1 grey")]
    assert found["SIZES_DIFFER"] == [
        ("INFO", "the pictures' longer sides go from 64 pixels (images/train/0.jpg) to 640 (images/train/1.jpg)")
    ]


TWINS = ["0 0.5 0.5 0.4 0.4", "0 0.504 0.5 0.4 0.4"]


@pytest.mark.parametrize(
    ("rows", "pairs"),
    [
        (TWINS, 1),
        (["0 0.5 0.5 0.4 0.4", "0 0.52 0.5 0.4 0.4"], 0),
        (["0 0.5 0.5 0.4 0.4", "1 0.504 0.5 0.4 0.4"], 0),
        ([*TWINS, "0 0.502 0.5 0.4 0.4"], 3),
        ([*TWINS, "1 0.5 0.5 0.4 0.4", "1 0.504 0.5 0.4 0.4"], 2),
    ],
)
def test_labels_of_one_class_that_are_nearly_alike(bench, rows, pairs):
    found = judged(bench, of([rows, boxes(0, 3)], [boxes(0, 1)])).get("NEARLY_SAME_BOXES", [])
    assert bool(found) == bool(pairs)
    if pairs:
        ((severity, message),) = found
        assert severity == "WARNING"
        assert ("two boxes" if pairs == 1 else f"{pairs} pairs") in message
        assert "images/train/0.jpg" in message


def test_twins_in_many_images_are_few_findings(bench):
    found = judged(bench, of([TWINS] * 25, [boxes(0, 1)]))["NEARLY_SAME_BOXES"]
    assert len(found) == 21
    assert any(message.startswith("5 more images") and message.endswith("25 pairs in 25 images in all") for _, message in found)


def test_boxes_that_cross_at_right_angles_have_one_upright_box_and_are_no_twins(bench):
    cross = ["0 0.1 0.1 0.2 0.1 0.8 0.9 0.7 0.9", "0 0.7 0.1 0.8 0.1 0.2 0.9 0.1 0.9"]
    assert "NEARLY_SAME_BOXES" not in judged(bench, of([cross], [["0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3"]]), task="obb")


def test_the_report_counts_the_labels_of_each_class_by_split(bench):
    files = {"data.yaml": THREE, **{f"images/{split}/a.jpg": picture(i) for i, split in enumerate(("train", "val"))}}
    files |= {"labels/train/a.txt": "0 0.5 0.5 0.2 0.2\n0 0.1 0.5 0.01 0.2\n1 0.5 0.5 0.2 0.2\n", "labels/val/a.txt": "1 0.5 0.5 0.2 0.2\n"}
    _, context = bench.run(zipped(files))
    report = bench.report(context)
    rows = [("a", 2, 0, 0, 1), ("b", 1, 1, 0, 0), ("c", 0, 0, 0, 0)]
    fields = ("name", "train_label_count", "val_label_count", "test_label_count", "tiny_label_count")
    assert report["classes"] == [dict(zip(fields, row, strict=True)) for row in rows]
    assert [tuple(getattr(counts, name) for name in fields) for counts in report_to_proto(report).classes] == rows


def test_a_good_set_of_some_size_hears_nothing(bench):
    labels = of([boxes(i % 3, 2) for i in range(100)], [boxes(i % 3, 2) for i in range(20)])
    assert judged(bench, labels) == {}
