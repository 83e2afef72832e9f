"""Label Studio's JSON: what counts of a task, what each region becomes, and that nothing is lost without a word."""

import json
import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.dataset.conftest import picture, zipped

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.label_studio import find_label_studio
from visionyard.dataset.formats.shapes import Shape
from visionyard.kit.errors import Reason, YardError

SIZE = {"original_width": 64, "original_height": 48, "image_rotation": 0}
CONFIG = """<View><Image name="image" value="$picture"/>
<RectangleLabels name="box" toName="image"><Label value="zebra"/><Label value="ant"/></RectangleLabels>
<KeyPointLabels name="kp" toName="image"><Label value="tail" model_index="1"/><Label value="nose" model_index="0"/></KeyPointLabels></View>"""


def box(*names, x=25, y=25, width=50, height=50, rotation=0, **more):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": list(names)}
    return {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value, **SIZE, **more}


def point(name, x, y, **more):
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]}
    return {"type": "keypointlabels", "from_name": "kp", "to_name": "image", "value": value, **SIZE, **more}


def region(type_, **more):
    value = {key: more.pop(key) for key in list(more) if key not in {"id", "to_name", "from_name", *SIZE}}
    return {"type": type_, "from_name": "any", "to_name": "image", "value": value, **SIZE, **more}


def choice(*names, **more):
    return {"type": "choices", "from_name": "kind", "to_name": "image", "value": {"choices": list(names)}, **more}


def task(*items, image="a.jpg", **more):
    return {"data": {"image": image}, "annotations": [{"result": list(items)}], **more}


def export(*tasks):
    return json.dumps(list(tasks))


@pytest.fixture
def read(plant):
    """Reads tasks beside images; gives the source."""

    def reading(files, images=("a.jpg",)):
        files = files if isinstance(files, dict) else {"export.json": files}
        return read_source(plant({**files, **dict.fromkeys(images, b"")}), "labelstudio")

    return reading


def rows(source, images=None):
    """The labels of the images (or of the list given), in their order."""
    listed = images if images is not None else source.images
    return [row for image in listed if image.labels for row in source.rows(image.labels, 64, 48)]


def codes(source):
    return Counter(code.name for code, *_ in source.notes.items)


def near(values, wanted):
    return len(values) == len(wanted) and all(math.isclose(a, b, abs_tol=1e-12) for a, b in zip(values, wanted, strict=True))


def test_a_rectangle_in_percent(read):
    source = read(export(task(box("cat", x=10, y=20, width=30, height=40))))
    (row,) = rows(source)
    assert near((row.cx, row.cy, row.w, row.h), (0.25, 0.4, 0.3, 0.4))
    assert row.shape is Shape.BOX
    assert source.class_names() == ("cat",)
    assert row.confidence is None


def test_a_rectangle_is_turned_around_its_top_left_corner_in_pixels(read):
    # 64 x 48 pixels: at (32, 24), 16 wide and 12 high, a quarter turn clockwise: the width goes down, the height to the left.
    source = read(export(task(box("cat", x=50, y=50, width=25, height=25, rotation=90))))
    (row,) = rows(source)
    assert row.shape is Shape.ROTATED
    pixels = [value * (64, 48)[i % 2] for i, value in enumerate(row.points)]
    assert near([round(value, 9) for value in pixels], (32, 24, 32, 40, 20, 40, 20, 24))


def test_a_whole_turn_is_none(read):
    (row,) = rows(read(export(task(box("cat", rotation=360)))))
    assert row.shape is Shape.BOX


def test_a_turn_without_the_pictures_size_cannot_be_understood(read):
    turned = box("cat", rotation=30)
    del turned["original_width"]
    (row,) = rows(read(export(task(turned))))
    assert row.problem is Code.MALFORMED_LABEL
    assert "original_width" in row.message


def test_polygons_and_ellipses(read):
    triangle = region("polygonlabels", points=[[0, 0], [50, 0], [0, 100]], polygonlabels=["roof"], closed=True)
    round_ = region("ellipselabels", x=50, y=50, radiusX=25, radiusY=10, rotation=0, ellipselabels=["plate"])
    one, two = rows(read(export(task(triangle, round_))))
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
def test_what_cannot_be_used_is_a_row_that_says_why(read, item, code):
    text = export(task(box("fine"), item)).replace("Infinity", "1e999")
    good, bad = rows(read(text))
    assert good.problem is None
    assert bad.problem is code
    assert "a.jpg" in bad.message or code is Code.NOT_A_NUMBER


def test_keypoints_belong_to_their_rectangle_in_the_order_of_the_interface(read):
    items = [
        point("tail", 50, 60, id="t", parentID="r"),
        point("nose", 30, 40, id="n"),
        box("ant", id="r"),
        {"type": "relation", "from_id": "r", "to_id": "n", "direction": "right"},
        {"type": "relation", "from_id": "r", "to_id": "r", "direction": "right"},
        {"type": "choices", "id": "t", "value": {"x": 50, "y": 60, "width": 1, "choices": ["hidden"]}},
        box("zebra", x=0, y=0, width=10, height=10),
    ]
    source = read({"export.json": json.dumps([{"data": {"picture": "a.jpg"}, "annotations": [{"result": items}]}]), "config.xml": CONFIG})
    posed, plain = rows(source)
    assert posed.shape is Shape.KEYPOINTS
    assert posed.dimensions == 3
    assert plain.shape is Shape.BOX
    assert near(posed.points, (0.3, 0.4, 2, 0.5, 0.6, 1))
    assert source.keypoints.names == ("nose", "tail")
    assert source.class_names() == ("zebra", "ant")


def test_without_an_interface_keypoints_stand_as_they_come_and_missing_ones_are_not_there(read):
    first = [box("a", id="r"), point("nose", 10, 20, parentID="r", id="1")]
    second = [box("a", id="r"), point("ear", 30, 40, parentID="r", id="1")]
    source = read(export(task(*first), task(*second, image="b.jpg")), ("a.jpg", "b.jpg"))
    one, two = rows(source)
    assert near(one.points, (0.1, 0.2, 2, 0, 0, 0))
    assert near(two.points, (0, 0, 0, 0.3, 0.4, 2))
    assert source.keypoints.names == ("nose", "ear")


def test_several_labels_on_a_region_are_a_label_each(read):
    source = read(export(task(box("cat", "pet"))))
    assert [source.class_names()[source.final_class_ids()[row.class_id]] for row in rows(source)] == ["cat", "pet"]


def test_a_region_is_joined_by_its_id(read):
    value = {"x": 10, "y": 10, "width": 10, "height": 10}
    bare = {"id": "r1", "type": "rectangle", "to_name": "image", "value": value, **SIZE}
    chosen = {"id": "r1", "type": "choices", "from_name": "what", "value": {**value, "choices": ["dog"]}}
    labelled = {"id": "r2", "type": "labels", "from_name": "what", "value": {**value, "labels": ["cat"]}}
    source = read(export(task(bare, chosen, {**bare, "id": "r2"}, labelled)))
    assert len(rows(source)) == 2
    assert source.class_names() == ("cat", "dog")
    assert not codes(source)


def test_an_id_used_again_elsewhere_is_another_region(read):
    assert len(rows(read(export(task(box("a", id="r"), box("a", id="r", x=1)))))) == 2


def test_answers_that_no_version_holds_are_ignored_and_listed(read):
    text = {"type": "textarea", "from_name": "note", "value": {"text": ["hm"]}}
    taxonomy = {"type": "taxonomy", "from_name": "kinds", "value": {"taxonomy": [["a", "b"]]}}
    occluded = {"id": "r", "type": "choices", "from_name": "occluded", "value": {"x": 1, "choices": ["yes"]}}
    source = read(export(task(box("cat", id="r"), occluded, text, taxonomy, choice("sunny"))))
    assert len(rows(source)) == 1
    assert source.class_names() == ("cat",)
    assert sorted(message.split()[2] for _, message, *_ in source.notes.items) == ["kind", "kinds", "note", "occluded"]
    assert codes(source) == {"ANSWERS_IGNORED": 4}


def test_choices_about_pictures_are_their_classes(read):
    tasks = [task(choice("sunny")), task(choice("rainy"), image="b.jpg"), task(choice("sunny", "rainy"), image="c.jpg")]
    source = read(export(*tasks), ("a.jpg", "b.jpg", "c.jpg"))
    assert source.task == "classify"
    assert source.class_names() == ("rainy", "sunny")
    assert [(row.shape, row.problem) for row in rows(source)] == [
        (Shape.IMAGE, None),
        (Shape.IMAGE, None),
        (Shape.BOX, Code.SEVERAL_CLASSES),
    ]


def annotation(name, **more):
    return {"result": [box(name)], **more}


@pytest.mark.parametrize(
    ("annotations", "taken"),
    [
        ([annotation("a", updated_at="2024-05-02"), annotation("b", updated_at="2024-05-01")], "a"),
        ([annotation("a"), annotation("b")], "b"),
        ([annotation("a", ground_truth=True), annotation("b", updated_at="2024-05-01")], "a"),
        ([annotation("a"), annotation("b", was_cancelled=True)], "a"),
        ([annotation("a", created_at=1600000000), annotation("b", created_at=1500000000)], "a"),
    ],
)
def test_one_annotation_counts_and_the_others_are_listed(read, annotations, taken):
    source = read(export({"data": {"image": "a.jpg"}, "annotations": annotations}))
    found = rows(source)
    assert [source.class_names()[row.class_id] for row in found if not row.problem] == [taken]
    assert [row.problem for row in found if row.problem] == [Code.ANNOTATION_NOT_TAKEN]


def test_background_is_an_empty_annotation_and_what_nobody_annotated_is_left_out(read):
    tasks = [
        task(),
        {"data": {"image": "open.jpg"}, "annotations": []},
        {"data": {"image": "skipped.jpg"}, "annotations": [annotation("a", was_cancelled=True)], "predictions": [annotation("a")]},
        {"data": {"image": "draft.jpg"}, "annotations": [], "drafts": [annotation("a")]},
        task(box("x"), image="b.jpg"),
    ]
    names = ("a.jpg", "b.jpg", "open.jpg", "skipped.jpg", "draft.jpg", "nobody.jpg")
    source = read(export(*tasks), names)
    assert [(image.path, bool(image.labels)) for image in source.images] == [("a.jpg", False), ("b.jpg", True)]
    assert [image.path for image in source.left_out] == ["draft.jpg", "nobody.jpg", "open.jpg", "skipped.jpg"]
    assert [row.problem for row in rows(source, source.left_out)] == [Code.ANNOTATION_NOT_TAKEN] * 3


def test_predictions_count_where_no_person_has_spoken(read):
    old, new = (
        {**annotation("a"), "created_at": "2024-01-01"},
        {"result": [box("b", score=0.5), box("c")], "score": 0.25, "created_at": "2024-02-01"},
    )
    source = read(export({"data": {"image": "a.jpg"}, "annotations": [], "predictions": [old, new]}))
    assert sorted((row.confidence or 0, row.problem) for row in rows(source) if not row.problem) == [(0.25, None), (0.5, None)]
    assert [row.problem for row in rows(source) if row.problem] == [Code.ANNOTATION_NOT_TAKEN]


@pytest.mark.parametrize(("model", "worked", "kept"), [("m", None, 1), ("visionyard", None, 2), ("visionyard", 3.5, 1)])
def test_predictions_beside_an_annotation(read, model, worked, kept):
    ours = {**annotation("b"), "model_version": model, "score": 0.5}
    source = read(export({"data": {"image": "a.jpg"}, "annotations": [{**annotation("a"), "lead_time": worked}], "predictions": [ours]}))
    assert len([row for row in rows(source) if not row.problem]) == kept
    assert len(rows(source)) == 2


def test_json_min_one_record_an_annotation(read):
    value = {
        "x": 1,
        "y": 2,
        "width": 3,
        "height": 4,
        "rotation": 0,
        "rectanglelabels": ["cat"],
        "original_width": 64,
        "original_height": 48,
    }
    who = {"annotator": 1, "created_at": "2024", "lead_time": 2.0}
    first = {"image": "a.jpg", "id": 1, "label": [value], "annotation_id": 1, "updated_at": "2024-01", **who}
    second = {"image": "a.jpg", "id": 1, "label": [value, value], "annotation_id": 2, "updated_at": "2024-02", **who}
    source = read(export(first, second))
    assert [row.problem for row in rows(source)] == [Code.ANNOTATION_NOT_TAKEN, None, None]
    kinds = read(export({"image": "a.jpg", "id": 1, "kind": "sunny", "annotation_id": 1, **who}))
    assert kinds.task == "classify"
    assert kinds.class_names() == ("sunny",)


def test_json_lines_a_damaged_line_costs_itself_only(read):
    lines = [json.dumps(task(box("a"))), '{"data": {"image": ', "", json.dumps(task(box("a"), image="b.jpg"))]
    source = read({"export.jsonl": "\n".join(lines)}, ("a.jpg", "b.jpg"))
    assert len(source.images) == 2
    assert [(code, line) for code, _, _, line in source.notes.items] == [(Code.MALFORMED_ANNOTATION, 2)]


def test_a_folder_of_files_with_a_task_each_is_one_labelling(plant):
    stored = {"result": [box("a")], "task": {"id": 3, "data": {"image": "/data/upload/1/0123abcd-c.jpg"}}}
    files = {
        "tasks/1.json": json.dumps(task(box("a")), indent=1),
        "tasks/2.json": json.dumps(task(box("b"), image="b.jpg")),
        "tasks/3.json": json.dumps(stored),
        "tasks/other.json": json.dumps({"version": "5.2.1", "shapes": [], "imagePath": "a.jpg"}),
        **dict.fromkeys(["a.jpg", "b.jpg", "c.jpg"], b""),
    }
    (labelling,) = find_label_studio(plant(files))
    assert labelling.source.images.labelled() == 3


def test_files_that_differ_in_their_split_are_one_labelling(plant):
    files = {
        "train.json": export(task(box("a"))),
        "val.json": export(task(box("a"), image="b.jpg")),
        "other.json": export(task(box("a"), image="c.jpg")),
        **dict.fromkeys(["a.jpg", "b.jpg", "c.jpg"], b""),
    }
    one, two = sorted((labelling.source for labelling in find_label_studio(plant(files))), key=lambda source: len(source.images))
    assert [image.path for image in one.images] == ["c.jpg"]
    assert [(image.path, image.split) for image in two.images] == [("a.jpg", "train"), ("b.jpg", "val")]


def test_the_split_that_a_tasks_data_names_goes_first(read):
    told = task(box("a"))
    told["data"]["split"] = "test"
    (image,) = read({"train.json": export(told)}).images
    assert image.split == "test"


@pytest.mark.parametrize(
    "written",
    [
        "/data/local-files/?d=images/a%20b.jpg",
        "s3://bucket/x/a%20b.jpg",
        "/data/upload/7/0123abcd-a b.jpg",
        "https://host/images/a%20b.jpg?x=1",
    ],
)
def test_however_the_image_is_written(read, written):
    (image,) = read(export(task(box("a"), image=written)), ("images/a b.jpg",)).images
    assert image.path == "images/a b.jpg"


def test_pictures_by_tag_and_page(read):
    config = '<View><Image name="l" value="$left"/><Image name="r" valueList="$right"/></View>'
    items = [box("a", to_name="l"), box("b", to_name="r", item_index=1), box("c", to_name="r")]
    tasks = [{"data": {"left": "a.jpg", "right": ["b.jpg", "c.jpg"]}, "annotations": [{"result": items}]}]
    source = read({"export.json": json.dumps(tasks), "label_config.xml": config}, ("a.jpg", "b.jpg", "c.jpg"))
    held = {image.path: [source.class_names()[row.class_id] for row in source.rows(image.labels, 64, 48)] for image in source.images}
    assert held == {"a.jpg": ["a"], "b.jpg": ["c"], "c.jpg": ["b"]}


def test_an_image_of_two_tasks_has_the_labels_of_both(read):
    source = read(export(task(box("a")), task(box("b"))))
    assert len(source.images) == 1
    assert len(rows(source)) == 2
    assert codes(source) == {"IMAGE_NAMED_TWICE": 1}


def test_missing_images(read):
    source = read(
        export(task(box("a"), image="gone.jpg"), task(image="empty.jpg"), {"data": {"x": 1}, "annotations": [annotation("a")]}), ()
    )
    assert [image.path for image in source.orphans] == ["gone.jpg", "the picture of task 3"]
    assert len(rows(source, source.orphans)) == 2
    assert codes(source) == {"LISTED_IMAGE_MISSING": 1}


def test_another_size_than_the_pictures_is_listed(read):
    source = read(export(task(box("a"))))
    list(source.rows(next(iter(source.images)).labels, 48, 64))
    assert codes(source) == {"SIZE_MISMATCH": 1}


def test_a_file_cut_off_keeps_what_came_before(read):
    whole = export(task(box("a")), task(box("b"), image="b.jpg"))
    source = read(whole[:-30], ("a.jpg", "b.jpg"))
    assert [image.path for image in source.images] == ["a.jpg"]
    assert codes(source) == {"MALFORMED_ANNOTATION": 1}


def test_the_nearest_interface_is_taken_and_a_damaged_one_is_listed(read):
    files = {
        "data_x.json": export(task(box("b"))),
        "config_x.xml": "<View><RectangleLabels name='box'><Label value='z'",
        "aconfig.xml": CONFIG,
    }
    source = read(files)
    assert source.class_names() == ("zebra", "ant", "b")
    assert codes(source) == {"LABEL_CONFIG_UNREAD": 1}


def test_an_interface_with_entities_is_refused(read):
    bomb = '<!DOCTYPE View [<!ENTITY a "aaaa">]><View><Image name="image" value="$image"/></View>'
    with pytest.raises(YardError) as refused:
        read({"export.json": export(task(box("a"))), "config.xml": bomb})
    assert refused.value.reason is Reason.ANNOTATION_BOMB


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
def test_real_exports(test_data, read, path):
    export_ = test_data / "labelstudio_sdk_testdata" / path
    files = {file.name: file.read_bytes() for file in export_.parent.glob("*.xml")}
    source = read({**files, export_.name: export_.read_bytes()}, ())
    images, labels, dropped, classes = COUNTS[path]
    found = rows(source, source.orphans)
    assert (len(source.orphans), len(found)) == (images, labels)
    assert Counter(row.problem.name for row in found if row.problem) == dropped
    assert " ".join(source.class_names()) == classes


def test_real_keypoints(test_data, read):
    folder = test_data / "labelstudio_sdk_testdata/test_export_yolo"
    source = read({name: (folder / name).read_bytes() for name in ("data_keypoints.json", "label_config_keypoints.xml")}, ())
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


@pytest.mark.parametrize("folders", ["train test test", "test train test", "test test train"])
def test_labels_of_a_missing_picture_are_not_put_on_another_folder_s_of_its_name(read, folders):
    source = read(
        export(*(task(box(folder), image=f"/data/local-files/?d={folder}/0.jpg") for folder in folders.split())), ("train/0.jpg",)
    )
    assert [image.path for image in source.images] == ["train/0.jpg"]
    final = source.final_class_ids()
    assert [source.class_names()[final[row.class_id]] for row in rows(source)] == ["train"]
    assert sum(len(list(source.rows(orphan.labels, 0, 0))) for orphan in source.orphans) == 2


def test_an_uploaded_picture_is_found_by_the_name_that_it_had_before(read):
    """Label Studio takes blanks and brackets out of the names of uploads, which a folder that is joined still has."""
    uploaded = task(box("a"), image="/data/upload/3/0123abcd-photo_1.JPG")
    assert [image.path for image in read(export(uploaded), ("my/photo (1).jpg", "my/photo (2).jpg")).images] == ["my/photo (1).jpg"]
    assert not len(read(export(uploaded), ("a/photo (1).jpg", "b/photo [1].jpg")).images)
