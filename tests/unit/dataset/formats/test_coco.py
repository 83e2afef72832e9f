"""The labels of COCO JSON as tools write them, and as they should not: shapes, categories, keypoints."""

import pytest
from coco_documents import FACE, annotation, image, notes, row_of, rows_of, source_of

from visionyard.dataset.findings import Code
from visionyard.dataset.formats import coco_categories
from visionyard.dataset.formats.coco_categories import mirrored
from visionyard.dataset.formats.shapes import Shape
from visionyard.kit.errors import Reason, YardError

# --- shapes


def test_a_box_is_in_pixels(plant):
    row = row_of(plant, annotation())
    assert (row.shape, row.cx, row.cy, row.w, row.h) == (Shape.BOX, 0.2, 0.3, 0.2, 0.2)
    assert row.problem is None
    assert row.line == 0


@pytest.mark.parametrize("segmentation", [[[10, 10, 31, 10, 30, 20.5]], [10, 10, 31, 10, 30, 20.5]])
def test_a_polygon_keeps_the_box_as_written(plant, segmentation):
    row = row_of(plant, annotation(segmentation=segmentation))
    assert row.shape is Shape.POLYGON
    assert row.points == pytest.approx((0.1, 0.2, 0.31, 0.2, 0.3, 0.41))
    assert (row.cx, row.cy, row.w, row.h) == (0.2, 0.3, 0.2, 0.2)


@pytest.mark.parametrize("bbox", [..., None, [], [10, 10, 0, 10], [10, 10, 20, -1]])
def test_a_polygon_without_a_box_gives_the_box(plant, bbox):
    row = row_of(plant, annotation(bbox=..., segmentation=[[10, 10, 30, 10, 30, 20]]) | ({} if bbox is ... else {"bbox": bbox}))
    assert row.shape is Shape.POLYGON
    assert (row.cx, row.cy, row.w, row.h) == pytest.approx((0.2, 0.3, 0.2, 0.2))


@pytest.mark.parametrize("segmentation", [..., None, [], [[]], [[], []], {}, ""])
def test_an_empty_outline_is_none(plant, segmentation):
    source = source_of(plant, annotation(segmentation=segmentation))
    assert [row.shape for row in rows_of(source)] == [Shape.BOX]
    assert not notes(source)


BAD_OUTLINES = {
    "two corners": [[1, 2, 3, 4]],
    "odd": [[1, 2, 3, 4, 5, 6, 7]],
    "words": [["a", "b", "c", "d", "e", "f"]],
    "pairs": [[1, 2], [3, 4], [5, 6]],
    "nested": [[[1, 2], [3, 4], [5, 6]]],
    "a mix": [[1, 2, 3, 4, 5, 6], 7],
    "a text": "polygon",
    "a number": 7,
    "a mask without size": {"counts": [0, 5]},
    "a mask without runs": {"size": [50, 100]},
    "a mask of words": {"size": [50, 100], "counts": ["a"]},
    "an empty mask": {"size": [50, 100], "counts": [5000]},
    "a mask that is too long": {"size": [50, 100], "counts": [0, 5001]},
    "a mask of negative runs": {"size": [50, 100], "counts": [10, -3, 20, 4]},
    "a huge mask": {"size": [65536, 65536], "counts": [0, 1 << 32]},
    "many parts": [[i, i, i + 1, i, i, i + 1] for i in range(1001)],
}


@pytest.mark.parametrize("case", BAD_OUTLINES)
def test_an_outline_that_cannot_be_read_leaves_the_box_and_is_listed(plant, case):
    source = source_of(plant, annotation(segmentation=BAD_OUTLINES[case]))
    (row,) = rows_of(source)
    assert (row.shape, row.problem) == (Shape.BOX, None)
    assert set(notes(source)) == {"OUTLINE_UNREAD"}
    assert all("annotation 1 of image id 1 " in message and file == "a.json" for _, message, file, _ in source.notes.items)


def test_parts_are_joined_and_one_that_is_no_area_is_listed(plant):
    source = source_of(plant, annotation(segmentation=[[10, 10, 15, 10, 15, 15], [20, 10, 30, 10, 30, 20], [1, 2]]))
    (row,) = rows_of(source)
    assert row.note is Code.PARTS_JOINED
    corners = set(zip(row.points[0::2], row.points[1::2], strict=True))
    assert corners == {(0.1, 0.2), (0.15, 0.2), (0.15, 0.3), (0.2, 0.2), (0.3, 0.2), (0.3, 0.4)}
    assert notes(source) == {"OUTLINE_UNREAD": 1}


def test_a_mask_becomes_its_outline_and_holes_are_filled(plant):
    frame = {"size": [50, 100], "counts": [505, 10, 40, 3, 4, 3, 40, 3, 4, 3, 40, 10]}  # columns 10 to 13, rows 5 to 14
    row = row_of(plant, annotation(bbox=..., segmentation=frame))
    assert (row.shape, row.note) == (Shape.POLYGON, Code.HOLES_FILLED)
    assert (row.cx, row.cy, row.w, row.h) == pytest.approx((0.12, 0.2, 0.04, 0.2))
    assert set(zip(row.points[0::2], row.points[1::2], strict=True)) == {(0.1, 0.1), (0.1, 0.3), (0.14, 0.1), (0.14, 0.3)}


@pytest.mark.parametrize("flag", [1, True, "1", "true", "True"])
def test_crowd_regions_are_left_out_and_listed(plant, flag):
    row = row_of(plant, annotation(iscrowd=flag, segmentation={"size": [50, 100], "counts": [0, 9]}, number=77))
    assert row.problem is Code.CROWD_REGION
    assert row.message.startswith("annotation 77 is a crowd region")
    assert row.message.endswith("(image 'a.jpg')")


@pytest.mark.parametrize("flag", [0, False, "0", "false", "", None, ...])
def test_what_is_no_crowd_is_kept(plant, flag):
    assert row_of(plant, annotation(iscrowd=flag)).problem is None


def test_a_rotated_box_is_turned_around_its_centre(plant):
    row = row_of(plant, annotation(attributes={"rotation": 90.0}), pictures=[image(size=(100, 100))])
    assert row.shape is Shape.ROTATED
    assert (row.w, row.h) == pytest.approx((0.1, 0.4))
    assert row_of(plant, annotation(attributes={"rotation": 0.0})).shape is Shape.BOX


def test_four_corners_with_a_rotation_are_a_rotated_box(plant):
    corners = [10, 10, 20, 10, 20, 15, 10, 15]
    assert row_of(plant, annotation(segmentation=[corners], attributes={"rotation": 0})).shape is Shape.ROTATED
    assert row_of(plant, annotation(segmentation=[corners], attributes={})).shape is Shape.POLYGON
    assert row_of(plant, annotation(segmentation=[[*corners, 9, 12]], attributes={"rotation": 0})).shape is Shape.POLYGON


@pytest.mark.parametrize("rotation", ["30", True, None, float("nan"), 1e9])
def test_what_is_no_rotation_is_ignored(plant, rotation):
    assert row_of(plant, annotation(attributes={"rotation": rotation})).shape is Shape.BOX


@pytest.mark.parametrize(
    ("bbox", "code"),
    [
        ([1, 2, 3], Code.MALFORMED_LABEL),
        ("1,2,3,4", Code.MALFORMED_LABEL),
        ([1, 2, "a", 4], Code.MALFORMED_LABEL),
        (None, Code.MALFORMED_LABEL),
        ({"x": 1}, Code.MALFORMED_LABEL),
        ([1, 2, float("nan"), 4], Code.NOT_A_NUMBER),
        ([1, 2, float("inf"), 4], Code.NOT_A_NUMBER),
        ([1, 2, 10**400, 4], Code.NOT_A_NUMBER),
    ],
)
def test_a_box_that_cannot_be_read_is_listed(plant, bbox, code):
    row = row_of(plant, {**annotation(), "bbox": bbox})
    assert row.problem is code
    assert "image 'a.jpg'" in row.message


def test_a_confidence_is_kept(plant):
    assert row_of(plant, annotation(score=0.25)).confidence == 0.25
    assert [row_of(plant, annotation(score=score)).confidence for score in (1.5, -1, "0.5", True, None, float("nan"))] == [None] * 6


# --- categories


def test_sparse_ids_are_classes_in_their_order_and_unused_ones_stay(plant):
    categories = [{"id": 90, "name": "z"}, {"id": 7, "name": "m"}, {"id": 13, "name": "a"}, {"id": "x1", "name": "text"}]
    source = source_of(plant, annotation(category=13), annotation(category=90), annotation(category="7"), categories=categories)
    rows = rows_of(source)
    final = source.final_class_ids()
    assert source.class_names() == ("m", "a", "z", "text")
    assert [source.class_names()[final[row.class_id]] for row in rows] == ["a", "z", "m"]


def test_categories_of_one_name_are_one_class(plant):
    source = source_of(
        plant, annotation(category=2), categories=[{"id": 1, "name": "a"}, {"id": 2, "name": " a\n"}, {"id": 3, "name": "b"}]
    )
    assert source.class_names() == ("a", "b")
    assert source.final_class_ids() == [0]


@pytest.mark.parametrize("category", [99, None, "no", [1], {}, True, float("nan")])
def test_an_unknown_category_is_listed(plant, category):
    row = row_of(plant, annotation(category=category))
    assert row.problem is Code.UNKNOWN_CLASS
    assert "image 'a.jpg'" in row.message


def test_odd_categories_are_listed(plant):
    odd = [{"id": 1, "name": "x"}, {"id": 1, "name": "again"}, {"name": "no id"}, 7, {"id": 2}, {"id": 3, "name": 5}]
    source = source_of(plant, annotation(), categories=odd)
    assert source.class_names() == ("x", "class_1", "class_2")
    assert notes(source) == {"MALFORMED_ANNOTATION": 3}


def test_a_file_without_categories_is_refused(plant):
    with pytest.raises(YardError) as caught:
        source_of(plant, annotation(), categories=[])
    assert caught.value.reason is Reason.CLASSES_UNKNOWN


def test_too_many_categories_are_refused(plant, monkeypatch):
    monkeypatch.setattr(coco_categories, "MAX_CLASSES", 3)
    with pytest.raises(YardError) as caught:
        source_of(plant, annotation(), categories=[{"id": i, "name": f"c{i}"} for i in range(4)])
    assert caught.value.reason is Reason.CLASSES_UNKNOWN
    source = source_of(plant, *(annotation(category=i) for i in range(50)))
    assert [row.problem for row in rows_of(source)].count(Code.UNKNOWN_CLASS) == 49


def test_keypoints_with_their_names(plant):
    category = {"id": 1, "name": "face", "keypoints": list(FACE), "skeleton": [[1, 2]]}
    source = source_of(plant, annotation(keypoints=[10, 10, 2, 0, 0, 0, 20, 20, 1], num_keypoints=2), categories=[category])
    (row,) = rows_of(source)
    assert (source.keypoints.count, source.keypoints.dimensions, source.keypoints.names) == (3, 3, FACE)
    assert source.keypoints.flip == (0, 2, 1)
    assert row.shape is Shape.KEYPOINTS
    assert row.points == (0.1, 0.2, 2.0, 0.0, 0.0, 0.0, 0.2, 0.4, 1.0)
    assert (row.cx, row.w) == (0.2, 0.2)


def test_keypoints_without_a_box_give_the_box_of_those_that_are_there(plant):
    row = row_of(plant, annotation(bbox=..., keypoints=[10, 10, 2, 0, 0, 0, 20, 20, 1]))
    assert (row.cx, row.cy, row.w, row.h) == pytest.approx((0.15, 0.3, 0.1, 0.2))


def test_a_category_with_fewer_keypoints_gets_the_rest_as_not_there(plant):
    categories = [{"id": 1, "name": "a", "keypoints": ["p"]}, {"id": 2, "name": "b", "keypoints": ["p", "q"]}]
    source = source_of(plant, annotation(keypoints=[1, 1, 2]), annotation(category=2, keypoints=[1, 1, 2, 2, 2, 2]), categories=categories)
    assert source.keypoints.count == 2
    assert not source.keypoints.names
    assert [len(row.points) for row in rows_of(source)] == [6, 6]


BAD_KEYPOINTS = [[1, 2], [1, 2, 3], [1, 2, "2"], "text", [1, 2, 0.5], [1, 2, 2] * 1001, [1, 2, 2] * 4]


@pytest.mark.parametrize("keypoints", BAD_KEYPOINTS)
def test_keypoints_that_cannot_be_read_are_listed(plant, keypoints):
    category = {"id": 1, "name": "face", "keypoints": list(FACE)}
    assert row_of(plant, annotation(keypoints=keypoints), categories=[category]).problem is Code.MALFORMED_LABEL


def test_without_declared_names_the_first_label_tells_how_many(plant):
    source = source_of(plant, annotation(keypoints=[1, 1, 2, 2, 2, 2]), annotation(keypoints=[1, 1, 2] * 3))
    assert (source.keypoints.count, source.keypoints.names) == (2, ())
    assert [row.problem for row in rows_of(source)] == [None, Code.MALFORMED_LABEL]


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        (("nose", "left_eye", "right_eye"), (0, 2, 1)),
        (("L ear", "R ear", "tail"), (1, 0, 2)),
        (("LeftKnee", "RightKnee"), (1, 0)),
        (("a", "b"), ()),
        (("left", "nose"), ()),
        (("left", "left", "right"), ()),
        ((), ()),
        (("upper left", "lower left", "upper right", "lower right"), (2, 3, 0, 1)),
        (("tail", "ball"), ()),
    ],
)
def test_the_mirror_is_told_by_names(names, flip):
    assert mirrored(names) == flip
