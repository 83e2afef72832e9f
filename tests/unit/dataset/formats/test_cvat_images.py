"""CVAT's XML: which images its labels belong to, their splits, files that are cut off or none of CVAT's, a real export."""

import pytest
from cvat_documents import META, box, cvat, image, read
from labellings import codes, named, pixels, read_all

from visionyard.dataset.formats.cvat import find_cvat
from visionyard.dataset.formats.detect import read_source
from visionyard.kit.errors import Reason, YardError


@pytest.mark.parametrize(("subset", "split"), [("Train", "train"), ("Validation", "val"), ("test", "test"), ("default", ""), ("", "")])
def test_subsets_are_splits(plant, subset, split):
    source, _ = read(plant, image("a.jpg", box(), subset=subset))
    assert [found.split for found in source.images] == [split]
    meta = META.replace("<labels>", f"<subset>{subset}</subset><labels>")
    source, _ = read(plant, image("a.jpg", box()), meta=meta)
    assert [found.split for found in source.images] == [split]


def test_subsets_tell_images_of_one_name_apart(plant):
    files = {"images/Train/a.jpg": b"", "images/Test/a.jpg": b""}
    meta = META.replace("task>", "project>")
    listed = cvat(image("a.jpg", box(), subset="Train"), image("a.jpg", box(label="zebra"), subset="Test"), meta=meta)
    source = read_source(plant({**files, "annotations.xml": listed}), "")
    rows = read_all(source)
    assert {path: named(source, found) for path, found in rows.kept.items()} == {
        "images/Train/a.jpg": ["ant"],
        "images/Test/a.jpg": ["zebra"],
    }
    assert source.class_names() == ("zebra", "ant")


def test_several_files_are_one_labelling(plant):
    files = {"train/images/a.jpg": b"", "val/images/b.jpg": b""}
    files["train/annotations.xml"] = cvat(image("a.jpg", box()))
    files["val/annotations.xml"] = cvat(
        image("b.jpg", box(label="bee")), meta="<meta><task><labels><label><name>bee</name></label></labels></task></meta>"
    )
    source = read_source(plant(files), "")
    assert [(found.path, found.split) for found in source.images] == [("train/images/a.jpg", "train"), ("val/images/b.jpg", "val")]
    assert source.class_names() == ("zebra", "ant", "bee")


def test_an_image_listed_twice_gets_all_its_labels(plant):
    source, rows = read(plant, image("a.jpg"), image("images/A.JPG", box()))
    assert len(rows.kept["images/a.jpg"]) == 1
    assert codes(source) == ["IMAGE_NAMED_TWICE"]


def test_labels_without_images(plant):
    source = read_source(plant({"annotations.xml": cvat(image("x/a.jpg", box(), box(label="")), image("b.jpg"))}), "")
    rows = read_all(source)
    assert {name: len(found) for name, found in rows.orphans.items()} == {"x/a.jpg": 1}
    assert rows.found == 2
    assert codes(source) == ["LISTED_IMAGE_MISSING"]


def test_a_cut_off_file_gives_what_it_has(plant):
    whole = cvat(image("a.jpg", box()), image("b.jpg", box()))
    source = read_source(plant({"images/a.jpg": b"", "annotations.xml": whole[: whole.index("b.jpg")]}), "")
    assert codes(source) == ["MALFORMED_ANNOTATION"]
    assert read_all(source).found == 1


@pytest.mark.parametrize("at", ["<box", "></box>", "</image>"])
def test_the_image_within_which_a_file_is_cut_off_is_not_read(plant, at):
    """What stood behind the damage is not known: without shapes it is no background, and with some these may not be all."""
    files = {"images/a.jpg": b"", "images/b.jpg": b"", "images/c.jpg": b""}
    whole = cvat(image("a.jpg", box()), image("b.jpg", box(), box(1, 1, 9, 9)), image("c.jpg"))
    source = read_source(plant({**files, "annotations.xml": whole[: whole.index(at, whole.index("b.jpg"))]}), "")
    rows = read_all(source)
    assert (sorted(rows.kept), len(rows.unread), list(rows.left_out)) == (["images/a.jpg"], 1, ["images/c.jpg"])
    twice = cvat(image("b.jpg", box()), image("b.jpg", box()))
    source = read_source(plant({**files, "annotations.xml": twice[: twice.rindex("<box")]}), "")
    assert (read_all(source).kept, len(read_all(source).unread)) == ({}, 1)


def test_of_a_video_that_is_cut_off_no_frame_is_read(plant):
    """Its tracks stand one after the other, so that any frame may have more."""
    files = {f"frame_00000{i}.jpg": b"" for i in range(3)}
    boxes = [f'<box frame="{i}" xtl="1" ytl="1" xbr="9" ybr="9" outside="0" keyframe="1"></box>' for i in range(2)]
    whole = cvat(*(f'<track id="{i}" label="ant">{drawn}</track>' for i, drawn in enumerate(boxes)))
    source = read_source(plant({**files, "annotations.xml": whole}), "")
    assert {path: len(found) for path, found in read_all(source).kept.items()} == {path: path < "frame_000002" for path in files}
    source = read_source(plant({**files, "annotations.xml": whole[: whole.rindex("<track")]}), "")
    rows = read_all(source)
    assert (rows.kept, len(rows.unread), sorted(rows.left_out)) == ({}, 1, ["frame_000001.jpg", "frame_000002.jpg"])


def test_sizes_are_compared(plant):
    source, _ = read(plant, image("a.jpg", box(), size=(100, 200)))
    assert codes(source) == ["SIZE_MISMATCH"]
    assert "100 x 200" in source.notes.items[0][1]


OTHERS = [
    "<annotation><object/></annotation>",
    "<annotations/>",
    "<annotations><other/></annotations>",
    "<x><annotations><meta/></annotations></x>",
    "",
    "<annotations",
]


@pytest.mark.parametrize("text", OTHERS)
def test_other_xml_is_none_of_cvats(plant, text):
    assert find_cvat(plant({"a.jpg": b"", "a.xml": text})) == []


def test_utf_16_is_read(plant):
    text = cvat(image("a.jpg", box())).replace("utf-8", "utf-16")
    source = read_source(plant({"a.jpg": b"", "a.xml": text.encode("utf-16")}), "")
    assert read_all(source).found == 1


def test_entities_are_refused(plant):
    bomb = '<!DOCTYPE a [<!ENTITY x "y">]>' + cvat(image("a.jpg")).partition("?>")[2]
    with pytest.raises(YardError) as refused:
        find_cvat(plant({"a.xml": bomb}))
    assert refused.value.reason is Reason.ANNOTATION_BOMB


def test_cancelling_is_heard_within_a_file(plant):
    class Stopped(Exception):
        pass

    heard = []

    def check():
        heard.append(1)
        if len(heard) > 500:
            raise Stopped

    tree = plant({"a.xml": cvat(*(image(f"{i}.jpg", box()) for i in range(1000)))}, check)
    with pytest.raises(Stopped):
        read_source(tree, "")


def test_the_real_export(plant, test_data):
    folder = test_data / "formats_2label/cvat1.1"
    files = {f"images/{path.name}": b"" for path in (folder / "images").iterdir()}
    source = read_source(plant({**files, "annotations.xml": (folder / "annotations.xml").read_bytes()}), "")
    sizes = {"birds.jpg": (1000, 666), "crack.jpeg": (1280, 720), "shapes.jpg": (588, 643), "strawberry.jpg": (800, 800)}
    rows = read_all(source, {f"images/{name}": size for name, size in sizes.items()})
    assert source.format == "cvat"
    assert source.class_names() == ("rectangle", "triangle", "circle", "ellipse", "line", "crack", "bird", "strawberry")
    kept = {path.removeprefix("images/"): len(found) for path, found in rows.kept.items()}
    assert kept == {"birds.jpg": 2, "crack.jpeg": 0, "shapes.jpg": 4, "strawberry.jpg": 17}
    assert (rows.found, [code for code, *_ in rows.problems]) == (25, ["UNSUPPORTED_SHAPE"] * 2)
    assert codes(source) == []
    assert (326.84, 681.24, 368.65, 730.64) in [pixels(row, (800, 800)) for row in rows.kept["images/strawberry.jpg"]]


def test_labels_are_scaled_with_a_picture_that_was_scaled_since(plant):
    _, rows = read(plant, image("a.jpg", box()))
    (half,) = rows.kept["images/a.jpg"]
    _, rows = read(plant, image("a.jpg", box(), size=(400, 200)))
    (row,) = rows.kept["images/a.jpg"]
    assert (row.cx, row.cy, row.w, row.h) == (half.cx / 2, half.cy / 2, half.w / 2, half.h / 2)


@pytest.mark.parametrize("names", [("train/0.jpg", "test/0.jpg"), ("test/0.jpg", "train/0.jpg")])
def test_labels_of_a_missing_picture_are_not_put_on_another_folder_s_of_its_name(plant, names):
    source = read_source(plant({"annotations.xml": cvat(*(image(name, box()) for name in names)), "train/0.jpg": b""}), "")
    rows = read_all(source)
    assert {name: len(found) for name, found in rows.kept.items()} == {"train/0.jpg": 1}
    assert {name: len(found) for name, found in rows.orphans.items()} == {"test/0.jpg": 1}


def test_labels_of_a_missing_picture_are_not_put_on_another_subset_s_of_its_name(plant):
    listed = [image("0.jpg", box(), subset=subset) for subset in ("Train", "Validation")]
    rows = read_all(read_source(plant({"annotations.xml": cvat(*listed), "images/Train/0.jpg": b""}), ""))
    assert {name: len(found) for name, found in rows.kept.items()} == {"images/Train/0.jpg": 1}
    assert rows.found == 2
