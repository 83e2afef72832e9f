"""Pascal VOC as devkits and tools write it: lists of several years, names with blanks, difficult objects."""

import hashlib
import zlib

import pytest
from tests.unit.dataset.conftest import picture, voc, zipped

from visionyard.dataset.findings import MAX_LISTED, Code
from visionyard.dataset.formats.labelled import Notes
from visionyard.dataset.formats.voc import read_voc


def devkit(root, *names):
    """A devkit's images and annotations, without lists."""
    files = {f"{root}/JPEGImages/{name}.jpg": picture(zlib.crc32(f"{root} {name}".encode())) for name in names}
    return files | {f"{root}/Annotations/{name}.xml": voc(f"{name}.jpg", ("x", 1, 1, 20, 20)) for name in names}


def lists(root, **splits):
    return {f"{root}/ImageSets/Main/{split}.txt": "".join(f"{name}\n" for name in names) for split, names in splits.items()}


def found(bench, files):
    """The paths' last parts by split, and the report."""
    version, context = bench.run(zipped(files))
    by_split = {}
    for row in bench.rows(version):
        by_split.setdefault(row.split, []).append(row.name)
    return by_split, bench.report(context)


def test_each_year_of_a_devkit_keeps_its_own_lists(bench):
    files = {
        **devkit("VOCdevkit/VOC2007", "000001", "000002", "000003"),
        **lists("VOCdevkit/VOC2007", train=["000001"], val=["000002"], trainval=["000001", "000002"], test=["000003"]),
        **devkit("VOCdevkit/VOC2012", "2008_1", "2008_2"),
        **lists("VOCdevkit/VOC2012", train=["2008_1"], val=["2008_2"]),
    }
    by_split, report = found(bench, files)
    assert by_split == {"train": ["000001.jpg", "2008_1.jpg"], "val": ["000002.jpg", "2008_2.jpg"], "test": ["000003.jpg"]}
    assert not report["findings"]


def test_the_same_name_in_two_years_is_two_images(bench):
    files = {
        **devkit("a", "1", "2"),
        **lists("a", train=["1"], val=["2"]),
        **devkit("b", "1", "2", "3"),
        **lists("b", trainval=["2", "3"], val=["1", "gone"]),
    }
    by_split, report = found(bench, files)
    assert {split: len(names) for split, names in by_split.items()} == {"train": 3, "val": 2}
    assert [(f["code"], f["file"], f["line"]) for f in report["findings"]] == [("SPLIT_ENTRY_WITHOUT_IMAGE", "b/ImageSets/Main/val.txt", 2)]


def test_lists_beside_the_folder_of_images_are_read(bench):
    by_split, report = found(bench, {**devkit("set", "a", "b"), **lists("meta", train=["a"], val=["b"])})
    assert by_split == {"train": ["a.jpg"], "val": ["b.jpg"]}
    assert not report["findings"]


@pytest.mark.parametrize("entry", ["WhatsApp Image 0", "WhatsApp Image 0.jpg", "WhatsApp Image 0  -1", "WhatsApp Image 0\t1"])
def test_a_name_with_blanks_is_read_whole(bench, entry):
    by_split, report = found(bench, {**devkit("s", "WhatsApp Image 0", "b c"), **lists("s", train=[entry], val=["b c  1"])})
    assert by_split == {"train": ["WhatsApp Image 0.jpg"], "val": ["b c.jpg"]}
    assert not report["findings"]


def test_a_list_of_millions_of_missing_names_costs_no_memory():
    notes = Notes()
    for line in range(MAX_LISTED * 2):
        notes.add(Code.SPLIT_ENTRY_WITHOUT_IMAGE, "is not there", "train.txt", line)
    notes.add(Code.SPLIT_LEAKAGE, "is in both")
    assert len(notes.items) == MAX_LISTED + 2


@pytest.mark.parametrize("mark", ["1", " 1 ", "true", "True"])
def test_difficult_objects_are_kept_and_listed_once_a_file(bench, mark):
    xml = voc("a.jpg", ("x", 1, 1, 20, 20), ("x", 5, 5, 30, 30), ("y", 9, 9, 30, 30), ("y", 9, 9, 9, 30))
    marked = xml.replace("</name>", f"</name><difficult>{mark}</difficult>").replace(f"<difficult>{mark}<", "<difficult>0<", 1)
    files = {**devkit("s", "a", "b"), **lists("s", train=["a"], val=["b"]), "s/Annotations/a.xml": marked}
    _, report = found(bench, files)
    assert report["labels"] == {"found": 5, "kept": 4, "dropped": 1}
    difficult = [f for f in report["findings"] if f["code"] == "DIFFICULT_KEPT"]
    assert [(f["severity"], f["file"], f["line"]) for f in difficult] == [("INFO", "s/Annotations/a.xml", 4)]
    assert " 2 objects" in difficult[0]["message"]


def test_a_part_of_an_object_is_not_what_is_difficult(bench):
    xml = voc("a.jpg", ("x", 1, 1, 20, 20)).replace("</bndbox>", "</bndbox><part><difficult>1</difficult></part>")
    files = {**devkit("s", "a", "b"), **lists("s", train=["a"], val=["b"]), "s/Annotations/a.xml": xml}
    assert not found(bench, files)[1]["findings"]


# --- pictures of one name


def clips(*names, frame="000001"):
    """Frames of clips as ImageNet's videos are laid out: one name in every clip's folder, annotations in a tree of their own."""
    files = {f"Data/{name}/{frame}.jpg": picture(i) for i, name in enumerate(names)}
    return files | {f"Annotations/{name}/{frame}.xml": voc(frame, (name, 1, 1, 20, 20)) for name in names}


def classes_by_seed(bench, files, count):
    """The class of each image's only label, by the seed that the image was made with; None for background."""
    version, context = bench.run(zipped(files))
    seeds = {hashlib.sha256(picture(seed)).hexdigest(): seed for seed in range(count)}
    named = {seeds[row.sha256]: version.class_names[row.labels[0].class_id] if row.labels else None for row in bench.rows(version)}
    return [named[seed] for seed in sorted(named)], bench.report(context)


def test_pictures_of_one_name_get_the_labels_of_their_own_folders(bench):
    named, report = classes_by_seed(bench, clips("a", "b", "c"), 3)
    assert named == ["a", "b", "c"]
    assert not report["findings"]


def test_labels_whose_picture_is_missing_go_to_no_other_folder_s(bench):
    files = {**clips("a", "b", "c"), "ImageSets/Main/train.txt": "b/000001\n", "ImageSets/Main/val.txt": "c/000001 1\n"}
    del files["Data/a/000001.jpg"]
    named, report = classes_by_seed(bench, files, 3)
    assert named == ["b", "c"]
    assert [f["file"] for f in report["findings"] if f["code"] == "LABEL_WITHOUT_IMAGE"] == ["Annotations/a/000001.xml"]
    assert report["labels"] == {"found": 3, "kept": 2, "dropped": 1}


def test_the_lists_of_clips_name_pictures_by_their_folders(bench):
    files = {**clips("a", "b", "c"), "ImageSets/Main/train.txt": "a/000001\nc/000001\n", "ImageSets/Main/val.txt": "b/000001\n"}
    version, _ = bench.run(zipped(files))
    assert {row.split: version.class_names[row.labels[0].class_id] for row in bench.rows(version) if row.split == "val"} == {"val": "b"}


def test_of_two_pictures_that_differ_in_type_only_the_named_one_is_labelled(bench):
    files = {"a.xml": voc("a.jpg", ("x", 1, 1, 20, 20)), "a.jpg": picture(1), "a.png": picture(2, suffix=".png")}
    version, _ = bench.run(zipped(files))
    assert {row.name: len(row.labels) for row in bench.rows(version)} == {"a.jpg": 1, "a.png": 0}


def test_labels_that_may_be_of_several_pictures_are_given_to_none(bench):
    files = {**clips("a", "b"), "000002.xml": voc("", ("x", 1, 1, 20, 20)), "p/000002.jpg": picture(8), "q/000002.jpg": picture(9)}
    _, context = bench.run(zipped(files))
    orphan = next(f for f in bench.report(context)["findings"] if f["code"] == "LABEL_WITHOUT_IMAGE")
    assert "not clear (p/000002.jpg, q/000002.jpg)" in orphan["message"]


def test_a_name_that_lies_in_more_folders_than_are_looked_through_is_found_by_its_own(plant):
    names = [f"clip{i:04}" for i in range(1500)]
    files = {f"Data/{name}/0.jpg": b"" for name in names} | {f"Annotations/{name}/0.xml": voc("0", (name, 1, 1, 20, 20)) for name in names}
    source = read_voc(plant(files))
    assert [(image.path, image.labels) for image in source.images] == [(f"Data/{n}/0.jpg", f"Annotations/{n}/0.xml") for n in names]
