"""labelme's JSON: shapes, groups, masks, flags; where its pictures are looked for; what is refused and what is listed."""

import base64
import json
import math
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labellings import codes, named, pixels, read_all

from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.labelled import UnreadLabels
from visionyard.dataset.formats.labelme_json import find_labelme
from visionyard.dataset.formats.shapes import Shape, enclosing

BOX = [[10, 20], [50, 40]]
TRIANGLE = [[10, 20], [50, 20], [30, 40]]


def shape(points=BOX, label="ant", kind="rectangle", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def labelme(*shapes, image="a.jpg", flags=None, size=(200, 100), **more):
    document = {"version": "5.2.1", "flags": flags or {}, "shapes": list(shapes), "imagePath": image, "imageData": None}
    return json.dumps({**document, "imageHeight": size[1], "imageWidth": size[0], **more})


def read(plant, *shapes, **more):
    source = read_source(plant({"a.jpg": b"", "a.json": labelme(*shapes, **more)}), "")
    return source, read_all(source)


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


def mask(rows):
    picture = np.array([[int(c) for c in row] for row in rows], np.uint8)
    return base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()


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


# --- images


@pytest.mark.parametrize("written", ["../images/one.jpg", "..\\images\\one.jpg", "C:\\me\\one.png", "/home/me/ONE.JPG", "missing.jpg", ""])
def test_where_the_picture_lies(plant, written):
    source = read_source(plant({"images/one.jpg": b"", "images/two.jpg": b"", "labels/one.json": labelme(shape(), image=written)}), "")
    assert [(found.path, found.labels) for found in source.images] == [("images/one.jpg", "labels/one.json"), ("images/two.jpg", "")]


def test_splits_are_those_of_the_folders(plant):
    files = {"train/a.jpg": b"", "val/b.jpg": b"", "train/a.json": labelme(shape()), "val/b.json": labelme(shape(), image="b.jpg")}
    assert {found.path: found.split for found in read_source(plant(files), "").images} == {"train/a.jpg": "train", "val/b.jpg": "val"}


def test_two_files_of_one_image(plant):
    source = read_source(plant({"a.jpg": b"", "a.json": labelme(shape()), "copy/a.json": labelme(shape(), shape([[1, 1], [2, 2]]))}), "")
    rows = read_all(source)
    assert codes(source) == ["IMAGE_NAMED_TWICE"]
    assert (len(rows.kept["a.jpg"]), rows.found) == (1, 3)


def test_labels_without_images(plant):
    source = read_source(plant({"a.json": labelme(shape()), "b.json": labelme(shape(), image="b.jpg", imageData="AAAA" * 100_000)}), "")
    assert {name: len(found) for name, found in read_all(source).orphans.items()} == {"a.jpg": 1, "b.jpg": 1}
    assert [(code.name, file) for code, _, file, _ in source.notes.items] == [("IMAGE_EMBEDDED", "b.json")]


def test_the_picture_within_a_file_is_passed_over_whatever_its_size(plant):
    document = labelme(shape(), imageData="x" * (12 << 20))
    first = '{"imageData": "' + "x" * (12 << 20) + '", ' + labelme(shape(), image="b.jpg").replace('"imageData": null, ', "")[1:]
    source = read_source(plant({"a.jpg": b"", "b.jpg": b"", "a.json": document, "b.json": first}), "")
    assert read_all(source).found == 2


def test_sizes_are_compared(plant):
    source, _ = read(plant, shape(), size=(100, 200))
    assert codes(source) == ["SIZE_MISMATCH"]


# --- what is none of labelme's


OTHERS = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"shapes": []}',
    b'{"shapes": {}, "imagePath": "a.jpg"}',
    b'{"images": [], "annotations": []}',
    b'{"shapes": [], "imagePath": "a.jpg"',
    b'{"shapes": [' + b"[" * 100_000,
    b'{"shapes": [], "imagePath": ' + b"9" * 5000 + b"}",
    b'{"a": [' + b"1," * (1 << 20),
]


@pytest.mark.parametrize("number", range(len(OTHERS)))
def test_other_json_is_none_of_labelmes(plant, number):
    assert find_labelme(plant({"a.jpg": b"", "a.json": OTHERS[number]})) == []


def test_a_damaged_file_beside_good_ones_is_listed(plant):
    files = {
        "a.jpg": b"",
        "b.jpg": b"",
        "a.json": labelme(shape()),
        "b.json": labelme(shape())[:60],
        "setting.json": "{}",
        "c.json": "[" * 9_000_000,
    }
    source = read_source(plant(files), "")
    rows = read_all(source)
    assert (rows.found, rows.unread) == (1, ["b.json"])


def test_halves_of_characters_do_no_harm(plant):
    _, rows = read(plant, shape(label="\ud800"), shape(label="\udfff", kind="line"), image="\ud800.jpg")
    assert rows.found == 2


# --- real files


def planted(plant, folder):
    files = {path.name: b"" if path.suffix in {".jpg", ".jpeg"} else path.read_bytes() for path in folder.iterdir()}
    source = read_source(plant(files), "")
    return source, read_all(source)


def test_the_real_export(plant, test_data):
    source, rows = planted(plant, test_data / "formats_2label/labelme")
    assert {path: len(found) for path, found in rows.kept.items()} == {
        "birds.jpg": 2,
        "crack.jpeg": 0,
        "shapes.jpg": 4,
        "strawberry.jpg": 17,
    }
    assert (rows.found, [code for code, *_ in rows.problems]) == (25, ["UNSUPPORTED_SHAPE"] * 2)
    assert source.class_names() == ("bird", "circle", "ellipse", "rectangle", "strawberry", "triangle")


def test_the_real_boxes(plant, test_data):
    source, rows = planted(plant, test_data / "labelme_examples/bbox_detection/data_annotated")
    assert {path: named(source, found) for path, found in rows.kept.items()} == {
        "2011_000003.jpg": ["person"] * 2,
        "2011_000006.jpg": ["person"] * 4,
        "2011_000025.jpg": ["bus", "bus", "car"],
    }
    assert (rows.found, rows.problems) == (9, [])


def test_the_real_polygons_with_groups(plant, test_data):
    source, rows = planted(plant, test_data / "labelme_examples/instance_segmentation/data_annotated")
    assert {path: sorted(named(source, found)) for path, found in rows.kept.items()} == {
        "2011_000003.jpg": ["bottle", "person", "person"],
        "2011_000006.jpg": ["chair", "person", "person", "person", "person", "sofa"],
        "2011_000025.jpg": ["bus", "bus", "car"],
    }
    assert [code for code, *_ in rows.problems] == ["IGNORED_REGION"] * 2
    assert sum(row.note is not None for found in rows.kept.values() for row in found) == 2


def test_the_real_frames_flags_and_primitives(plant, test_data):
    source, rows = planted(plant, test_data / "labelme_examples/video_annotation/data_annotated")
    assert {path: named(source, found) for path, found in rows.kept.items()} == {
        f"0000010{i}.jpg": ["track", "track", "car"] for i in range(5)
    }
    source, rows = planted(plant, test_data / "labelme_examples/classification/data_annotated")
    assert (source.task, {path: named(source, found) for path, found in rows.kept.items()}) == (
        "classify",
        {"0001.jpg": ["cat"], "0002.jpg": ["dog"]},
    )
    source, rows = planted(plant, test_data / "labelme_examples/primitives")
    assert sorted(named(source, rows.kept["primitives.jpg"])) == ["circle", "octagon", "polygon", "rectangle", "rectangle"]
    assert [code for code, *_ in rows.problems] == ["UNSUPPORTED_SHAPE"] * 3


# --- anything at all

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
POINTS = st.one_of(VALUES, st.lists(st.lists(st.one_of(st.floats(), st.integers()), min_size=2, max_size=2), max_size=6))
KINDS = st.one_of(VALUES, st.sampled_from(["rectangle", "polygon", "circle", "mask", "rotation", "line"]))
SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "label": st.one_of(VALUES, st.sampled_from(["ant", "__ignore__"])),
        "points": POINTS,
        "shape_type": KINDS,
        "group_id": st.one_of(VALUES, st.integers(0, 1)),
        "mask": st.one_of(VALUES, st.just(mask(["101", "010"]))),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"shapes": st.lists(st.one_of(SHAPES, VALUES), max_size=5), "imagePath": VALUES},
    optional={
        "flags": st.one_of(VALUES, st.dictionaries(st.text(max_size=3), st.booleans(), max_size=3)),
        "imageData": VALUES,
        "imageWidth": VALUES,
    },
).map(lambda document: json.dumps(document).encode())


@st.composite
def damaged(draw):
    """A good file, cut off or with bytes changed."""
    data = bytearray(labelme(shape(), shape(TRIANGLE, kind="polygon", group_id=1), imageData="AAAA").encode())
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=100), DOCUMENTS, damaged()))
def test_whatever_a_file_holds_it_is_read_or_passed_over(plant, data):
    for labelling in find_labelme(plant({"a.jpg": b"", "a.json": data})):
        for images in (labelling.source.images, labelling.source.orphans):
            for found in images:
                with suppress(UnreadLabels):
                    for row in labelling.source.rows(found.labels, 200, 100) if found.labels else ():
                        if row.problem is None and row.shape is not Shape.IMAGE:
                            assert all(map(math.isfinite, (*row.points, *enclosing(row.points))))


def test_a_file_whose_name_holds_a_dot_is_not_taken_for_another_picture_s(plant):
    files = {"img.jpg": b"", "b.jpg": b"", "img.v2.json": labelme(shape(), image="img.v2.jpg"), "b.json": labelme(shape(), image="b.tif")}
    source = read_source(plant(files), "")
    assert [(image.path, image.labels) for image in source.images] == [("b.jpg", "b.json"), ("img.jpg", "")]
    assert [orphan.labels for orphan in source.orphans] == ["img.v2.json"]


def test_labels_are_scaled_with_a_picture_that_was_scaled_since(plant):
    _, rows = read(plant, shape())
    (half,) = rows.kept["a.jpg"]
    _, rows = read(plant, shape(), size=(400, 200))
    (row,) = rows.kept["a.jpg"]
    assert (row.cx, row.cy, row.w, row.h) == (half.cx / 2, half.cy / 2, half.w / 2, half.h / 2)


def test_labels_of_a_missing_picture_are_not_put_on_another_folder_s_of_its_name(plant):
    files = {"train/0.jpg": b"", "test/0.json": labelme(shape(label="bee"), image="0.jpg"), "train/0.json": labelme(shape(), image="0.jpg")}
    source = read_source(plant(files), "")
    assert named(source, read_all(source).kept["train/0.jpg"]) == ["ant"]
    assert [orphan.labels for orphan in source.orphans] == ["test/0.json"]
