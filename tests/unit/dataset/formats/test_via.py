"""VIA 1 and 2: JSON exports and projects, CSV exports; which attribute is the class, and which shapes are labels."""

import csv
import io
import json
import math
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labellings import codes, named, pixels, read_all

from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.shapes import Shape, enclosing
from visionyard.dataset.formats.via import find_via, read_via_csv, read_via_json
from visionyard.kit.errors import Reason, YardError

RECT = {"name": "rect", "x": 20, "y": 10, "width": 40, "height": 30}
ELLIPSE = {"name": "ellipse", "cx": 50, "cy": 40, "rx": 30, "ry": 10}
TRIANGLE = {"name": "polygon", "all_points_x": [0, 20, 10], "all_points_y": [0, 0, 10]}
IMAGES = {"a.jpg": b"", "b.jpg": b""}


def region(shape=RECT, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes or {"class": "cat"}}


def entry(name, *regions):
    return {"filename": name, "size": 7, "regions": list(regions), "file_attributes": {}}


def export(*entries):
    return {f"{e['filename']}7": e for e in entries}


def project(attributes, *entries):
    return {
        "_via_settings": {"ui": {}},
        "_via_img_metadata": export(*entries),
        "_via_attributes": {"region": attributes, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": [],
    }


def table(*entries, head=""):
    """The same as VIA's CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    columns = ("filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes", "region_attributes")
    writer.writerow((head + columns[0], *columns[1:]))
    for e in entries:
        for i, each in enumerate(e["regions"]):
            shape, attributes = json.dumps(each["shape_attributes"]), json.dumps(each["region_attributes"])
            writer.writerow((e["filename"], e["size"], "{}", len(e["regions"]), i, shape, attributes))
        if not e["regions"]:
            writer.writerow((e["filename"], e["size"], "{}", 0, 0, "{}", "{}"))
    return buffer.getvalue()


def read(plant, document, images=IMAGES):
    files = {"via.csv": document} if isinstance(document, str) else {"via.json": json.dumps(document)}
    return read_source(plant({**images, **files}), "")


KINDS = {
    "export": export,
    "project": lambda *entries: project({}, *entries),
    "csv": table,
    "csv of via 1": lambda *entries: table(*entries, head="#"),
    "json of via 1": lambda *entries: {
        name: {**e, "fileref": "", "base64_img_data": "", "regions": {str(i): r for i, r in enumerate(e["regions"])}}
        for name, e in export(*entries).items()
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_read_alike(plant, kind):
    entries = entry("a.jpg", region(), region(TRIANGLE, **{"class": "dog"})), entry("b.jpg")
    source = read(plant, KINDS[kind](*entries))
    rows = read_all(source)
    assert (source.format, source.class_names()) == ("via", ("cat", "dog"))
    assert [(row.shape, pixels(row)) for row in rows.kept["a.jpg"]] == [
        (Shape.BOX, (20, 10, 60, 40)),
        (Shape.POLYGON, (0, 0, 20, 10)),
    ]
    assert rows.kept["a.jpg"][1].points == pytest.approx((0, 0, 0.1, 0, 0.05, 0.1))
    assert [(image.path, bool(image.labels)) for image in source.images] == [("a.jpg", True), ("b.jpg", False)]
    assert (rows.found, rows.problems, codes(source)) == (2, [], [])


def test_circles_and_ellipses_are_polygons(plant):
    shapes = [
        {"name": "circle", "cx": 50, "cy": 40, "r": 20},
        ELLIPSE,
        {**ELLIPSE, "theta": math.pi / 2},
        {**ELLIPSE, "theta": math.pi / 4},
    ]
    rows = read_all(read(plant, export(entry("a.jpg", *map(region, shapes))))).kept["a.jpg"]
    assert all(row.shape is Shape.POLYGON and len(row.points) == 128 for row in rows)
    assert [pixels(row) for row in rows[:3]] == [(30, 20, 70, 60), (20, 30, 80, 50), (40, 10, 60, 70)]
    # Turned clockwise on the screen: the long axis goes to the right and down.
    points = [value * (200, 100)[i % 2] for i, value in enumerate(rows[3].points)]
    assert points[:2] == pytest.approx([50 + 30 * math.sqrt(0.5), 40 + 30 * math.sqrt(0.5)])
    half = math.sqrt((30**2 + 10**2) / 2)
    assert enclosing(points) == pytest.approx((50 - half, 40 - half, 50 + half, 40 + half), abs=0.1)


def test_the_first_corner_said_again_is_no_corner(plant):
    closed = {"name": "polygon", "all_points_x": [0, 20, 10, 0], "all_points_y": [0, 0, 10, 0]}
    assert len(read_all(read(plant, export(entry("a.jpg", region(closed))))).kept["a.jpg"][0].points) == 6


BAD_SHAPES = [
    ({"name": "polyline", "all_points_x": [1, 2, 3], "all_points_y": [1, 2, 3]}, "UNSUPPORTED_SHAPE"),
    ({"name": "point", "cx": 1, "cy": 1}, "UNSUPPORTED_SHAPE"),
    ({"name": "cuboid"}, "UNSUPPORTED_SHAPE"),
    ({"name": "rect", "x": 1, "y": 1, "width": 1}, "MALFORMED_LABEL"),
    ({"name": "rect", "x": "1", "y": 1, "width": 1, "height": 1}, "MALFORMED_LABEL"),
    ({"name": "circle", "cx": 1}, "MALFORMED_LABEL"),
    ({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}, "MALFORMED_LABEL"),
    ({"name": "polygon", "all_points_x": [1, 2, None], "all_points_y": [1, 2, 3]}, "MALFORMED_LABEL"),
    ({"name": "polygon", "all_points_x": [1, None, 3], "all_points_y": [None, 2, 3]}, "MALFORMED_LABEL"),
    ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}, "MALFORMED_LABEL"),
    ({"name": "polygon"}, "MALFORMED_LABEL"),
    ({"name": 3}, "MALFORMED_LABEL"),
    ({}, "MALFORMED_LABEL"),
    (None, "MALFORMED_LABEL"),
    ([1], "MALFORMED_LABEL"),
    ({**RECT, "x": 10**400}, "NOT_A_NUMBER"),
    ({**ELLIPSE, "theta": 10**400}, "NOT_A_NUMBER"),
    ({**ELLIPSE, "theta": "1"}, "MALFORMED_LABEL"),
]


def test_an_ellipse_that_was_turned_many_times_is_kept(plant):
    """1e308 radians are no finite number of degrees."""
    rows = read_all(read(plant, export(entry("a.jpg", region({**ELLIPSE, "theta": 1e308})))))
    assert (len(rows.kept["a.jpg"]), rows.problems) == (1, [])


@pytest.mark.parametrize(("shape", "code"), BAD_SHAPES)
@pytest.mark.parametrize("kind", ["export", "csv"])
def test_a_bad_shape_costs_itself_only(plant, shape, code, kind):
    rows = read_all(read(plant, KINDS[kind](entry("a.jpg", region(), region(shape), region(TRIANGLE)))))
    assert len(rows.kept["a.jpg"]) == 2
    [(found, message, line)] = rows.problems
    assert found == code
    assert line == (3 if kind == "csv" else 0)
    assert (
        code == "NOT_A_NUMBER"
        or kind == "csv"
        or message.startswith("region 2 of image 'a.jpg' is " if "name" in (shape or {}) and shape["name"] != 3 else "region 2")
    )


# --- the class

CHOICE = {"type": "dropdown", "options": {"zebra": "", "cat": "a cat", "dog": ""}, "default_options": {}}
TEXT = {"type": "text", "description": "", "default_value": ""}


@pytest.mark.parametrize(
    ("document", "classes"),
    [
        (export(entry("a.jpg", region(kind="x"))), ("x",)),
        (export(entry("a.jpg", region(kind="x", note=""), region(kind="y", note=""))), ("x", "y")),
        (export(entry("a.jpg", region(note="n", label="x"))), ("x",)),
        (export(entry("a.jpg", region(note="n", Name="x", type="t"))), ("x",)),
        (project({"kind": CHOICE, "note": TEXT}, entry("a.jpg", region(kind="dog", note="n"))), ("zebra", "cat", "dog")),
        (project({"kind": CHOICE, "label": TEXT}, entry("a.jpg", region(kind="new", label="l"))), ("zebra", "cat", "dog", "new")),
        (
            project({"kind": {**CHOICE, "type": "radio"}, "size": CHOICE}, entry("a.jpg", region(kind="cat", size=""))),
            ("zebra", "cat", "dog"),
        ),
        (project({"size": CHOICE, "class": CHOICE}, entry("a.jpg", region(size="cat", **{"class": "dog"}))), ("zebra", "cat", "dog")),
        (export(entry("a.jpg", region(kind={"x": True, "y": False}))), ("x",)),
        (export(entry("a.jpg", region(kind=7))), ("7",)),
    ],
)
def test_the_attribute_that_says_the_class(plant, document, classes):
    source = read(plant, document)
    rows = read_all(source)
    assert source.class_names() == classes
    assert rows.found == len(rows.kept["a.jpg"])
    assert not rows.problems


def test_of_several_attributes_none_of_which_is_clear_all_are_named(plant):
    with pytest.raises(YardError) as caught:
        read(plant, export(entry("a.jpg", region(colour="red", size="big"))))
    assert caught.value.reason is Reason.CLASSES_UNKNOWN
    assert "colour, size" in caught.value.message
    assert caught.value.metadata == {"file": "via.json"}


def test_regions_without_any_attribute_are_one_class(plant):
    """As in the balloon set of Mask R-CNN's tutorial."""
    bare = {"shape_attributes": RECT, "region_attributes": {}}
    source = read(plant, export(entry("a.jpg", bare, bare)))
    assert len(read_all(source).kept["a.jpg"]) == 2
    assert (source.class_names(), codes(source)) == (("object",), ["CLASS_NAMES_MISSING"])


@pytest.mark.parametrize("value", ["", None, {}, {"x": False}, {"x": True, "y": True}, ["x"], True])
def test_a_region_that_does_not_say_its_class_costs_itself_only(plant, value):
    rows = read_all(read(plant, export(entry("a.jpg", region(kind="x"), region(kind=value)))))
    assert len(rows.kept["a.jpg"]) == 1
    assert [code for code, *_ in rows.problems] == ["MALFORMED_LABEL"]


# --- files


def test_json_and_csv_are_two_labellings_and_two_jsons_are_one(plant):
    one, two = entry("a.jpg", region()), entry("b.jpg", region(), region())
    files = {**IMAGES, "1.json": json.dumps(export(one)), "2.json": json.dumps(export(two)), "t.csv": table(one)}
    assert [(labelling.place, labelling.labelled_images()) for labelling in find_via(plant(files))] == [("1.json", 2), ("t.csv", 1)]
    source = read_source(plant(files), "")
    assert read_all(source).found == 3
    assert codes(source) == ["OTHER_LABELLING"]


def test_folders_are_splits_and_what_no_file_lists_is_left_out(plant):
    images = {"train/a.jpg": b"", "train/c.jpg": b"", "val/b.jpg": b""}
    files = {
        "train/via.json": json.dumps(export(entry("a.jpg", region()), entry("gone.jpg", region()))),
        "val/via.json": json.dumps(export(entry("b.jpg", region()))),
    }
    source = read_source(plant({**images, **files}), "")
    assert {image.path: image.split for image in source.images} == {"train/a.jpg": "train", "val/b.jpg": "val"}
    assert [image.path for image in source.left_out] == ["train/c.jpg"]
    assert {name: len(rows) for name, rows in read_all(source).orphans.items()} == {"gone.jpg": 1}


@pytest.mark.parametrize("name", ["https://host/pictures/a.jpg?x=1", "C:\\pictures\\a.jpg", "./a.jpg"])
def test_names_as_other_machines_write_them(plant, name):
    assert len(read_all(read(plant, export(entry(name, region())))).kept["a.jpg"]) == 1


def test_a_project_of_via_3_is_refused(plant):
    files = {
        **IMAGES,
        "p.json": json.dumps({"project": {"pid": "1", "vid_list": ["1"], "creator": "VGG Image Annotator"}, "config": {}, "metadata": {}}),
    }
    with pytest.raises(YardError) as caught:
        read_source(plant(files), "")
    assert caught.value.reason is Reason.FORMAT_UNKNOWN
    assert "VIA 3" in caught.value.message


def test_a_project_of_via_3_beside_what_is_read_is_no_matter(plant):
    files = {**IMAGES, "p.json": json.dumps({"project": {"vid_list": []}}), "t.csv": table(entry("a.jpg", region()))}
    assert read_all(read_source(plant(files), "")).found == 1


OTHERS = {
    "coco": {"images": [{"file_name": "a.jpg", "id": 1}], "annotations": []},
    "labelme": {"version": "5.0", "shapes": [], "imagePath": "a.jpg", "filename": "x"},
    "a list": [entry("a.jpg", region())],
    "nothing": {},
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_json_is_not_taken_for_it(plant, case):
    assert find_via(plant({**IMAGES, "l.json": json.dumps(OTHERS[case])})) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b,c\n1,2,3\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,1,1,x,0,0,1,1\n",
        'filename,region_count,region_shape_attributes",region_attributes\na.jpg,1,{},{}\n',
        'filename,region_count,region_shape_attributes,"region_attributes\na.jpg,1,{},{}\n',
        'filename,region_count,region_shape_attributes,region_attributes,"' + "x" * 140_000 + "\n",
    ],
)
def test_other_csv_is_not_taken_for_it(plant, text):
    assert find_via(plant({**IMAGES, "l.csv": text})) == []


@pytest.mark.parametrize("tail", ["", ', "b.jpg7": {"filena', ', "b.jpg7": nan}', "} junk"])
def test_a_damaged_json_is_read_as_far_as_it_goes(plant, tail):
    source = read_source(plant({**IMAGES, "via.json": json.dumps(export(entry("a.jpg", region())))[:-1] + tail}), "")
    assert len(read_all(source).kept["a.jpg"]) == 1
    assert codes(source) == ["MALFORMED_ANNOTATION"]


def test_a_damaged_csv_row_costs_itself_only_and_is_counted(plant):
    lines = table(entry("a.jpg", region(), region(TRIANGLE))).splitlines()
    damaged = [lines[0], lines[1], "", "a.jpg,7", f'a.jpg,7,{{}},3,1,"{"x" * 140_000}",{{}}', lines[2]]
    source = read(plant, "\n".join(damaged))
    rows = read_all(source)
    assert len(rows.kept["a.jpg"]) == 2
    assert [(code, line) for code, _, line in rows.problems] == [("MALFORMED_LABEL", 4), ("MALFORMED_LABEL", 5)]


@pytest.mark.parametrize("text", ['a.jpg,7,{},1,0,"' + "x\n" * 5000, "a" * (1 << 20) + "\n"])
def test_a_csv_row_without_end_is_refused_and_what_came_before_is_kept(plant, text):
    source = read(plant, table(entry("a.jpg", region())) + text)
    assert len(read_all(source).kept["a.jpg"]) == 1
    assert "MALFORMED_ANNOTATION" in codes(source)


def test_a_spreadsheets_utf_16_is_read(plant):
    text = table(entry("ä.jpg", region(kind="Bär")))
    source = read_source(plant({"ä.jpg": b"", "via.csv": text.encode("utf-16")}), "")
    assert (read_all(source).found, source.class_names()) == (1, ("Bär",))


NAMES = [
    "filename",
    "regions",
    "shape_attributes",
    "region_attributes",
    "name",
    "x",
    "y",
    "width",
    "height",
    "all_points_x",
    "all_points_y",
    "_via_img_metadata",
    "_via_attributes",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a.jpg", "rect", "polygon", "circle", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=30,
)
PROJECT = json.dumps(project({"kind": CHOICE}, entry("a.jpg", region(kind="x"), region(TRIANGLE, kind="é")), entry("b.jpg"))).encode()
TABLE = table(entry("a.jpg", region(kind="x"), region(TRIANGLE, kind="é")), entry("b.jpg")).encode()


def mutations(data):
    return st.tuples(st.integers(0, len(data)), st.integers(0, len(data)), st.binary(max_size=6)).map(
        lambda cut: data[: min(cut[:2])] + cut[2] + data[max(cut[:2]) :]
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), values.map(lambda value: json.dumps(value).encode()), mutations(PROJECT), mutations(TABLE)))
def test_any_text_is_read_refused_or_passed_over(plant, data):
    tree = plant({**IMAGES, "l.json": data, "l.csv": data})
    find_via(tree)
    for reader in (read_via_json, read_via_csv):
        with suppress(YardError):  # CLASSES_UNKNOWN
            read_all(reader(tree))


@pytest.mark.parametrize(("file", "strawberries"), [("via_region_data.json", 34), ("via_region_data.csv", 17)])
def test_the_real_exports(plant, test_data, file, strawberries):
    folder = test_data / "formats_2label"
    files = {f"images/{path.name}": b"" for path in (folder / "cvat1.1/images").iterdir()}
    source = read_source(plant({**files, file: (folder / "via" / file).read_bytes()}), "")
    sizes = {"images/strawberry.jpg": (800, 800)}
    rows = read_all(source, sizes)
    kept = {path.removeprefix("images/"): len(found) for path, found in rows.kept.items()}
    assert kept == {"birds.jpg": 2, "crack.jpeg": 0, "shapes.jpg": 4, "strawberry.jpg": strawberries}
    assert [code for code, *_ in rows.problems] == ["UNSUPPORTED_SHAPE"] * 2  # a crack and a line, drawn as polylines
    boxes = [pixels(row, (800, 800)) for row in rows.kept["images/strawberry.jpg"]]
    assert len(set(boxes)) == 17
    assert boxes[0] == (144, 425, 190, 479)
    assert set(named(source, rows.kept["images/strawberry.jpg"])) == {"strawberry"}
