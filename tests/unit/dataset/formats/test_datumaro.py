"""What Datumaro's program wrote, read as a labelling of the source; what it writes is no more to be trusted than the source."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labellings import codes, named, pixels, read_all

from visionyard.dataset.formats.datumaro import Conversion, read_datumaro
from visionyard.dataset.formats.shapes import Shape

BOX = {"category": "cat", "bbox": [10, 20, 30, 40]}


def line(image="a.jpg", *annotations, split=""):
    return {"image": image, "split": split, "annotations": list(annotations)}


@pytest.fixture
def reading(plant, tmp_path):
    """The source that lines make of a tree of images."""

    def read(lines, images=("a.jpg", "b.jpg"), **conversion):
        items = tmp_path / "items.jsonl"
        items.write_bytes(b"".join(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in lines))
        return read_datumaro(plant(dict.fromkeys(images, b"")), Conversion("kitti", items, **conversion))

    return read


def only(source):
    [[row]] = read_all(source).kept.values()
    return row


def test_boxes_classes_and_splits(reading):
    lines = [
        line("in/a.jpg", BOX, {**BOX, "category": "ant"}, split="training"),
        line("in/b.jpg", split="val2017"),
        line("in/c.jpg", split="default"),
    ]
    source = reading(lines, ("in/a.jpg", "in/b.jpg", "in/c.jpg", "in/d.jpg", "other/e.jpg"), classes=("cat", "ant"))
    read = read_all(source)
    assert (source.format, source.class_names()) == ("datumaro:kitti", ("cat", "ant"))
    assert [pixels(row) for row in read.kept["in/a.jpg"]] == [(10, 20, 40, 60)] * 2
    assert named(source, read.kept["in/a.jpg"]) == ["cat", "ant"]
    assert [(i.path, i.split, bool(i.labels)) for i in source.images] == [
        ("in/a.jpg", "train", True),
        ("in/b.jpg", "val", False),
        ("in/c.jpg", "", False),
    ]
    assert [image.path for image in source.left_out] == ["in/d.jpg"]
    assert source.reason == "Datumaro read it as kitti: 3 items, and 1 of 3 images have labels"


def test_an_image_over_several_lines_is_one(reading):
    source = reading([line("a.jpg", BOX), {"more": True, "annotations": [BOX, BOX]}, line("b.jpg", BOX)])
    assert {image: len(rows) for image, rows in read_all(source).kept.items()} == {"a.jpg": 3, "b.jpg": 1}
    assert codes(source) == []


def test_shapes(reading):
    row = only(reading([line("a.jpg", {"category": "c", "segmentation": [[0, 0, 50, 0, 50, 50]]})]))
    assert (row.shape, row.points) == (Shape.POLYGON, (0, 0, 0.25, 0, 0.25, 0.5))
    row = only(reading([line("a.jpg", {"category": "c", "segmentation": {"size": [100, 200], "counts": "n?d0`20jjb0"}})]))
    assert (row.shape, pixels(row)) == (Shape.POLYGON, (5, 10, 7, 30))
    row = only(reading([line("a.jpg", {"category": "c", "bbox": [40, 40, 20, 10], "attributes": {"rotation": 90}})]))
    assert (row.shape, pixels(row)) == (Shape.ROTATED, (45, 35, 55, 55))
    row = only(reading([line("a.jpg", {"category": "c", "ellipse": [10, 20, 50, 40]})]))
    assert (row.shape, pixels(row), len(row.points)) == (Shape.POLYGON, (10, 20, 50, 40), 128)
    row = only(reading([line("a.jpg", {"category": "c", "whole": True})]))
    assert row.shape is Shape.IMAGE


def test_keypoints(reading):
    pose = {"category": "c", "bbox": [0, 0, 20, 20], "keypoints": [1, 2, 2, 3, 4, 0]}
    source = reading([line("a.jpg", pose)], keypoints=("left_eye", "right_eye"))
    row = only(source)
    assert (row.shape, row.points, row.dimensions) == (Shape.KEYPOINTS, (0.005, 0.02, 2, 0.015, 0.04, 0), 3)
    assert (source.keypoints.count, source.keypoints.names, source.keypoints.flip) == (2, ("left_eye", "right_eye"), (1, 0))
    assert reading([line("a.jpg", pose)], keypoints=("nose",)).keypoints.names == ()
    assert reading([line("a.jpg", BOX)], keypoints=("nose",)).keypoints is None


@pytest.mark.parametrize(
    ("annotation", "code"),
    [
        ({**BOX, "category": None}, "MALFORMED_LABEL"),
        ({"category": "c"}, "MALFORMED_LABEL"),
        ("text", "MALFORMED_LABEL"),
        ({"category": "c", "ellipse": [1, 2, 3]}, "MALFORMED_LABEL"),
        ({"category": "c", "ellipse": "1234"}, "MALFORMED_LABEL"),
        ({"category": "c", "ellipse": [1, 2, 3, 4, None]}, "MALFORMED_LABEL"),
        ({"category": None, "unsupported": "caption"}, "UNSUPPORTED_SHAPE"),
        ({"category": "c", "unsupported": "polyline"}, "UNSUPPORTED_SHAPE"),
        ({"category": "c", "whole": True, "denied": True}, "CLASS_DENIED"),
        ({**BOX, "iscrowd": 1}, "CROWD_REGION"),
        ({"category": "c", "segmentation": {"size": [1e300, 2.5], "counts": [1]}}, "MALFORMED_LABEL"),
    ],
)
def test_labels_that_cannot_be_used_are_counted_with_their_reason(reading, annotation, code):
    read = read_all(reading([line("a.jpg", BOX, annotation)]))
    assert len(read.kept["a.jpg"]) == 1
    [(problem, message, _)] = read.problems
    assert (problem, message.startswith("annotation 2 of 'a.jpg' ")) == (code, True)


def test_images_that_are_not_there(reading):
    source = reading(
        [line("../../etc/passwd", BOX), line("/etc/x.jpg", BOX), line("gone/a.png"), line("", BOX), line("b", BOX)], ("dir/b.jpg",)
    )
    read = read_all(source)
    assert {name: len(rows) for name, rows in read.orphans.items()} == {"../../etc/passwd": 1, "/etc/x.jpg": 1, "": 1}
    assert list(read.kept) == ["dir/b.jpg"]
    assert codes(source) == ["LISTED_IMAGE_MISSING"]


def test_an_image_in_two_splits_is_one_with_the_labels_of_both(reading):
    source = reading([line("a.jpg", BOX, split="train"), line("a.jpg", BOX, split="val")])
    assert [(image.split, len(read_all(source).kept["a.jpg"])) for image in source.images if image.path == "a.jpg"] == [("train", 2)]
    assert "IMAGE_NAMED_TWICE" in codes(source)


def test_damaged_lines_cost_themselves_only(reading):
    source = reading([b"{\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"7\n", b"{}\n", line("a.jpg", BOX), b'{"image": "b.jpg", "annot'])
    assert len(read_all(source).kept["a.jpg"]) == 1
    assert codes(source).count("MALFORMED_ANNOTATION") == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5)
    | st.dictionaries(st.sampled_from(["image", "split", "annotations", "more", "category", "bbox", "segmentation", "size", "counts", "keypoints", "ellipse", "whole", "denied", "unsupported", "iscrowd", "attributes", "rotation"]), inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(JSON, max_size=4), st.lists(JSON, max_size=4))
def test_whatever_it_wrote_it_is_read(reading, lines, annotations):
    source = reading([*lines, line("a.jpg", *annotations)])
    read = read_all(source)
    assert read.found >= len(annotations)
    assert max((row.class_id for rows in read.kept.values() for row in rows), default=0) < max(1, len(source.final_class_ids()))
