"""Layouts as they are met in the wild, each a few generated images: which images, splits, classes and labels are read."""

import pytest
from tests.unit.dataset.conftest import BOX, images, labels, picture, voc, zipped

from visionyard.kit.errors import Reason, YardError

LAYOUTS = {
    "roboflow": (
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 1\nnames: ['x']\n",
            **images("train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg"),
            **labels("train/labels/a.txt", "valid/labels/b.txt", "test/labels/c.txt"),
        },
        {"train": ["a.jpg"], "val": ["b.jpg"], "test": ["c.jpg"]},
    ),
    "a yaml that names the classes only": (
        {
            "data.yaml": "names: [x]\n",
            **images("images/train/a.jpg", "images/val/b.jpg"),
            **labels("labels/train/a.txt", "labels/val/b.txt"),
        },
        {"train": ["a.jpg"], "val": ["b.jpg"]},
    ),
    "another machine's absolute paths": (
        {
            "my set/config.yml": "path: /home/me/sets/mine\ntrain: /home/me/sets/mine/images/train\nval: images/val\nnames: {0: x}\n",
            **images("my set/images/train/a.jpg", "my set/images/val/b.jpg"),
            **labels("my set/labels/train/a.txt", "my set/labels/val/b.txt"),
        },
        {"train": ["a.jpg"], "val": ["b.jpg"]},
    ),
    "the set below the yaml": (
        {
            "coco8.yaml": "path: coco8\ntrain: images/train\nval: images/val\nnames: [x]\n",
            **images("coco8/images/train/a.jpg", "coco8/images/val/b.jpg"),
            **labels("coco8/labels/train/a.txt", "coco8/labels/val/b.txt"),
        },
        {"train": ["a.jpg"], "val": ["b.jpg"]},
    ),
    "lists of files": (
        {
            "data.yaml": "train: train.txt\nval: lists/val.txt\nnames: [x]\n",
            "train.txt": "./images/a.jpg\n/home/me/images/c.jpg\n",
            "lists/val.txt": "images/b.jpg\n",
            **images("images/a.jpg", "images/b.jpg", "images/c.jpg"),
            **labels("labels/a.txt", "labels/b.txt", "labels/c.txt"),
        },
        {"train": ["a.jpg", "c.jpg"], "val": ["b.jpg"]},
    ),
    "a yaml that leads nowhere": (
        {
            "data.yaml": "train: nowhere\nval: nothing\nnames: [x]\n",
            **images("train/images/a.jpg", "val/images/b.jpg"),
            **labels("train/labels/a.txt", "val/labels/b.txt"),
        },
        {"train": ["a.jpg"], "val": ["b.jpg"]},
    ),
    "folders without a yaml, splits outside": (
        {
            "classes.txt": "x\n",
            **images("train/images/a.jpg", "test/images/b.jpg", "val/images/c.JPG"),
            **labels("train/labels/a.txt", "test/labels/b.txt", "val/labels/c.txt"),
        },
        {"train": ["a.jpg"], "val": ["c.JPG"], "test": ["b.jpg"]},
    ),
    "folders without a yaml, splits inside": (
        {
            "obj.names": "x\n",
            **images("images/train2017/a.jpg", "images/val2017/b.jpg"),
            **labels("labels/train2017/a.txt", "labels/val2017/b.txt"),
        },
        {"train": ["a.jpg"], "val": ["b.jpg"]},
    ),
    "labels beside their images": (
        {"classes.txt": "x\n", **images("train/a.jpg", "val/b.jpg"), **labels("train/a.txt", "val/b.txt")},
        {"train": ["a.jpg"], "val": ["b.jpg"]},
    ),
    "a wrapping folder called train": (
        {"train/classes.txt": "x\n", **images("train/train/a.jpg", "train/val/b.jpg"), **labels("train/train/a.txt", "train/val/b.txt")},
        {"train": ["a.jpg"], "val": ["b.jpg"]},
    ),
    "voc": (
        {
            **images("VOC/JPEGImages/a.jpg", "VOC/JPEGImages/B.JPG", "VOC/SegmentationClass/a.png"),
            "VOC/Annotations/a.xml": voc("a.jpg", ("x", 1, 1, 20, 20)),
            "VOC/Annotations/b.xml": voc("a.png", ("x", 1, 1, 20, 20)),
            "VOC/ImageSets/Main/train.txt": "a\n",
            "VOC/ImageSets/Main/val.txt": "b.jpg 1\n",
            "VOC/ImageSets/Main/x_train.txt": "a -1\n",
        },
        {"train": ["a.jpg"], "val": ["B.JPG"]},
    ),
    "voc beside its images, named by what the xml says": (
        {
            **images("train/a.jpg", "val/b.jpg"),
            "train/1.xml": voc("C:\\pictures\\a.png", ("x", 1, 1, 20, 20)),
            "val/2.xml": voc("b.jpg", ("x", 1, 1, 20, 20)),
        },
        {"train": ["a.jpg"], "val": ["b.jpg"]},
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(bench, case):
    files, wanted = LAYOUTS[case]
    version, context = bench.run(zipped(files))
    rows = bench.rows(version)
    assert {split: [row.name for row in rows if row.split == split] for split in wanted} == wanted
    assert version.class_names == ("x",)
    assert version.label_count == len(rows) == sum(map(len, wanted.values()))
    report = bench.report(context)
    assert report["labels"] == {"found": len(rows), "kept": len(rows), "dropped": 0}
    assert not [f for f in report["findings"] if f["code"] != "SPLIT_MISSING"]
    assert report["format_reason"]


def two(**files):
    """A VOC set of two images in train and val, with the files given."""
    return {
        **images("train/a.jpg", "val/b.jpg"),
        "train/a.xml": voc("a.jpg", ("x", 1, 1, 20, 20)),
        "val/b.xml": voc("b.jpg", ("x", 1, 1, 20, 20)),
        **{path.replace("__", "/").replace("_xml", ".xml"): data for path, data in files.items()},
    }


def test_voc_coordinates_are_taken_as_written_and_classes_are_sorted(bench):
    xml = voc("a.jpg", ("zebra", 0, 0, 64, 48), ("ant", 16, 12, 48.5, 36))
    version, _ = bench.run(zipped(two(train__a_xml=xml)))
    assert version.class_names == ("ant", "x", "zebra")
    first, second = next(row for row in bench.rows(version) if row.name == "a.jpg").labels
    assert first.content() == pytest.approx((0, 32.25 / 64, 0.5, 32.5 / 64, 0.5))
    assert second.content() == (2, 0.5, 0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("objects", "code", "line"),
    [
        ([("x", 5, 5, 5, 9)], "ZERO_AREA_BOX", 3),
        ([("x", 9, 5, 5, 9)], "SWAPPED_CORNERS", 3),
        ([("x", 1, 1, 9, 9), ("x", 1, 1, 9, 9)], "DUPLICATE_BOX", 4),
        ([("x", "nan", 1, 9, 9)], "NOT_A_NUMBER", 3),
        ([("x", "", 1, 9, 9)], "MALFORMED_LABEL", 3),
        ([("", 1, 1, 9, 9)], "MALFORMED_LABEL", 3),
        ([("x", 100, 1, 120, 9)], "OUT_OF_RANGE", 3),
    ],
)
def test_voc_findings_name_file_and_line(bench, objects, code, line):
    _, context = bench.run(zipped(two(train__a_xml=voc("a.jpg", *objects))))
    report = bench.report(context)
    assert report["dropped_by_code"] == {code: 1}
    assert [(f["code"], f["file"], f["line"]) for f in report["findings"]] == [(code, "train/a.xml", line)]


@pytest.mark.parametrize("xml", ["<annotation><object>", "not xml", "<annotations/>", "", "<annotation>" * 100])
def test_a_broken_annotation_is_listed_and_its_image_left_out(bench, xml):
    """As background it would teach that nothing is to be seen on it."""
    files = two(train__a_xml=xml) | {"train/c.jpg": picture(9), "train/c.xml": voc("c.jpg", ("x", 1, 1, 9, 9))}
    version, context = bench.run(zipped(files))
    assert sorted(row.name for row in bench.rows(version)) == ["b.jpg", "c.jpg"]
    [finding] = bench.report(context)["findings"]
    assert (finding["code"], finding["severity"], finding["file"]) == ("MALFORMED_ANNOTATION", "ERROR", "train/a.xml")
    assert "train/a.jpg was left out" in finding["message"]
    assert bench.report(context)["images"] == {"found": 3, "kept": 2, "dropped": 1}


def test_a_picture_of_another_size_is_listed(bench):
    version, context = bench.run(zipped(two(train__a_xml=voc("a.jpg", ("x", 10, 20, 30, 40), size=(640, 481)))))
    [mismatch] = bench.report(context)["findings"]
    assert mismatch["code"] == "SIZE_MISMATCH"
    assert (
        mismatch["message"]
        == "train/a.xml was written for a picture of 640 x 481 pixels, but it has 64 x 48; its labels were scaled with it"
    )
    # The picture is a tenth of what was labelled: the box is where it was.
    [label] = next(row for row in bench.rows(version) if row.name == "a.jpg").labels
    assert (label.cx, label.cy) == pytest.approx((20 / 640, 30 / 481))


def test_the_pixels_of_a_picture_of_another_shape_are_taken_as_written(bench):
    version, context = bench.run(zipped(two(train__a_xml=voc("a.jpg", ("x", 1, 1, 20, 20), size=(48, 64)))))
    assert [f["code"] for f in bench.report(context)["findings"]] == ["SIZE_MISMATCH"]
    [label] = next(row for row in bench.rows(version) if row.name == "a.jpg").labels
    assert label.cx == 10.5 / 64


BOMBS = {
    "laughs": '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>',
    "external": '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>',
    "parameter": '<!DOCTYPE a [<!ENTITY % a "x">]><annotation/>',
}


@pytest.mark.parametrize("case", BOMBS)
@pytest.mark.parametrize("place", ["train__a_xml", "train__orphan_xml", "zz__late_xml"])
def test_entities_are_refused_wherever_they_are(bench, case, place):
    with pytest.raises(YardError) as caught:
        bench.run(zipped(two(**{place: BOMBS[case]})))
    assert caught.value.reason is Reason.ANNOTATION_BOMB


YAMLS = {
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b]\ntrain: images\n",
    "depth": "names: " + "[" * 5000 + "\ntrain: images\n",
    "no mapping": "- names\n- train\n",
    "noise": "\x00\x01\xff",
}


@pytest.mark.parametrize("case", YAMLS)
def test_a_hostile_yaml_is_not_read(bench, case):
    files = {**images("images/a.jpg", "images/b.jpg"), **labels("labels/a.txt", "labels/b.txt"), "data.yaml": YAMLS[case]}
    with pytest.raises(YardError) as caught:
        bench.run(zipped(files))
    assert caught.value.reason is Reason.CLASSES_UNKNOWN


def test_a_tag_that_would_run_code_is_plain_text(bench, tmp_path):
    yaml = f"names: !!python/object/apply:os.system ['touch {tmp_path}/ran']\ntrain: images\ndownload: touch {tmp_path}/ran\n"
    files = {**images("images/a.jpg", "images/b.jpg"), **labels("labels/a.txt", "labels/b.txt"), "data.yaml": yaml}
    version, _ = bench.run(zipped(files))
    assert version.class_names == (f"touch {tmp_path}/ran",)
    assert not (tmp_path / "ran").exists()


def test_a_set_with_names_only_by_number(bench):
    files = {**images("images/a.jpg", "images/b.jpg"), **labels("labels/a.txt", "labels/b.txt"), "d.yaml": "train: images\nnc: 2\n"}
    version, context = bench.run(zipped(files))
    assert version.class_names == ("class_0", "class_1")
    assert [f["code"] for f in bench.report(context)["findings"]] == ["CLASS_NAMES_MISSING"]


def test_images_in_no_split_are_left_out_and_listed(bench):
    files = {
        "data.yaml": "train: images/train\nval: images/val\nnames: [x]\n",
        **images("images/train/a.jpg", "images/val/b.jpg", "images/spare/c.jpg"),
        **labels("labels/train/a.txt", "labels/val/b.txt", "labels/spare/c.txt"),
    }
    _, context = bench.run(zipped(files))
    report = bench.report(context)
    assert report["images"] == {"found": 3, "kept": 2, "dropped": 1}
    assert report["labels"] == {"found": 3, "kept": 2, "dropped": 1}
    assert report["dropped_by_code"] == {"IMAGE_NOT_IN_SPLIT": 1}


@pytest.mark.filterwarnings("ignore:.*")  # Pillow warns of odd files
def test_odd_images_end_kept_or_listed(bench, test_data):
    odd = {f"images/{path.name}": path.read_bytes() for path in (test_data / "nasty" / "pillow").iterdir() if path.name != "LICENSE"}
    files = {"classes.txt": "x\n", **odd, **{path.replace("images/", "labels/").rpartition(".")[0] + ".txt": BOX for path in odd}}
    version, context = bench.run(zipped(files))
    report = bench.report(context)
    assert version.image_count > 15
    assert report["images"]["dropped"] > 15
    assert report["images"]["kept"] == version.image_count
    dropping = {"CORRUPT_IMAGE", "IMAGE_TOO_SMALL", "IMAGE_TOO_LARGE", "UNSUPPORTED_IMAGE_TYPE"}
    assert sum(f["code"] in dropping for f in report["findings"]) == report["images"]["dropped"]


def test_a_jpeg_with_a_stray_byte_before_its_tables_is_kept_and_listed(bench):
    """A decoder that refuses it must not end the import."""
    stray = picture(1).replace(b"\xff\xdb", b"\x00\xff\xdb", 1)
    files = {"classes.txt": "x\n", **images("images/b.jpg"), "images/a.jpg": stray, **labels("labels/a.txt", "labels/b.txt")}
    version, context = bench.run(zipped(files))
    assert version.image_count == 2
    assert [(f["code"], f["file"]) for f in bench.report(context)["findings"]] == [("STRAY_BYTES", "images/a.jpg")]
