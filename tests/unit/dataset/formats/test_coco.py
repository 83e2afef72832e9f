"""COCO JSON as tools write it, and as they should not."""

import io
import json
import random
from collections import Counter
from contextlib import suppress

import cv2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.dataset.conftest import BOX, images, picture, zipped

from visionyard.dataset.archives.entry import Entry
from visionyard.dataset.findings import MAX_LISTED, Code
from visionyard.dataset.formats import coco_categories
from visionyard.dataset.formats.coco import find_coco
from visionyard.dataset.formats.coco_categories import mirrored
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.run_lengths import MaskReader
from visionyard.dataset.formats.shapes import Shape
from visionyard.dataset.images import IMAGE_SUFFIXES
from visionyard.dataset.source import SourceTree, suffix_of
from visionyard.kit.errors import Reason, YardError

SIZE = (100, 50)


def annotation(image=1, category=1, bbox=(10, 10, 20, 10), number=1, **more):
    made = {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": bbox if bbox is ... else list(bbox),
        "area": 1,
        "iscrowd": 0,
        **more,
    }
    return {key: value for key, value in made.items() if value is not ...}


def image(number=1, name="a.jpg", size=SIZE, **more):
    return {"id": number, "file_name": name, "width": size[0], "height": size[1], **more}


ONE_IMAGE = (image(),)


def document(annotations, pictures=ONE_IMAGE, categories=({"id": 1, "name": "x"},), **more):
    return {"info": {}, "licenses": [], "images": list(pictures), "annotations": list(annotations), "categories": list(categories), **more}


def source_of(plant, *annotations, tree=None, **parts):
    files = {"images/a.jpg": b"", "a.json": json.dumps(document(annotations, **parts))}
    return read_source(plant(files | (tree or {})), "coco")


def rows_of(source, size=SIZE):
    """The rows of the only image."""
    (only,) = source.images
    return list(source.rows(only.labels, *size))


def row_of(plant, found, **parts):
    (row,) = rows_of(source_of(plant, found, **parts))
    return row


def notes(source):
    return Counter(code.name for code, *_ in source.notes.items)


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


# --- keypoints

FACE = ("nose", "left_eye", "right_eye")


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


# --- images and files


def placed(source):
    return {found.path: found.split for found in source.images}


def test_any_order_in_the_file(plant):
    for order in (
        "images annotations categories",
        "annotations categories images",
        "categories images annotations",
        "annotations images categories",
    ):
        whole = document([annotation()])
        text = json.dumps({key: whole[key] for key in order.split()})
        source = read_source(plant({"a.jpg": b"", "a.json": text}), "")
        assert [row.problem for row in rows_of(source)] == [None]
        assert source.format == "coco"


def test_a_file_for_each_split_in_one_folder(plant):
    files = {
        f"images/{folder}/{name}": b""
        for folder, name in (("train2017", "1.jpg"), ("train2017", "2.jpg"), ("val2017", "1.jpg"), ("val2017", "3.jpg"))
    }
    files["annotations/instances_train2017.json"] = json.dumps(document([annotation()], [image(1, "1.jpg"), image(2, "2.jpg")]))
    files["annotations/instances_val2017.json"] = json.dumps(document([annotation()], [image(1, "1.jpg"), image(2, "3.jpg")]))
    source = read_source(plant(files), "")
    assert placed(source) == {path: "train" if "train" in path else "val" for path in files if path.endswith("jpg")}
    assert [bool(found.labels) for found in source.images] == [True, False, True, False]
    assert not source.notes.items
    assert not source.orphans


def test_roboflow_has_a_file_in_each_split(plant):
    files = {}
    for split in ("train", "valid", "test"):
        files |= {f"{split}/a.jpg": b"", f"{split}/_annotations.coco.json": json.dumps(document([annotation()]))}
    source = read_source(plant(files), "")
    assert placed(source) == {"train/a.jpg": "train", "valid/a.jpg": "val", "test/a.jpg": "test"}
    assert source.images.labelled() == 3


def test_the_folder_of_an_image_tells_the_split_where_no_file_does(plant):
    files = {
        "set/train/a.jpg": b"",
        "set/val/b.jpg": b"",
        "set/all.json": json.dumps(document([annotation()], [image(1, "train/a.jpg"), image(2, "val/b.jpg")])),
    }
    assert placed(read_source(plant(files), "")) == {"set/train/a.jpg": "train", "set/val/b.jpg": "val"}


def test_other_labellings_compete(plant):
    files = {f"images/{i}.jpg": b"" for i in range(3)}
    pictures = [image(i, f"{i}.jpg") for i in range(3)]
    files["annotations/instances_train.json"] = json.dumps(document([annotation(i) for i in range(3)], pictures))
    files["annotations/person_keypoints_train.json"] = json.dumps(document([annotation(1, keypoints=[1, 1, 2])], pictures))
    files["annotations/captions_train.json"] = json.dumps(
        document([{"id": 1, "image_id": i, "caption": "x"} for i in range(3)], pictures, [])
    )
    source = read_source(plant(files), "")
    assert source.reason.startswith("annotations/instances_train.json")
    assert sorted(file for code, _, file, _ in source.notes.items if code is Code.OTHER_LABELLING) == [
        "annotations/captions_train.json",
        "annotations/person_keypoints_train.json",
    ]


def test_captions_alone_are_refused(plant):
    captions = document([{"id": 1, "image_id": 1, "caption": "a cat"}], categories=[])
    with pytest.raises(YardError, match="captions") as caught:
        read_source(plant({"a.jpg": b"", "captions_train2017.json": json.dumps(captions)}), "")
    assert caught.value.reason is Reason.NO_LABELS


def test_panoptic_segments_are_listed(plant):
    panoptic = annotation(bbox=..., category=..., segments_info=[{"id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}])
    assert row_of(plant, panoptic).problem is Code.UNSUPPORTED_SHAPE


def test_images_that_are_not_listed_are_left_out_and_those_elsewhere_are_not_told_of(plant):
    source = source_of(plant, annotation(), tree={"images/b.jpg": b"", "elsewhere/c.jpg": b""})
    assert placed(source) == {"images/a.jpg": ""}
    assert [found.path for found in source.left_out] == ["images/b.jpg"]


def test_labels_of_images_that_are_not_there_are_counted(plant):
    pictures = [image(), image(2, "gone.jpg"), image(3, "gone too.jpg")]
    found = [annotation(), annotation(2), annotation(2), annotation(9), annotation(None), annotation([1]), 7, "text"]
    source = source_of(plant, *found, pictures=pictures)
    orphans = [(orphan.path, len(list(source.rows(orphan.labels, 0, 0)))) for orphan in source.orphans]
    assert sorted(orphans) == [("", 1), ("", 4), ("gone.jpg", 2)]
    assert notes(source) == {"SPLIT_ENTRY_WITHOUT_IMAGE": 1}
    assert len(rows_of(source)) == 1


def test_a_file_without_any_image_is_read(plant):
    source = read_source(plant({"labels.json": json.dumps(document([annotation()]))}), "")
    assert [orphan.path for orphan in source.orphans] == ["a.jpg"]
    assert not source.images


def test_an_image_listed_twice_gets_all_labels(plant):
    pictures = [image(1), image(2, "images/a.jpg"), image(3, "sub/../a.jpg")]
    source = source_of(plant, annotation(2), annotation(3, bbox=(1, 1, 5, 5)), pictures=pictures)
    assert len(rows_of(source)) == 2
    assert notes(source) == {"IMAGE_NAMED_TWICE": 2}
    assert not source.orphans


def test_an_image_in_two_splits_stays_in_the_first(plant):
    files = {
        "a.jpg": b"",
        "test.json": json.dumps(document([annotation()])),
        "train.json": json.dumps(document([annotation(bbox=(1, 1, 5, 5))])),
    }
    source = read_source(plant(files), "")
    assert placed(source) == {"a.jpg": "train"}
    assert len(rows_of(source)) == 2
    assert notes(source) == {"SPLIT_LEAKAGE": 1}


@pytest.mark.parametrize("odd", [{"id": 1, "file_name": "b.jpg"}, {"file_name": "b.jpg"}, 7, None, {"id": None, "file_name": "b.jpg"}])
def test_odd_images_are_listed(plant, odd):
    source = source_of(plant, annotation(), pictures=[image(), odd], tree={"images/b.jpg": b""})
    assert placed(source) == {"images/a.jpg": ""}
    assert notes(source) == {"MALFORMED_ANNOTATION": 1}


def test_ids_of_one_number_mean_the_same_however_they_are_written(plant):
    source = source_of(plant, annotation("1"), annotation(1.0), annotation(1), pictures=[image("1")])
    assert len(rows_of(source)) == 3


def test_urls_name_images_where_nothing_else_does(plant):
    picture_ = {"id": 1, "coco_url": "http://images.cocodataset.org/train2017/a.jpg", "width": 100, "height": 50}
    assert len(rows_of(source_of(plant, annotation(), pictures=[picture_]))) == 1


@pytest.mark.parametrize(
    ("real", "cx", "said"),
    [((50, 25), 0.2, "scaled with it"), ((199, 100), 0.2, "scaled with it"), ((50, 100), 0.4, ""), ((0, 0), None, None)],
)
def test_pictures_of_another_size_are_listed_and_labels_are_scaled_with_them(plant, real, cx, said):
    source = source_of(plant, annotation())
    (row,) = rows_of(source, real)
    mismatches = [message for code, message, *_ in source.notes.items if code is Code.SIZE_MISMATCH]
    if said is None:
        assert not mismatches
        return
    assert row.cx == cx
    assert said in mismatches[0]
    assert ("scaled" in mismatches[0]) == bool(said)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"images": 1}',
        '{"images": []}',
        '{"images": [1]}',
        '{"images": [{"id": 1}]}',
        '{"shapes": [], "version": "5"}',
        '{"categories": {"label": {"labels": []}}, "items": []}',
        '[{"image_id": 1, "bbox": [1, 2, 3, 4]}]',
        '{"annotations": [{"label": "x", "coordinates": {}}]}',
        '{"a": ' + "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
        '{"' + "a" * 500_000 + '": 1}',
        "\x00" * 100,
    ],
)
def test_what_is_not_cocos_is_not_found(plant, text):
    assert find_coco(plant({"a.json": text})) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(plant, encoding):
    text = json.dumps(document([annotation()], [image(1, "ünï.jpg")]), ensure_ascii=False)
    source = read_source(plant({"ünï.jpg": b"", "a.json": text.encode(encoding)}), "")
    assert placed(source) == {"ünï.jpg": ""}


def test_half_a_character_is_stored_all_the_same(plant):
    text = json.dumps(document([annotation("\ud800")], [image("\ud800", "\udfff.jpg"), image(2, "a.jpg")], [{"id": 1, "name": "x\ud800"}]))
    source = read_source(plant({"a.jpg": b"", "a.json": text}), "")
    assert source.class_names() == ("x",)
    assert len(source.orphans) == 1
    source.reason.encode()


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.97])
def test_a_truncated_file_is_refused_and_another_labelling_read(plant, cut):
    text = json.dumps(document([annotation(number=i) for i in range(50)]))
    files = {"images/a.jpg": b"", "a.json": text[: int(len(text) * cut)]}
    with pytest.raises(YardError, match=r"a\.json cannot be read to its end: it ends too early") as caught:
        read_source(plant(files), "")
    assert caught.value.reason is Reason.NO_LABELS
    source = read_source(plant({**files, "labels/a.txt": BOX, "classes.txt": "x\n"}), "")
    assert source.format == "yolo"


def test_cancelling_is_heard(plant):
    class Cancelled(Exception):
        pass

    def check():
        if armed:
            raise Cancelled

    armed = False
    tree = plant({"a.jpg": b"", "a.json": json.dumps(document([annotation(number=i) for i in range(5000)]))}, check)
    (found,) = find_coco(tree)
    armed = True
    with pytest.raises(Cancelled):
        _ = found.source


def test_masks_that_mean_much_work_are_read_up_to_a_limit(plant, monkeypatch):
    monkeypatch.setattr(MaskReader, "FIRST_PIXELS", 1 << 21)
    bomb = {"size": [1024, 1024], "counts": [0, 1 << 20]}
    source = source_of(plant, *(annotation(segmentation=bomb, number=i) for i in range(20)))
    assert Counter(row.shape for row in rows_of(source)) == {Shape.POLYGON: 2, Shape.BOX: 18}
    assert notes(source) == {"OUTLINE_UNREAD": 18}


def test_a_long_list_of_findings_costs_no_memory(plant):
    source = source_of(plant, *(annotation(segmentation=[[1, 2]]) for _ in range(MAX_LISTED + 100)))
    assert len(source.notes.items) == MAX_LISTED + 1


# --- whole imports


def test_an_import_reconciles(bench):
    found = [
        annotation(number=1),
        annotation(number=2, iscrowd=1),
        annotation(number=3, bbox=(500, 10, 20, 10)),
        annotation(number=4, bbox=(10, 10, 0, 10)),
        annotation(number=5, category=9),
        annotation(number=6, image=2),
        annotation(number=7, image=3),
        annotation(number=8),
        annotation(number=9, bbox=[1]),
        annotation(number=10, bbox=(30, 10, float("nan"), 10)),
    ]
    pictures = [image(1, "a.jpg", (64, 48)), image(2, "b.jpg", (64, 48)), image(3, "gone.jpg"), image(4, "c.jpg", (64, 48))]
    version, context = bench.run(
        zipped({**images("a.jpg", "b.jpg", "c.jpg", "spare.jpg"), "a.json": json.dumps(document(found, pictures))})
    )
    report = bench.report(context)
    assert report["labels"] == {"found": 10, "kept": 2, "dropped": 8}
    assert report["dropped_by_code"] == {
        "CROWD_REGION": 1,
        "DUPLICATE_BOX": 1,
        "LABEL_WITHOUT_IMAGE": 1,
        "MALFORMED_LABEL": 1,
        "NOT_A_NUMBER": 1,
        "OUT_OF_RANGE": 1,
        "UNKNOWN_CLASS": 1,
        "ZERO_AREA_BOX": 1,
    }
    assert report["images"] == {"found": 4, "kept": 3, "dropped": 1}
    assert version.source_format == "coco"
    assert version.task == "detect"


def test_polygons_are_for_segment_and_keypoints_for_pose(bench):
    polygon = annotation(segmentation=[[10, 10, 30, 10, 30, 20]])
    files = {"a.jpg": picture(1), "b.jpg": picture(2)}
    pictures = [image(1, "a.jpg", (64, 48)), image(2, "b.jpg", (64, 48))]
    version, _ = bench.run(zipped({**files, "a.json": json.dumps(document([polygon], pictures))}))
    assert (version.task, version.label_count) == ("segment", 1)
    version, _ = bench.run(zipped({**files, "a.json": json.dumps(document([polygon], pictures))}), "boxes", task="detect")
    (label,) = (label for row in bench.rows(version) for label in row.labels)
    assert (label.cx * 64, label.w * 64, label.points) == (20, 20, ())
    posed = document([annotation(keypoints=[10, 10, 2] * 3)], pictures, [{"id": 1, "name": "face", "keypoints": list(FACE)}])
    version, _ = bench.run(zipped({**files, "a.json": json.dumps(posed)}), "poses")
    assert (version.task, version.keypoints.names, version.keypoints.flip) == ("pose", FACE, (0, 2, 1))


# --- real data


def planted(plant, folder):
    """The texts of a real folder, and its images' paths and sizes."""
    files, sizes = {}, {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            is_image = suffix_of(name) in IMAGE_SUFFIXES
            files[name] = b"" if is_image else path.read_bytes()
            if is_image:
                sizes[name] = cv2.imread(str(path)).shape[1::-1]
    return plant(files), sizes


def tally(source, sizes):
    return Counter(
        (row.problem.name if row.problem else row.shape.name)
        for found in source.images
        if found.labels
        for row in source.rows(found.labels, *sizes[found.path])
    )


def test_coco128(plant, test_data):
    tree, sizes = planted(plant, test_data / "coco128")
    source = read_source(tree, "coco")
    assert (len(source.images), source.images.labelled(), len(source.orphans), len(source.left_out)) == (128, 126, 0, 0)
    assert tally(source, sizes) == {"POLYGON": 929, "CROWD_REGION": 10}
    assert len(source.class_names()) == 80
    assert source.class_names()[-1] == "toothbrush"
    assert not notes(source)


def test_coco128_as_a_whole_import(bench, test_data):
    folder = test_data / "coco128"
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    version, context = bench.run(zipped(files), format="coco")
    report = bench.report(context)
    assert (version.image_count, version.label_count, version.task) == (128, 929, "segment")
    assert report["dropped_by_code"] == {"CROWD_REGION": 10}
    assert report["labels"] == {"found": 939, "kept": 929, "dropped": 10}


def test_the_labels_of_coco128_are_those_of_its_yolo_files(plant, test_data):
    tree, sizes = planted(plant, test_data / "coco128")
    source, other = read_source(tree, "coco"), read_source(tree, "yolo")
    final = source.final_class_ids()
    compared = 0
    for found in other.images:
        if not found.labels:
            continue
        (same,) = (image_ for image_ in source.images if image_.path == found.path)
        left = [row for row in source.rows(same.labels, *sizes[found.path]) if row.problem is None]
        for row in other.rows(found.labels, 0, 0):
            nearest = min(
                left,
                key=lambda one: (final[one.class_id] != row.class_id, abs(one.cx - row.cx) + abs(one.cy - row.cy) + abs(one.w - row.w)),
            )
            assert final[nearest.class_id] == row.class_id
            assert (nearest.cx, nearest.cy, nearest.w, nearest.h) == pytest.approx((row.cx, row.cy, row.w, row.h), abs=2e-6)
            left.remove(nearest)
            compared += 1
        assert not left
    assert compared == 929 - 12 + 12


def test_the_export_of_cvat(plant, test_data):
    tree, sizes = planted(plant, test_data / "formats_2label" / "coco1.0")
    source = read_source(tree, "")
    assert source.format == "coco"
    assert tally(source, sizes) == {"BOX": 18, "POLYGON": 3, "CROWD_REGION": 2}
    strawberries = next(found for found in source.images if found.path.endswith("strawberry.jpg"))
    assert len(list(source.rows(strawberries.labels, 800, 800))) == 17
    assert source.class_names() == ("rectangle", "triangle", "circle", "ellipse", "line", "crack", "bird", "strawberry")


def test_the_export_of_label_studio(plant, test_data):
    tree, _ = planted(plant, test_data / "labelstudio_sdk_testdata" / "test_import_coco")
    source = read_source(tree, "")
    assert [(orphan.path, [row.shape for row in source.rows(orphan.labels, 0, 0)]) for orphan in source.orphans] == [
        ("image1.jpg", [Shape.POLYGON]),
        ("image2.jpg", [Shape.POLYGON]),
    ]


# --- fuzzing

NUMBERS = st.one_of(st.integers(-(10**30), 10**30), st.floats(), st.sampled_from([0, 1, 2, 1e308, -1e308, 10**400]))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8), st.dictionaries(st.sampled_from(["id", "name", "counts", "size", "rotation"]), inner, max_size=3)
    ),
    max_leaves=12,
)
IDS = st.one_of(st.integers(0, 3), ANYTHING)
MASKS = st.fixed_dictionaries(
    {"size": st.one_of(st.tuples(st.integers(0, 99), st.integers(0, 99)), ANYTHING)},
    optional={"counts": st.one_of(st.lists(st.integers(-2, 200), max_size=20), st.text("0123456789:;<=>?@ABOPabo", max_size=30), ANYTHING)},
)
ANNOTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "id": ANYTHING,
        "image_id": IDS,
        "category_id": IDS,
        "bbox": st.one_of(st.lists(NUMBERS, min_size=4, max_size=4), ANYTHING),
        "segmentation": st.one_of(st.lists(st.lists(NUMBERS, max_size=12), max_size=4), MASKS, ANYTHING),
        "keypoints": st.one_of(st.lists(st.integers(0, 2), max_size=9), ANYTHING),
        "iscrowd": st.one_of(st.booleans(), ANYTHING),
        "attributes": ANYTHING,
        "score": ANYTHING,
        "caption": ANYTHING,
    },
)
IMAGES = st.fixed_dictionaries(
    {"id": IDS},
    optional={"file_name": st.one_of(st.sampled_from(["a.jpg", "b.jpg", "c.jpg"]), ANYTHING), "width": ANYTHING, "height": NUMBERS},
)
CATEGORIES = st.fixed_dictionaries(
    {"id": IDS, "name": ANYTHING}, optional={"keypoints": st.one_of(st.lists(st.text(max_size=3), max_size=3), ANYTHING)}
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "images": st.lists(st.one_of(IMAGES, ANYTHING), max_size=4),
        "categories": st.lists(st.one_of(CATEGORIES, ANYTHING), max_size=4),
        "annotations": st.lists(st.one_of(ANNOTATIONS, ANYTHING), max_size=8),
    },
    optional={"info": ANYTHING, "a": ANYTHING},
)


def read_whatever(folder, data):
    """Reads a file with two images beside it as an import would; every label that is found is given once."""
    with SourceTree(folder) as tree:
        for path in ("a.jpg", "b.jpg"):
            tree.add(Entry(path, 0, too_large=False), None)
        tree.add(Entry("a.json", len(data), too_large=False), data)
        tree.finish()
        for found in find_coco(tree):
            found.labelled_images()  # only what is refused as a bomb is raised here
            with suppress(YardError):
                check_whatever(found.source)


def check_whatever(source):
    count = 0
    for listed in (source.images, source.left_out, source.orphans):
        for item in listed:
            for row in source.rows(item.labels, 64, 48) if item.labels else ():
                count += 1
                assert row.problem is not None or source.final_class_ids()[row.class_id] < len(source.class_names())
                row.message.encode()
    assert f" {count} annotations" in source.reason


@given(document=DOCUMENTS)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_fuzz_values(tmp_path_factory, document):
    read_whatever(tmp_path_factory.mktemp("fuzz"), json.dumps(document).encode())


SEED = json.dumps(
    document(
        [
            annotation(segmentation=[[1, 2, 3, 4, 5, 6]]),
            annotation(keypoints=[1, 2, 2]),
            annotation(segmentation={"size": [9, 9], "counts": "5g0"}),
        ]
    )
).encode()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_fuzz_bytes(tmp_path_factory, seed):
    chance = random.Random(seed)
    data = bytearray(SEED)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data))
        piece = data[chance.randrange(len(data)) :][: chance.randint(1, 60)]
        data[at : at + chance.randint(0, 20)] = chance.choice([b"", piece, bytes([chance.randrange(256)]), b"1e999", b"null", b"NaN", b'"'])
        if not data:
            break
    read_whatever(tmp_path_factory.mktemp("fuzz"), bytes(data[: chance.choice([len(data), chance.randint(0, len(data))])]))


def test_the_whole_of_a_large_file_is_never_held(plant):
    """What is read at a time stays small, however long the file is."""
    asked = []

    class Watched(io.BufferedReader):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    tree = plant({"a.jpg": b"", "a.json": json.dumps(document(annotation(number=i) for i in range(30_000)))})
    opened = tree.open
    tree.open = lambda path: Watched(opened(path))
    source = read_source(tree, "coco")
    assert len(rows_of(source)) == 30_000
    assert 0 < max(asked) <= 1 << 18


def test_labels_of_a_missing_picture_are_not_put_on_another_folder_s_of_its_name(plant):
    pictures = [image(1, "train/0.jpg"), image(2, "test/0.jpg")]
    files = {"a.json": json.dumps(document([annotation(1), annotation(2, number=2)], pictures)), "train/0.jpg": b"", "train/1.jpg": b""}
    source = read_source(plant(files), "coco")
    assert [(found.path, len(list(source.rows(found.labels, *SIZE)))) for found in source.images] == [("train/0.jpg", 1)]
    assert [found.labels for found in source.orphans] == ["a.json#2"]


def test_labels_of_a_missing_picture_are_not_put_on_another_split_s_of_its_name(plant):
    one = json.dumps(document([annotation()]))
    source = read_source(plant({"train/_annotations.coco.json": one, "valid/_annotations.coco.json": one, "train/a.jpg": b""}), "coco")
    assert [(found.path, found.split, len(list(source.rows(found.labels, *SIZE)))) for found in source.images] == [
        ("train/a.jpg", "train", 1)
    ]
    assert len(source.orphans) == 1


def test_a_picture_that_is_named_with_and_without_its_folder_is_one(plant):
    pictures = [image(1, "images/a.jpg"), image(2, "a.jpg")]
    source = source_of(plant, annotation(1), annotation(2, bbox=(1, 1, 9, 9), number=2), pictures=pictures)
    assert len(rows_of(source)) == 2


def test_a_picture_in_one_of_thousands_of_folders_is_found_by_its_folder(plant):
    names = [f"clip{i:04}/0.jpg" for i in range(1200)]
    found = document([annotation(i, number=i) for i in range(len(names))], [image(i, name) for i, name in enumerate(names)])
    files = {f"JPEGImages/{name}": b"" for name in names} | {"meta/train.json": json.dumps(found)}
    assert not read_source(plant(files), "coco").orphans
