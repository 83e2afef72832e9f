"""LabelMe 3.0: polygons, boxes, masks; told apart from Pascal VOC, whose files begin alike."""

import math
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labellings import codes, named, pixels, read_all
from tests.unit.dataset.conftest import voc

from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.labelled import UnreadLabels
from visionyard.dataset.formats.labelme_xml import find_labelme_xml
from visionyard.dataset.formats.shapes import Shape, enclosing
from visionyard.dataset.formats.voc import find_voc
from visionyard.kit.errors import Reason, YardError

CORNERS = ((10, 20), (50, 20), (50, 40), (10, 40))


def thing(name="ant", corners=CORNERS, kind="", attributes="", inner=None, deleted=0):
    points = "".join(f"<pt>\n<x>{x}</x><y>{y}</y></pt>" for x, y in corners)
    place = f"<polygon><username>me</username>{points}</polygon>" if inner is None else inner
    marks = f"<deleted>{deleted}</deleted><occluded>no</occluded><parts><hasparts></hasparts><ispartof>0</ispartof></parts>"
    return f"<object><name>{name}</name>{marks}<type>{kind}</type>{place}<attributes>{attributes}</attributes></object>"


def box(**more):
    return thing(kind="bounding_box", **more)


def annotation(*objects, image="a.jpg", folder="", size=(200, 100), head=None):
    named_image = f"<filename>{image}</filename><folder>{folder}</folder><source><sourceImage>x</sourceImage></source>"
    sizes = f"<imagesize><nrows>{size[1]}</nrows><ncols>{size[0]}</ncols></imagesize>" if head is None else head
    return f"<annotation>{named_image}{sizes}\n{''.join(objects)}</annotation>"


def read(plant, *objects, **more):
    source = read_source(plant({"a.jpg": b"", "a.xml": annotation(*objects, **more)}), "")
    return source, read_all(source)


def only(plant, drawn):
    """The row of one object in one image."""
    _, rows = read(plant, drawn)
    [row] = rows.kept["a.jpg"]
    return row


def test_boxes_polygons_and_classes(plant):
    source, rows = read(plant, box(name="zebra"), thing(corners=CORNERS[:3]))
    assert source.format == "labelme3"
    assert [(row.shape, pixels(row), row.line) for row in rows.kept["a.jpg"]] == [
        (Shape.BOX, (10, 20, 50, 40), 2),
        (Shape.POLYGON, (10, 20, 50, 40), 6),
    ]
    assert (source.class_names(), named(source, rows.kept["a.jpg"])) == (("ant", "zebra"), ["zebra", "ant"])


@pytest.mark.parametrize("attributes", ["rotation=90.0", "a=b, rotation=90", "rotation = 450, c=d"])
def test_cvats_boxes_are_turned_clockwise_around_their_centre(plant, attributes):
    row = only(plant, box(attributes=attributes))
    assert row.shape is Shape.ROTATED
    assert [round(value * (200, 100)[i % 2], 6) for i, value in enumerate(row.points)] == [40, 10, 40, 50, 20, 50, 20, 10]


@pytest.mark.parametrize("attributes", ["", "rotation=0.0", "rotation=360", "rotation=x", "my_rotation=90", "rotation=1e99"])
def test_boxes_that_are_not_turned(plant, attributes):
    assert only(plant, box(attributes=attributes)).shape is Shape.BOX


def test_of_a_mask_the_box_is_taken(plant):
    mask = "<segm><mask>a_mask_0.png</mask><box><xmin>10</xmin><ymin>20</ymin><xmax>49</xmax><ymax>39</ymax></box></segm>"
    row = only(plant, thing(inner=mask))
    assert (row.shape, pixels(row), row.note.name) == (Shape.BOX, (10, 20, 50, 40), "MASK_AS_BOX")


PROBLEMS = [
    (thing(deleted=1), "DELETED_LABEL"),
    (thing(name=""), "MALFORMED_LABEL"),
    (thing(corners=CORNERS[:2]), "MALFORMED_LABEL"),
    (thing(corners=[("a", 1), (2, 3), (4, 5)]), "MALFORMED_LABEL"),
    (thing(inner="<polygon><pt><x>1</x></pt></polygon>"), "MALFORMED_LABEL"),
    (thing(inner=""), "UNSUPPORTED_SHAPE"),
    (thing(inner="<segm><mask>m.png</mask></segm>"), "UNSUPPORTED_SHAPE"),
    (thing(inner="<segm><box><xmin>1</xmin></box></segm>"), "MALFORMED_LABEL"),
    (thing(inner="<segm><box><xmin>nan</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></box></segm>"), "NOT_A_NUMBER"),
    (thing(corners=[("nan", 1), (2, 3), (4, 5)]), "NOT_A_NUMBER"),
    (box(corners=[("nan", 1), (2, 3), (4, 5)]), "NOT_A_NUMBER"),
    (box(corners=[("1e999", 1), (2, 3), (4, 5)]), "NOT_A_NUMBER"),
]


@pytest.mark.parametrize("number", range(len(PROBLEMS)))
def test_problems_are_rows_so_that_counts_reconcile(plant, number):
    drawn, code = PROBLEMS[number]
    _, rows = read(plant, drawn, box(name="bee"))
    assert rows.found == 2
    assert [problem for problem, *_ in rows.problems] == [code]


def test_images_masks_and_splits(plant):
    files = {
        "Images/train/s/a.jpg": b"",
        "Images/train/s/b.jpg": b"",
        "Masks/train/s/a_mask_0.png": b"",
        "Masks/a.png": b"",
        "other/c.jpg": b"",
    }
    files["Annotations/train/s/a.xml"] = annotation(box(), folder="train/s")
    source = read_source(plant(files), "")
    assert [(found.path, found.split, found.labels) for found in source.images] == [
        ("Images/train/s/a.jpg", "train", "Annotations/train/s/a.xml"),
        ("Images/train/s/b.jpg", "train", ""),
    ]


def test_labels_without_images(plant):
    source = read_source(plant({"a.xml": annotation(box(), thing(deleted=1)), "b.xml": annotation(image="b.jpg")}), "")
    rows = read_all(source)
    assert {name: len(found) for name, found in rows.orphans.items()} == {"a.jpg": 1, "b.jpg": 0}
    assert rows.found == 2


def test_pascal_voc_is_told_apart(plant):
    labelme = {"a.jpg": b"", "a.xml": annotation(), "b.xml": annotation(box(), head="")}
    assert find_voc(plant(labelme)) == []
    assert find_voc(plant({"a.xml": annotation(box())})) == []
    assert read_source(plant(labelme), "").format == "labelme3"
    pascal = {"a.jpg": b"", "a.xml": voc("a.jpg", ("x", 1, 1, 20, 20))}
    assert find_labelme_xml(plant(pascal)) == []
    with_polygon = pascal["a.xml"].replace("<bndbox>", "<polygon><x1>1</x1></polygon><bndbox>")
    assert find_labelme_xml(plant({"a.xml": voc("a.jpg")})) == []
    assert read_source(plant({"a.jpg": b"", "a.xml": with_polygon}), "").format == "voc"


def test_damaged_files(plant):
    files = {"a.jpg": b"", "b.jpg": b"", "c.jpg": b"", "a.xml": annotation(box())}
    files |= {"b.xml": annotation(box(), image="b.jpg")[:-20], "c.xml": "<annotation>", "d.xml": "<x/>"}
    source = read_source(plant(files), "")
    rows = read_all(source)
    assert (rows.found, rows.unread) == (1, ["b.xml", "c.xml"])


def test_sizes_are_compared(plant):
    source, _ = read(plant, box(), size=(100, 200))
    assert codes(source) == ["SIZE_MISMATCH"]


def test_entities_are_refused(plant):
    bomb = '<!DOCTYPE a [<!ENTITY x "y">]>' + annotation(box())
    with pytest.raises(YardError) as refused:
        find_labelme_xml(plant({"a.xml": bomb}))
    assert refused.value.reason is Reason.ANNOTATION_BOMB


def test_the_real_export(plant, test_data):
    folder = test_data / "formats_2label"
    files = {f"images/{path.name}": b"" for path in (folder / "cvat1.1/images").iterdir()}
    files |= {path.name: path.read_bytes() for path in (folder / "labelme3.0").glob("*.xml")}
    files |= {f"Masks/{path.name}": b"" for path in (folder / "labelme3.0/Masks").iterdir()}
    source = read_source(plant(files), "")
    sizes = {"birds.jpg": (1000, 666), "crack.jpeg": (1280, 720), "shapes.jpg": (588, 643), "strawberry.jpg": (800, 800)}
    rows = read_all(source, {f"images/{name}": size for name, size in sizes.items()})
    kept = {path.removeprefix("images/"): len(found) for path, found in rows.kept.items()}
    assert kept == {"birds.jpg": 2, "crack.jpeg": 0, "shapes.jpg": 4, "strawberry.jpg": 17}
    assert (rows.found, rows.problems, codes(source)) == (23, [], [])
    cvat = read_source(plant({**{f"images/{name}": b"" for name in sizes}, "a.xml": (folder / "cvat1.1/annotations.xml").read_bytes()}), "")
    wanted = read_all(cvat, {f"images/{name}": size for name, size in sizes.items()}).kept["images/strawberry.jpg"]
    found = rows.kept["images/strawberry.jpg"]
    assert sorted(pixels(row, (800, 800)) for row in found) == sorted(pixels(row, (800, 800)) for row in wanted)


# --- anything at all

TAGS = st.sampled_from(
    [
        "annotation",
        "object",
        "name",
        "polygon",
        "pt",
        "x",
        "y",
        "segm",
        "box",
        "xmin",
        "ymin",
        "xmax",
        "ymax",
        "type",
        "attributes",
        "deleted",
        "imagesize",
        "nrows",
        "filename",
        "folder",
        "bndbox",
    ]
)
TEXTS = st.sampled_from(["", "1", "-2.5", "nan", "1e999", "9" * 400, "bounding_box", "rotation=30", "a.jpg", "é"])


def element(children):
    return st.builds(lambda tag, text, inner: f"<{tag}>{text}{''.join(inner)}</{tag}>", TAGS, TEXTS, st.lists(children, max_size=4))


DOCUMENTS = st.lists(st.recursive(element(st.just("")), element, max_leaves=15), max_size=5).map(
    lambda items: f"<annotation><imagesize/>{''.join(items)}</annotation>".encode()
)


@st.composite
def damaged(draw):
    """A good file, cut off or with bytes changed."""
    data = bytearray(annotation(box(), thing(), thing(inner="<segm><box><xmin>1</xmin></box></segm>")).encode())
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=100), DOCUMENTS, damaged()))
def test_whatever_a_file_holds_it_is_read_or_refused(plant, data):
    with suppress(YardError):
        for labelling in find_labelme_xml(plant({"a.jpg": b"", "a.xml": data})):
            for images in (labelling.source.images, labelling.source.orphans):
                for found in images:
                    with suppress(UnreadLabels):
                        for row in labelling.source.rows(found.labels, 200, 100) if found.labels else ():
                            if row.problem is None:
                                assert all(map(math.isfinite, (*row.points, *enclosing(row.points))))


def test_labels_are_scaled_with_a_picture_that_was_scaled_since(plant):
    _, rows = read(plant, box())
    (half,) = rows.kept["a.jpg"]
    _, rows = read(plant, box(), size=(400, 200))
    (row,) = rows.kept["a.jpg"]
    assert (row.cx, row.cy, row.w, row.h) == (half.cx / 2, half.cy / 2, half.w / 2, half.h / 2)
