"""Pascal VOC as devkits and tools write it: lists of several years, names with blanks, difficult objects."""

import zlib

import pytest
from tests.unit.dataset.conftest import picture, voc, zipped

from visionyard.dataset.findings import MAX_LISTED, Code
from visionyard.dataset.formats.labelled import Notes


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
