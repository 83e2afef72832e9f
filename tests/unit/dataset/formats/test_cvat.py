"""CVAT's XML: tasks of images, videos, projects; what each shape becomes; what is refused and what is listed."""

import math
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labellings import codes, named, pixels, read_all

from visionyard.dataset.formats.cvat import find_cvat
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.labelled import UnreadLabels
from visionyard.dataset.formats.shapes import Shape, enclosing
from visionyard.kit.errors import Reason, YardError

LABELS = "".join(f"<label><name>{name}</name></label>" for name in ("zebra", "ant"))
META = f"<meta><task><name>t</name><labels>{LABELS}</labels></task></meta>"


def cvat(*items, meta=META):
    return f"<?xml version='1.0' encoding='utf-8'?>\n<annotations><version>1.1</version>{meta}\n" + "\n".join(items) + "</annotations>"


def image(name, *shapes, size=(200, 100), **attributes):
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<image id="0" name="{name}" width="{size[0]}" height="{size[1]}"{more}>' + "".join(shapes) + "</image>"


def box(left=10, top=20, right=50, bottom=40, label="ant", **attributes):
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<box label="{label}" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"{more}></box>'


def read(plant, *items, meta=META, files=None):
    source = read_source(plant({"images/a.jpg": b"", **(files or {}), "annotations.xml": cvat(*items, meta=meta)}), "cvat")
    return source, read_all(source)


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


SKELETONS = (
    "<meta><task><labels><label><name>person</name><type>skeleton</type></label>"
    + "".join(f"<label><name>{name}</name><type>points</type><parent>person</parent></label>" for name in ("nose", "hand", "foot"))
    + "</labels></task></meta>"
)


def joint(label, x, y, **attributes):
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<points label="{label}" points="{x},{y}"{more}><attribute name="a">b</attribute></points>'


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


def track(label, *shapes, **attributes):
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<track id="0" label="{label}"{more}>' + "".join(shapes) + "</track>"


def on(frame, outside=0, kind="box", geometry='xtl="10" ytl="20" xbr="50" ybr="40"', inner=""):
    return f'<{kind} frame="{frame}" outside="{outside}" keyframe="1" {geometry}>{inner}</{kind}>'


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


@pytest.mark.parametrize(("subset", "split"), [("Train", "train"), ("Validation", "val"), ("test", "test"), ("default", ""), ("", "")])
def test_subsets_are_splits(plant, subset, split):
    source, _ = read(plant, image("a.jpg", box(), subset=subset))
    assert [found.split for found in source.images] == [split]
    meta = META.replace("<labels>", f"<subset>{subset}</subset><labels>")
    source, _ = read(plant, image("a.jpg", box()), meta=meta)
    assert [found.split for found in source.images] == [split]


def test_subsets_tell_images_of_one_name_apart(plant):
    files = {"images/Train/a.jpg": b"", "images/Test/a.jpg": b""}
    meta = META.replace("task>", "project>")
    listed = cvat(image("a.jpg", box(), subset="Train"), image("a.jpg", box(label="zebra"), subset="Test"), meta=meta)
    source = read_source(plant({**files, "annotations.xml": listed}), "")
    rows = read_all(source)
    assert {path: named(source, found) for path, found in rows.kept.items()} == {
        "images/Train/a.jpg": ["ant"],
        "images/Test/a.jpg": ["zebra"],
    }
    assert source.class_names() == ("zebra", "ant")


def test_several_files_are_one_labelling(plant):
    files = {"train/images/a.jpg": b"", "val/images/b.jpg": b""}
    files["train/annotations.xml"] = cvat(image("a.jpg", box()))
    files["val/annotations.xml"] = cvat(
        image("b.jpg", box(label="bee")), meta="<meta><task><labels><label><name>bee</name></label></labels></task></meta>"
    )
    source = read_source(plant(files), "")
    assert [(found.path, found.split) for found in source.images] == [("train/images/a.jpg", "train"), ("val/images/b.jpg", "val")]
    assert source.class_names() == ("zebra", "ant", "bee")


def test_an_image_listed_twice_gets_all_its_labels(plant):
    source, rows = read(plant, image("a.jpg"), image("images/A.JPG", box()))
    assert len(rows.kept["images/a.jpg"]) == 1
    assert codes(source) == ["IMAGE_NAMED_TWICE"]


def test_labels_without_images(plant):
    source = read_source(plant({"annotations.xml": cvat(image("x/a.jpg", box(), box(label="")), image("b.jpg"))}), "")
    rows = read_all(source)
    assert {name: len(found) for name, found in rows.orphans.items()} == {"x/a.jpg": 1}
    assert rows.found == 2
    assert codes(source) == ["LISTED_IMAGE_MISSING"]


def test_a_cut_off_file_gives_what_it_has(plant):
    whole = cvat(image("a.jpg", box()), image("b.jpg", box()))
    source = read_source(plant({"images/a.jpg": b"", "annotations.xml": whole[: whole.index("b.jpg")]}), "")
    assert codes(source) == ["MALFORMED_ANNOTATION"]
    assert read_all(source).found == 1


@pytest.mark.parametrize("at", ["<box", "></box>", "</image>"])
def test_the_image_within_which_a_file_is_cut_off_is_not_read(plant, at):
    """What stood behind the damage is not known: without shapes it is no background, and with some these may not be all."""
    files = {"images/a.jpg": b"", "images/b.jpg": b"", "images/c.jpg": b""}
    whole = cvat(image("a.jpg", box()), image("b.jpg", box(), box(1, 1, 9, 9)), image("c.jpg"))
    source = read_source(plant({**files, "annotations.xml": whole[: whole.index(at, whole.index("b.jpg"))]}), "")
    rows = read_all(source)
    assert (sorted(rows.kept), len(rows.unread), list(rows.left_out)) == (["images/a.jpg"], 1, ["images/c.jpg"])
    twice = cvat(image("b.jpg", box()), image("b.jpg", box()))
    source = read_source(plant({**files, "annotations.xml": twice[: twice.rindex("<box")]}), "")
    assert (read_all(source).kept, len(read_all(source).unread)) == ({}, 1)


def test_of_a_video_that_is_cut_off_no_frame_is_read(plant):
    """Its tracks stand one after the other, so that any frame may have more."""
    files = {f"frame_00000{i}.jpg": b"" for i in range(3)}
    boxes = [f'<box frame="{i}" xtl="1" ytl="1" xbr="9" ybr="9" outside="0" keyframe="1"></box>' for i in range(2)]
    whole = cvat(*(f'<track id="{i}" label="ant">{drawn}</track>' for i, drawn in enumerate(boxes)))
    source = read_source(plant({**files, "annotations.xml": whole}), "")
    assert {path: len(found) for path, found in read_all(source).kept.items()} == {path: path < "frame_000002" for path in files}
    source = read_source(plant({**files, "annotations.xml": whole[: whole.rindex("<track")]}), "")
    rows = read_all(source)
    assert (rows.kept, len(rows.unread), sorted(rows.left_out)) == ({}, 1, ["frame_000001.jpg", "frame_000002.jpg"])


def test_sizes_are_compared(plant):
    source, _ = read(plant, image("a.jpg", box(), size=(100, 200)))
    assert codes(source) == ["SIZE_MISMATCH"]
    assert "100 x 200" in source.notes.items[0][1]


def test_labels_of_models_that_were_reviewed_are_persons(plant):
    source, rows = read(plant, image("a.jpg", box(source="auto"), box(1, 1, 9, 9, source="semi-auto"), box(2, 2, 9, 9, source="manual")))
    assert [row.confidence for row in rows.kept["images/a.jpg"]] == [None] * 3
    [(code, message, *_)] = source.notes.items
    assert (code.name, "has 1 labels" in message) == ("PREDICTED", True)


OTHERS = [
    "<annotation><object/></annotation>",
    "<annotations/>",
    "<annotations><other/></annotations>",
    "<x><annotations><meta/></annotations></x>",
    "",
    "<annotations",
]


@pytest.mark.parametrize("text", OTHERS)
def test_other_xml_is_none_of_cvats(plant, text):
    assert find_cvat(plant({"a.jpg": b"", "a.xml": text})) == []


def test_utf_16_is_read(plant):
    text = cvat(image("a.jpg", box())).replace("utf-8", "utf-16")
    source = read_source(plant({"a.jpg": b"", "a.xml": text.encode("utf-16")}), "")
    assert read_all(source).found == 1


def test_entities_are_refused(plant):
    bomb = '<!DOCTYPE a [<!ENTITY x "y">]>' + cvat(image("a.jpg")).partition("?>")[2]
    with pytest.raises(YardError) as refused:
        find_cvat(plant({"a.xml": bomb}))
    assert refused.value.reason is Reason.ANNOTATION_BOMB


def test_cancelling_is_heard_within_a_file(plant):
    class Stopped(Exception):
        pass

    heard = []

    def check():
        heard.append(1)
        if len(heard) > 500:
            raise Stopped

    tree = plant({"a.xml": cvat(*(image(f"{i}.jpg", box()) for i in range(1000)))}, check)
    with pytest.raises(Stopped):
        read_source(tree, "")


def test_the_real_export(plant, test_data):
    folder = test_data / "formats_2label/cvat1.1"
    files = {f"images/{path.name}": b"" for path in (folder / "images").iterdir()}
    source = read_source(plant({**files, "annotations.xml": (folder / "annotations.xml").read_bytes()}), "")
    sizes = {"birds.jpg": (1000, 666), "crack.jpeg": (1280, 720), "shapes.jpg": (588, 643), "strawberry.jpg": (800, 800)}
    rows = read_all(source, {f"images/{name}": size for name, size in sizes.items()})
    assert source.format == "cvat"
    assert source.class_names() == ("rectangle", "triangle", "circle", "ellipse", "line", "crack", "bird", "strawberry")
    kept = {path.removeprefix("images/"): len(found) for path, found in rows.kept.items()}
    assert kept == {"birds.jpg": 2, "crack.jpeg": 0, "shapes.jpg": 4, "strawberry.jpg": 17}
    assert (rows.found, [code for code, *_ in rows.problems]) == (25, ["UNSUPPORTED_SHAPE"] * 2)
    assert codes(source) == []
    assert (326.84, 681.24, 368.65, 730.64) in [pixels(row, (800, 800)) for row in rows.kept["images/strawberry.jpg"]]


# --- anything at all

WORDS = st.sampled_from(["1", "-3.5", "nan", "1e999", "9" * 400, "", "x", "1,2;3,4;5,6", ";", "0,5,3", "é", "auto", "train"])
NAMES = st.sampled_from(
    [
        "label",
        "xtl",
        "ytl",
        "xbr",
        "ybr",
        "points",
        "rle",
        "left",
        "top",
        "width",
        "height",
        "cx",
        "cy",
        "rx",
        "ry",
        "rotation",
        "frame",
        "outside",
        "occluded",
        "name",
        "subset",
        "task_id",
        "source",
        "id",
    ]
)
TAGS = st.sampled_from(
    [
        "image",
        "track",
        "box",
        "polygon",
        "points",
        "ellipse",
        "mask",
        "skeleton",
        "tag",
        "cuboid",
        "meta",
        "task",
        "labels",
        "label",
        "name",
        "parent",
        "attribute",
    ]
)


def element(children):
    return st.builds(
        lambda tag, attributes, inner: f"<{tag}" + "".join(f' {k}="{v}"' for k, v in attributes.items()) + f">{''.join(inner)}</{tag}>",
        TAGS,
        st.dictionaries(NAMES, WORDS, max_size=8),
        st.lists(children, max_size=4),
    )


DOCUMENTS = st.lists(st.recursive(element(st.just("")), element, max_leaves=12), max_size=5).map(
    lambda items: f"<annotations>{''.join(items)}</annotations>".encode()
)


@st.composite
def damaged(draw):
    """A good file, cut off or with bytes changed."""
    data = bytearray(cvat(image("a.jpg", box(), '<polygon label="ant" points="1,2;3,4;5,6"></polygon>'), track("ant", on(0))).encode())
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=200), DOCUMENTS, damaged()))
def test_whatever_a_file_holds_it_is_read_or_refused(plant, data):
    tree = plant({"a.jpg": b"", "frame_000001.png": b"", "a.xml": data})
    with suppress(YardError):
        for labelling in find_cvat(tree):
            for image_of in (labelling.source.images, labelling.source.left_out, labelling.source.orphans):
                for found in image_of:
                    with suppress(UnreadLabels):
                        for row in labelling.source.rows(found.labels, 200, 100):
                            if row.problem is None and row.shape is not Shape.IMAGE:
                                assert all(map(math.isfinite, (*row.points, *enclosing(row.points))))


def test_labels_are_scaled_with_a_picture_that_was_scaled_since(plant):
    _, rows = read(plant, image("a.jpg", box()))
    (half,) = rows.kept["images/a.jpg"]
    _, rows = read(plant, image("a.jpg", box(), size=(400, 200)))
    (row,) = rows.kept["images/a.jpg"]
    assert (row.cx, row.cy, row.w, row.h) == (half.cx / 2, half.cy / 2, half.w / 2, half.h / 2)


@pytest.mark.parametrize("names", [("train/0.jpg", "test/0.jpg"), ("test/0.jpg", "train/0.jpg")])
def test_labels_of_a_missing_picture_are_not_put_on_another_folder_s_of_its_name(plant, names):
    source = read_source(plant({"annotations.xml": cvat(*(image(name, box()) for name in names)), "train/0.jpg": b""}), "")
    rows = read_all(source)
    assert {name: len(found) for name, found in rows.kept.items()} == {"train/0.jpg": 1}
    assert {name: len(found) for name, found in rows.orphans.items()} == {"test/0.jpg": 1}


def test_labels_of_a_missing_picture_are_not_put_on_another_subset_s_of_its_name(plant):
    listed = [image("0.jpg", box(), subset=subset) for subset in ("Train", "Validation")]
    rows = read_all(read_source(plant({"annotations.xml": cvat(*listed), "images/Train/0.jpg": b""}), ""))
    assert {name: len(found) for name, found in rows.kept.items()} == {"images/Train/0.jpg": 1}
    assert rows.found == 2
