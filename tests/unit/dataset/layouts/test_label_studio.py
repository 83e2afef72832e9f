"""A version written for Label Studio and read again: the same labels, as far as Label Studio can hold them."""

import json
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.dataset.conftest import picture, zipped

from visionyard.dataset.formats.label_studio_config import parse_config
from visionyard.dataset.formats.shapes import enclosing, rotated_corners
from visionyard.dataset.layouts.label_studio import LabelStudioLayout
from visionyard.kit.artifacts.dataset import DatasetClass, DatasetVersion, KeypointLayout
from visionyard.kit.artifacts.manifest import Label, ManifestRow, label_order
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName

WIDTH, HEIGHT = 64, 48
CLASSES = ("zebra", 'a "quoted" <ant> & more', "cat")
NAMES = ("train/a b.jpg", "train/c&d#1+2%41.jpg", "val/ä.jpg", "test/z.jpg")


def version(task, keypoints=None, classes=CLASSES):
    return DatasetVersion(
        VersionName(ResourceName("default", "datasets", "set"), 1),
        digest="sha256:0",
        task=task,
        image_count=0,
        label_count=0,
        classes=tuple(DatasetClass(i, name, 0) for i, name in enumerate(classes)),
        splits=(),
        total_bytes=0,
        stored_bytes=0,
        source_format="",
        import_job="",
        manifest_key="",
        report_key="",
        keypoints=keypoints,
    )


def row(place, *labels):
    split, name = place.split("/")
    return ManifestRow("0" * 64, name, split, WIDTH, HEIGHT, "s", 0, 1, tuple(sorted(labels, key=label_order)))


def written(version_, rows):
    """The texts and images of the layout, by path; each text's size is checked."""
    files = {}
    for file in LabelStudioLayout().files(version_, lambda: iter(rows)):
        if file.text:
            files[file.path] = b"".join(file.text())
            assert len(files[file.path]) == file.size
        else:
            files[file.path] = picture(zlib.crc32(file.path.encode()), WIDTH, HEIGHT)
    return files


def back(bench, version_, rows):
    """What comes of importing the layout: the new version, and each image's labels."""
    again, _ = bench.run(zipped(written(version_, rows)))
    return again, {f"{row.split}/{row.name}": row.labels for row in bench.rows(again)}


def alike(ours, theirs):
    def rounded(label):
        return label.class_id, [round(value, 6) for value in (*label[1:5], *label.points)]

    assert len(ours) == len(theirs)
    for one, other in zip(sorted(ours, key=rounded), sorted(theirs, key=rounded), strict=True):
        assert (one.class_id, len(one.points), one.confidence) == (other.class_id, len(other.points), other.confidence)
        assert (*other[1:5], *other.points) == pytest.approx((*one[1:5], *one.points), abs=1e-9)


def boxed(class_id, points, confidence=None):
    left, top, right, bottom = enclosing(points)
    return Label(class_id, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top, tuple(points), confidence)


SHARE = st.floats(0.05, 0.95)
CONFIDENCE = st.none() | st.floats(0, 1)


@st.composite
def boxes(draw, points=()):
    w, h = draw(st.floats(0.01, 0.5)), draw(st.floats(0.01, 0.5))
    cx, cy = draw(st.floats(w / 2, 1 - w / 2)), draw(st.floats(h / 2, 1 - h / 2))
    return Label(draw(st.integers(0, 2)), cx, cy, w, h, tuple(points), draw(CONFIDENCE))


@st.composite
def polygons(draw):
    corners = [0.01, 0.02, 0.98, 0.03, *draw(st.lists(SHARE, min_size=2, max_size=12).filter(lambda numbers: len(numbers) % 2 == 0))]
    return boxed(draw(st.integers(0, 2)), corners, draw(CONFIDENCE))


@st.composite
def rotated(draw):
    corners = rotated_corners(32, 24, draw(st.floats(2, 30)), draw(st.floats(2, 30)), draw(st.floats(1, 359)))
    return boxed(draw(st.integers(0, 2)), [value / (WIDTH, HEIGHT)[i % 2] for i, value in enumerate(corners)], draw(CONFIDENCE))


@st.composite
def posed(draw):
    points = []
    for _ in range(3):
        points += draw(st.tuples(SHARE, SHARE, st.sampled_from([1.0, 2.0])) | st.just((0.0, 0.0, 0.0)))
    return draw(boxes(points=points if any(points) else (0.5, 0.5, 2.0, *points[3:])))


KINDS = {
    "detect": (boxes(), None),
    "segment": (polygons(), None),
    "obb": (rotated(), None),
    "pose": (posed(), KeypointLayout(3, 3, ("nose", "left eye", "right eye"))),
}


def distinct(labels):
    """Labels that no importer takes for one another: the box and class of a label that is there already, however sure, is a duplicate."""
    return {(label.class_id, *(round(value, 4) for value in label[1:5])): label for label in labels}.values()


@pytest.mark.parametrize("task", KINDS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_round_trip(bench, task, data):
    strategy, keypoints = KINDS[task]
    lists = st.lists(strategy, min_size=1, max_size=4).map(distinct)
    rows = [row(NAMES[0], *data.draw(lists)), row(NAMES[1]), row(NAMES[2], *data.draw(lists)), row(NAMES[3], *data.draw(lists))]
    again, found = back(bench, version(task, keypoints), rows)
    assert (again.task, again.class_names) == (task, CLASSES)
    assert (again.keypoints.names if again.keypoints else None) == (keypoints.names if keypoints else None)
    assert set(found) == set(NAMES)
    for one in rows:
        alike(one.labels, found[f"{one.split}/{one.name}"])


def test_classes_of_pictures(bench):
    whole = [Label(i, 0.5, 0.5, 1.0, 1.0, (), confidence) for i, confidence in ((0, None), (2, None), (1, 0.5), (0, None))]
    rows = [row(name, label) for name, label in zip(NAMES, whole, strict=True)]
    again, found = back(bench, version("classify"), rows)
    assert (again.task, again.class_names) == ("classify", CLASSES)
    assert found == {name: (label,) for name, label in zip(NAMES, whole, strict=True)}


def test_predicted_labels_are_predictions_and_the_others_annotations():
    ours, predicted = Label(0, 0.5, 0.5, 0.2, 0.2), Label(1, 0.3, 0.3, 0.2, 0.2, (), 0.75)
    files = written(version("detect"), [row(NAMES[0], ours, predicted), row(NAMES[1], predicted), row(NAMES[2])])
    both, only, empty = json.loads(files["tasks.json"])
    assert both["data"] == {"image": "/data/local-files/?d=images/train/a%20b.jpg", "split": "train"}
    (annotation,), (prediction,) = both["annotations"], both["predictions"]
    assert [item["value"]["rectanglelabels"] for item in annotation["result"]] == [[CLASSES[0]]]
    assert "score" not in annotation["result"][0]
    assert [item["score"] for item in prediction["result"]] == [prediction["score"]] == [0.75]
    assert "annotations" not in only
    assert empty["annotations"] == [{"result": []}]
    assert "predictions" not in empty


def test_the_same_version_is_the_same_bytes():
    rows = [row(NAMES[0], Label(0, 0.5, 0.5, 0.2, 1 / 3)), row(NAMES[2])]
    one, other = written(version("detect"), rows), written(version("detect"), rows)
    assert list(one) == ["README.txt", "label_config.xml", "tasks.json", f"images/{NAMES[0]}", f"images/{NAMES[2]}"]
    assert one == other
    assert json.loads(written(version("detect"), [])["tasks.json"]) == []


def test_the_interface_declares_classes_and_keypoints_in_their_order():
    files = written(version("pose", KeypointLayout(2, 3, ("z", "a"))), [])
    config = parse_config("label_config.xml", files["label_config.xml"])
    assert (config.classes, config.keypoints, config.images) == (CLASSES, ("z", "a"), {"image": "image"})
    unnamed = parse_config("label_config.xml", written(version("pose", KeypointLayout(2, 2)), [])["label_config.xml"])
    assert unnamed.keypoints == ("keypoint_1", "keypoint_2")


def test_keypoints_of_two_dimensions_come_back_as_seen_ones(bench):
    posed_ = Label(0, 0.5, 0.5, 0.4, 0.4, (0.4, 0.5, 0.0, 0.0))
    again, found = back(bench, version("pose", KeypointLayout(2, 2)), [row(name, posed_) for name in NAMES])
    assert again.keypoints == KeypointLayout(2, 3, ("keypoint_1", "keypoint_2"))
    assert found[NAMES[0]][0].points[:3] == pytest.approx((0.4, 0.5, 2.0))


def test_corners_of_no_rectangle_become_the_smallest_around_them(bench):
    crooked = boxed(0, (0.1, 0.1, 0.9, 0.2, 0.8, 0.9, 0.15, 0.7))
    reverse = boxed(1, (0.2, 0.2, 0.2, 0.6, 0.7, 0.6, 0.7, 0.2))
    turned = boxed(2, [value / (WIDTH, HEIGHT)[i % 2] for i, value in enumerate(rotated_corners(32, 24, 20, 10, 30))])
    again, found = back(bench, version("obb"), [row(name, crooked, reverse, turned) for name in NAMES])
    assert again.task == "obb"
    first, second, third = found[NAMES[0]]
    assert first.w >= crooked.w - 1e-6
    assert len(first.points) == 8
    assert sorted(second.points) == pytest.approx(sorted(reverse.points))
    alike([third], [turned])


def test_a_task_that_it_cannot_hold_is_refused():
    with pytest.raises(YardError) as refused:
        list(LabelStudioLayout().files(version("depth"), lambda: iter(())))
    assert refused.value.reason is Reason.UNSUPPORTED_TASK
