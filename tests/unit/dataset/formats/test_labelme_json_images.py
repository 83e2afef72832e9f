"""labelme's JSON: where its pictures are looked for, files that are damaged or none of labelme's, real exports."""

import pytest
from labellings import codes, named, read_all
from labelme_documents import labelme, read, shape

from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.labelme_json import find_labelme


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
