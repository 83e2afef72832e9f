"""Which answers of a Label Studio export count, in which form it comes, and which picture is meant."""

import json

import pytest
from label_studio_tasks import CONFIG, box, codes, export, rows, task

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.label_studio import find_label_studio
from visionyard.kit.errors import Reason, YardError


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
def test_one_annotation_counts_and_the_others_are_listed(read_tasks, annotations, taken):
    source = read_tasks(export({"data": {"image": "a.jpg"}, "annotations": annotations}))
    found = rows(source)
    assert [source.class_names()[row.class_id] for row in found if not row.problem] == [taken]
    assert [row.problem for row in found if row.problem] == [Code.ANNOTATION_NOT_TAKEN]


def test_background_is_an_empty_annotation_and_what_nobody_annotated_is_left_out(read_tasks):
    tasks = [
        task(),
        {"data": {"image": "open.jpg"}, "annotations": []},
        {"data": {"image": "skipped.jpg"}, "annotations": [annotation("a", was_cancelled=True)], "predictions": [annotation("a")]},
        {"data": {"image": "draft.jpg"}, "annotations": [], "drafts": [annotation("a")]},
        task(box("x"), image="b.jpg"),
    ]
    names = ("a.jpg", "b.jpg", "open.jpg", "skipped.jpg", "draft.jpg", "nobody.jpg")
    source = read_tasks(export(*tasks), names)
    assert [(image.path, bool(image.labels)) for image in source.images] == [("a.jpg", False), ("b.jpg", True)]
    assert [image.path for image in source.left_out] == ["draft.jpg", "nobody.jpg", "open.jpg", "skipped.jpg"]
    assert [row.problem for row in rows(source, source.left_out)] == [Code.ANNOTATION_NOT_TAKEN] * 3


def test_predictions_count_where_no_person_has_spoken(read_tasks):
    old, new = (
        {**annotation("a"), "created_at": "2024-01-01"},
        {"result": [box("b", score=0.5), box("c")], "score": 0.25, "created_at": "2024-02-01"},
    )
    source = read_tasks(export({"data": {"image": "a.jpg"}, "annotations": [], "predictions": [old, new]}))
    assert sorted((row.confidence or 0, row.problem) for row in rows(source) if not row.problem) == [(0.25, None), (0.5, None)]
    assert [row.problem for row in rows(source) if row.problem] == [Code.ANNOTATION_NOT_TAKEN]


@pytest.mark.parametrize(("model", "worked", "kept"), [("m", None, 1), ("visionyard", None, 2), ("visionyard", 3.5, 1)])
def test_predictions_beside_an_annotation(read_tasks, model, worked, kept):
    ours = {**annotation("b"), "model_version": model, "score": 0.5}
    source = read_tasks(
        export({"data": {"image": "a.jpg"}, "annotations": [{**annotation("a"), "lead_time": worked}], "predictions": [ours]})
    )
    assert len([row for row in rows(source) if not row.problem]) == kept
    assert len(rows(source)) == 2


def test_json_min_one_record_an_annotation(read_tasks):
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
    source = read_tasks(export(first, second))
    assert [row.problem for row in rows(source)] == [Code.ANNOTATION_NOT_TAKEN, None, None]
    kinds = read_tasks(export({"image": "a.jpg", "id": 1, "kind": "sunny", "annotation_id": 1, **who}))
    assert kinds.task == "classify"
    assert kinds.class_names() == ("sunny",)


def test_json_lines_a_damaged_line_costs_itself_only(read_tasks):
    lines = [json.dumps(task(box("a"))), '{"data": {"image": ', "", json.dumps(task(box("a"), image="b.jpg"))]
    source = read_tasks({"export.jsonl": "\n".join(lines)}, ("a.jpg", "b.jpg"))
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


def test_the_split_that_a_tasks_data_names_goes_first(read_tasks):
    told = task(box("a"))
    told["data"]["split"] = "test"
    (image,) = read_tasks({"train.json": export(told)}).images
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
def test_however_the_image_is_written(read_tasks, written):
    (image,) = read_tasks(export(task(box("a"), image=written)), ("images/a b.jpg",)).images
    assert image.path == "images/a b.jpg"


def test_pictures_by_tag_and_page(read_tasks):
    config = '<View><Image name="l" value="$left"/><Image name="r" valueList="$right"/></View>'
    items = [box("a", to_name="l"), box("b", to_name="r", item_index=1), box("c", to_name="r")]
    tasks = [{"data": {"left": "a.jpg", "right": ["b.jpg", "c.jpg"]}, "annotations": [{"result": items}]}]
    source = read_tasks({"export.json": json.dumps(tasks), "label_config.xml": config}, ("a.jpg", "b.jpg", "c.jpg"))
    held = {image.path: [source.class_names()[row.class_id] for row in source.rows(image.labels, 64, 48)] for image in source.images}
    assert held == {"a.jpg": ["a"], "b.jpg": ["c"], "c.jpg": ["b"]}


def test_an_image_of_two_tasks_has_the_labels_of_both(read_tasks):
    source = read_tasks(export(task(box("a")), task(box("b"))))
    assert len(source.images) == 1
    assert len(rows(source)) == 2
    assert codes(source) == {"IMAGE_NAMED_TWICE": 1}


def test_missing_images(read_tasks):
    source = read_tasks(
        export(task(box("a"), image="gone.jpg"), task(image="empty.jpg"), {"data": {"x": 1}, "annotations": [annotation("a")]}), ()
    )
    assert [image.path for image in source.orphans] == ["gone.jpg", "the picture of task 3"]
    assert len(rows(source, source.orphans)) == 2
    assert codes(source) == {"LISTED_IMAGE_MISSING": 1}


def test_another_size_than_the_pictures_is_listed(read_tasks):
    source = read_tasks(export(task(box("a"))))
    list(source.rows(next(iter(source.images)).labels, 48, 64))
    assert codes(source) == {"SIZE_MISMATCH": 1}


def test_a_file_cut_off_keeps_what_came_before(read_tasks):
    whole = export(task(box("a")), task(box("b"), image="b.jpg"))
    source = read_tasks(whole[:-30], ("a.jpg", "b.jpg"))
    assert [image.path for image in source.images] == ["a.jpg"]
    assert codes(source) == {"MALFORMED_ANNOTATION": 1}


def test_the_nearest_interface_is_taken_and_a_damaged_one_is_listed(read_tasks):
    files = {
        "data_x.json": export(task(box("b"))),
        "config_x.xml": "<View><RectangleLabels name='box'><Label value='z'",
        "aconfig.xml": CONFIG,
    }
    source = read_tasks(files)
    assert source.class_names() == ("zebra", "ant", "b")
    assert codes(source) == {"LABEL_CONFIG_UNREAD": 1}


def test_an_interface_with_entities_is_refused(read_tasks):
    bomb = '<!DOCTYPE View [<!ENTITY a "aaaa">]><View><Image name="image" value="$image"/></View>'
    with pytest.raises(YardError) as refused:
        read_tasks({"export.json": export(task(box("a"))), "config.xml": bomb})
    assert refused.value.reason is Reason.ANNOTATION_BOMB


@pytest.mark.parametrize("folders", ["train test test", "test train test", "test test train"])
def test_labels_of_a_missing_picture_are_not_put_on_another_folder_s_of_its_name(read_tasks, folders):
    source = read_tasks(
        export(*(task(box(folder), image=f"/data/local-files/?d={folder}/0.jpg") for folder in folders.split())), ("train/0.jpg",)
    )
    assert [image.path for image in source.images] == ["train/0.jpg"]
    final = source.final_class_ids()
    assert [source.class_names()[final[row.class_id]] for row in rows(source)] == ["train"]
    assert sum(len(list(source.rows(orphan.labels, 0, 0))) for orphan in source.orphans) == 2


def test_an_uploaded_picture_is_found_by_the_name_that_it_had_before(read_tasks):
    """Label Studio takes blanks and brackets out of the names of uploads, which a folder that is joined still has."""
    uploaded = task(box("a"), image="/data/upload/3/0123abcd-photo_1.JPG")
    assert [image.path for image in read_tasks(export(uploaded), ("my/photo (1).jpg", "my/photo (2).jpg")).images] == ["my/photo (1).jpg"]
    assert not len(read_tasks(export(uploaded), ("a/photo (1).jpg", "b/photo [1].jpg")).images)
