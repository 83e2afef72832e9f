"""YOLO sources as the field's tools read them: odd file names, labels of no image, a data.yaml beside its set or one that is broken."""

import hashlib

import pytest
from tests.unit.dataset.conftest import BOX, good_set, images, labels, picture, zipped

from visionyard.kit.artifacts.layout import label_texts
from visionyard.kit.artifacts.manifest import label_lists
from visionyard.kit.errors import Reason, YardError

TWO = {**images("images/train/a.jpg", "images/val/b.jpg"), **labels("labels/train/a.txt", "labels/val/b.txt")}
TWO_YAML = "train: images/train\nval: images/val\nnames: [x]\n"


def found(bench, files, **options):
    """The images' names by split, and the report."""
    version, context = bench.run(zipped(files), **options)
    by_split = {}
    for row in bench.rows(version):
        by_split.setdefault(row.split, []).append(row.name)
    return by_split, bench.report(context)


# --- names


@pytest.mark.parametrize("name", ["license.0001", "source", "notes.12", "README", "classes", "predefined_classes.frame7"])
def test_a_label_file_counts_whatever_its_image_is_called(bench, name):
    files = {**TWO, "data.yaml": TWO_YAML, f"images/train/{name}.jpg": picture(9), f"labels/train/{name}.txt": BOX}
    _, report = found(bench, files)
    assert report["labels"] == {"found": 3, "kept": 3, "dropped": 0}
    assert not report["findings"]


def test_a_set_whose_frames_are_all_called_source(bench):
    names = [f"{split}/source.{split}{i}" for split in ("train", "val") for i in range(3)]
    files = {
        "data.yaml": TWO_YAML,
        **images(*(f"images/{name}.jpg" for name in names)),
        **labels(*(f"labels/{name}.txt" for name in names)),
    }
    _, report = found(bench, files)
    assert report["labels"] == {"found": 6, "kept": 6, "dropped": 0}


def test_texts_about_the_set_are_no_labels(bench):
    about = {"labels/train/classes.txt": "x\n", "labels/train/notes.txt": "", "labels/train/README.txt": "1 2 3 4 5\n"}
    _, report = found(bench, {**TWO, "data.yaml": TWO_YAML, **about})
    assert not report["findings"]


def test_a_label_without_image_is_listed_though_it_is_called_like_a_text_about_the_set(bench):
    _, report = found(bench, {**TWO, "data.yaml": TWO_YAML, "labels/train/source.0001.txt": BOX})
    assert report["dropped_by_code"] == {"LABEL_WITHOUT_IMAGE": 1}


@pytest.mark.parametrize("list_", ["obj.names", "meta/deep/classes.txt"])
def test_the_labels_of_an_image_called_classes_are_no_list_of_classes(bench, list_):
    files = {**TWO, list_: "x\n", "images/train/classes.jpg": picture(9), "labels/train/classes.txt": BOX}
    version, context = bench.run(zipped(files))
    assert (version.class_names, version.label_count) == (("x",), 3)
    assert not bench.report(context)["findings"]


# --- labels of no image


@pytest.mark.parametrize("folder", ["labels/test", "test/labels", "labels/train/night", "Labels/test"])
def test_a_folder_of_labels_without_any_image_is_counted_and_listed(bench, folder):
    files = {**good_set(), **labels(*(f"{folder}/t{i}.txt" for i in range(5)))}
    _, report = found(bench, files)
    assert report["labels"] == {"found": 11, "kept": 6, "dropped": 5}
    assert report["dropped_by_code"] == {"LABEL_WITHOUT_IMAGE": 5}
    assert [f["file"] for f in report["findings"]] == [f"{folder}/t{i}.txt" for i in range(5)]


def test_other_texts_are_no_labels_of_no_image(bench):
    others = {
        "labels/list.txt": "images/train/a.jpg\n",
        "annotations/a.txt": "x 1 2 3 4\n",
        "measurements/a.txt": "1 2 3 4 5\n",
        "annotations/train/a.txt": BOX,  # an image's second label file; the first is the one that counts
    }
    _, report = found(bench, {**TWO, "data.yaml": TWO_YAML, **others})
    assert report["labels"] == {"found": 2, "kept": 2, "dropped": 0}
    assert [f["code"] for f in report["findings"]] == ["OTHER_LABELLING"]


# --- where the data.yaml's paths lead


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("configs/data.yaml", "train: ../images/train\nval: ../images/val\n"),
        ("configs/data.yaml", "path: ..\ntrain: images/train\nval: images/val\n"),
        ("configs/data.yaml", "path: ../images\ntrain: train\nval: val\n"),
        ("configs/deep/data.yaml", "train: ..\\..\\images\\train\nval: ../../images/val/../val\n"),
        ("configs/data.yaml", "train: ../lists/train.txt\nval: ../lists/val.txt\n"),
        ("data.yaml", "train: ../../images/train\nval: ../images/val\n"),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "wrapped/"])
def test_a_yaml_beside_its_set(bench, path, text, wrapper):
    lists = {"lists/train.txt": "../images/train/a.jpg\n", "lists/val.txt": "/home/me/../images/val/b.jpg\n"}
    files = {**TWO, **lists, path: f"{text}names: [x]\n", **images("images/spare/c.jpg")}
    by_split, report = found(bench, {wrapper + name: data for name, data in files.items()})
    assert by_split == {"train": ["a.jpg"], "val": ["b.jpg"]}
    assert [f["code"] for f in report["findings"] if f["code"] != "DUPLICATE_IMAGE"] == ["IMAGE_NOT_IN_SPLIT"]


def test_a_path_as_written_goes_before_its_ending(bench):
    files = {
        **TWO,
        **images("configs/images/train/z.jpg", "configs/images/val/y.jpg"),
        "configs/data.yaml": "train: ../images/train\nval: ../images/val\nnames: [x]\n",
    }
    by_split, _ = found(bench, files)
    assert by_split == {"train": ["a.jpg"], "val": ["b.jpg"]}


# --- a data.yaml that cannot be read

BROKEN = {
    "alias": ("train: &t images/train\nval: images/val\nother: *t\nnames: [x]\n", "alias (*), which is not read, in line 3"),
    "tab": ("train: images/train\nval:\timages/val\n\tnames: [x]\n", "in line "),
    "tab at a line's beginning": ("names:\n\t- x\n", "cannot start any token, in line 2"),
    "depth": ("names: " + "[" * 50, "nested more than 12 deep, in line 1"),
    "character": ("names: [x]\n\x00", "a character that YAML does not allow (U+0000)"),
    "escape": ('names: ["\\UFFFFFFFF"]\n', "damaged"),
    "size": ("names: [x]\n" + "#" * (600 << 10), "more than 524288 characters"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_yaml_is_named_with_its_error(bench, case):
    text, why = BROKEN[case]
    with pytest.raises(YardError) as caught:
        bench.run(zipped({**TWO, "data.yaml": text}))
    assert caught.value.reason is Reason.CLASSES_UNKNOWN
    assert caught.value.message.startswith("data.yaml was not read: ")
    assert why in caught.value.message


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_yaml_beside_a_list_of_classes_is_listed(bench, case):
    by_split, report = found(bench, {**TWO, "data.yaml": BROKEN[case][0], "classes.txt": "x\n"})
    assert by_split == {"train": ["a.jpg"], "val": ["b.jpg"]}
    [finding] = report["findings"]
    assert (finding["code"], finding["file"]) == ("YAML_UNREAD", "data.yaml")
    assert BROKEN[case][1] in finding["message"]


def test_a_broken_yaml_of_something_else_is_not_listed(bench):
    _, report = found(bench, {**TWO, "data.yaml": TWO_YAML, "compose.yaml": "services: &a\n\tx: *a\n"})
    assert not report["findings"]


# --- train and val alike


def alike(test):
    names = [f"train/train{i}" for i in range(10)] + [f"test/test{i}" for i in range(4)]
    return {
        "data.yaml": f"train: images/train\nval: images/train\ntest: {test}\nnames: [x]\n",
        **images(*(f"images/{name}.jpg" for name in names)),
        **labels(*(f"labels/{name}.txt" for name in names)),
    }


def test_train_and_val_alike_leave_test_as_it_is(bench):
    by_split, report = found(bench, alike("images/test"))
    assert by_split["test"] == [f"test{i}.jpg" for i in range(4)]
    assert (len(by_split["train"]), len(by_split["val"])) == (8, 2)
    [finding] = report["findings"]
    assert finding["code"] == "SPLITS_ALIKE"
    assert "test was kept" in finding["message"]
    assert report["split_reason"].startswith("drawn: train 0.8, val 0.2 with seed 0")
    assert "test, which was kept" in report["split_reason"]


def test_asked_for_shares_are_drawn_from_all_images(bench):
    by_split, _ = found(bench, alike("images/test"), split_ratios=(0.5, 0.5))
    assert {split: len(names) for split, names in by_split.items()} == {"train": 7, "val": 7}


def test_an_image_of_train_and_test_alike_stays_in_train_and_is_listed(bench):
    by_split, report = found(bench, alike("[images/test, images/train]"))
    assert len(by_split["test"]) == 4
    assert [f["code"] for f in report["findings"]].count("SPLIT_LEAKAGE") == 10


def test_a_kept_test_split_of_no_good_image_is_refused(bench):
    files = {path: b"" if path.startswith("images/test") else data for path, data in alike("images/test").items()}
    with pytest.raises(YardError) as caught:
        bench.run(zipped(files))
    assert (caught.value.reason, caught.value.metadata["split"]) == (Reason.SPLIT_EMPTY, "test")


def test_a_label_file_belongs_to_the_image_of_its_very_case(bench):
    """``A.jpg`` and ``a.jpg`` are two pictures; one label file is one picture's."""
    files = {
        "data.yaml": "train: images/train\nval: images/val\nnames: [thing]\n",
        "images/train/A.JPG": picture(1),
        "images/train/a.jpg": picture(2),
        "labels/train/a.txt": "0 .5 .5 .2 .2\n",
        "images/train/Only.JPG": picture(3),
        "labels/train/only.txt": "0 .4 .4 .2 .2\n",
        "images/val/b.jpg": picture(4),
        "labels/val/b.txt": "0 .5 .5 .2 .2\n",
    }
    version, _ = bench.run(zipped(files))
    held = {row.sha256: len(row.labels) for row in bench.rows(version)}
    assert [held[hashlib.sha256(picture(seed)).hexdigest()] for seed in (1, 2, 3, 4)] == [0, 1, 1, 1]


def test_an_image_without_labels_takes_none_from_another_labelling(bench):
    """coco128 has polygons of other classes in a tree of their own, also for the two images that have no boxes."""
    files = {
        "data.yaml": "train: images/train\nval: images/val\nnames: [thing]\n",
        **images("images/train/a.jpg", "images/train/bare.jpg", "images/val/b.jpg"),
        **labels("labels/train/a.txt", "labels/val/b.txt"),
        "labels_seg/train/bare.txt": "0 .1 .1 .5 .1 .3 .5\n",
        "labels_seg/train/a.txt": "0 .1 .1 .5 .1 .3 .5\n",
    }
    version, context = bench.run(zipped(files))
    assert version.label_count == 2
    assert {f["code"]: f["file"] for f in bench.report(context)["findings"]} == {"IMAGE_WITHOUT_LABELS": "images/train/bare.jpg"}


# --- what must not go by without a word


def finding(report, code):
    [found] = [f for f in report["findings"] if f["code"] == code]
    return found


def test_entries_of_a_list_without_an_image_are_listed(bench):
    files = {
        **TWO,
        "data.yaml": TWO_YAML.replace("images/train", "lists/train.txt"),
        "lists/train.txt": "images/train/a.jpg\n\nimages/gone.jpg\n",
    }
    _, report = found(bench, files)
    missing = finding(report, "SPLIT_ENTRY_WITHOUT_IMAGE")
    assert (missing["file"], missing["line"]) == ("lists/train.txt", 3)
    assert "'images/gone.jpg'" in missing["message"]


def test_one_of_several_places_of_a_split_that_leads_nowhere_is_listed(bench):
    _, report = found(bench, {**TWO, "data.yaml": TWO_YAML.replace("images/val", "[images/val, images/more]")})
    assert "names images/more as val" in finding(report, "SPLIT_MISSING")["message"]


def test_a_second_data_yaml_is_named_and_so_are_its_images(bench):
    second = {**images("b/train/images/c.jpg", "b/train/images/d.jpg"), "b/data.yaml": "train: train/images\nnames: [y]\n"}
    first = {f"a/{path}": content for path, content in {**TWO, "data.yaml": TWO_YAML}.items()}
    by_split, report = found(bench, {**first, **second})
    assert by_split == {"train": ["a.jpg"], "val": ["b.jpg"]}
    assert finding(report, "OTHER_LABELLING")["file"] == "b/data.yaml"
    passed_over = finding(report, "IMAGE_NOT_LISTED")
    assert (passed_over["severity"], passed_over["file"]) == ("WARNING", "b/train/images")
    assert "2 images that are no part of the labelling, b/train/images/c.jpg the first" in passed_over["message"]


def test_lists_of_classes_that_disagree_are_listed(bench):
    files = {**images("train/a.jpg", "val/b.jpg"), **labels("train/a.txt", "val/b.txt"), "train/classes.txt": "x\ny\n"}
    _, report = found(bench, {**files, "val/classes.txt": "y\nx\n"})
    assert finding(report, "CLASSES_MISMATCH")["file"] == "val/classes.txt"
    _, report = found(bench, {**files, "val/classes.txt": "x\r\ny\r\n\r\n"}, dataset="other")
    assert not report["findings"]


def test_rows_of_a_label_without_image_are_counted_though_the_first_is_damaged(bench):
    _, report = found(bench, {**TWO, "data.yaml": TWO_YAML, "labels/train/c.txt": "0 .5 .5 .2\n" + BOX})
    assert report["labels"] == {"found": 4, "kept": 2, "dropped": 2}
    assert report["dropped_by_code"] == {"LABEL_WITHOUT_IMAGE": 2}


def test_rows_that_name_classes_are_listed_one_by_one(bench):
    bad = dict.fromkeys(("labels/train/a.txt", "labels/val/b.txt"), "x .5 .5 .2 .2\n")
    context = bench.context(bench.spec(zipped({**TWO, **bad, "data.yaml": TWO_YAML})))
    with pytest.raises(YardError, match=r"MALFORMED_LABEL 2"):
        bench.attempt(context)
    assert [(f["file"], f["line"]) for f in bench.report(context)["findings"]] == [(path, 1) for path in bad]


def test_the_file_of_a_finding_may_hold_a_hash(bench):
    files = {**TWO, "data.yaml": TWO_YAML, "images/train/c #1.jpg": picture(9), "labels/train/c #1.txt": BOX + "7 .5 .5 .2 .2\n"}
    _, report = found(bench, files)
    unknown = finding(report, "UNKNOWN_CLASS")
    assert (unknown["file"], unknown["line"], unknown["image"]) == ("labels/train/c #1.txt", 2, "train/c #1.jpg")


def test_lists_of_images_beside_a_list_of_classes_tell_the_splits(bench):
    files = {
        "obj.names": "x\n",
        "train.txt": "data/obj/a.jpg\ndata/obj/c.jpg\n",
        "valid.txt": "C:\\darknet\\obj\\b.jpg\n",
        **images("obj/a.jpg", "obj/b.jpg", "obj/c.jpg"),
        **labels("obj/a.txt", "obj/b.txt", "obj/c.txt"),
    }
    by_split, report = found(bench, files)
    assert by_split == {"train": ["a.jpg", "c.jpg"], "val": ["b.jpg"]}
    assert report["split_reason"] == "source: train, val"


def test_a_visibility_that_is_no_whole_number_counts_as_seen_and_one_below_0_costs_its_label(bench):
    """Ultralytics takes whatever is not 0 for there, but drops a picture with a number below -0.01."""
    rows = "0 .5 .5 .4 .4 .5 .5 .97\n0 .5 .5 .3 .3 .5 .5 3\n0 .5 .5 .2 .2 .5 .5 -1\n0 .5 .5 .1 .1 .5 .5 1\n"
    files = {**TWO, "labels/train/a.txt": rows, "labels/val/b.txt": "0 .5 .5 .4 .4 .5 .5 2\n"}
    version, context = bench.run(zipped({**files, "data.yaml": TWO_YAML + "kpt_shape: [1, 3]\n"}))
    row = next(iter(bench.rows(version)))
    assert [label.points[2] for label in row.labels] == [1.0, 2.0, 2.0]
    (text,) = label_texts(label_lists([row.labels]), version)
    assert [line.split()[-1] for line in text.splitlines()] == ["1", "2", "2"]
    report = bench.report(context)
    assert report["dropped_by_code"] == {"MALFORMED_LABEL": 1}
    assert " 2 labels" in finding(report, "VISIBILITY_UNKNOWN")["message"]


def test_a_second_label_file_of_an_image_is_named(bench):
    _, report = found(bench, {**TWO, "data.yaml": TWO_YAML, "images/train/a.txt": "0 .1 .1 .1 .1\n", "images/val/b.txt": "a caption\n"})
    assert report["labels"]["kept"] == 2
    assert (
        "a second file of labels, which were not read: images/train/a.txt beside that of images/train/a.jpg"
        in finding(report, "OTHER_LABELLING")["message"]
    )
