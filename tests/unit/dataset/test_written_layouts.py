"""Versions written as YOLO, COCO and Pascal VOC, and read again: the same images, splits, classes and labels."""

import json
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.dataset.conftest import good_set, zipped

from visionyard.dataset.archives.entry import Entry
from visionyard.dataset.findings import Report
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.labelled import clean_class_name
from visionyard.dataset.formats.shapes import Shape
from visionyard.dataset.labels import check_labels
from visionyard.dataset.layouts.registry import LAYOUTS
from visionyard.dataset.names import plain_name
from visionyard.dataset.source import SourceTree
from visionyard.kit.artifacts.dataset import DatasetClass, DatasetSplit, KeypointLayout, read_images
from visionyard.kit.artifacts.manifest import SPLITS, Label, ManifestRow, label_order, row_order
from visionyard.kit.errors import Reason, YardError


def version_of(rows, classes=("x", "y"), task="detect", keypoints=None):
    """What the layouts ask of a version."""
    counts = {split: [row for row in rows if row.split == split] for split in SPLITS}
    return SimpleNamespace(
        name="projects/default/datasets/d/versions/1",
        task=task,
        classes=tuple(DatasetClass(i, name, 0) for i, name in enumerate(classes)),
        class_names=tuple(classes),
        splits=tuple(DatasetSplit(split, len(held), sum(len(row.labels) for row in held)) for split, held in counts.items() if held),
        keypoints=keypoints,
    )


def row(name, split="train", labels=(), size=(640, 480)):
    return ManifestRow(f"{split}/{name}", name, split, *size, "shard", 0, 10, tuple(sorted(labels, key=label_order)))


def written(version, rows, layout):
    """The layout's texts by path, and the row of each image."""
    texts, images = {}, {}
    for file in LAYOUTS[layout].files(version, lambda: iter(rows)):
        assert file.path not in texts
        assert file.path not in images
        if file.text is None:
            images[file.path] = file.row
            assert file.size == file.row.length
        else:
            texts[file.path] = b"".join(file.text())
            assert len(texts[file.path]) == file.size
            assert b"".join(file.text()) == texts[file.path]
    return texts, images


def read_back(folder, texts, images, layout):
    """The source that the files are, as rows: each image's labels as an import keeps them."""
    with SourceTree(folder) as tree:
        for path, data in texts.items():
            tree.add(Entry(path, len(data), too_large=False), data)
        for path in images:
            tree.add(Entry(path, 0, too_large=False), None)
        tree.finish()
        source = read_source(tree, "")
        assert source.format == layout
        report, rows = Report(), []
        for found in source.images:
            image = images[found.path]
            kept = check_labels(source.rows(found.labels, image.width, image.height) if found.labels else (), found.path, report)
            rows.append((found, image, kept))
        final, names = source.final_class_ids(), source.class_names()
        assert not report.to_json()["findings"]
        assert not source.notes.items
        assert not len(source.orphans) + len(source.left_out)
        read = []
        for found, image, kept in rows:
            labels = [Label(final[one.class_id], one.cx, one.cy, one.w, one.h, one.points, one.confidence) for one in kept]
            read.append(
                image._replace(split=found.split, name=found.path.rpartition("/")[2], labels=tuple(sorted(labels, key=label_order)))
            )
        return SimpleNamespace(
            classes=names,
            rows=sorted(read, key=row_order),
            keypoints=source.keypoints,
            shapes={one.shape for *_, kept in rows for one in kept},
        )


def farthest(one, other):
    """The largest distance in pixels between corners of the same labels of two images."""
    assert [label.class_id for label in one.labels] == [label.class_id for label in other.labels]
    assert [label.confidence for label in one.labels] == [label.confidence for label in other.labels]
    scale = max(one.width, one.height)
    values = [
        (a, b)
        for first, second in zip(one.labels, other.labels, strict=True)
        for a, b in zip((*first[1:5], *first.points), (*second[1:5], *second.points), strict=True)
    ]
    return max((abs(a - b) * scale for a, b in values), default=0)


BOX = Label(0, 0.5, 0.5, 0.25, 0.25)
AWKWARD = (
    "plain", "with space", "a:b", "a,b", '"quoted"', "<tag> & entity", "#hash", "# label:color_rgb:parts:actions", "ünï 日本", "background",
    "no", "1e3", "a/b\\c", "x:1,2,3", "''", "{}", "-", "%s",
)  # fmt: skip


@pytest.mark.parametrize("layout", ["coco", "voc"])
def test_awkward_names_come_back(tmp_path, layout):
    rows = sorted(
        (
            row(plain_name(f"{name}.jpg", "jpg"), split, [Label(i, 0.5, 0.5, 0.1, 0.1)])
            for i, name in enumerate(AWKWARD)
            for split in SPLITS
        ),
        key=row_order,
    )
    back = read_back(tmp_path, *written(version_of(rows, AWKWARD), rows, layout), layout)
    assert back.classes == AWKWARD
    assert [(one.sha256, one.split, one.labels[0].class_id) for one in sorted(back.rows, key=lambda one: one.sha256)] == [
        (one.sha256, one.split, one.labels[0].class_id) for one in sorted(rows, key=lambda one: one.sha256)
    ]


@pytest.mark.parametrize("layout", ["coco", "voc"])
def test_unused_classes_and_empty_images_stay(tmp_path, layout):
    rows = [row("a.jpg"), row("b.png", labels=[Label(2, 0.5, 0.5, 0.1, 0.1)]), row("c.jpg", "val")]
    back = read_back(tmp_path, *written(version_of(rows, ("z", "y", "x", "w")), rows, layout), layout)
    assert back.classes == ("z", "y", "x", "w")
    assert [(one.name, one.split, len(one.labels)) for one in back.rows] == [
        ("a.jpg", "train", 0),
        ("b.png", "train", 1),
        ("c.jpg", "val", 0),
    ]


def test_coco_as_pycocotools_wants_it():
    rows = [row("a.jpg", labels=[BOX, Label(1, 0.5, 0.5, 1, 1)]), row("b.jpg", "val"), row("c.jpg", "val", [BOX])]
    texts, images = written(version_of(rows), rows, "coco")
    assert list(texts) == ["annotations/instances_train.json", "annotations/instances_val.json"]
    assert list(images) == ["images/train/a.jpg", "images/val/b.jpg", "images/val/c.jpg"]
    train, val = map(json.loads, texts.values())
    assert [c["id"] for c in train["categories"]] == [1, 2]
    assert train["images"] == [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}]
    assert train["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [240.0, 180.0, 160.0, 120.0],
        "area": 19200.0,
        "iscrowd": 0,
        "segmentation": [],
    }
    assert [one["id"] for one in val["images"]] == [2, 3]
    assert [(one["id"], one["image_id"]) for one in val["annotations"]] == [(3, 3)]


def test_voc_as_its_readers_want_it():
    rows = [row("a.jpg", labels=[BOX]), row("b.jpg", "val")]
    texts, images = written(version_of(rows, ("a & b", "y")), rows, "voc")
    assert texts["labelmap.txt"].decode() == "# label:color_rgb:parts:actions\na & b:::\ny:::\n"
    assert texts["ImageSets/Main/val.txt"] == b"b\n"
    assert list(images) == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]
    tree = ET.fromstring(texts["Annotations/a.xml"])
    assert tree.findtext("filename") == "a.jpg"
    assert [tree.findtext(f"size/{key}") for key in ("width", "height", "depth")] == ["640", "480", "3"]
    assert tree.findtext("object/name") == "a & b"
    assert [tree.findtext(f"object/bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")] == ["240.0", "180.0", "400.0", "300.0"]
    assert ET.fromstring(texts["Annotations/b.xml"]).find("object") is None


def test_names_that_several_splits_have_differ_in_voc(tmp_path):
    rows = sorted(
        (row(name, split, [BOX]) for name, split in (("a.jpg", "train"), ("A.png", "val"), ("a-val.jpg", "val"), ("a.jpg", "test"))),
        key=row_order,
    )
    texts, images = written(version_of(rows), rows, "voc")
    names = [path.removeprefix("JPEGImages/") for path in images]
    assert names[0] == "a.jpg"
    assert "a-val.jpg" in names
    assert "a-test.jpg" in names
    assert len({name.rpartition(".")[0].casefold() for name in names}) == 4
    assert sorted(one.split for one in read_back(tmp_path, texts, images, "voc").rows) == ["test", "train", "val", "val"]


@pytest.mark.parametrize(("layout", "tasks"), [("coco", ["classify"]), ("voc", ["segment", "pose", "obb", "classify"])])
def test_tasks_that_a_layout_cannot_hold_are_refused(layout, tasks):
    for task in tasks:
        with pytest.raises(YardError, match=f"for the task {task}") as caught:
            list(LAYOUTS[layout].files(version_of([], task=task), lambda: iter(())))
        assert caught.value.reason is Reason.UNSUPPORTED_TASK


POLYGON = (0.1, 0.1, 0.4, 0.1, 0.4, 0.3, 0.2, 0.35)
TURNED = (0.2, 0.1, 0.4, 0.2, 0.3, 0.4, 0.1, 0.3)
STRAIGHT = (0.2, 0.1, 0.4, 0.1, 0.4, 0.3, 0.2, 0.3)


def test_polygons_in_coco(tmp_path):
    rows = [row("a.jpg", labels=[Label(0, 0.25, 0.225, 0.3, 0.25, POLYGON)])]
    texts, images = written(version_of(rows, task="segment"), rows, "coco")
    (found,) = json.loads(texts["annotations/instances_train.json"])["annotations"]
    assert found["segmentation"] == [[64.0, 48.0, 256.0, 48.0, 256.0, 144.0, 128.0, 168.0]]
    assert found["area"] == pytest.approx(0.0575 * 640 * 480)
    back = read_back(tmp_path, texts, images, "coco")
    assert back.shapes == {Shape.POLYGON}
    assert farthest(rows[0], back.rows[0]) < 1e-3


def test_rotated_boxes_in_coco(tmp_path):
    labels = [Label(0, 0.25, 0.25, 0.3, 0.3, TURNED), Label(1, 0.3, 0.2, 0.2, 0.2, STRAIGHT)]
    rows = [row("a.jpg", labels=labels)]
    texts, images = written(version_of(rows, task="obb"), rows, "coco")
    turned, straight = json.loads(texts["annotations/instances_train.json"])["annotations"]
    assert turned["bbox"] == pytest.approx([64, 48, 192, 144])
    assert turned["attributes"]["rotation"] == pytest.approx(20.556, abs=1e-3)
    assert straight["attributes"]["rotation"] == 0
    back = read_back(tmp_path, texts, images, "coco")
    assert back.shapes == {Shape.ROTATED}
    assert farthest(rows[0], back.rows[0]) < 1e-3


def test_keypoints_in_coco(tmp_path):
    points = (0.5, 0.5, 2.0, 0.25, 0.25, 1.0, 0.0, 0.0, 0.0)
    layout = KeypointLayout(3, 3, ("nose", "left_eye", "right_eye"), (0, 2, 1))
    rows = [row("a.jpg", labels=[Label(0, 0.4, 0.4, 0.5, 0.5, points)])]
    texts, images = written(version_of(rows, task="pose", keypoints=layout), rows, "coco")
    (found,) = json.loads(texts["annotations/person_keypoints_train.json"])["annotations"]
    assert found["keypoints"] == [320.0, 240.0, 2, 160.0, 120.0, 1, 0.0, 0.0, 0]
    assert found["num_keypoints"] == 2
    back = read_back(tmp_path, texts, images, "coco")
    assert back.keypoints == layout
    assert farthest(rows[0], back.rows[0]) < 1e-3


def test_keypoints_of_two_dimensions_are_seen_unless_they_lie_at_the_origin():
    rows = [row("a.jpg", labels=[Label(0, 0.4, 0.4, 0.5, 0.5, (0.5, 0.5, 0.0, 0.0))])]
    texts, _ = written(version_of(rows, task="pose", keypoints=KeypointLayout(2, 2)), rows, "coco")
    document = json.loads(texts["annotations/person_keypoints_train.json"])
    assert document["annotations"][0]["keypoints"] == [320.0, 240.0, 2, 0.0, 0.0, 0]
    assert document["categories"][0]["keypoints"] == ["keypoint_0", "keypoint_1"]


def test_what_was_predicted_stays_so_in_coco(tmp_path):
    rows = [row("a.jpg", labels=[BOX, Label(0, 0.5, 0.5, 0.3, 0.3, (), 0.75)])]
    assert [label.confidence for label in read_back(tmp_path, *written(version_of(rows), rows, "coco"), "coco").rows[0].labels] == [
        None,
        0.75,
    ]


SHARES = st.integers(0, 4000).map(lambda value: value / 4000)


@st.composite
def labels(draw, classes):
    left, right = sorted(draw(st.lists(SHARES, min_size=2, max_size=2, unique=True)))
    top, bottom = sorted(draw(st.lists(SHARES, min_size=2, max_size=2, unique=True)))
    return Label(draw(st.integers(0, classes - 1)), (left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


CLASS_NAMES = st.lists(
    st.one_of(st.sampled_from(AWKWARD), st.text(min_size=1, max_size=12)).map(lambda name: clean_class_name(name, 0)),
    min_size=1,
    max_size=6,
    unique=True,
)
FILE_NAMES = st.one_of(
    st.text(min_size=1, max_size=10), st.sampled_from(["a", "A", "a 1", "train", "instances_val", "labels", "a.b", "classes"])
).map(lambda stem: plain_name(stem.replace("/", "_") + ".jpg", "jpg"))


@st.composite
def datasets(draw):
    classes = draw(CLASS_NAMES)
    names = draw(
        st.lists(
            st.tuples(st.sampled_from(SPLITS), FILE_NAMES),
            min_size=1,
            max_size=6,
            unique_by=lambda item: (item[0], item[1].rpartition(".")[0].casefold()),
        )
    )
    rows = [
        row(
            name,
            split,
            draw(st.lists(labels(len(classes)), max_size=4, unique_by=lambda label: label[:5])),
            draw(st.sampled_from([(640, 480), (33, 1000), (1920, 1080)])),
        )
        for split, name in names
    ]
    # A format is told by its labels, so there has to be one; and YOLO's data.yaml cannot say that there is no val.
    rows += [row("of train.jpg", "train", [BOX]), row("of val.jpg", "val")]
    return tuple(classes), sorted(rows, key=row_order)


@given(datasets())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_round_trip_through_all_layouts(tmp_path_factory, dataset):
    """YOLO, COCO, VOC and YOLO again: each time the same, within half a pixel."""
    classes, rows = dataset
    first = {one.sha256: one for one in rows}
    for layout in ("yolo", "coco", "voc", "yolo"):
        back = read_back(tmp_path_factory.mktemp("trip"), *written(version_of(rows, classes), rows, layout), layout)
        assert back.classes == classes
        assert {one.sha256: one.split for one in back.rows} == {key: one.split for key, one in first.items()}
        assert all(farthest(first[one.sha256], one) < 0.01 for one in back.rows)
        rows = back.rows


def test_a_version_comes_back_through_whole_imports(bench):
    version, _ = bench.run(zipped(good_set(4)))
    for layout in ("coco", "voc", "yolo"):
        rows = bench.rows(version)
        texts, images = written(version, rows, layout)
        stored = {path: data for path, one in images.items() for _, data in read_images(bench.store, [one], version)}
        version, context = bench.run(zipped(texts | stored), f"from-{layout}")
        assert (version.source_format, version.image_count, version.label_count, version.class_names) == (layout, 6, 6, ("thing", "other"))
        assert [(one.sha256, one.split) for one in bench.rows(version)] == [(one.sha256, one.split) for one in rows]
        assert not [f for f in bench.report(context)["findings"] if f["severity"] != "INFO"]


def test_a_real_set_through_all_layouts(tmp_path, test_data):
    """The boxes of BCCD as their XML files have them, from VOC to YOLO, COCO, VOC and YOLO."""
    folder = test_data / "voc_bccd"
    names = ("Platelets", "RBC", "WBC")
    splits = {
        line.strip(): split
        for split in SPLITS
        for line in next(folder.rglob(f"Main/{split}.txt")).read_text(encoding="utf-8").splitlines()
        if line.strip()
    }
    rows = []
    for path in folder.rglob("Annotations/*.xml"):
        kept = []
        for one in ET.parse(path).getroot().iter("object"):
            left, top, right, bottom = (float(one.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
            if right > left and bottom > top:
                label = (
                    names.index(one.findtext("name")),
                    (left + right) / 1280,
                    (top + bottom) / 960,
                    (right - left) / 640,
                    (bottom - top) / 480,
                )
                kept.append(Label(*label))
        rows.append(row(f"{path.stem}.jpg", splits[path.stem], set(kept)))
    rows.sort(key=row_order)
    assert (len(rows), sum(len(one.labels) for one in rows)) == (364, 4886)
    first = rows
    for number, layout in enumerate(("yolo", "coco", "voc", "yolo")):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        back = read_back(scratch, *written(version_of(rows, names), rows, layout), layout)
        assert back.classes == names
        assert max(farthest(one, other) for one, other in zip(first, back.rows, strict=True)) < 0.01
        rows = back.rows
