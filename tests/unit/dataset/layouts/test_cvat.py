"""A version as CVAT's files: what is written, that it comes back the same, and how predictions do."""

import math
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dataset.conftest import BOX, YAML, images, picture, zipped

from visionyard.dataset.formats.shapes import rotated_corners
from visionyard.dataset.layouts.cvat import CvatLayout, rotated_box
from visionyard.dataset.layouts.registry import LAYOUTS
from visionyard.kit.artifacts.dataset import read_images
from visionyard.kit.artifacts.manifest import Label
from visionyard.kit.errors import Reason, YardError


def written(bench, version, rows=None):
    """The files of a version in CVAT's layout."""
    rows = bench.rows(version) if rows is None else rows
    data = {(row.split, row.name): content for row, content in read_images(bench.store, rows, version)}
    files = {}
    for file in CvatLayout().files(version, lambda: iter(rows)):
        content = data[file.row.split, file.row.name] if file.row else b"".join(file.text())
        assert len(content) == file.size
        assert file.path not in files
        files[file.path] = content
    return files


def in_pixels(version, rows):
    """What a version holds, in pixels: by split and name its labels, each with its class's name."""
    names = [c.name for c in version.classes]
    sizes = {(row.split, row.name): (row.width, row.height) for row in rows}
    return sizes, {
        (row.split, row.name): sorted(
            (names[label.class_id], *(round(v * (row.width, row.height)[i % 2], 4) for i, v in enumerate((*label[1:5], *label.points))))
            for label in row.labels
        )
        for row in rows
    }


def yolo(rows, names="[thing, other]", **more):
    """A YOLO set of two images, the first with these rows."""
    files = {"data.yaml": YAML.replace("[thing, other]", names), **images("images/train/a.jpg", "images/val/a.jpg"), **more}
    return zipped({**files, "labels/train/a.txt": rows, "labels/val/a.txt": rows})


TURNED = " ".join(repr(value / (64, 48)[i % 2]) for i, value in enumerate(rotated_corners(32, 24, 20, 10, 30)))
SETS = {
    "detect": "0 0.5 0.5 0.2 0.2\n1 0.3 0.25 0.123456789 0.31\n",
    "segment": "0 0.1 0.1 0.5 0.1 0.3 0.6\n1 0.9 0.1 0.8 0.7 0.6123 0.6 0.5 0.2 0.7 0.05\n",
    "obb": f"0 {TURNED}\n1 0.3 0.2 0.6 0.2 0.6 0.4 0.3 0.4\n",
}


@pytest.mark.parametrize("task", SETS)
def test_what_is_written_is_read_back(bench, task):
    version, _ = bench.run(yolo(SETS[task]))
    assert version.task == task
    rows = bench.rows(version)
    files = written(bench, version)
    assert sorted(files) == ["annotations.xml", "images/train/a.jpg", "images/val/a.jpg"]
    assert written(bench, version) == files
    again, context = bench.run(zipped(files), dataset="again")
    assert (again.task, again.class_names) == (task, ("thing", "other"))
    found, wanted = in_pixels(again, bench.rows(again)), in_pixels(version, rows)
    assert found[0] == wanted[0]
    assert found[1].keys() == wanted[1].keys()
    for key, labels in wanted[1].items():
        for one, other in zip(found[1][key], labels, strict=True):
            assert one == (other[0], *(pytest.approx(value, abs=0.001) for value in other[1:]))
    assert bench.report(context)["labels"]["dropped"] == 0


def test_classes_of_whole_pictures(bench):
    files = {
        f"{split}/{name}/{i}.jpg": picture(i + (split == "val") * 10 + (name == "dog") * 100)
        for split in ("train", "val")
        for name in ("cat", "dog")
        for i in range(2)
    }
    xml = "".join(f'<image id="{i}" name="{path}"><tag label="{path.split("/")[1]}"></tag></image>' for i, path in enumerate(files))
    meta = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"
    version, _ = bench.run(zipped({**files, "annotations.xml": f"<annotations>{meta}{xml}</annotations>"}))
    assert (version.task, version.class_names) == ("classify", ("dog", "cat"))
    again, _ = bench.run(zipped(written(bench, version)), dataset="again")
    assert again.digest == version.digest


def test_awkward_names_and_background(bench):
    names = ['a & "b"<c>', "ünï / 'x'"]
    files = {
        "data.yaml": f"train: images/train\nval: images/val\nnames: [{', '.join(repr(n) if chr(39) not in n else chr(34) + n + chr(34) for n in names)}]\n"
    }
    files |= images("images/train/q & a's.jpg", "images/train/back.jpg", "images/val/ü.jpg")
    files |= {"labels/train/q & a's.txt": BOX, "labels/val/ü.txt": "1" + BOX[1:]}
    version, _ = bench.run(zipped(files))
    assert version.class_names == tuple(names)
    again, _ = bench.run(zipped(written(bench, version)), dataset="again")
    assert again.class_names == tuple(names)
    assert in_pixels(again, bench.rows(again)) == in_pixels(version, bench.rows(version))


def test_predictions_are_marked_and_come_back_as_persons(bench):
    version, _ = bench.run(yolo(BOX))
    rows = [row._replace(labels=(*row.labels, Label(1, 0.25, 0.25, 0.1, 0.1, (), 0.875))) for row in bench.rows(version)]
    files = written(bench, version, rows)
    found = ET.fromstring(files["annotations.xml"]).findall("image/box")
    assert [(box.get("source"), box.findtext("attribute")) for box in found[:2]] == [("manual", None), ("auto", "0.875")]
    again, context = bench.run(zipped(files), dataset="again")
    assert [[label.confidence for label in row.labels] for row in bench.rows(again)] == [[None, None]] * 2
    assert [f["message"] for f in bench.report(context)["findings"] if f["code"] == "PREDICTED"] == [
        'annotations.xml has 2 labels that a model drew (source="auto") and nobody changed in CVAT; they count as persons\' labels'
    ]


def test_only_a_version_with_predictions_declares_their_confidence(bench):
    version, _ = bench.run(yolo(BOX))
    assert b"confidence" not in written(bench, version)["annotations.xml"]


def test_the_file_is_what_cvat_and_others_read(bench):
    version, _ = bench.run(yolo(SETS["detect"]))
    root = ET.fromstring(written(bench, version)["annotations.xml"])
    assert root.findtext("version") == "1.1"
    labels = [(label.findtext("name"), label.findtext("type")) for label in root.findall("meta/project/labels/label")]
    assert labels == [("thing", "rectangle"), ("other", "rectangle")]
    colours = [label.findtext("color") for label in root.findall("meta/project/labels/label")]
    assert len(set(colours)) == 2
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)
    assert [(i.get("id"), i.get("name"), i.get("subset"), i.get("width"), i.get("height")) for i in root.findall("image")] == [
        ("0", "a.jpg", "train", "64", "48"),
        ("1", "a.jpg", "val", "64", "48"),
    ]


def test_ids_count_in_the_order_of_the_images_paths(bench):
    names = images("images/test/a.jpg", "images/train/b.jpg", "images/train/c.jpg", "images/val/a.jpg")
    files = {"data.yaml": YAML + "test: images/test\n", **names}
    version, _ = bench.run(zipped({**files, **{path.replace("images", "labels").replace("jpg", "txt"): BOX for path in names}}))
    root = ET.fromstring(written(bench, version)["annotations.xml"])
    assert root.findtext("meta/project/subsets") == "train\nval\ntest"
    ids = {(image.get("subset"), image.get("name")): int(image.get("id")) for image in root.findall("image")}
    assert [key for key, _ in sorted(ids.items(), key=lambda item: item[1])] == sorted(ids)
    assert sorted(ids.values()) == [0, 1, 2, 3]


def test_poses_are_refused(bench):
    version, _ = bench.run(yolo(BOX))
    with pytest.raises(YardError) as refused:
        list(CvatLayout().files(replace(version, task="pose"), lambda: iter(())))
    assert refused.value.reason is Reason.UNSUPPORTED_TASK
    assert "pose" in str(refused.value)


def test_it_has_a_name():
    assert isinstance(LAYOUTS["cvat"], CvatLayout)


SIDES = st.floats(1, 4000)


@settings(max_examples=200, deadline=None)
@given(cx=st.floats(0, 4000), cy=st.floats(0, 4000), width=SIDES, height=SIDES, degrees=st.floats(-720, 720))
def test_a_rotated_boxs_corners_are_kept(cx, cy, width, height, degrees):
    corners = rotated_corners(cx, cy, width, height, degrees)
    again = rotated_corners(*rotated_box(list(corners)))
    assert again == pytest.approx(corners, abs=0.01)
    assert 0 <= rotated_box(list(corners))[4] < 360


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 4000), min_size=8, max_size=8))
def test_four_corners_of_no_box_get_the_smallest_box_around_them(corners):
    box = rotated_corners(*rotated_box(corners))
    # Every corner lies in the box: its shadow on each side falls between the side's ends.
    edges = [(box[0] - box[2 * i], box[1] - box[2 * i + 1]) for i in (1, 3)]
    for x, y in zip(corners[0::2], corners[1::2], strict=True):
        for dx, dy in edges:
            length = math.hypot(dx, dy)
            if length > 1:
                share = ((box[0] - x) * dx + (box[1] - y) * dy) / length
                assert -1 <= share <= length + 1
