"""labelme's JSON: shapes, groups, masks, flags; what is refused and what is listed."""

import base64
import math

import cv2
import numpy as np
import pytest
from labellings import named, pixels, read_all
from labelme_documents import BOX, TRIANGLE, labelme, mask, read, shape

from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.shapes import Shape


def only(plant, drawn):
    """The row of one shape in one image."""
    _, rows = read(plant, drawn)
    [row] = rows.kept["a.jpg"]
    return row


def test_rectangles_have_two_corners_in_any_order(plant):
    wanted = (10, 20, 50, 40)
    for points in (BOX, BOX[::-1], [[10, 40], [50, 20]], [[10, 20], [50, 20], [50, 40], [10, 40]]):
        row = only(plant, shape(points))
        assert (row.shape, pixels(row)) == (Shape.BOX, wanted)


def test_classes_are_sorted(plant):
    source, rows = read(plant, shape(label="zebra"), shape(label="ant"))
    assert source.class_names() == ("ant", "zebra")
    assert named(source, rows.kept["a.jpg"]) == ["zebra", "ant"]


def test_classes_stand_in_the_order_of_labelmes_own_list(plant):
    files = {"a.jpg": b"", "a.json": labelme(shape(label="zebra"), shape(label="new"))}
    source = read_source(plant({**files, "labels.txt": "__ignore__\n_background_\nzebra\nbee\n"}), "")
    rows = read_all(source)
    assert source.class_names() == ("zebra", "bee", "new")
    assert named(source, rows.kept["a.jpg"]) == ["zebra", "new"]
    source = read_source(plant({**files, "labels.txt": "yes\nno\n"}), "")
    read_all(source)
    assert source.class_names() == ("new", "zebra")


def test_polygons_circles_and_rotated_boxes(plant):
    assert only(plant, shape(TRIANGLE, kind="polygon")).shape is Shape.POLYGON
    assert only(plant, {"label": "ant", "points": TRIANGLE}).shape is Shape.POLYGON  # labelme 3 knew nothing else
    circle = only(plant, shape([[100, 50], [130, 90]], kind="circle"))
    assert (circle.shape, pixels(circle), len(circle.points)) == (Shape.POLYGON, (50, 0, 150, 100), 128)
    turned = only(plant, shape([[30, 10], [50, 30], [30, 50], [10, 30]], kind="rotation"))
    assert (turned.shape, pixels(turned)) == (Shape.ROTATED, (10, 10, 50, 50))


def test_a_mask_becomes_its_outline(plant):
    row = only(plant, shape([[10.4, 20.9], [13.4, 22.9]], kind="mask", mask=mask(["0110", "1111", "0000"])))
    assert (row.shape, pixels(row), row.note) == (Shape.POLYGON, (10, 20, 14, 22), None)
    row = only(plant, shape([[0, 0], [4, 0]], kind="mask", mask=mask(["10001"])))
    assert (pixels(row), row.note.name) == ((0, 0, 5, 1), "PARTS_JOINED")


def test_shapes_of_one_label_and_group_are_one_object(plant):
    left, right = ([[x, 20], [x + 20, 20], [x + 10, 40]] for x in (10, 100))
    source, rows = read(
        plant,
        shape(left, kind="polygon", group_id=0),
        shape(BOX, label="bee", group_id=0),
        shape(right, kind="polygon", group_id=0),
        shape(left, kind="polygon", group_id=1),
        shape([[0, 0], [5, 5]], label="bee", group_id=0),
        shape(right, kind="polygon"),
    )
    found = [
        (name, pixels(row), row.note and row.note.name)
        for name, row in zip(named(source, rows.kept["a.jpg"]), rows.kept["a.jpg"], strict=True)
    ]
    assert found == [
        ("ant", (10, 20, 120, 40), "PARTS_JOINED"),
        ("bee", (0, 0, 50, 40), "PARTS_JOINED"),
        ("ant", (10, 20, 30, 40), None),
        ("ant", (100, 20, 120, 40), None),
    ]
    assert [row.shape for row in rows.kept["a.jpg"]] == [Shape.POLYGON, Shape.BOX, Shape.POLYGON, Shape.POLYGON]


PROBLEMS = [
    (shape(kind="line"), "UNSUPPORTED_SHAPE"),
    (shape(kind="linestrip"), "UNSUPPORTED_SHAPE"),
    (shape([[1, 1]], kind="point"), "UNSUPPORTED_SHAPE"),
    (shape(kind="hexagon"), "UNSUPPORTED_SHAPE"),
    (shape(label="__ignore__"), "IGNORED_REGION"),
    (shape(label="_background_", kind="polygon"), "IGNORED_REGION"),
    (shape(label=""), "MALFORMED_LABEL"),
    (shape(label=None), "MALFORMED_LABEL"),
    (shape(label=["ant"]), "MALFORMED_LABEL"),
    ({}, "MALFORMED_LABEL"),
    (None, "MALFORMED_LABEL"),
    (shape([[1, 2]]), "MALFORMED_LABEL"),
    (shape([]), "MALFORMED_LABEL"),
    (shape(None), "MALFORMED_LABEL"),
    (shape([[1, 2], [3]]), "MALFORMED_LABEL"),
    (shape([[1, 2], [3, "4"]]), "MALFORMED_LABEL"),
    (shape([[1, 2], [3, None]]), "MALFORMED_LABEL"),
    (shape(BOX, kind="polygon"), "MALFORMED_LABEL"),
    (shape(TRIANGLE, kind="circle"), "MALFORMED_LABEL"),
    (shape([[1, 2], [math.nan, 3]]), "NOT_A_NUMBER"),
    (shape([[1, 2], [math.inf, 3]]), "NOT_A_NUMBER"),
    (shape([[1, 2], [10**400, 3]]), "NOT_A_NUMBER"),
    (shape([[1, 2], [1e308, -1e308]], kind="circle"), ""),
    (shape(kind="mask"), "MALFORMED_LABEL"),
    (shape(kind="mask", mask="no base 64!"), "MALFORMED_LABEL"),
    (shape(kind="mask", mask="aGVsbG8="), "MALFORMED_LABEL"),
    (shape(kind="mask", mask=mask(["00", "00"])), "MALFORMED_LABEL"),
    (shape([[math.nan, 0], [1, 1]], kind="mask", mask=mask(["1"])), "NOT_A_NUMBER"),
    (shape([[1e300, 0], [1, 1]], kind="mask", mask=mask(["1"])), ""),
    (shape([[1e300, 0], [1e300, 1]], kind="mask", mask=mask(["1"])), "MALFORMED_LABEL"),
    (shape(kind={"a": 1}), "MALFORMED_LABEL"),
    (shape(group_id={"a": 1}), ""),
    (shape(group_id=True), ""),
]


@pytest.mark.parametrize("number", range(len(PROBLEMS)))
def test_problems_are_rows_so_that_counts_reconcile(plant, number):
    drawn, code = PROBLEMS[number]
    _, rows = read(plant, drawn, shape([[1, 1], [9, 9]]))
    assert rows.found == 2
    assert [problem for problem, *_ in rows.problems] == [code] * bool(code)


def test_messages_say_which_shape(plant):
    _, rows = read(plant, shape(), shape(label="crack", kind="linestrip"))
    assert rows.problems[0][1] == "has as shape 2 ('crack') a linestrip, which bounds no object"


def test_a_mask_of_too_many_pixels_is_not_unpacked(plant):
    wide = cv2.imencode(".png", np.zeros((6000, 6000), np.uint8))[1].tobytes()
    _, rows = read(plant, shape([[0, 0], [5999, 5999]], kind="mask", mask=base64.b64encode(wide).decode()))
    assert [code for code, *_ in rows.problems] == ["MALFORMED_LABEL"]


# --- flags


def test_flags_are_classes_where_nothing_has_a_shape(plant):
    flags = {"__ignore__": False, "dog": False, "cat": False, "bird": False}
    files = {f"{name}.jpg": b"" for name in "abcd"}
    files["a.json"] = labelme(flags={**flags, "cat": True})
    files["b.json"] = labelme(image="b.jpg", flags={**flags, "dog": True, "bird": True})
    files["c.json"] = labelme(image="c.jpg", flags={**flags, "__ignore__": True})
    source = read_source(plant(files), "")
    rows = read_all(source)
    assert source.task == "classify"
    assert source.class_names() == ("dog", "cat", "bird")
    assert {path: named(source, found) for path, found in rows.kept.items()} == {
        "a.jpg": ["cat"],
        "b.jpg": ["dog", "bird"],
        "c.jpg": [],
        "d.jpg": [],
    }
    assert [code for code, *_ in rows.problems] == ["IGNORED_REGION"]
    assert {row.shape for found in rows.kept.values() for row in found} == {Shape.IMAGE}


def test_flags_are_remarks_where_there_are_shapes(plant):
    files = {
        "a.jpg": b"",
        "b.jpg": b"",
        "a.json": labelme(shape(), flags={"blurred": True}),
        "b.json": labelme(image="b.jpg", flags={"blurred": True}),
    }
    source = read_source(plant(files), "")
    rows = read_all(source)
    assert (source.task, source.class_names(), rows.found) == ("", ("ant",), 1)
    assert [found.labels for found in source.images] == ["a.json", ""]
