"""Label Studio's JSON: what counts of a task, what each region becomes, and that nothing is lost without a word."""

import json
import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_studio_tasks import CONFIG, SIZE, box, choice, codes, export, near, point, region, rows, task
from tests.unit.dataset.conftest import picture, zipped

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.label_studio import find_label_studio
from visionyard.dataset.formats.shapes import Shape
from visionyard.kit.errors import Reason, YardError


def test_a_rectangle_in_percent(read_tasks):
    source = read_tasks(export(task(box("cat", x=10, y=20, width=30, height=40))))
    (row,) = rows(source)
    assert near((row.cx, row.cy, row.w, row.h), (0.25, 0.4, 0.3, 0.4))
    assert row.shape is Shape.BOX
    assert source.class_names() == ("cat",)
    assert row.confidence is None


def test_a_rectangle_is_turned_around_its_top_left_corner_in_pixels(read_tasks):
    # 64 x 48 pixels: at (32, 24), 16 wide and 12 high, a quarter turn clockwise: the width goes down, the height to the left.
    source = read_tasks(export(task(box("cat", x=50, y=50, width=25, height=25, rotation=90))))
    (row,) = rows(source)
    assert row.shape is Shape.ROTATED
    pixels = [value * (64, 48)[i % 2] for i, value in enumerate(row.points)]
    assert near([round(value, 9) for value in pixels], (32, 24, 32, 40, 20, 40, 20, 24))


def test_a_whole_turn_is_none(read_tasks):
    (row,) = rows(read_tasks(export(task(box("cat", rotation=360)))))
    assert row.shape is Shape.BOX


def test_a_turn_without_the_pictures_size_cannot_be_understood(read_tasks):
    turned = box("cat", rotation=30)
    del turned["original_width"]
    (row,) = rows(read_tasks(export(task(turned))))
    assert row.problem is Code.MALFORMED_LABEL
    assert "original_width" in row.message


def test_polygons_and_ellipses(read_tasks):
    triangle = region("polygonlabels", points=[[0, 0], [50, 0], [0, 100]], polygonlabels=["roof"], closed=True)
    round_ = region("ellipselabels", x=50, y=50, radiusX=25, radiusY=10, rotation=0, ellipselabels=["plate"])
    one, two = rows(read_tasks(export(task(triangle, round_))))
    assert one.shape is two.shape is Shape.POLYGON
    assert near(one.points, (0, 0, 0.5, 0, 0, 1))
    assert near((two.cx, two.cy, two.w, two.h), (0.5, 0.5, 0.5, 0.2))
    assert len(two.points) == 128


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (region("brushlabels", format="rle", rle=[0, 1, 2], brushlabels=["a"]), Code.UNSUPPORTED_SHAPE),
        (region("polygonlabels", points=[[0, 0], [1, 1]], polygonlabels=["a"]), Code.UNSUPPORTED_SHAPE),
        (region("polygonlabels", points=[[0, 0], [1, 1], [5, 5]], closed=False, polygonlabels=["a"]), Code.UNSUPPORTED_SHAPE),
        (region("polygonlabels", points=[[0, 0], [1], [5, 5]], polygonlabels=["a"]), Code.MALFORMED_LABEL),
        (region("polygonlabels", points=7, polygonlabels=["a"]), Code.MALFORMED_LABEL),
        (region("videorectangle", sequence=[]), Code.UNSUPPORTED_SHAPE),
        (point("nose", 1, 2), Code.UNSUPPORTED_SHAPE),
        (box("a", image_rotation=90), Code.UNSUPPORTED_SHAPE),
        (box(), Code.UNKNOWN_CLASS),
        (box("a", x="left"), Code.MALFORMED_LABEL),
        (box("a", rotation=1e999), Code.NOT_A_NUMBER),
        (box("a", x=float("inf")), Code.NOT_A_NUMBER),
        (box("a", width=10**400), Code.NOT_A_NUMBER),
        ({"type": "rectanglelabels", "value": None}, Code.MALFORMED_LABEL),
        (7, Code.MALFORMED_LABEL),
    ],
)
def test_what_cannot_be_used_is_a_row_that_says_why(read_tasks, item, code):
    text = export(task(box("fine"), item)).replace("Infinity", "1e999")
    good, bad = rows(read_tasks(text))
    assert good.problem is None
    assert bad.problem is code
    assert "a.jpg" in bad.message or code is Code.NOT_A_NUMBER


def test_keypoints_belong_to_their_rectangle_in_the_order_of_the_interface(read_tasks):
    items = [
        point("tail", 50, 60, id="t", parentID="r"),
        point("nose", 30, 40, id="n"),
        box("ant", id="r"),
        {"type": "relation", "from_id": "r", "to_id": "n", "direction": "right"},
        {"type": "relation", "from_id": "r", "to_id": "r", "direction": "right"},
        {"type": "choices", "id": "t", "value": {"x": 50, "y": 60, "width": 1, "choices": ["hidden"]}},
        box("zebra", x=0, y=0, width=10, height=10),
    ]
    source = read_tasks(
        {"export.json": json.dumps([{"data": {"picture": "a.jpg"}, "annotations": [{"result": items}]}]), "config.xml": CONFIG}
    )
    posed, plain = rows(source)
    assert posed.shape is Shape.KEYPOINTS
    assert posed.dimensions == 3
    assert plain.shape is Shape.BOX
    assert near(posed.points, (0.3, 0.4, 2, 0.5, 0.6, 1))
    assert source.keypoints.names == ("nose", "tail")
    assert source.class_names() == ("zebra", "ant")


def test_without_an_interface_keypoints_stand_as_they_come_and_missing_ones_are_not_there(read_tasks):
    first = [box("a", id="r"), point("nose", 10, 20, parentID="r", id="1")]
    second = [box("a", id="r"), point("ear", 30, 40, parentID="r", id="1")]
    source = read_tasks(export(task(*first), task(*second, image="b.jpg")), ("a.jpg", "b.jpg"))
    one, two = rows(source)
    assert near(one.points, (0.1, 0.2, 2, 0, 0, 0))
    assert near(two.points, (0, 0, 0, 0.3, 0.4, 2))
    assert source.keypoints.names == ("nose", "ear")


def test_several_labels_on_a_region_are_a_label_each(read_tasks):
    source = read_tasks(export(task(box("cat", "pet"))))
    assert [source.class_names()[source.final_class_ids()[row.class_id]] for row in rows(source)] == ["cat", "pet"]


def test_a_region_is_joined_by_its_id(read_tasks):
    value = {"x": 10, "y": 10, "width": 10, "height": 10}
    bare = {"id": "r1", "type": "rectangle", "to_name": "image", "value": value, **SIZE}
    chosen = {"id": "r1", "type": "choices", "from_name": "what", "value": {**value, "choices": ["dog"]}}
    labelled = {"id": "r2", "type": "labels", "from_name": "what", "value": {**value, "labels": ["cat"]}}
    source = read_tasks(export(task(bare, chosen, {**bare, "id": "r2"}, labelled)))
    assert len(rows(source)) == 2
    assert source.class_names() == ("cat", "dog")
    assert not codes(source)


def test_an_id_used_again_elsewhere_is_another_region(read_tasks):
    assert len(rows(read_tasks(export(task(box("a", id="r"), box("a", id="r", x=1)))))) == 2


def test_answers_that_no_version_holds_are_ignored_and_listed(read_tasks):
    text = {"type": "textarea", "from_name": "note", "value": {"text": ["hm"]}}
    taxonomy = {"type": "taxonomy", "from_name": "kinds", "value": {"taxonomy": [["a", "b"]]}}
    occluded = {"id": "r", "type": "choices", "from_name": "occluded", "value": {"x": 1, "choices": ["yes"]}}
    source = read_tasks(export(task(box("cat", id="r"), occluded, text, taxonomy, choice("sunny"))))
    assert len(rows(source)) == 1
    assert source.class_names() == ("cat",)
    assert sorted(message.split()[2] for _, message, *_ in source.notes.items) == ["kind", "kinds", "note", "occluded"]
    assert codes(source) == {"ANSWERS_IGNORED": 4}


def test_choices_about_pictures_are_their_classes(read_tasks):
    tasks = [task(choice("sunny")), task(choice("rainy"), image="b.jpg"), task(choice("sunny", "rainy"), image="c.jpg")]
    source = read_tasks(export(*tasks), ("a.jpg", "b.jpg", "c.jpg"))
    assert source.task == "classify"
    assert source.class_names() == ("rainy", "sunny")
    assert [(row.shape, row.problem) for row in rows(source)] == [
        (Shape.IMAGE, None),
        (Shape.IMAGE, None),
        (Shape.BOX, Code.SEVERAL_CLASSES),
    ]


OTHERS = {
    "coco.json": '{"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}], "categories": []}',
    "createml.json": '[{"image": "a.jpg", "annotations": [{"label": "a", "coordinates": {"x": 1, "y": 2, "width": 3, "height": 4}}]}]',
    "labelme.json": '{"version": "5", "flags": {}, "shapes": [], "imagePath": "a.jpg", "imageData": null}',
    "via.json": '{"a.jpg12": {"filename": "a.jpg", "regions": []}}',
    "text.json": '[{"data": {"text": "hello"}, "annotations": []}]',
    "numbers.json": "[1, 2, 3]",
    "null.json": "null",
    "empty.json": "",
    "lines.jsonl": '{"image": "a.jpg", "prediction": {"detection": {"detections": []}}}\n',
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_not_taken_for_it(plant, name):
    assert find_label_studio(plant({name: OTHERS[name], "a.jpg": b""})) == []


COUNTS = {
    "test_export_coco/data.json": (1, 4, {"UNSUPPORTED_SHAPE": 2}, "rectangle_label polygon_label"),
    "test_export_yolo/data.json": (2, 6, {"ANNOTATION_NOT_TAKEN": 2}, "parasites white"),
    "test_export_yolo/data_keypoints.json": (1, 1, {}, "person"),
    "test_export_yolo/data_obb.json": (3, 25, {}, "butterfly Butterfly"),
    "test_export_yolo/data_polygons.json": (1, 1, {}, "Airplane Car"),
}
"""By file its images, labels, and those that are not kept, counted by hand and by walking the JSON with another program."""


@pytest.mark.parametrize("path", COUNTS)
def test_real_exports(test_data, read_tasks, path):
    export_ = test_data / "labelstudio_sdk_testdata" / path
    files = {file.name: file.read_bytes() for file in export_.parent.glob("*.xml")}
    source = read_tasks({**files, export_.name: export_.read_bytes()}, ())
    images, labels, dropped, classes = COUNTS[path]
    found = rows(source, source.orphans)
    assert (len(source.orphans), len(found)) == (images, labels)
    assert Counter(row.problem.name for row in found if row.problem) == dropped
    assert " ".join(source.class_names()) == classes


def test_real_keypoints(test_data, read_tasks):
    folder = test_data / "labelstudio_sdk_testdata/test_export_yolo"
    source = read_tasks({name: (folder / name).read_bytes() for name in ("data_keypoints.json", "label_config_keypoints.xml")}, ())
    (row,) = rows(source, source.orphans)
    assert source.keypoints.count == 17
    assert source.keypoints.names[:2] == ("nose", "left_eye")
    assert near(row.points[:3], (0.6444444444444444, 0.39290780141843975, 2))
    assert not any(row.points[9:])


def test_an_import_as_a_whole_and_labels_without_images_refused(bench):
    tasks = [task(box("cat"), image=f"/data/upload/{name}") for name in ("a.jpg", "b.jpg", "c.jpg")]
    files = {"export.json": export(*tasks), **{f"images/{name}.jpg": picture(i) for i, name in enumerate("abcd")}}
    version, context = bench.run(zipped(files))
    assert (version.task, version.image_count, version.label_count, version.source_format) == ("detect", 3, 3, "labelstudio")
    assert bench.report(context)["images"] == {"found": 4, "kept": 3, "dropped": 1}
    assert {finding["code"] for finding in bench.report(context)["findings"]} >= {"NOT_ANNOTATED"}
    with pytest.raises(YardError) as refused:
        bench.run(zipped({"export.json": files["export.json"]}))
    assert refused.value.reason is Reason.NO_IMAGES
    assert "a.jpg" in refused.value.message


def test_a_real_export_without_its_images_is_refused_and_names_them(test_data, bench):
    export_ = (test_data / "labelstudio_sdk_testdata/test_export_yolo/data.json").read_bytes()
    with pytest.raises(YardError) as refused:
        bench.run(zipped({"data.json": export_}))
    assert refused.value.reason is Reason.NO_IMAGES
    assert "6 labels" in refused.value.message
    assert "/image1, /image2" in refused.value.message


# Hostile files: whatever they hold, nothing but a YardError comes, and every region that is read is a row.

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.sampled_from([10**400, "a.jpg", "\ud800", "x" * 5000, "rectanglelabels", "r", -5]),
    st.text(max_size=8),
)
NAMES = st.sampled_from(
    sorted(
        {
            *SIZE,
            *point("", 0, 0, id="", parentID=""),
            *point("", 0, 0)["value"],
            *box()["value"],
            "data",
            "image",
            "annotations",
            "completions",
            "predictions",
            "drafts",
        }
        | {
            "result",
            "points",
            "polygonlabels",
            "choices",
            "labels",
            "from_id",
            "to_id",
            "item_index",
            "score",
            "was_cancelled",
            "ground_truth",
            "updated_at",
        }
        | {"lead_time", "task", "file_upload", "radiusX", "radiusY", "split", "closed", "rle", "annotator", "annotation_id"}
    )
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=30)
ITEMS = st.dictionaries(NAMES, VALUES, max_size=5).flatmap(
    lambda more: st.sampled_from(
        [box("a", id="r"), point("n", 1, 1, parentID="r"), region("polygonlabels", points=[[1, 1]] * 3), choice("s")]
    ).map(lambda item: {**item, **more})
)
TASKS = st.lists(ITEMS | VALUES, max_size=5).flatmap(
    lambda items: st.dictionaries(NAMES, VALUES, max_size=3).map(lambda more: {**task(box("a"), *items), **more})
)


def survive(plant, files):
    try:
        source = read_source(plant(files), "labelstudio")
        for listed in (source.images, source.left_out, source.orphans):
            for row in rows(source, listed):
                assert row.problem or all(map(math.isfinite, (row.cx, row.cy, row.w, row.h, *row.points)))
        assert len(source.final_class_ids()) == len(source.class_names())
    except YardError:
        pass


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@FUZZ
@given(tasks=st.lists(TASKS | VALUES, max_size=3), lines=st.booleans())
def test_any_json_is_survived(plant, tasks, lines):
    text = "\n".join(map(json.dumps, tasks)) if lines else json.dumps(tasks)
    survive(plant, {"export.jsonl" if lines else "export.json": text.replace("Infinity", "1e999"), "a.jpg": b""})


@FUZZ
@given(at=st.integers(0, 10_000), junk=st.binary(max_size=6), cut=st.booleans(), config=st.booleans())
def test_damaged_files_are_survived(plant, at, junk, cut, config):
    whole = {
        "export.json": export(task(box("a", id="r"), point("n", 1, 2, parentID="r")), task(choice("x"), image="b.jpg")).encode(),
        "config.xml": CONFIG.encode(),
    }
    name = "config.xml" if config else "export.json"
    data = whole[name]
    at %= len(data)
    survive(plant, {**whole, name: data[:at] + junk + (b"" if cut else data[at + len(junk) :]), "a.jpg": b""})
