"""The images and files of COCO JSON: which image is meant, which file counts, what is odd, damaged or long."""

import io
import json
from collections import Counter

import pytest
from coco_documents import SIZE, annotation, document, image, notes, row_of, rows_of, source_of
from tests.unit.dataset.conftest import BOX

from visionyard.dataset.findings import MAX_LISTED, Code
from visionyard.dataset.formats.coco import find_coco
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.run_lengths import MaskReader
from visionyard.dataset.formats.shapes import Shape
from visionyard.kit.errors import Reason, YardError


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
