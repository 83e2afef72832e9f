"""Image folders for classification: what is told as one, what is not, and which classes and splits they make."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labellings import named, read_all
from tests.unit.dataset.conftest import BOX, images, voc, zipped

from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.folders import find_folders
from visionyard.dataset.formats.shapes import Shape
from visionyard.kit.errors import Reason, YardError


def classes_of(source):
    """Split and class of each image."""
    read = read_all(source)
    return {i.path: (i.split, *named(source, read.kept[i.path])) for i in source.images}


def tree_of(*paths):
    return dict.fromkeys(paths, b"")


LAYOUTS = {
    "splits of classes": {
        "train/cat/1.jpg": ("train", "cat"),
        "train/dog/2.jpg": ("train", "dog"),
        "val/cat/3.jpg": ("val", "cat"),
        "test/dog/4.jpg": ("test", "dog"),
    },
    "one tree": {"cat/1.jpg": ("", "cat"), "dog/2.jpg": ("", "dog"), "Ant/3.jpg": ("", "Ant")},
    "classes of splits": {"cat/train/1.jpg": ("train", "cat"), "cat/valid/2.jpg": ("val", "cat"), "dog/train/3.jpg": ("train", "dog")},
    "wrapped": {"flowers/images/train/rose/1.jpg": ("train", "rose"), "flowers/images/val/tulip/2.jpg": ("val", "tulip")},
    "a wrapper called as a split": {"train/cat/1.jpg": ("train", "cat"), "train/dog/2.jpg": ("train", "dog")},
    "folders below a class": {"a/x/1.jpg": ("", "a"), "a/2.jpg": ("", "a"), "b/y/z/3.jpg": ("", "b")},
    "a class that a split lacks": {
        "train/cat/1.jpg": ("train", "cat"),
        "train/dog/2.jpg": ("train", "dog"),
        "val/eel/3.jpg": ("val", "eel"),
    },
    "imagenet's names": {"train/n01440764/1.JPEG": ("train", "n01440764"), "val/n01443537/2.JPEG": ("val", "n01443537")},
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(plant, case):
    source = read_source(plant(tree_of(*LAYOUTS[case])), "")
    assert (source.format, source.task) == ("folders", "classify")
    assert classes_of(source) == LAYOUTS[case]
    assert source.class_names() == tuple(sorted({name for _, name in LAYOUTS[case].values()}))
    assert {row.shape for rows in read_all(source).kept.values() for row in rows} == {Shape.IMAGE}


NO_CLASSES = [
    ("images/train/1.jpg", "images/val/2.jpg"),
    ("train/images/1.jpg", "valid/images/2.jpg", "test/images/3.jpg"),
    ("JPEGImages/1.jpg", "SegmentationClass/1.png", "SegmentationObject/1.png"),
    ("images/1.jpg", "masks/1.png"),
    ("cat/1.jpg", "dog/2.jpg", "masks/1.png"),
    ("obj_train_data/1.jpg", "obj_valid_data/2.jpg"),
    ("cat/1.jpg", "cat/2.jpg"),
    ("1.jpg", "2.jpg"),
    ("train/1.jpg", "val/2.jpg", "test/3.jpg"),
    ("labels/1.jpg", "cat/1.jpg"),
    ("train2017/1.jpg", "val2017/2.jpg"),
]


@pytest.mark.parametrize("paths", NO_CLASSES)
def test_other_trees_of_images_are_none(plant, paths):
    tree = plant(tree_of(*paths))
    assert find_folders(tree) == []
    with pytest.raises(YardError) as caught:
        read_source(tree, "")
    assert caught.value.reason is Reason.NO_LABELS


@pytest.mark.parametrize("text", [{"cat/1.txt": "no labels"}, {"cat/1.xml": "<broken"}, {"elsewhere/1.json": "{"}, {"DOG/2.TXT": "x"}])
def test_images_with_texts_of_their_names_are_not_taken_for_it_silently(plant, text):
    files = {**tree_of("cat/1.jpg", "dog/2.jpg"), **text}
    with pytest.raises(YardError) as caught:
        read_source(plant(files), "")
    assert caught.value.reason in {Reason.NO_LABELS, Reason.FORMAT_UNKNOWN}
    assert read_source(plant(files), "folders").class_names() == ("cat", "dog")


@pytest.mark.parametrize(
    ("labels", "format_"),
    [({"cat/1.txt": BOX, "classes.txt": "x\n"}, "yolo"), ({"cat/1.xml": voc("1.jpg", ("x", 1, 1, 9, 9))}, "voc")],
)
def test_any_labels_go_before_folders(plant, labels, format_):
    assert read_source(plant({**tree_of("cat/1.jpg", "dog/2.jpg"), **labels}), "").format == format_


def test_texts_about_the_set_are_no_matter(plant):
    files = {**tree_of("cat/1.jpg", "dog/2.jpg"), "README.md": b"", "LICENSE.txt": b"x", "meta.csv": b"a,b\n", "info.json": b"{}"}
    assert read_source(plant(files), "").format == "folders"


def test_an_image_in_no_class_has_no_labels_and_one_in_no_split_is_left_out(plant):
    source = read_source(plant(tree_of("train/cat/1.jpg", "val/dog/2.jpg", "train/3.jpg", "4.jpg", "spare/cat/5.jpg")), "")
    assert [image.path for image in source.images if not image.labels] == ["train/3.jpg"]
    assert [image.path for image in source.left_out] == ["4.jpg", "spare/cat/5.jpg"]


def test_names_with_every_character(plant):
    names = ["a b", "ä#1", "c.d", "'; DROP TABLE files", "日本", "-"]
    wanted = {f"{name}/1.jpg": ("", name) for name in names if name != "-"}
    source = read_source(plant(tree_of(*wanted)), "")
    assert classes_of(source) == wanted


def test_more_classes_than_are_read_are_no_classification(plant):
    assert find_folders(plant(tree_of(*(f"{i}/1.jpg" for i in range(10_001))))) == []


def test_a_whole_import(bench):
    files = images(
        *(f"{split}/{name}/{split}{name}{i}.jpg" for split in ("train", "val") for name in ("b", "a") for i in range(3)), "train/stray.jpg"
    )
    version, context = bench.run(zipped(files))
    report = bench.report(context)
    assert (version.task, version.class_names, version.image_count, version.label_count) == ("classify", ("a", "b"), 12, 12)
    assert report["images"] == {"found": 13, "kept": 12, "dropped": 1}
    assert [(f["code"], f["file"]) for f in report["findings"]] == [("IMAGE_WITHOUT_CLASS", "train/stray.jpg")]
    assert {row.name: version.class_names[row.labels[0].class_id] for row in bench.rows(version)} == {
        path.rpartition("/")[2]: path.split("/")[1] for path in files if path != "train/stray.jpg"
    }


def test_a_split_is_drawn_for_one_tree(bench):
    version, context = bench.run(zipped(images(*(f"{name}/{name}{i}.jpg" for name in "ab" for i in range(10)))))
    assert {split.name: split.image_count for split in version.splits} == {"train": 16, "val": 4}
    assert bench.report(context)["split_reason"].startswith("drawn")


paths = st.lists(
    st.lists(st.sampled_from(["train", "val", "test2017", "cat", "dog", "images", "a#b", "x", ".", "é"]), max_size=4),
    min_size=1,
    max_size=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths)
def test_any_tree_is_read_or_passed_over(plant, folders):
    tree = plant(tree_of(*("/".join((*folder, f"{i}.jpg")) for i, folder in enumerate(folders))))
    for labelling in find_folders(tree):
        source = labelling.source
        assert len(source.images) + len(source.left_out) == len(folders)
        assert len(source.class_names()) > 1
        read_all(source)


def test_the_real_flowers(plant, test_data):
    folder = test_data / "cls_flowers5"
    files = {str(path.relative_to(folder)): b"" for path in folder.rglob("*") if path.is_file()}
    source = read_source(plant(files), "")
    found = classes_of(source)
    assert source.class_names() == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    assert found == {path: tuple(path.split("/")[:2]) for path in files if path.endswith(".jpg")}
    assert [sum(split == name for split, _ in found.values()) for name in ("train", "val")] == [120, 30]
