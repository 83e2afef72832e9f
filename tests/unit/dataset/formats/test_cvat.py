"""CVAT's XML: what each shape of images and tracks becomes, and what is listed."""

import pytest
from cvat_documents import SKELETONS, box, cvat, image, joint, on, read, track
from labellings import named, pixels, read_all

from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.shapes import Shape


def only(plant, shape):
    """The row of one shape in one image."""
    _, rows = read(plant, image("a.jpg", shape))
    [row] = rows.kept["images/a.jpg"]
    return row


def test_boxes_classes_and_background(plant):
    files = {"images/b.jpg": b"", "images/unlisted.jpg": b""}
    source, rows = read(plant, image("a.jpg", box(), box(label="new"), box(1, 2, 3, 4, "zebra")), image("b.jpg"), files=files)
    assert source.class_names() == ("zebra", "ant", "new")
    assert [pixels(row) for row in rows.kept["images/a.jpg"]] == [(10, 20, 50, 40), (10, 20, 50, 40), (1, 2, 3, 4)]
    assert named(source, rows.kept["images/a.jpg"]) == ["ant", "new", "zebra"]
    assert rows.kept["images/b.jpg"] == []
    assert list(rows.left_out) == ["images/unlisted.jpg"]
    assert {row.confidence for row in rows.kept["images/a.jpg"]} == {None}
    assert "annotations.xml" in source.reason


def test_lines_are_told(plant):
    _, rows = read(plant, image("a.jpg", "\n\n", box()))
    assert rows.kept["images/a.jpg"][0].line == 5


def test_a_rotated_box_is_turned_clockwise_around_its_centre(plant):
    row = only(plant, box(10, 20, 50, 40, rotation="90.0"))
    assert row.shape is Shape.ROTATED
    corners = [round(value * (200, 100)[i % 2], 6) for i, value in enumerate(row.points)]
    assert corners == [40, 10, 40, 50, 20, 50, 20, 10]  # what was the left upper corner is the right upper one
    assert only(plant, box(rotation="360")).shape is Shape.BOX
    assert only(plant, box(rotation="0.00")).shape is Shape.BOX


def test_polygons_and_ellipses(plant):
    row = only(plant, '<polygon label="ant" points="10.5,20;50,20;30,40.25"></polygon>')
    assert (row.shape, pixels(row)) == (Shape.POLYGON, (10.5, 20, 50, 40.25))
    row = only(plant, '<ellipse label="ant" cx="100" cy="50" rx="40" ry="10"></ellipse>')
    assert (row.shape, pixels(row), len(row.points)) == (Shape.POLYGON, (60, 40, 140, 60), 128)
    row = only(plant, '<ellipse label="ant" cx="100" cy="50" rx="40" ry="10" rotation="90"></ellipse>')
    assert pixels(row) == pytest.approx((90, 10, 110, 90))


def test_a_mask_becomes_its_outline(plant):
    # Three rows of four pixels: .XX. / XXXX / .... at 10, 20
    row = only(plant, '<mask label="ant" rle="1, 2, 1, 4, 4" left="10" top="20" width="4" height="3"></mask>')
    assert (row.shape, pixels(row), row.note) == (Shape.POLYGON, (10, 20, 14, 22), None)
    corners = {(round(x * 200), round(y * 100)) for x, y in zip(row.points[0::2], row.points[1::2], strict=True)}
    assert {(11, 20), (13, 20), (10, 21), (14, 22), (10, 22)} <= corners
    ring = only(plant, '<mask label="ant" rle="0,6,3,2,3,2,3,6" left="0" top="0" width="5" height="5"></mask>')
    assert (pixels(ring), ring.note.name) == ((0, 0, 5, 5), "HOLES_FILLED")
    parts = only(plant, '<mask label="ant" rle="0,1,3,1" left="0" top="0" width="5" height="1"></mask>')
    assert (pixels(parts), parts.note.name) == ((0, 0, 5, 1), "PARTS_JOINED")


def test_tags_are_classes_of_the_whole_picture(plant):
    source, rows = read(plant, image("a.jpg", '<tag label="ant" source="manual"></tag>'))
    assert [row.shape for row in rows.kept["images/a.jpg"]] == [Shape.IMAGE]
    assert named(source, rows.kept["images/a.jpg"]) == ["ant"]


def test_skeletons_are_keypoints_in_the_declared_order(plant):
    shown = (
        f'<skeleton label="person">{joint("foot", 60, 80)}{joint("hand", 1, 1, outside=1)}{joint("nose", 20, 10, occluded=1)}</skeleton>'
    )
    source, rows = read(plant, image("a.jpg", shown), meta=SKELETONS)
    assert source.class_names() == ("person",)
    assert (source.keypoints.names, source.keypoints.dimensions) == (("nose", "hand", "foot"), 3)
    [row] = rows.kept["images/a.jpg"]
    assert (row.shape, pixels(row), row.dimensions) == (Shape.KEYPOINTS, (20, 10, 60, 80), 3)
    assert row.points == pytest.approx((0.1, 0.1, 1, 0, 0, 0, 0.3, 0.8, 2))


def test_keypoints_that_nothing_declares_are_filled_up(plant):
    first, second = (
        f'<skeleton label="person">{joint("nose", 20, 10)}{joint("hand", 30, 20)}</skeleton>',
        f'<skeleton label="person">{joint("tail", 20, 10)}{joint("nose", 30, 30)}</skeleton>',
    )
    source, rows = read(plant, image("a.jpg", first, second))
    assert source.keypoints.names == ("nose", "hand", "tail")
    assert [row.points[2::3] for row in rows.kept["images/a.jpg"]] == [(2, 2, 0), (2, 0, 2)]


def test_a_skeleton_that_is_refused_adds_no_keypoint(plant):
    refused = f'<skeleton label="person">{joint("tail", 1, 1)}<points label="nose" points="1"></points></skeleton>'
    source, rows = read(plant, image("a.jpg", refused, f'<skeleton label="person">{joint("nose", 1, 1)}{joint("hand", 9, 9)}</skeleton>'))
    assert source.keypoints.names == ("nose", "hand")
    assert rows.found == 2


def test_names_without_end_are_cut(plant):
    source, rows = read(plant, image("a.jpg", box(label="x" * 1_000_000), box(label="x" * 2_000_000)))
    assert (rows.found, [len(name) for name in source.class_names()]) == (2, [5, 3, 200])


PROBLEMS = {
    '<polyline label="ant" points="1,2;3,4"></polyline>': "UNSUPPORTED_SHAPE",
    '<points label="ant" points="1,2"></points>': "UNSUPPORTED_SHAPE",
    '<cuboid label="ant" xtl1="1"></cuboid>': "UNSUPPORTED_SHAPE",
    '<blob label="ant"></blob>': "UNSUPPORTED_SHAPE",
    box(label=""): "MALFORMED_LABEL",
    '<box label="ant" xtl="1"></box>': "MALFORMED_LABEL",
    box("one"): "MALFORMED_LABEL",
    box("nan"): "NOT_A_NUMBER",
    box("1e999"): "NOT_A_NUMBER",
    box(rotation="inf"): "MALFORMED_LABEL",
    '<polygon label="ant" points="1,2;3,4"></polygon>': "MALFORMED_LABEL",
    '<polygon label="ant" points="1,2;3;4,5,6"></polygon>': "MALFORMED_LABEL",
    '<polygon label="ant" points=""></polygon>': "MALFORMED_LABEL",
    '<mask label="ant" rle="5,5" left="0" top="0" width="2" height="2"></mask>': "MALFORMED_LABEL",
    '<mask label="ant" rle="4" left="0" top="0" width="2" height="2"></mask>': "MALFORMED_LABEL",
    '<mask label="ant" rle="-1,5" left="0" top="0" width="2" height="2"></mask>': "MALFORMED_LABEL",
    '<mask label="ant" rle="0,4" left="0" top="0" width="99999999" height="99999999"></mask>': "MALFORMED_LABEL",
    '<mask label="ant" rle="0,4" left="1e5" top="0" width="2" height="2"></mask>': "MALFORMED_LABEL",
    f'<mask label="ant" rle="0,4" left="0" top="1{"0" * 400}" width="2" height="2"></mask>': "MALFORMED_LABEL",
    f'<skeleton label="ant">{joint("nose", 1, 1, outside=1)}</skeleton>': "MALFORMED_LABEL",
    '<skeleton label="ant"></skeleton>': "MALFORMED_LABEL",
    '<skeleton label="ant"><points label="nose" points="1"></points></skeleton>': "MALFORMED_LABEL",
    f'<skeleton label="ant">{"".join(joint(str(i), 1, 1) for i in range(1001))}</skeleton>': "MALFORMED_LABEL",
    f'<skeleton label="ant">{"".join(joint(str(i), 1, i) for i in range(1000))}</skeleton>': "",
}


@pytest.mark.parametrize("shape", PROBLEMS)
def test_problems_are_rows_so_that_counts_reconcile(plant, shape):
    _, rows = read(plant, image("a.jpg", shape, box()))
    assert rows.found == 2
    assert [code for code, *_ in rows.problems] == [PROBLEMS[shape]] * bool(PROBLEMS[shape])


def test_what_is_no_shape_is_no_label(plant):
    _, rows = read(plant, image("a.jpg", "<attribute name='x'>y</attribute><note/>", box()))
    assert rows.found == 1


def test_tracks_label_the_frames_that_are_there(plant):
    files = {f"images/frame_{i:06d}.PNG": b"" for i in (0, 1, 2)} | {"images/thumb.jpg": b""}
    source = read_source(
        plant({**files, "annotations.xml": cvat(track("ant", on(0), on(1), on(2, outside=1)), track("zebra", on(1), on(7)))}), ""
    )
    rows = read_all(source)
    assert {path[-10:]: named(source, found) for path, found in rows.kept.items()} == {
        "000000.PNG": ["ant"],
        "000001.PNG": ["ant", "zebra"],
        "000002.PNG": [],
    }
    assert {name: len(found) for name, found in rows.orphans.items()} == {"frame_000007": 1}
    assert list(rows.left_out) == ["images/thumb.jpg"]
    assert rows.found == 4


def test_a_skeleton_whose_points_have_all_gone_is_none(plant):
    gone, there = (on(i, kind="skeleton", geometry="", inner=joint("nose", 5, 5, outside=outside)) for i, outside in ((0, 1), (1, 0)))
    source = read_source(plant({"frame_000001.png": b"", "a.xml": cvat(track("person", gone, there), meta=SKELETONS)}), "")
    assert read_all(source).found == 1


def test_labels_of_models_that_were_reviewed_are_persons(plant):
    source, rows = read(plant, image("a.jpg", box(source="auto"), box(1, 1, 9, 9, source="semi-auto"), box(2, 2, 9, 9, source="manual")))
    assert [row.confidence for row in rows.kept["images/a.jpg"]] == [None] * 3
    [(code, message, *_)] = source.notes.items
    assert (code.name, "has 1 labels" in message) == ("PREDICTED", True)
